//! The records of one partition out of one fetch response, opened batch by batch.
//!
//! In: record data as it came, and for `read_committed` the aborted transactions in it. Out:
//! records in offset order. Pure.
//!
//! Invariants: control batches and what the isolation level hides move the position but are never
//! handed out; a batch cut off at the end is left for the next fetch.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerId, Timestamp};
use protocol::records::{Batch, BatchError, BatchRecords, ControlRecord, ControlType, Scratch};
use protocol::{Records, StrBytes};

use crate::metadata::TopicPartition;
use crate::record::Header;

pub use protocol::records::TimestampType;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Whose clock set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// How records are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRules {
    pub(crate) check_crcs: bool,
    /// The most that one batch may take once decompressed.
    pub(crate) batch_bytes_max: usize,
}

/// See the module.
pub(crate) struct Chunk {
    at: TopicPartition,
    rest: Bytes,
    ready: VecDeque<ConsumerRecord>,
    /// Records before it were not asked for: a batch is returned whole.
    from: Offset,
    /// Behind the last batch that was opened.
    next_offset: Offset,
    /// For `read_committed`.
    aborted: Option<Aborted>,
}

impl fmt::Debug for Chunk {
    /// Without the records, which may be a megabyte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("next_offset", &self.next_offset)
            .field("bytes", &self.rest.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// Transactions whose records are to be left out.
#[derive(Debug)]
struct Aborted {
    /// Not reached yet, the first one last.
    coming: Vec<(Offset, ProducerId)>,
    /// Between their first record and their marker.
    open: BTreeSet<ProducerId>,
}

impl Chunk {
    /// The records of `data` from offset `from` on. `aborted` names, for `read_committed`, the
    /// producer and first offset of each aborted transaction.
    pub(crate) fn new(
        at: TopicPartition,
        from: Offset,
        data: &Records,
        aborted: Option<Vec<(Offset, ProducerId)>>,
    ) -> Chunk {
        let aborted = aborted.map(|mut coming| {
            coming.sort();
            coming.reverse();
            Aborted { coming, open: BTreeSet::new() }
        });
        let rest = data.to_bytes();
        Chunk { at, rest, ready: VecDeque::new(), from, next_offset: from, aborted }
    }

    /// Behind the last batch in the data: where the next fetch goes on.
    pub(crate) fn end(&self) -> Offset {
        let mut rest = self.rest.clone();
        let mut end = self.next_offset;
        while let Ok(Some(batch)) = Batch::split_first(&mut rest) {
            end = end.max(batch.header.next_offset());
        }
        end
    }

    /// The next record, `None` at the end.
    pub(crate) fn next(
        &mut self,
        rules: ReadRules,
        scratch: &mut Scratch,
    ) -> Result<Option<ConsumerRecord>, BatchError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            let Some(batch) = Batch::split_first(&mut self.rest)? else { return Ok(None) };
            self.open(&batch, rules, scratch)?;
        }
    }

    /// Where to go on once everything that was opened has been handed out.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    fn open(
        &mut self,
        batch: &Batch,
        rules: ReadRules,
        scratch: &mut Scratch,
    ) -> Result<(), BatchError> {
        if rules.check_crcs {
            batch.verify_crc()?;
        }
        let header = &batch.header;
        let hidden = self.is_hidden(batch);
        if !header.attributes.is_control() && !hidden {
            let records = batch.records(rules.batch_bytes_max, scratch)?;
            self.take(&records)?;
        } else if header.attributes.is_control() {
            self.on_marker(batch, rules, scratch)?;
        }
        self.next_offset = self.next_offset.max(header.next_offset());
        Ok(())
    }

    fn take(&mut self, records: &BatchRecords) -> Result<(), BatchError> {
        let header = *records.header();
        let timestamp_type = header.attributes.timestamp_type();
        let epoch = header.leader_epoch;
        for record in records {
            let record = record?;
            if record.offset < self.from {
                continue;
            }
            let share = |part: Option<&[u8]>| part.map(|part| records.share(part));
            let headers = record.headers.iter().map(|header| Header {
                key: text(records, header.key),
                value: share(header.value),
            });
            self.ready.push_back(ConsumerRecord {
                at: self.at.clone(),
                offset: record.offset,
                timestamp: record.timestamp,
                timestamp_type,
                key: share(record.key),
                value: share(record.value),
                headers: headers.collect(),
                leader_epoch: (epoch > LeaderEpoch::NONE).then_some(epoch),
            });
        }
        Ok(())
    }

    /// Whether the batch belongs to an aborted transaction.
    fn is_hidden(&mut self, batch: &Batch) -> bool {
        let Some(aborted) = &mut self.aborted else { return false };
        let header = &batch.header;
        while let Some(&(first, producer)) = aborted.coming.last() {
            if first > header.last_offset() {
                break;
            }
            aborted.open.insert(producer);
            aborted.coming.pop();
        }
        header.attributes.is_transactional() && aborted.open.contains(&header.producer_id)
    }

    /// An abort marker ends its producer's aborted transaction.
    fn on_marker(
        &mut self,
        batch: &Batch,
        rules: ReadRules,
        scratch: &mut Scratch,
    ) -> Result<(), BatchError> {
        let Some(aborted) = &mut self.aborted else { return Ok(()) };
        let records = batch.records(rules.batch_bytes_max, scratch)?;
        for record in &records {
            if ControlRecord::read(&record?)?.control_type == ControlType::Abort {
                aborted.open.remove(&batch.header.producer_id);
            }
        }
        Ok(())
    }
}

