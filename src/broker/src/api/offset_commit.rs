//! OffsetCommit: how far a group has read.
//!
//! Rules: `KafkaApis.handleOffsetCommitRequest`. Topics come by name, from version 10 on by id. Topics
//! that do not exist are answered here; the group's shard decides on the others.

use metadata::Image;
use protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that names topics by id.
const TOPIC_IDS_FROM: i16 = 10;

/// Commits what can be committed; answers when that is durable.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    mut request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let image = shared.applied_image();
    let by_id = context.api_version >= TOPIC_IDS_FROM;
    let asked = std::mem::take(&mut request.topics);
    // What is answered for a topic in the order of the request; nothing where the shard does.
    let mut topics: Vec<Option<OffsetCommitResponseTopic>> = Vec::with_capacity(asked.len());
    for mut topic in asked {
        match resolve(&image, &mut topic, by_id) {
            Ok(()) => {
                topics.push(None);
                request.topics.push(topic);
            }
            Err(error) => topics.push(Some(refused(&topic, error))),
        }
    }
    let decided = decide(shared, context, request).await;
    let mut decided = decided.into_iter();
    let topics = topics.into_iter().map(|topic| {
        topic.unwrap_or_else(|| decided.next().expect("the shard answers every topic"))
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// Fills in the name or the id, whichever is missing.
fn resolve(
    image: &Image,
    topic: &mut OffsetCommitRequestTopic,
    by_id: bool,
) -> Result<(), ErrorCode> {
    if by_id {
        let known = image.topic_by_id(topic.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        topic.name = StrBytes::from(&*known.name);
    } else {
        let known = image.topic(&topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic.topic_id = known.id;
    }
    Ok(())
}

fn refused(topic: &OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.code(),
        ..Default::default()
    });
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
        ..Default::default()
    }
}

/// What the shard says of the request's topics, in their order.
async fn decide(
    shared: &Shared,
    context: &RequestContext,
    request: OffsetCommitRequest,
) -> Vec<OffsetCommitResponseTopic> {
    if request.topics.is_empty() {
        return Vec::new();
    }
    let topics = request.topics.clone();
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, OffsetCommit(request)) {
        Ok(response) => response.topics,
        Err(error) => topics.iter().map(|topic| refused(topic, error)).collect(),
    }
}
