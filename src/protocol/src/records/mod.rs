//! Record batches (message format v2): read, check, search, build, compress.
//!
//! In: bytes of a Produce request, of a segment, of a Fetch response. Out: headers, records that
//! borrow from the bytes, verdicts, new batches. Magic 0 and 1 are errors: Kafka 4 dropped them.
//!
//! Invariants:
//! - no byte of a batch can make anything here panic, and nothing is decompressed without a bound
//! - `base_offset` and `leader_epoch` lie outside the checksum, so a log patches them in place
//! - checks of a producer's batch allocate nothing per record
//!
//! Start at [`Batch`] (reading), [`validate_produce`] (a broker's checks), [`BatchBuilder`] (writing).

mod batch;
mod build;
mod compression;
mod control;
mod error;
mod header;
mod record;
mod search;
mod stream;
mod validate;
mod walk;

#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchRecords, RecordIter};
pub use build::{BatchBuilder, BatchOptions, RecordParts};
pub use compression::{CompressionLevel, Scratch, compress, decompress};
pub use control::{ControlRecord, ControlType, EndTransaction};
pub use error::BatchError;
pub use header::{
    Attributes, BatchHeader, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES, TimestampType,
};
pub use record::{Headers, Record, RecordHeader};
pub use search::{TimestampedOffset, first_since, latest_record};
pub use validate::{InvalidBatch, ProduceRules, RecordError, ValidatedBatch, validate_produce};
