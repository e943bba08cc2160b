//! The configs of groups (KIP-848, KIP-932, KIP-1071) and of client metrics (KIP-714).
//!
//! Kafka's are those of its `GroupConfig` and `ClientMetricsConfigs`. In the order of their names.

use crate::config::ConfigError;
use crate::config::broker::broker_definition;
use crate::config::definition::{Definition, Valid, boolean, int, list, string};
use crate::config::layers::Layers;
use crate::image::Overrides;

const NO_SHARE: &str = "klamm has no share groups yet";
const NO_STREAMS: &str = "klamm has no streams groups yet";

static GROUP: [Definition; 17] = [
    int(
        "consumer.assignment.interval.ms",
        "1000",
        "The shortest time between two assignments of the group.",
    )
    .at_least(0)
    .or(&[("group.consumer.assignment.interval.ms", 1)]),
    int("consumer.heartbeat.interval.ms", "5000", "How often a member shows that it is alive.")
        .at_least(1)
        .or(&[("group.consumer.heartbeat.interval.ms", 1)]),
    int(
        "consumer.session.timeout.ms",
        "45000",
        "After so long without a sign of life a member is out.",
    )
    .at_least(1)
    .or(&[("group.consumer.session.timeout.ms", 1)]),
    int(
        "share.assignment.interval.ms",
        "1000",
        "The shortest time between two assignments of the share group.",
    )
    .at_least(0)
    .or(&[("group.share.assignment.interval.ms", 1)])
    .not_yet(NO_SHARE),
    string(
        "share.auto.offset.reset",
        "latest",
        "Where a share group begins to read a partition that it has no place in yet.",
    )
    .valid(Valid::AutoOffsetReset)
    .not_yet(NO_SHARE),
    int(
        "share.delivery.count.limit",
        "5",
        "How often a record is handed out before it is given up.",
    )
    .at_least(2)
    .or(&[("group.share.delivery.count.limit", 1)])
    .not_yet(NO_SHARE),
    int(
        "share.heartbeat.interval.ms",
        "5000",
        "How often a member of the share group shows that it is alive.",
    )
    .at_least(1)
    .or(&[("group.share.heartbeat.interval.ms", 1)])
    .not_yet(NO_SHARE),
    string(
        "share.isolation.level",
        "read_uncommitted",
        "Whether the share group sees records of transactions before they are committed.",
    )
    .valid(Valid::OneOf(&["read_committed", "read_uncommitted"]))
    .not_yet(NO_SHARE),
    int(
        "share.partition.max.record.locks",
        "2000",
        "How many records of a partition may be handed out at once.",
    )
    .at_least(100)
    .or(&[("group.share.partition.max.record.locks", 1)])
    .not_yet(NO_SHARE),
    int(
        "share.record.lock.duration.ms",
        "30000",
        "How long a record that was handed out is kept from other members.",
    )
    .at_least(1000)
    .or(&[("group.share.record.lock.duration.ms", 1)])
    .not_yet(NO_SHARE),
    boolean(
        "share.renew.acknowledge.enable",
        "true",
        "Whether a member may ask for more time for a record.",
    )
    .not_yet(NO_SHARE),
    int(
        "share.session.timeout.ms",
        "45000",
        "After so long without a sign of life a member of the share group is out.",
    )
    .at_least(1)
    .or(&[("group.share.session.timeout.ms", 1)])
    .not_yet(NO_SHARE),
    int(
        "streams.assignment.interval.ms",
        "1000",
        "The shortest time between two assignments of the streams group.",
    )
    .at_least(0)
    .or(&[("group.streams.assignment.interval.ms", 1)])
    .not_yet(NO_STREAMS),
    int(
        "streams.heartbeat.interval.ms",
        "5000",
        "How often a member of the streams group shows that it is alive.",
    )
    .at_least(1)
    .or(&[("group.streams.heartbeat.interval.ms", 1)])
    .not_yet(NO_STREAMS),
    int(
        "streams.initial.rebalance.delay.ms",
        "3000",
        "How long a new streams group waits for more members before its first assignment.",
    )
    .at_least(0)
    .or(&[("group.streams.initial.rebalance.delay.ms", 1)])
    .not_yet(NO_STREAMS),
    int("streams.num.standby.replicas", "0", "How many copies of each task's state are kept warm.")
        .at_least(0)
        .or(&[("group.streams.num.standby.replicas", 1)])
        .not_yet(NO_STREAMS),
    int(
        "streams.session.timeout.ms",
        "45000",
        "After so long without a sign of life a member of the streams group is out.",
    )
    .at_least(1)
    .or(&[("group.streams.session.timeout.ms", 1)])
    .not_yet(NO_STREAMS),
];

