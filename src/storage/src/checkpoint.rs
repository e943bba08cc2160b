//! Kafka's text checkpoints: a version, a count, one entry a line (`CheckpointFile`).
//!
//! Written beside, synced and renamed, so that a crash leaves the old or the new content.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use model::{LeaderEpoch, Offset, PartitionIndex};
use runtime::{Disk, read_file, write_file_durably};

use crate::error::DiskError;
use crate::name::LogName;

const VERSION: &str = "0";

/// A checkpoint that does not parse, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadCheckpoint(pub(crate) String);

/// What reading a checkpoint may say.
#[derive(Debug)]
pub(crate) enum CheckpointError {
    Disk(DiskError),
    Bad(BadCheckpoint),
}

/// The entries of the checkpoint at `path`; `None` when there is none.
pub(crate) async fn read_lines(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Vec<String>>, CheckpointError> {
    let bytes = match read_file(disk, path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CheckpointError::Disk(DiskError::at("read", path)(error))),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("not UTF-8"))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else {
        // Kafka creates the file empty and reads an empty file as one without entries.
        return Ok(Some(Vec::new()));
    };
    if version.trim() != VERSION {
        return Err(bad(&format!("version `{version}`, expected {VERSION}")));
    }
    let Some(count) = lines.next() else { return Ok(Some(Vec::new())) };
    let entries: Vec<String> = lines.map(str::to_owned).collect();
    if count.trim().parse() != Ok(entries.len()) {
        return Err(bad(&format!("{} entries, the file says {count}", entries.len())));
    }
    Ok(Some(entries))
}

fn bad(reason: &str) -> CheckpointError {
    CheckpointError::Bad(BadCheckpoint(reason.to_owned()))
}

/// Replaces the checkpoint at `path`.
pub(crate) async fn write_lines(
    disk: &dyn Disk,
    path: &Path,
    lines: impl ExactSizeIterator<Item = String>,
) -> Result<(), DiskError> {
    let mut text = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    let written = write_file_durably(disk, path, Bytes::from(text)).await;
    written.map_err(DiskError::at("write", path))
}

/// Offsets of logs by name, as in `recovery-point-offset-checkpoint`.
pub(crate) type OffsetsByLog = BTreeMap<LogName, Offset>;

/// Reads `topic partition offset` lines; empty when there is no file. Lines for directories that
/// klamm does not keep (names it would not accept) are dropped.
pub(crate) async fn read_offsets(
    disk: &dyn Disk,
    path: &Path,
) -> Result<OffsetsByLog, CheckpointError> {
    let mut offsets = OffsetsByLog::new();
    for line in read_lines(disk, path).await?.unwrap_or_default() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [topic, partition, offset] = fields[..] else {
            return Err(bad(&format!("line `{line}`")));
        };
        let partition = partition.parse().map_err(|_| bad(&format!("line `{line}`")))?;
        let offset = offset.parse().map_err(|_| bad(&format!("line `{line}`")))?;
        if let Ok(name) = LogName::new(topic, PartitionIndex(partition)) {
            offsets.insert(name, Offset(offset));
        }
    }
    Ok(offsets)
}

/// Writes `topic partition offset` lines.
pub(crate) async fn write_offsets(
    disk: &dyn Disk,
    path: &Path,
    offsets: &OffsetsByLog,
) -> Result<(), DiskError> {
    let lines = offsets.iter().map(|(name, offset)| {
        let mut line = String::new();
        let written = write!(line, "{} {} {offset}", name.topic(), name.partition());
        written.expect("writing to a String does not fail");
        line
    });
    write_lines(disk, path, lines).await
}

/// Reads `epoch start_offset` lines; empty when there is no file.
pub(crate) async fn read_epochs(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Vec<(LeaderEpoch, Offset)>, CheckpointError> {
    let mut epochs = Vec::new();
    for line in read_lines(disk, path).await?.unwrap_or_default() {
        let parsed = line.split_once(char::is_whitespace).and_then(|(epoch, start)| {
            Some((LeaderEpoch(epoch.trim().parse().ok()?), Offset(start.trim().parse().ok()?)))
        });
        epochs.push(parsed.ok_or_else(|| bad(&format!("line `{line}`")))?);
    }
    Ok(epochs)
}

/// Writes `epoch start_offset` lines.
pub(crate) async fn write_epochs(
    disk: &dyn Disk,
    path: &Path,
    epochs: &[(LeaderEpoch, Offset)],
) -> Result<(), DiskError> {
    let lines = epochs.iter().map(|(epoch, start)| format!("{epoch} {start}"));
    write_lines(disk, path, lines).await
}
