//! Who wrote what last: detection of repeated batches and gaps, open transactions
//! (`ProducerStateManager`). Pure.
//!
//! In: headers of batches before and after they are appended. Out: verdicts.
//!
//! Invariants:
//! - the state at an offset follows from the log below it alone, on every replica
//! - an append that did not happen leaves no trace ([`ProducerStates::roll_back`])
//!
//! Start at [`ProducerStates::check`] and [`ProducerStates::apply`].

mod entry;
mod idle;
pub(crate) mod snapshot;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::time::Duration;

use model::{Instant, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use protocol::records::{Batch, BatchHeader, ControlRecord, ControlType, Scratch};

use crate::error::AppendError;
pub(crate) use entry::{BatchMark, ProducerEntry};
use idle::Idleness;

/// Whether and how a producer's sequence is checked (`AppendOrigin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer's batch: epoch and sequence are checked, repeated batches recognised.
    Client,
    /// A batch or marker of this broker's own coordinators: only epochs are checked.
    Coordinator,
}

/// A batch that is recognised when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecognisedBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Sequence of its last record.
    pub last_sequence: Sequence,
}

/// One producer as DescribeProducers shows it, and what it is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; -1 when unknown.
    pub last_sequence: Sequence,
    /// Time of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// Epoch of the coordinator that ended its last transaction; -1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction starts.
    pub current_txn_start: Option<Offset>,
    /// Its last batches, oldest first, five at most.
    pub batches: Vec<RecognisedBatch>,
}

/// What a control batch says, as far as the log cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) is_abort: bool,
    pub(crate) coordinator_epoch: i32,
    pub(crate) timestamp: Timestamp,
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedTxn {
    pub(crate) producer_id: ProducerId,
    pub(crate) first_offset: Offset,
    /// The marker's.
    pub(crate) last_offset: Offset,
    pub(crate) is_abort: bool,
}

/// A verdict on a batch that could be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It continues the producer's stream, or has none.
    Fresh,
    /// It is in the log already.
    Duplicate(BatchMark),
}

/// The producers of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProducerStates {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// Open transactions by their first offset.
    open_txns: BTreeMap<Offset, ProducerId>,
    /// Ended transactions whose marker may not be replicated yet: first offset to marker's offset.
    ended_txns: BTreeMap<Offset, Offset>,
    /// What `roll_back` restores: the entries touched since `begin`.
    before: BTreeMap<ProducerId, Option<ProducerEntry>>,
    idleness: Idleness,
}

impl ProducerStates {
    /// Out of a snapshot.
    pub(crate) fn from_entries(entries: BTreeMap<ProducerId, ProducerEntry>) -> ProducerStates {
        let mut states = ProducerStates { entries, ..ProducerStates::default() };
        states.index_open_txns();
        states
    }

    pub(crate) fn entries(&self) -> &BTreeMap<ProducerId, ProducerEntry> {
        &self.entries
    }

    /// Judges a batch that would be appended next, in Kafka's order: repeated, epoch, sequence,
    /// transaction (`UnifiedLog.analyzeAndValidateProducerState`, `ProducerAppendInfo`).
    pub(crate) fn check(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
        marker: Option<&Marker>,
    ) -> Result<Check, AppendError> {
        if !header.producer_id.is_idempotent() {
            return Ok(Check::Fresh);
        }
        let Some(entry) = self.entries.get(&header.producer_id) else { return Ok(Check::Fresh) };
        let (first, last) = (header.base_sequence, header.last_sequence());
        if origin == AppendOrigin::Client
            && let Some(mark) = entry.find_duplicate(header.producer_epoch, first, last)
        {
            return Ok(Check::Duplicate(*mark));
        }
        check_epoch(header, entry)?;
        if let Some(marker) = marker {
            check_coordinator(header, entry, marker)?;
            return Ok(Check::Fresh);
        }
        if origin == AppendOrigin::Client {
            check_sequence(header, entry)?;
        }
        if entry.txn_first_offset.is_some() && !header.attributes.is_transactional() {
            return Err(AppendError::InvalidTxnState { producer: header.producer_id });
        }
        Ok(Check::Fresh)
    }

    /// Takes a batch in, with its offsets as they are in the log; the transaction it ended, if any.
    pub(crate) fn apply(
        &mut self,
        header: &BatchHeader,
        marker: Option<&Marker>,
    ) -> Option<EndedTxn> {
        if !header.producer_id.is_idempotent() {
            return None;
        }
        let is_control = header.attributes.is_control();
        if is_control && marker.is_none() {
            // Compaction left an empty batch where a marker was.
            return None;
        }
        let entry = match self.entries.entry(header.producer_id) {
            Slot::Vacant(slot) => slot.insert(ProducerEntry::new(header.producer_epoch)),
            Slot::Occupied(slot) => slot.into_mut(),
        };
        if let Some(marker) = marker {
            let first_offset = entry.txn_first_offset;
            let (epoch, coordinator) = (header.producer_epoch, marker.coordinator_epoch);
            entry.end_transaction(epoch, coordinator, marker.timestamp);
            let first_offset = first_offset?;
            self.open_txns.remove(&first_offset);
            self.ended_txns.insert(first_offset, header.last_offset());
            return Some(EndedTxn {
                producer_id: header.producer_id,
                first_offset,
                last_offset: header.last_offset(),
                is_abort: marker.is_abort,
            });
        }
        let mark = BatchMark {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        };
        entry.add_batch(header.producer_epoch, mark);
        if header.attributes.is_transactional() && entry.txn_first_offset.is_none() {
            entry.txn_first_offset = Some(header.base_offset);
            self.open_txns.insert(header.base_offset, header.producer_id);
        }
        None
    }

