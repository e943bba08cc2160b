//! A partition on a real disk: acknowledgements, order, wake-ups, what a reopened log holds.

mod failing_disk;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use model::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence};
use protocol::records::{
    BatchBuilder, BatchOptions, ProduceRules, RecordParts, Scratch, ValidatedBatch,
    validate_produce,
};
use runtime::Runtime;
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName, ReadRequest};

use failing_disk::FailingDisk;

use crate::dir_health::DirHealth;
use crate::metrics::Metrics;

use super::{Context, FetchWaiter, Partition, ProduceError};

async fn directory(runtime: &Runtime, path: &Path) -> LogDir {
    let options = LogDirOptions {
        path: path.to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 100,
        journal_file_bytes: 1 << 20,
    };
    LogDir::open(runtime.clone(), options).await.unwrap()
}

async fn open(runtime: &Runtime, log: Log, epoch: LeaderEpoch) -> Partition {
    open_in(runtime, log, epoch, Arc::default()).await
}

async fn open_in(
    runtime: &Runtime,
    log: Log,
    epoch: LeaderEpoch,
    health: Arc<DirHealth>,
) -> Partition {
    let metrics = Arc::new(Metrics::new(std::iter::empty()));
    let context = Context { stats: Arc::default(), metrics, health };
    Partition::open(runtime, log, epoch, context).await.unwrap()
}

fn name() -> LogName {
    LogName::new("orders", PartitionIndex(0)).unwrap()
}

/// A batch of one record, in the stream of producer 7 when `sequence` is given.
fn batch(value: &'static str, sequence: Option<i32>) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let parts = RecordParts { key: None, value: Some(value.as_bytes()), headers: &[] };
    builder.append(model::Timestamp(1), &parts);
    if let Some(sequence) = sequence {
        builder.set_producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence));
    }
    let bytes: Bytes = builder.finish().unwrap().bytes;
    let rules = ProduceRules::default();
    validate_produce(bytes, &rules, model::Timestamp(1), &mut Scratch::new()).unwrap()
}

async fn append(partition: &Partition, batch: ValidatedBatch) -> Result<i64, ProduceError> {
    let answer = partition.submit(batch).await.await.expect("the owner answers");
    answer.map(|appended| appended.base_offset.0)
}

#[test]
fn acknowledged_batches_are_in_order_and_survive_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let logs = directory(&runtime, dir.path()).await;
        let log = logs.create_log(&name(), None, LogConfig::default()).await.unwrap();
        let partition = open(&runtime, log, LeaderEpoch(0)).await;
        let mut answers = Vec::new();
        for _ in 0..300 {
            answers.push(partition.submit(batch("x", None)).await);
        }
        for (at, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().unwrap().base_offset, Offset(at as i64));
        }
        assert_eq!(partition.high_watermark(), Offset(300));
        partition.close().await.unwrap();
        assert!(partition.submit(batch("late", None)).await.await.is_err(), "closed");

        let log = logs.open_log(&name(), LogConfig::default()).await.unwrap();
        let partition = open(&runtime, log, LeaderEpoch(1)).await;
        assert_eq!(partition.high_watermark(), Offset(300));
        let request = ReadRequest {
            from: Offset(299),
            max_bytes: 1 << 20,
            up_to: partition.high_watermark(),
            at_least_one: true,
            verify_crc: true,
        };
        assert_eq!(partition.reader().read(request).await.unwrap().next_offset, Offset(300));
        partition.close().await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_repeated_batch_is_acknowledged_with_its_first_offset() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let logs = directory(&runtime, dir.path()).await;
        let log = logs.create_log(&name(), None, LogConfig::default()).await.unwrap();
        let partition = open(&runtime, log, LeaderEpoch(0)).await;
        assert_eq!(append(&partition, batch("a", Some(0))).await.unwrap(), 0);
        assert_eq!(append(&partition, batch("b", Some(1))).await.unwrap(), 1);
        assert_eq!(append(&partition, batch("a", Some(0))).await.unwrap(), 0);
        let gap = append(&partition, batch("d", Some(3))).await;
        assert!(matches!(gap, Err(ProduceError::Refused(_))), "{gap:?}");
        assert_eq!(partition.high_watermark(), Offset(2));
        partition.close().await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_parked_fetch_wakes_when_more_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let logs = directory(&runtime, dir.path()).await;
        let log = logs.create_log(&name(), None, LogConfig::default()).await.unwrap();
        let partition = open(&runtime, log, LeaderEpoch(0)).await;
        let waiter = Arc::new(FetchWaiter::default());
        let registration = partition.register(&waiter);
        let answer = partition.submit(batch("x", None)).await;
        waiter.wait().await;
        assert_eq!(partition.high_watermark(), Offset(1), "woken by the high watermark's rise");
        answer.await.unwrap().unwrap();
        drop(registration);
        assert_eq!(partition.delete_records(Offset(1)).await.unwrap().unwrap(), Offset(1));
        assert_eq!(partition.reader().log_start(), Offset(1));
        partition.close().await.unwrap();
    })
    .unwrap();
}

#[test]
fn one_failed_disk_operation_ends_all_acknowledgements_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let logs = directory(&runtime, dir.path()).await;
        let log = logs.create_log(&name(), None, LogConfig::default()).await.unwrap();
        let health = Arc::new(DirHealth::default());
        let partition = open_in(&runtime, log, LeaderEpoch(0), Arc::clone(&health)).await;
        assert_eq!(append(&partition, batch("a", None)).await.unwrap(), 0);
        health.fail("sync of another log failed");
        let refused = append(&partition, batch("b", None)).await.unwrap_err().to_string();
        assert!(refused.contains("sync of another log failed"), "{refused}");
        assert_eq!(partition.high_watermark(), Offset(1), "reads go on");
        partition.close().await.unwrap();
        let log = logs.open_log(&name(), LogConfig::default()).await.unwrap();
        assert_eq!(log.log_end(), Offset(1), "what was refused was not written");
        log.close().await.unwrap();
    })
    .unwrap();
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|real| async move {
        let is_broken = Arc::new(AtomicBool::new(false));
        let disk = FailingDisk { disk: Arc::clone(&real.disk), is_broken: Arc::clone(&is_broken) };
        let runtime = Runtime { disk: Arc::new(disk), ..real };
        let logs = directory(&runtime, dir.path()).await;
        let log = logs.create_log(&name(), None, LogConfig::default()).await.unwrap();
        let health = Arc::new(DirHealth::default());
        let partition = open_in(&runtime, log, LeaderEpoch(0), Arc::clone(&health)).await;
        assert_eq!(append(&partition, batch("a", None)).await.unwrap(), 0);
        is_broken.store(true, Ordering::Release);
        assert!(append(&partition, batch("b", None)).await.is_err(), "its sync failed");
        is_broken.store(false, Ordering::Release);
        let refused = append(&partition, batch("c", None)).await;
        assert!(refused.is_err(), "a sync that works again proves nothing about what was before");
        assert!(health.offline().is_some());
        assert_eq!(partition.high_watermark(), Offset(1), "what is not durable is not shown");
        // The log closes without a word about what it could not sync.
        let _ = partition.close().await;
    })
    .unwrap();
}
