//! The batches of one partition: those that fill, those that wait, those whose fate is open.
//!
//! In: records, send opportunities, results. Out: which batch may go next and what to tell the
//! senders. Pure.
//!
//! Invariants:
//! - batches get their numbers in the order of their records, once, when they are first sent
//! - `outstanding` is in number order; while one of its batches waits to be sent again, nothing
//!   behind it is sent
//! - from the oldest batch with an open fate on, at most [`REMEMBERED_BATCHES`] are numbered, those
//!   that are settled already included: a broker recognises no older one when it comes again
//! - numbers start anew, under a new epoch, only while nothing is on the wire, and only for batches
//!   that the broker can not have
//!
//! Start at [`PartitionQueue::sendable`] and [`PartitionQueue::on_result`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{Instant, Sequence};

use super::batch::{Batch, BatchRecord, Completion, Identity, Numbering, Outcome, Place};
use super::config::REMEMBERED_BATCHES;
use super::error::DeliveryError;
use super::verdict::{BatchResult, Facts, Verdict, judge};

/// See the module.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    /// Sent at least once; the fate is open.
    outstanding: VecDeque<Batch>,
    /// Never sent. Only the last one takes records.
    waiting: VecDeque<Batch>,
    /// Under which the present numbers were given out.
    identity: Option<Identity>,
    next_sequence: Sequence,
    /// How many batches got numbers.
    numbered: u64,
    /// The broker has acknowledged a batch of this identity. Before that it takes any number as the
    /// first one (`ProducerAppendInfo.checkSequence`), so a second batch in flight could overtake
    /// the first and shut it out.
    established: bool,
    /// Numbers were given out that the broker may never see.
    gap: bool,
    /// What is outstanding needs new numbers under a new epoch.
    renumber: bool,
}

/// The circumstances in which a batch counts as ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) linger: Duration,
    pub(crate) batch_bytes: usize,
    /// Batches below this id go at once: a flush waits for them.
    pub(crate) flush_below: u64,
    /// All go at once: the buffer is full or the producer closes.
    pub(crate) hurry: bool,
}

/// What a result left to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Buffer memory that is free again.
    pub(crate) freed_bytes: usize,
    /// The leader may have changed.
    pub(crate) refresh: bool,
}

/// What comes with a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResultContext {
    pub(crate) now: Instant,
    /// How long to wait before another attempt.
    pub(crate) pause: Duration,
    /// The ids `split_id` and `split_id + 1` are free for the halves of a batch.
    pub(crate) split_id: u64,
    /// How often a batch may be sent again.
    pub(crate) retries: u32,
}

/// A batch for the wire.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) batch_id: u64,
    pub(crate) numbering: Option<Numbering>,
    pub(crate) records: Arc<Vec<BatchRecord>>,
}

impl Default for PartitionQueue {
    fn default() -> PartitionQueue {
        PartitionQueue {
            outstanding: VecDeque::new(),
            waiting: VecDeque::new(),
            identity: None,
            next_sequence: Sequence(0),
            numbered: 0,
            established: false,
            gap: false,
            renumber: false,
        }
    }
}

impl PartitionQueue {
    /// Adds a record to the batch that fills, or to a new one with `id`. True when there is now
    /// something to send or to wait for that was not there before.
    pub(crate) fn append(
        &mut self,
        record: BatchRecord,
        now: Instant,
        batch_bytes: usize,
        id: u64,
    ) -> (Arc<Completion>, usize, bool) {
        let size_bytes = record.size_bytes_max();
        let fits = self.waiting.back().is_some_and(|b| b.size_bytes + size_bytes <= batch_bytes);
        if !fits {
            self.waiting.push_back(Batch::new(id, now));
        }
        let full_before = self.waiting.len() > 1;
        let batch = self.waiting.back_mut().expect("one was just added if none was there");
        let index = batch.push(record);
        let news = !fits || full_before || batch.size_bytes >= batch_bytes;
        (Arc::clone(&batch.completion), index, news)
    }

