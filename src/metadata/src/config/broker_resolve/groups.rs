//! The settings of groups, out of properties.

use std::time::Duration;

use super::{SettingError, Settings};
use crate::config::definition::parts;
use crate::config::groups_config::{GroupsConfig, MigrationPolicy};

impl Settings<'_> {
    pub(super) fn groups(&self) -> GroupsConfig {
        let factor = "offsets.topic.replication.factor";
        GroupsConfig {
            session_timeout_min: self.millis("group.min.session.timeout.ms"),
            session_timeout_max: self.millis("group.max.session.timeout.ms"),
            initial_rebalance_delay: self.millis("group.initial.rebalance.delay.ms"),
            size_max: self.count("group.max.size"),
            consumer_size_max: self.count("group.consumer.max.size"),
            consumer_assignors: self.list("group.consumer.assignors"),
            migration_policy: self.migration_policy(),
            regex_refresh_interval: self.millis("group.consumer.regex.refresh.interval.ms"),
            is_consumer_protocol_enabled: self
                .list("group.coordinator.rebalance.protocols")
                .iter()
                .any(|protocol| protocol == "consumer"),
            offset_metadata_max_bytes: self.count("offset.metadata.max.bytes"),
            offsets_load_buffer_size: self.count("offsets.load.buffer.size"),
            offsets_retention: Duration::from_secs(60 * self.limit("offsets.retention.minutes")),
            offsets_retention_check_interval: self.millis("offsets.retention.check.interval.ms"),
            offsets_topic_compression_codec: i16::try_from(
                self.number("offsets.topic.compression.codec"),
            )
            .unwrap_or(0),
            offsets_topic_num_partitions: i32::try_from(
                self.number("offsets.topic.num.partitions"),
            )
            .unwrap_or(i32::MAX),
            offsets_topic_replication_factor: self
                .given
                .contains_key(factor)
                .then(|| i16::try_from(self.number(factor)).unwrap_or(i16::MAX)),
            offsets_topic_segment_bytes: self.number("offsets.topic.segment.bytes"),
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        parts(&self.text(key).unwrap_or_default()).map(str::to_owned).collect()
    }

    fn migration_policy(&self) -> MigrationPolicy {
        let text = self.text("group.consumer.migration.policy").unwrap_or_default();
        match text.to_ascii_uppercase().as_str() {
            "DISABLED" => MigrationPolicy::Disabled,
            "UPGRADE" => MigrationPolicy::Upgrade,
            "DOWNGRADE" => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Bidirectional,
        }
    }

    /// What must hold between the settings of groups (`GroupCoordinatorConfig`).
    pub(super) fn check_groups(&self) -> Result<(), SettingError> {
        /// Both ends of a range, and the value that must lie in it.
        const RANGES: [(&str, &str, Option<&str>); 4] = [
            ("group.min.session.timeout.ms", "group.max.session.timeout.ms", None),
            (
                "group.consumer.min.session.timeout.ms",
                "group.consumer.max.session.timeout.ms",
                Some("group.consumer.session.timeout.ms"),
            ),
            (
                "group.consumer.min.heartbeat.interval.ms",
                "group.consumer.max.heartbeat.interval.ms",
                Some("group.consumer.heartbeat.interval.ms"),
            ),
            (
                "group.consumer.min.assignment.interval.ms",
                "group.consumer.max.assignment.interval.ms",
                Some("group.consumer.assignment.interval.ms"),
            ),
        ];
        for (min, max, between) in RANGES {
            let (low, high) = (self.number(min), self.number(max));
            if low > high {
                return Err(self.contradiction(min, "the largest value allowed is smaller"));
            }
            if let Some(key) = between
                && !(low..=high).contains(&self.number(key))
            {
                return Err(self.contradiction(key, "it must lie within its `min` and `max`"));
            }
        }
        let (heartbeat, session) =
            ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms");
        if self.number(heartbeat) >= self.number(session) {
            return Err(self.contradiction(heartbeat, "the session timeout must be longer"));
        }
        let protocols = "group.coordinator.rebalance.protocols";
        if !self.list(protocols).iter().any(|protocol| protocol == "classic") {
            return Err(self.contradiction(protocols, "`classic` can not be left out"));
        }
        let assignors = self.list("group.consumer.assignors");
        let is_known = |name: &String| matches!(name.as_str(), "uniform" | "range");
        if assignors.is_empty() || !assignors.iter().all(is_known) {
            let rule = "klamm has the assignors `uniform` and `range`";
            return Err(self.contradiction("group.consumer.assignors", rule));
        }
        Ok(())
    }
}
