//! The groups of consumers of a scenario.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::group::Assignor;
use history::{Commits, GroupRules, Protocol};
use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::cluster::{CONSUMER_SESSION, CONSUMER_SESSION_MS};
use crate::workload::REQUEST_TIMEOUT;
use crate::world::nanos;

/// Whether a group may change its protocol while it has members.
const MIGRATION_POLICY: &str = "group.consumer.migration.policy";

const CLASSIC_SIZE_MAX: &str = "group.max.size";
const CONSUMER_SIZE_MAX: &str = "group.consumer.max.size";

/// How members and coordinator talk (`group.protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolSpec {
    /// JoinGroup and SyncGroup.
    #[default]
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
    /// One or the other, drawn for each session of a member: the group changes with who is in it.
    Mixed,
}

/// When members commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitSpec {
    /// What they have processed: at least once.
    #[default]
    After,
    /// What they are going to process: at most once.
    Before,
    /// `enable.auto.commit`.
    Auto,
}

/// A group of consumers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSpec {
    /// How members and coordinator talk.
    pub protocol: ProtocolSpec,
    /// How many members it has; 0 for a simple group, which only an administrator commits for.
    pub members: u32,
    /// So many of them have a `group.instance.id`.
    pub static_members: u32,
    /// Members that only come with a `join-burst`, and leave again.
    pub guests: u32,
    /// When members commit.
    pub commit: CommitSpec,
    /// `partition.assignment.strategy` of classic members; of a consumer group the first one is
    /// `group.remote.assignor`. Empty for what clients and brokers choose.
    pub assignors: Vec<String>,
    /// `session.timeout.ms` of a classic group; of a consumer group it is the broker's.
    pub session_timeout_ms: u64,
    /// `heartbeat.interval.ms` of a classic group.
    pub heartbeat_interval_ms: u64,
    /// `max.poll.interval.ms`: also how long a rebalance waits for a member.
    pub poll_interval_max_ms: u64,
    /// The topics that its members read; all when empty.
    pub topics: BTreeSet<String>,
    /// A regular expression by which members of the consumer protocol subscribe; of the scenario's
    /// topics it has to match those in `topics` and no other, and what else it matches is read too.
    pub pattern: Option<String>,
    /// After one poll in so many a member leaves, and comes back soon; 0 for never.
    pub leaves_one_in: u64,
    /// After one poll in so many a member takes longer than `max.poll.interval.ms` allows, or nearly;
    /// 0 for never.
    pub stalls_one_in: u64,
    /// How often all leave, and its offsets are set or the whole group is deleted.
    pub resets: u32,
    /// How often an administrator deletes offsets, while members are there or not.
    pub offset_deletions: u32,
    /// How often somebody joins a classic group, never asks for its assignment, and sends heartbeats.
    pub hangs: u32,
}

impl Default for GroupSpec {
    fn default() -> GroupSpec {
        GroupSpec {
            protocol: ProtocolSpec::Classic,
            members: 3,
            static_members: 0,
            guests: 0,
            commit: CommitSpec::After,
            assignors: Vec::new(),
            session_timeout_ms: 2_000,
            heartbeat_interval_ms: 300,
            poll_interval_max_ms: 4_000,
            topics: BTreeSet::new(),
            pattern: None,
            leaves_one_in: 0,
            stalls_one_in: 0,
            resets: 0,
            offset_deletions: 0,
            hangs: 0,
        }
    }
}

/// The settings that say how many may be in a group.
fn sizes_of(protocol: ProtocolSpec) -> &'static [&'static str] {
    match protocol {
        ProtocolSpec::Classic => &[CLASSIC_SIZE_MAX],
        ProtocolSpec::Consumer => &[CONSUMER_SIZE_MAX],
        ProtocolSpec::Mixed => &[CLASSIC_SIZE_MAX, CONSUMER_SIZE_MAX],
    }
}

impl GroupSpec {
    /// The assignors of a member of a classic group, if any are named.
    pub fn classic_assignors(&self) -> Vec<Assignor> {
        self.assignors.iter().filter_map(|name| Assignor::from_name(name)).collect()
    }

    /// `max.poll.interval.ms`.
    pub fn poll_interval_max(&self) -> Duration {
        Duration::from_millis(self.poll_interval_max_ms)
    }

    /// What is wrong with the values, if anything is.
    fn fault(&self) -> Option<String> {
        if self.members == 0 && self.resets + self.offset_deletions == 0 {
            return Some("members is 0, and no administrator commits for it".to_owned());
        }
        if self.members < self.static_members {
            return Some("static_members is above members".to_owned());
        }
        if self.pattern.is_some() && self.protocol != ProtocolSpec::Consumer {
            return Some("pattern is for the consumer protocol".to_owned());
        }
        if 0 < self.hangs && (self.protocol != ProtocolSpec::Classic || self.members == 0) {
            return Some("hangs is for a classic group with members".to_owned());
        }
        let is_known = |name: &&String| match self.protocol {
            ProtocolSpec::Classic | ProtocolSpec::Mixed => Assignor::from_name(name).is_some(),
            ProtocolSpec::Consumer => ["uniform", "range"].contains(&name.as_str()),
        };
        let unknown = self.assignors.iter().find(|name| !is_known(name));
        unknown.map(|name| format!("assignors has {name:?}, which this protocol does not know"))
    }
}

