//! The batches of a log as they lie in its files.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{Offset, Timestamp};
use protocol::records::{Batch, Scratch};

use crate::disk::DiskImage;

/// No batch of the simulation is larger.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The segments in the directory `place`, which ends with a slash.
fn segments(image: &DiskImage, place: &str) -> BTreeMap<u64, Bytes> {
    let base = |path: &str| -> Option<u64> {
        path.strip_prefix(place)?.strip_suffix(".log")?.parse().ok()
    };
    image.files().filter_map(|(path, bytes)| Some((base(path)?, bytes.clone()))).collect()
}

/// How large they are, the oldest first.
pub(super) fn segment_sizes(image: &DiskImage, place: &str) -> Vec<u64> {
    segments(image, place).into_values().map(|bytes| bytes.len() as u64).collect()
}

/// All batches, in order.
pub(super) struct Content {
    pub(super) batches: Vec<Batch>,
}

impl Content {
    /// Of the segments in the directory `place`, which ends with a slash.
    pub(super) fn of(image: &DiskImage, place: &str) -> Content {
        let mut batches = Vec::new();
        for mut rest in segments(image, place).into_values() {
            // What is not a whole batch is the torn end that opening cuts off.
            while let Ok(Some(batch)) = Batch::split_first(&mut rest) {
                if batch.verify_crc().is_err() {
                    break;
                }
                batches.push(batch);
            }
        }
        Content { batches }
    }

    /// The offset behind the last record; `None` without a batch.
    pub(super) fn end(&self) -> Option<Offset> {
        self.batches.last().map(|batch| batch.header.next_offset())
    }

    /// Offset and time of every record of data from `start` on.
    pub(super) fn times(&self, start: Offset) -> Vec<(Offset, Timestamp)> {
        let mut times = Vec::new();
        let mut scratch = Scratch::new();
        for batch in self.batches.iter().filter(|batch| batch.header.last_offset() >= start) {
            let Ok(records) = batch.records(BATCH_BYTES_MAX, &mut scratch) else { continue };
            let records = records.iter().flatten().filter(|record| record.offset >= start);
            times.extend(records.map(|record| (record.offset, record.timestamp)));
        }
        times
    }
}
