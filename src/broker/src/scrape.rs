//! `/metrics` and health: what can be looked up when somebody asks.
//!
//! Start at [`metrics_text`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use coordinator::{Activity, Counts};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::metrics::TopicStats;
use crate::registry::Topic;
use crate::shared::Shared;

/// A registry that holds everything `shared` can tell.
pub(crate) fn registry(shared: &Arc<Shared>) -> Registry {
    let mut registry = Registry::default();
    shared.metrics.register(&mut registry);
    registry.register_collector(Box::new(Lookups { shared: Arc::downgrade(shared) }));
    registry
}

/// How long a scrape waits for group coordinators; after that it tells what they last said.
const GATHERING_MAX: Duration = Duration::from_secs(1);

/// Asks around for what can not be looked up.
pub(crate) async fn gather(shared: Arc<Shared>) {
    runtime::select! {
        () = shared.groups.count() => {}
        () = runtime::sleep(&*shared.runtime.clock, GATHERING_MAX) => {}
    }
}

/// The registry as OpenMetrics text.
pub(crate) fn metrics_text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a String does not fail; a collector of ours that does is left out.
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, registry) {
        tracing::error!(%error, "encode metrics");
    }
    text
}

/// Why the broker should not get requests now; empty when it should.
pub(crate) fn why_not_ready(shared: &Shared) -> Vec<String> {
    let mut reasons = Vec::new();
    if shared.stopping.is_raised() {
        reasons.push("the broker is stopping".to_owned());
    }
    if let Some(reason) = shared.dir_health.offline() {
        reasons.push(format!("the log directory is offline until a restart: {reason}"));
    }
    for log in shared.log_dir.offline_logs() {
        reasons.push(format!("log {log} is offline: see the log for the cause, then restart"));
    }
    let registry = shared.registry.borrow();
    for topic in registry.topics() {
        let closed = topic.partitions.iter().filter(|partition| partition.is_none()).count();
        if closed > 0 {
            let topic = &topic.name;
            reasons.push(format!(
                "{closed} partitions of topic {topic} could not be opened: see the log for the cause"
            ));
        }
    }
    reasons
}

/// Looks things up at each scrape.
struct Lookups {
    shared: Weak<Shared>,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}

impl Collector for Lookups {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        for (name, help, value) in broker_gauges(&shared) {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        encode_groups(&mut encoder, &shared.groups.counts())?;
        let registry = shared.registry.borrow();
        let topics: Vec<&Arc<Topic>> = registry.topics().collect();
        encode_topics(&mut encoder, &topics)?;
        encode_partitions(&mut encoder, &topics)
    }
}

/// Facts about the broker as a whole.
fn broker_gauges(shared: &Shared) -> Vec<(&'static str, &'static str, i64)> {
    let registry = shared.registry.borrow();
    let open = registry.topics().flat_map(|topic| topic.partitions.iter().flatten()).count();
    let image = shared.applied_image();
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    vec![
        (
            "kafka_server_replicamanager_partitioncount",
            "Partitions open on this broker",
            count(open as u64),
        ),
        (
            "kafka_server_replicamanager_leadercount",
            "Partitions this broker leads",
            count(open as u64),
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            "Partitions that can not be written until a restart",
            count(shared.log_dir.offline_logs().len() as u64),
        ),
        ("kafka_controller_kafkacontroller_activecontrollercount", "1 on the active controller", 1),
        (
            "kafka_controller_kafkacontroller_globaltopiccount",
            "Topics of the cluster",
            count(image.topic_count() as u64),
        ),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            "Partitions of the cluster",
            count(image.partition_count()),
        ),
        (
            "kafka_server_socketserver_connectioncount",
            "Open connections",
            count(shared.connections.count()),
        ),
        (
            "kafka_server_fetchsessioncache_numincrementalfetchsessions",
            "Incremental fetch sessions",
            count(shared.fetch_sessions.count() as u64),
        ),
    ]
}

