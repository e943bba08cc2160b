//! A log on the operating system's files: an owner that writes, rolls, deletes and compacts, while
//! readers on other threads follow it.

// The helpers of tests may end a test as the tests themselves may.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::{BrokerId, LeaderEpoch, Offset, Timestamp};
use protocol::records::{Batch, BatchBuilder, BatchOptions, RecordParts, Scratch};
use runtime::{Runtime, spawn};
use storage::{
    AppendBatch, AppendOrigin, AppendOutcome, CleanupPolicy, Log, LogConfig, LogDir, LogDirOptions,
    LogName, LogReader, ReadError, ReadRequest,
};

const GROUPS: i64 = 1500;
const READERS: usize = 4;

/// A directory that is gone afterwards.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let unique = format!("klamm-storage-{name}-{}", std::process::id());
        TempDir(std::env::temp_dir().join(unique))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let path = self.0.clone();
        // Whether or not the test got as far as to create it.
        let _ = runtime_tokio::run(async |runtime: Runtime| {
            let _ = runtime.disk.remove_dir_all(&path).await;
        });
    }
}

async fn open_dir(runtime: &Runtime, temp: &TempDir) -> LogDir {
    let options = LogDirOptions {
        path: temp.0.clone(),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 3,
        journal_file_bytes: 0,
    };
    LogDir::open(runtime.clone(), options).await.unwrap()
}

/// `count` records whose values are their offsets, padded.
fn batch(base: i64, count: i64, now: Timestamp) -> AppendBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for offset in base..base + count {
        let value = format!("{offset:>width$}", width = 20 + (offset % 300) as usize);
        let key = format!("k{}", offset % 50);
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        builder.append(now, &RecordParts { key, value, headers: &[] });
    }
    let batch = builder.finish().unwrap();
    AppendBatch { header: batch.header, body: batch.body(), origin: AppendOrigin::Client }
}

async fn write(mut log: Log, dir: LogDir, runtime: Runtime, compact: bool) -> Log {
    for group in 0..GROUPS {
        let now = runtime.clock.wall();
        let mut end = log.log_end().0;
        let mut batches = Vec::new();
        for count in 1..=1 + group % 3 {
            batches.push(batch(end, count, now));
            end += count;
        }
        let outcomes = log.append(batches, LeaderEpoch(0), now).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Appended { .. })));
        if group % 4 == 0 {
            // The next group is written while this one is synced.
            let pending = log.begin_sync().unwrap();
            log.append(vec![batch(end, 1, now)], LeaderEpoch(0), now).await;
            let done = pending.await;
            log.finish_sync(done).unwrap();
        }
        if group % 64 == 0 {
            let end = log.durable_end();
            dir.checkpoint().await.unwrap();
            if compact {
                let begun = log.begin_compaction(end, now, 1 << 20).await.unwrap();
                if let Some(compaction) = begun {
                    let done = compaction.run().await.unwrap();
                    log.finish_compaction(done).await.unwrap();
                }
            } else {
                log.apply_retention(end, now).await.unwrap();
            }
            log.remove_deleted_files(Timestamp(now.0 + 60_000)).await;
        }
    }
    log.sync().await.unwrap();
    log
}

/// Follows the log from its start until the writer is done; counts records.
async fn follow(reader: LogReader, done: Arc<AtomicBool>, records: Arc<AtomicU64>, gaps: bool) {
    let mut at = Offset(0);
    loop {
        let is_done = done.load(Ordering::Acquire);
        let up_to = reader.durable_end();
        let request =
            ReadRequest { from: at, max_bytes: 5000, up_to, at_least_one: true, verify_crc: true };
        match reader.read(request).await {
            Ok(read) if read.bytes.is_empty() && is_done => return,
            Ok(read) if read.bytes.is_empty() => runtime::tokio::task::yield_now().await,
            Ok(read) => {
                let next = check(read.bytes, at, gaps, &records);
                assert_eq!(next, read.next_offset);
                at = next;
            }
            Err(ReadError::OutOfRange { log_start, .. }) => {
                assert!(log_start > at, "only deletion puts an offset out of range");
                at = reader.log_start();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every record is what was written at its offset; without compaction all of them are there.
fn check(mut bytes: bytes::Bytes, from: Offset, gaps: bool, seen: &AtomicU64) -> Offset {
    let mut at = from;
    while let Some(batch) = Batch::split_first(&mut bytes).unwrap() {
        let is_first = at == from;
        assert!(batch.header.last_offset() >= at);
        assert!(gaps || is_first || batch.header.base_offset == at);
        for record in &batch.records(1 << 20, &mut Scratch::new()).unwrap() {
            let record = record.unwrap();
            let value = std::str::from_utf8(record.value.unwrap()).unwrap();
            assert_eq!(value.trim_start(), record.offset.to_string());
            seen.fetch_add(1, Ordering::Relaxed);
        }
        at = batch.header.next_offset();
    }
    at
}

fn run_with(name: &'static str, config: LogConfig, compact: bool) {
    let temp = TempDir::new(name);
    let ran = runtime_tokio::run(async |runtime: Runtime| {
        let dir = open_dir(&runtime, &temp).await;
        let log_name: LogName = "real-0".parse().unwrap();
        let log = dir.create_log(&log_name, None, config.clone()).await.unwrap();
        let (done, records) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let following =
                    follow(log.reader(), Arc::clone(&done), Arc::clone(&records), compact);
                spawn(&runtime, "reader", following)
            })
            .collect();
        let (sender, receiver) = runtime::sync::oneshot::channel();
        let writing = write(log, dir.clone(), runtime.clone(), compact);
        let writer = spawn(&runtime, "owner", async move {
            let _ = sender.send(writing.await);
        });
        let log = receiver.await.unwrap();
        writer.join().await.unwrap();
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().await.unwrap();
        }
        assert!(records.load(Ordering::Relaxed) > 0);
        let (start, end) = (log.log_start(), log.log_end());
        assert!(compact || start > Offset(0), "something was deleted");
        log.close().await.unwrap();
        assert!(dir.close().await.unwrap());
        drop(dir);
        let dir = open_dir(&runtime, &temp).await;
        let log = dir.open_log(&log_name, config).await.unwrap();
        assert_eq!((log.log_start(), log.log_end()), (start, end));
    });
    ran.unwrap();
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 32 << 10, index_interval_bytes: 1024, ..LogConfig::default() }
}

#[test]
fn readers_follow_while_segments_are_deleted() {
    run_with("deleted", LogConfig { retention_bytes: 100 << 10, ..config() }, false);
}

#[test]
fn readers_follow_while_segments_are_compacted() {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    run_with("compacted", LogConfig { cleanup, min_cleanable_dirty_permille: 1, ..config() }, true);
}
