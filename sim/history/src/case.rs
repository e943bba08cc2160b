//! One partition with all that its checks need, and what excuses what is missing there.
//!
//! Two things take records that nobody asked to delete: a loss of power, where the topic's
//! durability allows it, and the deletion of the topic. What was so before one of them and what is
//! so after it need not agree; without one in between they must. Start at [`Case::excuse`].

use std::collections::BTreeMap;

use crate::index::{Known, Span};
use crate::{Anomaly, Excuse, History, Partition, Promise, RecordId, Rules, Violation, What};
use crate::{clock::Clocks, deletion::Starts};

/// Something that takes records of a partition, at some moment of a span.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) span: Span,
    pub(crate) excuse: Excuse,
}

/// One partition, with all that its checks need.
pub(crate) struct Case<'a> {
    pub(crate) history: &'a History,
    pub(crate) partition: &'a Partition,
    pub(crate) known: &'a Known<'a>,
    pub(crate) rules: Rules,
    pub(crate) clocks: &'a Clocks,
    /// What took records of this partition, in the order of time.
    losses: Vec<Loss>,
    /// By the offset of a record that was acknowledged and is at its offset still: since when it,
    /// or one above it, is known to be there.
    survivors: BTreeMap<i64, u64>,
    pub(crate) starts: Starts,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        history: &'a History,
        partition: &'a Partition,
        known: &'a Known<'a>,
        clocks: &'a Clocks,
    ) -> Case<'a> {
        let rules = history.topics.get(&partition.topic).copied().unwrap_or_default();
        let losses = losses(history, partition, rules);
        let survivors = survivors(known);
        let starts = Starts::of(history, known, rules);
        Case { history, partition, known, rules, clocks, losses, survivors, starts }
    }

    pub(crate) fn violation(
        &self,
        anomaly: Anomaly,
        offset: Option<i64>,
        record: Option<RecordId>,
        text: String,
    ) -> Violation {
        Violation { anomaly, partition: Some(self.partition.clone()), offset, record, text }
    }

    /// What allows a record that once was at `offset`, at the latest since `since`, to be missing at
    /// the end.
    pub(crate) fn excuse(&self, id: RecordId, offset: Option<i64>, since: u64) -> Option<Excuse> {
        if self.is_deleted(offset) {
            return Some(Excuse::Deleted);
        }
        if self.rules.is_compacted && self.is_superseded(id, offset) {
            return Some(Excuse::Compacted);
        }
        // A loss of power only takes an end: never a record below one that was acknowledged before
        // and stays.
        let above = offset.and_then(|offset| self.survivors.range(offset + 1..).next());
        let spared = above.map_or(u64::MAX, |(_, since)| *since);
        let losses = self.losses.iter();
        let mut losses = losses.filter(|loss| since <= loss.span.until);
        let fatal = losses.find(|loss| match loss.excuse {
            Excuse::PowerLoss { at, .. } => at < spared,
            _ => true,
        });
        fatal.map(|loss| loss.excuse.clone())
    }

    /// Whether the end of the log's deleted part passed `offset`, and was allowed to.
    fn is_deleted(&self, offset: Option<i64>) -> bool {
        let Some(stored) = &self.known.stored else { return false };
        match offset {
            Some(offset) if offset < stored.log_start => {
                let told = self.starts.first_beyond(offset).unwrap_or(u64::MAX);
                self.may_delete(offset, told)
            }
            Some(_) => false,
            // Without an offset (acks=0) nobody knows whether it was before the start.
            None => {
                let is_trimmed = !self.known.trims.is_empty();
                stored.log_start > 0 && (self.rules.is_retained() || is_trimmed)
            }
        }
    }

    /// When the last read began.
    pub(crate) fn read_from(&self) -> u64 {
        self.history.read_from.unwrap_or(u64::MAX)
    }

    /// Whether a record was told of while the last read went on, at an offset past its end.
    pub(crate) fn is_too_late(&self, offset: Option<i64>, told: u64) -> bool {
        let end = self.known.stored.as_ref().map_or(0, |stored| stored.end);
        self.read_from() <= told && offset.is_none_or(|offset| end <= offset)
    }

    fn is_superseded(&self, id: RecordId, offset: Option<i64>) -> bool {
        let Some(key) = self.known.sent.get(&id).and_then(|sent| sent.key) else { return false };
        let last = self.known.last_of_keys.get(&key).copied();
        let is_below = last.is_some_and(|last| offset.is_none_or(|offset| offset < last));
        is_below || {
            let mut others = self.known.keys.get(&key).into_iter().flatten();
            others.any(|other| {
                let ended = self.known.sent[other].acknowledged();
                *other != id && ended.is_some_and(|(at, offset)| self.is_too_late(offset, at))
            })
        }
    }

    /// Whether a record that was at `offset` may have been compacted away by `at`, for a later one
    /// of its key.
    pub(crate) fn was_superseded(&self, id: RecordId, offset: i64, at: u64) -> bool {
        let Some(key) = self.known.sent.get(&id).and_then(|sent| sent.key) else { return false };
        let others = self.known.keys.get(&key).into_iter().flatten();
        others.copied().any(|other| {
            let sent = &self.known.sent[&other];
            if at < sent.sent_at || sent.is_refused() {
                return false;
            }
            // Where it repeats, it may once have been above, and nobody looked.
            let may_repeat = self.history.promise(other) == Some(Promise::AtLeastOnce);
            may_repeat || self.may_be_above(other, offset)
        })
    }

    fn may_be_above(&self, id: RecordId, offset: i64) -> bool {
        let claim = self.known.sent.get(&id).and_then(|sent| sent.claim());
        let read = self.known.offsets.get(&id).and_then(|all| all.last().copied());
        claim.map(|claim| claim.0).max(read).is_none_or(|highest| offset < highest)
    }

    /// Whether anything may have taken records at all.
    pub(crate) fn has_losses(&self) -> bool {
        !self.losses.is_empty()
    }

    /// What may have taken records between two moments, ends included.
    pub(crate) fn loss_within(&self, span: Span) -> Option<&Loss> {
        self.losses.iter().find(|loss| span.from <= loss.span.until && loss.span.from <= span.until)
    }

    /// Whether two things, each true at some moment of its span, are true in one sitting.
    pub(crate) fn is_one_sitting(&self, one: Span, other: Span) -> bool {
        self.loss_within(one.hull(other)).is_none()
    }
}

