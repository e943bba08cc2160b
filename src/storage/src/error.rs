//! What can go wrong, told apart as far as a caller acts differently.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Offset, ProducerEpoch, ProducerId, Sequence, Uuid};

use crate::name::LogName;

/// An operation of the disk that went wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} {path}: {source}", path = path.display())]
pub struct DiskError {
    /// What was tried: `write`, `sync`, `open`, …
    pub operation: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the disk said. Shared, because one error may answer many appends.
    pub source: Arc<io::Error>,
}

impl DiskError {
    /// For `map_err`: names the operation and the path.
    pub(crate) fn at(
        operation: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError {
            operation,
            path: path.as_ref().to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether only room is missing: the log is whole and usable once there is some.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the file or directory is not there.
    pub(crate) fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// What is wrong with the bytes where a batch should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// The file ends within the batch.
    #[error("needs {needed} bytes, the file has {remaining} more")]
    Truncated {
        /// Bytes of the batch, or of a header when not even that is there.
        needed: u64,
        /// Bytes up to the end of the file.
        remaining: u64,
    },
    /// A header of zeros: room that was set aside or lost, never a batch.
    #[error("zeros where a batch should be")]
    Zeros,
    /// A message format that klamm does not read.
    #[error("message format {0}, only 2 is supported")]
    Magic(i8),
    /// A length that no batch has.
    #[error("impossible length {0}")]
    Length(i32),
    /// Fields that contradict each other.
    #[error("impossible count of records or offsets")]
    Count,
    /// The batch does not follow its predecessor.
    #[error("base offset {found}, expected {expected} or more")]
    OffsetOrder {
        /// The first offset that may follow.
        expected: Offset,
        /// What the batch says.
        found: Offset,
    },
    /// The batch reaches past the offsets that its segment can name.
    #[error("offset {0} lies outside its segment")]
    OutsideSegment(Offset),
    /// The checksum does not match the bytes.
    #[error("checksum is {computed:#010x}, the batch says {stored:#010x}")]
    Crc {
        /// From the batch.
        stored: u32,
        /// From the bytes.
        computed: u32,
    },
    /// The records inside do not parse.
    #[error("records do not parse")]
    Records,
}

/// Why a log can not do what it was asked to, now or for good.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A write or a sync went wrong: the log takes no further change until it is recovered by a
    /// restart. What lies below its durable end can still be read.
    #[error("log {log} is offline: {reason}")]
    Offline {
        /// Which log.
        log: LogName,
        /// The first thing that went wrong.
        reason: Arc<str>,
    },
    /// No room on the disk. Nothing was changed; the log goes on when there is room.
    #[error("no room for log {log}")]
    DiskFull {
        /// Which log.
        log: LogName,
    },
    /// Bytes in the log are damaged.
    #[error("{file} is corrupt at position {position}: {reason}", file = file.display())]
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Where the bad batch starts.
        position: u64,
        /// What is wrong with it.
        reason: BadBatch,
    },
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The log is offline, or full.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The batch is larger than a segment may be: RECORD_LIST_TOO_LARGE.
    #[error("batch of {size_bytes} bytes, a segment holds {segment_bytes}")]
    BatchTooLarge {
        /// The batch.
        size_bytes: usize,
        /// `segment.bytes`.
        segment_bytes: u32,
    },
    /// A newer incarnation of the producer wrote already: INVALID_PRODUCER_EPOCH.
    #[error("producer {producer} has epoch {current}, the batch has {got}")]
    InvalidProducerEpoch {
        /// Which producer.
        producer: ProducerId,
        /// The epoch of the last batch.
        current: ProducerEpoch,
        /// The epoch of this one.
        got: ProducerEpoch,
    },
    /// A gap in the producer's stream: OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("producer {producer} sent sequence {got} after {last}")]
    OutOfOrderSequence {
        /// Which producer.
        producer: ProducerId,
        /// The last sequence of the last batch; -1 when a new epoch has to start at 0.
        last: Sequence,
        /// The first sequence of this batch.
        got: Sequence,
    },
    /// A batch outside a transaction while one is open: INVALID_TXN_STATE.
    #[error("producer {producer} has an open transaction, the batch is not part of it")]
    InvalidTxnState {
        /// Which producer.
        producer: ProducerId,
    },
    /// The marker of a coordinator that was replaced: TRANSACTION_COORDINATOR_FENCED.
    #[error("producer {producer}: coordinator epoch {current}, the marker has {got}")]
    CoordinatorFenced {
        /// Which producer.
        producer: ProducerId,
        /// The epoch of the last marker.
        current: i32,
        /// The epoch of this one.
        got: i32,
    },
    /// A control batch whose marker does not parse: INVALID_RECORD.
    #[error("control batch without a readable marker")]
    InvalidMarker,
}

