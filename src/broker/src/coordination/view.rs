//! The cluster and the broker's settings, in the words of the coordinator.

use coordinator::{Cluster, Config, ConsumerGroupSettings, MigrationPolicy, Topic};
use metadata::Image;
use metadata::config::{BrokerConfig, MigrationPolicy as Policy};
use model::TopicId;
use protocol::StrBytes;

/// What every shard of this broker obeys; how large a record may be depends on its log.
pub(super) fn settings(config: &BrokerConfig) -> Config {
    let groups = &config.groups;
    Config {
        classic_session_timeout_min: groups.session_timeout_min,
        classic_session_timeout_max: groups.session_timeout_max,
        classic_initial_rebalance_delay: groups.initial_rebalance_delay,
        classic_group_size_max: groups.size_max,
        consumer_group_size_max: groups.consumer_size_max,
        consumer_assignors: groups.consumer_assignors.clone(),
        migration_policy: match groups.migration_policy {
            Policy::Disabled => MigrationPolicy::Disabled,
            Policy::Upgrade => MigrationPolicy::Upgrade,
            Policy::Downgrade => MigrationPolicy::Downgrade,
            Policy::Bidirectional => MigrationPolicy::Bidirectional,
        },
        regex_refresh_interval: groups.regex_refresh_interval,
        offset_metadata_max_bytes: groups.offset_metadata_max_bytes,
        offsets_retention: groups.offsets_retention,
        offsets_retention_check_interval: groups.offsets_retention_check_interval,
        record_bytes_max: usize::MAX,
        is_consumer_protocol_enabled: groups.is_consumer_protocol_enabled,
    }
}

/// One image of the cluster.
pub(super) struct View<'a> {
    pub(super) image: &'a Image,
    pub(super) config: &'a BrokerConfig,
}

fn topic(topic: &metadata::Topic) -> Topic {
    Topic {
        name: StrBytes::from(&*topic.name),
        id: topic.id,
        partition_count: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    }
}

impl Cluster for View<'_> {
    fn topic(&self, name: &str) -> Option<Topic> {
        self.image.topic(name).map(|found| topic(found))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<Topic> {
        self.image.topic_by_id(id).map(|found| topic(found))
    }

    fn topic_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.image.topics().map(|topic| &*topic.name))
    }

    fn consumer_group_settings(&self, group: &str) -> ConsumerGroupSettings {
        let config = self.config.consumer_group_config(self.image, group);
        ConsumerGroupSettings {
            session_timeout: config.session_timeout,
            heartbeat_interval: config.heartbeat_interval,
            assignment_interval: config.assignment_interval,
        }
    }
}
