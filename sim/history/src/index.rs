//! A history, sorted by partition: who sent what, and what was seen where.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Content, History, Outcome, Partition, Promise, RecordId, Stored, What};

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

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.ended, Some((_, Outcome::Refused { .. })))
    }
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// What was sent to it.
    pub(crate) sent: BTreeMap<RecordId, Sent<'a>>,
    /// Each offset's records, and when each was first seen there; the final read is at the end of
    /// time.
    pub(crate) at_offset: BTreeMap<i64, BTreeMap<Content, u64>>,
    /// The offsets of each record.
    pub(crate) offsets: BTreeMap<RecordId, BTreeSet<i64>>,
    /// What it held at the end.
    pub(crate) stored: Stored,
    /// The highest offset that a client asked to trim to.
    pub(crate) trimmed: Option<i64>,
    /// The offset of the last record of each key.
    pub(crate) last_of_keys: BTreeMap<u32, i64>,
}

impl Known<'_> {
    fn find_last_of_keys(&mut self) {
        for seen in &self.stored.records {
            if let Content::Record(id) = seen.content
                && let Some(key) = self.sent.get(&id).and_then(|sent| sent.key)
            {
                self.last_of_keys.insert(key, seen.offset);
            }
        }
    }
}

/// All partitions of a history.
pub(crate) type Index<'a> = BTreeMap<Partition, Known<'a>>;

pub(crate) fn index(history: &History) -> Index<'_> {
    let mut index = Index::new();
    let mut homes: BTreeMap<RecordId, Partition> = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::Send { id, partition, key } => {
                homes.insert(*id, partition.clone());
                let sent = Sent { id: *id, key: *key, sent_at: event.at, ended: None };
                index.entry(partition.clone()).or_default().sent.insert(*id, sent);
            }
            What::Sent { id, outcome } => {
                let home = homes.get(id).and_then(|home| index.get_mut(home));
                if let Some(sent) = home.and_then(|known| known.sent.get_mut(id)) {
                    sent.ended = Some((event.at, outcome));
                }
            }
            What::Poll { partition, records, .. } => {
                let known = index.entry(partition.clone()).or_default();
                for seen in records {
                    see(known, seen.offset, seen.content, event.at);
                }
            }
            What::Trim { partition, before } => {
                let known = index.entry(partition.clone()).or_default();
                known.trimmed = known.trimmed.max(Some(*before));
            }
            What::Seek { .. }
            | What::Reset { .. }
            | What::Bounds { .. }
            | What::PowerLoss { .. }
            | What::Damage { .. }
            | What::UnfitError { .. } => {}
        }
    }
    for (partition, stored) in &history.stored {
        let known = index.entry(partition.clone()).or_default();
        for seen in &stored.records {
            see(known, seen.offset, seen.content, u64::MAX);
        }
        known.stored = stored.clone();
        known.find_last_of_keys();
    }
    index
}

fn see(known: &mut Known<'_>, offset: i64, content: Content, at: u64) {
    known.at_offset.entry(offset).or_default().entry(content).or_insert(at);
    if let Content::Record(id) = content {
        known.offsets.entry(id).or_default().insert(offset);
    }
}

impl History {
    /// What the producer of a record promised.
    pub(crate) fn promise(&self, id: RecordId) -> Option<Promise> {
        Some(self.producers.get(id.producer as usize)?.promise)
    }
}
