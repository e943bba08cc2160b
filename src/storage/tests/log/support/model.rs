//! What a log must hold, told by a second, naive reading of the rules.

use std::collections::BTreeMap;

use model::Offset;
use protocol::records::BatchHeader;
use storage::AppendBatch;

use super::batches::stored;

/// A batch in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_marker: bool,
}

impl Entry {
    pub(crate) fn base(&self) -> i64 {
        self.header.base_offset.0
    }

    pub(crate) fn end(&self) -> i64 {
        self.header.next_offset().0
    }
}

/// What the rules say of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Appended(i64),
    Duplicate(i64, i64),
    Gap,
    OldEpoch,
    NotInTxn,
}

/// A producer, from the batches in the log alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelProducer {
    pub(crate) epoch: i16,
    /// First sequence, last sequence, first offset, last offset; oldest first, at most five.
    pub(crate) batches: Vec<(i32, i32, i64, i64)>,
    pub(crate) txn_start: Option<i64>,
}

impl ModelProducer {
    pub(crate) fn next_sequence(&self) -> i32 {
        self.batches.last().map_or(0, |batch| if batch.1 == i32::MAX { 0 } else { batch.1 + 1 })
    }
}

/// All batches that were written, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelLog {
    pub(crate) entries: Vec<Entry>,
    pub(crate) start: i64,
}

impl ModelLog {
    pub(crate) fn end(&self) -> i64 {
        self.entries.last().map_or(self.start, Entry::end)
    }

    pub(crate) fn producers(&self) -> BTreeMap<i64, ModelProducer> {
        let mut producers: BTreeMap<i64, ModelProducer> = BTreeMap::new();
        for entry in &self.entries {
            let header = &entry.header;
            if header.producer_id.0 < 0 {
                continue;
            }
            let producer = producers.entry(header.producer_id.0).or_default();
            if producer.epoch != header.producer_epoch.0 {
                producer.batches.clear();
            }
            producer.epoch = header.producer_epoch.0;
            if entry.is_marker {
                producer.txn_start = None;
                continue;
            }
            if header.attributes.is_transactional() {
                producer.txn_start.get_or_insert(entry.base());
            }
            let (first, last) = (header.base_sequence.0, header.last_sequence().0);
            producer.batches.push((first, last, entry.base(), entry.end() - 1));
            if producer.batches.len() > 5 {
                producer.batches.remove(0);
            }
        }
        producers
    }

    /// What becomes of a client's batch, or of a marker.
    pub(crate) fn judge(&self, header: &BatchHeader, is_marker: bool) -> Verdict {
        let producers = self.producers();
        let Some(known) = producers.get(&header.producer_id.0) else {
            return Verdict::Appended(self.end());
        };
        let (epoch, first, last) =
            (header.producer_epoch.0, header.base_sequence.0, header.last_sequence().0);
        if !is_marker && epoch == known.epoch {
            let repeated = known.batches.iter().find(|b| (b.0, b.1) == (first, last));
            if let Some(batch) = repeated {
                return Verdict::Duplicate(batch.2, batch.3);
            }
        }
        if epoch < known.epoch {
            return Verdict::OldEpoch;
        }
        if is_marker {
            return Verdict::Appended(self.end());
        }
        let expected = if epoch == known.epoch { known.next_sequence() } else { 0 };
        if first != expected {
            return Verdict::Gap;
        }
        if known.txn_start.is_some() && !header.attributes.is_transactional() {
            return Verdict::NotInTxn;
        }
        Verdict::Appended(self.end())
    }

    pub(crate) fn push(&mut self, batch: &AppendBatch, epoch: i32) {
        let base = Offset(self.end());
        let mut header = batch.header;
        header.base_offset = base;
        header.leader_epoch = model::LeaderEpoch(epoch);
        let bytes = stored(batch, base, epoch);
        let is_marker = header.attributes.is_control();
        self.entries.push(Entry { header, bytes, is_marker });
    }

    /// Removes every batch that reaches to `offset` or past it.
    pub(crate) fn truncate(&mut self, offset: i64) {
        let first = self.entries.iter().find(|entry| entry.end() > offset).map(Entry::base);
        self.entries.retain(|entry| entry.end() <= offset);
        if self.entries.is_empty() {
            // The log ends where the first batch that went began.
            self.start = self.start.min(first.unwrap_or(self.start));
        }
    }
}
