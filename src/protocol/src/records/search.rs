//! Look-ups by time inside one batch, compressed or not, without decoding its records.

use model::{Offset, Timestamp};

use crate::records::walk::{Outline, walk_bytes, walk_stream};
use crate::records::{Batch, BatchError, BatchHeader, Compression, Scratch, TimestampType};

/// A record's place and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its place in the log.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
}

/// The first record at or after offset `from` whose timestamp is at least `since`
/// (`FileRecords.searchForTimestamp`).
///
/// # Errors
/// When the records can not be read.
pub fn first_since(
    batch: &Batch,
    since: Timestamp,
    from: Offset,
    scratch: &mut Scratch,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let header = &batch.header;
    if header.max_timestamp < since || header.last_offset() < from {
        return Ok(None);
    }
    let mut found = None;
    visit(batch, scratch, |outline| {
        let (offset, timestamp) = (outline.offset(header), timestamp(&outline, header));
        if found.is_none() && timestamp >= since && offset >= from {
            found = Some(TimestampedOffset { offset, timestamp });
        }
    })?;
    Ok(found)
}

/// The first of the records at or after offset `from` with the largest timestamp of those; none
/// where there is no record.
///
/// # Errors
/// When the records can not be read.
pub fn latest_record(
    batch: &Batch,
    from: Offset,
    scratch: &mut Scratch,
) -> Result<Option<TimestampedOffset>, BatchError> {
    let header = &batch.header;
    let mut latest: Option<TimestampedOffset> = None;
    visit(batch, scratch, |outline| {
        let (offset, timestamp) = (outline.offset(header), timestamp(&outline, header));
        if offset >= from && latest.is_none_or(|latest| timestamp > latest.timestamp) {
            latest = Some(TimestampedOffset { offset, timestamp });
        }
    })?;
    Ok(latest)
}

fn timestamp(outline: &Outline, header: &BatchHeader) -> Timestamp {
    match header.attributes.timestamp_type() {
        TimestampType::CreateTime => outline.timestamp(header),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

/// Calls `visit` with every record's outline.
pub(super) fn visit(
    batch: &Batch,
    scratch: &mut Scratch,
    mut visit: impl FnMut(Outline),
) -> Result<(), BatchError> {
    let compression = batch.header.attributes.compression()?;
    let (body, count) = (batch.body(), batch.header.record_count);
    let visit = |_, outline| visit(outline);
    if compression == Compression::None {
        walk_bytes(&body, count, visit)
    } else {
        walk_stream(&mut scratch.stream(compression, &body)?, count, visit)
    }
}
