//! Faults that last: which ones lie on something, and until when. Each is named by its key, so that
//! one that ends leaves the others as they were.

use crate::world::Nanos;

/// The timed faults of one kind on one thing.
#[derive(Debug, Default)]
pub(super) struct Spells(Vec<(Nanos, u64)>);

impl Spells {
    /// The fault `key` lies on it until then.
    pub(super) fn add(&mut self, until: Nanos, key: u64) {
        self.0.push((until, key));
    }

    /// When the last one ends; 0 when there was none.
    pub(super) fn until(&self) -> Nanos {
        self.0.iter().map(|(until, _)| *until).max().unwrap_or(0)
    }

    /// Whether any lasts.
    pub(super) fn is_on(&self, now: Nanos) -> bool {
        now < self.until()
    }

    /// Those that last.
    pub(super) fn keys(&self, now: Nanos) -> Vec<u64> {
        self.0.iter().filter(|(until, _)| now < *until).map(|(_, key)| *key).collect()
    }

    /// Ends all; whether any lasted.
    pub(super) fn end(&mut self, now: Nanos) -> bool {
        let was_on = self.is_on(now);
        self.0.clear();
        was_on
    }
}
