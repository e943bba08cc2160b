//! What makes a record batch fit to be the next one of a log.

use bytes::Bytes;
use model::Offset;
use protocol::records::{Batch, BatchError, BatchHeader, HEADER_BYTES};

use crate::error::BadBatch;

/// The header at the front of `bytes` (`HEADER_BYTES` or more), checked as far as it shows without
/// the records, for a batch that must start at `expected` or later in a segment that starts at
/// `segment_base`.
pub(crate) fn read_header(
    bytes: &[u8],
    expected: Offset,
    segment_base: Offset,
) -> Result<BatchHeader, BadBatch> {
    let header = match BatchHeader::parse(bytes) {
        Ok(header) => header,
        Err(_) if bytes.iter().take(HEADER_BYTES).all(|&b| b == 0) => return Err(BadBatch::Zeros),
        Err(error) => return Err(from_batch_error(&error)),
    };
    if header.last_offset_delta < 0 || header.record_count < 0 {
        return Err(BadBatch::Count);
    }
    if header.base_offset < expected {
        return Err(BadBatch::OffsetOrder { expected, found: header.base_offset });
    }
    // Saturates near the end of the offsets, where no segment reaches.
    let reach = header.next_offset().0.saturating_sub(segment_base.0);
    if reach > i64::from(i32::MAX) || header.next_offset().0 == i64::MAX {
        return Err(BadBatch::OutsideSegment(header.base_offset));
    }
    Ok(header)
}

/// Checks the checksum of a whole batch.
pub(crate) fn check_crc(header: BatchHeader, bytes: Bytes) -> Result<(), BadBatch> {
    Batch { header, bytes }.verify_crc().map_err(|error| from_batch_error(&error))
}

/// CRC-32C, as Kafka uses it for producer snapshots too.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

fn from_batch_error(error: &BatchError) -> BadBatch {
    match *error {
        BatchError::Truncated { needed, remaining } => {
            BadBatch::Truncated { needed: needed as u64, remaining: remaining as u64 }
        }
        BatchError::Length { length } => BadBatch::Length(length),
        BatchError::Magic { magic } => BadBatch::Magic(magic),
        BatchError::Checksum { stored, computed } => BadBatch::Crc { stored, computed },
        BatchError::UnknownCompression { .. }
        | BatchError::Codec { .. }
        | BatchError::TooLarge { .. }
        | BatchError::Record { .. }
        | BatchError::TrailingBytes { .. }
        | BatchError::Control { .. } => BadBatch::Records,
    }
}
