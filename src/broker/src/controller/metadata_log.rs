//! The metadata log on disk: record batches as in any other log, values that are [`metadata::Record`]s,
//! and a snapshot beside it.
//!
//! In: records. Out: the image they make. A batch holds what one command changed, so that a crash leaves
//! all of it or nothing.
//!
//! When enough was written since the last snapshot, the image is written out beside the log and the log's
//! beginning goes. At the start the snapshot is read, then the log from there on.
//!
//! Start at [`MetadataLog::open`].

use std::path::PathBuf;

use bytes::Bytes;
use metadata::{DecodeRecordError, Image, Record, ReplayError};
use model::{LeaderEpoch, Offset, PartitionIndex};
use protocol::records::{Batch, BatchBuilder, BatchError, BatchOptions, RecordParts, Scratch};
use runtime::{Runtime, read_file, write_file_durably};
use storage::{
    AppendBatch, AppendError, AppendOrigin, AppendOutcome, Durability, Log, LogConfig, LogDir,
    LogName, OpenError, ReadError, ReadRequest, StorageError,
};

use crate::controller::snapshot::{BadSnapshot, decode_snapshot, encode_snapshot};

/// The directory is this and `-0`; topics can not be named so.
const LOG_NAME: &str = "__klamm_metadata";
const SNAPSHOT_FILE: &str = "klamm-metadata.snapshot";

/// Small, so that snapshots let whole segments go; large enough for the records of any request.
const SEGMENT_BYTES: u32 = 32 << 20;
const READ_BYTES: usize = 1 << 20;

/// What is written at once: far more than the largest request that is accepted, far less than a segment.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// There is one controller, and it has been the same one since the log began.
const EPOCH: LeaderEpoch = LeaderEpoch(0);

/// What can be wrong with the metadata log.
#[derive(Debug, thiserror::Error)]
pub enum MetadataLogError {
    /// It can not be opened.
    #[error("open the metadata log")]
    Open(#[from] OpenError),
    /// It can not be read.
    #[error("read the metadata log")]
    Read(#[from] ReadError),
    /// It can not be written.
    #[error("write the metadata log")]
    Storage(#[source] StorageError),
    /// No room; nothing was written.
    #[error("no room on the disk for the metadata log")]
    DiskFull,
    /// More records than a batch can hold; nothing was written.
    #[error("too many records at once for the metadata log")]
    TooLarge,
    /// A batch in it is damaged.
    #[error("a batch of the metadata log is damaged")]
    Batch(#[from] BatchError),
    /// A record in it is damaged or of a newer klamm.
    #[error("record {offset} of the metadata log")]
    Record {
        /// Its offset.
        offset: Offset,
        /// What is wrong with it.
        #[source]
        source: DecodeRecordError,
    },
    /// A record in it does not fit.
    #[error("replay the metadata log")]
    Replay(#[from] ReplayError),
    /// The snapshot is not readable.
    #[error("read the metadata snapshot {file}", file = file.display())]
    Snapshot {
        /// Where it is.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BadSnapshot,
    },
    /// The disk fails.
    #[error("{operation} {file}", file = file.display())]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: PathBuf,
        /// What the disk says.
        #[source]
        source: std::io::Error,
    },
    /// The log begins behind the snapshot.
    #[error("the metadata log begins at {log_start}, but its snapshot ends before {needed}")]
    Gap {
        /// The log's first offset.
        log_start: Offset,
        /// The first offset that the snapshot does not have.
        needed: Offset,
    },
    /// The log ends within the snapshot: it lost what was durable.
    #[error("the metadata log ends at {log_end}, but its snapshot goes up to {needed}")]
    Short {
        /// The log's end.
        log_end: Offset,
        /// The first offset that the snapshot does not have.
        needed: Offset,
    },
    /// The data directory and the log in it are of two clusters.
    #[error("the metadata log is of cluster `{log}`, its directory of `{directory}`")]
    ClusterId {
        /// What the log says.
        log: String,
        /// What the directory says.
        directory: String,
    },
}

pub(super) struct MetadataLog {
    runtime: Runtime,
    log: Log,
    snapshot_file: PathBuf,
    snapshot_after_bytes: u64,
    bytes_since_snapshot: u64,
    scratch: Scratch,
}

impl MetadataLog {
    /// Opens the log, or begins it, and replays what it has.
    pub(super) async fn open(
        runtime: &Runtime,
        log_dir: &LogDir,
        snapshot_after_bytes: u64,
    ) -> Result<(MetadataLog, Image), MetadataLogError> {
        let name = LogName::new(LOG_NAME, PartitionIndex(0)).expect("the name is well-formed");
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES,
            retention_ms: -1,
            retention_bytes: -1,
            durability: Durability::Fsync,
            ..LogConfig::default()
        };
        let is_there = log_dir.found().iter().any(|found| found.name == name);
        let log = if is_there {
            log_dir.open_log(&name, config).await?
        } else {
            log_dir.create_log(&name, None, config).await?
        };
        let mut this = MetadataLog {
            runtime: runtime.clone(),
            log,
            snapshot_file: log_dir.path().join(SNAPSHOT_FILE),
            snapshot_after_bytes: snapshot_after_bytes.max(1),
            bytes_since_snapshot: 0,
            scratch: Scratch::new(),
        };
        // What recovery found may not be synced yet, and decisions will rest on it.
        this.log.sync().await.map_err(MetadataLogError::Storage)?;
        let image = this.read_snapshot().await?;
        let image = this.replay(image).await?;
        Ok((this, image))
    }

    async fn read_snapshot(&self) -> Result<Image, MetadataLogError> {
        let file = self.snapshot_file.clone();
        let bytes = match read_file(&*self.runtime.disk, &file).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Image::default());
            }
            Err(source) => return Err(MetadataLogError::Disk { operation: "read", file, source }),
        };
        decode_snapshot(&bytes).map_err(|source| MetadataLogError::Snapshot { file, source })
    }

