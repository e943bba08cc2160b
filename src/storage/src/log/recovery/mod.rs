//! Finds the true end of a log and rebuilds what follows from its batches.
//!
//! Below the recovery point, or after a clean stop, only headers are read, from the newest
//! producer snapshot on. Past it every batch is read and its checksum verified; at the first one
//! that is not whole the log ends: nothing behind it was acknowledged. Damage below the recovery
//! point is an error, because there it was. What is kept past it is written again before it is
//! synced.
//!
//! Recovering twice gives what recovering once gave.

mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use model::{Offset, Timestamp};
use runtime::{File, OpenMode, read_exact_at, write_all_at};

use super::open::{Inventory, Opening};
use crate::checkpoint::{self, CheckpointError};
use crate::config::Durability;
use crate::error::{DiskError, OpenError};
use crate::file_name::{self, FileKind, LEADER_EPOCH_CHECKPOINT};
use crate::journal::SegmentPosition;
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::ProducerStates;
use crate::segment::{Home, Segment};
use walk::Walk;
pub(in crate::log) use walk::scan_error;

/// What recovery found out.
pub(crate) struct Recovered {
    /// Oldest first; the last one is active.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) producers: ProducerStates,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) snapshots: BTreeSet<Offset>,
    /// Of the active segment.
    pub(crate) first_timestamp: Option<Timestamp>,
    pub(crate) bytes_since_snapshot: u64,
}

