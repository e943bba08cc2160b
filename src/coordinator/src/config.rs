//! The broker's settings that coordinators obey, with Kafka's defaults.

use std::time::Duration;

/// Whether groups change their protocol while they run (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// They do not.
    Disabled,
    /// Classic groups may become consumer groups.
    Upgrade,
    /// Consumer groups may become classic groups.
    Downgrade,
    /// Both.
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    pub fn may_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    /// Whether a consumer group may become a classic group.
    pub fn may_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// Settings of every shard of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.min.session.timeout.ms`.
    pub classic_session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub classic_session_timeout_max: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub classic_initial_rebalance_delay: Duration,
    /// `group.max.size`.
    pub classic_group_size_max: usize,
    /// `group.consumer.max.size`.
    pub consumer_group_size_max: usize,
    /// `group.consumer.assignors`: names, the first by default.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval: Duration,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// The largest record that fits into the log.
    pub record_bytes_max: usize,
    /// Whether `group.coordinator.rebalance.protocols` has `consumer`.
    pub is_consumer_protocol_enabled: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            classic_session_timeout_min: Duration::from_secs(6),
            classic_session_timeout_max: Duration::from_secs(30 * 60),
            classic_initial_rebalance_delay: Duration::from_secs(3),
            classic_group_size_max: i32::MAX as usize,
            consumer_group_size_max: i32::MAX as usize,
            consumer_assignors: vec!["uniform".to_owned(), "range".to_owned()],
            migration_policy: MigrationPolicy::default(),
            regex_refresh_interval: Duration::from_secs(10 * 60),
            offset_metadata_max_bytes: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            record_bytes_max: 100 * 1024 * 1024,
            is_consumer_protocol_enabled: true,
        }
    }
}