    /// Applies what the log has behind `image`.
    async fn replay(&mut self, mut image: Image) -> Result<Image, MetadataLogError> {
        let (log_start, log_end) = (self.log.log_start(), self.log.log_end());
        let needed = image.next_offset();
        if log_start > needed {
            return Err(MetadataLogError::Gap { log_start, needed });
        }
        if log_end < needed {
            return Err(MetadataLogError::Short { log_end, needed });
        }
        let reader = self.log.reader();
        while image.next_offset() < log_end {
            let request = ReadRequest {
                from: image.next_offset(),
                max_bytes: READ_BYTES,
                up_to: log_end,
                at_least_one: true,
                verify_crc: true,
            };
            let mut bytes = reader.read(request).await?.bytes;
            self.bytes_since_snapshot += bytes.len() as u64;
            while let Some(batch) = Batch::split_first(&mut bytes)? {
                let records = self.records(&batch, image.next_offset())?;
                image = image.replay(image.next_offset(), &records)?;
            }
        }
        Ok(image)
    }

    /// The records of a batch from `from` on.
    fn records(&mut self, batch: &Batch, from: Offset) -> Result<Vec<Record>, MetadataLogError> {
        let mut records = Vec::new();
        for record in &batch.records(SEGMENT_BYTES as usize, &mut self.scratch)? {
            let record = record?;
            let offset = record.offset;
            if offset < from {
                continue;
            }
            let decoded = Record::decode(record.value.unwrap_or_default());
            records.push(decoded.map_err(|source| MetadataLogError::Record { offset, source })?);
        }
        Ok(records)
    }

    /// Makes the batches durable, all or none of them, and returns the image that holds them.
    pub(super) async fn append(
        &mut self,
        image: &Image,
        batches: Vec<Vec<Record>>,
    ) -> Result<Image, MetadataLogError> {
        // Before anything is written: what does not fit the image must not get into the log.
        let records: Vec<Record> = batches.iter().flatten().cloned().collect();
        let next = image.replay(image.next_offset(), &records)?;
        let now = self.runtime.clock.wall();
        let group: Result<Vec<AppendBatch>, MetadataLogError> =
            batches.iter().map(|records| encode(records, now)).collect();
        let group = group?;
        let bytes: usize = group.iter().map(|batch| batch.body.len()).sum();
        if bytes > GROUP_BYTES_MAX {
            return Err(MetadataLogError::TooLarge);
        }
        let before = self.log.log_end();
        assert_eq!(before, image.next_offset(), "the image is that of the whole log");
        let outcomes = self.log.append(group, EPOCH, now).await;
        let rejected = outcomes.into_iter().find_map(|outcome| match outcome {
            AppendOutcome::Rejected(error) => Some(error),
            AppendOutcome::Appended { .. } | AppendOutcome::Duplicate { .. } => None,
        });
        if let Some(error) = rejected {
            return Err(self.undo(before, error).await);
        }
        self.log.sync().await.map_err(MetadataLogError::Storage)?;
        self.bytes_since_snapshot += bytes as u64;
        Ok(next)
    }

    /// After a batch was refused: takes back those before it.
    async fn undo(&mut self, before: Offset, error: AppendError) -> MetadataLogError {
        if self.log.log_end() > before
            && let Err(error) = self.log.truncate_to(before).await
        {
            return MetadataLogError::Storage(error);
        }
        match error {
            AppendError::Storage(StorageError::DiskFull { .. }) => MetadataLogError::DiskFull,
            AppendError::Storage(error) => MetadataLogError::Storage(error),
            // The others are about producers, of which this log has none.
            _ => MetadataLogError::TooLarge,
        }
    }

    /// Writes a snapshot and drops the log before it, when enough came since the last one. What goes
    /// wrong is tried again after the next change: nothing depends on it but the time of the next start.
    pub(super) async fn snapshot_if_due(&mut self, image: &Image) {
        if self.bytes_since_snapshot < self.snapshot_after_bytes {
            return;
        }
        let content = Bytes::from(encode_snapshot(image));
        let written = write_file_durably(&*self.runtime.disk, &self.snapshot_file, content).await;
        if let Err(error) = written {
            tracing::warn!(%error, "write the metadata snapshot");
            return;
        }
        if let Err(error) = self.log.delete_records(image.next_offset()).await {
            tracing::warn!(%error, "drop the metadata log before its snapshot");
            return;
        }
        self.log.remove_deleted_files(self.runtime.clock.wall()).await;
        self.bytes_since_snapshot = 0;
    }

    pub(super) async fn close(self) -> Result<(), MetadataLogError> {
        self.log.close().await.map_err(MetadataLogError::Storage)
    }
}

/// The batch of one command's records.
fn encode(records: &[Record], now: model::Timestamp) -> Result<AppendBatch, MetadataLogError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        let value = record.encode();
        if value.len() + builder.size_bytes() > GROUP_BYTES_MAX {
            return Err(MetadataLogError::TooLarge);
        }
        builder.append(now, &RecordParts { key: None, value: Some(&value), headers: &[] });
    }
    let batch = builder.finish().map_err(|_| MetadataLogError::TooLarge)?;
    Ok(AppendBatch { header: batch.header, body: batch.body(), origin: AppendOrigin::Coordinator })
}
