//! What the log remembers of one producer (`ProducerStateEntry`). Pure.

use std::collections::VecDeque;

use model::{Offset, ProducerEpoch, Sequence, Timestamp};

use super::RecognisedBatch;

/// Batches of a producer that a repeated one is recognised by (`NUM_BATCHES_TO_RETAIN`).
pub(crate) const BATCHES_MAX: usize = 5;

/// No coordinator has written a marker for the producer.
pub(crate) const NO_COORDINATOR_EPOCH: i32 = -1;

/// One of the last batches of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchMark {
    pub(crate) last_sequence: Sequence,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: Timestamp,
}

impl BatchMark {
    pub(crate) fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0.saturating_sub(i64::from(self.offset_delta)))
    }

    pub(super) fn recognised(&self) -> RecognisedBatch {
        let BatchMark { last_sequence, last_offset, .. } = *self;
        RecognisedBatch { base_offset: self.base_offset(), last_offset, last_sequence }
    }

    pub(crate) fn first_sequence(&self) -> Sequence {
        if self.last_sequence == Sequence::NONE {
            return Sequence::NONE;
        }
        // Sequences wrap after 2^31 - 1, so going back by n is going on by 2^31 - n.
        let first = i64::from(self.last_sequence.0) - i64::from(self.offset_delta);
        Sequence((first & i64::from(i32::MAX)) as i32)
    }
}

/// State of one producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_timestamp: Timestamp,
    /// Where its open transaction starts.
    pub(crate) txn_first_offset: Option<Offset>,
    /// Oldest first, all of `epoch`.
    pub(crate) batches: VecDeque<BatchMark>,
}

impl ProducerEntry {
    pub(crate) fn new(epoch: ProducerEpoch) -> ProducerEntry {
        ProducerEntry {
            epoch,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            last_timestamp: Timestamp::NONE,
            txn_first_offset: None,
            batches: VecDeque::new(),
        }
    }

    pub(crate) fn last_batch(&self) -> Option<&BatchMark> {
        self.batches.back()
    }

    pub(crate) fn last_sequence(&self) -> Sequence {
        self.last_batch().map_or(Sequence::NONE, |batch| batch.last_sequence)
    }

    /// The batch that a batch of `epoch` with these sequences repeats.
    pub(crate) fn find_duplicate(
        &self,
        epoch: ProducerEpoch,
        first: Sequence,
        last: Sequence,
    ) -> Option<&BatchMark> {
        if epoch != self.epoch {
            return None;
        }
        let same = |b: &&BatchMark| b.first_sequence() == first && b.last_sequence == last;
        self.batches.iter().find(same)
    }

    pub(crate) fn add_batch(&mut self, epoch: ProducerEpoch, batch: BatchMark) {
        self.enter_epoch(epoch);
        if self.batches.len() == BATCHES_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        self.last_timestamp = batch.timestamp;
    }

    /// Notes a marker: the transaction is over.
    pub(crate) fn end_transaction(
        &mut self,
        epoch: ProducerEpoch,
        coordinator_epoch: i32,
        timestamp: Timestamp,
    ) {
        self.enter_epoch(epoch);
        self.coordinator_epoch = coordinator_epoch;
        self.txn_first_offset = None;
        self.last_timestamp = timestamp;
    }

    /// Sequences of another epoch mean nothing.
    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
    }
}
