//! Configs: their definitions, their effective values, and typed settings made of them.
//!
//! In: values as text, from a properties file, from the metadata log, from a request. Out: errors
//! that say what would be valid, effective values with their source (DescribeConfigs), and the plain
//! structs [`TopicConfig`] and [`BrokerConfig`].
//!
//! A value comes from the first of: the topic, this broker (dynamic), all brokers (dynamic), the
//! properties file, the default (KIP-226). Names, types, defaults and limits are Kafka 4.3's; those
//! that begin with `klamm.` are klamm's own.
//!
//! Start at [`Definition`], then [`Layers`].

mod broker;
mod broker_config;
mod broker_resolve;
mod definition;
mod describe;
mod error;
mod group;
mod groups_config;
mod layers;
mod listener;
mod nearest;
mod properties;
#[cfg(test)]
mod tests;
mod topic;
mod topic_config;

pub use broker::broker_definition;
pub use broker_config::{BrokerConfig, ProcessRole};
pub use broker_resolve::{Note, Resolved, SettingError, SettingErrors};
pub(crate) use definition::parts;
pub use definition::{Definition, Kind, Standing, Update, Valid};
pub use describe::{
    Entry, SynonymValue, describe_broker, describe_client_metrics, describe_default_broker,
    describe_group, describe_topic,
};
pub use error::ConfigError;
pub(crate) use group::check_group_limits;
pub use group::{client_metrics_definition, group_definition};
pub use groups_config::{ConsumerGroupConfig, GroupsConfig, MigrationPolicy};
pub use layers::{Layers, Source};
pub use listener::{AdvertisedListener, Listener, ListenerError};
pub(crate) use nearest::nearest_config;
pub use properties::{PropertiesError, Property, parse_properties};
pub use topic::{topic_definition, topic_definitions};
pub use topic_config::{CleanupPolicy, CompressionType, Durability, TimestampType, TopicConfig};
