//! A history, sorted by partition: who sent what, and what was known to be where, when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::rules::ANSWER_NANOS_MAX;
use crate::{
    Content, Event, GroupEvent, GroupWhat, History, Outcome, Partition, Promise, RecordId, Stored,
    What,
};

/// A record that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) id: RecordId,
    pub(crate) key: Option<u32>,
    pub(crate) sent_at: u64,
    /// When and how it ended; `None` when the producer crashed before.
    pub(crate) ended: Option<(u64, &'a Outcome)>,
}

impl Sent<'_> {
    /// The offset that the broker said, `None` inside when it said none.
    pub(crate) fn acknowledged(&self) -> Option<(u64, Option<i64>)> {
        match self.ended {
            Some((at, Outcome::Acknowledged { offset })) => Some((at, *offset)),
            _ => None,
        }
    }

    /// Where the broker said that the record is, and when that was true.
    pub(crate) fn claim(&self) -> Option<(i64, Span)> {
        let (until, offset) = self.acknowledged()?;
        let from = self.sent_at.max(until.saturating_sub(ANSWER_NANOS_MAX));
        Some((offset?, Span { from, until }))
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Refused { .. })))
    }
}

/// At some moment of it, ends included, something was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Span {
    /// The last read of a history.
    pub(crate) const END: Span = Span { from: u64::MAX, until: u64::MAX };

    /// From the begin of the earlier one to the end of the later one.
    pub(crate) fn hull(self, other: Span) -> Span {
        Span { from: self.from.min(other.from), until: self.until.max(other.until) }
    }
}

/// When a record was read at an offset: for the first time, and for the last time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sights {
    pub(crate) first: Span,
    pub(crate) last: Span,
}

impl Sights {
    pub(crate) fn is_stored(self) -> bool {
        self.last == Span::END
    }
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// What happened to it and to its records.
    pub(crate) events: Vec<&'a Event>,
    /// What was sent to it.
    pub(crate) sent: BTreeMap<RecordId, Sent<'a>>,
    /// What was read at each offset, and when.
    pub(crate) at_offset: BTreeMap<i64, BTreeMap<Content, Sights>>,
    /// The offsets at which each record was read.
    pub(crate) offsets: BTreeMap<RecordId, BTreeSet<i64>>,
    /// The records that were acknowledged at each offset.
    pub(crate) claims: BTreeMap<i64, Vec<(RecordId, Span)>>,
    /// What it held at the end; `None` when nobody read that.
    pub(crate) stored: Option<Stored>,
    /// When clients asked to trim, and to which offset.
    pub(crate) trims: Vec<(u64, i64)>,
    /// The offset of the last record of each key.
    pub(crate) last_of_keys: BTreeMap<u32, i64>,
    /// All records of each key.
    pub(crate) keys: BTreeMap<u32, Vec<RecordId>>,
}

impl<'a> Known<'a> {
    /// What was sent, and what was read where.
    fn find_records(&mut self) {
        // Since when a reader was only handed what was fetched from then on.
        let mut sought: BTreeMap<u32, u64> = BTreeMap::new();
        for event in std::mem::take(&mut self.events) {
            match &event.what {
                What::Send { id, key, .. } => {
                    let sent = Sent { id: *id, key: *key, sent_at: event.at, ended: None };
                    self.sent.insert(*id, sent);
                }
                What::Sent { id, outcome } => {
                    if let Some(sent) = self.sent.get_mut(id) {
                        sent.ended = Some((event.at, outcome));
                    }
                }
                What::Seek { reader, .. } | What::Reset { reader, .. } => {
                    sought.insert(*reader, event.at);
                }
                What::Group(GroupEvent {
                    what: GroupWhat::Assigned { member: reader, .. },
                    ..
                }) => {
                    sought.insert(*reader, event.at);
                }
                What::Poll { reader, records, .. } => {
                    let from = sought.get(reader).copied().unwrap_or(0);
                    for seen in records {
                        self.see(seen.offset, seen.content, Span { from, until: event.at });
                    }
                }
                What::Trim { before, .. } => self.trims.push((event.at, *before)),
                _ => {}
            }
            self.events.push(event);
        }
    }

    fn find_last_of_keys(&mut self, stored: &Stored) {
        for seen in &stored.records {
            if let Content::Record(id) = seen.content
                && let Some(key) = self.sent.get(&id).and_then(|sent| sent.key)
            {
                self.last_of_keys.insert(key, seen.offset);
            }
        }
    }

    /// Where records were acknowledged, once all is told.
    fn find_claims(&mut self) {
        for sent in self.sent.values() {
            if let Some((offset, span)) = sent.claim() {
                self.claims.entry(offset).or_default().push((sent.id, span));
            }
            if let Some(key) = sent.key {
                self.keys.entry(key).or_default().push(sent.id);
            }
        }
    }

