//! Measures logs on this machine's disk: appends with group sync, and starts after a crash.
//!
//! `log_figures append DIR LOGS BATCH_BYTES SECONDS [os]`: every log has a task that appends one
//! batch and syncs it, over and over. `log_figures fill DIR LOGS MEGABYTES BATCH_BYTES` writes logs
//! and ends like a killed process; `log_figures open DIR` opens them all again.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::{BrokerId, LeaderEpoch, PartitionIndex, Timestamp};
use protocol::records::{BatchBuilder, BatchOptions, RecordParts};
use runtime::{OpenMode, Runtime, spawn};
use runtime_tokio::{RuntimeConfig, TokioRuntime, raise_open_files_limit};
use storage::{
    AppendBatch, AppendOrigin, Durability, Log, LogConfig, LogDir, LogDirOptions, LogName,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Logs opened side by side.
const OPENERS: usize = 64;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tokio = TokioRuntime::new(RuntimeConfig::default())?;
    raise_open_files_limit()?;
    let runtime = tokio.runtime();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    tokio.block_on(async move {
        match words[..] {
            ["append", dir, logs, bytes, seconds] => {
                append(runtime, dir, logs.parse()?, bytes.parse()?, seconds.parse()?, false).await
            }
            ["append", dir, logs, bytes, seconds, "os"] => {
                append(runtime, dir, logs.parse()?, bytes.parse()?, seconds.parse()?, true).await
            }
            ["fill", dir, logs, megabytes, bytes] => {
                fill(runtime, dir, logs.parse()?, megabytes.parse()?, bytes.parse()?).await
            }
            ["open", dir] => open(runtime, dir).await,
            _ => Err("see the top of the source".into()),
        }
    })
}

async fn open_dir(runtime: &Runtime, path: &str) -> Outcome<LogDir> {
    let options = LogDirOptions {
        path: PathBuf::from(path),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 1000,
        journal_file_bytes: 0,
    };
    Ok(LogDir::open(runtime.clone(), options).await?)
}

fn batch(bytes: usize, now: Timestamp) -> AppendBatch {
    let value = vec![b'v'; 100];
    let parts = RecordParts { key: None, value: Some(&value), headers: &[] };
    let mut builder = BatchBuilder::new(BatchOptions::default());
    while builder.record_count() == 0 || builder.size_bytes() + 120 < bytes {
        builder.append(now, &parts);
    }
    let batch = builder.finish().expect("no codec is used");
    AppendBatch { header: batch.header, body: batch.body(), origin: AppendOrigin::Client }
}

fn name(number: usize) -> LogName {
    LogName::new("figures", PartitionIndex(number as i32)).expect("a legal name")
}

async fn append(
    runtime: Runtime,
    path: &str,
    logs: usize,
    bytes: usize,
    seconds: u64,
    is_os: bool,
) -> Outcome<()> {
    let dir = open_dir(&runtime, path).await?;
    let durability = if is_os { Durability::Os } else { Durability::Fsync };
    let config = LogConfig { durability, ..LogConfig::default() };
    let appended = Arc::new(AtomicU64::new(0));
    let start = runtime.clock.now();
    let deadline = start + std::time::Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for number in 0..logs {
        let mut log = dir.create_log(&name(number), None, config.clone()).await?;
        let (clock, appended) = (Arc::clone(&runtime.clock), Arc::clone(&appended));
        let batch = batch(bytes, clock.wall());
        let owner = async move {
            while clock.now() < deadline {
                log.append(vec![batch.clone()], LeaderEpoch(0), clock.wall()).await;
                log.sync().await.expect("the disk works");
                appended.fetch_add(1, Ordering::Relaxed);
                if is_os {
                    // Nothing else lets the other owners run.
                    runtime::tokio::task::yield_now().await;
                }
            }
        };
        tasks.push(spawn(&runtime, "owner", owner));
    }
    for task in tasks {
        task.join().await?;
    }
    let elapsed = runtime.clock.now().since(start).as_secs_f64();
    let groups = appended.load(Ordering::Relaxed) as f64;
    let megabytes = groups * bytes as f64 / 1e6;
    println!(
        "{logs} logs, {bytes} B, {}: {:.0} groups/s, {:.1} MB/s",
        if is_os { "os" } else { "fsync" },
        groups / elapsed,
        megabytes / elapsed
    );
    Ok(())
}

async fn fill(
    runtime: Runtime,
    path: &str,
    logs: usize,
    megabytes: usize,
    bytes: usize,
) -> Outcome<()> {
    let dir = open_dir(&runtime, path).await?;
    let config = LogConfig { segment_bytes: 256 << 20, ..LogConfig::default() };
    let batch = batch(bytes, runtime.clock.wall());
    let per_group = ((1 << 20) / bytes).max(1);
    let mut open: Vec<Log> = Vec::new();
    for number in 0..logs {
        open.push(dir.create_log(&name(number), None, config.clone()).await?);
    }
    let groups = (megabytes << 20) / (per_group * bytes);
    for round in 0..groups.max(1) {
        for log in &mut open {
            let count = if megabytes == 0 { 1 } else { per_group };
            let group = vec![batch.clone(); count];
            log.append(group, LeaderEpoch(0), runtime.clock.wall()).await;
            log.sync().await?;
        }
        if round % 4 == 3 {
            dir.checkpoint().await?;
        }
    }
    println!("filled; ends without closing anything");
    std::process::exit(0);
}

async fn open(runtime: Runtime, path: &str) -> Outcome<()> {
    let start = runtime.clock.now();
    let memory = resident_bytes(&runtime).await?;
    let dir = open_dir(&runtime, path).await?;
    let names: Vec<LogName> = dir.found().iter().map(|found| found.name.clone()).collect();
    let found = runtime.clock.now();
    let mut openers = Vec::new();
    let (sender, mut opened) = runtime::sync::mpsc::unbounded_channel();
    for share in names.chunks(names.len().div_ceil(OPENERS).max(1)) {
        let (dir, share, sender) = (dir.clone(), share.to_vec(), sender.clone());
        openers.push(spawn(&runtime, "opener", async move {
            for name in share {
                let log = dir.open_log(&name, LogConfig::default()).await.expect("it opens");
                let _ = sender.send(log);
            }
        }));
    }
    drop(sender);
    let mut logs = Vec::new();
    while let Some(log) = opened.recv().await {
        logs.push(log);
    }
    let done = runtime.clock.now();
    let bytes: u64 = logs.iter().map(Log::size_bytes).sum();
    println!(
        "{} logs, {:.2} GB, clean {}: directory {:.0} ms, logs {:.0} ms, {:.1} KB of memory a log",
        logs.len(),
        bytes as f64 / 1e9,
        dir.was_clean(),
        found.since(start).as_secs_f64() * 1e3,
        done.since(found).as_secs_f64() * 1e3,
        (resident_bytes(&runtime).await?.saturating_sub(memory)) as f64 / 1e3 / logs.len() as f64,
    );
    let closing = runtime.clock.now();
    for log in logs {
        log.close().await?;
    }
    dir.close().await?;
    println!("closed in {:.0} ms", runtime.clock.now().since(closing).as_secs_f64() * 1e3);
    Ok(())
}

async fn resident_bytes(runtime: &Runtime) -> Outcome<u64> {
    let file = runtime.disk.open("/proc/self/statm".as_ref(), OpenMode::Read).await?;
    let text: Bytes = file.read_at(0, 4096).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let pages: u64 = text.split_whitespace().nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096)
}