/// Why a read has nothing to give.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log: OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is not within {log_start} and {log_end}")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The first offset that is there.
        log_start: Offset,
        /// The offset behind the last one.
        log_end: Offset,
    },
    /// The bytes are not what was written; nothing of them is served.
    #[error("{file} is corrupt at position {position}: {reason}", file = file.display())]
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Where the bad batch starts.
        position: u64,
        /// What is wrong with it.
        reason: BadBatch,
    },
    /// The bytes are not what was written, in a log that an error took offline: a sync that fails may
    /// take what it should have covered out of memory. A start brings back what was acknowledged.
    #[error("{file} can not be read until a restart, its log is offline: {reason}", file = file.display())]
    Offline {
        /// The segment's file.
        file: PathBuf,
        /// What took the log offline.
        reason: Arc<str>,
    },
    /// The disk did not give the bytes.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a log did not open.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// A log to be created is there already.
    #[error("log {0} exists already")]
    AlreadyExists(LogName),
    /// A log to be opened is not there.
    #[error("log {0} does not exist")]
    NotFound(LogName),
    /// The log is open in this process.
    #[error("log {0} is open already")]
    InUse(LogName),
    /// Damage below the recovery point: records that were acknowledged are not readable, so
    /// nothing is cut off without being told to.
    #[error(
        "{file} is corrupt at position {position} (offset {offset}), below the recovery point \
         {recovery_point}: {reason}",
        file = file.display()
    )]
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Where the bad batch starts.
        position: u64,
        /// The first offset that is not readable.
        offset: Offset,
        /// Up to where everything was synced once.
        recovery_point: Offset,
        /// What is wrong.
        reason: BadBatch,
    },
    /// The files end before the recovery point: records that were acknowledged are gone.
    #[error("log {log} ends at {log_end}, below its recovery point {recovery_point}")]
    Lost {
        /// Which log.
        log: LogName,
        /// The offset behind the last record.
        log_end: Offset,
        /// Up to where everything was synced once.
        recovery_point: Offset,
    },
    /// The files end before what the journal put into them: records that were acknowledged are not
    /// readable.
    #[error("log {log} ends at {log_end}, before the end of what the journal held of it")]
    Shorter {
        /// Which log.
        log: LogName,
        /// The offset behind the last record.
        log_end: Offset,
    },
    /// The directory holds another topic of the same name.
    #[error("log {log} belongs to topic {found}, not to {wanted}")]
    OtherTopic {
        /// Which log.
        log: LogName,
        /// The topic in `partition.metadata`.
        found: Uuid,
        /// The topic asked for.
        wanted: Uuid,
    },
    /// A small file that does not parse.
    #[error("{file}: {reason}", file = file.display())]
    BadFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why a data directory can not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogDirError {
    /// Another process (or another part of this one) uses it.
    #[error("{path} is in use by another process", path = path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another node.
    #[error("{path} belongs to node {found}, not to {wanted}", path = path.display())]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// `node.id` in its `meta.properties`.
        found: i32,
        /// The node that opens it.
        wanted: i32,
    },
    /// It belongs to another cluster.
    #[error("{path} belongs to cluster {found}, not to {wanted}", path = path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// `cluster.id` in its `meta.properties`.
        found: String,
        /// The cluster that opens it.
        wanted: String,
    },
    /// A small file that does not parse.
    #[error("{file}: {reason}", file = file.display())]
    BadFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal is damaged: records of its last seconds that were acknowledged may be nowhere
    /// else, so nothing is left out without being told to.
    #[error(
        "{file}: {reason}; to go on with what the logs themselves hold, move the files \
         .klamm-journal-* of this directory away",
        file = file.display()
    )]
    BadJournal {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A log that is still open was to be deleted.
    #[error("log {0} is open")]
    LogOpen(LogName),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
