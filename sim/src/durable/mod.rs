//! Whether what was acknowledged is on stable storage at that moment: not after a crash that may or
//! may not come.

mod journal;

use history::Partition;
use protocol::records::BatchHeader;

use crate::disk::SimDisk;
pub(crate) use journal::PREFIX as JOURNAL_PREFIX;
pub use journal::{Journal, begins_block, pieces_of_block};

/// Whether the durable bytes of the partition's segments, under their durable names, or those of the
/// journal hold a batch with that offset.
pub fn is_durable(disk: &SimDisk, partition: &Partition, offset: i64) -> bool {
    is_in_segment(disk, partition, offset) || is_in_journal(disk, partition, offset)
}

fn is_in_journal(disk: &SimDisk, partition: &Partition, offset: i64) -> bool {
    let mut journal = Journal::default();
    journal.refresh(disk);
    let log = format!("{}-{}", partition.topic, partition.index);
    journal.pieces(&log).any(|bytes| holds(bytes, offset))
}

fn is_in_segment(disk: &SimDisk, partition: &Partition, offset: i64) -> bool {
    let directory = format!("/data/{}-{}", partition.topic, partition.index);
    let base = |name: &str| -> Option<i64> { name.strip_suffix(".log")?.parse().ok() };
    let is_before = |base: &i64| *base <= offset;
    let Some(name) = disk.highest_name(&directory, |name| base(name).filter(is_before)) else {
        return false;
    };
    let path = format!("{directory}/{name}");
    disk.with_durable(&path, |bytes| holds(bytes, offset)).unwrap_or(false)
}

fn holds(mut rest: &[u8], offset: i64) -> bool {
    while let Ok(header) = BatchHeader::parse(rest) {
        if offset <= header.last_offset().0 {
            return header.base_offset.0 <= offset && header.size_bytes() <= rest.len();
        }
        match rest.get(header.size_bytes()..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}
