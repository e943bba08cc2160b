//! What a segment knows of its indexes: the entries in memory, the largest timestamp.

use model::Timestamp;
use protocol::records::BatchHeader;

use crate::index::{Entry, Index, OffsetEntry, TimeEntry};

/// The indexes of one segment.
pub(super) struct Indexes {
    pub(super) offsets: Index<OffsetEntry>,
    pub(super) times: Index<TimeEntry>,
    /// The largest timestamp, once known; `None` inside when no batch has one.
    pub(super) max: Option<Option<TimeEntry>>,
    pub(super) last_time: Option<TimeEntry>,
    /// Bytes since the last entry.
    pub(super) bytes_since_entry: u64,
    /// The files are missing or cut: they have to be made anew before they are used.
    pub(super) is_doubted: bool,
    /// Counts rebuilds, so that a save that was under way meanwhile does not count.
    pub(super) generation: u64,
}

impl Indexes {
    /// Of a new segment.
    pub(super) fn empty() -> Indexes {
        Indexes::anew(0)
    }

    /// Without entries, whatever the files hold.
    pub(super) fn anew(generation: u64) -> Indexes {
        Indexes {
            offsets: Index::empty(),
            times: Index::empty(),
            max: Some(None),
            last_time: None,
            bytes_since_entry: 0,
            is_doubted: false,
            generation,
        }
    }

    /// Of a segment whose files nobody has looked at.
    pub(super) fn unread() -> Indexes {
        Indexes { offsets: Index::unread(), times: Index::unread(), max: None, ..Indexes::empty() }
    }

    pub(super) fn note(&mut self, header: &BatchHeader, position: u64, interval: u64) {
        let last_offset = header.last_offset();
        let larger =
            |max: Option<TimeEntry>| max.is_none_or(|max| header.max_timestamp > max.timestamp);
        let known = self.max.flatten();
        if larger(known) && header.max_timestamp >= Timestamp(0) {
            self.max =
                Some(Some(TimeEntry { timestamp: header.max_timestamp, offset: last_offset }));
        }
        if self.bytes_since_entry > interval {
            self.offsets.tail.push(OffsetEntry { last_offset, position });
            self.push_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.size_bytes() as u64;
    }

    /// Adds the largest timestamp so far, unless the index has it.
    pub(super) fn push_time(&mut self) {
        let Some(Some(max)) = self.max else { return };
        if self.last_time.is_none_or(|last| max.timestamp > last.timestamp) {
            self.times.tail.push(max);
            self.last_time = Some(max);
        }
    }
}

/// The two kinds of indexes of a segment.
pub(super) trait IndexFile: Entry {
    fn index(indexes: &mut Indexes) -> &mut Index<Self>;
}

impl IndexFile for OffsetEntry {
    fn index(indexes: &mut Indexes) -> &mut Index<OffsetEntry> {
        &mut indexes.offsets
    }
}

impl IndexFile for TimeEntry {
    fn index(indexes: &mut Indexes) -> &mut Index<TimeEntry> {
        &mut indexes.times
    }
}
