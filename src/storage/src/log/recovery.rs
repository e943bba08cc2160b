//! Finds the true end of a log and rebuilds what follows from its batches.
//!
//! Below the recovery point, or after a clean stop, only headers are read, from the newest
//! producer snapshot on. Past it every batch is read and its checksum verified; at the first one
//! that is not whole the log ends: nothing behind it was acknowledged. Damage below the recovery
//! point is an error, because there it was.
//!
//! Recovering twice gives what recovering once gave.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{Offset, Timestamp};
use protocol::records::{Batch, BatchHeader};
use runtime::{OpenMode, read_file, write_all_at};

use super::open::{Inventory, Opening, known_time};
use crate::checkpoint::{self, CheckpointError};
use crate::config::Durability;
use crate::error::{BadBatch, DiskError, OpenError};
use crate::file_name::{self, FileKind, LEADER_EPOCH_CHECKPOINT};
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::snapshot::{self, Place, Snapshot};
use crate::producer_state::{ProducerStates, read_marker};
use crate::scan::{ScanError, Scanned, Scanner};
use crate::segment::{Home, Segment};

/// An index whose last entry lies further back than this from where it should end is made anew.
const INDEX_GAP_BYTES_MAX: u64 = 1 << 20;

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

/// How one walk over the end of the log went.
struct Walk {
    producers: ProducerStates,
    segments: Vec<Arc<Segment>>,
    end: Offset,
    first_timestamp: Option<Timestamp>,
    bytes: u64,
    /// States at the bases of the segments walked through, for their snapshots.
    at_bases: Vec<(Offset, Bytes)>,
    /// Where the log has to be cut: position in the last segment of `segments`.
    cut: Option<(u64, BadBatch)>,
    /// The first segment that is not part of the log.
    drop_from: Option<Offset>,
}

/// Where a walk starts.
struct WalkStart {
    snapshot: Option<(Offset, Snapshot)>,
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
        self.drop_segments_below(log_start).await?;
        if self.inventory.segments.is_empty() {
            self.check_not_lost(log_start)?;
            return self.begin_anew(log_start).await;
        }
        let trusted_to = self.trusted_to();
        let mut walk = self.walk_from_best_snapshot(trusted_to).await?;
        if walk.end < log_start {
            // Everything was deleted or replaced when the process ended.
            self.drop_segments_from(Offset::ZERO).await?;
            return self.begin_anew(log_start).await;
        }
        self.check_not_lost(walk.end)?;
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

