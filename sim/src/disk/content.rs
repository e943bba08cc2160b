//! The bytes of one file: as the page cache has them, and as the device has them.
//!
//! A change goes into the cache and onto a list; a sync takes it off the list and applies it to
//! the durable bytes, so it costs what was changed, not what the file holds.
//!
//! Invariant: unless a sync failed (`is_apart`), the durable bytes with the pending changes applied
//! in order are the cached bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use runtime::RandomStream;

use super::profile::one_in;
use super::survival::{Survival, pieces, survive};

/// The unit of the page cache.
pub(super) const PAGE: u64 = 4096;
/// More changes than these, or more bytes, are not kept waiting for a sync: the kernel begins to
/// write them back, the oldest first.
const PENDING_MAX: usize = 8_192;
const PENDING_BYTES_MAX: u64 = 64 << 20;
/// Of the pages of a failed sync one in so many was written before the device failed.
const WRITTEN_ONE_IN: u64 = 4;

/// A change to a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { position: u64, bytes: Bytes },
    SetLen(u64),
}

impl Change {
    fn size(&self) -> u64 {
        match self {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::SetLen(_) => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Changes that no sync has covered, each with its number.
    pending: VecDeque<(u64, Change)>,
    pending_bytes: u64,
    next: u64,
    /// Pages that a failed sync gave up: clean in the cache, never written.
    lost: BTreeSet<u64>,
    /// Whether pages were lost since cache and device last agreed.
    is_apart: bool,
    /// How many syncs failed.
    losses: u64,
    /// Changes before this number were said to be durable and are not.
    lied_until: u64,
}

/// What a loss of power did to one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// Bytes that are not as the cache had them.
    pub(super) bytes: u64,
    /// Whether a sync had said that they would stay.
    pub(super) was_lied_about: bool,
}

impl Content {
    /// A file whose bytes are durable.
    pub(super) fn settled(bytes: Vec<u8>) -> Content {
        Content { cached: bytes.clone(), durable: bytes, ..Content::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Bytes that wait for a sync.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// How many syncs failed so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// The number of the next change: a sync that begins now covers all before it.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    pub(super) fn read(&self, position: u64, len: u64) -> Bytes {
        let start = position.min(self.len()) as usize;
        let end = position.saturating_add(len).min(self.len()) as usize;
        Bytes::copy_from_slice(&self.cached[start..end])
    }

    pub(super) fn write(&mut self, position: u64, bytes: Bytes) {
        let change = Change::Write { position, bytes };
        apply(&mut self.cached, &change);
        for change in self.with_lost_pages(change) {
            self.push(change);
        }
        self.write_back();
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let change = Change::SetLen(len);
        apply(&mut self.cached, &change);
        self.push(change);
        self.lost.split_off(&len.div_ceil(PAGE));
    }

    fn push(&mut self, change: Change) {
        self.pending_bytes += change.size();
        self.pending.push_back((self.next, change));
        self.next += 1;
    }

    /// A page is written back as a whole: who dirties a lost one brings all of it back.
    fn with_lost_pages(&mut self, change: Change) -> Vec<Change> {
        let Change::Write { position, bytes } = &change else { return vec![change] };
        let end = position + bytes.len() as u64;
        if self.lost.is_empty() || bytes.is_empty() {
            return vec![change];
        }
        let touched: Vec<u64> =
            self.lost.range(position / PAGE..end.div_ceil(PAGE)).copied().collect();
        let mut changes = Vec::new();
        for page in touched {
            self.lost.remove(&page);
            let bytes = self.read(page * PAGE, PAGE);
            changes.push(Change::Write { position: page * PAGE, bytes });
        }
        changes.push(change);
        changes
    }

    /// Bounds the list of changes, unless the device only pretends to keep them.
    fn write_back(&mut self) {
        let is_long = self.pending.len() > PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX;
        if is_long && self.lied_until == 0 {
            self.sync(self.next - self.pending.len() as u64 / 2);
        }
    }

    /// Makes the changes before `until` durable.
    pub(super) fn sync(&mut self, until: u64) {
        while self.pending.front().is_some_and(|(number, _)| *number < until) {
            let Some((_, change)) = self.pending.pop_front() else { return };
            self.pending_bytes -= change.size();
            apply(&mut self.durable, &change);
        }
        if self.pending.is_empty() {
            self.lied_until = 0;
        }
    }

    /// Says that the changes before `until` are durable; whether there were any.
    pub(super) fn lie(&mut self, until: u64) -> bool {
        self.lied_until = self.lied_until.max(until);
        self.pending.front().is_some_and(|(number, _)| *number < until)
    }

    /// The device refused some of the changes before `until`: each page was written, or was not and
    /// stays in the cache as if it were clean. Lengths are metadata, which the journal has. Returns
    /// the pages that are lost.
    pub(super) fn fail_sync(&mut self, until: u64, draws: &mut RandomStream) -> Vec<u64> {
        let mut is_written: BTreeMap<u64, bool> = BTreeMap::new();
        while self.pending.front().is_some_and(|(number, _)| *number < until) {
            let Some((_, change)) = self.pending.pop_front() else { break };
            self.pending_bytes -= change.size();
            let Change::Write { position, bytes } = &change else {
                apply(&mut self.durable, &change);
                continue;
            };
            for (at, piece) in pieces(*position, bytes, PAGE) {
                let drawn = is_written.entry(at / PAGE);
                if *drawn.or_insert_with(|| one_in(draws, WRITTEN_ONE_IN)) {
                    write(&mut self.durable, at, piece);
                }
            }
        }
        let lost = is_written.into_iter().filter(|(_, is_written)| !is_written);
        let lost: BTreeSet<u64> = lost.map(|(page, _)| page).collect();
        self.lost.extend(&lost);
        // Those that were dirtied again meanwhile are written again, as a whole.
        for page in self.dirty_pages() {
            if self.lost.remove(&page) {
                let bytes = self.read(page * PAGE, PAGE);
                self.push(Change::Write { position: page * PAGE, bytes });
            }
        }
        self.losses += 1;
        self.is_apart = true;
        self.lost.intersection(&lost).copied().collect()
    }

    fn dirty_pages(&self) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        for (_, change) in &self.pending {
            if let Change::Write { position, bytes } = change {
                pages.extend(*position / PAGE..(*position + bytes.len() as u64).div_ceil(PAGE));
            }
        }
        pages
    }

