//! Time: a monotonic clock to measure with, a wall clock to stamp with, and sleeping.

use std::future::Future;
use std::time::Duration;

use model::{Instant, Timestamp};

use crate::BoxFuture;

/// A node's clocks. In the simulator each node has its own skew and drift.
pub trait Clock: Send + Sync + 'static {
    /// Time since start; never goes back.
    fn now(&self) -> Instant;

    /// Wall time; may jump either way.
    fn wall(&self) -> Timestamp;

    /// Completes at `deadline` or as soon after it as the executor can, never before; on its first
    /// poll when the deadline has passed.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;
}

/// A time limit passed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time limit passed")]
pub struct Elapsed;

/// Completes after `duration`.
pub async fn sleep(clock: &dyn Clock, duration: Duration) {
    clock.sleep_until(clock.now() + duration).await;
}

/// Runs `work` for `limit` at most; past it, `work` is dropped.
///
/// A `work` that is ready at the same moment as the limit wins. It is polled at least once.
pub async fn timeout<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let deadline = clock.sleep_until(clock.now() + limit);
    crate::select! {
        done = work => Ok(done),
        () = deadline => Err(Elapsed),
    }
}
