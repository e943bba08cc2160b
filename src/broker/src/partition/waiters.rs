//! Parked fetches: who wants to know when more can be read.

use std::sync::{Arc, Mutex, PoisonError};

use runtime::sync::Notify;

use super::State;

/// One parked fetch, registered with each partition it reads.
#[derive(Debug, Default)]
pub(crate) struct FetchWaiter {
    notify: Notify,
}

impl FetchWaiter {
    /// Completes when a partition has woken the waiter since the last call.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }
}

/// The fetches parked at one partition.
#[derive(Default)]
pub(super) struct Waiters {
    parked: Mutex<Vec<Arc<FetchWaiter>>>,
}

impl Waiters {
    /// Wakes and forgets all.
    pub(super) fn wake_all(&self) {
        let parked = std::mem::take(&mut *self.lock());
        for waiter in parked {
            // One permit is kept if the fetch is not waiting yet, so no wake-up is lost.
            waiter.notify.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<FetchWaiter>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the parked; dropping it leaves.
pub(crate) struct Registration {
    state: Arc<State>,
    waiter: Arc<FetchWaiter>,
}

impl Registration {
    pub(super) fn new(state: Arc<State>, waiter: Arc<FetchWaiter>) -> Registration {
        state.waiters.lock().push(Arc::clone(&waiter));
        Registration { state, waiter }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.state.waiters.lock().retain(|parked| !Arc::ptr_eq(parked, &self.waiter));
    }
}
