//! Appending a group of batches: offsets, producer checks, one vectored write.
//!
//! Nothing here looks at a record. A group is written in parts, one for each segment it falls
//! into; a part is in the log as a whole or not at all.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use model::{LeaderEpoch, Offset, Timestamp};
use protocol::records::{Batch, BatchHeader, HEADER_BYTES, TimestampType};
use runtime::write_all_at;

use super::Log;
use crate::config::Durability;
use crate::error::{AppendError, DiskError, StorageError};
use crate::file_name::FileKind;
use crate::producer_state::{AppendOrigin, Check, Marker, read_marker};

/// A batch that was validated and is to be appended.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    /// Its header; base offset and leader epoch are set by the log.
    pub header: BatchHeader,
    /// Everything behind the header, as it will stand in the file.
    pub body: Bytes,
    /// Whose it is.
    pub origin: AppendOrigin,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum AppendOutcome {
    /// Written. It may be acknowledged once the durable end has passed `last_offset`.
    Appended {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
        /// The append time of a LogAppendTime topic, none otherwise.
        append_time: Timestamp,
    },
    /// In the log already, at these offsets. Nothing was written; the answer waits for the durable
    /// end all the same.
    Duplicate {
        /// Offset of its first record.
        base_offset: Offset,
        /// Offset of its last record.
        last_offset: Offset,
        /// The append time of a LogAppendTime topic, none otherwise.
        append_time: Timestamp,
    },
    /// Not written.
    Rejected(AppendError),
}

/// A group on its way into the log.
struct Group {
    outcomes: Vec<AppendOutcome>,
    /// The outcome of the first batch of the part that is not written yet.
    part_start: usize,
    part: Vec<Staged>,
    part_bytes: u64,
    /// The offset of the next batch.
    next_offset: Offset,
    /// Ends the group: nothing behind a failed part is tried.
    failed: Option<StorageError>,
}

struct Staged {
    header: BatchHeader,
    body: Bytes,
}

