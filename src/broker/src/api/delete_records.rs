//! DeleteRecords: moves the beginning of a partition (KIP-107).

use std::time::Duration;

use model::Offset;
use protocol::ErrorCode;
use protocol::messages::delete_records_request::DeleteRecordsPartition;
use protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::api::storage_error_code;
use crate::registry::Topic;
use crate::request::RequestContext;
use crate::shared::Shared;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Deletes in each partition; the answer is its new first offset, durable.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let registry = shared.registry.borrow();
    let clock = &*shared.runtime.clock;
    let deadline = context.received + Duration::from_millis(request.timeout_ms.max(0) as u64);
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = registry.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for asked in &asked.partitions {
            let left = deadline.since(clock.now());
            let deleted = match topic {
                Some(topic) => runtime::timeout(clock, left, delete(topic, asked))
                    .await
                    .unwrap_or(Err(ErrorCode::RequestTimedOut)),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            let (low_watermark, error) = match deleted {
                Ok(log_start) => (log_start.0, ErrorCode::None),
                Err(error) => (-1, error),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: asked.partition_index,
                low_watermark,
                error_code: error.code(),
                ..Default::default()
            });
        }
        let name = asked.name;
        topics.push(DeleteRecordsTopicResult { name, partitions, ..Default::default() });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn delete(topic: &Topic, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let index = asked.partition_index;
    let partition = topic.partition(index).ok_or_else(|| topic.missing(index))?;
    if topic.is_internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.is_deletable {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark();
    let before = match asked.offset {
        HIGH_WATERMARK => high_watermark,
        offset => Offset(offset),
    };
    if before > high_watermark || before < Offset::ZERO {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let deleted = partition.delete_records(before).await;
    let deleted = deleted.ok_or(ErrorCode::NotLeaderOrFollower)?;
    deleted.map_err(|error| storage_error_code(&error))
}
