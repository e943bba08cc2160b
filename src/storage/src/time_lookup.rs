//! Offsets by time, to the record: the first at or after a timestamp, and the latest of all.
//!
//! In: a timestamp and the end of what the asker may see. Out: the place of one record, also
//! inside a compressed batch.

use std::sync::Arc;

use model::{LeaderEpoch, Offset, Timestamp};
use protocol::records::{
    Batch, BatchHeader, Scratch, TimestampedOffset, first_since, latest_record,
};

use crate::error::{BadBatch, ReadError};
use crate::file_name::FileKind;
use crate::reader::{LogReader, into_read};
use crate::scan::{ScanError, Scanner};
use crate::segment::{Segment, Start};
use crate::shared::Segments;

/// A record by time, as ListOffsets answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its place.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: LeaderEpoch,
}

/// How often a look-up starts over because a segment was replaced meanwhile.
const ATTEMPTS_MAX: usize = 4;

impl LogReader {
    /// The first record below `up_to` whose timestamp is `at` or later; `None` when there is none.
    pub async fn offset_for_timestamp(
        &self,
        at: Timestamp,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let mut attempt = 1;
        loop {
            let segments = self.shared.segments();
            match self.first_since(&segments, at, up_to).await {
                Err(_) if attempt < ATTEMPTS_MAX && self.replaced(&segments) => attempt += 1,
                result => return result.map_err(|error| self.explained(error)),
            }
        }
    }

    /// The first record below `up_to` with the largest timestamp of all there; `None` in an empty
    /// log. The record's own offset, not its batch's (KIP-734).
    pub async fn max_timestamp(&self, up_to: Offset) -> Result<Option<TimestampOffset>, ReadError> {
        let mut attempt = 1;
        loop {
            let segments = self.shared.segments();
            match self.latest(&segments, up_to).await {
                Err(_) if attempt < ATTEMPTS_MAX && self.replaced(&segments) => attempt += 1,
                result => return result.map_err(|error| self.explained(error)),
            }
        }
    }

    async fn first_since(
        &self,
        segments: &Segments,
        at: Timestamp,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let log_start = self.shared.log_start();
        let mut scratch = Scratch::new();
        for segment in segments.iter().take_while(|segment| segment.base < up_to) {
            let max = segment.max_timestamp().await.map_err(|error| into_read(segment, error))?;
            if max.is_none_or(|max| max.timestamp < at) {
                continue;
            }
            let mut walk = Walk::begin_below(segment, at, log_start).await?;
            while let Some(batch) = walk.next(up_to, |max| max >= at).await? {
                let found = first_since(&batch, at, log_start, &mut scratch);
                let found = found.map_err(|_| walk.unreadable())?;
                if let Some(found) = found {
                    return Ok(below(up_to, found, &batch));
                }
            }
        }
        Ok(None)
    }

    async fn latest(
        &self,
        segments: &Segments,
        up_to: Offset,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let log_start = self.shared.log_start();
        let mut latest: Option<(Timestamp, &Arc<Segment>, Offset)> = None;
        for segment in segments.iter().take_while(|segment| segment.base < up_to) {
            let starts_inside = segment.base < log_start;
            let max = if segment.next_offset() <= up_to && !starts_inside {
                let max = segment.max_timestamp().await;
                max.map_err(|error| into_read(segment, error))?.map(|max| max.timestamp)
            } else {
                max_within(segment, log_start, up_to).await?
            };
            let from = segment.base.max(log_start);
            if let Some(max) = max
                && latest.is_none_or(|(known, ..)| max > known)
            {
                latest = Some((max, segment, from));
            }
        }
        let Some((max, segment, from)) = latest else { return Ok(None) };
        let mut walk = Walk::begin(segment, from).await?;
        while let Some(batch) = walk.next(up_to, |found| found >= max).await? {
            let found = latest_record(&batch, from, &mut Scratch::new());
            let found = found.map_err(|_| walk.unreadable())?;
            // Of the batch that the log starts in, the latest record may be deleted.
            if let Some(found) = found.filter(|found| found.timestamp >= max) {
                return Ok(below(up_to, found, &batch));
            }
        }
        Ok(None)
    }
}

fn below(up_to: Offset, found: TimestampedOffset, batch: &Batch) -> Option<TimestampOffset> {
    let TimestampedOffset { offset, timestamp } = found;
    let leader_epoch = batch.header.leader_epoch;
    (offset < up_to).then_some(TimestampOffset { offset, timestamp, leader_epoch })
}

