//! A flag that is raised once and that many tasks wait for.

use std::sync::atomic::{AtomicBool, Ordering};

use runtime::sync::Notify;

/// Raised when the broker begins to stop.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    raised: AtomicBool,
    changed: Notify,
}

impl Stopping {
    /// Raises the flag and wakes all who wait.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether the flag is up.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Completes when the flag is up.
    pub(crate) async fn wait(&self) {
        let mut changed = std::pin::pin!(self.changed.notified());
        // Registered before the look, so that a raise between the two is not missed.
        changed.as_mut().enable();
        if !self.is_raised() {
            changed.await;
        }
    }
}
