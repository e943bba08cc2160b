//! A shard out of its partition's log.
//!
//! A directory of Apache Kafka may hold offsets that transactions committed. They count from the
//! marker that commits the transaction on, and not at all without one
//! (`OffsetMetadataManager.replayEndTransactionMarker`).

use std::collections::BTreeMap;

use bytes::Bytes;
use coordinator::{Record, RecordError, Shard};
use model::{Offset, ProducerId};
use protocol::records::{Batch, BatchError, ControlRecord, ControlType, Scratch};
use storage::{LogReader, ReadError, ReadRequest};

/// The most that one batch may take once decompressed.
const BATCH_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why a shard can not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The log can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch can not be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A record is not what its kind says.
    #[error("record {offset}")]
    Record {
        /// Its offset.
        offset: Offset,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// Replays the log up to `end`, reading `read_bytes` at once; gives the number of records.
pub(super) async fn load(
    reader: &LogReader,
    end: Offset,
    read_bytes: usize,
    shard: &mut Shard,
) -> Result<u64, LoadError> {
    let mut replay = Replay { shard, scratch: Scratch::new(), open: BTreeMap::new(), records: 0 };
    let mut from = reader.log_start();
    while from < end {
        let request = ReadRequest {
            from,
            max_bytes: read_bytes,
            up_to: end,
            at_least_one: true,
            verify_crc: true,
        };
        let mut read = match reader.read(request).await {
            // Compaction and retention may move the start while we read.
            Err(ReadError::OutOfRange { log_start, .. }) if log_start > from => {
                from = log_start;
                continue;
            }
            read => read?,
        };
        while let Some(batch) = Batch::split_first(&mut read.bytes)? {
            replay.batch(&batch)?;
        }
        if read.next_offset <= from {
            // Nothing is left below the end: compaction took the last records away.
            break;
        }
        from = read.next_offset;
    }
    Ok(replay.records)
}

/// A shard in the making.
struct Replay<'a> {
    shard: &'a mut Shard,
    scratch: Scratch,
    /// What transactions wrote that have not ended, and where.
    open: BTreeMap<ProducerId, Vec<(Offset, Record)>>,
    records: u64,
}

