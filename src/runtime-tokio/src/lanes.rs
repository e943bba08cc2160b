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

/// Syncs at once. One append to each of 1,000 files, then durable (ext4): 61 ms with 8 threads, 33
/// with 16, 25 with 32, 22 with 64, 21 with 128 (`examples/latency.rs`).
const SYNC_THREADS_MAX: usize = 64;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A lane on an executor of its own.
    fn with_lane<F: Future>(limit: usize, test: impl FnOnce(Arc<Lane>) -> F) -> F::Output {
        let executor = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .enable_time()
            .build()
            .unwrap();
        let lane = Arc::new(Lane::new(executor.handle(), limit));
        executor.block_on(test(lane))
    }

    #[test]
    fn a_lane_uses_its_threads_and_no_more() {
        with_lane(3, |lane| async move {
            let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (release, released) = mpsc::channel();
            let released = Arc::new(Mutex::new(released));
            let jobs: Vec<_> = (0..20)
                .map(|number| {
                    let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                    let released = Arc::clone(&released);
                    lane.run(move || {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        let () = released.lock().unwrap().recv().unwrap();
                        running.fetch_sub(1, Ordering::SeqCst);
                        number
                    })
                })
                .collect();
            while running.load(Ordering::SeqCst) < 3 {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                release.send(()).unwrap();
            }
            for (number, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.await.unwrap(), number);
            }
            assert_eq!(most.load(Ordering::SeqCst), 3);
            assert!(lane.queue.lock().waiting.is_empty());
        });
    }

    #[test]
    fn a_lane_with_one_thread_keeps_the_order() {
        with_lane(1, |lane| async move {
            let order = Arc::new(Mutex::new(Vec::new()));
            for number in 0..1000 {
                let order = Arc::clone(&order);
                lane.submit(Box::new(move || order.lock().unwrap().push(number)));
            }
            lane.run(|| ()).await.unwrap();
            assert_eq!(*order.lock().unwrap(), (0..1000).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_full_lane_does_not_hold_up_another() {
        with_lane(2, |full| async move {
            let other = Lane::new(&full.handle, 2);
            let (release, released) = mpsc::channel::<()>();
            let released = Arc::new(Mutex::new(released));
            let held: Vec<_> = (0..100)
                .map(|_| {
                    let released = Arc::clone(&released);
                    full.run(move || released.lock().unwrap().recv().is_err())
                })
                .collect();
            for number in 0..100 {
                assert_eq!(other.run(move || number).await.unwrap(), number);
            }
            // Every wait fails now, and so ends.
            drop(release);
            for job in held {
                assert!(job.await.unwrap());
            }
        });
    }

    #[test]
    fn work_between_the_last_job_and_the_end_of_its_thread_is_not_lost() {
        with_lane(1, |lane| async move {
            for number in 0..20_000 {
                assert_eq!(lane.run(move || number).await.unwrap(), number);
            }
        });
    }

    #[test]
    fn a_panic_is_an_error_and_keeps_the_lane() {
        with_lane(1, |lane| async move {
            lane.run::<(), _>(|| panic!("on purpose")).await.unwrap_err();
            assert_eq!(lane.run(|| 1).await.unwrap(), 1);
        });
    }

    #[test]
    fn the_end_of_the_executor_is_told_to_who_waits() {
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lane = Lane::new(executor.handle(), 1);
        executor.shutdown_background();
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for _ in 0..2 {
            other.block_on(lane.run(|| ())).unwrap_err();
        }
    }
}
