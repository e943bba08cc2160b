//! Metadata: the brokers, and the topics with their partitions' leaders.
//!
//! Rules: `KafkaApis.handleTopicMetadataRequest`. A topic that does not exist is created where the
//! client and `auto.create.topics.enable` allow it, and answered as it is then: Kafka answers an error
//! first and leaves it to the client to come again.

use std::collections::BTreeMap;

use metadata::controller::{ControllerError, NewTopic, check_topic_name, is_internal_topic};
use metadata::{Image, Partition, Topic};
use model::{BrokerId, Uuid};
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::{NO_OPERATIONS, cluster_operations, topic_operations};
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that may name topics by id.
const TOPIC_IDS_FROM: i16 = 12;

/// Names that could not be created, and why.
type Refused = BTreeMap<StrBytes, ErrorCode>;

/// Describes the topics asked for, or all.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: MetadataRequest,
) -> MetadataResponse {
    let version = context.api_version;
    // In version 0 an empty list means all topics, later it means none.
    let asked = request.topics.as_deref().filter(|topics| version > 0 || !topics.is_empty());
    let refused = match asked {
        Some(topics) if request.allow_auto_topic_creation => create_missing(shared, topics).await,
        _ => Refused::new(),
    };
    let image = shared.applied_image();
    let with_operations = request.include_topic_authorized_operations;
    let topics = match asked {
        None => image.topics().map(|topic| describe(&image, topic, with_operations)).collect(),
        Some(topics) => topics
            .iter()
            .map(|asked| match find(&image, asked, version, &refused) {
                Ok(topic) => describe(&image, topic, with_operations),
                Err(error) => unknown(asked, error),
            })
            .collect(),
    };
    MetadataResponse {
        brokers: brokers(&image, &context.connection.listener),
        cluster_id: image.cluster_id().map(StrBytes::from),
        controller_id: shared.config.node_id.0,
        topics,
        cluster_authorized_operations: cluster_operations(
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    }
}

/// The brokers that clients of `listener` can reach.
fn brokers(image: &Image, listener: &str) -> Vec<MetadataResponseBroker> {
    let describe = |broker: &metadata::Broker| {
        let endpoint = broker.endpoint(listener)?;
        Some(MetadataResponseBroker {
            node_id: broker.id.0,
            host: StrBytes::from(&*endpoint.host),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().map(StrBytes::from),
            ..Default::default()
        })
    };
    image.live_brokers().filter_map(|broker| describe(broker)).collect()
}

/// Creates the topics asked for by name that do not exist.
async fn create_missing(shared: &Shared, asked: &[MetadataRequestTopic]) -> Refused {
    if !shared.config.auto_create_topics_enable {
        return Refused::new();
    }
    let image = shared.applied_image();
    let is_missing = |name: &&StrBytes| {
        image.topic(name).is_none() && check_topic_name(name).is_ok() && !is_internal_topic(name)
    };
    let mut missing: Vec<&StrBytes> =
        asked.iter().filter_map(|topic| topic.name.as_ref()).filter(is_missing).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Refused::new();
    }
    let new = |name: &&StrBytes| NewTopic {
        name: name.to_string(),
        partition_count: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let created = shared.controller.create_topics(missing.iter().map(new).collect(), false).await;
    let created = match created {
        Ok(created) => created,
        Err(error) => {
            tracing::warn!(%error, "create topics on demand");
            return missing.into_iter().map(|name| (name.clone(), error.code())).collect();
        }
    };
    shared.wait_applied(created.offset).await;
    let outcomes = missing.into_iter().zip(created.outcome);
    outcomes
        .filter_map(|(name, outcome)| match outcome {
            // Another client was first.
            Ok(_) | Err(ControllerError::TopicExists { .. }) => None,
            Err(error) => {
                tracing::info!(topic = %name, %error, "create topic on demand");
                Some((name.clone(), error.code()))
            }
        })
        .collect()
}

fn find<'a>(
    image: &'a Image,
    asked: &MetadataRequestTopic,
    version: i16,
    refused: &Refused,
) -> Result<&'a Topic, ErrorCode> {
    if !asked.topic_id.is_zero() && version < TOPIC_IDS_FROM {
        return Err(ErrorCode::InvalidRequest);
    }
    let Some(name) = &asked.name else {
        let topic = image.topic_by_id(asked.topic_id);
        return topic.map(AsRef::as_ref).ok_or(ErrorCode::UnknownTopicId);
    };
    if let Some(topic) = image.topic(name) {
        return Ok(topic);
    }
    if check_topic_name(name).is_err() {
        return Err(ErrorCode::InvalidTopicException);
    }
    Err(refused.get(name).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition))
}

fn unknown(asked: &MetadataRequestTopic, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name: asked.name.clone(),
        topic_id: if asked.name.is_some() { Uuid::ZERO } else { asked.topic_id },
        is_internal: asked.name.as_deref().is_some_and(is_internal_topic),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

fn describe(image: &Image, topic: &Topic, with_operations: bool) -> MetadataResponseTopic {
    let partitions = topic
        .indexed_partitions()
        .map(|(index, partition)| describe_partition(image, index.0, partition))
        .collect();
    MetadataResponseTopic {
        name: Some(StrBytes::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: is_internal_topic(&topic.name),
        partitions,
        topic_authorized_operations: topic_operations(with_operations),
        ..Default::default()
    }
}

fn describe_partition(
    image: &Image,
    partition_index: i32,
    partition: &Partition,
) -> MetadataResponsePartition {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect::<Vec<i32>>();
    let is_offline = |id: &BrokerId| !image.is_live(*id);
    let has_leader = partition.leader != BrokerId::NONE && image.is_live(partition.leader);
    let error = if has_leader { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index,
        leader_id: if has_leader { partition.leader.0 } else { BrokerId::NONE.0 },
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(&partition.replicas),
        isr_nodes: ids(&partition.isr),
        offline_replicas: partition
            .replicas
            .iter()
            .filter(|id| is_offline(id))
            .map(|id| id.0)
            .collect(),
        ..Default::default()
    }
}
