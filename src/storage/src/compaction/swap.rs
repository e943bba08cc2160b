//! The owner's part of a compaction: what to take, and swapping the result in.
//!
//! Renames follow Kafka's protocol, `.cleaned` to `.swap` to the final name, with the directory
//! synced in between, so that a crash at any point leaves the old segments or the new one.

use std::sync::Arc;

use model::{Offset, Timestamp};

use super::writer::cleaned_path;
use super::{Compaction, CompactionDone, CompactionStats, LastOfProducer, Replacement, Settings};
use crate::error::{DiskError, StorageError};
use crate::file_name::{FileKind, SWAP_SUFFIX, file_name};
use crate::journal::SegmentPosition;
use crate::log::Log;
use crate::segment::Segment;

/// The files that a replacement consists of; batches last, so that they speak for the others.
const SWAPPED: [FileKind; 3] = [FileKind::TimeIndex, FileKind::Index, FileKind::Log];

impl Log {
    /// Begins a compaction of what lies below `limit`, the high watermark or the last stable
    /// offset; `None` when the topic does not ask for one, when there is too little to gain, or
    /// when one is under way. `memory_bytes` bounds the map of keys.
    pub async fn begin_compaction(
        &mut self,
        limit: Offset,
        now: Timestamp,
        memory_bytes: usize,
    ) -> Result<Option<Compaction>, StorageError> {
        self.check_online()?;
        if !self.config().cleanup.compact || self.is_compacting() {
            return Ok(None);
        }
        let segments = self.compactable_segments(limit, now).await?;
        let Some(last) = segments.last() else { return Ok(None) };
        let first_dirty = self.cleaned_to().max(segments[0].base);
        if last.next_offset() <= first_dirty {
            return Ok(None);
        }
        if !self.is_dirty_enough(&segments, first_dirty, now).await? {
            return Ok(None);
        }
        let config = self.config();
        let settings = Settings {
            now,
            delete_retention_ms: config.delete_retention_ms,
            segment_bytes: u64::from(config.segment_bytes),
            index_interval: u64::from(config.index_interval_bytes),
            memory_bytes,
        };
        let token = self.new_compaction_token();
        Ok(Some(Compaction {
            home: Arc::clone(self.home()),
            segments,
            first_dirty,
            producers: self.last_of_producers(),
            settings,
            token,
            generation: self.generation(),
        }))
    }

    /// Closed segments that lie below every limit as a whole.
    async fn compactable_segments(
        &self,
        limit: Offset,
        now: Timestamp,
    ) -> Result<Vec<Arc<Segment>>, StorageError> {
        // Past the recovery point recovery takes a gap for damage.
        let limit = limit.min(self.recovery_point());
        let all = self.segments();
        let lag_ms = self.config().min_compaction_lag_ms;
        let mut segments = Vec::new();
        for pair in all.windows(2) {
            let (segment, end) = (&pair[0], pair[1].base);
            // A checkpoint that is to sync it would miss its files, or write into those of what took
            // its name. The recovery point may have come to its end while it was active.
            if end > limit || self.is_unsynced(segment) {
                break;
            }
            if lag_ms > 0 {
                let max = segment.max_timestamp().await;
                let max = max.map_err(|error| self.scan_failed(segment, error))?;
                if max.is_some_and(|max| now.millis_since(max.timestamp) < lag_ms) {
                    break;
                }
            }
            segments.push(Arc::clone(segment));
        }
        Ok(segments)
    }

