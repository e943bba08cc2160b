//! Finds batches of records in what is sent, wherever they lie in a frame.

use std::ops::Range;

use bytes::Bytes;
use protocol::records::{Batch, BatchHeader};

/// Where a batch has its magic, and what that is.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
/// Behind the attributes: nothing there says how the rest is to be read before the checksum was
/// looked at.
const RECORDS_FROM: usize = 23;

/// The bytes of the first whole batch whose bits the checksum covers.
pub(super) fn first_checked_range(bytes: &Bytes) -> Option<Range<usize>> {
    let last = bytes.len().checked_sub(RECORDS_FROM)?;
    (0..last).filter(|start| bytes[start + MAGIC_AT] == MAGIC).find_map(|start| {
        let header = BatchHeader::parse(&bytes[start..]).ok()?;
        let end = start.checked_add(header.size_bytes())?;
        let batch = Batch::parse(bytes.get(start..end).map(|_| bytes.slice(start..end))?).ok()?;
        batch.verify_crc().ok()?;
        Some(start + RECORDS_FROM..end)
    })
}
