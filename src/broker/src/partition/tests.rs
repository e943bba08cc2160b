//! A partition on a real disk: acknowledgements, order, wake-ups, what a reopened log holds.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence};
use protocol::records::{
    BatchBuilder, BatchOptions, ProduceRules, RecordParts, Scratch, ValidatedBatch,
    validate_produce,
};
use runtime::Runtime;
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName, ReadRequest};

use crate::metrics::Metrics;

use super::{FetchWaiter, Partition, ProduceError};

async fn directory(runtime: &Runtime, path: &Path) -> LogDir {
    let options = LogDirOptions {
        path: path.to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 100,
    };
    LogDir::open(runtime.clone(), options).await.unwrap()
}

async fn open(runtime: &Runtime, log: Log, epoch: LeaderEpoch) -> Partition {
    let metrics = Arc::new(Metrics::new(std::iter::empty()));
    Partition::open(runtime, log, epoch, Arc::default(), metrics).await.unwrap()
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
