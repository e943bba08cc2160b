//! Records that travel together, and the promise their senders hold.
//!
//! A [`Batch`] collects records of one partition until it is sent; it keeps them until their fate
//! is known, because a batch may have to be split or numbered anew. A [`Completion`] is shared by
//! the batch and every [`Delivery`] of its records: one allocation per batch, not per record.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::{Instant, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use runtime::sync::Notify;

use super::error::DeliveryError;
use crate::metadata::TopicPartition;
use crate::record::Header;

/// One record as it waits in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchRecord {
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
}

/// The header of a batch in front of its records.
pub(crate) const BATCH_HEADER_BYTES: usize = 61;

impl BatchRecord {
    /// How many bytes the record takes at most, uncompressed: its fields and, for the length, the
    /// attributes, both deltas and the lengths of key, value and header list, the longest varints.
    pub(crate) fn size_bytes_max(&self) -> usize {
        const OVERHEAD_BYTES: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        let headers = self.headers.iter();
        let headers: usize = headers
            .map(|header| 10 + header.key.len() + header.value.as_ref().map_or(0, Bytes::len))
            .sum();
        let key = self.key.as_ref().map_or(0, Bytes::len);
        let value = self.value.as_ref().map_or(0, Bytes::len);
        OVERHEAD_BYTES + key + value + headers
    }
}

/// Who a producer is to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// What makes a batch recognisable when it arrives twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbering {
    pub(crate) identity: Identity,
    pub(crate) base_sequence: Sequence,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Waits to be sent, not before this moment.
    Queued(Instant),
    /// Sent; its response is due.
    OnWire,
}

/// Records of one partition that are sent together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) id: u64,
    pub(crate) created: Instant,
    /// Shared with the task that encodes them; nothing is added once it was sent.
    pub(crate) records: Arc<Vec<BatchRecord>>,
    pub(crate) size_bytes: usize,
    pub(crate) completion: Arc<Completion>,
    pub(crate) place: Place,
    pub(crate) numbering: Option<Numbering>,
    /// Which of its partition's batches it is, in the order of their numbers.
    pub(crate) ordinal: u64,
    /// How often it was sent.
    pub(crate) attempts: u32,
    /// What went wrong the last time.
    pub(crate) last_error: Option<DeliveryError>,
    /// Its senders were told that it timed out, while its response is still due.
    pub(crate) abandoned: bool,
}

impl Batch {
    pub(crate) fn new(id: u64, now: Instant) -> Batch {
        Batch {
            id,
            created: now,
            records: Arc::default(),
            size_bytes: BATCH_HEADER_BYTES,
            completion: Arc::new(Completion::default()),
            place: Place::Queued(now),
            numbering: None,
            ordinal: 0,
            attempts: 0,
            last_error: None,
            abandoned: false,
        }
    }

    /// Adds a record and returns its place in the batch.
    pub(crate) fn push(&mut self, record: BatchRecord) -> usize {
        self.size_bytes += record.size_bytes_max();
        let records = Arc::get_mut(&mut self.records);
        let records = records.expect("records are shared only once the batch is sent");
        records.push(record);
        records.len() - 1
    }

    pub(crate) fn record_count(&self) -> i32 {
        // A batch holds at most `buffer.memory` bytes, and a record takes more than one.
        i32::try_from(self.records.len()).expect("fewer records than bytes of memory")
    }

    /// Halves the batch; both halves keep its numbers and its age. Its own completion passes on to
    /// theirs. The ids of the halves are `id` and `id + 1`.
    pub(crate) fn split(self, id: u64) -> (Batch, Batch) {
        let (front_records, back_records) = self.records.split_at(self.records.len() / 2);
        let half = |id, records: &[BatchRecord], numbering, ordinal| {
            let mut batch = Batch::new(id, self.created);
            batch.attempts = self.attempts;
            batch.numbering = numbering;
            batch.ordinal = ordinal;
            for record in records {
                batch.push(record.clone());
            }
            batch
        };
        let front_count = front_records.len() as i32;
        let back_numbering = self.numbering.map(|numbering| Numbering {
            base_sequence: numbering.base_sequence.advance(front_count),
            ..numbering
        });
        let front = half(id, front_records, self.numbering, self.ordinal);
        let back = half(id + 1, back_records, back_numbering, self.ordinal + 1);
        self.completion.finish(Outcome::Split {
            front: Arc::clone(&front.completion),
            front_count: front.records.len(),
            back: Arc::clone(&back.completion),
        });
        (front, back)
    }
}

/// How a batch ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The broker has it. With acks=0, or for a duplicate that the broker no longer places, the
    /// offset is unknown.
    Acknowledged { base_offset: Option<Offset>, log_append_time: Option<Timestamp> },
    /// It failed as a whole.
    Failed(DeliveryError),
    /// It was too large and went on as two.
    Split { front: Arc<Completion>, front_count: usize, back: Arc<Completion> },
}

/// A batch's outcome, for all who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    outcome: Mutex<Option<Outcome>>,
    done: Notify,
}

impl Completion {
    /// Tells everybody; only the first outcome counts.
    pub(crate) fn finish(&self, outcome: Outcome) {
        let mut slot = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(outcome);
            self.done.notify_waiters();
        }
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn finished(&self) -> Outcome {
        loop {
            let mut done = std::pin::pin!(self.done.notified());
            done.as_mut().enable();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            done.await;
        }
    }

    /// Waits until the batch, and the halves it was split into, are done.
    pub(crate) async fn settled(self: Arc<Self>) {
        let mut open = vec![self];
        while let Some(completion) = open.pop() {
            if let Outcome::Split { front, back, .. } = completion.finished().await {
                open.extend([front, back]);
            }
        }
    }
}

/// Where a record ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Its offset; `None` with acks=0, and for a retry that the broker recognised but no longer
    /// knows the place of.
    pub offset: Option<Offset>,
    /// Its timestamp in the log.
    pub timestamp: Timestamp,
}

/// The promise of one record's outcome. Dropping it does not recall the record.
#[derive(Debug)]
pub struct Delivery {
    pub(crate) at: TopicPartition,
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: usize,
    pub(crate) timestamp: Timestamp,
}

impl Delivery {
    /// The partition that was chosen for the record.
    pub fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// Waits until the record is acknowledged or has failed.
    pub async fn acknowledged(self) -> Result<RecordMetadata, DeliveryError> {
        let Delivery { at, mut completion, mut index, timestamp } = self;
        loop {
            let outcome = completion.finished().await;
            match outcome {
                Outcome::Acknowledged { base_offset, log_append_time } => {
                    let offset = base_offset.map(|base| base + index as i64);
                    let timestamp = log_append_time.unwrap_or(timestamp);
                    return Ok(RecordMetadata { at, offset, timestamp });
                }
                Outcome::Failed(error) => return Err(error),
                Outcome::Split { front, front_count, back } => {
                    if index < front_count {
                        completion = front;
                    } else {
                        completion = back;
                        index -= front_count;
                    }
                }
            }
        }
    }
}
