//! The 61 bytes in front of a batch's records (KIP-98; Kafka's `DefaultRecordBatch`).
//!
//! Invariant: everything from `attributes` on is covered by the CRC-32C; base offset, length,
//! leader epoch and magic are not.

use std::fmt;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::records::BatchError;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 61;
/// Bytes of base offset and length, which the length does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The only message format.
pub(super) const MAGIC: i8 = 2;
/// Where the bytes begin that the checksum covers.
pub(super) const CHECKED_FROM: usize = 21;
/// Where the magic byte lies, in every message format.
pub(super) const MAGIC_AT: usize = 16;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// zlib in gzip's frame.
    Gzip,
    /// Snappy in the frame of snappy-java, or a bare Snappy block when reading.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// All codecs in the order of their codes.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The code in a batch's attributes.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The codec with this code.
    pub fn from_code(code: i16) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.code() == code)
    }

    /// The name in configurations, as in `compression.type=lz4`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The codec with this name.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whose clock the timestamps of a batch come from (KIP-32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimestampType {
    /// The producer's: every record has its own.
    #[default]
    CreateTime,
    /// The broker's at the append: all records have the batch's maximum.
    LogAppendTime,
}

/// The 16 bits of a batch's properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

const COMPRESSION_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

impl Attributes {
    /// The codec.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`].
    pub fn compression(self) -> Result<Compression, BatchError> {
        let code = self.0 & COMPRESSION_BITS;
        Compression::from_code(code).ok_or(BatchError::UnknownCompression { code })
    }

    /// The same with another codec.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Attributes {
        Attributes((self.0 & !COMPRESSION_BITS) | compression.code())
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// The same with timestamps of another clock.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with(LOG_APPEND_TIME_BIT, timestamp_type == TimestampType::LogAppendTime)
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// The same inside or outside a transaction.
    #[must_use]
    pub fn with_transactional(self, is_transactional: bool) -> Attributes {
        self.with(TRANSACTIONAL_BIT, is_transactional)
    }

    /// Whether the batch holds a control record, which no consumer sees.
    pub fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// The same for a control record or for data.
    #[must_use]
    pub fn with_control(self, is_control: bool) -> Attributes {
        self.with(CONTROL_BIT, is_control)
    }

    /// Whether the base timestamp is the time after which tombstones may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    /// The same with or without a delete horizon.
    #[must_use]
    pub fn with_delete_horizon(self, has_delete_horizon: bool) -> Attributes {
        self.with(DELETE_HORIZON_BIT, has_delete_horizon)
    }

    fn with(self, bit: i16, is_set: bool) -> Attributes {
        Attributes(if is_set { self.0 | bit } else { self.0 & !bit })
    }
}

/// All fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record, or of the first one before compaction took it.
    pub base_offset: Offset,
    /// Bytes behind the length field.
    pub batch_length: i32,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, clock, kind.
    pub attributes: Attributes,
    /// Distance from the base offset to the last record.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to; the delete horizon where there is one.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of a record.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, or none.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or none.
    pub base_sequence: Sequence,
    /// Records in the batch; compaction may leave none.
    pub record_count: i32,
}

impl Default for BatchHeader {
    fn default() -> BatchHeader {
        BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32,
            leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: 0,
        }
    }
}

impl BatchHeader {
    /// Reads a header from the front of `bytes`; says nothing about the checksum.
    ///
    /// # Errors
    /// Too few bytes, another magic, a length or count that no batch has.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if bytes.len() > MAGIC_AT && bytes[MAGIC_AT] as i8 != MAGIC {
            return Err(BatchError::Magic { magic: bytes[MAGIC_AT] as i8 });
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, remaining: bytes.len() });
        };
        let header = BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, CHECKED_FROM))),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, 53))),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        match usize::try_from(header.batch_length) {
            Ok(length) if length + LOG_OVERHEAD_BYTES >= HEADER_BYTES => Ok(header),
            _ => Err(BatchError::Length { length: header.batch_length }),
        }
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, self.base_offset.0.to_be_bytes());
        put(&mut bytes, 8, self.batch_length.to_be_bytes());
        put(&mut bytes, 12, self.leader_epoch.0.to_be_bytes());
        put(&mut bytes, MAGIC_AT, MAGIC.to_be_bytes());
        put(&mut bytes, 17, self.crc.to_be_bytes());
        put(&mut bytes, CHECKED_FROM, self.attributes.0.to_be_bytes());
        put(&mut bytes, 23, self.last_offset_delta.to_be_bytes());
        put(&mut bytes, 27, self.base_timestamp.0.to_be_bytes());
        put(&mut bytes, 35, self.max_timestamp.0.to_be_bytes());
        put(&mut bytes, 43, self.producer_id.0.to_be_bytes());
        put(&mut bytes, 51, self.producer_epoch.0.to_be_bytes());
        put(&mut bytes, 53, self.base_sequence.0.to_be_bytes());
        put(&mut bytes, 57, self.record_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        // `parse` and the builder let no negative length through.
        LOG_OVERHEAD_BYTES + self.batch_length.max(0) as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta.into()))
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Sequence of the last record; none where the batch has none.
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            Sequence::NONE
        } else {
            self.base_sequence.advance(self.last_offset_delta)
        }
    }

    /// The time after which the batch's tombstones may go (KIP-534).
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// The checksum of this header with `body` behind it.
    pub fn checksum(&self, body: &[u8]) -> u32 {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&self.to_bytes()[CHECKED_FROM..]);
        digest.update(body);
        // The algorithm has 32 bits; the library's type serves longer ones too.
        digest.finalize() as u32
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("every field lies within the 61 bytes")
}

fn put<const N: usize>(bytes: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
