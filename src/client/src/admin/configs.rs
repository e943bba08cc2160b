//! Reading and changing configurations of topics and brokers.

use std::collections::BTreeMap;

use model::BrokerId;
use protocol::StrBytes;
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::{Admin, PerItem, checked};
use crate::error::ClientError;

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResourceType {
    /// A topic, by name.
    Topic,
    /// A broker, by id; the empty name is the default of all brokers.
    Broker,
    /// A consumer or share group, by id.
    Group,
}

impl ConfigResourceType {
    /// As requests carry it (`ConfigResource.Type`).
    fn wire(self) -> i8 {
        match self {
            ConfigResourceType::Topic => 2,
            ConfigResourceType::Broker => 4,
            ConfigResourceType::Group => 32,
        }
    }

    fn from_wire(code: i8) -> Option<ConfigResourceType> {
        use ConfigResourceType::{Broker, Group, Topic};
        [Topic, Broker, Group].into_iter().find(|kind| kind.wire() == code)
    }
}

/// One thing with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ConfigResourceType,
    /// Its name or id.
    pub name: StrBytes,
}

impl ConfigResource {
    /// A topic's.
    pub fn topic(name: impl Into<StrBytes>) -> ConfigResource {
        ConfigResource { kind: ConfigResourceType::Topic, name: name.into() }
    }

    /// A broker's.
    pub fn broker(id: BrokerId) -> ConfigResource {
        ConfigResource { kind: ConfigResourceType::Broker, name: id.to_string().into() }
    }
}

/// Where a value comes from (`ConfigEntry.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Not said, or unknown to this client.
    Unknown,
    /// Set on the topic.
    Topic,
    /// Set on the broker at run time.
    DynamicBroker,
    /// Set for all brokers at run time.
    DynamicDefaultBroker,
    /// From the broker's configuration file.
    StaticBroker,
    /// Built in.
    Default,
    /// Set on the group.
    Group,
}

impl ConfigSource {
    fn from_wire(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::Topic,
            2 => ConfigSource::DynamicBroker,
            3 => ConfigSource::DynamicDefaultBroker,
            4 => ConfigSource::StaticBroker,
            5 => ConfigSource::Default,
            8 => ConfigSource::Group,
            _ => ConfigSource::Unknown,
        }
    }

    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Unknown => "UNKNOWN",
            ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
            ConfigSource::Default => "DEFAULT_CONFIG",
            ConfigSource::Group => "GROUP_CONFIG",
        }
    }
}

/// Another place that has, or would give, a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name there.
    pub name: StrBytes,
    /// The value there.
    pub value: Option<StrBytes>,
    /// The place.
    pub source: ConfigSource,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The effective value; `None` when it is unset or secret.
    pub value: Option<StrBytes>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether it can not be changed at run time.
    pub is_read_only: bool,
    /// Whether the value is kept secret.
    pub is_sensitive: bool,
    /// In order of precedence.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does.
    pub documentation: Option<StrBytes>,
}

/// A change of one setting (`AlterConfigOp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Gives it a value.
    Set(String),
    /// Takes its value away, so that the default holds.
    Delete,
    /// Adds to a list.
    Append(String),
    /// Takes from a list.
    Subtract(String),
}

impl Admin {
    /// The configurations of `resources`, by name of the setting.
    pub async fn describe_configs(
        &self,
        resources: impl IntoIterator<Item = ConfigResource>,
        documentation: bool,
    ) -> PerItem<ConfigResource, BTreeMap<StrBytes, ConfigEntry>> {
        let mut done = PerItem::new();
        let mut anywhere = Vec::new();
        for resource in resources {
            // Only the broker itself knows its static configuration.
            match resource.name.parse() {
                Ok(id) if resource.kind == ConfigResourceType::Broker => {
                    let request = describe_request(std::slice::from_ref(&resource), documentation);
                    let response = self.client.send(BrokerId(id), request).await;
                    let entries = response.map_err(ClientError::from).and_then(|response| {
                        let first = described(response).into_iter().next();
                        let (_, entries) = first.unwrap_or((resource.clone(), Ok(BTreeMap::new())));
                        entries.map_err(ClientError::from)
                    });
                    done.insert(resource, entries);
                }
                _ => anywhere.push(resource),
            }
        }
        let request = |resources: &[ConfigResource]| describe_request(resources, documentation);
        done.extend(self.per_item(anywhere, request, described).await);
        done
    }

