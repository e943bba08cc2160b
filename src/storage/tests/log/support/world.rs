//! A runtime around the disk, and an executor for work that never has to wait.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use model::{BrokerId, Instant, Timestamp};
use runtime::{
    BoxFuture, Clock, Listener, Net, Random, RandomStream, Runtime, Stream, Task, Tasks, split_seed,
};
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName, OpenError};

use super::fault_disk::FaultDisk;

/// The data directory.
pub(crate) const DIR: &str = "/data";

/// Runs `work` to its end. Nothing in these tests waits for anything outside of it, so a few polls
/// must do.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("the work waits for something that never comes");
}

/// One machine.
pub(crate) struct World {
    pub(crate) disk: FaultDisk,
    pub(crate) clock: Arc<StillClock>,
    seed: u64,
    boots: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        World {
            disk: FaultDisk::new(seed),
            clock: Arc::new(StillClock { wall: AtomicI64::new(1_700_000_000_000) }),
            seed,
            boots: AtomicU64::new(0),
        }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        Runtime {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            net: Arc::new(NoNet),
            disk: Arc::new(self.disk.clone()),
            tasks: Arc::new(NoTasks),
            random: Arc::new(Seeded { seed: self.seed.wrapping_add(boot) }),
        }
    }

    pub(crate) fn open_dir(&self) -> LogDir {
        self.try_open_dir().unwrap()
    }

    pub(crate) fn try_open_dir(&self) -> Result<LogDir, storage::LogDirError> {
        run(LogDir::open(
            self.runtime(),
            LogDirOptions {
                path: PathBuf::from(DIR),
                node_id: BrokerId(1),
                cluster_id: Some("test".to_owned()),
                open_files_max: 4,
            },
        ))
    }

    /// The log, created if it is not there.
    pub(crate) fn open_log(&self, dir: &LogDir, name: &str, config: &LogConfig) -> Log {
        self.try_open_log(dir, name, config).unwrap()
    }

    pub(crate) fn try_open_log(
        &self,
        dir: &LogDir,
        name: &str,
        config: &LogConfig,
    ) -> Result<Log, OpenError> {
        let name: LogName = name.parse().unwrap();
        match run(dir.open_log(&name, config.clone())) {
            Err(OpenError::NotFound(_)) => run(dir.create_log(&name, None, config.clone())),
            result => result,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.wall()
    }
}

/// A clock that goes only when it is told to.
pub(crate) struct StillClock {
    wall: AtomicI64,
}

impl StillClock {
    pub(crate) fn advance_ms(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Instant {
        Instant(self.wall.load(Ordering::Relaxed) as u64 * 1_000_000)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, _deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

struct NoNet;

impl Net for NoNet {
    fn listen<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect<'a>(&'a self, _address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }
}

struct NoTasks;

impl Tasks for NoTasks {
    fn spawn(&self, name: &'static str, _future: BoxFuture<'static, ()>) -> Task {
        panic!("a log spawns nothing, but spawned {name}");
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

struct Seeded {
    seed: u64,
}

impl Random for Seeded {
    fn stream(&self, concern: &str, key: u64) -> RandomStream {
        split_seed(self.seed, concern, key)
    }
}
