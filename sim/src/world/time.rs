//! Virtual time: the queue of events and futures that wait for a moment.
//!
//! Time is nanoseconds since the start of the run. Nothing happens between two events, so time
//! jumps from one to the next. Events of the same moment happen in the order they were planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::World;
use super::tasks::TaskId;

/// Nanoseconds since the start of the run.
pub type Nanos = u64;

/// What happens at a moment.
pub(super) enum Event {
    /// A woken task is polled.
    Poll(TaskId),
    /// A sleeper wakes.
    Wake(Arc<Alarm>),
    /// Part of the world acts: a segment arrives, a fault strikes.
    Act(Box<dyn FnOnce(&World) + Send>),
}

struct Planned {
    at: Nanos,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The heap gives its greatest: the earliest.
    fn cmp(&self, other: &Planned) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Events to come.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Nanos, event: Event) {
        let order = self.planned;
        self.planned += 1;
        self.heap.push(Planned { at, order, event });
    }

    pub(super) fn next(&mut self) -> Option<(Nanos, Event)> {
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }

    pub(super) fn clear(&mut self) -> Vec<Event> {
        self.heap.drain().map(|planned| planned.event).collect()
    }
}

/// Wakes who sleeps, unless the sleeper is gone.
#[derive(Default)]
pub(super) struct Alarm(Mutex<Option<Waker>>);

impl Alarm {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Completes at a moment, on its first poll when that has passed.
pub struct Sleep {
    world: World,
    until: Nanos,
    alarm: Option<Arc<Alarm>>,
}

impl Sleep {
    pub(super) fn new(world: World, until: Nanos) -> Sleep {
        Sleep { world, until, alarm: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.until <= self.world.now() {
            return Poll::Ready(());
        }
        let waker = Some(context.waker().clone());
        match &self.alarm {
            Some(alarm) => *alarm.waker() = waker,
            None => {
                let alarm = Arc::new(Alarm(Mutex::new(waker)));
                self.world.plan(self.until, Event::Wake(Arc::clone(&alarm)));
                self.alarm = Some(alarm);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            // The event stays on the agenda and finds nobody.
            drop(alarm.waker().take());
        }
    }
}
