//! DescribeTopicPartitions: topics in pages (KIP-966).

use metadata::controller::{check_topic_name, is_internal_topic};
use metadata::{Image, Topic};
use model::{BrokerId, PartitionIndex};
use protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::{NO_OPERATIONS, topic_operations};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Describes topics by name from the cursor on, up to the limit of partitions.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = shared.applied_image();
    let (from, first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index.max(0)),
        None => (StrBytes::default(), 0),
    };
    // Sorted, so that a cursor means the same in the next request.
    let mut names: Vec<StrBytes> = if request.topics.is_empty() {
        image.topics_from(&from).map(|topic| StrBytes::from(&*topic.name)).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).filter(|name| *name >= from).collect()
    };
    names.sort_unstable();
    names.dedup();
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    let mut left = limit.min(shared.config.max_request_partition_size_limit);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let start = if name == from { first } else { 0 };
        let Some(topic) = image.topic(&name) else {
            response.topics.push(unknown(name));
            continue;
        };
        if left == 0 {
            response.next_cursor =
                Some(Cursor { topic_name: name, partition_index: start, ..Default::default() });
            break;
        }
        let (described, next) = describe(&image, topic, start, left);
        left -= described.partitions.len();
        response.topics.push(described);
        if let Some(partition_index) = next {
            let topic_name = name;
            response.next_cursor =
                Some(Cursor { topic_name, partition_index, ..Default::default() });
            break;
        }
    }
    response
}

fn unknown(name: StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let error = match check_topic_name(&name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        is_internal: is_internal_topic(&name),
        name: Some(name),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

/// Up to `limit` partitions from `start` on, and where the next page begins.
fn describe(
    image: &Image,
    topic: &Topic,
    start: i32,
    limit: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let mut rest = topic.indexed_partitions().skip_while(|(index, _)| index.0 < start);
    let partitions = rest
        .by_ref()
        .take(limit)
        .map(|(index, partition)| describe_partition(image, index, partition))
        .collect();
    let described = DescribeTopicPartitionsResponseTopic {
        name: Some(StrBytes::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: is_internal_topic(&topic.name),
        partitions,
        topic_authorized_operations: topic_operations(true),
        ..Default::default()
    };
    (described, rest.next().map(|(index, _)| index.0))
}

fn describe_partition(
    image: &Image,
    index: PartitionIndex,
    partition: &metadata::Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<i32>>();
    let offline = partition.replicas.iter().filter(|id| !image.is_live(**id));
    let has_leader = image.is_live(partition.leader);
    let error = if has_leader { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index.0,
        leader_id: if has_leader { partition.leader.0 } else { BrokerId::NONE.0 },
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(&partition.replicas),
        isr_nodes: ids(&partition.isr),
        eligible_leader_replicas: Some(ids(&partition.elr)),
        last_known_elr: Some(Vec::new()),
        offline_replicas: offline.map(|id| id.0).collect(),
        ..Default::default()
    }
}
