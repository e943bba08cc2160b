//! Reading a log while its owner goes on writing it.
//!
//! A read finds its position by the index, takes the bytes by one read of the file where it can,
//! and walks the headers in the buffer: what is served is a chain of whole batches. The index is
//! believed only as far as the batch it points at confirms it.
//!
//! Start at [`LogReader::read`].

use std::sync::Arc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset};
use protocol::records::{BatchHeader, HEADER_BYTES};
use runtime::{File, read_full_at};

use crate::batch;
use crate::error::{BadBatch, DiskError, ReadError};
use crate::file_name::FileKind;
use crate::leader_epoch::EpochEnd;
use crate::scan::ScanError;
use crate::segment::{Segment, Start};
use crate::shared::{LogShared, Segments};

/// How often a read starts over because the segment it was in was replaced meanwhile.
const ATTEMPTS_MAX: usize = 4;
/// Bytes that are skipped in one go between an index entry and the batch looked for.
const SKIP_BYTES: usize = 64 * 1024;

/// Reads one log. Cheap to clone, usable from any task.
#[derive(Clone)]
pub struct LogReader {
    pub(crate) shared: Arc<LogShared>,
}

/// What to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The first offset wanted; the first batch holds it or, where it was compacted away, is the
    /// next one.
    pub from: Offset,
    /// Bytes wanted at most.
    pub max_bytes: usize,
    /// Only batches that end before this offset: high watermark, last stable offset or log end.
    pub up_to: Offset,
    /// Give the first batch whole even if it has more than `max_bytes` (KIP-74).
    pub at_least_one: bool,
    /// Verify the checksum of every batch.
    pub verify_crc: bool,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResult {
    /// Whole batches, perhaps none. They come from one segment: more may follow at once.
    pub bytes: Bytes,
    /// The offset behind the last batch; where the read started when there is none.
    pub next_offset: Offset,
}

impl LogReader {
    /// The first offset that is there.
    pub fn log_start(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset behind the last record written.
    pub fn log_end(&self) -> Offset {
        self.shared.log_end()
    }

    /// The offset behind the last record that may be acknowledged: it survives a loss of power,
    /// or is written if that is all that the topic asks for.
    pub fn durable_end(&self) -> Offset {
        self.shared.durable_end()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.shared.size_bytes()
    }

    /// Whether the log takes no more appends, after an error of the disk.
    pub fn is_offline(&self) -> bool {
        self.shared.offline_reason().is_some()
    }

    /// Where the records of `epoch` end (KIP-101, KIP-279); `None` when nothing is known of it.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.shared.end_offset_for(epoch)
    }

    /// The epoch of the leader that wrote the record at `offset`.
    pub fn leader_epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.shared.epochs().epoch_of(offset)
    }

    /// The newest epoch.
    pub fn latest_leader_epoch(&self) -> Option<LeaderEpoch> {
        self.shared.epochs().latest()
    }

    /// Whole batches from `request.from` on.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] outside `log_start..=log_end`; damaged bytes are
    /// [`ReadError::Corrupt`], or [`ReadError::Offline`] when that is why, and never served.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadResult, ReadError> {
        let mut attempt = 1;
        loop {
            let segments = self.shared.segments();
            let log_start = self.shared.log_start();
            let log_end = self.shared.log_end();
            let offset = request.from;
            if offset < log_start || offset > log_end {
                return Err(ReadError::OutOfRange { offset, log_start, log_end });
            }
            match read_segments(&segments, &request).await {
                Ok(result) => return Ok(result),
                // A segment that was deleted, truncated or compacted since the list was taken may
                // look damaged; what the newer list holds does not.
                Err(_) if attempt < ATTEMPTS_MAX && self.replaced(&segments) => attempt += 1,
                Err(error) => return Err(self.explained(error)),
            }
        }
    }

    /// Damage in what is not synced yet, in a log that is offline: it went with the sync that failed.
    pub(crate) fn explained(&self, error: ReadError) -> ReadError {
        let ReadError::Corrupt { file, .. } = &error else { return error };
        let Some(reason) = self.shared.offline_reason() else { return error };
        let synced_to = self.shared.recovery_point();
        let segments = self.shared.segments();
        let damaged = segments.iter().find(|segment| segment.path(FileKind::Log) == *file);
        if damaged.is_some_and(|segment| segment.next_offset() <= synced_to) {
            return error;
        }
        ReadError::Offline { file: file.clone(), reason }
    }

    /// Whether a segment of `segments` is not part of the log any more.
    pub(crate) fn replaced(&self, segments: &Segments) -> bool {
        let now = self.shared.segments();
        segments.iter().any(|old| !now.iter().any(|new| Arc::ptr_eq(old, new)))
    }
}

