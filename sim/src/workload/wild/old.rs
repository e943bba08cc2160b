//! The oldest versions that are served, asked and answered by the book.

use history::{Partition, Seen, What};
use model::Offset;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{FetchRequest, ListOffsetsRequest, MetadataRequest};
use protocol::records::{Batch, BatchError, Scratch, TimestampType};
use protocol::{ErrorCode, StrBytes};

use super::super::looks::Read;
use super::wire::Wire;
use super::{Act, PRODUCE_VERSIONS};

const FETCH_VERSION: i16 = 4;
const LIST_OFFSETS_VERSION: i16 = 1;
const METADATA_VERSION: i16 = 0;

/// What ListOffsets looks for.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Enough for what a run writes.
const BATCH_BYTES_MAX: usize = 16 << 20;

impl Act {
    pub(super) async fn old_version(&mut self) {
        if self.seat.dice.one_in(4) {
            return self.sound_batch(Some(PRODUCE_VERSIONS.0)).await;
        }
        let Some(partition) = self.partition(|_, _| true) else { return };
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        match self.seat.dice.range(0, 3) {
            0 => drop(self.old_metadata(&mut wire, &partition).await),
            1 => {
                let asked = self.seat.work.world.now();
                let end = self.old_bound(&mut wire, &partition, LATEST).await;
                if end.is_some() {
                    let what = What::Bounds { partition, asked, log_start: None, end };
                    self.seat.work.recorder.note(self.seat.node, what);
                }
            }
            _ => drop(self.old_fetch(&mut wire, &partition).await),
        }
    }

    async fn old_metadata(&mut self, wire: &mut Wire, partition: &Partition) -> Option<()> {
        let name = StrBytes::from(&*partition.topic);
        self.begin(format!("Metadata {METADATA_VERSION} of {name}"));
        let topic = MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            // The version can not say otherwise.
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let response = wire.call(&request, METADATA_VERSION).await;
        let response = response.map_err(|missing| self.missed(&missing)).ok()?;
        let found = response.topics.iter().find(|topic| topic.name.as_ref() == Some(&name));
        let Some(found) = found else {
            self.unfit("without the topic");
            return None;
        };
        let code = ErrorCode::from_code(found.error_code);
        let expected = self.seat.work.scenario.topics[&*partition.topic].partitions as usize;
        if code.is_error() && !self.seat.work.weather.explains(code) {
            self.unfit(code.to_string());
        } else if !code.is_error() && found.partitions.len() != expected {
            self.unfit(format!("{} partitions of {expected}", found.partitions.len()));
        }
        Some(())
    }

    async fn old_bound(
        &mut self,
        wire: &mut Wire,
        partition: &Partition,
        timestamp: i64,
    ) -> Option<i64> {
        self.begin(format!("ListOffsets {LIST_OFFSETS_VERSION} of {partition} at {timestamp}"));
        let asked = ListOffsetsPartition {
            partition_index: partition.index,
            current_leader_epoch: -1,
            timestamp,
            ..Default::default()
        };
        let name = StrBytes::from(&*partition.topic);
        let topic = ListOffsetsTopic { name, partitions: vec![asked], ..Default::default() };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let response = wire.call(&request, LIST_OFFSETS_VERSION).await;
        let response = response.map_err(|missing| self.missed(&missing)).ok()?;
        let found = response.topics.first().and_then(|topic| topic.partitions.first());
        let Some(found) = found else {
            self.unfit("without the partition");
            return None;
        };
        match ErrorCode::from_code(found.error_code) {
            ErrorCode::None if found.offset >= 0 => return Some(found.offset),
            ErrorCode::None => self.unfit(format!("offset {}", found.offset)),
            code if self.seat.work.weather.explains(code) => {}
            code => self.unfit(code.to_string()),
        }
        None
    }

    async fn old_fetch(&mut self, wire: &mut Wire, partition: &Partition) -> Option<()> {
        let start = self.old_bound(wire, partition, EARLIEST).await?;
        self.begin(format!("Fetch {FETCH_VERSION} of {partition} at {start}"));
        let asked = FetchPartition {
            partition: partition.index,
            current_leader_epoch: -1,
            fetch_offset: start,
            last_fetched_epoch: -1,
            log_start_offset: -1,
            partition_max_bytes: self.seat.dice.spread(1, 100_000) as i32,
            ..Default::default()
        };
        let topic = StrBytes::from(&*partition.topic);
        let topic = FetchTopic { topic, partitions: vec![asked], ..Default::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: self.seat.dice.range(1, 500) as i32,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![topic],
            ..Default::default()
        };
        let response = wire.call(&request, FETCH_VERSION).await;
        let response = response.map_err(|missing| self.missed(&missing)).ok()?;
        let found = response.responses.first().and_then(|topic| topic.partitions.first());
        let Some(found) = found else {
            self.unfit("without the partition");
            return None;
        };
        match ErrorCode::from_code(found.error_code) {
            ErrorCode::None => self.look_at_records(partition, start, found),
            // Deleted since the start was asked for: the readers know whether that may be.
            ErrorCode::OffsetOutOfRange => {}
            // zstd needs version 10 (KIP-110).
            ErrorCode::UnsupportedCompressionType => {}
            code if self.seat.work.weather.explains(code) => {}
            code => self.unfit(code.to_string()),
        }
        Some(())
    }

    /// What was fetched is what a reader of its own has read.
    fn look_at_records(&self, partition: &Partition, start: i64, found: &PartitionData) {
        let seen = match self.seen(&partition.topic, found, Offset(start)) {
            Ok(seen) => seen,
            // A client sees that a bit turned over on the way.
            Err(BatchError::Checksum { .. }) if self.seat.work.weather.has_bit_flips_to_clients => {
                return;
            }
            Err(error) => return self.unfit(error.to_string()),
        };
        let (recorder, node) = (&self.seat.work.recorder, self.seat.node);
        let reader = self.seat.work.scenario.workload.readers + self.number;
        let partition_named = partition.clone();
        recorder.note(node, What::Seek { reader, partition: partition_named, offset: start });
        recorder.poll(node, reader, partition, seen);
    }

    /// The records from `start` on; what is cut off at the end is no fault: `max_bytes` may end
    /// inside a batch.
    fn seen(
        &self,
        topic: &str,
        found: &PartitionData,
        start: Offset,
    ) -> Result<Vec<Seen>, BatchError> {
        let mut rest = found.records.as_ref().map(protocol::Records::to_bytes).unwrap_or_default();
        let mut scratch = Scratch::new();
        let mut seen = Vec::new();
        while let Some(batch) = Batch::split_first(&mut rest)? {
            batch.verify_crc()?;
            let stamped = batch.header.attributes.timestamp_type() == TimestampType::LogAppendTime;
            for record in &batch.records(BATCH_BYTES_MAX, &mut scratch)? {
                let record = record?;
                if start <= record.offset {
                    let read = Read::raw(&record, stamped);
                    let content = self.seat.work.recorder.content(topic, &read);
                    seen.push(Seen { offset: record.offset.0, content });
                }
            }
        }
        Ok(seen)
    }
}
