//! Threads for work that blocks, in lanes that can not starve each other.
//!
//! A thousand partitions that sync at once would take every thread of a shared pool, and a read or
//! an open would wait behind all of them. So each kind of work has its own queue and its own
//! maximum of threads; the pool below is large enough for all maxima together.
//!
//! Invariants: `threads <= limit`; a queue that is not empty has a thread; work that was queued
//! runs, whether or not anyone still waits for it.
//!
//! Start at [`Lane::run`].

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Syncs at once; see the measurement in `examples/latency.rs`.
const SYNC_THREADS_MAX: usize = 32;
/// Reads at once that wait for the disk.
const READ_THREADS_MAX: usize = 32;
/// Opens, renames, listings, truncations and the like at once.
const NAME_THREADS_MAX: usize = 16;
/// Pieces of other blocking work at once.
const WORK_THREADS_MAX: usize = 16;
/// What tokio itself blocks for: looking up host names.
const LOOKUP_THREADS_MAX: usize = 16;

/// One lane for each kind of work.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// fdatasync and fsync.
    pub(crate) syncs: Lane,
    /// Reads that wait for the disk.
    pub(crate) reads: Lane,
    /// What changes or looks at names and lengths.
    pub(crate) names: Lane,
    /// What the layers above give to [`runtime::Tasks::run_blocking`].
    pub(crate) work: Lane,
}

impl Lanes {
    /// Threads of all lanes together.
    pub(crate) const THREADS_MAX: usize = SYNC_THREADS_MAX
        + READ_THREADS_MAX
        + NAME_THREADS_MAX
        + WORK_THREADS_MAX
        + LOOKUP_THREADS_MAX;

    pub(crate) fn new(handle: &Handle) -> Lanes {
        Lanes {
            syncs: Lane::new(handle, SYNC_THREADS_MAX),
            reads: Lane::new(handle, READ_THREADS_MAX),
            names: Lane::new(handle, NAME_THREADS_MAX),
            work: Lane::new(handle, WORK_THREADS_MAX),
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A queue of work and the threads that empty it.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: Arc<Queue>,
    handle: Handle,
    limit: usize,
}

impl Lane {
    fn new(handle: &Handle, limit: usize) -> Lane {
        Lane { queue: Arc::new(Queue::default()), handle: handle.clone(), limit }
    }

    /// Runs `work` on a thread of this lane and returns what it returned. The work is queued by
    /// this call, not by the first poll.
    ///
    /// An error when `work` panicked or the executor shut down first.
    pub(crate) fn run<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = io::Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.submit(Box::new(move || {
            // Nobody waits any more when the caller was dropped.
            let _ = sender.send(work());
        }));
        async move {
            let gone = |_| io::Error::other("blocking work ended without a result");
            receiver.await.map_err(gone)
        }
    }

    /// Queues `job`; nobody waits for it.
    pub(crate) fn submit(&self, job: Job) {
        let mut state = self.queue.lock();
        state.waiting.push_back(job);
        if state.threads == self.limit {
            return;
        }
        state.threads += 1;
        drop(state);
        let worker = Worker { queue: Arc::clone(&self.queue), counted: true };
        drop(self.handle.spawn_blocking(move || worker.run()));
    }
}

#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

/// A thread's turn at a queue.
struct Worker {
    queue: Arc<Queue>,
    /// Whether the queue still counts this thread.
    counted: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.next() {
            // The panic was reported by its hook; the waiter sees that no result came.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// The next job; none ends this thread's turn, in the same step, so that a job queued right
    /// after it starts a thread of its own.
    fn next(&mut self) -> Option<Job> {
        let mut state = self.queue.lock();
        let job = state.waiting.pop_front();
        if job.is_none() {
            state.threads -= 1;
            self.counted = false;
        }
        job
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        // The executor shut down before this thread had its turn. The waiters learn it by the drop
        // of their jobs, which happens outside the lock.
        let mut state = self.queue.lock();
        state.threads -= 1;
        let abandoned =
            if state.threads == 0 { mem::take(&mut state.waiting) } else { VecDeque::new() };
        drop(state);
        drop(abandoned);
    }
}