impl Replay<'_> {
    fn batch(&mut self, batch: &Batch) -> Result<(), LoadError> {
        let attributes = batch.header.attributes;
        let producer = attributes.is_transactional().then_some(batch.header.producer_id);
        let mut decoded = Vec::new();
        for record in batch.records(BATCH_BYTES_MAX, &mut self.scratch)?.iter() {
            let record = record?;
            if attributes.is_control() {
                let control_type = ControlRecord::read(&record)?.control_type;
                self.end_transaction(batch.header.producer_id, control_type);
                return Ok(());
            }
            let at = record.offset;
            // Copied: a group that lives on would keep the whole batch in memory.
            let copied = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
            let record = Record::decode(copied(record.key), copied(record.value))
                .map_err(|source| LoadError::Record { offset: at, source })?;
            decoded.extend(record.map(|record| (at, record)));
        }
        match producer {
            Some(producer) => self.open.entry(producer).or_default().extend(decoded),
            None => decoded.into_iter().for_each(|(at, record)| self.apply(at, record)),
        }
        Ok(())
    }

    /// Takes in what counts from now on. What open transactions wrote before it for the same partition
    /// will not count any more.
    fn apply(&mut self, at: Offset, record: Record) {
        if let Record::OffsetCommit { key, .. } = &record {
            let is_older = |one: &(Offset, Record)| {
                let is_same =
                    matches!(&one.1, Record::OffsetCommit { key: known, .. } if known == key);
                is_same && one.0 < at
            };
            self.open.values_mut().for_each(|records| records.retain(|one| !is_older(one)));
        }
        self.shard.replay(record);
        self.records += 1;
    }

    fn end_transaction(&mut self, producer: ProducerId, control_type: ControlType) {
        let written = match control_type {
            ControlType::Commit | ControlType::Abort => self.open.remove(&producer),
            _ => None,
        };
        if control_type == ControlType::Commit {
            written.into_iter().flatten().for_each(|(at, record)| self.apply(at, record));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coordinator::{
        Call, Cluster, Config, ConsumerGroupSettings, Env, Output, Request, Response, Ticket, Topic,
    };
    use model::{Instant, LeaderEpoch, ProducerEpoch, Timestamp, TopicId};
    use protocol::StrBytes;
    use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
    use protocol::messages::{OffsetCommitKey, OffsetCommitValue};
    use protocol::records::{BatchBuilder, BatchOptions, EndTransaction, RecordParts};

    use super::*;

    struct NoTopics;

    impl Cluster for NoTopics {
        fn topic(&self, _: &str) -> Option<Topic> {
            None
        }
        fn topic_by_id(&self, _: TopicId) -> Option<Topic> {
            None
        }
        fn topic_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
            Box::new([].into_iter())
        }
        fn consumer_group_settings(&self, _: &str) -> ConsumerGroupSettings {
            unreachable!("no group has members")
        }
    }

    /// A commit of an offset in partition 0 of `t` by group `g`, in a transaction of `producer`.
    fn commit(offset: i64, producer: Option<i64>) -> Batch {
        let (group, topic) = (StrBytes::from_static("g"), StrBytes::from_static("t"));
        let key = OffsetCommitKey { group, topic, partition: 0 };
        let value = OffsetCommitValue { offset, ..Default::default() };
        let (key, value) = Record::OffsetCommit { key, value: Some(value) }.encode().unwrap();
        let mut builder = BatchBuilder::new(BatchOptions {
            is_transactional: producer.is_some(),
            producer_id: producer.map_or(ProducerId::NONE, ProducerId),
            ..BatchOptions::default()
        });
        let parts = RecordParts { key: Some(&key), value: value.as_deref(), headers: &[] };
        builder.append(Timestamp(1), &parts);
        builder.finish().unwrap()
    }

    /// Takes away what [`commit`] commits.
    fn forget() -> Batch {
        let (group, topic) = (StrBytes::from_static("g"), StrBytes::from_static("t"));
        let key = OffsetCommitKey { group, topic, partition: 0 };
        let (key, _) = Record::OffsetCommit { key, value: None }.encode().unwrap();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(Timestamp(1), &RecordParts { key: Some(&key), value: None, headers: &[] });
        builder.finish().unwrap()
    }

    fn end(producer: i64, is_commit: bool) -> Batch {
        let (producer_id, producer_epoch) = (ProducerId(producer), ProducerEpoch(0));
        let end = EndTransaction { is_commit, producer_id, producer_epoch, coordinator_epoch: 0 };
        end.batch(Offset(0), LeaderEpoch(0), Timestamp(1))
    }

    /// The offset that a shard knows after these batches, -1 for none.
    fn known(batches: &[Batch]) -> i64 {
        let mut shard = Shard::new(Arc::new(Config::default()));
        let open = BTreeMap::new();
        let mut replay = Replay { shard: &mut shard, scratch: Scratch::new(), open, records: 0 };
        for (offset, batch) in (0..).zip(batches) {
            let mut batch = batch.clone();
            batch.header.base_offset = Offset(offset);
            replay.batch(&batch).unwrap();
        }
        let group = OffsetFetchRequestGroup {
            group_id: StrBytes::from_static("g"),
            topics: None,
            ..Default::default()
        };
        let call = Call {
            ticket: Ticket(0),
            api_version: 9,
            client_id: StrBytes::new(),
            client_host: StrBytes::new(),
            request: Request::OffsetFetch { group, require_stable: false },
        };
        let (now, wall) = (Instant::default(), Timestamp(2));
        let mut env = Env { now, wall, cluster: &NoTopics, random: &mut || [0; 16] };
        let mut output = Output::default();
        shard.call(call, &mut env, &mut output);
        match &output.answers[0].response {
            Response::OffsetFetch(group) => {
                group.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn offsets_of_transactions_count_from_the_marker_on() {
        assert_eq!(known(&[commit(5, Some(1)), end(1, true)]), 5);
        assert_eq!(known(&[commit(5, Some(1))]), -1);
        assert_eq!(known(&[commit(5, Some(1)), end(1, false)]), -1);
        // The marker of another ends nothing.
        assert_eq!(known(&[commit(5, Some(1)), end(2, true)]), -1);
        assert_eq!(
            known(&[commit(5, Some(1)), end(1, false), commit(6, Some(1)), end(1, true)]),
            6
        );
    }

    #[test]
    fn the_youngest_offset_counts_whenever_its_transaction_ends() {
        assert_eq!(known(&[commit(5, Some(1)), commit(9, None), end(1, true)]), 9);
        assert_eq!(known(&[commit(9, None), commit(5, Some(1)), end(1, true)]), 5);
        let two = [commit(5, Some(1)), commit(7, Some(2)), end(2, true), end(1, true)];
        assert_eq!(known(&two), 7);
        let two = [commit(5, Some(1)), commit(7, Some(2)), end(1, true), end(2, true)];
        assert_eq!(known(&two), 7);
        let two = [commit(7, Some(2)), commit(5, Some(1)), end(2, true), end(1, true)];
        assert_eq!(known(&two), 5);
        // The group was deleted while the transaction was open.
        assert_eq!(known(&[commit(5, Some(1)), forget(), end(1, true)]), -1);
    }
}
