//! Taking records away at the front: by age, by size, by DeleteRecords.
//!
//! Producers are not touched: they outlive their records (KAFKA-7190).

use std::path::PathBuf;
use std::sync::Arc;

use model::{Offset, Timestamp};
use runtime::{OpenMode, read_file};

use super::{DeletedFile, Log};
use crate::error::{BadBatch, DiskError, StorageError};
use crate::file_name::{DELETED_SUFFIX, FileKind};
use crate::journal::SegmentPosition;
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::snapshot;
use crate::scan::ScanError;
use crate::segment::Segment;

/// What a retention pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments deleted.
    pub segments_removed: usize,
    /// Their bytes of batches.
    pub bytes_removed: u64,
}

impl Retained {
    fn of(removed: &[Arc<Segment>]) -> Retained {
        Retained {
            segments_removed: removed.len(),
            bytes_removed: removed.iter().map(|segment| segment.size()).sum(),
        }
    }
}

impl Log {
    /// Deletes the oldest segments that `retention.ms` and `retention.bytes` no longer keep, as
    /// far as all of a segment lies below the high watermark (KAFKA-5634), and those below the log
    /// start. The active segment is closed first when even it has to go.
    ///
    /// Segments whose records carry no time are not deleted by time. Does nothing while a
    /// compaction is under way.
    pub async fn apply_retention(
        &mut self,
        high_watermark: Offset,
        now: Timestamp,
    ) -> Result<Retained, StorageError> {
        if self.is_compacting() {
            return Ok(Retained::default());
        }
        self.begin_operation()?;
        let result = self.retain(high_watermark, now).await;
        self.is_busy = false;
        self.assert_invariants();
        result
    }

