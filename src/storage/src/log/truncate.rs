//! Taking records away at the end: on a follower whose leader wrote something else.
//!
//! What is written down goes first: a crash meanwhile leaves a log whose recovery point does not
//! promise what is being removed. Anything that goes wrong here takes the log offline, because
//! memory and disk may then disagree.

use std::sync::Arc;

use model::{Offset, Timestamp};
use protocol::records::Batch;
use runtime::{OpenMode, read_file};

use super::{Active, Log};
use crate::error::{DiskError, StorageError};
use crate::file_name::FileKind;
use crate::journal::SegmentPosition;
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::snapshot::{self, Place};
use crate::producer_state::{ProducerStates, read_marker};
use crate::scan::{ScanError, Scanner};
use crate::segment::Segment;

/// What went wrong on the way.
enum Trouble {
    Disk(DiskError),
    Scan(Arc<Segment>, ScanError),
    Storage(StorageError),
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Trouble {
        Trouble::Disk(error)
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Trouble {
        Trouble::Storage(error)
    }
}

impl Log {
    /// Removes every batch that reaches to `offset` or past it. Producers, epochs and snapshots
    /// follow. Durable when it returns.
    pub async fn truncate_to(&mut self, offset: Offset) -> Result<(), StorageError> {
        let first = self.shared.segments()[0].base;
        if offset < first {
            return self.truncate_fully(offset).await;
        }
        self.begin_operation()?;
        let result = if offset >= self.log_end() {
            // Epochs may begin past the end that the leader knows (KAFKA-10706).
            self.truncate_epochs(offset).await.map_err(Trouble::from)
        } else {
            self.cut_end(offset).await
        };
        self.end_operation(result)
    }

    /// Removes everything; the log then is empty and starts at `start_at`. Durable when it returns.
    pub async fn truncate_fully(&mut self, start_at: Offset) -> Result<(), StorageError> {
        self.begin_operation()?;
        let result = self.start_over(start_at).await;
        self.end_operation(result)
    }

    fn end_operation(&mut self, result: Result<(), Trouble>) -> Result<(), StorageError> {
        let reason = match result {
            Ok(()) => {
                self.is_busy = false;
                self.assert_invariants();
                return Ok(());
            }
            Err(Trouble::Disk(error)) => error.to_string(),
            Err(Trouble::Storage(error)) => error.to_string(),
            Err(Trouble::Scan(segment, ScanError::Disk(error))) => {
                DiskError::at("read", segment.path(FileKind::Log))(error).to_string()
            }
            Err(Trouble::Scan(segment, ScanError::Bad { position, reason })) => {
                let file = segment.path(FileKind::Log);
                format!("{} is corrupt at position {position}: {reason}", file.display())
            }
        };
        self.shared.take_offline(&reason);
        self.shared.check_online()
    }

    async fn cut_end(&mut self, offset: Offset) -> Result<(), Trouble> {
        let segments = self.shared.segments();
        let at = segments.partition_point(|segment| segment.base <= offset) - 1;
        let (fresh, position, end) = self.shorten(&segments[at], offset).await?;
        self.begin_cut();
        self.lower_ends(end).await?;
        // Behind what is written down: what is void may be gone, and the log must not start behind it.
        self.void(SegmentPosition { segment: fresh.base, position }, Offset(i64::MAX)).await?;
        // Readers find what is left before anything goes.
        let left = segments[..at].iter().chain([&fresh]).cloned().collect();
        self.shared.set_segments(left);
        self.drop_snapshots_above(end).await?;
        for segment in segments[at + 1..].iter().rev() {
            self.remove_files(segment).await?;
        }
        self.sync_dir().await?;
        let path = fresh.path(FileKind::Log);
        let file = self.runtime.disk.open(&path, OpenMode::ReadWrite).await;
        let file = file.map_err(DiskError::at("open", &path))?;
        file.set_len(position).await.map_err(DiskError::at("truncate", &path))?;
        file.sync_data().await.map_err(DiskError::at("sync", &path))?;
        fresh.pin(Some(Arc::clone(&file)));
        let first_timestamp = first_timestamp(&fresh, &file, position).await?;
        self.activate(
            &segments[..at],
            Active {
                roll_after_ms: self.roll_after_ms(fresh.base),
                segment: fresh,
                file,
                first_timestamp,
                created: self.runtime.clock.wall(),
                bytes_since_snapshot: 0,
            },
        );
        self.lower_ends(end).await?;
        self.truncate_epochs(end).await?;
        self.producers = self.rebuild_producers(end).await?;
        Ok(())
    }

