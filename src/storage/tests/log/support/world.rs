//! A runtime around the disk, and an executor for work that never has to wait.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use model::{BrokerId, Instant, Timestamp};
use runtime::{
    BoxFuture, Clock, JoinError, Listener, Net, Random, RandomStream, Runtime, Stream, Task,
    TaskControl, Tasks, split_seed,
};
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName, OpenError};

use super::fault_disk::FaultDisk;

/// The data directory.
pub(crate) const DIR: &str = "/data";

thread_local! {
    /// Tasks of the machine that runs now.
    static TASKS: RefCell<Vec<BoxFuture<'static, ()>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` to its end, and the tasks beside it. Nothing in these tests waits for anything outside
/// of that, so a few polls must do.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        let polled = work.as_mut().poll(&mut context);
        poll_tasks(&mut context);
        if let Poll::Ready(done) = polled {
            return done;
        }
    }
    panic!("the work waits for something that never comes");
}

/// Gives every task a turn, and those that they spawn meanwhile.
fn poll_tasks(context: &mut Context<'_>) {
    let mut tasks = TASKS.take();
    tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
    TASKS.with_borrow_mut(|spawned| spawned.splice(..0, tasks).for_each(drop));
}

/// One machine.
pub(crate) struct World {
    pub(crate) disk: FaultDisk,
    pub(crate) clock: Arc<StillClock>,
    /// Size of the files of the journal, if there is one.
    pub(crate) journal_file_bytes: u64,
    seed: u64,
    boots: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        World {
            disk: FaultDisk::new(seed),
            clock: Arc::new(StillClock { wall: AtomicI64::new(1_700_000_000_000) }),
            journal_file_bytes: 0,
            seed,
            boots: AtomicU64::new(0),
        }
    }

    pub(crate) fn with_journal(seed: u64, file_bytes: u64) -> World {
        World { journal_file_bytes: file_bytes, ..World::new(seed) }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        // Those of an earlier process died with it.
        drop(TASKS.take());
        Runtime {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            net: Arc::new(NoNet),
            disk: Arc::new(self.disk.clone()),
            tasks: Arc::new(LocalTasks),
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
                journal_file_bytes: self.journal_file_bytes,
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

struct LocalTasks;

impl Tasks for LocalTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        TASKS.with_borrow_mut(|tasks| tasks.push(future));
        Task::new(Detached)
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

/// A task that nobody waits for.
struct Detached;

impl TaskControl for Detached {
    fn abort(&self) {}

    fn is_finished(&self) -> bool {
        false
    }

    fn join(self: Box<Self>) -> BoxFuture<'static, Result<(), JoinError>> {
        Box::pin(std::future::pending())
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