impl Log {
    /// Writes a group of batches into the page cache and says what became of each, in their order.
    ///
    /// A repeated batch, one that breaks its producer's sequence and one that is too large leave
    /// the others untouched. A write that does not fit on the disk is undone and rejects the rest
    /// of the group; any other error takes the log offline. Dropping the future does too.
    pub async fn append(
        &mut self,
        batches: Vec<AppendBatch>,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Vec<AppendOutcome> {
        let mut group = Group {
            outcomes: Vec::with_capacity(batches.len()),
            part_start: 0,
            part: Vec::with_capacity(batches.len()),
            part_bytes: 0,
            next_offset: self.log_end(),
            failed: self.begin_operation().err(),
        };
        if group.failed.is_none() {
            group.failed = self.assign_leader_epoch(leader_epoch).await.err();
        }
        for batch in batches {
            let outcome = match self.stage(&mut group, batch, leader_epoch, now).await {
                Ok(outcome) => outcome,
                Err(error) => AppendOutcome::Rejected(error),
            };
            group.outcomes.push(outcome);
        }
        self.write_part(&mut group).await;
        self.is_busy = false;
        self.assert_invariants();
        group.outcomes
    }

    /// Judges a batch and puts it behind the others; writes those first when it does not fit into
    /// the active segment.
    async fn stage(
        &mut self,
        group: &mut Group,
        batch: AppendBatch,
        leader_epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<AppendOutcome, AppendError> {
        if let Some(failed) = &group.failed {
            return Err(failed.clone().into());
        }
        let AppendBatch { mut header, body, origin } = batch;
        let size_bytes = header.size_bytes();
        debug_assert_eq!(size_bytes, HEADER_BYTES + body.len());
        let segment_bytes = self.config.segment_bytes;
        if size_bytes > segment_bytes as usize {
            return Err(AppendError::BatchTooLarge { size_bytes, segment_bytes });
        }
        let marker = marker_of(&header, &body)?;
        if let Check::Duplicate(mark) = self.producers.check(&header, origin, marker.as_ref())? {
            runtime::sometimes!("a batch is repeated");
            return Ok(AppendOutcome::Duplicate {
                base_offset: mark.base_offset(),
                last_offset: mark.last_offset,
                append_time: append_time(&header, mark.timestamp),
            });
        }
        header.base_offset = group.next_offset;
        header.leader_epoch = leader_epoch;
        if self.must_roll(&header, group.part_bytes, now) {
            if !group.part.is_empty() {
                runtime::sometimes!("a group falls into two segments");
            }
            self.write_part(group).await;
            if group.failed.is_none() {
                group.failed = self.roll(now).await.err();
            }
            if let Some(failed) = &group.failed {
                return Err(failed.clone().into());
            }
        }
        self.producers.apply_tentatively(&header, marker.as_ref());
        self.active.first_timestamp.get_or_insert(header.max_timestamp);
        group.next_offset = header.next_offset();
        group.part_bytes += size_bytes as u64;
        group.part.push(Staged { header, body });
        Ok(AppendOutcome::Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            append_time: append_time(&header, header.max_timestamp),
        })
    }

    /// Writes what is staged into the active segment.
    async fn write_part(&mut self, group: &mut Group) {
        let part = std::mem::take(&mut group.part);
        let (from, bytes) = (self.log_end(), std::mem::take(&mut group.part_bytes));
        // The outcome of the batch that is being staged is not there yet; it belongs to the next
        // part.
        let outcomes = group.part_start..group.outcomes.len();
        group.part_start = group.outcomes.len();
        if part.is_empty() {
            return;
        }
        let position = self.active.segment.size();
        let buffers = buffers(&part);
        let written = write_all_at(&*self.active.file, position, &buffers).await;
        let path = self.active.segment.path(FileKind::Log);
        let written = written.map_err(DiskError::at("write", path));
        if let Err(error) = written {
            let failed = self.undo_write(position, from, &error).await;
            for outcome in &mut group.outcomes[outcomes] {
                reject_unwritten(outcome, from, &failed);
            }
            group.failed = Some(failed);
            return;
        }
        if self.config.durability == Durability::Fsync {
            self.staged.add(self.active.segment.base, position, buffers, bytes);
        }
        self.active.segment.note_position(from, position);
        let mut position = position;
        for staged in &part {
            self.active.segment.note_batch(&staged.header, position);
            position += staged.header.size_bytes() as u64;
        }
        self.producers.commit();
        self.shared.set_log_end(group.next_offset);
        if self.config.durability == Durability::Os {
            self.shared.set_durable_end(group.next_offset);
        }
        self.active.bytes_since_snapshot += bytes;
        self.save_hints().await;
    }

    /// Makes a write that went wrong undone: on a full disk by cutting the file back, otherwise by
    /// never appending again.
    async fn undo_write(&mut self, size: u64, from: Offset, error: &DiskError) -> StorageError {
        self.producers.roll_back(from);
        if size == 0 {
            self.active.first_timestamp = None;
        }
        let failed = self.fail(error);
        if !error.is_full() {
            return failed;
        }
        runtime::sometimes!("an append is undone for lack of room");
        tracing::warn!(log = %self.name(), %error, "no room, cut the segment back");
        let shared = Arc::clone(&self.shared);
        let _turn = shared.sync_turn.lock().await;
        match self.cut_back(size).await {
            Ok(()) => failed,
            Err(error) => {
                // Whatever it is, the file may hold bytes that are not part of the log.
                self.shared.take_offline(&error.to_string());
                self.shared.check_online().err().unwrap_or(failed)
            }
        }
    }

    /// Takes the end of the file off again, for good: what was rejected must not come back after a
    /// loss of power.
    async fn cut_back(&self, size: u64) -> Result<(), DiskError> {
        let path = self.active.segment.path(FileKind::Log);
        let file = &self.active.file;
        file.set_len(size).await.map_err(DiskError::at("truncate", &path))?;
        file.sync_data().await.map_err(DiskError::at("sync", &path))
    }

    /// Writes indexes and producer snapshots when they are due; both are hints that recovery can
    /// do without, so that what goes wrong is only said.
    async fn save_hints(&mut self) {
        if self.active.segment.wants_index_save()
            && let Err(error) = self.active.segment.save_indexes().await
        {
            tracing::warn!(log = %self.name(), %error, "index not saved");
        }
        if self.snapshot_is_due() {
            self.take_snapshot().await;
        }
    }
}

/// Headers and bodies in turn; all headers share one allocation.
fn buffers(part: &[Staged]) -> Vec<Bytes> {
    let mut headers = BytesMut::with_capacity(part.len() * HEADER_BYTES);
    for staged in part {
        headers.extend_from_slice(&staged.header.to_bytes());
    }
    let mut headers = headers.freeze();
    let mut buffers = Vec::with_capacity(2 * part.len());
    for staged in part {
        buffers.push(headers.split_to(HEADER_BYTES));
        if !staged.body.is_empty() {
            buffers.push(staged.body.clone());
        }
    }
    buffers
}

/// Turns the outcome of a batch into a rejection if it relied on a part that was not written.
fn reject_unwritten(outcome: &mut AppendOutcome, from: Offset, failed: &StorageError) {
    let relied_on_part = match outcome {
        AppendOutcome::Appended { .. } => true,
        AppendOutcome::Duplicate { last_offset, .. } => *last_offset >= from,
        AppendOutcome::Rejected(_) => false,
    };
    if relied_on_part {
        *outcome = AppendOutcome::Rejected(failed.clone().into());
    }
}

fn marker_of(header: &BatchHeader, body: &Bytes) -> Result<Option<Marker>, AppendError> {
    if !header.attributes.is_control() {
        return Ok(None);
    }
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(body);
    read_marker(&Batch { header: *header, bytes: bytes.freeze() })
}

fn append_time(header: &BatchHeader, timestamp: Timestamp) -> Timestamp {
    match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => timestamp,
        TimestampType::CreateTime => Timestamp::NONE,
    }
}
