//! Sparse indexes of a segment: offsets to positions, timestamps to offsets (`OffsetIndex`,
//! `TimeIndex`).
//!
//! The newest entries are in memory, the others in the file, in Kafka's format, where they are
//! searched in place. Entries are hints: who uses one checks that it points at what it says.
//!
//! Invariant: keys and values of the entries strictly increase.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use model::{Offset, Timestamp};
use runtime::{File, read_full_at};

/// A search in the file ends by reading this many entries at once.
const BLOCK_ENTRIES: u32 = 512;

/// An entry of an index file.
pub(crate) trait Entry: Copy + Send + Sync {
    /// Bytes in the file.
    const LEN: usize;
    /// What the index is searched by.
    type Key: Ord + Copy + Send + Sync;
    /// This entry's.
    fn key(&self) -> Self::Key;
    /// Appends the bytes of the file, for a segment that starts at `base`.
    fn put(&self, base: Offset, out: &mut BytesMut);
    /// Reads `LEN` bytes.
    fn parse(base: Offset, bytes: &[u8]) -> Self;
}

/// `position` is where the batch starts whose last offset is `last_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) last_offset: Offset,
    pub(crate) position: u64,
}

impl Entry for OffsetEntry {
    const LEN: usize = 8;
    type Key = Offset;

    fn key(&self) -> Offset {
        self.last_offset
    }

    fn put(&self, base: Offset, out: &mut BytesMut) {
        out.put_u32((self.last_offset - base) as u32);
        out.put_u32(self.position as u32);
    }

    fn parse(base: Offset, bytes: &[u8]) -> OffsetEntry {
        OffsetEntry {
            last_offset: base + i64::from(u32_at(bytes, 0)),
            position: u64::from(u32_at(bytes, 4)),
        }
    }
}

/// Up to the batch that ends at `offset`, no timestamp is larger than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: Offset,
}

impl Entry for TimeEntry {
    const LEN: usize = 12;
    type Key = Timestamp;

    fn key(&self) -> Timestamp {
        self.timestamp
    }

    fn put(&self, base: Offset, out: &mut BytesMut) {
        out.put_i64(self.timestamp.0);
        out.put_u32((self.offset - base) as u32);
    }

    fn parse(base: Offset, bytes: &[u8]) -> TimeEntry {
        let high = i64::from(u32_at(bytes, 0)) << 32;
        TimeEntry {
            timestamp: Timestamp(high | i64::from(u32_at(bytes, 4))),
            offset: base + i64::from(u32_at(bytes, 8)),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The bytes of `entries`.
pub(crate) fn encode<E: Entry>(base: Offset, entries: &[E]) -> Bytes {
    let mut out = BytesMut::with_capacity(entries.len() * E::LEN);
    for entry in entries {
        entry.put(base, &mut out);
    }
    out.freeze()
}

/// The entry at `at`; `None` past the end of the file.
pub(crate) async fn entry_at<E: Entry>(
    file: &dyn File,
    base: Offset,
    at: u32,
) -> io::Result<Option<E>> {
    let bytes = read_full_at(file, u64::from(at) * E::LEN as u64, E::LEN).await?;
    Ok((bytes.len() == E::LEN).then(|| E::parse(base, &bytes)))
}

/// How many entries the file really has: Kafka sets room aside in zeros, and a machine that lost
/// power may have kept a file's length but not its end.
pub(crate) async fn count_entries<E: Entry>(file: &dyn File) -> io::Result<u32> {
    let whole = file.len().await? / E::LEN as u64;
    let (mut used, mut end) = (0u32, u32::try_from(whole).unwrap_or(u32::MAX));
    // Entries strictly increase, so only the first could be all zeros, and none needs to be.
    while used < end {
        let middle = used + (end - used) / 2;
        let bytes = read_full_at(file, u64::from(middle) * E::LEN as u64, E::LEN).await?;
        if bytes.len() == E::LEN && bytes.iter().any(|&b| b != 0) {
            used = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(used)
}

/// How many of the first `count` entries have a key for which `below` holds; it has to hold for
/// all before one for which it does.
pub(crate) async fn count_below<E: Entry>(
    file: &dyn File,
    base: Offset,
    count: u32,
    below: impl Fn(E::Key) -> bool,
) -> io::Result<u32> {
    let (mut low, mut high) = (0, count);
    while high - low > BLOCK_ENTRIES {
        let middle = low + (high - low) / 2;
        let entry = entry_at::<E>(file, base, middle).await?;
        if entry.is_some_and(|entry| below(entry.key())) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let len = (high - low) as usize * E::LEN;
    let block = read_full_at(file, u64::from(low) * E::LEN as u64, len).await?;
    let entries = block.chunks_exact(E::LEN).map(|bytes| E::parse(base, bytes));
    Ok(low + entries.take_while(|entry| below(entry.key())).count() as u32)
}

/// The part of an index that is in memory, and how much of it is in the file.
#[derive(Debug)]
pub(crate) struct Index<E> {
    /// Entries in the file; `None` until somebody looked.
    pub(crate) saved: Option<u32>,
    /// Entries behind those of the file.
    pub(crate) tail: Vec<E>,
    /// The file may hold bytes behind its `saved` entries, which a write has to cut off first.
    pub(crate) cut_first: bool,
}

impl<E: Entry> Index<E> {
    /// Of a new segment.
    pub(crate) fn empty() -> Index<E> {
        Index { saved: Some(0), tail: Vec::new(), cut_first: true }
    }

    /// Of a segment whose file nobody has looked at.
    pub(crate) fn unread() -> Index<E> {
        Index { saved: None, tail: Vec::new(), cut_first: false }
    }

    /// The last entry in memory with a key of at most `key`.
    pub(crate) fn floor_in_tail(&self, key: E::Key) -> Option<E> {
        let after = self.tail.partition_point(|entry| entry.key() <= key);
        after.checked_sub(1).map(|at| self.tail[at])
    }

    /// Entries in all.
    pub(crate) fn len(&self) -> usize {
        self.saved.unwrap_or(0) as usize + self.tail.len()
    }
}
