//! What a leader checks before it appends a client's batch, and what it changes.
//!
//! In: the record data of one partition of a Produce request. Out: a batch whose records are
//! untouched slices of the request (unless the topic wants another codec) and whose header is right,
//! or the error for the response. The order of the checks is Kafka's: `ProduceRequest`
//! (one batch, magic, zstd), `UnifiedLog.analyzeAndValidateRecords` (base offset, size, checksum),
//! `LogValidator` (counts, kind, sequence, records), `UnifiedLog.append` (size again, segment).
//!
//! Invariant: nothing is allocated per record; a compressed batch passes through one window.

use bytes::Bytes;
use model::{LeaderEpoch, Offset, Sequence, Timestamp};

use crate::ErrorCode;
use crate::records::header::HEADER_BYTES;
use crate::records::search::visit;
use crate::records::walk::{Outline, walk_bytes, walk_stream};
use crate::records::{
    Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, Compression, CompressionLevel,
    LOG_OVERHEAD_BYTES, Scratch, TimestampType, compress,
};

/// The topic's configuration as far as it decides about a batch, and the request's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceRules {
    /// `max.message.bytes`, for a whole batch.
    pub max_message_bytes: usize,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// Whether `cleanup.policy` has `compact`: every record needs a key then.
    pub is_compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`; none is `producer`.
    pub compression: Option<Compression>,
    /// `compression.gzip.level` or its like.
    pub level: CompressionLevel,
    /// Version of the Produce request: zstd came with 7.
    pub produce_version: i16,
}

/// Kafka's defaults for a topic, in the newest request.
impl Default for ProduceRules {
    fn default() -> ProduceRules {
        ProduceRules {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            is_compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: None,
            level: CompressionLevel::default(),
            produce_version: 13,
        }
    }
}

/// A record for whose sake a batch is refused (Produce 8 and newer; KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Its place in the batch, from 0.
    pub index: i32,
    /// For people.
    pub message: String,
}

/// A batch that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidBatch {
    /// For the client.
    pub error: ErrorCode,
    /// For people.
    pub message: String,
    /// The first of the records that are wrong by themselves.
    pub record_errors: Vec<RecordError>,
}

/// A batch that may be appended: `header` with its offset and epoch filled in, then `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    /// Right in everything but `base_offset` and `leader_epoch`, which the log knows.
    pub header: BatchHeader,
    /// The records as they are to be written.
    pub body: Bytes,
    /// Distance from the base offset to the first record with `header.max_timestamp`.
    pub offset_delta_of_max_timestamp: i32,
    /// Whether `body` was written anew, because of the codec or of wrong offsets.
    pub is_rewritten: bool,
}

/// A batch may be refused for many of its records; a response has room for these.
const RECORD_ERRORS_MAX: usize = 100;

/// A batch that has to be written anew may decompress to so many times `max.message.bytes`.
const REWRITE_RATIO_MAX: usize = 64;

const ZSTD_SINCE_PRODUCE_VERSION: i16 = 7;

/// Checks an ordinary client's batch and makes it ready to append.
///
/// `records` is what the request carries for one partition; `now` is the broker's time.
///
/// # Errors
/// The error code, text and record errors of the response.
pub fn validate_produce(
    records: Bytes,
    rules: &ProduceRules,
    now: Timestamp,
    scratch: &mut Scratch,
) -> Result<ValidatedBatch, InvalidBatch> {
    let batch = only_batch(records)?;
    let source = batch.header.attributes.compression()?;
    if source == Compression::Zstd && rules.produce_version < ZSTD_SINCE_PRODUCE_VERSION {
        let text = "zstd needs version 7 of Produce or newer";
        return Err(invalid(ErrorCode::UnsupportedCompressionType, text));
    }
    if batch.header.base_offset != Offset::ZERO {
        let text = format!("base offset is {}, clients have to send 0", batch.header.base_offset);
        return Err(invalid(ErrorCode::InvalidRecord, text));
    }
    check_size(batch.bytes.len(), rules)?;
    batch.verify_crc()?;
    check_header(&batch.header)?;
    let findings = check_records(&batch, source, rules, now, scratch)?;
    let validated = prepare(&batch, source, &findings, rules, now, scratch)?;
    if validated.is_rewritten {
        check_size(validated.size_bytes(), rules)?;
    }
    if validated.size_bytes() > rules.segment_bytes {
        let text = format!(
            "batch of {} bytes exceeds the segment's {}",
            validated.size_bytes(),
            rules.segment_bytes
        );
        return Err(invalid(ErrorCode::RecordListTooLarge, text));
    }
    Ok(validated)
}

