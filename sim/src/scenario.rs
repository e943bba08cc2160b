//! A scenario: which cluster, which topics, what clients do, which faults may strike.
//!
//! In: a TOML file. It opens with its story; every key is checked, and a wrong one is told with its
//! line. What is not written takes the default of a small run with one broker.
//!
//! Start at [`Scenario::parse`].

mod groups;
mod valid;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use groups::{CommitSpec, GroupSpec, ProtocolSpec};

use crate::plan::{Family, Fault};
use crate::workload::AGE_MAX_MS;

/// How long records are kept where nothing says so: Kafka's `log.retention.hours`.
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;

/// Where the brokers say how long, the first one that is set.
const RETENTION_TIMES: &[(&str, u64)] =
    &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", HOUR_MS)];

/// What a record takes besides its filling: the header of a batch (61) and of a record (up to 30), its
/// name in its value or in a header (up to 55), its key (up to 20), its headers (up to 60), and the
/// frame of a codec.
const RECORD_BYTES_BESIDES: u64 = 300;
/// The filling of the records that prove life after the faults.
pub const PROBE_BYTES_MAX: u64 = 20;

/// Everything a run is made from besides the build and the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the scenario is about, and why it is there.
    pub story: String,
    /// How long clients work at most, in simulated seconds, before everything is healed.
    #[serde(default = "default_seconds")]
    pub seconds: u32,
    /// The brokers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: ClusterSpec,
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicSpec>,
    /// What clients do.
    #[serde(default)]
    pub workload: WorkloadSpec,
    /// The groups of consumers, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupSpec>,
    /// Which faults may strike.
    #[serde(default, skip_serializing_if = "is_default")]
    pub faults: FaultsSpec,
    /// The faults that strike, when they are not to be drawn from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<Fault>>,
    /// The seed that a counterexample was found with; given for one that was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_seconds() -> u32 {
    30
}

/// The brokers of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSpec {
    /// How many.
    pub brokers: u32,
    /// Settings of every broker, by Kafka's names.
    pub settings: BTreeMap<String, String>,
    /// Size of each broker's disk, in MiB.
    pub disk_mib: u64,
}

impl Default for ClusterSpec {
    fn default() -> ClusterSpec {
        ClusterSpec { brokers: 1, settings: BTreeMap::new(), disk_mib: 1024 }
    }
}

/// A topic of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSpec {
    /// How many partitions.
    pub partitions: i32,
    /// Settings by Kafka's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

impl Default for TopicSpec {
    fn default() -> TopicSpec {
        TopicSpec { partitions: 1, config: BTreeMap::new() }
    }
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadSpec {
    /// Records in all, shared by the producers.
    pub records: u32,
    /// So many of them are sent at most, at the pace of all: where a counterexample ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<u32>,
    /// Clients that do nothing, from 1: what a counterexample does without.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub silent_clients: BTreeSet<u32>,
    /// Idempotent producers: acks=all.
    pub idempotent: u32,
    /// Producers with acks=all and retries, without idempotence.
    pub at_least_once: u32,
    /// Producers with acks=0 and without retries.
    pub at_most_once: u32,
    /// Readers, each of all partitions.
    pub readers: u32,
    /// Largest filling of a value, in bytes.
    pub value_bytes_max: u32,
    /// How many different keys there are, in topics that are compacted.
    pub keys: u32,
    /// In topics that are compacted one record in so many has no value; 0 for none. No check knows
    /// that such a record goes after `delete.retention.ms`: that has to be beyond the run's end.
    pub tombstone_one_in: u32,
    /// How often a client asks for records to be deleted, in all.
    pub trims: u32,
    /// How often a topic that nothing else uses is created, written to and deleted.
    pub short_lived_topics: u32,
    /// How often a topic is described, listed, altered or grown.
    pub admin_requests: u32,
    /// Rude acts of a client that makes its frames by hand, in all.
    pub wild: u32,
}

impl Default for WorkloadSpec {
    fn default() -> WorkloadSpec {
        WorkloadSpec {
            records: 1000,
            stop_after: None,
            silent_clients: BTreeSet::new(),
            idempotent: 2,
            at_least_once: 1,
            at_most_once: 1,
            readers: 2,
            value_bytes_max: 200,
            keys: 20,
            tombstone_one_in: 0,
            trims: 0,
            short_lived_topics: 0,
            admin_requests: 0,
            wild: 0,
        }
    }
}

/// Which faults may strike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsSpec {
    /// The families that a seed may choose from, with their weights. Each seed takes some of them
    /// (swarm testing): what all seeds do together hides what each would do alone.
    pub families: BTreeMap<Family, u32>,
    /// The most faults of one run that are drawn, at least one unless it is 0; what is wrong from the
    /// beginning (links, clocks, disks) comes on top.
    pub count_max: u32,
}

