//! The ledger of a crash test: what producers were told, held against what the broker kept.
//!
//! In: acknowledgements (`clients/go/ledger`), and the whole topic as a foreign client reads it.
//! Out: [`Violation`]s, or figures.
//!
//! What is checked: every acknowledged record is at its offset with its bytes; offsets have no
//! hole; nothing is stored that nobody sent; each producer's records are in its order, those of
//! an idempotent one without a repetition and without a gap.
//!
//! Start at [`Ledger::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::record::ReadRecord;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The record is at this offset, the broker said.
    Acknowledged {
        /// Which record.
        id: RecordId,
        /// Of which partition.
        partition: i32,
        /// At which offset.
        offset: i64,
    },
    /// The client gave the record up; it may be stored or not.
    Failed {
        /// Which record.
        id: RecordId,
    },
}

/// A record by its producer and that producer's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// Which producer.
    pub producer: u32,
    /// Counted from 0, over all partitions.
    pub sequence: u32,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Acknowledged and not there.
    #[error("{id:?} was acknowledged at {partition}:{offset}, where there is {found}")]
    Lost {
        /// Which record.
        id: RecordId,
        /// Where it should be.
        partition: i32,
        /// Where it should be.
        offset: i64,
        /// What is there.
        found: String,
    },
    /// An offset that no record has.
    #[error("partition {partition} goes from offset {before} to {after}")]
    Hole {
        /// Where.
        partition: i32,
        /// The offset before.
        before: i64,
        /// The offset after it.
        after: i64,
    },
    /// Stored bytes that nobody sent.
    #[error("{partition}:{offset} holds what no producer sent there: {what}")]
    Foreign {
        /// Where.
        partition: i32,
        /// Where.
        offset: i64,
        /// What about it is wrong.
        what: String,
    },
    /// An idempotent producer's record twice.
    #[error("{id:?} is twice in partition {partition}, the second time at {offset}")]
    Twice {
        /// Which record.
        id: RecordId,
        /// Where.
        partition: i32,
        /// The offset of the second one.
        offset: i64,
    },
    /// A record before one that was sent earlier.
    #[error("partition {partition}, offset {offset}: {id:?} follows {before} of its producer")]
    OutOfOrder {
        /// Which record.
        id: RecordId,
        /// Where.
        partition: i32,
        /// Where.
        offset: i64,
        /// The largest sequence before it.
        before: u32,
    },
    /// A record that an idempotent producer sent between two others is not there.
    #[error("partition {partition}: {id:?} is missing before offset {offset}")]
    Gap {
        /// Which record.
        id: RecordId,
        /// Where.
        partition: i32,
        /// The offset of the record after the gap.
        offset: i64,
    },
}

/// Figures of a ledger that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records acknowledged.
    pub acknowledged: usize,
    /// Records given up.
    pub failed: usize,
    /// Records stored.
    pub stored: usize,
    /// Of these, repetitions by producers that are not idempotent.
    pub repeated: usize,
}

/// Who wrote, and what was said.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Number of partitions.
    pub partitions: u32,
    /// Producers below this number are idempotent.
    pub idempotent: u32,
    /// In the order in which it was said.
    pub entries: Vec<Entry>,
}

impl FromStr for Entry {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Entry> {
        let words: Vec<&str> = line.split(' ').collect();
        let id = |producer: &str, sequence: &str| -> Result<RecordId> {
            Ok(RecordId { producer: producer.parse()?, sequence: sequence.parse()? })
        };
        match words[..] {
            ["A", producer, sequence, partition, offset] => Ok(Entry::Acknowledged {
                id: id(producer, sequence)?,
                partition: partition.parse()?,
                offset: offset.parse()?,
            }),
            ["F", producer, sequence, ..] => Ok(Entry::Failed { id: id(producer, sequence)? }),
            _ => bail!("{line:?} is no line of a ledger"),
        }
    }
}

/// The bytes of a record; `clients/go/ledger` makes the same.
pub fn value_of(id: RecordId) -> Vec<u8> {
    let mut state = u64::from(id.producer) << 40 ^ u64::from(id.sequence);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    let mut text = format!("{} {} ", id.producer, id.sequence).into_bytes();
    let length = next() % 1200;
    text.extend((0..length).map(|_| b'a' + u8::try_from(next() % 26).unwrap_or(0)));
    text
}

fn id_of(record: &ReadRecord) -> Result<RecordId> {
    let value = record.record.value.as_deref().context("no value")?;
    let text = std::str::from_utf8(value)?;
    let (producer, rest) = text.split_once(' ').context("no producer")?;
    let (sequence, _) = rest.split_once(' ').context("no sequence")?;
    Ok(RecordId { producer: producer.parse()?, sequence: sequence.parse()? })
}