async fn read_segments(
    segments: &Segments,
    request: &ReadRequest,
) -> Result<ReadResult, ReadError> {
    let nothing = ReadResult { bytes: Bytes::new(), next_offset: request.from };
    if request.from >= request.up_to {
        return Ok(nothing);
    }
    let holder = segments.partition_point(|segment| segment.base <= request.from);
    // In front of the first segment, where nothing is, the first batch there is the next one.
    for segment in &segments[holder.saturating_sub(1)..] {
        if segment.base >= request.up_to {
            break;
        }
        let mut read = SegmentRead { segment, request, file: segment.file().await? };
        match read.run().await? {
            Found::Batches(result) => return Ok(result),
            Found::Nothing => return Ok(nothing),
            // The rest of the segment was compacted away.
            Found::End => {}
        }
    }
    Ok(nothing)
}

enum Found {
    Batches(ReadResult),
    /// The next batch is not wanted: too large, or not below `up_to`.
    Nothing,
    /// No batch at or behind the offset in this segment.
    End,
}

struct SegmentRead<'a> {
    segment: &'a Arc<Segment>,
    request: &'a ReadRequest,
    file: Arc<dyn File>,
}

impl SegmentRead<'_> {
    async fn run(&mut self) -> Result<Found, ReadError> {
        let start = self.segment.locate(self.request.from).await;
        let start = start.map_err(|error| into_read(self.segment, error))?;
        match self.run_from(start).await {
            Err(ReadError::Corrupt { position, .. })
                if position == start.position && start != Start::BASE =>
            {
                // The index pointed astray, or the batches are damaged: the file itself says.
                self.rebuild().await?;
                self.run_from(Start::BASE).await
            }
            result => result,
        }
    }

    /// Goes from a place where a batch starts to the one with the offset, then collects.
    async fn run_from(&self, start: Start) -> Result<Found, ReadError> {
        let limit = self.segment.size();
        let mut position = start.position;
        let mut claimed = start.last_offset;
        let mut expected = self.segment.base;
        if start.is_exact {
            expected = expected.max(self.request.from);
        }
        while position < limit {
            let slack = if start.is_exact { 0 } else { SKIP_BYTES };
            let len = self.request.max_bytes.max(HEADER_BYTES).saturating_add(slack);
            let chunk = self.read(position, len, limit).await?;
            let mut at = 0;
            while let Some(header) = self.header(&chunk, at, position, expected)? {
                if claimed.take().is_some_and(|last| last != header.last_offset()) {
                    let found = header.base_offset;
                    return Err(self.corrupt(position, BadBatch::OffsetOrder { expected, found }));
                }
                if header.last_offset() >= self.request.from {
                    return self.collect(&chunk.slice(at..), position + at as u64, &header).await;
                }
                at += header.size_bytes();
                expected = header.next_offset();
                if at >= chunk.len() {
                    break;
                }
            }
            position += at as u64;
        }
        Ok(Found::End)
    }

    /// The header at `at`; `None` when the chunk ends before it.
    fn header(
        &self,
        chunk: &Bytes,
        at: usize,
        position: u64,
        expected: Offset,
    ) -> Result<Option<BatchHeader>, ReadError> {
        let position = position + at as u64;
        let bytes = &chunk[at..];
        if bytes.len() < HEADER_BYTES {
            let remaining = self.segment.size().saturating_sub(position);
            if at == 0 || remaining < HEADER_BYTES as u64 {
                let needed = HEADER_BYTES as u64;
                return Err(self.corrupt(position, BadBatch::Truncated { needed, remaining }));
            }
            return Ok(None);
        }
        let header = batch::read_header(bytes, expected, self.segment.base)
            .map_err(|reason| self.corrupt(position, reason))?;
        let (needed, limit) = (header.size_bytes() as u64, self.segment.size());
        if position + needed > limit {
            let remaining = limit - position;
            return Err(self.corrupt(position, BadBatch::Truncated { needed, remaining }));
        }
        Ok(Some(header))
    }

    /// Takes batches from the front of `chunk`, whose first one has `first` as its header.
    async fn collect(
        &self,
        chunk: &Bytes,
        position: u64,
        first: &BatchHeader,
    ) -> Result<Found, ReadError> {
        let size = first.size_bytes();
        let unwanted = first.next_offset() > self.request.up_to;
        if unwanted || (size > self.request.max_bytes && !self.request.at_least_one) {
            return Ok(Found::Nothing);
        }
        let whole = if chunk.len() >= size {
            chunk.clone()
        } else {
            let len = size.max(self.request.max_bytes);
            self.read(position, len, self.segment.size()).await?
        };
        let (mut end, mut next_offset) = (0, first.base_offset);
        // What lies behind is not to be looked at: it may be lost pages of a failed sync.
        while whole.len() - end >= HEADER_BYTES && next_offset < self.request.up_to {
            let Some(header) = self.header(&whole, end, position, next_offset)? else { break };
            let fits = end == 0 || end + header.size_bytes() <= self.request.max_bytes;
            let is_whole = end + header.size_bytes() <= whole.len();
            if !fits || !is_whole || header.next_offset() > self.request.up_to {
                break;
            }
            if self.request.verify_crc {
                let bytes = whole.slice(end..end + header.size_bytes());
                batch::check_crc(header, bytes)
                    .map_err(|reason| self.corrupt(position + end as u64, reason))?;
            }
            end += header.size_bytes();
            next_offset = header.next_offset();
        }
        if end == 0 {
            let (needed, remaining) = (size as u64, whole.len() as u64);
            return Err(self.corrupt(position, BadBatch::Truncated { needed, remaining }));
        }
        self.segment.note_position(next_offset, position + end as u64);
        Ok(Found::Batches(ReadResult { bytes: whole.slice(..end), next_offset }))
    }

    async fn read(&self, position: u64, len: usize, limit: u64) -> Result<Bytes, ReadError> {
        let len = (len as u64).min(limit.saturating_sub(position)) as usize;
        let path = || self.segment.path(FileKind::Log);
        let bytes = read_full_at(&*self.file, position, len).await;
        let bytes = bytes.map_err(|error| DiskError::at("read", path())(error))?;
        if bytes.len() < len {
            let (needed, remaining) = (len as u64, bytes.len() as u64);
            return Err(self.corrupt(position, BadBatch::Truncated { needed, remaining }));
        }
        Ok(bytes)
    }

    async fn rebuild(&self) -> Result<(), ReadError> {
        self.segment.rebuild_indexes().await.map_err(|error| into_read(self.segment, error))
    }

    fn corrupt(&self, position: u64, reason: BadBatch) -> ReadError {
        ReadError::Corrupt { file: self.segment.path(FileKind::Log), position, reason }
    }
}

/// What a walk through `segment` says to a reader.
pub(crate) fn into_read(segment: &Segment, error: ScanError) -> ReadError {
    let file = segment.path(FileKind::Log);
    match error {
        ScanError::Disk(error) => ReadError::Disk(DiskError::at("read", file)(error)),
        ScanError::Bad { position, reason } => ReadError::Corrupt { file, position, reason },
    }
}
