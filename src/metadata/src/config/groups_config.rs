//! What holds for groups, as plain typed values.
//!
//! The broker's own settings of group coordinators are in [`GroupsConfig`]; what one consumer group
//! says for itself, over the broker's values, in [`ConsumerGroupConfig`].

use std::time::Duration;

use crate::config::group::group_definition;
use crate::config::layers::Layers;
use crate::image::Overrides;

/// Whether groups change their protocol while they run (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// They do not.
    Disabled,
    /// Classic groups may become consumer groups.
    Upgrade,
    /// Consumer groups may become classic groups.
    Downgrade,
    /// Both.
    Bidirectional,
}

/// The settings of a broker's group coordinators and of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`.
    pub size_max: usize,
    /// `group.consumer.max.size`.
    pub consumer_size_max: usize,
    /// `group.consumer.assignors`, the first by default.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval: Duration,
    /// Whether `group.coordinator.rebalance.protocols` has `consumer`.
    pub is_consumer_protocol_enabled: bool,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.load.buffer.size`.
    pub offsets_load_buffer_size: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `offsets.topic.compression.codec`: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub offsets_topic_compression_codec: i16,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`; `None` where nothing was given.
    pub offsets_topic_replication_factor: Option<i16>,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: i64,
}

/// The settings of one consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval: Duration,
}

impl ConsumerGroupConfig {
    /// What holds for a group with these `overrides` on a broker with these `layers`.
    pub fn resolve(overrides: &Overrides, layers: &Layers<'_>) -> ConsumerGroupConfig {
        let millis = |name: &str| {
            let definition =
                group_definition(name).expect("only configs of the table are asked for");
            let text = match overrides.get(name) {
                Some(value) if definition.check(value).is_ok() => definition.normalized(value),
                _ => {
                    let inherited = layers.inherited(definition).0;
                    inherited.expect("every config of groups has a default")
                }
            };
            Duration::from_millis(text.parse().expect("the value was checked, or is a default"))
        };
        ConsumerGroupConfig {
            session_timeout: millis("consumer.session.timeout.ms"),
            heartbeat_interval: millis("consumer.heartbeat.interval.ms"),
            assignment_interval: millis("consumer.assignment.interval.ms"),
        }
    }
}
