//! OffsetDelete: offsets of topics that nobody in the group reads are forgotten (KIP-496).
//!
//! Those of a deleted topic go with it, or with the group; here it is unknown, as in Kafka
//! (`KafkaApis.handleOffsetDeleteRequest`).

use std::collections::BTreeMap;
use std::mem;

use metadata::Image;
use model::PartitionIndex;
use protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers when that is durable.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    mut request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    let unknown = take_unknown(&shared.applied_image(), &mut request.topics);
    // Also with no topic left: the group may be in error.
    match response_of!(shared, context, &group, OffsetDelete(request)) {
        Ok(response) if response.error_code != ErrorCode::None.code() => response,
        Ok(mut response) => {
            response.topics.extend(unknown);
            response.topics = by_topic(response.topics);
            response
        }
        Err(error) => OffsetDeleteResponse { error_code: error.code(), ..Default::default() },
    }
}

/// Takes partitions away that are not there, and says so for each.
fn take_unknown(
    image: &Image,
    topics: &mut Vec<OffsetDeleteRequestTopic>,
) -> Vec<OffsetDeleteResponseTopic> {
    let mut unknown = Vec::new();
    for topic in &mut *topics {
        let found = image.topic(&topic.name);
        let is_known = |index| found.is_some_and(|topic| topic.partition(index).is_some());
        let asked = mem::take(&mut topic.partitions).into_iter();
        let (known, missing): (Vec<_>, Vec<_>) =
            asked.partition(|asked| is_known(PartitionIndex(asked.partition_index)));
        topic.partitions = known;
        if !missing.is_empty() {
            let partitions = missing.iter().map(|asked| OffsetDeleteResponsePartition {
                partition_index: asked.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
            });
            let partitions = partitions.collect();
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}

/// Each topic once.
fn by_topic(topics: Vec<OffsetDeleteResponseTopic>) -> Vec<OffsetDeleteResponseTopic> {
    let mut merged: BTreeMap<StrBytes, Vec<OffsetDeleteResponsePartition>> = BTreeMap::new();
    for topic in topics {
        merged.entry(topic.name).or_default().extend(topic.partitions);
    }
    let topics = merged.into_iter();
    topics.map(|(name, partitions)| OffsetDeleteResponseTopic { name, partitions }).collect()
}
