//! Concurrency: spawn, abort, join; and a place for work that would hold up the executor.

use std::fmt;
use std::future::Future;

use crate::sync::oneshot;
use crate::{BoxFuture, Runtime};

/// Runs futures side by side.
pub trait Tasks: Send + Sync + 'static {
    /// Starts `future`; it runs whether or not the returned [`Task`] is kept, and is never polled
    /// inside this call.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task;

    /// Runs `work` where it may take long or block, and completes when it has ended, by returning
    /// or by a panic. It runs to its end even when the returned future is dropped.
    ///
    /// How much work runs at once is bounded: work must not wait for other work given here.
    /// [`crate::run_blocking`] is this with a result.
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// How a task ended, other than by returning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It was aborted.
    #[error("task was aborted")]
    Aborted,
    /// It panicked.
    #[error("task panicked")]
    Panicked,
}

/// A spawned task. Dropping it detaches the task, which runs on.
pub struct Task {
    control: Box<dyn TaskControl>,
}

/// What an executor implements to hand out [`Task`]s.
pub trait TaskControl: Send + Sync {
    /// Drops the task's future at its next suspension, before its first poll when it had none yet;
    /// does nothing to an ended task.
    fn abort(&self);

    /// Whether the task has ended.
    fn is_finished(&self) -> bool;

    /// Completes when the task has ended.
    fn join(self: Box<Self>) -> BoxFuture<'static, Result<(), JoinError>>;
}

impl Task {
    /// Wraps an executor's handle.
    pub fn new(control: impl TaskControl + 'static) -> Task {
        Task { control: Box::new(control) }
    }

    /// Drops the task's future at its next suspension; does nothing to an ended task.
    pub fn abort(&self) {
        self.control.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.control.is_finished()
    }

    /// Waits for the end of the task. Dropping this future detaches the task.
    pub async fn join(self) -> Result<(), JoinError> {
        self.control.join().await
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// Starts `future` on `runtime` without the caller boxing it.
pub fn spawn(
    runtime: &Runtime,
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
) -> Task {
    runtime.tasks.spawn(name, Box::pin(future))
}

/// Runs `work` where it may take long or block, and returns what it returned.
///
/// [`JoinError::Panicked`] when it panicked.
pub async fn run_blocking<T: Send + 'static>(
    runtime: &Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        // Nobody waits any more when the caller was dropped.
        let _ = sender.send(work());
    };
    runtime.tasks.run_blocking(Box::new(work)).await;
    receiver.await.map_err(|_| JoinError::Panicked)
}
