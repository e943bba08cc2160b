//! Writing down recovery points and log starts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Offset;

use super::{CLEANED, Inner, LOG_STARTS, RECOVERY_POINTS};
use crate::checkpoint::{self, OffsetsByLog};
use crate::error::DiskError;
use crate::file_name::FileKind;
use crate::name::LogName;
use crate::segment::Segment;
use crate::shared::LogShared;

/// What the files on disk say.
pub(super) struct Written {
    pub(super) recovery_points: OffsetsByLog,
    pub(super) log_starts: OffsetsByLog,
    pub(super) cleaned: OffsetsByLog,
}

impl Inner {
    /// Brings the checkpoint files up to date.
    pub(super) async fn checkpoint(&self) -> Result<(), DiskError> {
        let mut written = self.writing.lock().await;
        let open: Vec<Arc<LogShared>> =
            self.lock().open.values().filter_map(|slot| slot.shared.clone()).collect();
        for shared in &open {
            let _turn = shared.sync_turn.lock().await;
            if let Err(error) = sync_closed(shared).await {
                // The other logs go on.
                shared.take_offline(&error.to_string());
            }
        }
        self.write(&mut written, None).await?;
        self.mark_as_ours().await
    }

    /// Writes the files where they differ from what is to be said; `instead` speaks for one log in
    /// place of its present state.
    async fn write(
        &self,
        written: &mut Written,
        instead: Option<(&LogName, Offset, Offset)>,
    ) -> Result<(), DiskError> {
        let (mut recovery_points, mut log_starts) = self.current();
        if let Some((name, log_start, recovery_point)) = instead {
            log_starts.insert(name.clone(), log_start);
            recovery_points.insert(name.clone(), recovery_point);
        }
        let disk = &*self.runtime.disk;
        // A log that starts later is written first: a recovery point without its log start would
        // make a log look lost.
        if log_starts != written.log_starts {
            let path = self.path.join(LOG_STARTS);
            checkpoint::write_offsets(disk, &path, &log_starts).await?;
            written.log_starts = log_starts;
        }
        if recovery_points != written.recovery_points {
            let path = self.path.join(RECOVERY_POINTS);
            checkpoint::write_offsets(disk, &path, &recovery_points).await?;
            written.recovery_points = recovery_points;
        }
        let cleaned = self.cleaned();
        if cleaned != written.cleaned {
            let path = self.path.join(CLEANED);
            checkpoint::write_offsets(disk, &path, &cleaned).await?;
            written.cleaned = cleaned;
        }
        let mut state = self.lock();
        state.written_recovery_points.clone_from(&written.recovery_points);
        for (name, slot) in &state.open {
            if let Some(offset) = written.recovery_points.get(name) {
                slot.checkpointed.store(offset.0, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Recovery points and log starts as they are.
    fn current(&self) -> (OffsetsByLog, OffsetsByLog) {
        let state = self.lock();
        let (mut recovery_points, mut log_starts) =
            (state.recovery_points.clone(), state.log_starts.clone());
        for (name, slot) in &state.open {
            let Some(shared) = &slot.shared else { continue };
            let limit = shared.unsynced().first().map_or(Offset(i64::MAX), |closed| closed.base);
            recovery_points.insert(name.clone(), shared.recovery_point().min(limit));
            let next = Offset(slot.next_log_start.load(Ordering::Acquire));
            log_starts.insert(name.clone(), shared.log_start().max(next));
        }
        (recovery_points, log_starts)
    }

    /// How far compaction has been, of logs where it has.
    fn cleaned(&self) -> OffsetsByLog {
        let state = self.lock();
        let mut cleaned = state.cleaned.clone();
        for (name, slot) in &state.open {
            if let Some(shared) = &slot.shared {
                cleaned.insert(name.clone(), shared.cleaned_to());
            }
        }
        cleaned.retain(|_, offset| *offset > Offset::ZERO);
        cleaned
    }

    /// Writes down new ends of one log, whatever its present ones are.
    pub(super) async fn write_ends(
        &self,
        name: &LogName,
        log_start: Offset,
        recovery_point: Offset,
    ) -> Result<(), DiskError> {
        let mut written = self.writing.lock().await;
        self.write(&mut written, Some((name, log_start, recovery_point))).await
    }

    /// Writes down the ends of all logs, without syncing anything else first.
    pub(super) async fn write_current(&self) -> Result<(), DiskError> {
        let mut written = self.writing.lock().await;
        self.write(&mut written, None).await
    }

    /// Makes sure that the files say nothing about a log that is to be created.
    pub(super) async fn forget_written(&self, name: &LogName) -> Result<(), DiskError> {
        let mut written = self.writing.lock().await;
        let is_known = written.recovery_points.contains_key(name)
            || written.log_starts.contains_key(name)
            || written.cleaned.contains_key(name);
        if is_known { self.write(&mut written, None).await } else { Ok(()) }
    }
}

/// Syncs the segments that were closed since the last checkpoint, with their indexes, which
/// nothing else does. One whose indexes find no room waits for the next checkpoint: a file that
/// lacks its last entries looks whole.
async fn sync_closed(shared: &LogShared) -> Result<(), DiskError> {
    let mut closed = shared.unsynced();
    if closed.is_empty() || shared.offline_reason().is_some() {
        return Ok(());
    }
    let mut synced_to = Offset::ZERO;
    for at in 0..closed.len() {
        let segment = &closed[at];
        match sync_segment(segment).await {
            Ok(()) => synced_to = synced_to.max(segment.next_offset()),
            // Deleted meanwhile.
            Err(_) if !shared.is_unsynced(segment) => {}
            Err(SyncClosedError::Indexes(error)) => {
                tracing::warn!(log = %shared.name, %error, "index not saved");
                closed.truncate(at);
                break;
            }
            Err(SyncClosedError::Disk(error)) => return Err(error),
        }
    }
    let dir = &shared.home.dir;
    shared.home.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
    shared.retain_unsynced(|segment| !closed.iter().any(|done| done.id == segment.id));
    // Nothing that a truncation took away meanwhile counts.
    let synced_to = synced_to.min(shared.durable_end());
    let is_current = shared.segments().iter().any(|s| closed.iter().any(|done| done.id == s.id));
    if is_current && shared.unsynced().is_empty() {
        shared.set_recovery_point(shared.recovery_point().max(synced_to));
    }
    Ok(())
}

/// Why a closed segment is not on stable storage with its indexes.
enum SyncClosedError {
    /// Its indexes could not be written, which can be tried again.
    Indexes(DiskError),
    /// It may have lost what it held.
    Disk(DiskError),
}

async fn sync_segment(segment: &Segment) -> Result<(), SyncClosedError> {
    let file = segment.file().await.map_err(SyncClosedError::Disk)?;
    let synced = file.sync_data().await.map_err(DiskError::at("sync", segment.path(FileKind::Log)));
    synced.map_err(SyncClosedError::Disk)?;
    segment.finish_indexes().await.map_err(SyncClosedError::Indexes)?;
    segment.sync_indexes().await.map_err(SyncClosedError::Disk)
}
