//! One assigned partition: where its reader stands, what is fetched already. Pure.
//!
//! Invariants:
//! - `position` is the offset of the next record to hand out; `fetch_offset` the next to ask for
//! - `position <= fetch_offset`, and what lies between is in `chunks`
//! - an answer to a question asked before the last seek changes nothing: `generation` tells

use std::collections::VecDeque;

use model::{BrokerId, Instant, Offset};

use super::chunk::Chunk;
use super::error::ConsumerError;
use crate::offsets::OffsetSpec;

/// How many fetched chunks may wait: one to read from, one to read next.
const CHUNKS_MAX: usize = 2;

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// To be looked up.
    Unknown(OffsetSpec),
    /// At this record, whether or not there is one yet.
    At(Offset),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) position: Position,
    pub(crate) fetch_offset: Offset,
    pub(crate) chunks: VecDeque<Chunk>,
    pub(crate) paused: bool,
    pub(crate) generation: u64,
    /// No question before this moment: the last answer was an error.
    pub(crate) not_before: Instant,
    pub(crate) failures: u32,
    /// To be told at the next poll.
    pub(crate) error: Option<ConsumerError>,
    /// A follower that the leader said to read from (KIP-392).
    pub(crate) read_replica: Option<BrokerId>,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) last_stable_offset: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
}

impl Assigned {
    pub(crate) fn new(position: Position) -> Assigned {
        let mut assigned = Assigned {
            position,
            fetch_offset: Offset::ZERO,
            chunks: VecDeque::new(),
            paused: false,
            generation: 0,
            not_before: Instant::default(),
            failures: 0,
            error: None,
            read_replica: None,
            high_watermark: None,
            last_stable_offset: None,
            log_start: None,
        };
        assigned.seek(position);
        assigned
    }

    /// Goes on at `position`; what was fetched for the old one is dropped.
    pub(crate) fn seek(&mut self, position: Position) {
        self.position = position;
        if let Position::At(offset) = position {
            self.fetch_offset = offset;
        }
        self.chunks.clear();
        self.generation += 1;
        self.not_before = Instant::default();
        self.failures = 0;
        self.error = None;
    }

    /// The offset to fetch from now, if any.
    pub(crate) fn wants_fetch(&self, now: Instant) -> Option<Offset> {
        let known = matches!(self.position, Position::At(_));
        let free = self.chunks.len() < CHUNKS_MAX && !self.paused && self.error.is_none();
        (known && free && self.not_before <= now).then_some(self.fetch_offset)
    }

    /// Whether there is something to hand out, or to tell.
    pub(crate) fn has_news(&self) -> bool {
        !self.paused && (!self.chunks.is_empty() || self.error.is_some())
    }

    /// Whether as much is fetched as may wait, and it is being read.
    pub(crate) fn is_full(&self) -> bool {
        self.chunks.len() >= CHUNKS_MAX && !self.paused
    }

    /// What to look up now, if anything.
    pub(crate) fn wants_lookup(&self, now: Instant) -> Option<OffsetSpec> {
        match self.position {
            Position::Unknown(spec) if self.not_before <= now && self.error.is_none() => Some(spec),
            _ => None,
        }
    }

    /// Takes fetched records.
    pub(crate) fn on_chunk(&mut self, chunk: Chunk) {
        self.fetch_offset = self.fetch_offset.max(chunk.end());
        self.chunks.push_back(chunk);
        self.failures = 0;
    }

    /// Leaves the partition alone until `not_before`.
    pub(crate) fn hold_off(&mut self, not_before: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = not_before;
        self.read_replica = None;
    }
}
