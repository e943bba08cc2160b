//! `partition.metadata`: the topic that a log's directory belongs to (`PartitionMetadataFile`).

use std::path::Path;

use bytes::Bytes;
use model::Uuid;
use runtime::{Runtime, read_file, write_file_durably};

use crate::error::{DiskError, OpenError};
use crate::file_name::PARTITION_METADATA;

/// Characters of an id.
const UUID_CHARS: usize = 22;

/// The topic's id; `None` when the file is not there, as in a log of an old Kafka.
pub(super) async fn read(runtime: &Runtime, dir: &Path) -> Result<Option<Uuid>, OpenError> {
    let file = dir.join(PARTITION_METADATA);
    let bytes = match read_file(&*runtime.disk, &file).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::at("read", &file)(error).into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| {
        let values = text.lines().filter_map(|line| line.strip_prefix(name));
        values.map(str::trim).next()
    };
    let bad = |reason: String| OpenError::BadFile { file: file.clone(), reason };
    match field("version:") {
        Some("0") => {}
        other => return Err(bad(format!("version {other:?}, expected 0"))),
    }
    let topic_id = field("topic_id:").unwrap_or_default();
    let topic_id: Uuid = topic_id.parse().map_err(|_| {
        // Whatever it is now, it was shorter than this.
        let shown: String = topic_id.chars().take(UUID_CHARS + 8).collect();
        bad(format!("topic id {shown:?} is none"))
    })?;
    Ok((!topic_id.is_zero()).then_some(topic_id))
}

/// Writes the file durably; the name of its directory is the caller's.
pub(super) async fn write(runtime: &Runtime, dir: &Path, topic_id: Uuid) -> Result<(), DiskError> {
    let file = dir.join(PARTITION_METADATA);
    let text = format!("version: 0\ntopic_id: {topic_id}");
    let written = write_file_durably(&*runtime.disk, &file, Bytes::from(text)).await;
    written.map_err(DiskError::at("write", &file))
}
