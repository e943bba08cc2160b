//! What stays of one batch. Pure.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use model::{Offset, ProducerId, Timestamp};
use protocol::records::{Batch, BatchBuilder, BatchError, BatchOptions, Record, Scratch};

use super::key_map::KeyMap;
use super::{DECOMPRESSED_BYTES_MAX, LastOfProducer, Settings};

/// The rules of one round.
pub(crate) struct Filter<'a> {
    pub(crate) keys: &'a KeyMap,
    pub(crate) settings: Settings,
    pub(crate) producers: &'a BTreeMap<ProducerId, LastOfProducer>,
    /// The offset behind the last batch of the round, which stays.
    pub(crate) round_end: Offset,
}

/// What stays of a batch.
pub(crate) enum Kept {
    /// All of it, as it is.
    Whole,
    /// Some of it, or it with a delete horizon.
    Changed(Batch),
    /// Nothing.
    Nothing,
}

impl Filter<'_> {
    /// Judges a batch; `can_go` when its transaction was aborted or, for a marker, has no data
    /// left.
    pub(crate) fn apply(
        &self,
        batch: &Batch,
        can_go: bool,
        scratch: &mut Scratch,
    ) -> Result<Kept, BatchError> {
        let header = &batch.header;
        if header.base_offset >= self.keys.end() {
            return Ok(Kept::Whole);
        }
        let horizon = header.delete_horizon();
        let is_past_horizon = horizon.is_some_and(|horizon| horizon <= self.settings.now);
        let is_control = header.attributes.is_control();
        if is_control {
            let drops = can_go && (is_past_horizon || header.record_count == 0);
            return match (drops, can_go && horizon.is_none()) {
                (true, _) if header.record_count == 0 && self.must_stay(batch) => Ok(Kept::Whole),
                (true, _) => self.emptied(batch),
                (false, true) => self.rewrite(batch, scratch, |_| true, true),
                (false, false) => Ok(Kept::Whole),
            };
        }
        if header.record_count == 0 {
            return if self.must_stay(batch) { Ok(Kept::Whole) } else { Ok(Kept::Nothing) };
        }
        if can_go {
            return self.emptied(batch);
        }
        let stays = |record: &Record<'_>| {
            let Some(key) = record.key else { return false };
            let is_gone_tombstone = record.value.is_none() && is_past_horizon;
            !is_gone_tombstone && !self.keys.is_superseded(key, record.offset)
        };
        self.rewrite(batch, scratch, stays, false)
    }

    /// Whether the batch stays even without records: a producer's last one, or the round's.
    fn must_stay(&self, batch: &Batch) -> bool {
        let header = &batch.header;
        let of_producer =
            self.producers.get(&header.producer_id).is_some_and(|last| match last.last_offset {
                Some(offset) => header.last_offset() == offset,
                None => header.attributes.is_control() && header.producer_epoch == last.epoch,
            });
        of_producer || header.next_offset() == self.round_end
    }

    fn emptied(&self, batch: &Batch) -> Result<Kept, BatchError> {
        if !self.must_stay(batch) {
            return Ok(Kept::Nothing);
        }
        let builder = BatchBuilder::new(BatchOptions::like(&batch.header)?);
        seal(builder, batch).map(Kept::Changed)
    }

    /// Writes the records that stay again; with a delete horizon when tombstones or a marker are
    /// met for the first time.
    fn rewrite(
        &self,
        batch: &Batch,
        scratch: &mut Scratch,
        stays: impl Fn(&Record<'_>) -> bool,
        needs_horizon: bool,
    ) -> Result<Kept, BatchError> {
        let header = &batch.header;
        let records = batch.records(DECOMPRESSED_BYTES_MAX, scratch)?;
        let mut kept = Vec::with_capacity(header.record_count as usize);
        let (mut dropped, mut has_tombstone) = (false, false);
        for record in &records {
            let record = record?;
            if stays(&record) {
                has_tombstone |= record.value.is_none() && !header.attributes.is_control();
                kept.push(record);
            } else {
                dropped = true;
            }
        }
        let sets_horizon = (has_tombstone || needs_horizon) && header.delete_horizon().is_none();
        if !dropped && !sets_horizon {
            return Ok(Kept::Whole);
        }
        if kept.is_empty() {
            return self.emptied(batch);
        }
        let mut options = BatchOptions::like(header)?;
        if sets_horizon {
            let horizon = self.settings.now.0.saturating_add(self.settings.delete_retention_ms);
            options.delete_horizon = Some(Timestamp(horizon));
        }
        let mut builder = BatchBuilder::with_capacity(options, records.size_bytes());
        for record in &kept {
            let delta = record.offset - header.base_offset;
            builder.copy_at(delta as i32, record);
        }
        seal(builder, batch).map(Kept::Changed)
    }
}

/// Ends a rewritten batch where its original ended. One without records keeps its time, by which
/// its producer's state expires.
fn seal(builder: BatchBuilder, original: &Batch) -> Result<Batch, BatchError> {
    let is_empty = builder.record_count() == 0;
    let mut batch = builder.finish_at(original.header.last_offset_delta)?;
    if is_empty {
        let body: Bytes = batch.body();
        batch.header.max_timestamp = original.header.max_timestamp;
        batch.header.crc = batch.header.checksum(&body);
        let mut bytes = BytesMut::from(&batch.header.to_bytes()[..]);
        bytes.extend_from_slice(&body);
        batch.bytes = bytes.freeze();
    }
    Ok(batch)
}