impl Default for FaultsSpec {
    fn default() -> FaultsSpec {
        FaultsSpec { families: BTreeMap::new(), count_max: 12 }
    }
}

/// Why a scenario can not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file can not be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a scenario.
    #[error("{path} is not a scenario: {source}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong, with its line.
        source: toml::de::Error,
    },
    /// A value makes no sense.
    #[error("{path}: {reason}")]
    Value {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

impl Scenario {
    /// Reads a scenario file.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: name.clone(), source })?;
        Scenario::parse(&name, &text)
    }

    /// The scenario that `text` says; `path` is named in errors.
    pub fn parse(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)
            .map_err(|source| ScenarioError::Parse { path: path.to_owned(), source })?;
        match valid::fault(&scenario) {
            Some(reason) => Err(ScenarioError::Value { path: path.to_owned(), reason }),
            None => Ok(scenario),
        }
    }

    /// What the settings of `topic`, and of the brokers where it has none, allow to be missing.
    pub fn rules(&self, topic: &TopicSpec) -> history::Rules {
        // Its own, or the first of those that the brokers have, in units of so many.
        let setting = |name: &str, inherited: &[(&str, u64)]| {
            let own = topic.config.get(name).map(|value| (value.trim(), 1));
            own.or_else(|| {
                let settings = &self.cluster.settings;
                let mut inherited = inherited.iter();
                inherited.find_map(|(name, unit)| Some((settings.get(*name)?.trim(), *unit)))
            })
        };
        // Negative stands for no bound.
        let bound = |name: &str, inherited: &[(&str, u64)]| {
            let (value, unit) = setting(name, inherited)?;
            Some(value.parse::<u64>().ok().map(|value| value.saturating_mul(unit)))
        };
        let policy = setting("cleanup.policy", &[("log.cleanup.policy", 1)]);
        let policy = policy.map_or("delete", |(value, _)| value);
        let retention_ms = bound("retention.ms", RETENTION_TIMES).unwrap_or(Some(WEEK_MS));
        let retention_bytes = bound("retention.bytes", &[("log.retention.bytes", 1)]).flatten();
        let durability = setting("klamm.durability", &[("klamm.durability", 1)]);
        let is_deleting = policy.contains("delete");
        history::Rules {
            is_compacted: policy.contains("compact"),
            // Records are older than their sending by up to so much.
            retention_ms: retention_ms
                .filter(|_| is_deleting)
                .map(|ms| ms.saturating_sub(AGE_MAX_MS)),
            retention_bytes: retention_bytes.filter(|_| is_deleting),
            record_bytes_max: self.record_bytes_max(),
            is_lost_with_power: durability.is_some_and(|(value, _)| value == "os"),
        }
    }

    /// The most that one record takes in a log, alone in its batch and badly compressed.
    fn record_bytes_max(&self) -> u64 {
        let filling = u64::from(self.workload.value_bytes_max).max(PROBE_BYTES_MAX);
        RECORD_BYTES_BESIDES + filling + filling / 4
    }

    /// The scenario as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a scenario has nothing that TOML can not say")
    }
}

