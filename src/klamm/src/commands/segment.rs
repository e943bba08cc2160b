//! Segment files and their indexes as they lie on disk.
//!
//! In: a path. Out: batches with their positions, entries of the indexes. One batch is in memory at
//! a time. The formats are Kafka's (`FileRecords`, `OffsetIndex`, `TimeIndex`).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{Offset, Timestamp};
use protocol::records::{Batch, BatchError, LOG_OVERHEAD_BYTES};

use crate::failure::Failure;

/// One segment: a `.log` file and what lies beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The `.log` file.
    pub(super) path: PathBuf,
    /// The offset in its name, if the name is one.
    pub(super) base_offset: Option<Offset>,
}

impl Segment {
    fn of(path: &Path) -> Segment {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let base_offset = stem.and_then(|stem| stem.parse().ok()).map(Offset);
        Segment { path: path.to_owned(), base_offset }
    }

    /// The file with the same name and another ending, if it is there.
    pub(super) fn beside(&self, ending: &str) -> Option<PathBuf> {
        Some(self.path.with_extension(ending)).filter(|path| path.is_file())
    }
}

/// The segments at `paths`: files as they are, directories searched through, in order.
pub(super) fn segments(paths: &[PathBuf]) -> Result<Vec<Segment>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            search(path, &mut found)?;
            if found.len() == before {
                return Err(Failure::new(format!("no segment files (.log) in {}", path.display())));
            }
        } else if path.is_file() {
            found.push(Segment::of(path));
        } else {
            return Err(Failure::new(format!("{} is not there", path.display())));
        }
    }
    Ok(found)
}

fn search(directory: &Path, found: &mut Vec<Segment>) -> Result<(), Failure> {
    let unreadable = |error| Failure::new(format!("read {}", directory.display())).because(error);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        entries.push(entry.map_err(unreadable)?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "log") {
            found.push(Segment::of(&path));
        }
    }
    Ok(())
}

/// Why a file can not be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error("read")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the file ends {missing} bytes before the batch does")]
    CutOff { missing: u64 },
}

/// Goes through the batches of a segment.
pub(super) struct Batches {
    reader: BufReader<File>,
    position: u64,
    len: u64,
}

impl Batches {
    pub(super) fn open(path: &Path) -> io::Result<Batches> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Batches { reader: BufReader::with_capacity(1024 * 1024, file), position: 0, len })
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; `None` at the end of the file. A preallocated file ends where zeros begin.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, SegmentError> {
        let left = self.len - self.position;
        if left == 0 {
            return Ok(None);
        }
        let overhead = LOG_OVERHEAD_BYTES as u64;
        if left < overhead {
            return Err(SegmentError::CutOff { missing: overhead - left });
        }
        let mut bytes = vec![0; LOG_OVERHEAD_BYTES];
        self.reader.read_exact(&mut bytes)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let length = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let body = u64::try_from(length).map_err(|_| BatchError::Length { length })?;
        if overhead + body > left {
            return Err(SegmentError::CutOff { missing: overhead + body - left });
        }
        // Bounded by the file's length.
        bytes.resize(LOG_OVERHEAD_BYTES + body as usize, 0);
        self.reader.read_exact(&mut bytes[LOG_OVERHEAD_BYTES..])?;
        let batch = Batch::parse(Bytes::from(bytes))?;
        self.position += overhead + body;
        Ok(Some(batch))
    }
}

/// An entry of an offset index: the batch with `offset` lies at `position` or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub(super) offset: Offset,
    pub(super) position: u64,
}

/// An entry of a time index: no record up to `offset` is younger than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: Timestamp,
    pub(super) offset: Offset,
}

/// The entries of an offset index, without the zeros that fill the file of an open segment.
pub(super) fn offset_index(path: &Path, base: Offset) -> io::Result<Vec<OffsetEntry>> {
    let content = std::fs::read(path)?;
    let mut entries = Vec::new();
    for (index, entry) in content.chunks_exact(8).enumerate() {
        let relative = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let position = u32::from_be_bytes([entry[4], entry[5], entry[6], entry[7]]);
        if relative == 0 && position == 0 && index > 0 {
            break;
        }
        let offset = base + i64::from(relative);
        entries.push(OffsetEntry { offset, position: position.into() });
    }
    drop_filling(&mut entries, |entry| entry.offset == base && entry.position == 0);
    Ok(entries)
}

/// The entries of a time index, without the zeros that fill the file of an open segment.
pub(super) fn time_index(path: &Path, base: Offset) -> io::Result<Vec<TimeEntry>> {
    let content = std::fs::read(path)?;
    let mut entries = Vec::new();
    for entry in content.chunks_exact(12) {
        let (timestamp, relative) = entry.split_at(8);
        let timestamp = i64::from_be_bytes(timestamp.try_into().expect("eight bytes"));
        let relative = u32::from_be_bytes(relative.try_into().expect("four bytes"));
        if timestamp == 0 && relative == 0 {
            break;
        }
        let offset = base + i64::from(relative);
        entries.push(TimeEntry { timestamp: Timestamp(timestamp), offset });
    }
    Ok(entries)
}

/// A first entry of zeros says nothing: an empty index, filled up.
fn drop_filling<T>(entries: &mut Vec<T>, is_zero: impl Fn(&T) -> bool) {
    if entries.len() == 1 && is_zero(&entries[0]) {
        entries.clear();
    }
}
