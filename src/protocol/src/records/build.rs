//! Writes a batch: a producer's, a control batch, or what compaction leaves of one.
//!
//! In: records in ascending order of offset. Out: one batch, checksummed and compressed.

use bytes::{BufMut, Bytes};
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::records::header::{Attributes, HEADER_BYTES, LOG_OVERHEAD_BYTES};
use crate::records::{
    Batch, BatchError, BatchHeader, Compression, CompressionLevel, Headers, Record, RecordHeader,
    TimestampType, compress,
};
use crate::wire::varint::{Varint, signed_len};

/// What a batch says of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Offset of the first record; 0 from producers.
    pub base_offset: Offset,
    /// Epoch of the leader; none from producers.
    pub leader_epoch: LeaderEpoch,
    /// The codec.
    pub compression: Compression,
    /// How hard it works.
    pub level: CompressionLevel,
    /// Whose clock counts. With the broker's, `log_append_time` is every record's timestamp.
    pub timestamp_type: TimestampType,
    /// The broker's clock.
    pub log_append_time: Timestamp,
    /// The idempotent producer.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Whether the batch belongs to a transaction.
    pub is_transactional: bool,
    /// Whether its record is one that consumers do not see.
    pub is_control: bool,
    /// When its tombstones may go (KIP-534).
    pub delete_horizon: Option<Timestamp>,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            compression: Compression::None,
            level: CompressionLevel::default(),
            timestamp_type: TimestampType::CreateTime,
            log_append_time: Timestamp::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            is_transactional: false,
            is_control: false,
            delete_horizon: None,
        }
    }
}

impl BatchOptions {
    /// Everything that a rewritten batch keeps of its original.
    ///
    /// # Errors
    /// When the original's codec is unknown.
    pub fn like(header: &BatchHeader) -> Result<BatchOptions, BatchError> {
        Ok(BatchOptions {
            base_offset: header.base_offset,
            leader_epoch: header.leader_epoch,
            compression: header.attributes.compression()?,
            level: CompressionLevel::default(),
            timestamp_type: header.attributes.timestamp_type(),
            log_append_time: header.max_timestamp,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            is_transactional: header.attributes.is_transactional(),
            is_control: header.attributes.is_control(),
            delete_horizon: header.delete_horizon(),
        })
    }
}

