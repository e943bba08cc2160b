//! The runtime traits on tokio and the operating system (Linux).
//!
//! The only crate that touches a reactor, sockets, files, threads, clocks and entropy. A program
//! makes one [`TokioRuntime`], hands its [`Runtime`] to everything else and calls
//! [`TokioRuntime::block_on`].
//!
//! Invariants: a worker thread never waits for the disk in a sync, an open, a directory operation
//! or a read of data that is not in the page cache; those go to the bounded lanes of `lanes.rs`.
//!
//! Start at [`TokioRuntime`]; `file.rs` says what runs where.

mod buffers;
mod clock;
mod direct;
mod disk;
mod file;
mod lanes;
mod net;
mod process;
mod random;
mod stream;
mod tasks;

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use runtime::Runtime;

pub use process::{StopSignal, StopSignals, raise_open_files_limit};

use crate::lanes::Lanes;

/// How many threads a [`TokioRuntime`] gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuntimeConfig {
    /// Threads that run tasks; one per core when `None`.
    pub worker_threads: Option<NonZeroUsize>,
}

/// An executor with its threads.
#[derive(Debug)]
pub struct TokioRuntime {
    executor: tokio::runtime::Runtime,
    lanes: Arc<Lanes>,
}

impl TokioRuntime {
    /// Starts the threads. Errors: what the operating system says against them.
    pub fn new(config: RuntimeConfig) -> io::Result<TokioRuntime> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.worker_threads.map_or(cores, NonZeroUsize::get);
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(Lanes::THREADS_MAX)
            .thread_name("klamm")
            .enable_all()
            .build()?;
        let lanes = Arc::new(Lanes::new(executor.handle()));
        Ok(TokioRuntime { executor, lanes })
    }

    /// The traits' view of this executor, its clock started now. Its futures are polled by its own
    /// tasks or inside [`TokioRuntime::block_on`], nowhere else.
    pub fn runtime(&self) -> Runtime {
        let handle = self.executor.handle().clone();
        Runtime {
            clock: Arc::new(clock::OsClock::start()),
            net: Arc::new(net::OsNet),
            disk: Arc::new(disk::OsDisk::new(Arc::clone(&self.lanes))),
            tasks: Arc::new(tasks::TokioTasks::new(handle, Arc::clone(&self.lanes))),
            random: Arc::new(random::OsRandom),
        }
    }

    /// Runs `main` to its end on this thread, and the tasks on the workers meanwhile.
    pub fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.executor.block_on(main)
    }

    /// Drops all tasks and waits for blocking work that has started, for `limit` at most. Merely
    /// dropping the runtime waits without a limit.
    pub fn shutdown(self, limit: Duration) {
        self.executor.shutdown_timeout(limit);
    }
}

/// Starts a runtime with one worker per core and runs `main` on it to its end.
pub fn run<F: Future>(main: impl FnOnce(Runtime) -> F) -> io::Result<F::Output> {
    let executor = TokioRuntime::new(RuntimeConfig::default())?;
    let runtime = executor.runtime();
    Ok(executor.block_on(async { main(runtime).await }))
}