    async fn retain(
        &mut self,
        high_watermark: Offset,
        now: Timestamp,
    ) -> Result<Retained, StorageError> {
        let count = self.expired_segments(high_watermark, now).await?;
        if count == 0 {
            return Ok(Retained::default());
        }
        runtime::sometimes!("retention deletes segments");
        if count == self.shared.segments().len() {
            runtime::sometimes!("retention closes the active segment");
            self.roll(now).await?;
        }
        let first = self.shared.segments()[count].base;
        match self.raise_log_start(first).await {
            Ok(()) => self.remove_first_segments(count, now).await,
            Err(error) if error.is_full() => {
                let count = self.needing_no_checkpoint(count);
                if count == 0 { Err(self.fail(&error)) } else { self.make_room(count, now).await }
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Durable when it returns.
    async fn raise_log_start(&self, to: Offset) -> Result<(), DiskError> {
        if to > self.log_start() {
            self.registration.raise_log_start(to).await?;
            self.shared.set_log_start(to);
        }
        Ok(())
    }

    /// How many of the `count` oldest segments a recovery would not miss, nor the producers in them,
    /// with what the checkpoints say now.
    fn needing_no_checkpoint(&self, count: usize) -> usize {
        let covered = self.registration.checkpointed_recovery_point();
        let segments = self.shared.segments();
        let ends = segments.iter().skip(1).take(count).map(|next| next.base);
        ends.take_while(|end| *end <= covered).count()
    }

    /// How many of the oldest segments may go.
    async fn expired_segments(
        &self,
        high_watermark: Offset,
        now: Timestamp,
    ) -> Result<usize, StorageError> {
        let segments = self.shared.segments();
        let by_policy = self.config.cleanup.delete;
        let mut surplus = match self.config.retention_bytes {
            limit if limit >= 0 && by_policy => self.size_bytes().saturating_sub(limit as u64),
            _ => 0,
        };
        for (at, segment) in segments.iter().enumerate() {
            let is_active = at + 1 == segments.len();
            let end = segments.get(at + 1).map_or(self.log_end(), |next| next.base);
            let size = segment.size();
            if end > high_watermark || (is_active && size == 0) {
                return Ok(at);
            }
            let too_much = size > 0 && surplus >= size;
            let is_needless = end <= self.log_start() && !is_active;
            let is_old = by_policy && self.is_older(segment, now).await?;
            if !(too_much || is_needless || is_old) {
                return Ok(at);
            }
            surplus = surplus.saturating_sub(size);
        }
        Ok(segments.len())
    }

    async fn is_older(&self, segment: &Segment, now: Timestamp) -> Result<bool, StorageError> {
        if self.config.retention_ms < 0 {
            return Ok(false);
        }
        let max =
            segment.max_timestamp().await.map_err(|error| self.scan_failed(segment, error))?;
        Ok(max.is_some_and(|max| now.millis_since(max.timestamp) > self.config.retention_ms))
    }

    /// What a walk through a segment says to the owner: damage does not end the log.
    pub(crate) fn scan_failed(&self, segment: &Segment, error: ScanError) -> StorageError {
        let file = segment.path(FileKind::Log);
        match error {
            ScanError::Disk(error) => self.fail(&DiskError::at("read", file)(error)),
            ScanError::Bad { position, reason } => {
                let reason: BadBatch = reason;
                StorageError::Corrupt { file, position, reason }
            }
        }
    }

    /// Moves the log start to `to`, at most to the log end, and deletes what lies wholly below.
    /// The new log start is durable when this returns it.
    pub async fn delete_records(&mut self, to: Offset) -> Result<Offset, StorageError> {
        let to = to.min(self.log_end());
        if to <= self.log_start() {
            self.shared.check_online()?;
            return Ok(self.log_start());
        }
        self.begin_operation()?;
        let result = self.move_log_start(to).await;
        self.is_busy = false;
        self.assert_invariants();
        result.map(|()| to)
    }

    async fn move_log_start(&mut self, to: Offset) -> Result<(), StorageError> {
        let segments = self.shared.segments();
        runtime::sometimes!("records are deleted for a client");
        let needless = segments.windows(2).take_while(|pair| pair[1].base <= to).count();
        self.raise_log_start(to).await.map_err(|error| self.fail(&error))?;
        let now = self.runtime.clock.wall();
        if needless > 0 && !self.is_compacting() {
            self.remove_first_segments(needless, now).await?;
        } else {
            self.forget_epochs_below(to);
        }
        Ok(())
    }

    /// Takes the oldest segments, which lie below the log start, out of the log and renames their
    /// files.
    async fn remove_first_segments(
        &mut self,
        count: usize,
        now: Timestamp,
    ) -> Result<Retained, StorageError> {
        let first = self.shared.segments()[count].base;
        self.secure_rest(first).await?;
        self.void(SegmentPosition::START, first).await.map_err(|error| self.fail(&error))?;
        let removed = self.forget_segments_below(first);
        self.discard_in_turn(&removed, now).await?;
        self.remove_snapshots_below(first).await;
        Ok(Retained::of(&removed))
    }

    /// The same on a full disk, where a higher log start finds no room in its file: the names of the
    /// segments say it as well, once those of the first are gone for good. Readers are told then.
    async fn make_room(&mut self, count: usize, now: Timestamp) -> Result<Retained, StorageError> {
        runtime::sometimes!("retention makes room on a full disk");
        let segments = self.shared.segments();
        let first = segments[count].base;
        self.secure_rest(first).await?;
        self.void(SegmentPosition::START, first).await.map_err(|error| self.fail(&error))?;
        for segment in &segments[..count] {
            // Whoever reads it goes on by the open file.
            let file = segment.file().await.map_err(|error| self.fail(&error))?;
            segment.pin(Some(file));
        }
        self.discard_in_turn(&segments[..count], now).await?;
        self.shared.set_log_start(first);
        let removed = self.forget_segments_below(first);
        self.remove_snapshots_below(first).await;
        Ok(Retained::of(&removed))
    }

    /// Takes them out of the log, and returns them.
    fn forget_segments_below(&mut self, first: Offset) -> Vec<Arc<Segment>> {
        let segments = self.shared.segments();
        let (removed, left) = segments.split_at(segments.partition_point(|s| s.base < first));
        self.shared.set_segments(left.to_vec());
        self.forget_epochs_below(self.log_start());
        self.unsynced.closed.retain(|(_, segment)| segment.base >= first);
        removed.to_vec()
    }

    async fn discard_in_turn(
        &mut self,
        removed: &[Arc<Segment>],
        now: Timestamp,
    ) -> Result<(), StorageError> {
        for segment in removed {
            self.discard_files(segment, now).await.map_err(|error| self.fail(&error))?;
            // One after the other, so that a loss of power leaves no hole; the last one too, before
            // anything is written that knows nothing of it.
            self.sync_dir().await.map_err(|error| self.fail(&error))?;
        }
        Ok(())
    }

    async fn remove_snapshots_below(&mut self, first: Offset) {
        let needless: Vec<Offset> = self.snapshots.range(..first).copied().collect();
        let newest = self.snapshots.last().copied();
        for offset in needless.into_iter().filter(|&offset| Some(offset) != newest) {
            self.remove_snapshot(offset).await;
        }
    }

    /// Makes sure that what is left would survive the loss of what goes: the names of its segments,
    /// and the producers that only wrote what goes.
    async fn secure_rest(&mut self, first: Offset) -> Result<(), StorageError> {
        if !self.has_good_snapshot(first).await {
            self.make_snapshot_at(first).await?;
        }
        let dir_changes = self.unsynced.dir_changes;
        self.secure_names(first).await.map_err(|error| self.fail(&error))?;
        self.unsynced.dir_synced = self.unsynced.dir_synced.max(dir_changes);
        // A recovery believes only snapshots up to its recovery point. What goes needs no recovery:
        // the log start, which is written before, lies behind it, or it was synced.
        let covered = self.log_start().max(self.registration.checkpointed_recovery_point());
        debug_assert!(covered >= first);
        self.shared.retain_unsynced(|segment| segment.base >= first);
        self.shared.set_recovery_point(self.shared.recovery_point().max(first));
        if self.registration.checkpointed_recovery_point() < first {
            self.registration.persist().await.map_err(|error| self.fail(&error))?;
        }
        Ok(())
    }

    /// Whether there is a snapshot that a recovery could read; a write of it may have failed, now
    /// or before an earlier crash.
    async fn has_good_snapshot(&self, offset: Offset) -> bool {
        let path = self.path(FileKind::Snapshot, offset);
        let bytes = read_file(&*self.runtime.disk, &path).await;
        bytes.is_ok_and(|bytes| snapshot::decode(bytes).is_ok())
    }

    async fn secure_names(&self, first: Offset) -> Result<(), DiskError> {
        let path = self.path(FileKind::Snapshot, first);
        let file = self.runtime.disk.open(&path, OpenMode::ReadWrite).await;
        let file = file.map_err(DiskError::at("open", &path))?;
        file.sync_data().await.map_err(DiskError::at("sync", &path))?;
        self.sync_dir().await
    }

    /// The checkpoint file follows at the next start.
    fn forget_epochs_below(&mut self, log_start: Offset) {
        let mut epochs = LeaderEpochs::clone(&self.shared.epochs());
        if epochs.truncate_from_start(log_start) {
            self.shared.set_epochs(epochs);
        }
    }

    /// Renames a segment's files, so that they are gone for a restart but not yet for a reader.
    pub(crate) async fn discard_files(
        &mut self,
        segment: &Arc<Segment>,
        deleted_at: Timestamp,
    ) -> Result<(), DiskError> {
        self.shared.home.open_files.forget(segment.id);
        for kind in FileKind::OF_SEGMENT {
            let from = segment.path(kind);
            let to = deleted_name(&from);
            match self.runtime.disk.rename(&from, &to).await {
                Ok(()) => self.deleted.push(DeletedFile { path: to, deleted_at }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(DiskError::at("rename", &from)(error)),
            }
        }
        Ok(())
    }

    /// Removes files that were deleted `file.delete.delay.ms` ago. What can not be removed is
    /// tried again, and removed at the next start.
    pub async fn remove_deleted_files(&mut self, now: Timestamp) {
        let delay_ms = self.config.file_delete_delay_ms;
        let due = |file: &mut DeletedFile| now.millis_since(file.deleted_at) >= delay_ms;
        let due: Vec<DeletedFile> = self.deleted.extract_if(.., due).collect();
        for file in due {
            match self.runtime.disk.remove_file(&file.path).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = file.path.display();
                    tracing::warn!(log = %self.name(), %path, %error, "file not removed");
                    self.deleted.push(file);
                }
            }
        }
    }
}

fn deleted_name(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETED_SUFFIX);
    PathBuf::from(name)
}
