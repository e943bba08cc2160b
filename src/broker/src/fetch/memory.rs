//! The memory that answers to Fetch may take until their clients have read them.
//!
//! A client that asks for much and reads nothing must not make the broker hold it all. While there
//! is room a fetch gets what it asks for; when there is none it gets little, and every fetch gets
//! that, so that those who do read go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// For the answers of all connections together.
const FETCH_MEMORY_BYTES: usize = 512 * 1024 * 1024;
/// What the first partition of a fetch may always give.
const FLOOR_BYTES: usize = 32 * 1024;

/// The budget of a broker.
#[derive(Debug)]
pub(crate) struct FetchMemory {
    used: AtomicUsize,
    max: usize,
}

/// A part of the budget; dropping it gives it back.
#[derive(Debug, Default)]
pub(crate) struct Grant {
    from: Option<Arc<FetchMemory>>,
    bytes: usize,
}

impl Default for FetchMemory {
    fn default() -> FetchMemory {
        FetchMemory { used: AtomicUsize::new(0), max: FETCH_MEMORY_BYTES }
    }
}

impl FetchMemory {
    /// Up to `wanted` bytes, as far as there is room; for the first partition of a fetch never
    /// less than [`FLOOR_BYTES`].
    pub(crate) fn grant(self: &Arc<Self>, wanted: usize, is_first: bool) -> Grant {
        let floor = if is_first { FLOOR_BYTES.min(wanted) } else { 0 };
        let mut granted = 0;
        // Always stores: the closure never says no.
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            granted = wanted.min(self.max.saturating_sub(used)).max(floor);
            Some(used + granted)
        });
        Grant { from: Some(Arc::clone(self)), bytes: granted }
    }

    /// Bytes that are granted now.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    #[cfg(test)]
    fn with_max(max: usize) -> Arc<FetchMemory> {
        Arc::new(FetchMemory { used: AtomicUsize::new(0), max })
    }
}

impl Grant {
    /// How many bytes it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it what was really needed: less as a rule, more for one batch that is larger than all
    /// that was asked for (KIP-74).
    pub(crate) fn settle(&mut self, bytes: usize) {
        let Some(memory) = &self.from else { return };
        match bytes < self.bytes {
            true => memory.used.fetch_sub(self.bytes - bytes, Ordering::AcqRel),
            false => memory.used.fetch_add(bytes - self.bytes, Ordering::AcqRel),
        };
        self.bytes = bytes;
    }

    /// Adds another grant to this one.
    pub(crate) fn merge(&mut self, mut other: Grant) {
        if self.from.is_none() {
            self.from = other.from.take();
        } else {
            // Its bytes are this one's now: it must not give them back.
            other.from = None;
        }
        self.bytes += other.bytes;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(memory) = &self.from {
            memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_and_comes_back() {
        let memory = FetchMemory::with_max(100_000);
        let used = || memory.used();
        let mut first = memory.grant(80_000, true);
        let second = memory.grant(80_000, true);
        assert_eq!((first.bytes(), second.bytes()), (80_000, FLOOR_BYTES));
        let third = memory.grant(80_000, false);
        assert_eq!(third.bytes(), 0);
        first.settle(10_000);
        assert_eq!(used(), 10_000 + FLOOR_BYTES);
        first.merge(second);
        first.merge(third);
        assert_eq!(first.bytes(), 10_000 + FLOOR_BYTES);
        first.settle(200_000);
        assert_eq!(used(), 200_000);
        drop(first);
        assert_eq!(used(), 0);
        let mut all = Grant::default();
        all.merge(memory.grant(10, true));
        assert_eq!(used(), 10);
        drop(all);
        assert_eq!(used(), 0);
    }
}