impl Scenario {
    /// The topics of `group`.
    pub fn topics_of(&self, group: &GroupSpec) -> BTreeSet<Arc<str>> {
        let is_read = |name: &&String| group.topics.is_empty() || group.topics.contains(*name);
        self.topics.keys().filter(is_read).map(|name| Arc::from(name.as_str())).collect()
    }

    /// What `group` may do.
    pub fn group_rules(&self, group: &GroupSpec) -> GroupRules {
        let setting = |name: &str| self.cluster.settings.get(name).map(|value| value.trim());
        let minutes = setting("offsets.retention.minutes").and_then(|value| value.parse().ok());
        GroupRules {
            protocol: match group.protocol {
                ProtocolSpec::Classic => Protocol::Classic,
                ProtocolSpec::Consumer => Protocol::Consumer,
                ProtocolSpec::Mixed => Protocol::Mixed,
            },
            commits: match group.commit {
                CommitSpec::After => Commits::After,
                CommitSpec::Before => Commits::Before,
                CommitSpec::Auto => Commits::Auto,
            },
            topics: self.topics_of(group),
            patience_nanos: self.patience_of(group),
            members_max: self.members_max(group),
            retention_ms: minutes.map(|minutes: u64| minutes.saturating_mul(60_000)),
            is_lost_with_power: setting("klamm.durability") == Some("os"),
        }
    }

    /// So long members that are gone keep their groups busy.
    pub fn groups_linger(&self) -> Duration {
        let linger = |group: &GroupSpec| {
            let session_ms = self.consumer_session_ms().max(group.session_timeout_ms);
            Duration::from_millis(session_ms + group.poll_interval_max_ms)
        };
        self.groups.values().map(linger).max().unwrap_or_default()
    }

    /// The longest time after which a member that is silent is out of its group.
    pub fn longest_session(&self) -> Duration {
        let classic_ms = self.groups.values().map(|group| group.session_timeout_ms).max();
        Duration::from_millis(self.consumer_session_ms().max(classic_ms.unwrap_or_default()))
    }

    /// Whether `group` may have no room for a member: who crashed keeps its place for a session, so that
    /// a member may hold several.
    pub fn may_be_full(&self, group: &GroupSpec) -> bool {
        let is_set = |name: &&str| self.cluster.settings.contains_key(*name);
        sizes_of(group.protocol).iter().any(is_set)
    }

    /// So many may be in `group`, of whichever protocol it is.
    pub fn members_max(&self, group: &GroupSpec) -> Option<u32> {
        let given = |name: &&str| self.cluster.settings.get(*name)?.trim().parse().ok();
        let sizes: Option<Vec<u32>> = sizes_of(group.protocol).iter().map(given).collect();
        sizes?.into_iter().max()
    }

    fn consumer_session_ms(&self) -> u64 {
        let given = self.cluster.settings.get(CONSUMER_SESSION);
        given.and_then(|value| value.trim().parse().ok()).unwrap_or(CONSUMER_SESSION_MS)
    }

    /// A member is given up after its session, or when it is too slow to let go; clocks may be wrong by
    /// a part of that.
    fn patience_of(&self, group: &GroupSpec) -> Option<u64> {
        if group.protocol == ProtocolSpec::Classic {
            // They let go of what they have by themselves, as when a topic grows.
            return None;
        }
        let session_ms = self.consumer_session_ms();
        let patience = Duration::from_millis(session_ms.min(group.poll_interval_max_ms) * 9 / 10);
        Some(nanos(patience.saturating_sub(REQUEST_TIMEOUT)))
    }

    /// What is wrong with a group, if anything is.
    pub(super) fn fault_in_groups(&self) -> Option<String> {
        let mut groups = self.groups.iter();
        groups.find_map(|(name, group)| {
            let missing = group.topics.iter().find(|topic| !self.topics.contains_key(*topic));
            let missing = missing.map(|topic| format!("topics has {topic:?}, which is no topic"));
            let policy = self.cluster.settings.get(MIGRATION_POLICY);
            let is_kept =
                policy.is_some_and(|policy| !policy.eq_ignore_ascii_case("bidirectional"));
            let kept = (group.protocol == ProtocolSpec::Mixed && is_kept)
                .then(|| format!("a mixed group needs {MIGRATION_POLICY} to be bidirectional"));
            Some(format!("groups.{name}: {}", group.fault().or(missing).or(kept)?))
        })
    }
}
