//! CreateTopics.

use metadata::controller::{Assignment, ControllerError, CreatedTopic, NewTopic};
use model::{BrokerId, PartitionIndex};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::describe_configs::entry_facts;
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version whose "-1" means the broker's default (KIP-464).
const DEFAULTS_FROM: i16 = 4;

/// Creates topics, and answers when clients can use them.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let asked = request.topics;
    let new: Vec<NewTopic> = asked.iter().map(|t| new_topic(t, context.api_version)).collect();
    let created = shared.controller.create_topics(new, request.validate_only).await;
    let topics = match created {
        Ok(created) => {
            shared.wait_applied(created.offset).await;
            asked
                .into_iter()
                .zip(created.outcome)
                .map(|(asked, outcome)| answer(shared, asked.name, outcome))
                .collect()
        }
        Err(error) => asked
            .into_iter()
            .map(|asked| failed(asked.name, error.code(), error.to_string()))
            .collect(),
    };
    CreateTopicsResponse { topics, ..Default::default() }
}

fn new_topic(topic: &CreatableTopic, version: i16) -> NewTopic {
    let assignment =
        |a: &protocol::messages::create_topics_request::CreatableReplicaAssignment| Assignment {
            index: PartitionIndex(a.partition_index),
            brokers: a.broker_ids.iter().copied().map(BrokerId).collect(),
        };
    // Old clients can not mean the default: for them -1 is as wrong as 0.
    let old = version < DEFAULTS_FROM && topic.assignments.is_empty();
    NewTopic {
        name: topic.name.to_string(),
        partition_count: if old && topic.num_partitions < 0 { 0 } else { topic.num_partitions },
        replication_factor: if old && topic.replication_factor < 0 {
            0
        } else {
            topic.replication_factor
        },
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic
            .configs
            .iter()
            .map(|c| (c.name.to_string(), c.value.as_ref().map(|v| v.to_string())))
            .collect(),
    }
}

fn answer(
    shared: &Shared,
    name: StrBytes,
    outcome: Result<CreatedTopic, ControllerError>,
) -> CreatableTopicResult {
    let created = match outcome {
        Ok(created) => created,
        Err(error) => return failed(name, error.code(), error.to_string()),
    };
    let image = shared.applied_image();
    let layers = shared.config.layers(&image);
    let entries = metadata::config::describe_topic(&created.overrides, &layers);
    let configs = entries.iter().map(|entry| {
        let facts = entry_facts(entry);
        CreatableTopicConfigs {
            name: facts.name,
            value: facts.value,
            read_only: facts.read_only,
            config_source: facts.source,
            is_sensitive: facts.is_sensitive,
            ..Default::default()
        }
    });
    CreatableTopicResult {
        name,
        topic_id: created.id,
        num_partitions: i32::try_from(created.partition_count).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(created.replication_factor).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

fn failed(name: StrBytes, error: ErrorCode, text: String) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: error.code(),
        error_message: Some(StrBytes::from(text)),
        num_partitions: -1,
        replication_factor: -1,
        configs: None,
        ..Default::default()
    }
}
