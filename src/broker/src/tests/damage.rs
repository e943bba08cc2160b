//! Damage on the disk: told, not served, and no worse for the rest than it has to be.

use std::path::Path;
use std::time::Duration;

use model::{Offset, Uuid};
use protocol::ErrorCode;
use runtime::{OpenMode, Runtime, read_file, write_all_at};

use super::produce::{answer, batch, create_with, request, send};
use super::start;
use crate::fetch::memory::FetchMemory;
use crate::fetch::read::{Limits, read};
use crate::fetch::{TopicKey, Wanted};

const FIRST_SEGMENT: &str = "00000000000000000000.log";

/// Turns over one bit of a file.
async fn flip(runtime: &Runtime, path: &Path, position: u64) {
    let bytes = read_file(&*runtime.disk, path).await.unwrap();
    let flipped = bytes[position as usize] ^ 1;
    let file = runtime.disk.open(path, OpenMode::ReadWrite).await.unwrap();
    write_all_at(&*file, position, &[vec![flipped].into()]).await.unwrap();
}

#[test]
fn damaged_records_are_not_served() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let (id, _) = create_with(&broker, "orders", &[]).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        send(&mut *stream, 9, &request(-1, "orders", Uuid::ZERO, 0, batch("a value"))).await;
        assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
        let file = dir.path().join("orders-0").join(FIRST_SEGMENT);
        let end = read_file(&*runtime.disk, &file).await.unwrap().len() as u64;
        flip(&runtime, &file, end - 3).await;

        let wanted = Wanted {
            topic: TopicKey::Id(id),
            partition: 0,
            fetch_offset: 0,
            max_bytes: 1 << 20,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let limits = Limits { max_bytes: 1 << 20, is_read_committed: false, version: 13 };
        let registry = broker.shared.registry.borrow();
        let memory = std::sync::Arc::new(FetchMemory::default());
        let answered = read(&registry, &memory, &[wanted], limits).await;
        let data = &answered.partitions[0];
        assert_eq!(ErrorCode::from_code(data.error_code), ErrorCode::KafkaStorageError);
        assert_eq!(data.records.as_ref().map_or(0, |records| records.len()), 0);
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_damaged_old_segment_does_not_take_the_others_offline() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let loops = [("log.initial.task.delay.ms", "0"), ("log.retention.check.interval.ms", "1")];
        let settings = [loops[0], loops[1], ("log.retention.ms", "-1")];
        let (broker, address) = start(&runtime, dir.path(), &settings).await;
        // The index of a segment is full after a few batches; nothing is old yet.
        let small = [("index.interval.bytes", "0"), ("segment.index.bytes", "24")];
        let (_, damaged) = create_with(&broker, "damaged", &small).await;
        create_with(&broker, "other", &[]).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for _ in 0..12 {
            send(&mut *stream, 9, &request(-1, "damaged", Uuid::ZERO, 0, batch("x"))).await;
            assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
            runtime::sleep(&*runtime.clock, Duration::from_millis(5)).await;
        }
        let log = dir.path().join("damaged-0");
        // The magic byte of the first batch.
        flip(&runtime, &log.join(FIRST_SEGMENT), 16).await;
        let index = log.join("00000000000000000000.timeindex");
        drop(runtime.disk.remove_file(&index).await);
        broker.stop().await;

        // Without its time index the segment's age is in its records, which can not be read.
        let settings = [loops[0], loops[1], ("log.retention.ms", "1")];
        let (broker, address) = start(&runtime, dir.path(), &settings).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for _ in 0..20 {
            send(&mut *stream, 9, &request(-1, "other", Uuid::ZERO, 0, batch("y"))).await;
            assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
            runtime::sleep(&*runtime.clock, Duration::from_millis(2)).await;
        }
        assert!(broker.shared.dir_health.offline().is_none());
        assert!(damaged.high_watermark() >= Offset(12));
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_log_whose_topic_is_not_known_keeps_no_other_from_being_served() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        create_with(&broker, "damaged", &[]).await;
        create_with(&broker, "other", &[]).await;
        broker.stop().await;
        let log = dir.path().join("damaged-0");
        // The name of a field.
        flip(&runtime, &log.join("partition.metadata"), 0).await;

        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let reasons = broker.readiness()();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains("topic damaged could not be opened"), "{reasons:?}");
        assert!(runtime.disk.list(&log).await.is_ok(), "it is left where it is");
        let mut stream = runtime.net.connect(&address).await.unwrap();
        send(&mut *stream, 9, &request(-1, "other", Uuid::ZERO, 0, batch("y"))).await;
        assert_eq!(answer(&mut *stream, 9).await.error_code, 0);
        broker.stop().await;
    })
    .unwrap();
}
