//! Closing the active segment and beginning the next; producer snapshots.

use std::sync::Arc;

use bytes::Bytes;
use model::{Offset, Timestamp};
use protocol::records::BatchHeader;
use runtime::{OpenMode, Rng, write_all_at};

use super::{Active, Log};
use crate::config::Durability;
use crate::error::{DiskError, StorageError};
use crate::file_name::FileKind;
use crate::producer_state::snapshot::{self, Place};
use crate::segment::Segment;

/// A producer snapshot is worth taking after this many bytes of log.
const SNAPSHOT_INTERVAL_BYTES: u64 = 1 << 20;
/// Bytes of log for every producer that a snapshot holds.
const SNAPSHOT_INTERVAL_PER_PRODUCER: u64 = 4096;

impl Log {
    /// Whether the batch has to go into a new segment, behind `staged` bytes that go into this one
    /// (`LogSegment.shouldRoll`).
    pub(super) fn must_roll(&self, header: &BatchHeader, staged: u64, now: Timestamp) -> bool {
        let segment = &self.active.segment;
        let used = segment.size() + staged;
        if used == 0 {
            return false;
        }
        let size = header.size_bytes() as u64;
        used + size > u64::from(self.config.segment_bytes)
            || self.waited_ms(header.max_timestamp, now) > self.active.roll_after_ms
            || segment.indexes_are_full(self.config.segment_index_bytes)
            || header.last_offset() - segment.base > i64::from(i32::MAX) - 1
    }

    /// How much later than the segment's first batch a batch of `timestamp` is.
    fn waited_ms(&self, timestamp: Timestamp, now: Timestamp) -> i64 {
        match self.active.first_timestamp {
            Some(first) if first >= Timestamp(0) => timestamp.millis_since(first),
            _ => now.millis_since(self.active.created),
        }
    }

    /// Closes the active segment and begins one at the log end. Without room nothing changes.
    ///
    /// The next sync covers the closed file and the new name before any acknowledgement.
    pub(super) async fn roll(&mut self, now: Timestamp) -> Result<(), StorageError> {
        runtime::sometimes!("a segment is full");
        let base = self.log_end();
        let old = Arc::clone(&self.active.segment);
        if let Err(error) = old.finish_indexes().await {
            // They can be made anew from the batches.
            tracing::warn!(log = %self.name(), %error, "index not saved");
        }
        let active = self.create_segment(base, now).await.map_err(|error| self.fail(&error))?;
        // First, so that a checkpoint finds it as the active one or as a closed one.
        self.note_closed(old);
        self.active = active;
        let mut segments = Vec::clone(&self.shared.segments());
        segments.push(Arc::clone(&self.active.segment));
        self.shared.set_segments(segments);
        self.take_snapshot().await;
        Ok(())
    }

    fn note_closed(&mut self, segment: Arc<Segment>) {
        self.shared.add_unsynced(Arc::clone(&segment));
        let unsynced = &mut self.unsynced;
        unsynced.closed_count += 1;
        unsynced.dir_changes += 1;
        // Checkpoints sync them one after another.
        let left = self.shared.unsynced();
        let is_left = |closed: &Arc<Segment>| left.iter().any(|left| Arc::ptr_eq(left, closed));
        for (_, synced) in unsynced.closed.extract_if(.., |(_, closed)| !is_left(closed)) {
            synced.pin(None);
        }
        if self.config.durability == Durability::Os {
            segment.pin(None);
        }
        unsynced.closed.push((unsynced.closed_count, segment));
    }