    /// Whether nothing waits and no fate is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding.is_empty() && self.waiting.is_empty()
    }

    /// Every batch, in order.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.outstanding.iter().chain(&self.waiting)
    }

    fn on_wire(&self) -> bool {
        self.outstanding.iter().any(|batch| batch.place == Place::OnWire)
    }

    /// The size of the batch that may be sent now; `None` when none may.
    ///
    /// `identity` is the producer's present one, `None` when it is not idempotent or has none yet.
    pub(crate) fn sendable(
        &self,
        now: Instant,
        readiness: &Readiness,
        idempotent: bool,
        identity: Option<Identity>,
    ) -> Option<usize> {
        if self.renumber || (idempotent && identity.is_none()) {
            return None;
        }
        let queued = self.outstanding.iter().position(|batch| batch.place != Place::OnWire);
        match queued {
            // Only the oldest open batch may be sent again: one behind it would be out of order.
            Some(0) => {
                let batch = &self.outstanding[0];
                let due = matches!(batch.place, Place::Queued(not_before) if not_before <= now);
                return due.then_some(batch.size_bytes);
            }
            Some(_) => return None,
            None => {}
        }
        let batch = self.waiting.front()?;
        if idempotent {
            let same = self.identity == identity;
            let limit = if same && self.established { REMEMBERED_BATCHES } else { 1 };
            let oldest = self.outstanding.front().map_or(self.numbered, |batch| batch.ordinal);
            if self.gap || self.numbered - oldest >= limit as u64 {
                return None;
            }
        }
        self.is_ready(batch, now, readiness).then_some(batch.size_bytes)
    }

    fn is_ready(&self, batch: &Batch, now: Instant, readiness: &Readiness) -> bool {
        self.waiting.len() > 1
            || batch.size_bytes >= readiness.batch_bytes
            || readiness.hurry
            || batch.id < readiness.flush_below
            || batch.created + readiness.linger <= now
    }

    /// Takes the batch that [`Self::sendable`] found.
    pub(crate) fn take(&mut self, identity: Option<Identity>) -> Outgoing {
        let again = self.outstanding.front().is_some_and(|batch| batch.place != Place::OnWire);
        if !again {
            let mut batch = self.waiting.pop_front().expect("sendable found a batch");
            if let Some(identity) = identity {
                if self.identity != Some(identity) {
                    self.begin(identity);
                }
                let base_sequence = self.next_sequence;
                batch.numbering = Some(Numbering { identity, base_sequence });
                self.next_sequence = base_sequence.advance(batch.record_count());
            }
            batch.ordinal = self.numbered;
            self.numbered += 1;
            self.outstanding.push_back(batch);
        }
        let at = if again { 0 } else { self.outstanding.len() - 1 };
        let batch = &mut self.outstanding[at];
        batch.place = Place::OnWire;
        batch.attempts += 1;
        let outgoing = Outgoing {
            batch_id: batch.id,
            numbering: batch.numbering,
            records: Arc::clone(&batch.records),
        };
        self.assert_invariants();
        outgoing
    }

    /// Counts from zero under `identity`.
    fn begin(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.next_sequence = Sequence(0);
        self.established = false;
    }

    /// Whether this partition waits for an identity other than `identity` to go on.
    pub(crate) fn wants_new_identity(&self, identity: Option<Identity>) -> bool {
        self.must_restart() && self.identity == identity
    }

    fn must_restart(&self) -> bool {
        let lost_numbers = self.gap && self.outstanding.is_empty();
        (self.renumber || lost_numbers) && !self.on_wire()
    }

    /// Starts over with `identity`, a new one, if this partition waits for that.
    pub(crate) fn restart(&mut self, identity: Identity) {
        if !self.must_restart() || self.identity == Some(identity) {
            return;
        }
        self.begin(identity);
        self.gap = false;
        self.renumber = false;
        for batch in &mut self.outstanding {
            let base_sequence = self.next_sequence;
            batch.numbering = Some(Numbering { identity, base_sequence });
            self.next_sequence = base_sequence.advance(batch.record_count());
        }
        self.assert_invariants();
    }

    /// Notes what became of a batch that was sent.
    pub(crate) fn on_result(
        &mut self,
        batch_id: u64,
        result: BatchResult,
        context: ResultContext,
    ) -> Settled {
        let Some(at) = self.outstanding.iter().position(|batch| batch.id == batch_id) else {
            return Settled::default();
        };
        let batch = &self.outstanding[at];
        let numbered = batch.numbering.is_some();
        let facts = Facts {
            idempotent: numbered,
            oldest: at == 0,
            record_count: batch.records.len(),
            may_retry: batch.attempts <= context.retries,
        };
        let verdict = judge(&result, facts);
        if batch.abandoned && !matches!(verdict, Verdict::Done | Verdict::DoneBefore) {
            // Its senders know already; whether its numbers reached the log, nobody does.
            self.gap |= numbered;
            return Settled { freed_bytes: self.remove(at), refresh: false };
        }
        let settled = match verdict {
            Verdict::Done | Verdict::DoneBefore => self.complete(at, &result),
            Verdict::Retry { refresh } => {
                self.requeue(at, result, context);
                Settled { freed_bytes: 0, refresh }
            }
            Verdict::Renumber => {
                runtime::sometimes!("a producer numbers its batches anew");
                self.renumber = true;
                self.requeue(at, result, context);
                Settled::default()
            }
            Verdict::Split => self.split(at, context),
            Verdict::Fail { refresh } => {
                self.gap |= numbered;
                if let BatchResult::Failed(error) = result {
                    self.outstanding[at].completion.finish(Outcome::Failed(error));
                }
                Settled { freed_bytes: self.remove(at), refresh }
            }
        };
        self.assert_invariants();
        settled
    }

    fn complete(&mut self, at: usize, result: &BatchResult) -> Settled {
        let (base_offset, log_append_time) = match result {
            BatchResult::Acknowledged { base_offset, log_append_time } => {
                (*base_offset, *log_append_time)
            }
            BatchResult::Failed(_) => (None, None),
        };
        let outcome = Outcome::Acknowledged { base_offset, log_append_time };
        self.outstanding[at].completion.finish(outcome);
        self.established = true;
        Settled { freed_bytes: self.remove(at), refresh: false }
    }

    fn requeue(&mut self, at: usize, result: BatchResult, context: ResultContext) {
        let batch = &mut self.outstanding[at];
        batch.place = Place::Queued(context.now + context.pause);
        if let BatchResult::Failed(error) = result {
            batch.last_error = Some(error);
        }
    }

    fn split(&mut self, at: usize, context: ResultContext) -> Settled {
        let batch = self.outstanding.remove(at).expect("the index was just found");
        let old_bytes = batch.size_bytes;
        let (front, back) = batch.split(context.split_id);
        // The second half brings a header of its own, which is not worth accounting for.
        let new_bytes = front.size_bytes + back.size_bytes;
        for later in self.outstanding.range_mut(at..) {
            later.ordinal += 1;
        }
        self.numbered += 1;
        self.outstanding.insert(at, back);
        self.outstanding.insert(at, front);
        self.outstanding[at + 1].size_bytes -= new_bytes - old_bytes;
        Settled::default()
    }

    fn remove(&mut self, at: usize) -> usize {
        self.outstanding.remove(at).map_or(0, |batch| batch.size_bytes)
    }

    /// Gives up what is older than `limit`, and returns the memory that frees.
    pub(crate) fn expire(&mut self, now: Instant, limit: Duration) -> usize {
        self.give_up(|batch| {
            let expired = batch.created + limit <= now && !batch.abandoned;
            expired.then(|| DeliveryError::TimedOut {
                limit,
                attempts: batch.attempts,
                last: batch.last_error.clone().map(Box::new),
            })
        })
    }

    /// Gives up everything, and returns the memory that frees.
    pub(crate) fn fail_all(&mut self, reason: &DeliveryError) -> usize {
        self.give_up(|batch| (!batch.abandoned).then(|| reason.clone()))
    }

    fn give_up(&mut self, reason: impl Fn(&Batch) -> Option<DeliveryError>) -> usize {
        let mut freed_bytes = 0;
        let mut gap = false;
        self.waiting.retain(|batch| match reason(batch) {
            Some(error) => {
                batch.completion.finish(Outcome::Failed(error));
                freed_bytes += batch.size_bytes;
                false
            }
            None => true,
        });
        self.outstanding.retain_mut(|batch| {
            let Some(error) = reason(batch) else { return true };
            batch.completion.finish(Outcome::Failed(error));
            if batch.place == Place::OnWire {
                batch.abandoned = true;
                return true;
            }
            gap |= batch.numbering.is_some();
            freed_bytes += batch.size_bytes;
            false
        });
        self.gap |= gap;
        self.assert_invariants();
        freed_bytes
    }

    /// The next moment at which time alone changes something.
    pub(crate) fn next_wake(
        &self,
        now: Instant,
        readiness: &Readiness,
        delivery_timeout: Duration,
    ) -> Option<Instant> {
        let linger = self.waiting.front().map(|batch| batch.created + readiness.linger);
        let again = self.outstanding.iter().filter_map(|batch| match batch.place {
            Place::Queued(not_before) => Some(not_before),
            Place::OnWire => None,
        });
        let expiry = self.batches().filter(|b| !b.abandoned).map(|b| b.created + delivery_timeout);
        linger.into_iter().chain(again).chain(expiry).filter(|at| *at > now).min()
    }

    fn assert_invariants(&self) {
        let mut last: Option<(Identity, Sequence)> = None;
        for batch in &self.outstanding {
            let Some(numbering) = batch.numbering else { continue };
            if let Some((identity, end)) = last {
                debug_assert_eq!(identity, numbering.identity, "one identity at a time");
                let distance = numbering.base_sequence.0.wrapping_sub(end.0);
                debug_assert!(distance >= 0 || end.0 > i32::MAX / 2, "numbers ascend");
            }
            let end = numbering.base_sequence.advance(batch.record_count());
            last = Some((numbering.identity, end));
        }
        debug_assert!(self.waiting.iter().all(|batch| batch.numbering.is_none()));
    }
}