impl Ledger {
    /// Holds the ledger against the whole topic: each partition's records from offset 0.
    pub fn check(
        &self,
        stored: &BTreeMap<i32, Vec<ReadRecord>>,
    ) -> std::result::Result<Figures, Vec<Violation>> {
        let mut violations = vec![];
        let mut figures = Figures::default();
        let failed = self.failed();
        figures.failed = failed.len();
        let mut ids = BTreeMap::new();
        for (&partition, records) in stored {
            figures.stored += records.len();
            let partition_ids = self.identify(partition, records, &mut violations);
            figures.repeated +=
                self.check_order(partition, &partition_ids, &failed, &mut violations);
            ids.insert(partition, partition_ids);
        }
        for entry in &self.entries {
            let Entry::Acknowledged { id, partition, offset } = *entry else { continue };
            figures.acknowledged += 1;
            let place = usize::try_from(offset).ok();
            let found = ids.get(&partition).zip(place).and_then(|(ids, place)| ids.get(place));
            if found.copied().flatten() != Some(id) {
                let found = format!("{found:?}");
                violations.push(Violation::Lost { id, partition, offset, found });
            }
        }
        if violations.is_empty() { Ok(figures) } else { Err(violations) }
    }

    fn failed(&self) -> BTreeSet<RecordId> {
        let failed = self.entries.iter().filter_map(|entry| match entry {
            Entry::Failed { id } => Some(*id),
            Entry::Acknowledged { .. } => None,
        });
        failed.collect()
    }

    /// Which record is at each offset, and whether it is there with its bytes.
    fn identify(
        &self,
        partition: i32,
        records: &[ReadRecord],
        violations: &mut Vec<Violation>,
    ) -> Vec<Option<RecordId>> {
        let mut due = 0;
        let mut ids = vec![];
        for record in records {
            let offset = record.offset;
            if offset != due {
                violations.push(Violation::Hole { partition, before: due - 1, after: offset });
            }
            due = offset + 1;
            let what = match id_of(record) {
                Err(error) => Err(format!("{error:#}")),
                Ok(id) if record.record.value != Some(value_of(id)) => {
                    Err(format!("bytes of {id:?}"))
                }
                Ok(id) if self.partition_of(id) != partition => Err(format!("place of {id:?}")),
                Ok(id) => Ok(id),
            };
            ids.push(what.as_ref().ok().copied());
            if let Err(what) = what {
                violations.push(Violation::Foreign { partition, offset, what });
            }
        }
        ids
    }

    fn partition_of(&self, id: RecordId) -> i32 {
        let partition =
            (u64::from(id.producer) + u64::from(id.sequence)) % u64::from(self.partitions);
        i32::try_from(partition).unwrap_or(i32::MAX)
    }

    /// The order of each producer's records in one partition; gives the number of repetitions.
    fn check_order(
        &self,
        partition: i32,
        ids: &[Option<RecordId>],
        failed: &BTreeSet<RecordId>,
        violations: &mut Vec<Violation>,
    ) -> usize {
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        let mut repeated = 0;
        for (offset, id) in (0..).zip(ids) {
            let Some(id) = *id else { continue };
            let is_idempotent = id.producer < self.idempotent;
            if !seen.insert(id) {
                repeated += 1;
                if is_idempotent {
                    violations.push(Violation::Twice { id, partition, offset });
                }
                continue;
            }
            let before = last.insert(id.producer, id.sequence);
            if let Some(before) = before.filter(|&before| before > id.sequence) {
                violations.push(Violation::OutOfOrder { id, partition, offset, before });
            } else if is_idempotent {
                self.check_gap(partition, offset, id, before, failed, violations);
            }
        }
        repeated
    }