#[cfg(test)]
mod tests {
    use history::Rules;

    use super::*;

    fn parse(plan: &str) -> Result<Scenario, String> {
        let text = format!("story = \"x\"\n[topics.orders]\n{plan}");
        Scenario::parse("x.toml", &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_clock_goes_forward() {
        let drift = |ppm: i64| {
            parse(&format!(
                "[[plan]]\nwhen = {{ at = {{ ms = 1 }} }}\n\
                 what = {{ clock-drift = {{ broker = 1, ppm = {ppm} }} }}\n"
            ))
        };
        assert!(drift(-999_999).is_ok());
        assert!(drift(-1_000_000).unwrap_err().contains("does not go forward"));
    }

    #[test]
    fn a_frame_strikes_when_it_leaves_unless_the_plan_says_otherwise() {
        use crate::plan::{Moment, Trigger};
        let frame = |more: &str| {
            let scenario = parse(&format!(
                "[[plan]]\nwhen = {{ frame = {{ api = \"Fetch\", way = \"response\", nth = 1{more} }} }}\n\
                 what = {{ reset = {{ client = 1, broker = 1 }} }}\n"
            ))
            .unwrap();
            let text = scenario.to_toml();
            assert_eq!(Scenario::parse("x.toml", &text).unwrap(), scenario);
            match &scenario.plan.as_ref().unwrap()[0].when {
                Trigger::Frame { phase, .. } => (*phase, text.contains("phase")),
                other => panic!("{other}"),
            }
        };
        assert_eq!(frame(""), (Moment::Left, false));
        assert_eq!(frame(", phase = \"arrived\""), (Moment::Arrived, true));
    }

    #[test]
    fn every_scenario_that_was_promoted_still_parses() {
        for directory in ["regression", "smoke", "nightly"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(directory);
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    Scenario::read(&path).unwrap();
                }
            }
        }
    }

    fn rules(topic: &str, brokers: &str) -> Rules {
        let text = format!(
            "story = \"a test\"\n[topics.orders.config]\n{topic}\n[cluster.settings]\n{brokers}"
        );
        let scenario = Scenario::parse("test", &text).expect("the text is a scenario");
        let rules = scenario.rules(&scenario.topics["orders"]);
        let retention_ms = rules.retention_ms.map(|ms| ms + AGE_MAX_MS);
        Rules { record_bytes_max: 0, retention_ms, ..rules }
    }

    #[test]
    fn a_topic_comes_before_its_brokers_and_they_before_the_defaults() {
        let week = Rules { retention_ms: Some(WEEK_MS), ..Rules::default() };
        assert_eq!(rules("", ""), week);
        let hours = Rules { retention_ms: Some(2 * HOUR_MS), ..Rules::default() };
        assert_eq!(rules("", "'log.retention.hours' = '2'"), hours);
        let minutes = "'log.retention.minutes' = '120'\n'log.retention.hours' = '9'";
        assert_eq!(rules("", minutes), hours);
        assert_eq!(rules("'retention.ms' = '7200000'", "'log.retention.ms' = '1'"), hours);
        let bytes = "'log.retention.bytes' = '4000'\n'log.retention.ms' = '-1'";
        let bounded = Rules { retention_bytes: Some(4000), ..Rules::default() };
        assert_eq!(rules("", bytes), bounded);
        assert_eq!(rules("'retention.bytes' = '-1'", bytes), Rules::default());
        let compacted = Rules { is_compacted: true, ..Rules::default() };
        assert_eq!(rules("", "'log.cleanup.policy' = 'compact'"), compacted);
        let both = Rules { is_compacted: true, ..week };
        assert_eq!(rules("'cleanup.policy' = 'compact,delete'", ""), both);
        let cached = Rules { is_lost_with_power: true, ..week };
        assert_eq!(rules("", "'klamm.durability' = 'os'"), cached);
        assert_eq!(rules("'klamm.durability' = 'fsync'", "'klamm.durability' = 'os'"), week);
    }
}
