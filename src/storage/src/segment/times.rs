//! What a segment knows of timestamps: where to look for one, the largest of all.
//!
//! The time index is a hint like the other. It may have rotted, and a loss of power may have taken
//! its end: a process that was killed leaves entries in the page cache that no later sync covers.
//! Whoever believed a last entry that is too small would pass over records, or delete them too early.

use model::Timestamp;
use runtime::OpenMode;

use super::{Segment, into_scan, lock};
use crate::file_name::FileKind;
use crate::index::{TimeEntry, entry_at};
use crate::scan::{ScanError, Scanned, Scanner};

impl Segment {
    /// The last entry of the time index below `timestamp`: up to the batch that it names there is
    /// nothing as late. To be checked against that batch.
    pub(crate) async fn locate_time(
        &self,
        timestamp: Timestamp,
    ) -> Result<Option<TimeEntry>, ScanError> {
        self.settle_doubts().await?;
        // The entry below, not the one at: several batches may share a timestamp.
        let key = Timestamp(timestamp.0.saturating_sub(1));
        let in_tail = lock(&self.indexes).times.floor_in_tail(key);
        match in_tail {
            Some(entry) => Ok(Some(entry)),
            None => {
                let found = self.floor_in_file::<TimeEntry>(FileKind::TimeIndex, key).await;
                found.map_err(into_scan)
            }
        }
    }

    /// The largest timestamp and a batch that has it; `None` in an empty segment.
    pub(crate) async fn max_timestamp(&self) -> Result<Option<TimeEntry>, ScanError> {
        self.settle_doubts().await?;
        if let Some(max) = lock(&self.indexes).max {
            return Ok(max);
        }
        // A closed segment's time index ends with its largest timestamp, or should.
        if let Some(last) = self.last_time().await?
            && self.is_largest(last).await?
        {
            lock(&self.indexes).max = Some(Some(last));
            return Ok(Some(last));
        }
        self.rebuild_indexes().await?;
        Ok(self.max_so_far())
    }

    /// The last entry in the file; `None` also when the file is gone, because its segment is being
    /// replaced.
    async fn last_time(&self) -> Result<Option<TimeEntry>, ScanError> {
        let count = self.saved_entries::<TimeEntry>(FileKind::TimeIndex).await;
        let Some(at) = count.map_err(into_scan)?.and_then(|count| count.checked_sub(1)) else {
            return Ok(None);
        };
        match self.cached(FileKind::TimeIndex, OpenMode::Read).await {
            Ok(file) => Ok(entry_at(&*file, self.base, at).await?),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(into_scan(error)),
        }
    }

    /// Whether the batch that the entry names has its timestamp, and none behind has a larger one.
    /// Of an index that is whole these are few: the last entry is of the end of the segment unless
    /// timestamps stopped growing before.
    async fn is_largest(&self, entry: TimeEntry) -> Result<bool, ScanError> {
        if !(self.base..self.next_offset()).contains(&entry.offset) {
            return Ok(false);
        }
        let start = self.locate(entry.offset).await?;
        let file = self.file().await.map_err(into_scan)?;
        let mut scanner = Scanner::new(&file, self.base, start.position, self.base, self.size());
        let mut is_named = false;
        loop {
            let Scanned { header, .. } = match scanner.next_header().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(is_named),
                // The position was wrong, or the batches are damaged, which the rebuild will tell.
                Err(ScanError::Bad { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            if header.last_offset() < entry.offset {
                continue;
            }
            let is_its_batch = header.base_offset <= entry.offset;
            is_named |= is_its_batch && header.max_timestamp == entry.timestamp;
            if !is_named || header.max_timestamp > entry.timestamp {
                runtime::sometimes!("a time index ends too early");
                return Ok(false);
            }
        }
    }
}