    /// The file of a new segment. A file of that name can only be left from a segment that never
    /// held an acknowledged batch; its content goes.
    pub(super) async fn create_segment(
        &self,
        base: Offset,
        now: Timestamp,
    ) -> Result<Active, DiskError> {
        let path = self.path(FileKind::Log, base);
        let file = self.runtime.disk.open(&path, OpenMode::Create).await;
        let file = file.map_err(DiskError::at("create", &path))?;
        file.set_len(0).await.map_err(DiskError::at("truncate", &path))?;
        let segment = Arc::new(Segment::empty(&self.shared.home, base));
        segment.pin(Some(Arc::clone(&file)));
        Ok(Active {
            segment,
            file,
            first_timestamp: None,
            created: now,
            roll_after_ms: self.roll_after_ms(base),
            bytes_since_snapshot: 0,
        })
    }

    /// `segment.ms` less a random part of `segment.jitter.ms`.
    pub(super) fn roll_after_ms(&self, base: Offset) -> i64 {
        let jitter_max = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if jitter_max <= 0 {
            return self.config.segment_ms;
        }
        let mut random = self.runtime.random.stream("segment-jitter", base.0 as u64);
        let jitter = random.next_u64() % jitter_max as u64;
        self.config.segment_ms - jitter as i64
    }

    /// Whether enough was written since the last snapshot, and recovery would start from that one.
    pub(super) fn snapshot_is_due(&self) -> bool {
        let producers = self.producers.entries().len() as u64;
        let interval = SNAPSHOT_INTERVAL_BYTES.max(producers * SNAPSHOT_INTERVAL_PER_PRODUCER);
        let last = self.snapshots.last().copied().unwrap_or(Offset::ZERO);
        self.active.bytes_since_snapshot >= interval
            && last <= self.registration.checkpointed_recovery_point()
    }

    /// Writes the producer state at the log end. A snapshot saves work at recovery, so that what
    /// goes wrong is only said; its checksum tells a torn one.
    pub(super) async fn take_snapshot(&mut self) {
        let offset = self.log_end();
        let segment = &self.active.segment;
        let place = Place {
            segment_base: segment.base,
            position: segment.size(),
            max: segment.max_so_far(),
            first_timestamp: self.active.first_timestamp,
        };
        let bytes = snapshot::encode(self.producers.entries(), &place);
        if let Err(error) = self.write_snapshot(offset, bytes).await {
            tracing::warn!(log = %self.name(), %error, "producer snapshot not written");
            return;
        }
        self.active.bytes_since_snapshot = 0;
        self.remove_needless_snapshots().await;
    }

    pub(super) async fn write_snapshot(
        &mut self,
        offset: Offset,
        bytes: Bytes,
    ) -> Result<(), DiskError> {
        let path = self.path(FileKind::Snapshot, offset);
        let written = async {
            let file = self.runtime.disk.open(&path, OpenMode::Create).await?;
            file.set_len(bytes.len() as u64).await?;
            write_all_at(&*file, 0, &[bytes]).await
        };
        written.await.map_err(DiskError::at("write", &path))?;
        self.snapshots.insert(offset);
        Ok(())
    }

    /// Keeps the snapshots at the bases of segments, the newest, and the newest one that the
    /// recovery point has passed.
    async fn remove_needless_snapshots(&mut self) {
        let recovery_point = self.registration.checkpointed_recovery_point();
        let newest = self.snapshots.last().copied();
        let usable = self.snapshots.range(..=recovery_point).next_back().copied();
        let segments = self.shared.segments();
        let is_base = |offset: Offset| segments.binary_search_by_key(&offset, |s| s.base).is_ok();
        let needless: Vec<Offset> = self
            .snapshots
            .iter()
            .copied()
            .filter(|&at| Some(at) != newest && Some(at) != usable && !is_base(at))
            .collect();
        for offset in needless {
            self.remove_snapshot(offset).await;
        }
    }

    pub(super) async fn remove_snapshot(&mut self, offset: Offset) {
        let path = self.path(FileKind::Snapshot, offset);
        match self.runtime.disk.remove_file(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(log = %self.name(), %error, "producer snapshot not removed");
                return;
            }
        }
        self.snapshots.remove(&offset);
    }
}