    /// A producer sends every `partitions`-th record to the same partition.
    fn check_gap(
        &self,
        partition: i32,
        offset: i64,
        id: RecordId,
        before: Option<u32>,
        failed: &BTreeSet<RecordId>,
        violations: &mut Vec<Violation>,
    ) {
        let first = id.sequence % self.partitions;
        let due = before.map_or(first, |before| before + self.partitions);
        let mut missing = due;
        while missing < id.sequence {
            let id = RecordId { sequence: missing, ..id };
            if !failed.contains(&id) {
                violations.push(Violation::Gap { id, partition, offset });
            }
            missing += self.partitions;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    /// Two idempotent producers and a plain one on two partitions; 30 records each, interleaved.
    fn world() -> (Ledger, BTreeMap<i32, Vec<ReadRecord>>) {
        let mut ledger = Ledger { partitions: 2, idempotent: 2, entries: vec![] };
        let mut stored: BTreeMap<i32, Vec<ReadRecord>> = BTreeMap::new();
        for sequence in 0..30 {
            for producer in 0..3 {
                let id = RecordId { producer, sequence };
                let partition = ledger.partition_of(id);
                let records = stored.entry(partition).or_default();
                let offset = i64::try_from(records.len()).unwrap();
                records.push(record(id, partition, offset));
                ledger.entries.push(Entry::Acknowledged { id, partition, offset });
            }
        }
        (ledger, stored)
    }

    fn record(id: RecordId, partition: i32, offset: i64) -> ReadRecord {
        let value = Some(value_of(id));
        let record = Record { key: None, value, headers: vec![], timestamp: 0 };
        ReadRecord { topic: "t".into(), partition, offset, timestamp_type: None, record }
    }

    fn renumber(records: &mut [ReadRecord]) {
        for (offset, record) in (0..).zip(records) {
            record.offset = offset;
        }
    }

    #[test]
    fn a_ledger_that_holds() {
        let (ledger, stored) = world();
        let due = Figures { acknowledged: 90, failed: 0, stored: 90, repeated: 0 };
        assert_eq!(ledger.check(&stored), Ok(due));
    }

    #[test]
    fn a_lost_tail_is_seen() {
        let (ledger, mut stored) = world();
        stored.get_mut(&1).unwrap().pop();
        let violations = ledger.check(&stored).unwrap_err();
        assert!(matches!(violations[..], [Violation::Lost { partition: 1, .. }]), "{violations:?}");
    }

    #[test]
    fn a_lost_record_of_the_middle_is_seen() {
        let (ledger, mut stored) = world();
        let records = stored.get_mut(&0).unwrap();
        records.remove(9);
        let holes = ledger.check(&stored).unwrap_err();
        assert!(holes.iter().any(|v| matches!(v, Violation::Hole { before: 8, after: 10, .. })));
        renumber(stored.get_mut(&0).unwrap());
        let shifted = ledger.check(&stored).unwrap_err();
        assert!(shifted.iter().any(|v| matches!(v, Violation::Lost { offset: 9, .. })));
        assert!(shifted.iter().any(|v| matches!(v, Violation::Gap { .. })), "{shifted:?}");
    }

    #[test]
    fn changed_bytes_are_seen() {
        let (ledger, mut stored) = world();
        let record = &mut stored.get_mut(&0).unwrap()[4].record;
        *record.value.as_mut().unwrap().last_mut().unwrap() ^= 1;
        let violations = ledger.check(&stored).unwrap_err();
        assert!(matches!(violations[0], Violation::Foreign { offset: 4, .. }), "{violations:?}");
    }

    #[test]
    fn only_producers_without_idempotence_may_repeat() {
        let (mut ledger, mut stored) = world();
        ledger.entries.clear();
        let records = stored.get_mut(&0).unwrap();
        let of = |records: &[ReadRecord], producer| {
            records.iter().find(|r| id_of(r).unwrap().producer == producer).unwrap().clone()
        };
        let plain = of(records, 2);
        records.push(plain);
        renumber(records);
        assert_eq!(ledger.check(&stored).unwrap().repeated, 1);
        let records = stored.get_mut(&0).unwrap();
        let idempotent = of(records, 0);
        records.push(idempotent);
        renumber(records);
        let violations = ledger.check(&stored).unwrap_err();
        assert!(matches!(violations[..], [Violation::Twice { .. }]), "{violations:?}");
    }

    #[test]
    fn another_order_is_seen() {
        let (mut ledger, mut stored) = world();
        ledger.entries.clear();
        let records = stored.get_mut(&0).unwrap();
        let last = records.len() - 1;
        records.swap(2, last);
        renumber(records);
        let violations = ledger.check(&stored).unwrap_err();
        assert!(violations.iter().any(|v| matches!(v, Violation::OutOfOrder { .. })));
    }

    #[test]
    fn a_gap_is_fine_only_for_records_given_up() {
        let (mut ledger, mut stored) = world();
        ledger.entries.clear();
        let records = stored.get_mut(&0).unwrap();
        let gone = records.iter().position(|r| id_of(r).unwrap().producer == 0).unwrap();
        let id = id_of(&records.remove(gone)).unwrap();
        renumber(records);
        assert!(matches!(ledger.check(&stored).unwrap_err()[..], [Violation::Gap { .. }]));
        ledger.entries.push(Entry::Failed { id });
        assert_eq!(ledger.check(&stored).unwrap().failed, 1);
    }
}