    /// Whether the dirty part is large or old enough (`min.cleanable.dirty.ratio`,
    /// `max.compaction.lag.ms`).
    async fn is_dirty_enough(
        &self,
        segments: &[Arc<Segment>],
        first_dirty: Offset,
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let total: u64 = segments.iter().map(|segment| segment.size()).sum();
        let dirty = segments.iter().filter(|segment| segment.base >= first_dirty);
        let dirty_bytes: u64 = dirty.clone().map(|segment| segment.size()).sum();
        let permille = u64::from(self.config().min_cleanable_dirty_permille);
        if dirty_bytes > 0 && dirty_bytes * 1000 >= total * permille {
            return Ok(true);
        }
        for segment in dirty {
            let max = segment.max_timestamp().await;
            let max = max.map_err(|error| self.scan_failed(segment, error))?;
            let lag_ms = self.config().max_compaction_lag_ms;
            if max.is_some_and(|max| now.millis_since(max.timestamp) > lag_ms) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn last_of_producers(&self) -> std::collections::BTreeMap<model::ProducerId, LastOfProducer> {
        let last = |(id, entry): (&model::ProducerId, &crate::producer_state::ProducerEntry)| {
            let last_offset = entry.last_batch().map(|batch| batch.last_offset);
            (*id, LastOfProducer { last_offset, epoch: entry.epoch })
        };
        self.producer_entries().iter().map(last).collect()
    }

    /// Swaps the result of a compaction in. Does nothing but clean up when the log was truncated
    /// or lost segments meanwhile. Durable when it returns.
    pub async fn finish_compaction(
        &mut self,
        done: CompactionDone,
    ) -> Result<CompactionStats, StorageError> {
        let is_current = done.generation == self.generation();
        let now = self.wall();
        self.begin()?;
        let voided = match is_current {
            true => self.void_replaced(&done).await,
            false => Ok(()),
        };
        let swaps = is_current && voided.is_ok();
        let result = async {
            for replacement in &done.replacements {
                if swaps {
                    self.swap(replacement, now).await?;
                } else {
                    self.discard(replacement).await?;
                }
            }
            Ok::<_, DiskError>(())
        };
        let result = result.await.map_err(|error| self.swap_failed(&error));
        self.end();
        result?;
        voided.map_err(|error| self.fail(&error))?;
        if is_current {
            self.set_cleaned_to(done.cleaned_to);
        }
        Ok(if is_current { done.stats } else { CompactionStats::default() })
    }

    /// What the journal says of segments that are replaced is true of the old ones only.
    async fn void_replaced(&mut self, done: &CompactionDone) -> Result<(), DiskError> {
        for replacement in &done.replacements {
            let old = &replacement.old;
            let (Some(first), Some(last)) = (old.first(), old.last()) else { continue };
            let from = SegmentPosition { segment: first.base, position: 0 };
            self.void(from, last.base.next()).await?;
        }
        Ok(())
    }

    async fn swap(&mut self, new: &Replacement, now: Timestamp) -> Result<(), DiskError> {
        let home = Arc::clone(self.home());
        let base = new.old[0].base;
        let swap_path = |kind| home.dir.join(file_name(kind, base) + SWAP_SUFFIX);
        for kind in SWAPPED {
            let from = cleaned_path(&home, kind, base);
            let renamed = home.disk.rename(&from, &swap_path(kind)).await;
            renamed.map_err(DiskError::at("rename", &from))?;
        }
        self.sync_dir().await?;
        // Readers of the old segments go on with the old files until they find the new list.
        for old in &new.old {
            let file = old.file().await?;
            old.pin(Some(file));
        }
        // From here on a restart completes the swap.
        for old in new.old.iter().rev() {
            self.discard_files(old, now).await?;
        }
        self.sync_dir().await?;
        for kind in SWAPPED {
            let from = swap_path(kind);
            let renamed = home.disk.rename(&from, &home.path(kind, base)).await;
            renamed.map_err(DiskError::at("rename", &from))?;
        }
        self.sync_dir().await?;
        let next = new.old.last().map_or(new.next_offset, |last| last.next_offset());
        let segment = Segment::existing(&home, base, new.size, next.max(new.next_offset));
        segment.know_max(new.max);
        self.replace_segments(&new.old, Arc::new(segment));
        for old in &new.old {
            old.pin(None);
        }
        Ok(())
    }

    async fn discard(&mut self, new: &Replacement) -> Result<(), DiskError> {
        let home = Arc::clone(self.home());
        for kind in SWAPPED {
            let path = cleaned_path(&home, kind, new.old[0].base);
            home.disk.remove_file(&path).await.map_err(DiskError::at("remove", &path))?;
        }
        Ok(())
    }
}
