//! OffsetFetch: how far groups have read (KIP-709 for many groups at once).
//!
//! Rules: `KafkaApis.handleOffsetFetchRequest`. Up to version 7 a request asks for one group; from
//! version 10 on topics have ids. In version 1 there is no place for a group's error but its partitions.

use coordinator::{Request, Response};
use metadata::Image;
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use protocol::{ErrorCode, StrBytes};

use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version with an error for the group as a whole.
const GROUP_ERROR_FROM: i16 = 2;
/// The first version that asks for many groups.
const GROUPS_FROM: i16 = 8;
/// The first version that names topics by id.
const TOPIC_IDS_FROM: i16 = 10;

/// Looks up each group's offsets.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    if context.api_version < GROUPS_FROM {
        let group = only_group(request);
        let asked = group.topics.clone();
        let found = fetch(shared, context, group, require_stable).await;
        return single(context.api_version, found, asked.unwrap_or_default());
    }
    let groups = request.groups.into_iter();
    let groups = groups.map(async |group| fetch(shared, context, group, require_stable).await);
    OffsetFetchResponse { groups: runtime::join_all(groups).await, ..Default::default() }
}

/// The group of a request that has only one.
fn only_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            })
            .collect()
    });
    OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() }
}

/// The answer where a response has room for one group only.
fn single(
    version: i16,
    found: OffsetFetchResponseGroup,
    asked: Vec<OffsetFetchRequestTopics>,
) -> OffsetFetchResponse {
    let error_code = found.error_code;
    let topics = if error_code != 0 && version < GROUP_ERROR_FROM {
        asked.into_iter().map(|topic| nothing(topic, error_code)).collect()
    } else {
        found.topics
    };
    let topics = topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(narrow).collect(),
        ..Default::default()
    });
    OffsetFetchResponse { error_code, topics: topics.collect(), ..Default::default() }
}

fn narrow(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    }
}

async fn fetch(
    shared: &Shared,
    context: &RequestContext,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let image = shared.applied_image();
    let group_id = group.group_id.clone();
    let by_id = context.api_version >= TOPIC_IDS_FROM;
    let mut unknown = Vec::new();
    if by_id && let Some(topics) = group.topics.take() {
        group.topics = Some(resolve(&image, topics, &mut unknown));
    }
    let request = Request::OffsetFetch { group, require_stable };
    match shared.groups.call(&image, context, &group_id, request).await {
        Ok(Response::OffsetFetch(mut found)) => {
            if by_id {
                found.topics.retain_mut(|topic| identify(&image, topic));
            }
            if found.error_code == 0 {
                found.topics.extend(unknown);
            }
            found
        }
        Ok(other) => unreachable!("a shard answers what it was asked, not {other:?}"),
        Err(error) => {
            // On COORDINATOR_NOT_AVAILABLE consumers before 3.9 give up, here and nowhere else
            // (`GroupCoordinatorService.handleOffsetFetchException`).
            let error_code = match error {
                ErrorCode::CoordinatorNotAvailable => ErrorCode::NotCoordinator,
                error => error,
            };
            let error_code = error_code.code();
            OffsetFetchResponseGroup { group_id, error_code, ..Default::default() }
        }
    }
}

/// Fills in the names; topics whose ids nobody has go to `unknown`, answered.
fn resolve(
    image: &Image,
    topics: Vec<OffsetFetchRequestTopics>,
    unknown: &mut Vec<OffsetFetchResponseTopics>,
) -> Vec<OffsetFetchRequestTopics> {
    let mut known = Vec::with_capacity(topics.len());
    for mut topic in topics {
        match image.topic_by_id(topic.topic_id) {
            Some(found) => {
                topic.name = StrBytes::from(&*found.name);
                known.push(topic);
            }
            None => unknown.push(nothing(topic, ErrorCode::UnknownTopicId.code())),
        }
    }
    known
}

/// Fills in the id; a topic that is gone has none, and can not be told.
fn identify(image: &Image, topic: &mut OffsetFetchResponseTopics) -> bool {
    let known = image.topic(&topic.name);
    if let Some(known) = known {
        topic.topic_id = known.id;
    }
    known.is_some()
}

/// No offset for any partition, because of an error.
fn nothing(topic: OffsetFetchRequestTopics, error_code: i16) -> OffsetFetchResponseTopics {
    let partitions =
        topic.partition_indexes.into_iter().map(|partition_index| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(StrBytes::new()),
            error_code,
            ..Default::default()
        });
    OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}
