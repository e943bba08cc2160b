//! Creating, listing, growing and deleting topics.

use std::collections::BTreeMap;

use model::TopicId;
use protocol::messages::create_partitions_request::CreatePartitionsTopic;
use protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};
use protocol::{ErrorCode, StrBytes};

use super::{Admin, PerItem, checked};
use crate::client::TopicSet;
use crate::error::{BrokerError, ClientError};
use crate::metadata::Topic;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// How many partitions; the broker's `num.partitions` when `None`.
    pub partitions: Option<i32>,
    /// How many copies of each; the broker's `default.replication.factor` when `None`.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition, the preferred leader first; the controller's choice when
    /// empty. Excludes the two counts above.
    pub assignments: Vec<Vec<i32>>,
    /// Settings that differ from the broker's.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it got; `None` from brokers that do not say.
    pub partitions: Option<i32>,
    /// How many copies of each.
    pub replication_factor: Option<i16>,
}

impl Admin {
    /// Creates topics; with `validate_only` only says whether it would.
    pub async fn create_topics(
        &self,
        topics: &BTreeMap<StrBytes, NewTopic>,
        validate_only: bool,
    ) -> PerItem<StrBytes, CreatedTopic> {
        let timeout_ms = self.timeout_ms();
        let request = |names: &[StrBytes]| {
            let topics = names.iter().map(|name| creatable(name, &topics[name])).collect();
            CreateTopicsRequest { topics, timeout_ms, validate_only, ..Default::default() }
        };
        let answers = |response: CreateTopicsResponse| {
            let answer =
                |topic: protocol::messages::create_topics_response::CreatableTopicResult| {
                    let created = CreatedTopic {
                        id: topic.topic_id,
                        partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
                        replication_factor: (topic.replication_factor >= 0)
                            .then_some(topic.replication_factor),
                    };
                    (topic.name, checked(topic.error_code, topic.error_message, created))
                };
            response.topics.into_iter().map(answer).collect()
        };
        self.per_item(topics.keys().cloned(), request, answers).await
    }

    /// Deletes topics and all their records.
    pub async fn delete_topics(
        &self,
        names: impl IntoIterator<Item = StrBytes>,
    ) -> PerItem<StrBytes, ()> {
        let timeout_ms = self.timeout_ms();
        let request = |names: &[StrBytes]| DeleteTopicsRequest {
            // Up to version 5 a list of names, from 6 on a list of names or ids.
            topic_names: names.to_vec(),
            topics: names
                .iter()
                .map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() })
                .collect(),
            timeout_ms,
            ..Default::default()
        };
        let answers = |response: DeleteTopicsResponse| {
            let answers = response.responses.into_iter();
            answers
                .map(|topic| {
                    let name = topic.name.unwrap_or_default();
                    (name, checked(topic.error_code, topic.error_message, ()))
                })
                .collect()
        };
        self.per_item(names, request, answers).await
    }

    /// Raises the number of partitions of topics to the given counts.
    pub async fn create_partitions(
        &self,
        counts: &BTreeMap<StrBytes, i32>,
        validate_only: bool,
    ) -> PerItem<StrBytes, ()> {
        let timeout_ms = self.timeout_ms();
        let request = |names: &[StrBytes]| {
            let topic = |name: &StrBytes| CreatePartitionsTopic {
                name: name.clone(),
                count: counts[name],
                assignments: None,
                ..Default::default()
            };
            let topics = names.iter().map(topic).collect();
            CreatePartitionsRequest { topics, timeout_ms, validate_only, ..Default::default() }
        };
        let answers = |response: CreatePartitionsResponse| {
            let results = response.results.into_iter();
            results
                .map(|topic| (topic.name, checked(topic.error_code, topic.error_message, ())))
                .collect()
        };
        self.per_item(counts.keys().cloned(), request, answers).await
    }

    /// All topics, by name.
    pub async fn list_topics(&self) -> Result<BTreeMap<StrBytes, Topic>, ClientError> {
        let client = &self.client;
        let view = client.retrying(async || client.refresh(TopicSet::All, false).await).await?;
        Ok(view.topics.clone())
    }

    /// Some topics with their partitions; a topic that is not there is an error of its own.
    pub async fn describe_topics(
        &self,
        names: impl IntoIterator<Item = StrBytes>,
    ) -> Result<PerItem<StrBytes, Topic>, ClientError> {
        let names: Vec<StrBytes> = names.into_iter().collect();
        let client = &self.client;
        let refresh = async || client.refresh(TopicSet::Named(names.clone()), false).await;
        let view = client.retrying(refresh).await?;
        let describe = |name: &StrBytes| match view.topics.get(name) {
            Some(topic) if topic.error == ErrorCode::None => Ok(topic.clone()),
            Some(topic) if topic.error != ErrorCode::UnknownTopicOrPartition => {
                Err(BrokerError { code: topic.error, message: None }.into())
            }
            _ => Err(ClientError::UnknownTopic { topic: name.clone() }),
        };
        Ok(names.iter().map(|name| (name.clone(), describe(name))).collect())
    }
}

fn creatable(name: &StrBytes, topic: &NewTopic) -> CreatableTopic {
    let assignment = |(index, brokers): (usize, &Vec<i32>)| CreatableReplicaAssignment {
        partition_index: index as i32,
        broker_ids: brokers.clone(),
        ..Default::default()
    };
    let config = |(name, value): (&String, &String)| CreatableTopicConfig {
        name: name.as_str().into(),
        value: Some(value.as_str().into()),
        ..Default::default()
    };
    CreatableTopic {
        name: name.clone(),
        num_partitions: topic.partitions.unwrap_or(-1),
        replication_factor: topic.replication_factor.unwrap_or(-1),
        assignments: topic.assignments.iter().enumerate().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
        ..Default::default()
    }
}