/// A header's name. Nothing but habit makes it UTF-8; what is not becomes replacement characters.
fn text(records: &BatchRecords, key: &[u8]) -> StrBytes {
    StrBytes::from_utf8(records.share(key))
        .unwrap_or_else(|_| StrBytes::from(String::from_utf8_lossy(key).into_owned()))
}

#[cfg(test)]
mod tests {
    use model::{ProducerEpoch, Sequence};
    use protocol::records::{BatchBuilder, BatchOptions, Compression, EndTransaction, RecordParts};

    use super::*;

    const RULES: ReadRules = ReadRules { check_crcs: true, batch_bytes_max: 1 << 20 };

    fn batch(base: i64, values: &[&str], producer: i64, is_transactional: bool) -> Bytes {
        let options = BatchOptions {
            base_offset: Offset(base),
            compression: Compression::Lz4,
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
            is_transactional,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for value in values {
            let parts = RecordParts { value: Some(value.as_bytes()), ..Default::default() };
            builder.append(Timestamp(1), &parts);
        }
        builder.finish().expect("a small batch").bytes
    }

    fn marker(base: i64, producer: i64, is_commit: bool) -> Bytes {
        let end = EndTransaction {
            is_commit,
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            coordinator_epoch: 0,
        };
        end.batch(Offset(base), LeaderEpoch(0), Timestamp(1)).bytes
    }

    fn read(chunk: &mut Chunk) -> Vec<String> {
        let mut scratch = Scratch::new();
        let mut seen = Vec::new();
        while let Some(record) = chunk.next(RULES, &mut scratch).expect("good batches") {
            let value = record.value.expect("a value");
            seen.push(format!("{}:{}", record.offset, String::from_utf8_lossy(&value)));
        }
        seen
    }

    fn chunk(from: i64, batches: &[Bytes], aborted: Option<Vec<(Offset, ProducerId)>>) -> Chunk {
        let data = Records::from(Bytes::from(batches.concat()));
        Chunk::new(TopicPartition::new("t", 0), Offset(from), &data, aborted)
    }

    #[test]
    fn starts_inside_a_batch_and_leaves_a_cut_one() {
        let cut = batch(5, &["f"], -1, false);
        let whole = batch(0, &["a", "b", "c"], -1, false);
        let mut chunk = chunk(1, &[whole, cut.slice(..cut.len() - 1)], None);
        assert_eq!(chunk.end(), Offset(3));
        assert_eq!(read(&mut chunk), ["1:b", "2:c"]);
        assert_eq!(chunk.next_offset(), Offset(3));
    }

    #[test]
    fn aborted_records_and_markers_are_left_out() {
        let batches = [
            batch(0, &["bad"], 7, true),
            batch(1, &["good"], 8, true),
            batch(2, &["plain"], -1, false),
            marker(3, 7, false),
            batch(4, &["second"], 7, true),
            marker(5, 7, true),
            marker(6, 8, true),
        ];
        let aborted = vec![(Offset(0), ProducerId(7))];
        let mut committed = chunk(0, &batches, Some(aborted));
        assert_eq!(read(&mut committed), ["1:good", "2:plain", "4:second"]);
        assert_eq!(committed.next_offset(), Offset(7));
        let mut all = chunk(0, &batches, None);
        assert_eq!(read(&mut all), ["0:bad", "1:good", "2:plain", "4:second"]);
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let mut bytes = batch(0, &["a"], -1, false).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let mut chunk = chunk(0, &[Bytes::from(bytes)], None);
        let error = chunk.next(RULES, &mut Scratch::new()).expect_err("the checksum is wrong");
        assert!(matches!(error, BatchError::Checksum { .. }));
    }
}