fn losses(history: &History, partition: &Partition, rules: Rules) -> Vec<Loss> {
    let mut losses: Vec<Loss> = Vec::new();
    for event in &history.events {
        match &event.what {
            What::PowerLoss { node } if rules.is_lost_with_power => {
                let excuse = Excuse::PowerLoss { at: event.at, node: node.clone() };
                losses.push(Loss { span: Span { from: event.at, until: event.at }, excuse });
            }
            What::DeleteTopic { topic } if *topic == partition.topic => {
                // Until its answer it may happen any time, without one for ever.
                let span = Span { from: event.at, until: u64::MAX };
                losses.push(Loss { span, excuse: Excuse::TopicDeleted });
            }
            What::TopicDeleted { topic } if *topic == partition.topic => {
                let asked = losses.iter_mut().rev();
                let mut asked = asked.filter(|loss| loss.excuse == Excuse::TopicDeleted);
                if let Some(loss) = asked.next() {
                    loss.span.until = event.at;
                }
            }
            _ => {}
        }
    }
    losses
}

fn survivors(known: &Known<'_>) -> BTreeMap<i64, u64> {
    let mut survivors = BTreeMap::new();
    let mut since = u64::MAX;
    for (&offset, claims) in known.claims.iter().rev() {
        let stays = claims.iter().filter(|(id, _)| known.is_stored_at(*id, offset));
        if let Some(told) = stays.map(|(_, span)| span.until).min() {
            since = since.min(told);
            survivors.insert(offset, since);
        }
    }
    survivors
}