    /// Changes settings; all changes of one resource are made or none (KIP-339).
    pub async fn alter_configs(
        &self,
        changes: &BTreeMap<ConfigResource, BTreeMap<String, ConfigOperation>>,
        validate_only: bool,
    ) -> PerItem<ConfigResource, ()> {
        let request = |resources: &[ConfigResource]| {
            let resource = |resource: &ConfigResource| AlterConfigsResource {
                resource_type: resource.kind.wire(),
                resource_name: resource.name.clone(),
                configs: changes[resource].iter().map(|(name, op)| alterable(name, op)).collect(),
                ..Default::default()
            };
            let resources = resources.iter().map(resource).collect();
            IncrementalAlterConfigsRequest { resources, validate_only, ..Default::default() }
        };
        let answers = |response: IncrementalAlterConfigsResponse| {
            let mut answers = Vec::new();
            for answer in response.responses {
                let Some(kind) = ConfigResourceType::from_wire(answer.resource_type) else {
                    continue;
                };
                let resource = ConfigResource { kind, name: answer.resource_name };
                answers.push((resource, checked(answer.error_code, answer.error_message, ())));
            }
            answers
        };
        self.per_item(changes.keys().cloned(), request, answers).await
    }
}

fn alterable(name: &str, operation: &ConfigOperation) -> AlterableConfig {
    let (config_operation, value) = match operation {
        ConfigOperation::Set(value) => (0, Some(value)),
        ConfigOperation::Delete => (1, None),
        ConfigOperation::Append(value) => (2, Some(value)),
        ConfigOperation::Subtract(value) => (3, Some(value)),
    };
    let value = value.map(|value| value.as_str().into());
    AlterableConfig { name: name.into(), config_operation, value, ..Default::default() }
}

fn describe_request(resources: &[ConfigResource], documentation: bool) -> DescribeConfigsRequest {
    let resource = |resource: &ConfigResource| DescribeConfigsResource {
        resource_type: resource.kind.wire(),
        resource_name: resource.name.clone(),
        configuration_keys: None,
        ..Default::default()
    };
    DescribeConfigsRequest {
        resources: resources.iter().map(resource).collect(),
        include_synonyms: true,
        include_documentation: documentation,
        ..Default::default()
    }
}

type Described =
    (ConfigResource, Result<BTreeMap<StrBytes, ConfigEntry>, crate::error::BrokerError>);

fn described(response: DescribeConfigsResponse) -> Vec<Described> {
    let describe = |result: DescribeConfigsResult| {
        let kind = ConfigResourceType::from_wire(result.resource_type)?;
        let resource = ConfigResource { kind, name: result.resource_name };
        let entries = result.configs.into_iter().map(entry).collect();
        Some((resource, checked(result.error_code, result.error_message, entries)))
    };
    response.results.into_iter().filter_map(describe).collect()
}

fn entry(result: DescribeConfigsResourceResult) -> (StrBytes, ConfigEntry) {
    let synonyms = result.synonyms.into_iter().map(|synonym| ConfigSynonym {
        name: synonym.name,
        value: synonym.value,
        source: ConfigSource::from_wire(synonym.source),
    });
    let entry = ConfigEntry {
        value: result.value,
        source: ConfigSource::from_wire(result.config_source),
        is_read_only: result.read_only,
        is_sensitive: result.is_sensitive,
        synonyms: synonyms.collect(),
        documentation: result.documentation,
    };
    (result.name, entry)
}