/// The largest timestamp of the batches from `from` to `up_to`, of a segment that has others too.
async fn max_within(
    segment: &Arc<Segment>,
    from: Offset,
    up_to: Offset,
) -> Result<Option<Timestamp>, ReadError> {
    let mut walk = Walk::begin(segment, from).await?;
    let mut latest = None;
    while let Some(header) = walk.peek(up_to).await? {
        if header.base_offset >= from {
            latest = latest.max(Some(header.max_timestamp));
            walk.skip().await?;
            continue;
        }
        // The log starts inside: what is left of the batch counts.
        let Some(batch) = walk.next(up_to, |_| true).await? else { break };
        let left = latest_record(&batch, from, &mut Scratch::new());
        let left = left.map_err(|_| walk.unreadable())?;
        latest = latest.max(left.map(|left| left.timestamp));
    }
    Ok(latest.filter(|latest| *latest >= Timestamp(0)))
}

/// Goes from batch to batch of one segment, from the one that holds an offset.
struct Walk<'a> {
    segment: &'a Arc<Segment>,
    scanner: Scanner,
    from: Offset,
}

impl<'a> Walk<'a> {
    async fn begin(segment: &'a Arc<Segment>, from: Offset) -> Result<Walk<'a>, ReadError> {
        let file = segment.file().await?;
        let start = segment.locate(from).await.map_err(|error| into_read(segment, error))?;
        let (base, size) = (segment.base, segment.size());
        let mut scanner = Scanner::new(&file, base, start.position, base, size);
        if !confirms(segment, &mut scanner, start).await? {
            segment.rebuild_indexes().await.map_err(|error| into_read(segment, error))?;
            scanner = Scanner::new(&file, base, 0, base, size);
        }
        Ok(Walk { segment, scanner, from })
    }

    /// Begins where the time index says that nothing before is as late as `at`, if the batch that
    /// it names confirms that.
    async fn begin_below(
        segment: &'a Arc<Segment>,
        at: Timestamp,
        log_start: Offset,
    ) -> Result<Walk<'a>, ReadError> {
        let entry = segment.locate_time(at).await.map_err(|error| into_read(segment, error))?;
        if let Some(entry) = entry.filter(|entry| entry.offset >= segment.base) {
            let mut walk = Walk::begin(segment, entry.offset).await?;
            let header = walk.peek(Offset(i64::MAX)).await?;
            let confirms = header.is_some_and(|header| {
                header.base_offset <= entry.offset && header.max_timestamp == entry.timestamp
            });
            if confirms {
                walk.from = log_start;
                return Ok(walk);
            }
            segment.rebuild_indexes().await.map_err(|error| into_read(segment, error))?;
        }
        Walk::begin(segment, segment.base.max(log_start)).await
    }

    /// The next batch below `up_to` with a largest timestamp that is wanted, whole and verified.
    async fn next(
        &mut self,
        up_to: Offset,
        wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<Batch>, ReadError> {
        while let Some(header) = self.peek(up_to).await? {
            if !wanted(header.max_timestamp) {
                self.skip().await?;
                continue;
            }
            let whole = self.scanner.next_batch().await;
            let whole = whole.map_err(|error| into_read(self.segment, error))?;
            return Ok(whole.map(|whole| Batch { header: whole.header, bytes: whole.bytes }));
        }
        Ok(None)
    }

    async fn peek(&mut self, up_to: Offset) -> Result<Option<BatchHeader>, ReadError> {
        loop {
            let header = self.scanner.peek().await;
            match header.map_err(|error| into_read(self.segment, error))? {
                Some(header) if header.last_offset() < self.from => self.skip().await?,
                header => return Ok(header.filter(|header| header.base_offset < up_to)),
            }
        }
    }

    async fn skip(&mut self) -> Result<(), ReadError> {
        let skipped = self.scanner.next_header().await;
        skipped.map(|_| ()).map_err(|error| into_read(self.segment, error))
    }

    /// The last batch returned is no list of records.
    fn unreadable(&self) -> ReadError {
        let file = self.segment.path(FileKind::Log);
        ReadError::Corrupt { file, position: self.scanner.position(), reason: BadBatch::Records }
    }
}

/// Whether the batch at the start is the one that the index says.
async fn confirms(
    segment: &Segment,
    scanner: &mut Scanner,
    start: Start,
) -> Result<bool, ReadError> {
    if start == Start::BASE {
        return Ok(true);
    }
    match scanner.peek().await {
        Ok(Some(header)) => Ok(start.last_offset.is_none_or(|last| last == header.last_offset())),
        Ok(None) => Ok(start.is_exact),
        Err(ScanError::Bad { .. }) => Ok(false),
        Err(error) => Err(into_read(segment, error)),
    }
}
