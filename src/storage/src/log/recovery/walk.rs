//! The walk over the end of a log: from the newest producer snapshot, batch by batch.
//!
//! In: the files, a snapshot, the offset up to which everything was synced once. Out: where the
//! log ends, what has to be cut, and the producers and indexes as of there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{Offset, Timestamp};
use protocol::records::{Batch, BatchHeader};
use runtime::{OpenMode, read_file};

use super::Recovery;
use crate::error::{BadBatch, DiskError, OpenError};
use crate::file_name::FileKind;
use crate::log::open::known_time;
use crate::producer_state::snapshot::{self, Place, Snapshot};
use crate::producer_state::{Marker, ProducerStates, read_marker};
use crate::scan::{ScanError, Scanned, Scanner};
use crate::segment::Segment;

/// An index whose last entry lies further back than this from where it should end is made anew.
const INDEX_GAP_BYTES_MAX: u64 = 1 << 20;

/// How one walk over the end of the log went.
pub(super) struct Walk {
    pub(super) producers: ProducerStates,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) end: Offset,
    pub(super) first_timestamp: Option<Timestamp>,
    pub(super) bytes: u64,
    /// States at the bases of the segments walked through, for their snapshots.
    pub(super) at_bases: Vec<(Offset, Bytes)>,
    /// Where the log has to be cut: position in the last segment of `segments`.
    pub(super) cut: Option<(u64, BadBatch)>,
    /// The first segment that is not part of the log.
    pub(super) drop_from: Option<Offset>,
    /// Where in each segment the batches begin that may never have been synced, by its base.
    pub(super) doubtful: BTreeMap<Offset, u64>,
}

/// Where a walk starts.
struct WalkStart {
    snapshot: Option<(Offset, Snapshot)>,
}

impl Recovery<'_> {
    /// Walks from the newest snapshot that the log still holds. One that lies past the end that
    /// the walk finds is of records that are gone: it goes too, and the next one is tried. No crash
    /// does that: somebody cut files of a directory that was left in order.
    pub(super) async fn walk_from_best_snapshot(
        &mut self,
        trusted_to: Offset,
    ) -> Result<Walk, OpenError> {
        loop {
            let newest = self.newest_snapshot(trusted_to).await?;
            let from = newest.as_ref().map(|(offset, _)| *offset);
            let walk = self.walk(WalkStart { snapshot: newest }, trusted_to).await?;
            match from {
                Some(offset) if walk.end < offset => {
                    self.drop_snapshots(|at| at == offset).await?;
                }
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
                    runtime::sometimes!("a producer snapshot is bad");
                    tracing::warn!(file = %path.display(), %error, "removed a bad snapshot");
                    self.drop_snapshots(|at| at == offset).await?;
                }
            }
        }
        Ok(None)
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
            doubtful: BTreeMap::new(),
        };
        for pair in files[..=first].windows(2) {
            let ((base, len), (next, _)) = (pair[0], pair[1]);
            walk.segments.push(Arc::new(self.closed_segment(base, len, next)));
        }
        for (at, &(base, len)) in files.iter().enumerate().skip(first) {
            let place = snapshot.place.filter(|_| at == first);
            if at > first && self.is_hole(walk.end, base, trusted_to) {
                runtime::sometimes!("segments behind a gap are dropped");
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
                Ok(Some(batch)) => {
                    if batch.header.base_offset >= trusted_to {
                        walk.doubtful.entry(base).or_insert(batch.position);
                    }
                    self.take_batch(walk, &segment, from, &batch)?;
                }
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

    fn marker(&self, segment: &Segment, batch: &Scanned) -> Result<Option<Marker>, OpenError> {
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
pub(in crate::log) fn scan_error(path: &Path, error: ScanError, scanner: &Scanner) -> OpenError {
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
