//! The configs of groups (KIP-848, KIP-932, KIP-1071) and of client metrics (KIP-714).
//!
//! Kafka's are those of its `GroupConfig` and `ClientMetricsConfigs`. In the order of their names.

use crate::config::definition::{Definition, Valid, boolean, int, list, string};

const NO_CONSUMER: &str = "klamm does not speak the consumer group protocol of KIP-848 yet";
const NO_SHARE: &str = "klamm has no share groups yet";
const NO_STREAMS: &str = "klamm has no streams groups yet";

static GROUP: [Definition; 17] = [
    int(
        "consumer.assignment.interval.ms",
        "1000",
        "The shortest time between two assignments of the group.",
    )
    .at_least(0)
    .or(&[("group.consumer.assignment.interval.ms", 1)])
    .not_yet(NO_CONSUMER),
    int("consumer.heartbeat.interval.ms", "5000", "How often a member shows that it is alive.")
        .at_least(1)
        .or(&[("group.consumer.heartbeat.interval.ms", 1)])
        .not_yet(NO_CONSUMER),
    int(
        "consumer.session.timeout.ms",
        "45000",
        "After so long without a sign of life a member is out.",
    )
    .at_least(1)
    .or(&[("group.consumer.session.timeout.ms", 1)])
    .not_yet(NO_CONSUMER),
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
