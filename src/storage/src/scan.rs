//! Walks the batches of a segment's file one after another, by their headers or whole.
//!
//! Invariant: what comes out is a chain; the first batch that does not continue it ends the walk
//! with its position and what is wrong.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use model::Offset;
use protocol::records::{BatchHeader, HEADER_BYTES};
use runtime::{File, read_full_at};

use crate::batch;
use crate::error::BadBatch;

/// Read at once while batches are small.
const CHUNK_BYTES: u64 = 128 * 1024;
/// Batches larger than this are skipped by a read of their own for each header.
const SKIP_BYTES: u64 = 32 * 1024;

/// One batch on its place.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
    /// The whole batch, when it was asked for.
    pub(crate) bytes: Bytes,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(crate) enum ScanError {
    Disk(std::io::Error),
    Bad { position: u64, reason: BadBatch },
}

impl From<std::io::Error> for ScanError {
    fn from(error: std::io::Error) -> ScanError {
        ScanError::Disk(error)
    }
}

/// A walk from one batch boundary to another.
pub(crate) struct Scanner {
    file: Arc<dyn File>,
    segment_base: Offset,
    /// Where the next batch starts.
    position: u64,
    /// Where the walk ends.
    limit: u64,
    /// The least base offset of the next batch.
    expected: Offset,
    /// Bytes from `position` on that were read already.
    buffer: Bytes,
    last_size: u64,
}

impl Scanner {
    /// Walks from `position`, where a batch starts at `expected` or later, up to `limit`.
    pub(crate) fn new(
        file: &Arc<dyn File>,
        segment_base: Offset,
        position: u64,
        expected: Offset,
        limit: u64,
    ) -> Scanner {
        let (file, buffer) = (Arc::clone(file), Bytes::new());
        Scanner { file, segment_base, position, limit, expected, buffer, last_size: 0 }
    }

    /// Where the next batch starts: behind everything returned so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The offset behind the last batch returned.
    pub(crate) fn next_offset(&self) -> Offset {
        self.expected
    }

    /// The next batch, of which only the header was looked at; `None` at the limit.
    pub(crate) async fn next_header(&mut self) -> Result<Option<Scanned>, ScanError> {
        let Some(header) = self.peek().await? else { return Ok(None) };
        let position = self.position;
        self.step_over(&header);
        Ok(Some(Scanned { position, header, bytes: Bytes::new() }))
    }

    /// The next batch whole, with its checksum verified; `None` at the limit.
    pub(crate) async fn next_batch(&mut self) -> Result<Option<Scanned>, ScanError> {
        let Some(header) = self.peek().await? else { return Ok(None) };
        let size = header.size_bytes();
        if self.buffer.len() < size {
            self.fill(size as u64).await?;
        }
        let position = self.position;
        let bytes = self.buffer.slice(..size);
        batch::check_crc(header, bytes.clone())
            .map_err(|reason| ScanError::Bad { position, reason })?;
        self.step_over(&header);
        Ok(Some(Scanned { position, header, bytes }))
    }

    /// The header at `position`, checked, without moving on; `None` at the limit.
    pub(crate) async fn peek(&mut self) -> Result<Option<BatchHeader>, ScanError> {
        let remaining = self.limit.saturating_sub(self.position);
        if remaining == 0 {
            return Ok(None);
        }
        let position = self.position;
        let bad = |reason| ScanError::Bad { position, reason };
        if self.buffer.len() < HEADER_BYTES {
            self.fill(HEADER_BYTES as u64).await?;
        }
        let truncated = |needed: usize| BadBatch::Truncated { needed: needed as u64, remaining };
        if self.buffer.len() < HEADER_BYTES {
            return Err(bad(truncated(HEADER_BYTES)));
        }
        let header = batch::read_header(&self.buffer, self.expected, self.segment_base);
        let header = header.map_err(bad)?;
        if header.size_bytes() as u64 > remaining {
            return Err(bad(truncated(header.size_bytes())));
        }
        Ok(Some(header))
    }

    /// Reads from `position` at least `needed` bytes, as far as the limit has them.
    async fn fill(&mut self, needed: u64) -> Result<(), ScanError> {
        let ahead = if self.last_size > SKIP_BYTES { needed } else { needed.max(CHUNK_BYTES) };
        let len = ahead.min(self.limit - self.position) as usize;
        self.buffer = read_full_at(&*self.file, self.position, len).await?;
        let found = self.buffer.len() as u64;
        if found < len as u64 && found < needed {
            let reason = BadBatch::Truncated { needed, remaining: found };
            return Err(ScanError::Bad { position: self.position, reason });
        }
        Ok(())
    }

    fn step_over(&mut self, header: &BatchHeader) {
        let size = header.size_bytes();
        self.buffer.advance(size.min(self.buffer.len()));
        self.position += size as u64;
        self.last_size = size as u64;
        self.expected = header.next_offset();
    }
}
