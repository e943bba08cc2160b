//! Reads what a fetch wants, within its limits.
//!
//! Rules: `ReplicaManager.readFromLog`, `Partition.readRecords`, KIP-74 (the first batch is given
//! whole however large), KIP-320 (leader epochs), KIP-392.

use std::sync::Arc;

use bytes::Bytes;
use model::{LeaderEpoch, Offset};
use protocol::messages::fetch_response::{EpochEndOffset, PartitionData};
use protocol::records::{BatchHeader, Compression};
use protocol::{ErrorCode, Records};
use storage::{LogReader, ReadError, ReadRequest};

use super::memory::{FetchMemory, Grant};
use super::{TopicKey, Wanted};
use crate::partition::Partition;
use crate::registry::Registry;

/// The first version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 10;

/// The limits and manners of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For all partitions together.
    pub(crate) max_bytes: usize,
    /// Whether the client reads committed data only.
    pub(crate) is_read_committed: bool,
    /// The request's version.
    pub(crate) version: i16,
}

/// What all partitions gave.
#[derive(Debug)]
pub(crate) struct Answered {
    /// One for each partition wanted, in order.
    pub(crate) partitions: Vec<PartitionData>,
    /// Bytes of records in them.
    pub(crate) bytes: usize,
    /// An error or a divergence is not to wait for more data.
    pub(crate) is_urgent: bool,
    /// The memory that the records take, until the answer is written.
    pub(crate) memory: Grant,
}

/// Why a partition gives no records.
enum Refusal {
    Error(ErrorCode),
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
}

/// The partition that `wanted` names.
///
/// # Errors
/// UNKNOWN_TOPIC_ID or UNKNOWN_TOPIC_OR_PARTITION.
pub(crate) fn find<'a>(
    registry: &'a Registry,
    wanted: &Wanted,
) -> Result<&'a Partition, ErrorCode> {
    let topic = match &wanted.topic {
        TopicKey::Name(name) => registry.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicKey::Id(id) => registry.by_id(*id).ok_or(ErrorCode::UnknownTopicId)?,
    };
    topic.partition(wanted.partition).ok_or_else(|| topic.missing(wanted.partition))
}

/// Reads all of `wanted` in order, as far as the limits go.
pub(crate) async fn read(
    registry: &Registry,
    memory: &Arc<FetchMemory>,
    wanted: &[Wanted],
    limits: Limits,
) -> Answered {
    let partitions = Vec::with_capacity(wanted.len());
    let memory_used = Grant::default();
    let mut answered = Answered { partitions, bytes: 0, is_urgent: false, memory: memory_used };
    for wanted in wanted {
        let is_first = answered.bytes == 0;
        let partition_max = usize::try_from(wanted.max_bytes).unwrap_or(0);
        let most = partition_max.min(limits.max_bytes.saturating_sub(answered.bytes));
        let mut grant = memory.grant(most, is_first);
        let data = match find(registry, wanted) {
            Ok(partition) => {
                read_partition(partition, wanted, limits, grant.bytes(), is_first).await
            }
            Err(error) => empty(wanted, error),
        };
        let bytes = data.records.as_ref().map_or(0, Records::len);
        grant.settle(bytes);
        answered.memory.merge(grant);
        answered.bytes += bytes;
        let is_error = data.error_code != ErrorCode::None.code();
        answered.is_urgent |= is_error || data.diverging_epoch.epoch >= 0;
        answered.partitions.push(data);
    }
    answered
}

