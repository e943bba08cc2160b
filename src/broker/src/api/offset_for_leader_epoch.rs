//! OffsetForLeaderEpoch: where an epoch ends, so that a client notices a truncated log (KIP-320).

use model::LeaderEpoch;
use protocol::ErrorCode;
use protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::fetch::read::check_leader_epoch;
use crate::partition::Partition;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Looks up each partition's epoch.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let registry = shared.registry.borrow();
    let topics = request.topics.into_iter().map(|asked| {
        let name = &asked.topic;
        let look_up = |asked: &OffsetForLeaderPartition| {
            let partition = registry.partition(name, asked.partition);
            partition.and_then(|partition| end_of(partition, asked))
        };
        let answer = |asked: &OffsetForLeaderPartition| match look_up(asked) {
            Ok(end) => end,
            Err(error) => EpochEndOffset { error_code: error.code(), ..nothing(asked) },
        };
        let partitions = asked.partitions.iter().map(answer).collect();
        OffsetForLeaderTopicResult { partitions, topic: asked.topic, ..Default::default() }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end_of(
    partition: &Partition,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    check_leader_epoch(partition, asked.current_leader_epoch)?;
    let end = partition.reader().end_offset_for(LeaderEpoch(asked.leader_epoch));
    Ok(end.map_or_else(
        || nothing(asked),
        |end| EpochEndOffset {
            leader_epoch: end.epoch.0,
            end_offset: end.end_offset.0,
            ..nothing(asked)
        },
    ))
}

/// The answer where nothing is known of the epoch.
fn nothing(asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    EpochEndOffset {
        partition: asked.partition,
        leader_epoch: -1,
        end_offset: -1,
        ..Default::default()
    }
}
