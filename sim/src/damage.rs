//! Which logs a disk has damaged for good: a bit of their records turned over, or a write that landed
//! elsewhere. What lies in them may be gone; it must never be served, and nothing else may suffer.
//!
//! Indexes and snapshots can be made anew, so that damage to them excuses nothing.
//!
//! Start at [`damaged_logs`].

use std::collections::BTreeMap;

use crate::disk::SimDisk;
use crate::world::Nanos;

/// The damaged logs of a disk by their names, and since when.
pub fn damaged_logs(disk: &SimDisk) -> BTreeMap<String, Nanos> {
    let mut logs = BTreeMap::new();
    for damage in disk.damages() {
        if let Some(log) = log_of(&damage.path) {
            logs.entry(log.to_owned()).or_insert(damage.at);
        }
    }
    logs
}

/// The log whose records are in the file at `path`.
fn log_of(path: &str) -> Option<&str> {
    let (directory, file) = path.rsplit_once('/')?;
    let name = directory.rsplit_once('/').map_or(directory, |(_, name)| name);
    file.ends_with(".log").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_records_count() {
        assert_eq!(log_of("/data/orders-0/00000000000000000000.log"), Some("orders-0"));
        assert_eq!(log_of("/data/orders-0/00000000000000000000.index"), None);
        assert_eq!(log_of("/data/recovery-point-offset-checkpoint"), None);
    }
}
