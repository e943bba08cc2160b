//! Kafka's log on disk: segments, indexes, producer state, recovery, retention, compaction.
//!
//! A [`LogDir`] is one data directory; it creates, recovers and deletes [`Log`]s. One task owns a
//! log and appends, syncs and trims; any number of tasks read it through [`LogReader`]s meanwhile.
//! Files, names and formats are Kafka's, so that its tools read them.
//!
//! Invariants:
//! - `log_start <= durable_end <= log_end`; what lies below `durable_end` survives power loss
//! - after a write or a sync that went wrong a log takes no further append
//! - bytes on disk are never trusted: what is served, replayed or skipped was checked
//!
//! Start at [`LogDir::open`], [`Log::append`], [`Log::begin_sync`] and [`LogReader::read`].

mod batch;
mod checkpoint;
mod compaction;
mod config;
mod error;
mod file_name;
mod index;
mod journal;
mod leader_epoch;
mod log;
mod log_dir;
mod name;
mod open_files;
mod producer_state;
mod reader;
mod scan;
mod segment;
mod shared;
mod time_lookup;

pub use compaction::{Compaction, CompactionDone, CompactionError, CompactionStats};
pub use config::{CleanupPolicy, Durability, LogConfig};
pub use error::{
    AppendError, BadBatch, DiskError, LogDirError, OpenError, ReadError, StorageError,
};
pub use leader_epoch::EpochEnd;
pub use log::{AppendBatch, AppendOrigin, AppendOutcome, Log, PendingSync, Retained, SyncDone};
pub use log_dir::{FoundLog, LogDir, LogDirOptions};
pub use name::{LogName, ParseLogNameError};
pub use producer_state::{ProducerDescription, RecognisedBatch};
pub use reader::{LogReader, ReadRequest, ReadResult};
pub use time_lookup::TimestampOffset;