    fn see(&mut self, offset: i64, content: Content, mut span: Span) {
        if let Content::Record(id) = content {
            self.offsets.entry(id).or_default().insert(offset);
            if let Some(sent) = self.sent.get(&id)
                && span != Span::END
            {
                span.from = span.from.max(sent.sent_at);
            }
        }
        let contents = self.at_offset.entry(offset).or_default();
        contents.entry(content).or_insert(Sights { first: span, last: span }).last = span;
    }

    /// Whether a record is where the last read found it.
    pub(crate) fn is_stored(&self, id: RecordId) -> bool {
        self.offsets.get(&id).is_some_and(|all| all.iter().any(|at| self.is_stored_at(id, *at)))
    }

    pub(crate) fn is_stored_at(&self, id: RecordId, offset: i64) -> bool {
        let contents = self.at_offset.get(&offset);
        let sights = contents.and_then(|contents| contents.get(&Content::Record(id)));
        sights.is_some_and(|sights| sights.is_stored())
    }

    /// Every record that was read or acknowledged at `offset`, and when for the first time.
    pub(crate) fn records_at(&self, offset: i64) -> impl Iterator<Item = (RecordId, Span)> {
        let read = self.at_offset.get(&offset).into_iter().flatten();
        let read = read.filter_map(|(content, sights)| match content {
            Content::Record(id) => Some((*id, sights.first)),
            Content::Altered(_) | Content::Foreign => None,
        });
        let claims = self.claims.get(&offset).into_iter().flatten();
        read.chain(claims.copied())
    }

    /// Whether anything was read or acknowledged at `offset`.
    pub(crate) fn is_known_at(&self, offset: i64) -> bool {
        self.at_offset.contains_key(&offset) || self.claims.contains_key(&offset)
    }
}

/// All partitions of a history.
pub(crate) type Index<'a> = BTreeMap<Partition, Known<'a>>;

/// `is_ended`: whether the history has a last read.
pub(crate) fn index(history: &History, is_ended: bool) -> Index<'_> {
    let mut index = Index::new();
    let mut homes: BTreeMap<RecordId, &Partition> = BTreeMap::new();
    for event in &history.events {
        let partition = match &event.what {
            What::Group(GroupEvent { what: GroupWhat::Assigned { partitions, .. }, .. }) => {
                for partition in partitions {
                    index.entry(partition.clone()).or_default().events.push(event);
                }
                continue;
            }
            What::Send { id, partition, .. } => {
                homes.insert(*id, partition);
                partition
            }
            What::Sent { id, .. } => match homes.get(id) {
                Some(home) => home,
                None => continue,
            },
            What::Seek { partition, .. }
            | What::Reset { partition, .. }
            | What::Poll { partition, .. }
            | What::Bounds { partition, .. }
            | What::Trim { partition, .. }
            | What::Trimmed { partition, .. } => partition,
            What::PowerLoss { .. }
            | What::Damage { .. }
            | What::CreateTopic { .. }
            | What::DeleteTopic { .. }
            | What::TopicDeleted { .. }
            | What::Clock { .. }
            | What::Group(_)
            | What::UnfitError { .. } => continue,
        };
        match index.get_mut(partition) {
            Some(known) => known.events.push(event),
            None => index.entry(partition.clone()).or_default().events.push(event),
        }
    }
    for known in index.values_mut() {
        known.find_records();
    }
    for known in index.values_mut() {
        known.find_claims();
    }
    if is_ended {
        add_stored(history, &mut index);
    }
    index
}

fn add_stored(history: &History, index: &mut Index<'_>) {
    for (partition, stored) in &history.stored {
        let known = index.entry(partition.clone()).or_default();
        for seen in &stored.records {
            known.see(seen.offset, seen.content, Span::END);
        }
        known.find_last_of_keys(stored);
        known.stored = Some(stored.clone());
    }
    let is_deleted = |topic: &Arc<str>| {
        let mut events = history.events.iter();
        events.any(
            |event| matches!(&event.what, What::DeleteTopic { topic: deleted } if deleted == topic),
        )
    };
    // Nobody reads a topic that was deleted; any other one that was not read holds nothing.
    for (partition, known) in index.iter_mut().filter(|(_, known)| known.stored.is_none()) {
        known.stored = (!is_deleted(&partition.topic)).then(Stored::default);
    }
}

impl History {
    /// What the producer of a record promised.
    pub(crate) fn promise(&self, id: RecordId) -> Option<Promise> {
        Some(self.producers.get(id.producer as usize)?.promise)
    }

    /// Whether the records of a producer are acknowledged in the order in which they are sent.
    pub(crate) fn is_in_order(&self, id: RecordId) -> bool {
        let producer = self.producers.get(id.producer as usize);
        producer
            .is_some_and(|producer| producer.is_ordered || producer.promise == Promise::Idempotent)
    }
}
