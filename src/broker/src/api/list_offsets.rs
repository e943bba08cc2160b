//! ListOffsets: where a partition begins and ends, and where a time lies in it.
//!
//! Rules: `Partition.fetchOffsetForTimestamp`, `UnifiedLog.fetchOffsetByTimestamp`; record-level,
//! also inside compressed batches. Nothing at or past the high watermark is ever named.

use model::{Offset, Timestamp};
use protocol::ErrorCode;
use protocol::messages::list_offsets_request::ListOffsetsPartition;
use protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use storage::TimestampOffset;

use crate::fetch::read::{check_leader_epoch, error_code};
use crate::partition::Partition;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Times with a meaning of their own (`ListOffsetsRequest`).
mod special {
    pub(super) const LATEST: i64 = -1;
    pub(super) const EARLIEST: i64 = -2;
    pub(super) const MAX_TIMESTAMP: i64 = -3;
    pub(super) const EARLIEST_LOCAL: i64 = -4;
    pub(super) const LATEST_TIERED: i64 = -5;
    pub(super) const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

/// The first version that tells the leader epoch of the offset.
const LEADER_EPOCH_FROM: i16 = 4;

/// Looks up each partition's time.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let registry = shared.registry.borrow();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked_topic in request.topics {
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for asked in &asked_topic.partitions {
            let found = match registry.partition(&asked_topic.name, asked.partition_index) {
                Ok(partition) => look_up(partition, asked, context.api_version).await,
                Err(error) => Err(error),
            };
            let mut partition = answer(asked.partition_index, found);
            if context.api_version < LEADER_EPOCH_FROM {
                partition.leader_epoch = -1;
            }
            partitions.push(partition);
        }
        let name = asked_topic.name;
        topics.push(ListOffsetsTopicResponse { name, partitions, ..Default::default() });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

/// Where the time lies; `None` where nothing answers it.
async fn look_up(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<Option<TimestampOffset>, ErrorCode> {
    check_leader_epoch(partition, asked.current_leader_epoch)?;
    let reader = partition.reader();
    let end = partition.high_watermark();
    let at = |offset: Offset| {
        let leader_epoch = reader.leader_epoch_of(offset).unwrap_or(partition.leader_epoch());
        Ok(Some(TimestampOffset { offset, timestamp: Timestamp::NONE, leader_epoch }))
    };
    // What a version does not know is refused, as Kafka refuses it.
    let needs =
        |from: i16| if version >= from { Ok(()) } else { Err(ErrorCode::UnsupportedVersion) };
    match asked.timestamp {
        special::LATEST => at(end),
        special::EARLIEST => at(reader.log_start()),
        special::MAX_TIMESTAMP => {
            needs(7)?;
            reader.max_timestamp(end).await.map_err(|error| error_code(&error))
        }
        special::EARLIEST_LOCAL => {
            needs(8)?;
            at(reader.log_start())
        }
        // There is no tiered storage: nothing was moved there, nothing waits to be.
        special::LATEST_TIERED => needs(9).map(|()| None),
        special::EARLIEST_PENDING_UPLOAD => needs(11).map(|()| None),
        time if time < 0 => Err(ErrorCode::UnsupportedVersion),
        time => {
            let found = reader.offset_for_timestamp(Timestamp(time), end).await;
            found.map_err(|error| error_code(&error))
        }
    }
}

fn answer(
    partition_index: i32,
    found: Result<Option<TimestampOffset>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let nothing = ListOffsetsPartitionResponse {
        partition_index,
        timestamp: -1,
        offset: -1,
        leader_epoch: -1,
        ..Default::default()
    };
    match found {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp.0,
            offset: found.offset.0,
            leader_epoch: found.leader_epoch.0,
            ..nothing
        },
        Ok(None) => nothing,
        Err(error) => ListOffsetsPartitionResponse { error_code: error.code(), ..nothing },
    }
}