    /// Segments that end at or before the log start were to be deleted.
    async fn drop_segments_below(&mut self, log_start: Offset) -> Result<(), OpenError> {
        let bases: Vec<Offset> = self.inventory.segments.keys().copied().collect();
        for pair in bases.windows(2) {
            if pair[1] <= log_start {
                self.drop_segment(pair[0]).await?;
            }
        }
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
        };
        self.settle(walk, base, base).await
    }

    /// Walks from the newest snapshot that the log still holds. One that lies past the end that
    /// the walk finds is of records that are gone: it goes too, and the next one is tried.
    async fn walk_from_best_snapshot(&mut self, trusted_to: Offset) -> Result<Walk, OpenError> {
        loop {
            let newest = self.newest_snapshot(trusted_to).await?;
            let from = newest.as_ref().map(|(offset, _)| *offset);
            let walk = self.walk(WalkStart { snapshot: newest }, trusted_to).await?;
            match from {
                Some(offset) if walk.end < offset => self.drop_snapshots(|at| at == offset).await?,
                _ => return Ok(walk),
            }
        }
    }

    async fn newest_snapshot(
        &mut self,
        trusted_to: Offset,
    ) -> Result<Option<(Offset, Snapshot)>, OpenError> {
        while let Some(&offset) = self.inventory.snapshots.range(..=trusted_to).next_back() {
            let path = self.home.path(FileKind::Snapshot, offset);
            let bytes = read_file(&*self.home.disk, &path).await;
            match snapshot::decode(bytes.map_err(DiskError::at("read", &path))?) {
                Ok(snapshot) => return Ok(Some((offset, snapshot))),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "removed a bad snapshot");
                    self.drop_snapshots(|at| at == offset).await?;
                }
            }
        }
        Ok(None)
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

    /// All segments: those before the walk as they are, the others walked through.
    async fn walk(&mut self, start: WalkStart, trusted_to: Offset) -> Result<Walk, OpenError> {
        let (from, snapshot) = match start.snapshot {
            Some((offset, snapshot)) => (offset, snapshot),
            None => (Offset(-1), Snapshot { producers: Default::default(), place: None }),
        };
        let files: Vec<(Offset, u64)> =
            self.inventory.segments.iter().map(|(base, len)| (*base, *len)).collect();
        let first = files.partition_point(|(base, _)| *base <= from).saturating_sub(1);
        let mut walk = Walk {
            producers: ProducerStates::from_entries(snapshot.producers),
            segments: Vec::with_capacity(files.len()),
            end: files[first].0,
            first_timestamp: None,
            bytes: 0,
            at_bases: Vec::new(),
            cut: None,
            drop_from: None,
        };
        for pair in files[..=first].windows(2) {
            let ((base, len), (next, _)) = (pair[0], pair[1]);
            walk.segments.push(Arc::new(self.closed_segment(base, len, next)));
        }
        for (at, &(base, len)) in files.iter().enumerate().skip(first) {
            let place = snapshot.place.filter(|_| at == first);
            if at > first && self.is_hole(walk.end, base, trusted_to) {
                let expected = walk.end;
                let log = &self.opening.name;
                tracing::warn!(%log, %expected, found = %base, "segments behind a gap are dropped");
                walk.drop_from = Some(base);
                break;
            }
            if at > first {
                let state = snapshot::encode(walk.producers.entries(), &Place::at_base(base));
                walk.at_bases.push((base, state));
            }
            self.walk_segment(&mut walk, base, len, from, place, trusted_to).await?;
            if walk.cut.is_some() {
                walk.drop_from = files.get(at + 1).map(|(base, _)| *base);
                break;
            }
        }
        Ok(walk)
    }

    /// Whether a segment does not continue the log where it has to. Compaction leaves gaps, but
    /// not past the recovery point, where a gap is a lost end of the file before it.
    fn is_hole(&self, end: Offset, next_base: Offset, trusted_to: Offset) -> bool {
        let lenient = self.opening.by_kafka && next_base > end;
        next_base != end && next_base > trusted_to && !lenient
    }

    fn closed_segment(&self, base: Offset, len: u64, next: Offset) -> Segment {
        let segment = Segment::existing(self.home, base, len, next);
        let is_whole = |kind: FileKind, entry: u64| {
            self.inventory.indexes.get(&(base, kind)).is_some_and(|len| len % entry == 0)
        };
        if len > 0 && !(is_whole(FileKind::Index, 8) && is_whole(FileKind::TimeIndex, 12)) {
            segment.doubt_indexes();
        }
        segment
    }

    async fn walk_segment(
        &mut self,
        walk: &mut Walk,
        base: Offset,
        len: u64,
        from: Offset,
        place: Option<Place>,
        trusted_to: Offset,
    ) -> Result<(), OpenError> {
        let segment = Arc::new(Segment::existing(self.home, base, len, base));
        let path = segment.path(FileKind::Log);
        let file = self.home.disk.open(&path, OpenMode::Read).await;
        let file = file.map_err(DiskError::at("open", &path))?;
        let start = self.enter_segment(&segment, &file, from, place).await?;
        let producers = (start.position > 0).then(|| walk.producers.clone());
        walk.first_timestamp = start.first_timestamp;
        let expected = start.expected.max(base);
        let mut scanner = Scanner::new(&file, base, start.position, expected, len);
        loop {
            match next(&mut scanner, trusted_to).await {
                Ok(Some(batch)) => self.take_batch(walk, &segment, from, &batch)?,
                Ok(None) => break,
                Err(ScanError::Bad { reason, .. }) if scanner.next_offset() >= trusted_to => {
                    walk.cut = Some((scanner.position(), reason));
                    break;
                }
                Err(ScanError::Bad { .. }) if let Some(producers) = producers => {
                    // The snapshot's place may be wrong, as after a compaction by Kafka.
                    walk.producers = producers;
                    let again = self.walk_segment(walk, base, len, from, None, trusted_to);
                    return Box::pin(again).await;
                }
                Err(error) => {
                    let mut error = scan_error(&path, error, &scanner);
                    if let OpenError::Corrupt { recovery_point, .. } = &mut error {
                        *recovery_point = self.opening.recovery_point.unwrap_or(trusted_to);
                    }
                    return Err(error);
                }
            }
        }
        walk.end = scanner.next_offset();
        walk.bytes += scanner.position() - start.position;
        segment.set_end(scanner.position(), walk.end);
        walk.segments.push(segment);
        Ok(())
    }

    /// Where to start in a segment: at the snapshot's place if that is one, otherwise at its
    /// start. What the indexes hold behind it is not believed.
    async fn enter_segment(
        &self,
        segment: &Segment,
        file: &Arc<dyn runtime::File>,
        from: Offset,
        place: Option<Place>,
    ) -> Result<SegmentStart, OpenError> {
        let from_base = SegmentStart { position: 0, expected: segment.base, first_timestamp: None };
        let usable = |place: &Place| {
            place.segment_base == segment.base && (1..=segment.size()).contains(&place.position)
        };
        let Some(place) = place.filter(usable) else {
            segment.distrust_indexes();
            return Ok(from_base);
        };
        let mut scanner = Scanner::new(file, segment.base, place.position, from, segment.size());
        if scanner.peek().await.is_err() {
            segment.distrust_indexes();
            return Ok(from_base);
        }
        let last = segment.trust_indexes(from, place.position, place.max).await?;
        let reach = last.map_or(0, |last| last.position);
        if place.position - reach > INDEX_GAP_BYTES_MAX {
            segment.distrust_indexes();
            return Ok(from_base);
        }
        let first_timestamp = place.first_timestamp;
        Ok(SegmentStart { position: place.position, expected: from, first_timestamp })
    }

    fn take_batch(
        &mut self,
        walk: &mut Walk,
        segment: &Segment,
        from: Offset,
        batch: &Scanned,
    ) -> Result<(), OpenError> {
        let header = &batch.header;
        segment.note_batch(header, batch.position);
        walk.first_timestamp = walk.first_timestamp.or(known_time(header.max_timestamp));
        if self.epochs.latest().is_none_or(|latest| header.leader_epoch > latest) {
            self.epochs_changed |= self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        if header.base_offset >= from {
            let marker = self.marker(segment, batch)?;
            walk.producers.apply(header, marker.as_ref());
        }
        Ok(())
    }

    fn marker(
        &self,
        segment: &Segment,
        batch: &Scanned,
    ) -> Result<Option<crate::producer_state::Marker>, OpenError> {
        if batch.bytes.is_empty() {
            return Ok(None);
        }
        let whole = Batch { header: batch.header, bytes: batch.bytes.clone() };
        read_marker(&whole).map_err(|_| OpenError::Corrupt {
            file: segment.path(FileKind::Log),
            position: batch.position,
            offset: batch.header.base_offset,
            recovery_point: self.opening.recovery_point.unwrap_or_default(),
            reason: BadBatch::Records,
        })
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
        self.write_snapshots(&mut walk).await?;
        self.save_closed_indexes(&walk).await;
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

    async fn save_closed_indexes(&self, walk: &Walk) {
        let Some((_, closed)) = walk.segments.split_last() else { return };
        for segment in closed.iter().filter(|segment| segment.has_unsaved_entries()) {
            if let Err(error) = segment.finish_indexes().await {
                tracing::warn!(log = %self.opening.name, %error, "index not saved");
            }
        }
    }

    /// What lies past the recovery point may be in the page cache only.
    async fn sync_segments(&self, walk: &Walk, from: Offset) -> Result<(), OpenError> {
        let last = walk.segments.last().map(|segment| segment.id);
        for segment in &walk.segments {
            if segment.next_offset() <= from && Some(segment.id) != last {
                continue;
            }
            let path = segment.path(FileKind::Log);
            let file = segment.file().await?;
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

struct SegmentStart {
    position: u64,
    expected: Offset,
    first_timestamp: Option<Timestamp>,
}

/// The next batch: whole where it has to be verified or holds markers, its header otherwise.
async fn next(scanner: &mut Scanner, trusted_to: Offset) -> Result<Option<Scanned>, ScanError> {
    let Some(header) = scanner.peek().await? else { return Ok(None) };
    if needs_bytes(&header, trusted_to) {
        scanner.next_batch().await
    } else {
        scanner.next_header().await
    }
}

fn needs_bytes(header: &BatchHeader, trusted_to: Offset) -> bool {
    header.base_offset >= trusted_to || header.attributes.is_control()
}

/// What ended a walk through a file that should have been whole.
pub(super) fn scan_error(path: &Path, error: ScanError, scanner: &Scanner) -> OpenError {
    match error {
        ScanError::Disk(error) => OpenError::Disk(DiskError::at("read", path)(error)),
        ScanError::Bad { position, reason } => OpenError::Corrupt {
            file: path.to_owned(),
            position,
            offset: scanner.next_offset(),
            recovery_point: scanner.next_offset(),
            reason,
        },
    }
}