    /// From here on nothing that was synced, compacted or staged before says anything about the end.
    fn begin_cut(&mut self) {
        self.staged.give_up();
        self.unsynced.truncations += 1;
        self.generation += 1;
    }

    async fn start_over(&mut self, start_at: Offset) -> Result<(), Trouble> {
        let segments = self.shared.segments();
        self.begin_cut();
        // The start is written down first, so that a crash does not find an older log whole.
        self.registration.set_ends(start_at, start_at).await?;
        self.shared.set_log_start(start_at);
        self.lower_ends(start_at).await?;
        self.void(SegmentPosition::START, Offset(i64::MAX)).await?;
        self.shared.set_segments(Vec::new());
        self.drop_snapshots_above(Offset(-1)).await?;
        for segment in segments.iter().rev() {
            self.remove_files(segment).await?;
        }
        self.sync_dir().await?;
        let now = self.runtime.clock.wall();
        let active = self.create_segment(start_at, now).await?;
        self.sync_dir().await?;
        self.activate(&[], active);
        self.shared.set_log_end(start_at);
        self.shared.set_durable_end(start_at);
        self.shared.set_recovery_point(start_at);
        self.producers = ProducerStates::default();
        let epochs = LeaderEpochs::default();
        self.write_epochs(&epochs).await?;
        self.shared.set_epochs(epochs);
        Ok(())
    }

    /// The segment anew, as far as it goes after the cut, with its size and its end.
    async fn shorten(
        &self,
        old: &Arc<Segment>,
        offset: Offset,
    ) -> Result<(Arc<Segment>, u64, Offset), Trouble> {
        let bad = |error| Trouble::Scan(Arc::clone(old), error);
        let fresh = Arc::new(Segment::empty(&self.shared.home, old.base));
        let file = old.file().await?;
        let mut scanner = Scanner::new(&file, old.base, 0, old.base, old.size());
        let mut end = old.base;
        while let Some(header) = scanner.peek().await.map_err(bad)? {
            if header.last_offset() >= offset {
                break;
            }
            let batch = scanner.next_header().await.map_err(bad)?;
            let batch = batch.expect("a header was there to be peeked at");
            fresh.note_batch(&batch.header, batch.position);
            end = batch.header.next_offset();
        }
        let position = scanner.position();
        fresh.set_end(position, end);
        Ok((fresh, position, end))
    }

    /// No end lies past `end` any more, in memory and on disk.
    async fn lower_ends(&mut self, end: Offset) -> Result<(), Trouble> {
        let shared = &self.shared;
        shared.set_durable_end(shared.durable_end().min(end));
        // Behind that: a sync that begins now covers no more, and one that began before counts no more.
        shared.note_truncation();
        let recovery_point = shared.recovery_point().min(end);
        let log_start = shared.log_start().min(end);
        let start_moves = log_start < shared.log_start();
        shared.set_log_end(shared.log_end().min(end));
        shared.set_recovery_point(recovery_point);
        shared.set_log_start(log_start);
        shared.set_cleaned_to(shared.cleaned_to().min(end));
        shared.retain_unsynced(|segment| segment.next_offset() <= end);
        if start_moves || self.registration.checkpointed_recovery_point() > recovery_point {
            self.registration.set_ends(log_start, recovery_point).await?;
            // A checkpoint that was under way may have raised it again.
            self.shared.set_recovery_point(recovery_point);
        }
        Ok(())
    }

    fn activate(&mut self, closed: &[Arc<Segment>], active: Active) {
        let mut segments = closed.to_vec();
        segments.push(Arc::clone(&active.segment));
        let is_left = |segment: &Segment| closed.iter().any(|left| left.id == segment.id);
        self.unsynced.closed.retain(|(_, segment)| is_left(segment));
        self.active = active;
        self.shared.set_segments(segments);
    }