const NO_TELEMETRY: &str = "klamm does not collect metrics of clients yet";

static CLIENT_METRICS: [Definition; 3] = [
    int("interval.ms", "300000", "How often clients send the metrics of this subscription.")
        .between(100, 3_600_000)
        .not_yet(NO_TELEMETRY),
    list("match", "", "Which clients the subscription is for, as NAME=REGEX of their properties.")
        .not_yet(NO_TELEMETRY),
    list("metrics", "", "The beginnings of the names of the metrics wanted; `*` for all.")
        .not_yet(NO_TELEMETRY),
];

/// All configs of groups, by name.
pub(crate) fn group_definitions() -> &'static [Definition] {
    &GROUP
}

/// All configs of client metrics, by name.
pub(crate) fn client_metrics_definitions() -> &'static [Definition] {
    &CLIENT_METRICS
}

/// The group config of that name.
pub fn group_definition(name: &str) -> Option<&'static Definition> {
    GROUP.iter().find(|definition| definition.name == name)
}

/// The config of client metrics of that name.
pub fn client_metrics_definition(name: &str) -> Option<&'static Definition> {
    CLIENT_METRICS.iter().find(|definition| definition.name == name)
}

/// The broker's configs between which a group's must lie.
const LIMITS: [(&str, &str, &str); 12] = [
    (
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
    ),
    (
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
    ),
    (
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.session.timeout.ms",
        "group.share.min.session.timeout.ms",
        "group.share.max.session.timeout.ms",
    ),
    (
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
    ),
];

/// Checks a group's values, each valid by itself, against the broker's and each other
/// (`GroupConfig.validateValues`).
pub(crate) fn check_group_limits(
    overrides: &Overrides,
    layers: &Layers<'_>,
) -> Result<(), ConfigError> {
    let limit = |name: &str| -> Option<i64> {
        let set = layers.set_value(name).map(|(value, _)| value);
        set.or(broker_definition(name)?.default)?.trim().parse().ok()
    };
    for (name, min, max) in LIMITS {
        let Some(value) = overrides.get(name).and_then(|text| text.trim().parse::<i64>().ok())
        else {
            continue;
        };
        let too_low = limit(min).filter(|min| value < *min).map(|min| ("below", min));
        let too_high = limit(max).filter(|max| value > *max).map(|max| ("above", max));
        for (other, broken) in [(min, too_low), (max, too_high)] {
            if let Some((relation, limit)) = broken {
                let (value, limit) = (value.to_string(), limit.to_string());
                return Err(ConfigError::Conflict { name, value, relation, other, limit });
            }
        }
    }
    check_heartbeats(overrides, layers)
}

/// A member must get to send a heartbeat within its session.
fn check_heartbeats(overrides: &Overrides, layers: &Layers<'_>) -> Result<(), ConfigError> {
    const PAIRS: [(&str, &str); 3] = [
        ("consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"),
        ("share.heartbeat.interval.ms", "share.session.timeout.ms"),
        ("streams.heartbeat.interval.ms", "streams.session.timeout.ms"),
    ];
    let effective = |name: &str| -> Option<i64> {
        let definition = group_definition(name)?;
        let set = overrides.get(name).cloned();
        set.or_else(|| layers.inherited(definition).0)?.trim().parse().ok()
    };
    for (name, other) in PAIRS {
        if let (Some(interval), Some(timeout)) = (effective(name), effective(other))
            && interval >= timeout
        {
            let (value, limit) = (interval.to_string(), timeout.to_string());
            let relation = "at or above";
            return Err(ConfigError::Conflict { name, value, relation, other, limit });
        }
    }
    Ok(())
}
