//! Whether what was acknowledged is on stable storage at that moment: not after a crash that may or
//! may not come.

use history::Partition;
use protocol::records::BatchHeader;

use crate::disk::SimDisk;

/// Whether the durable bytes of the partition's segments, under their durable names, hold a batch
/// with that offset.
pub fn is_durable(disk: &SimDisk, partition: &Partition, offset: i64) -> bool {
    let directory = format!("/data/{}-{}/", partition.topic, partition.index);
    let base = |path: &str| -> Option<i64> {
        path.strip_prefix(&directory)?.strip_suffix(".log")?.parse().ok()
    };
    let files = disk.files();
    let segments = files.iter().filter_map(|(path, _)| Some((base(path)?, path)));
    let Some((_, path)) = segments.filter(|(base, _)| *base <= offset).max() else { return false };
    disk.durable(&**path).is_some_and(|bytes| holds(&bytes, offset))
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