    async fn truncate_epochs(&mut self, end: Offset) -> Result<(), StorageError> {
        let mut epochs = LeaderEpochs::clone(&self.shared.epochs());
        if epochs.truncate_from_end(end) {
            self.write_epochs(&epochs).await?;
            self.shared.set_epochs(epochs);
        }
        Ok(())
    }

    async fn drop_snapshots_above(&mut self, end: Offset) -> Result<(), Trouble> {
        let above: Vec<Offset> = self.snapshots.range(end.next()..).copied().collect();
        for offset in above {
            let path = self.path(FileKind::Snapshot, offset);
            self.remove_if_there(&path).await?;
            self.snapshots.remove(&offset);
        }
        Ok(())
    }

    async fn remove_files(&self, segment: &Segment) -> Result<(), Trouble> {
        segment.pin(None);
        self.shared.home.open_files.forget(segment.id);
        for kind in FileKind::OF_SEGMENT {
            self.remove_if_there(&segment.path(kind)).await?;
        }
        Ok(())
    }

    async fn remove_if_there(&self, path: &std::path::Path) -> Result<(), DiskError> {
        match self.runtime.disk.remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DiskError::at("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn sync_dir(&self) -> Result<(), DiskError> {
        let dir = &self.shared.home.dir;
        self.runtime.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))
    }

    /// The producers as of `end`: the newest snapshot that is left, and what followed.
    async fn rebuild_producers(&self, end: Offset) -> Result<ProducerStates, Trouble> {
        let (mut producers, from) = self.newest_snapshot(end).await?;
        let segments = self.shared.segments();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in segments[first..].iter().take_while(|segment| segment.base < end) {
            let bad = |error| Trouble::Scan(Arc::clone(segment), error);
            let file = segment.file().await?;
            let mut scanner = Scanner::new(&file, segment.base, 0, segment.base, segment.size());
            while let Some(header) = scanner.peek().await.map_err(bad)? {
                let batch = if header.attributes.is_control() {
                    scanner.next_batch().await.map_err(bad)?
                } else {
                    scanner.next_header().await.map_err(bad)?
                };
                let Some(batch) = batch.filter(|batch| batch.header.base_offset >= from) else {
                    continue;
                };
                let whole = Batch { header, bytes: batch.bytes };
                let marker = match whole.bytes.is_empty() {
                    true => None,
                    false => read_marker(&whole).ok().flatten(),
                };
                producers.apply(&header, marker.as_ref());
            }
        }
        Ok(producers)
    }

    /// The snapshot at the base of a segment, which could not be written when it began.
    pub(super) async fn make_snapshot_at(&mut self, base: Offset) -> Result<(), StorageError> {
        let producers = self.rebuild_producers(base).await.map_err(|trouble| match trouble {
            Trouble::Disk(error) => self.fail(&error),
            Trouble::Scan(segment, error) => self.scan_failed(&segment, error),
            Trouble::Storage(error) => error,
        })?;
        let bytes = snapshot::encode(producers.entries(), &Place::at_base(base));
        self.write_snapshot(base, bytes).await.map_err(|error| self.fail(&error))
    }

    async fn newest_snapshot(&self, end: Offset) -> Result<(ProducerStates, Offset), Trouble> {
        for &offset in self.snapshots.range(..=end).rev() {
            let path = self.path(FileKind::Snapshot, offset);
            let bytes = read_file(&*self.runtime.disk, &path).await;
            match snapshot::decode(bytes.map_err(DiskError::at("read", &path))?) {
                Ok(found) => return Ok((ProducerStates::from_entries(found.producers), offset)),
                Err(error) => tracing::warn!(file = %path.display(), %error, "bad snapshot"),
            }
        }
        Ok((ProducerStates::default(), Offset(-1)))
    }
}

async fn first_timestamp(
    segment: &Arc<Segment>,
    file: &Arc<dyn runtime::File>,
    size: u64,
) -> Result<Option<Timestamp>, Trouble> {
    let mut scanner = Scanner::new(file, segment.base, 0, segment.base, size);
    let first = scanner.peek().await.map_err(|error| Trouble::Scan(Arc::clone(segment), error))?;
    Ok(first.map(|header| header.max_timestamp))
}