impl ValidatedBatch {
    /// A batch of this broker's own making: a control batch, a coordinator's records.
    ///
    /// # Errors
    /// When its records can not be read, which is a bug of whoever built it.
    pub fn trusted(batch: &Batch, scratch: &mut Scratch) -> Result<ValidatedBatch, BatchError> {
        let header = batch.header;
        let mut delta = None;
        visit(batch, scratch, |outline| {
            if delta.is_none() && outline.timestamp(&header) == header.max_timestamp {
                delta = Some(outline.offset_delta);
            }
        })?;
        Ok(ValidatedBatch {
            header,
            body: batch.body(),
            offset_delta_of_max_timestamp: delta.unwrap_or(0),
            is_rewritten: false,
        })
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The header's bytes with the place and the epoch that the log gives it; both lie outside the
    /// checksum.
    pub fn header_at(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; HEADER_BYTES] {
        BatchHeader { base_offset, leader_epoch, ..self.header }.to_bytes()
    }
}

/// The one batch of the request; less than a batch behind it is dropped, as in Kafka.
fn only_batch(records: Bytes) -> Result<Batch, InvalidBatch> {
    let mut rest = records;
    let Some(batch) = Batch::split_first(&mut rest)? else {
        return Err(invalid(ErrorCode::InvalidRecord, "no batch in the request"));
    };
    if Batch::split_first(&mut rest)?.is_some() {
        let text = "more than one batch for the partition";
        return Err(invalid(ErrorCode::InvalidRecord, text));
    }
    Ok(batch)
}

fn check_size(bytes: usize, rules: &ProduceRules) -> Result<(), InvalidBatch> {
    if bytes <= rules.max_message_bytes {
        return Ok(());
    }
    let text =
        format!("batch of {bytes} bytes exceeds max.message.bytes={}", rules.max_message_bytes);
    Err(invalid(ErrorCode::MessageTooLarge, text))
}

/// `LogValidator.validateBatch`.
fn check_header(header: &BatchHeader) -> Result<(), InvalidBatch> {
    let count = header.record_count;
    let refuse = |text: String| Err(invalid(ErrorCode::InvalidRecord, text));
    if header.last_offset_delta < 0 {
        return refuse(format!("last offset delta is {}", header.last_offset_delta));
    }
    if count <= 0 {
        return refuse(format!("record count is {count}"));
    }
    if header.last_offset_delta != count - 1 {
        let delta = header.last_offset_delta;
        return refuse(format!("last offset delta {delta} does not fit {count} records"));
    }
    if header.attributes.is_control() {
        return refuse("clients may not write control batches".to_owned());
    }
    if header.producer_id.is_idempotent() && header.base_sequence.0 < Sequence(0).0 {
        let (sequence, producer) = (header.base_sequence, header.producer_id);
        return refuse(format!("base sequence of producer {producer} is {sequence}"));
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let text = "clients may not set the timestamp type to LogAppendTime";
        return Err(invalid(ErrorCode::InvalidTimestamp, text));
    }
    Ok(())
}

/// What the walk over the records found.
struct Findings {
    max_timestamp: Timestamp,
    index_of_max: i32,
    /// Offsets are 0, 1, 2, …; some old clients get them wrong in compressed batches.
    has_sequential_offsets: bool,
}

fn check_records(
    batch: &Batch,
    source: Compression,
    rules: &ProduceRules,
    now: Timestamp,
    scratch: &mut Scratch,
) -> Result<Findings, InvalidBatch> {
    let header = &batch.header;
    let mut findings =
        Findings { max_timestamp: Timestamp::NONE, index_of_max: 0, has_sequential_offsets: true };
    let mut refused = Refused::default();
    let visit = |index: i32, outline: Outline| {
        let timestamp = outline.timestamp(header);
        refused.check(index, &outline, timestamp, rules, now);
        if timestamp > findings.max_timestamp {
            findings.max_timestamp = timestamp;
            findings.index_of_max = index;
        }
        findings.has_sequential_offsets &= outline.offset_delta == index;
    };
    let body = batch.body();
    if source == Compression::None {
        walk_bytes(&body, header.record_count, visit)?;
    } else {
        walk_stream(&mut scratch.stream(source, &body)?, header.record_count, visit)?;
    }
    refused.into_result()?;
    Ok(findings)
}

/// Records that are wrong by themselves (`LogValidator.validateRecord`).
#[derive(Default)]
struct Refused {
    count: usize,
    has_invalid_timestamp: bool,
    errors: Vec<RecordError>,
}

impl Refused {
    #[inline]
    fn check(
        &mut self,
        index: i32,
        outline: &Outline,
        timestamp: Timestamp,
        rules: &ProduceRules,
        now: Timestamp,
    ) {
        if rules.is_compacted && !outline.has_key {
            self.refuse(index, || "a compacted topic takes no record without a key".to_owned());
            return;
        }
        if rules.timestamp_type == TimestampType::LogAppendTime || timestamp == Timestamp::NONE {
            return;
        }
        let age_ms = now.0.saturating_sub(timestamp.0);
        if age_ms > rules.timestamp_before_max_ms
            || age_ms.saturating_neg() > rules.timestamp_after_max_ms
        {
            self.has_invalid_timestamp = true;
            let (before, after) = (rules.timestamp_before_max_ms, rules.timestamp_after_max_ms);
            let (first, last) = (now.0.saturating_sub(before), now.0.saturating_add(after));
            self.refuse(index, || format!("timestamp {timestamp} is not within [{first}, {last}]"));
        }
    }

