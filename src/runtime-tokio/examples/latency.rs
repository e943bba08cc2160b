//! What a read, a write and a sync cost on the calling thread and through another one.
//!
//! `cargo run --release -p runtime-tokio --example latency -- DIRECTORY`
//!
//! The figures behind two decisions: which calls leave the thread (`file.rs`), and how many syncs
//! run at once (`lanes.rs`). DIRECTORY should be on the disk that is to be judged.

use std::fs::File as StdFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use runtime::{File, OpenMode, Runtime, write_all_at};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

const ROUNDS: usize = 4000;

fn main() -> io::Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent)?;
    runtime_tokio::raise_open_files_limit()?;
    runtime_tokio::run(|runtime| async move {
        writes(&runtime, directory.path()).await?;
        reads(&runtime, directory.path()).await?;
        syncs(&runtime, directory.path()).await?;
        sync_lanes(directory.path()).await?;
        reads_beside_syncs(&runtime, directory.path()).await
    })?
}

/// Prints the median and the 99th percentile of `times`.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, high) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what:<56} p50 {:>9.1?}  p99 {:>9.1?}", median, high);
}

/// Runs `$call` [`ROUNDS`] times, each timed, and reports.
macro_rules! measure {
    ($what:expr, $round:ident => $call:expr) => {{
        let mut times = Vec::with_capacity(ROUNDS);
        for $round in 0..ROUNDS as u64 {
            let start = Instant::now();
            $call;
            times.push(start.elapsed());
        }
        report($what, times);
    }};
}

async fn writes(runtime: &Runtime, directory: &Path) -> io::Result<()> {
    for size in [4 * 1024, 16 * 1024, 256 * 1024] {
        let path = directory.join("writes");
        let file = runtime.disk.open(&path, OpenMode::Create).await?;
        let block = [Bytes::from(vec![1; size])];
        let place = move |round: u64| round % 64 * size as u64;
        measure!(&format!("write {size}: write_at"), round => file.write_at(place(round), &block).await?);
        let plain = Arc::new(StdFile::options().write(true).open(&path)?);
        measure!(&format!("write {size}: spawn_blocking"), round => {
            let (plain, block) = (Arc::clone(&plain), block[0].clone());
            spawn_blocking(move || plain.write_all_at(&block, place(round))).await??;
        });
    }
    Ok(())
}

async fn reads(runtime: &Runtime, directory: &Path) -> io::Result<()> {
    for size in [4 * 1024, 64 * 1024, 1024 * 1024] {
        let path = directory.join("reads");
        let file = runtime.disk.open(&path, OpenMode::Create).await?;
        write_all_at(&*file, 0, &[Bytes::from(vec![1; 16 * size])]).await?;
        let place = move |round: u64| round % 16 * size as u64;
        measure!(&format!("read {size}: read_at"), round => file.read_at(place(round), size).await?);
        let plain = Arc::new(StdFile::open(&path)?);
        measure!(&format!("read {size}: pread, no zeros, on the thread"), round => {
            let mut bytes = Vec::with_capacity(size);
            rustix::io::pread(&*plain, rustix::buffer::spare_capacity(&mut bytes), place(round))?
        });
        measure!(&format!("read {size}: spawn_blocking"), round => {
            let plain = Arc::clone(&plain);
            spawn_blocking(move || {
                let mut bytes = Vec::with_capacity(size);
                rustix::io::pread(&*plain, rustix::buffer::spare_capacity(&mut bytes), place(round))
            })
            .await??
        });
    }
    Ok(())
}

async fn open_many(
    runtime: &Runtime,
    directory: &Path,
    n: usize,
) -> io::Result<Vec<Arc<dyn File>>> {
    let mut files = Vec::new();
    for index in 0..n {
        let path = directory.join(format!("log-{index}"));
        files.push(runtime.disk.open(&path, OpenMode::Create).await?);
    }
    Ok(files)
}

/// One 4 KiB append to each of n files, then durable.
async fn syncs(runtime: &Runtime, directory: &Path) -> io::Result<()> {
    for n in [1, 6, 100, 1000] {
        let files = open_many(runtime, directory, n).await?;
        let mut times = Vec::new();
        for round in 0..(3000 / n).clamp(12, 500) {
            let start = Instant::now();
            let mut all = JoinSet::new();
            for file in &files {
                let file = Arc::clone(file);
                all.spawn(async move {
                    write_all_at(&*file, round as u64 * 4096, &[Bytes::from(vec![2; 4096])])
                        .await?;
                    file.sync_data().await
                });
            }
            while let Some(done) = all.join_next().await {
                done.map_err(io::Error::other)??;
            }
            times.push(start.elapsed());
        }
        report(&format!("append 4 KiB and sync, {n} files at once"), times);
    }
    Ok(())
}

/// The same with other numbers of threads than the lane has.
async fn sync_lanes(directory: &Path) -> io::Result<()> {
    const FILES: usize = 1000;
    let files: Vec<Arc<StdFile>> = (0..FILES)
        .map(|n| {
            Ok(Arc::new(StdFile::options().write(true).open(directory.join(format!("log-{n}")))?))
        })
        .collect::<io::Result<_>>()?;
    for threads in [8, 16, 32, 64, 128, 256] {
        let permits = Arc::new(Semaphore::new(threads));
        let mut times = Vec::new();
        for round in 0..12u64 {
            let start = Instant::now();
            let mut all = JoinSet::new();
            for file in &files {
                let (file, permits) = (Arc::clone(file), Arc::clone(&permits));
                file.write_all_at(&[3; 4096], (100 + round) * 4096)?;
                all.spawn(async move {
                    let _permit = permits.acquire().await.map_err(io::Error::other)?;
                    spawn_blocking(move || file.sync_data()).await?
                });
            }
            while let Some(done) = all.join_next().await {
                done.map_err(io::Error::other)??;
            }
            times.push(start.elapsed());
        }
        report(&format!("append 4 KiB and sync, {FILES} files, {threads} threads"), times);
    }
    Ok(())
}

/// Reads that have to leave the thread while a thousand files sync without a pause.
async fn reads_beside_syncs(runtime: &Runtime, directory: &Path) -> io::Result<()> {
    const LARGE: usize = 2 * 1024 * 1024;
    let reader = runtime.disk.open(&directory.join("large"), OpenMode::Create).await?;
    write_all_at(&*reader, 0, &[Bytes::from(vec![1; LARGE])]).await?;
    let mut alone = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        reader.read_at(0, LARGE).await?;
        alone.push(start.elapsed());
    }
    report("read 2 MiB on the lane, alone", alone);
    let mut all = JoinSet::new();
    for file in open_many(runtime, directory, 1000).await? {
        all.spawn(async move {
            for round in 0..5 {
                write_all_at(&*file, round * 4096, &[Bytes::from(vec![4; 4096])]).await?;
                file.sync_data().await?;
            }
            io::Result::Ok(())
        });
    }
    let mut beside = Vec::new();
    while !all.is_empty() {
        let start = Instant::now();
        reader.read_at(0, LARGE).await?;
        beside.push(start.elapsed());
        while let Some(done) = all.try_join_next() {
            done.map_err(io::Error::other)??;
        }
    }
    report("read 2 MiB on the lane, beside 1000 syncing files", beside);
    Ok(())
}