    /// [`ProducerStates::apply`] of a batch that may still fail to reach the disk.
    pub(crate) fn apply_tentatively(&mut self, header: &BatchHeader, marker: Option<&Marker>) {
        if header.producer_id.is_idempotent() {
            let entry = self.entries.get(&header.producer_id);
            self.before.entry(header.producer_id).or_insert_with(|| entry.cloned());
        }
        self.apply(header, marker);
    }

    /// What was applied tentatively is in the log.
    pub(crate) fn commit(&mut self) {
        self.before.clear();
    }

    /// What was applied tentatively from offset `from` on never happened.
    pub(crate) fn roll_back(&mut self, from: Offset) {
        for (producer, entry) in std::mem::take(&mut self.before) {
            match entry {
                Some(entry) => self.entries.insert(producer, entry),
                None => self.entries.remove(&producer),
            };
        }
        self.ended_txns.retain(|_, last| *last < from);
        self.index_open_txns();
    }

    /// The first offset that a read_committed consumer must not see yet: of an open transaction,
    /// or of an ended one whose marker lies at `high_watermark` or behind it.
    pub(crate) fn first_unstable_offset(&mut self, high_watermark: Offset) -> Option<Offset> {
        self.ended_txns.retain(|_, last| *last >= high_watermark);
        let open = self.open_txns.keys().next();
        let ended = self.ended_txns.keys().next();
        open.into_iter().chain(ended).min().copied()
    }

    /// Forgets producers that have been idle for `expiration` and have no open transaction.
    pub(crate) fn expire(&mut self, now: Instant, expiration: Duration) {
        let idleness = &mut self.idleness;
        idleness.forget_all_but(&self.entries);
        self.entries.retain(|id, entry| {
            !idleness.is_idle(*id, entry, now, expiration) || entry.txn_first_offset.is_some()
        });
    }

    pub(crate) fn describe(&self) -> Vec<ProducerDescription> {
        let describe = |(&producer_id, entry): (&ProducerId, &ProducerEntry)| ProducerDescription {
            producer_id,
            epoch: entry.epoch,
            last_sequence: entry.last_sequence(),
            last_timestamp: entry.last_timestamp,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_start: entry.txn_first_offset,
            batches: entry.batches.iter().map(BatchMark::recognised).collect(),
        };
        self.entries.iter().map(describe).collect()
    }

    fn index_open_txns(&mut self) {
        let open = self.entries.iter();
        let open = open.filter_map(|(&id, entry)| Some((entry.txn_first_offset?, id)));
        self.open_txns = open.collect();
    }
}

fn check_epoch(header: &BatchHeader, entry: &ProducerEntry) -> Result<(), AppendError> {
    if header.producer_epoch < entry.epoch {
        return Err(AppendError::InvalidProducerEpoch {
            producer: header.producer_id,
            current: entry.epoch,
            got: header.producer_epoch,
        });
    }
    Ok(())
}

fn check_sequence(header: &BatchHeader, entry: &ProducerEntry) -> Result<(), AppendError> {
    let got = header.base_sequence;
    let last = if header.producer_epoch == entry.epoch {
        entry.last_sequence()
    } else {
        // The first batch of a new epoch starts at 0.
        Sequence::NONE
    };
    let expected = if last == Sequence::NONE { Sequence(0) } else { last.advance(1) };
    if got != expected {
        return Err(AppendError::OutOfOrderSequence { producer: header.producer_id, last, got });
    }
    Ok(())
}

fn check_coordinator(
    header: &BatchHeader,
    entry: &ProducerEntry,
    marker: &Marker,
) -> Result<(), AppendError> {
    if marker.coordinator_epoch < entry.coordinator_epoch {
        return Err(AppendError::CoordinatorFenced {
            producer: header.producer_id,
            current: entry.coordinator_epoch,
            got: marker.coordinator_epoch,
        });
    }
    Ok(())
}

/// The transaction marker in a batch: `None` for data, for other control records, and for a batch
/// that compaction emptied.
pub(crate) fn read_marker(batch: &Batch) -> Result<Option<Marker>, AppendError> {
    if !batch.header.attributes.is_control() || batch.header.record_count == 0 {
        return Ok(None);
    }
    let unreadable = |_| AppendError::InvalidMarker;
    let mut scratch = Scratch::new();
    let records = batch.records(MARKER_BYTES_MAX, &mut scratch).map_err(unreadable)?;
    let record = records.iter().next().ok_or(AppendError::InvalidMarker)?.map_err(unreadable)?;
    let control = ControlRecord::read(&record).map_err(unreadable)?;
    let is_abort = match control.control_type {
        ControlType::Abort => true,
        ControlType::Commit => false,
        _ => return Ok(None),
    };
    let coordinator_epoch = control.coordinator_epoch().map_err(unreadable)?;
    Ok(Some(Marker { is_abort, coordinator_epoch, timestamp: record.timestamp }))
}

/// A marker has a few dozen bytes.
const MARKER_BYTES_MAX: usize = 4096;