/// A recovery under way.
pub(crate) struct Recovery<'a> {
    home: &'a Arc<Home>,
    opening: &'a Opening,
    inventory: Inventory,
    epochs: LeaderEpochs,
    epochs_changed: bool,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(
        home: &'a Arc<Home>,
        opening: &'a Opening,
        inventory: Inventory,
    ) -> Recovery<'a> {
        let epochs = LeaderEpochs::default();
        Recovery { home, opening, inventory, epochs, epochs_changed: false }
    }

    /// Finds out, cuts, and makes durable what it found.
    pub(crate) async fn run(mut self) -> Result<Recovered, OpenError> {
        self.read_epochs().await?;
        let log_start = self.opening.log_start.unwrap_or_default();
        if self.inventory.segments.is_empty() {
            self.check_not_lost(log_start)?;
            return self.begin_anew(log_start).await;
        }
        let trusted_to = self.trusted_to();
        let mut walk = self.walk_from_best_snapshot(trusted_to).await?;
        if walk.end < log_start {
            runtime::sometimes!("recovery finds everything deleted");
            // Everything was deleted or replaced when the process ended.
            self.drop_segments_from(Offset::ZERO).await?;
            return self.begin_anew(log_start).await;
        }
        self.check_not_lost(walk.end)?;
        self.check_not_shorter(&walk)?;
        self.cut(&mut walk).await?;
        self.settle(walk, log_start, trusted_to).await
    }

    /// Below this, a batch that is not whole is an error.
    fn trusted_to(&self) -> Offset {
        if self.opening.was_clean {
            return Offset(i64::MAX);
        }
        let recovery_point = self.opening.recovery_point.unwrap_or_default();
        if !self.opening.by_kafka {
            return recovery_point;
        }
        // Kafka may have truncated since it wrote its recovery point, within the last segment.
        let holder = self.inventory.segments.range(..=recovery_point).next_back();
        holder.map_or(Offset::ZERO, |(base, _)| *base)
    }

    fn check_not_lost(&self, log_end: Offset) -> Result<(), OpenError> {
        let recovery_point = self.opening.recovery_point.unwrap_or_default();
        if log_end >= recovery_point || self.opening.by_kafka {
            return Ok(());
        }
        Err(OpenError::Lost { log: self.opening.name.clone(), log_end, recovery_point })
    }

    /// What came out of the journal was synced: a log that does not have all of it is damaged.
    fn check_not_shorter(&self, walk: &Walk) -> Result<(), OpenError> {
        let Some(journaled) = self.opening.journaled else { return Ok(()) };
        let last = walk.segments.last().expect("there is at least one segment");
        let position = walk.cut.map_or(last.size(), |(position, _)| position);
        if (SegmentPosition { segment: last.base, position }) >= journaled {
            return Ok(());
        }
        Err(OpenError::Shorter { log: self.opening.name.clone(), log_end: walk.end })
    }

    async fn read_epochs(&mut self) -> Result<(), OpenError> {
        let path = self.home.dir.join(LEADER_EPOCH_CHECKPOINT);
        let entries = match checkpoint::read_epochs(&*self.home.disk, &path).await {
            Ok(entries) => entries,
            Err(CheckpointError::Disk(error)) => return Err(error.into()),
            Err(CheckpointError::Bad(bad)) => {
                return Err(OpenError::BadFile { file: path, reason: bad.0 });
            }
        };
        self.epochs = LeaderEpochs::from_entries(entries);
        Ok(())
    }

    async fn drop_segments_from(&mut self, base: Offset) -> Result<(), OpenError> {
        let bases: Vec<Offset> = self.inventory.segments.range(base..).map(|(b, _)| *b).collect();
        // From the last one, so that a crash meanwhile leaves no hole.
        for base in bases.into_iter().rev() {
            self.drop_segment(base).await?;
        }
        Ok(())
    }

    async fn drop_segment(&mut self, base: Offset) -> Result<(), OpenError> {
        self.inventory.segments.remove(&base);
        self.inventory.remove(self.home, &file_name::file_name(FileKind::Log, base)).await?;
        for kind in FileKind::OF_SEGMENT {
            if self.inventory.indexes.remove(&(base, kind)).is_some() {
                self.inventory.remove(self.home, &file_name::file_name(kind, base)).await?;
            }
        }
        Ok(())
    }

    /// A log without a record, from `base` on.
    async fn begin_anew(mut self, base: Offset) -> Result<Recovered, OpenError> {
        self.drop_snapshots(|_| true).await?;
        let path = self.home.path(FileKind::Log, base);
        let created = self.home.disk.open(&path, OpenMode::Create).await;
        created.map_err(DiskError::at("create", &path))?;
        self.inventory.changed = true;
        let walk = Walk {
            producers: ProducerStates::default(),
            segments: vec![Arc::new(Segment::empty(self.home, base))],
            end: base,
            first_timestamp: None,
            bytes: 0,
            at_bases: Vec::new(),
            cut: None,
            drop_from: None,
            doubtful: BTreeMap::new(),
        };
        self.settle(walk, base, base).await
    }

    async fn drop_snapshots(&mut self, unwanted: impl Fn(Offset) -> bool) -> Result<(), OpenError> {
        let offsets: Vec<Offset> =
            self.inventory.snapshots.iter().copied().filter(|at| unwanted(*at)).collect();
        for offset in offsets {
            self.inventory.snapshots.remove(&offset);
            let name = file_name::file_name(FileKind::Snapshot, offset);
            self.inventory.remove(self.home, &name).await?;
        }
        Ok(())
    }

    /// Cuts off what is not part of the log: first the segments behind, so that a crash meanwhile
    /// leaves no whole segment behind a shorter one.
    async fn cut(&mut self, walk: &mut Walk) -> Result<(), OpenError> {
        if let Some(base) = walk.drop_from {
            self.drop_segments_from(base).await?;
            self.sync_dir().await?;
        }
        let Some((position, reason)) = walk.cut else { return Ok(()) };
        let segment = walk.segments.last().expect("the cut is in the last segment walked");
        let path = segment.path(FileKind::Log);
        let bytes = self.inventory.segments[&segment.base] - position;
        runtime::sometimes!("recovery cuts the end off");
        let (log, log_end) = (&self.opening.name, walk.end);
        tracing::warn!(%log, %log_end, file = %path.display(), position, bytes, %reason, "cut the end off");
        let file = self.home.disk.open(&path, OpenMode::ReadWrite).await;
        let file = file.map_err(DiskError::at("open", &path))?;
        file.set_len(position).await.map_err(DiskError::at("truncate", &path))?;
        file.sync_data().await.map_err(DiskError::at("sync", &path))?;
        Ok(())
    }

    /// Makes the outcome durable and drops what contradicts it.
    async fn settle(
        mut self,
        mut walk: Walk,
        log_start: Offset,
        trusted_to: Offset,
    ) -> Result<Recovered, OpenError> {
        let log_end = walk.end;
        let snapshot_limit = trusted_to.min(log_end);
        self.drop_snapshots(|at| at > snapshot_limit).await?;
        // First the indexes, durably: where a later snapshot is found they are believed.
        self.save_closed_indexes(&walk).await?;
        self.write_snapshots(&mut walk).await?;
        // Also when the recovery point says that all of it was: a name or a length may be in the
        // page cache only, and what is built on it has to survive.
        let needs_sync =
            self.opening.config.durability == Durability::Fsync && !self.opening.was_clean;
        if needs_sync {
            self.sync_segments(&walk, self.opening.recovery_point.unwrap_or_default()).await?;
        }
        if self.inventory.changed || needs_sync {
            self.sync_dir().await?;
        }
        let first = walk.segments.first().expect("there is at least one segment").base;
        let log_start = log_start.max(first);
        self.epochs_changed |= self.epochs.truncate_from_end(log_end.next());
        self.epochs.truncate_from_start(log_start);
        if self.epochs_changed {
            let path = self.home.dir.join(LEADER_EPOCH_CHECKPOINT);
            checkpoint::write_epochs(&*self.home.disk, &path, self.epochs.entries()).await?;
        }
        Ok(Recovered {
            segments: walk.segments,
            log_start,
            log_end,
            producers: walk.producers,
            epochs: self.epochs,
            snapshots: self.inventory.snapshots,
            first_timestamp: walk.first_timestamp,
            bytes_since_snapshot: walk.bytes,
        })
    }

    /// The snapshots at the bases of segments, from which a truncation starts.
    async fn write_snapshots(&mut self, walk: &mut Walk) -> Result<(), OpenError> {
        for (offset, bytes) in std::mem::take(&mut walk.at_bases) {
            if offset > walk.end || self.inventory.snapshots.contains(&offset) {
                continue;
            }
            let path = self.home.path(FileKind::Snapshot, offset);
            let file = self.home.disk.open(&path, OpenMode::Create).await;
            let file = file.map_err(DiskError::at("create", &path))?;
            let written = write_all_at(&*file, 0, &[bytes]).await;
            written.map_err(DiskError::at("write", &path))?;
            self.inventory.snapshots.insert(offset);
        }
        Ok(())
    }

    async fn save_closed_indexes(&mut self, walk: &Walk) -> Result<(), OpenError> {
        let Some((_, closed)) = walk.segments.split_last() else { return Ok(()) };
        for segment in closed.iter().filter(|segment| segment.has_unsaved_entries()) {
            if let Err(error) = save_durably(segment).await {
                tracing::warn!(log = %self.opening.name, %error, "index not saved");
                self.drop_indexes(segment).await?;
            }
        }
        Ok(())
    }

    /// Removes index files that could not be saved: without its last entries a file looks whole,
    /// without a file it is made anew.
    async fn drop_indexes(&mut self, segment: &Segment) -> Result<(), OpenError> {
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            self.inventory.indexes.remove(&(segment.base, kind));
            let path = segment.path(kind);
            match self.home.disk.remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DiskError::at("remove", &path)(error).into());
                }
                _ => self.inventory.changed = true,
            }
        }
        segment.doubt_indexes();
        Ok(())
    }

    /// What lies past the recovery point may be in the page cache only. A sync alone does not help:
    /// when one failed before the process ended, the kernel holds the pages for clean, and the next
    /// sync covers nothing and succeeds. Written again, they are dirty again.
    async fn sync_segments(&self, walk: &Walk, from: Offset) -> Result<(), OpenError> {
        let last = walk.segments.last().map(|segment| segment.id);
        for segment in &walk.segments {
            if segment.next_offset() <= from && Some(segment.id) != last {
                continue;
            }
            let path = segment.path(FileKind::Log);
            let file = self.home.disk.open(&path, OpenMode::ReadWrite).await;
            let file = file.map_err(DiskError::at("open", &path))?;
            if let Some(&position) = walk.doubtful.get(&segment.base) {
                runtime::sometimes!("recovery writes a doubtful end again");
                let rewritten = rewrite(&*file, position, segment.size()).await;
                rewritten.map_err(DiskError::at("write", &path))?;
            }
            file.sync_data().await.map_err(DiskError::at("sync", &path))?;
        }
        Ok(())
    }

    async fn sync_dir(&mut self) -> Result<(), OpenError> {
        let dir = &self.home.dir;
        self.home.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
        self.inventory.changed = false;
        Ok(())
    }
}

async fn save_durably(segment: &Segment) -> Result<(), DiskError> {
    segment.finish_indexes().await?;
    segment.sync_indexes().await
}

/// Writes the bytes of a file from `position` to `end` over themselves.
async fn rewrite(file: &dyn File, mut position: u64, end: u64) -> io::Result<()> {
    const CHUNK_BYTES: u64 = 1 << 20;
    while position < end {
        let len = (end - position).min(CHUNK_BYTES) as usize;
        let bytes = read_exact_at(file, position, len).await?;
        write_all_at(file, position, &[bytes]).await?;
        position += len as u64;
    }
    Ok(())
}