/// A record to write, without its place and time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordParts<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [RecordHeader<'a>],
}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records.
    buffer: Vec<u8>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    next_delta: i32,
    record_count: i32,
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder::with_capacity(options, 0)
    }

    /// A batch without records, with room for `bytes` of them.
    pub fn with_capacity(options: BatchOptions, bytes: usize) -> BatchBuilder {
        let mut buffer = Vec::with_capacity(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        BatchBuilder {
            options,
            buffer,
            // The delete horizon takes the base timestamp's place, so deltas count from it.
            base_timestamp: options.delete_horizon,
            max_timestamp: Timestamp::NONE,
            next_delta: 0,
            record_count: 0,
        }
    }

    /// Changes who the producer is; a client does when it learns its id before it sends.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        self.options.producer_id = id;
        self.options.producer_epoch = epoch;
        self.options.base_sequence = base_sequence;
    }

    /// Records so far.
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Bytes of the batch if it ended here and were not compressed.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The most bytes by which a record makes the batch longer.
    pub fn record_bytes_max(record: &RecordParts<'_>) -> usize {
        const LENGTHS_AND_DELTAS_MAX: usize = 36;
        const HEADER_LENGTHS_MAX: usize = 10;
        let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers = record.headers.iter();
        LENGTHS_AND_DELTAS_MAX
            + part(record.key)
            + part(record.value)
            + headers.map(|h| HEADER_LENGTHS_MAX + h.key.len() + part(h.value)).sum::<usize>()
    }

    /// Writes a record behind the last one, at the next offset.
    pub fn append(&mut self, timestamp: Timestamp, record: &RecordParts<'_>) {
        self.append_at(self.next_delta, timestamp, record);
    }

    /// Writes a record `offset_delta` behind the base offset, as compaction leaves gaps.
    pub fn append_at(&mut self, offset_delta: i32, timestamp: Timestamp, record: &RecordParts<'_>) {
        let headers = record.headers;
        let headers_bytes: usize = headers.iter().map(header_bytes).sum();
        let count = headers.len() as u32;
        self.put(offset_delta, timestamp, (record.key, record.value), (count, headers_bytes));
        for header in headers {
            put_varint(&mut self.buffer, header.key.len() as i64);
            self.buffer.extend_from_slice(header.key);
            put_nullable(&mut self.buffer, header.value);
        }
    }

    /// Writes a record of another batch again; `offset_delta` counts from this batch's base offset.
    pub fn copy_at(&mut self, offset_delta: i32, record: &Record<'_>) {
        let headers: Headers<'_> = record.headers;
        let (count, bytes) = headers.raw();
        let parts = (record.key, record.value);
        self.put(offset_delta, record.timestamp, parts, (count, bytes.len()));
        self.buffer.extend_from_slice(bytes);
    }

    /// Everything of a record but its headers, which are `headers.1` bytes long.
    fn put(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        (key, value): (Option<&[u8]>, Option<&[u8]>),
        headers: (u32, usize),
    ) {
        assert!(offset_delta >= self.next_delta, "records ascend by offset");
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.0.wrapping_sub(base.0);
        let length = 1
            + signed_len(timestamp_delta)
            + signed_len(offset_delta.into())
            + nullable_bytes(key)
            + nullable_bytes(value)
            + signed_len(headers.0.into())
            + headers.1;
        let buffer = &mut self.buffer;
        put_varint(buffer, length as i64);
        // A record's attributes; none is in use.
        buffer.put_u8(0);
        put_varint(buffer, timestamp_delta);
        put_varint(buffer, offset_delta.into());
        put_nullable(buffer, key);
        put_nullable(buffer, value);
        put_varint(buffer, headers.0.into());
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.next_delta = offset_delta + 1;
        self.record_count += 1;
    }

    /// The batch, which ends at its last record.
    ///
    /// # Errors
    /// When the codec fails, which only a level that it does not have can make it do.
    pub fn finish(self) -> Result<Batch, BatchError> {
        let last = self.next_delta - 1;
        self.finish_at(last.max(0))
    }

    /// The batch, which ends `last_offset_delta` behind its base offset whether or not a record is
    /// there: compaction keeps the end of a batch whose last records are gone.
    ///
    /// # Errors
    /// When the codec fails, which only a level that it does not have can make it do.
    pub fn finish_at(self, last_offset_delta: i32) -> Result<Batch, BatchError> {
        let (options, mut header) = (self.options, self.header());
        header.last_offset_delta = last_offset_delta;
        let mut bytes = self.buffer;
        if options.compression != Compression::None {
            let mut compressed = Vec::with_capacity(HEADER_BYTES + bytes.len() / 2);
            compressed.resize(HEADER_BYTES, 0);
            let records = &bytes[HEADER_BYTES..];
            compress(options.compression, options.level, records, &mut compressed)?;
            bytes = compressed;
        }
        Ok(seal(header, bytes))
    }

    fn header(&self) -> BatchHeader {
        let options = &self.options;
        let is_append_time = options.timestamp_type == TimestampType::LogAppendTime;
        BatchHeader {
            base_offset: options.base_offset,
            leader_epoch: options.leader_epoch,
            attributes: Attributes::default()
                .with_compression(options.compression)
                .with_timestamp_type(options.timestamp_type)
                .with_transactional(options.is_transactional)
                .with_control(options.is_control)
                .with_delete_horizon(options.delete_horizon.is_some()),
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: if is_append_time {
                options.log_append_time
            } else {
                self.max_timestamp
            },
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.record_count,
            ..BatchHeader::default()
        }
    }
}

/// Fills in length, checksum and header in front of the records in `bytes`.
pub(super) fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Batch {
    header.batch_length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES)
        .expect("batches are limited far below 2 GiB where records are accepted");
    header.crc = header.checksum(&bytes[HEADER_BYTES..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Batch { header, bytes: Bytes::from(bytes) }
}

fn header_bytes(header: &RecordHeader<'_>) -> usize {
    signed_len(header.key.len() as i64) + header.key.len() + nullable_bytes(header.value)
}

fn nullable_bytes(part: Option<&[u8]>) -> usize {
    part.map_or(1, |part| signed_len(part.len() as i64) + part.len())
}

fn put_nullable(buffer: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        Some(part) => {
            put_varint(buffer, part.len() as i64);
            buffer.extend_from_slice(part);
        }
        None => put_varint(buffer, -1),
    }
}

fn put_varint(buffer: &mut Vec<u8>, value: i64) {
    buffer.extend_from_slice(Varint::signed(value).as_slice());
}
