//! The last offset of every key, in bounded memory.
//!
//! Whole keys, not digests: no two keys are ever taken for one.

use model::{FastMap, Offset};

/// What an entry costs beside its key: pointer, length, offset, table, allocation.
const ENTRY_BYTES: usize = 64;

/// Keys of the dirty part of a log.
pub(crate) struct KeyMap {
    offsets: FastMap<Box<[u8]>, Offset>,
    bytes: usize,
    bytes_max: usize,
    /// All records below are taken in.
    end: Offset,
}

impl KeyMap {
    pub(crate) fn new(bytes_max: usize) -> KeyMap {
        KeyMap { offsets: FastMap::default(), bytes: 0, bytes_max, end: Offset::ZERO }
    }

    pub(crate) fn start_at(&mut self, offset: Offset) {
        self.end = offset;
    }

    /// Takes a record in; `false` when the memory is used up, except by a first key.
    pub(crate) fn insert(&mut self, key: &[u8], offset: Offset) -> bool {
        if let Some(known) = self.offsets.get_mut(key) {
            *known = offset;
            return true;
        }
        let cost = key.len() + ENTRY_BYTES;
        if self.bytes + cost > self.bytes_max && !self.offsets.is_empty() {
            return false;
        }
        self.bytes += cost;
        self.offsets.insert(key.into(), offset);
        true
    }

    /// All batches below `offset` are taken in.
    pub(crate) fn mapped_to(&mut self, offset: Offset) {
        self.end = offset;
    }

    /// Records from here on are not judged.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// Whether a later record has the same key.
    pub(crate) fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        // A batch that the memory ended in is not judged, nor does it judge others.
        self.offsets.get(key).is_some_and(|last| *last > offset && *last < self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_first_key_always_fits() {
        let mut map = KeyMap::new(100);
        assert!(map.insert(&[1; 500], Offset(0)));
        map.mapped_to(Offset(1));
        assert!(map.insert(&[1; 500], Offset(1)), "known already");
        map.mapped_to(Offset(2));
        assert!(!map.insert(b"b", Offset(2)));
        assert!(map.is_superseded(&[1; 500], Offset(0)));
        assert!(!map.is_superseded(&[1; 500], Offset(1)));
        assert!(!map.is_superseded(b"b", Offset(0)));
    }
}
