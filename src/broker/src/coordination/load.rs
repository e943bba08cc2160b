//! A shard out of its partition's log.

use bytes::Bytes;
use coordinator::{Record, RecordError, Shard};
use model::Offset;
use protocol::records::{Batch, BatchError, Scratch};
use storage::{LogReader, ReadError, ReadRequest};

/// The most that one batch may take once decompressed.
const BATCH_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why a shard can not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The log can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch can not be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A record is not what its kind says.
    #[error("record {offset}")]
    Record {
        /// Its offset.
        offset: Offset,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// Replays the log up to `end`, reading `read_bytes` at once; gives the number of records.
pub(super) async fn load(
    reader: &LogReader,
    end: Offset,
    read_bytes: usize,
    shard: &mut Shard,
) -> Result<u64, LoadError> {
    let mut scratch = Scratch::new();
    let mut records = 0;
    let mut from = reader.log_start();
    while from < end {
        let request = ReadRequest {
            from,
            max_bytes: read_bytes,
            up_to: end,
            at_least_one: true,
            verify_crc: true,
        };
        let mut read = match reader.read(request).await {
            // Compaction and retention may move the start while we read.
            Err(ReadError::OutOfRange { log_start, .. }) if log_start > from => {
                from = log_start;
                continue;
            }
            read => read?,
        };
        while let Some(batch) = Batch::split_first(&mut read.bytes)? {
            records += replay(&batch, shard, &mut scratch)?;
        }
        if read.next_offset <= from {
            // Nothing is left below the end: compaction took the last records away.
            break;
        }
        from = read.next_offset;
    }
    Ok(records)
}

fn replay(batch: &Batch, shard: &mut Shard, scratch: &mut Scratch) -> Result<u64, LoadError> {
    if batch.header.attributes.is_control() {
        return Ok(0);
    }
    let mut replayed = 0;
    for record in batch.records(BATCH_BYTES_MAX, scratch)?.iter() {
        let record = record?;
        // Copied: a group that lives on would keep the whole batch in memory.
        let copied = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        let decoded = Record::decode(copied(record.key), copied(record.value))
            .map_err(|source| LoadError::Record { offset: record.offset, source })?;
        if let Some(decoded) = decoded {
            shard.replay(decoded);
            replayed += 1;
        }
    }
    Ok(replayed)
}