    #[cold]
    fn refuse(&mut self, index: i32, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), InvalidBatch> {
        let Some(first) = self.errors.first() else { return Ok(()) };
        let error = if self.has_invalid_timestamp {
            ErrorCode::InvalidTimestamp
        } else {
            ErrorCode::InvalidRecord
        };
        let message = format!(
            "{} records are refused; record {}: {}",
            self.count, first.index, first.message
        );
        Err(InvalidBatch { error, message, record_errors: self.errors })
    }
}

/// The batch as it is to be written: in place where possible, else with a new body.
fn prepare(
    batch: &Batch,
    source: Compression,
    findings: &Findings,
    rules: &ProduceRules,
    now: Timestamp,
    scratch: &mut Scratch,
) -> Result<ValidatedBatch, InvalidBatch> {
    let target = rules.compression.unwrap_or(source);
    let mut header = batch.header;
    let (max_timestamp, index_of_max) = match rules.timestamp_type {
        TimestampType::CreateTime => (findings.max_timestamp, findings.index_of_max),
        TimestampType::LogAppendTime => (now, 0),
    };
    header.max_timestamp = max_timestamp;
    header.attributes = header.attributes.with_timestamp_type(rules.timestamp_type);
    let mut body = batch.body();
    let is_rewritten = !findings.has_sequential_offsets || target != source;
    if !findings.has_sequential_offsets {
        let rebuilt = renumber(batch, target, rules, scratch)?;
        header.base_timestamp = rebuilt.header.base_timestamp;
        body = rebuilt.body();
    } else if target != source {
        body = recompress(batch, target, rules, scratch)?;
    }
    header.attributes = header.attributes.with_compression(target);
    header.batch_length = i32::try_from(HEADER_BYTES - LOG_OVERHEAD_BYTES + body.len())
        .map_err(|_| invalid(ErrorCode::MessageTooLarge, "batch exceeds 2 GiB"))?;
    // The producer's checksum stands unless something under it changed.
    if is_rewritten || header != batch.header {
        header.crc = header.checksum(&body);
    }
    Ok(ValidatedBatch { header, body, offset_delta_of_max_timestamp: index_of_max, is_rewritten })
}

/// The same records in another codec.
fn recompress(
    batch: &Batch,
    target: Compression,
    rules: &ProduceRules,
    scratch: &mut Scratch,
) -> Result<Bytes, InvalidBatch> {
    let records = batch.records(rewrite_limit(target, rules), scratch)?.into_bytes();
    if target == Compression::None {
        return Ok(records);
    }
    let mut compressed = Vec::with_capacity(records.len() / 2);
    compress(target, rules.level, &records, &mut compressed)?;
    Ok(Bytes::from(compressed))
}

/// The same records with the offsets 0, 1, 2, ….
fn renumber(
    batch: &Batch,
    target: Compression,
    rules: &ProduceRules,
    scratch: &mut Scratch,
) -> Result<Batch, InvalidBatch> {
    let records = batch.records(rewrite_limit(target, rules), scratch)?;
    let options = BatchOptions {
        compression: target,
        level: rules.level,
        ..BatchOptions::like(&batch.header)?
    };
    let mut builder = BatchBuilder::with_capacity(options, records.size_bytes());
    for (index, record) in (0..).zip(&records) {
        builder.copy_at(index, &record?);
    }
    Ok(builder.finish()?)
}

fn rewrite_limit(target: Compression, rules: &ProduceRules) -> usize {
    match target {
        Compression::None => rules.max_message_bytes,
        _ => rules.max_message_bytes.saturating_mul(REWRITE_RATIO_MAX),
    }
}

fn invalid(error: ErrorCode, message: impl Into<String>) -> InvalidBatch {
    InvalidBatch { error, message: message.into(), record_errors: Vec::new() }
}

impl From<BatchError> for InvalidBatch {
    fn from(error: BatchError) -> InvalidBatch {
        let code = match &error {
            BatchError::Truncated { .. }
            | BatchError::Length { .. }
            | BatchError::Checksum { .. } => ErrorCode::CorruptMessage,
            BatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::Magic { .. }
            | BatchError::Codec { .. }
            | BatchError::Record { .. }
            | BatchError::TrailingBytes { .. }
            | BatchError::Control { .. } => ErrorCode::InvalidRecord,
        };
        let message = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let record_errors = match &error {
            BatchError::Record { index, .. } => {
                vec![RecordError { index: *index, message: message.clone() }]
            }
            _ => Vec::new(),
        };
        InvalidBatch { error: code, message, record_errors }
    }
}