    /// The cache forgets those of `pages` that are lost: what is read now is what the device has.
    /// Returns how many.
    pub(super) fn evict(&mut self, pages: &[u64]) -> usize {
        let lost: Vec<u64> = pages.iter().filter(|page| self.lost.remove(page)).copied().collect();
        for page in &lost {
            let start = (page * PAGE).min(self.len()) as usize;
            let end = ((page + 1) * PAGE).min(self.len()) as usize;
            for at in start..end {
                self.cached[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
        lost.len()
    }

    /// Turns over one bit, wherever the byte is kept.
    pub(super) fn flip(&mut self, position: u64, bit: u8) {
        let mask = 1 << (bit % 8);
        let at = position as usize;
        for bytes in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        for (_, change) in &mut self.pending {
            let Change::Write { position: start, bytes } = change else { continue };
            let Some(inside) = position.checked_sub(*start) else { continue };
            if inside < bytes.len() as u64 {
                let mut copy = bytes.to_vec();
                copy[inside as usize] ^= mask;
                *bytes = copy.into();
            }
        }
    }

    /// The cache is gone; of what was not synced survives what `survival` says.
    pub(super) fn lose_power(&mut self, survival: Survival, draws: &mut RandomStream) -> Lost {
        if self.pending.is_empty() && !self.is_apart {
            return Lost::default();
        }
        let first = self.pending.front().map(|(number, _)| *number);
        let was_lied_about = first.is_some_and(|first| first < self.lied_until);
        let pending: Vec<Change> = self.pending.drain(..).map(|(_, change)| change).collect();
        survive(&mut self.durable, &pending, survival, draws);
        let same = self.cached.iter().zip(&self.durable).filter(|(a, b)| a == b).count();
        let bytes = (self.cached.len().max(self.durable.len()) - same) as u64;
        self.cached.clone_from(&self.durable);
        self.lost.clear();
        self.is_apart = false;
        self.pending_bytes = 0;
        self.lied_until = 0;
        Lost { bytes, was_lied_about: was_lied_about && 0 < bytes }
    }

    /// Everything durable, as if synced.
    pub(super) fn settle(&mut self) {
        self.sync(self.next);
        if self.is_apart {
            self.lost.clear();
            self.is_apart = false;
            self.durable.clone_from(&self.cached);
        }
    }
}

/// Applies `change` to `content`.
pub(super) fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => content.resize(*len as usize, 0),
        Change::Write { position, bytes } => write(content, *position, bytes),
    }
}

/// Writes `bytes` at `position`; a gap before it becomes zeros.
pub(super) fn write(content: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    let (start, end) = (position as usize, position as usize + bytes.len());
    if bytes.is_empty() {
        return;
    }
    if start == content.len() {
        content.extend_from_slice(bytes);
        return;
    }
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}