fn encode_topics(
    encoder: &mut DescriptorEncoder<'_>,
    topics: &[&Arc<Topic>],
) -> Result<(), fmt::Error> {
    for (at, (name, help, _)) in TopicStats::default().counts().iter().enumerate() {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for topic in topics {
            let value = ConstCounter::new(topic.stats.counts()[at].2);
            let labels = [("topic", topic.name.as_ref())];
            value.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Groups by type and state, offsets, and what coordinators have done since they were loaded.
fn encode_groups(encoder: &mut DescriptorEncoder<'_>, shards: &[Counts]) -> Result<(), fmt::Error> {
    const GROUPS: &str = "kafka_coordinator_group_groupmetadatamanager_numgroups";
    const OFFSETS: &str = "kafka_coordinator_group_groupmetadatamanager_numoffsets";
    const REBALANCES: &str = "kafka_server_group_coordinator_metrics_rebalance_count";
    const COMMITS: &str = "kafka_server_group_coordinator_metrics_offset_commit_count";
    const EXPIRATIONS: &str = "kafka_server_group_coordinator_metrics_offset_expiration_count";

    let mut groups = BTreeMap::new();
    for (key, count) in shards.iter().flat_map(|counts| &counts.groups) {
        *groups.entry(key).or_insert(0_u64) += *count as u64;
    }
    let help = "Groups coordinated here, by type and state";
    let mut family = encoder.encode_descriptor(GROUPS, help, None, MetricType::Gauge)?;
    for ((kind, state), count) in groups {
        let labels = [("type", *kind), ("state", *state)];
        ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
    }
    let offsets = ConstGauge::new(shards.iter().map(|counts| counts.offsets as u64).sum::<u64>());
    let help = "Offsets committed by groups and not forgotten";
    offsets.encode(encoder.encode_descriptor(OFFSETS, help, None, MetricType::Gauge)?)?;
    let sum = |count: fn(&Activity) -> u64| -> u64 {
        shards.iter().map(|counts| count(&counts.activity)).sum()
    };
    let help = "Rebalances begun, and new epochs of consumer groups";
    let mut family = encoder.encode_descriptor(REBALANCES, help, None, MetricType::Counter)?;
    let rebalances =
        [("Classic", sum(|a| a.classic_rebalances)), ("Consumer", sum(|a| a.consumer_rebalances))];
    for (kind, count) in rebalances {
        ConstCounter::new(count).encode(family.encode_family(&[("type", kind)])?)?;
    }
    let commits = (COMMITS, "Offsets committed", sum(|a| a.offset_commits));
    let expirations = (EXPIRATIONS, "Offsets forgotten", sum(|a| a.offset_expirations));
    for (name, help, count) in [commits, expirations] {
        let counter = ConstCounter::new(count);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

/// A fact about one partition: name, help, value.
type PartitionFact = (&'static str, &'static str, fn(&crate::partition::Partition) -> i64);

const PARTITION_FACTS: &[PartitionFact] = &[
    ("kafka_log_log_size", "Bytes of a partition's segments", |partition| {
        i64::try_from(partition.reader().size_bytes()).unwrap_or(i64::MAX)
    }),
    ("kafka_log_log_logstartoffset", "First offset", |p| p.reader().log_start().0),
    ("kafka_log_log_logendoffset", "Offset behind the last record", |p| p.reader().log_end().0),
    ("klamm_log_durableend", "Offset behind the last durable record", |p| {
        p.reader().durable_end().0
    }),
];

fn encode_partitions(
    encoder: &mut DescriptorEncoder<'_>,
    topics: &[&Arc<Topic>],
) -> Result<(), fmt::Error> {
    for (name, help, value) in PARTITION_FACTS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for topic in topics {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let Some(partition) = partition else { continue };
                let index = index.to_string();
                let labels = [("topic", topic.name.as_ref()), ("partition", index.as_str())];
                let gauge = ConstGauge::new(value(partition));
                gauge.encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