async fn read_partition(
    partition: &Partition,
    wanted: &Wanted,
    limits: Limits,
    max_bytes: usize,
    at_least_one: bool,
) -> PartitionData {
    let high_watermark = partition.high_watermark();
    let reader = partition.reader();
    let mut data = PartitionData {
        high_watermark: high_watermark.0,
        // Nobody can open a transaction yet, so everything below the high watermark is stable.
        last_stable_offset: high_watermark.0,
        log_start_offset: reader.log_start().0,
        aborted_transactions: limits.is_read_committed.then(Vec::new),
        ..empty(wanted, ErrorCode::None)
    };
    if let Err(refusal) = check(partition, wanted) {
        match refusal {
            Refusal::Error(error) => data.error_code = error.code(),
            Refusal::Diverging { epoch, end_offset } => {
                let (epoch, end_offset) = (epoch.0, end_offset.0);
                data.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
            }
        }
        return data;
    }
    let request = ReadRequest {
        from: Offset(wanted.fetch_offset),
        max_bytes,
        up_to: high_watermark,
        at_least_one,
        verify_crc: true,
    };
    let read = read_batches(reader, request).await;
    match &read {
        Ok(chunks) => {
            let bytes: usize = chunks.iter().map(Bytes::len).sum();
            partition.stats().fetched(bytes as u64);
        }
        Err(_) => partition.stats().fetch_refused(),
    }
    match read {
        Ok(chunks) if limits.version < ZSTD_FROM && has_zstd(&chunks) => {
            data.error_code = ErrorCode::UnsupportedCompressionType.code();
        }
        Ok(chunks) => data.records = Some(Records::from(chunks)),
        Err(error) => data.error_code = error_code(&error).code(),
    }
    data
}

/// Whether the request fits this partition's epochs and ends.
fn check(partition: &Partition, wanted: &Wanted) -> Result<(), Refusal> {
    check_leader_epoch(partition, wanted.current_leader_epoch).map_err(Refusal::Error)?;
    let reader = partition.reader();
    let from = Offset(wanted.fetch_offset);
    if from < reader.log_start() || from > reader.log_end() {
        return Err(Refusal::Error(ErrorCode::OffsetOutOfRange));
    }
    if wanted.last_fetched_epoch >= 0 {
        let last = LeaderEpoch(wanted.last_fetched_epoch);
        // An epoch below all that is known ends where the log begins.
        let (epoch, end_offset) = reader
            .end_offset_for(last)
            .map_or((LeaderEpoch::NONE, Offset(-1)), |end| (end.epoch, end.end_offset));
        if epoch < last || end_offset < from {
            return Err(Refusal::Diverging { epoch, end_offset });
        }
    }
    Ok(())
}

/// Whether a client that knows the leader by `epoch` (-1: does not know) may be served (KIP-320).
///
/// # Errors
/// FENCED_LEADER_EPOCH when it is behind, UNKNOWN_LEADER_EPOCH when it is ahead.
pub(crate) fn check_leader_epoch(partition: &Partition, epoch: i32) -> Result<(), ErrorCode> {
    let current = partition.leader_epoch().0;
    if epoch >= 0 && epoch < current {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if epoch > current {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    Ok(())
}

/// Reads on across segments until the limit.
async fn read_batches(
    reader: &LogReader,
    mut request: ReadRequest,
) -> Result<Vec<Bytes>, ReadError> {
    let mut chunks = Vec::new();
    while request.from < request.up_to && (request.at_least_one || request.max_bytes > 0) {
        let result = reader.read(request).await?;
        if result.bytes.is_empty() {
            break;
        }
        request.from = result.next_offset;
        request.max_bytes = request.max_bytes.saturating_sub(result.bytes.len());
        request.at_least_one = false;
        chunks.push(result.bytes);
    }
    Ok(chunks)
}

/// Whether any of the batches is compressed with zstd.
fn has_zstd(chunks: &[Bytes]) -> bool {
    chunks.iter().any(|chunk| {
        let mut rest = &chunk[..];
        while let Ok(header) = BatchHeader::parse(rest) {
            if matches!(header.attributes.compression(), Ok(Compression::Zstd)) {
                return true;
            }
            rest = rest.get(header.size_bytes()..).unwrap_or_default();
        }
        false
    })
}

fn empty(wanted: &Wanted, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: wanted.partition,
        error_code: error.code(),
        high_watermark: -1,
        records: Some(Records::EMPTY),
        ..Default::default()
    }
}

/// What a client is told about a read that gave nothing.
pub(crate) fn error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { file, position, .. } => {
            runtime::sometimes!("a fetch meets damage");
            tracing::error!(file = %file.display(), position, %error, "read partition");
            ErrorCode::KafkaStorageError
        }
        ReadError::Offline { .. } => {
            tracing::warn!(%error, "read partition");
            ErrorCode::KafkaStorageError
        }
        ReadError::Disk(_) => {
            tracing::error!(%error, "read partition");
            ErrorCode::KafkaStorageError
        }
    }
}
