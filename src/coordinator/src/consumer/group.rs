//! A consumer group as its records tell it, with the tables that answer in no time.
//!
//! In: members and assignments, one at a time. Out: who owns, who subscribes, who is static.
//!
//! Invariants:
//! - the tables are functions of the members
//! - a partition has at most one owner, and the owner's sets hold it
//! - no member is ahead of the group, nor is the assignment
//!
//! A log may tell for a moment of two owners of one partition, when it is read while it is compacted
//! (KAFKA-19862): the later record wins.

use std::collections::{BTreeMap, BTreeSet};

use model::{FastMap, Instant, Timestamp, TopicId};
use protocol::StrBytes;
use protocol::messages::consumer_group_member_metadata_value::ClassicMemberMetadata;

use crate::cluster::{Cluster, Topic};
use crate::config::Config;
use crate::group::Rebalance;

use super::member::{Current, Member, Subscription};
use super::partitions::{Partitions, each};

/// A consumer group.
#[derive(Debug, Default)]
pub(crate) struct ConsumerGroup {
    pub(super) epoch: i32,
    /// Over the topics that the group subscribes to ([`super::hash`]).
    pub(super) metadata_hash: i64,
    /// The epoch of `target`; -1 when the target was taken away.
    pub(super) assignment_epoch: i32,
    /// When `target` was computed; 0 when nobody knows.
    pub(super) assigned_at: Timestamp,
    members: BTreeMap<StrBytes, Member>,
    /// What each member shall own.
    pub(super) target: BTreeMap<StrBytes, Partitions>,
    /// What the patterns matched last.
    pub(super) patterns: BTreeMap<StrBytes, Pattern>,
    /// Whether the log has a record that Kafka 4.1 and later take away.
    pub(super) has_partition_metadata: bool,

    owners: FastMap<(TopicId, i32), StrBytes>,
    statics: BTreeMap<StrBytes, StrBytes>,
    topic_uses: BTreeMap<StrBytes, usize>,
    pattern_uses: BTreeMap<StrBytes, usize>,
    assignor_uses: BTreeMap<StrBytes, usize>,
    protocol_uses: BTreeMap<StrBytes, usize>,
    classic_count: usize,

    /// Why the group got its epoch, as far as this coordinator has seen; not in the log.
    pub(crate) last_rebalance: Option<Rebalance>,
    /// The topics as they were when the hash was computed; not in the log.
    pub(super) topics: BTreeMap<StrBytes, Topic>,
    /// When the patterns were matched last; not in the log.
    pub(super) patterns_matched_at: Option<Instant>,
    /// When the last member went, or when the group was loaded without any; not in the log.
    pub(super) emptied_at: Option<Timestamp>,
}

/// What a pattern matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) topics: BTreeSet<StrBytes>,
    pub(super) timestamp: i64,
}

impl ConsumerGroup {
    /// A group without anything. Its epochs are 1, as in Kafka since 4.1: 0 is the epoch of one who
    /// joins and of nobody else.
    pub(super) fn new() -> ConsumerGroup {
        ConsumerGroup { epoch: 1, assignment_epoch: 1, ..Default::default() }
    }

    pub(super) fn members(&self) -> &BTreeMap<StrBytes, Member> {
        &self.members
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The member's id as the group keeps it, and the member.
    pub(super) fn entry(&self, id: &str) -> Option<(&StrBytes, &Member)> {
        self.members.get_key_value(id)
    }

    /// The member that has this instance id now.
    pub(super) fn static_member(&self, instance: &str) -> Option<(&StrBytes, &Member)> {
        self.members.get_key_value(self.statics.get(instance)?)
    }

    /// Whether a member with this id, or this instance id, finds room where `size_max` are allowed: who
    /// is there already does, and so does a static member that comes back under another id.
    pub(super) fn has_room(&self, id: &str, instance: Option<&StrBytes>, size_max: usize) -> bool {
        self.members.len() < size_max
            || self.members.contains_key(id)
            || instance.is_some_and(|instance| self.static_member(instance).is_some())
    }

    pub(super) fn classic_count(&self) -> usize {
        self.classic_count
    }

    /// Who may use the partition.
    pub(super) fn owner(&self, topic: TopicId, partition: i32) -> Option<&StrBytes> {
        self.owners.get(&(topic, partition))
    }

    /// How many members use the pattern.
    pub(super) fn pattern_use_count(&self, pattern: &str) -> usize {
        self.pattern_uses.get(pattern).copied().unwrap_or(0)
    }

    /// The patterns that members use.
    pub(super) fn used_patterns(&self) -> impl Iterator<Item = &StrBytes> {
        self.pattern_uses.keys()
    }

    /// How many classic members speak this protocol.
    pub(super) fn protocol_use_count(&self, protocol: &str) -> usize {
        self.protocol_uses.get(protocol).copied().unwrap_or(0)
    }

    /// The assignor that most members want, among those that there are; the first of equals, and the
    /// first of all when nobody wants any.
    pub(super) fn preferred_assignor<'a>(&self, config: &'a Config) -> &'a str {
        let votes = |name: &str| self.assignor_uses.get(name).copied().unwrap_or(0);
        let mut best = config.consumer_assignors.first().map_or("uniform", String::as_str);
        for name in &config.consumer_assignors {
            if votes(name) > votes(best) {
                best = name;
            }
        }
        best
    }

    /// Whether some member reads the topic, by name or by pattern.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.topic_uses.contains_key(topic)
            || self.patterns.values().any(|pattern| pattern.topics.contains(topic))
    }

    /// Whether this member reads the topic.
    pub(super) fn member_reads(&self, member: &Subscription, topic: &str) -> bool {
        member.topics.contains(topic)
            || member
                .pattern()
                .and_then(|pattern| self.patterns.get(pattern))
                .is_some_and(|pattern| pattern.topics.contains(topic))
    }

    /// The topics that the group subscribes to and that there are.
    pub(super) fn existing_topics(&self, cluster: &dyn Cluster) -> BTreeMap<StrBytes, Topic> {
        let matched = self.patterns.values().flat_map(|pattern| &pattern.topics);
        let names: BTreeSet<&StrBytes> = self.topic_uses.keys().chain(matched).collect();
        names.into_iter().filter_map(|name| Some((name.clone(), cluster.topic(name)?))).collect()
    }

    /// Whether the partition is the member's, or nobody's.
    pub(super) fn is_free_for(&self, member: &str, topic: TopicId, partition: i32) -> bool {
        self.owner(topic, partition).is_none_or(|owner| owner.as_str() == member)
    }

    /// Whether a partition that the member shall get is still with another one.
    pub(super) fn waits_for_others(&self, id: &str) -> bool {
        self.target.get(id).into_iter().flatten().any(|(topic, partitions)| {
            partitions.iter().any(|partition| !self.is_free_for(id, *topic, *partition))
        })
    }

    pub(super) fn set_subscription(&mut self, id: &StrBytes, subscription: Subscription) {
        self.ensure_member(id);
        let member = self.members.get_mut(id).expect("it was just made");
        let old = std::mem::replace(&mut member.subscription, subscription.clone());
        self.uncount(id, &old);
        self.count(id, &subscription);
    }

    pub(super) fn set_current(&mut self, id: &StrBytes, current: Current) {
        self.ensure_member(id);
        let id = self.members.get_key_value(id).expect("it was just made").0.clone();
        let member = self.members.get_mut(&id).expect("it was just made");
        let old = std::mem::replace(&mut member.current, current);
        for place in each(&old.assigned).chain(each(&old.revoking)) {
            if self.owners.get(&place).is_some_and(|owner| *owner == id) {
                self.owners.remove(&place);
            }
        }
        for place in each(&member.current.assigned).chain(each(&member.current.revoking)) {
            self.owners.insert(place, id.clone());
        }
    }

    /// Takes the member away; nothing happens when there is none.
    pub(super) fn remove_member(&mut self, id: &StrBytes) {
        if self.members.contains_key(id) {
            self.set_current(id, Current::default());
            self.target.remove(id);
            let member = self.members.remove(id).expect("it was just looked up");
            self.uncount(id, &member.subscription);
        }
    }

    fn ensure_member(&mut self, id: &StrBytes) {
        if !self.members.contains_key(id) {
            self.members.insert(id.detached(), Member::default());
        }
    }

    fn count(&mut self, id: &StrBytes, subscription: &Subscription) {
        for topic in &subscription.topics {
            *self.topic_uses.entry(topic.clone()).or_default() += 1;
        }
        if let Some(pattern) = subscription.pattern() {
            *self.pattern_uses.entry(pattern.clone()).or_default() += 1;
        }
        if let Some(assignor) = &subscription.assignor {
            *self.assignor_uses.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(instance) = &subscription.instance_id {
            self.statics.insert(instance.clone(), id.detached());
        }
        if let Some(classic) = &subscription.classic {
            self.classic_count += 1;
            for protocol in distinct_names(classic) {
                *self.protocol_uses.entry(protocol.clone()).or_default() += 1;
            }
        }
    }

    fn uncount(&mut self, id: &StrBytes, subscription: &Subscription) {
        for topic in &subscription.topics {
            count_down(&mut self.topic_uses, topic);
        }
        if let Some(pattern) = subscription.pattern() {
            count_down(&mut self.pattern_uses, pattern);
        }
        if let Some(assignor) = &subscription.assignor {
            count_down(&mut self.assignor_uses, assignor);
        }
        if let Some(instance) = &subscription.instance_id {
            // A static member that was replaced has lost its place to the new one already.
            if self.statics.get(instance).is_some_and(|holder| holder == id) {
                self.statics.remove(instance);
            }
        }
        if let Some(classic) = &subscription.classic {
            self.classic_count -= 1;
            for protocol in distinct_names(classic) {
                count_down(&mut self.protocol_uses, protocol);
            }
        }
    }

    /// What holds between any two calls, as long as the log told no contradictions.
    pub(super) fn assert_invariants(&self) {
        assert!(self.assignment_epoch <= self.epoch, "the assignment is ahead of the group");
        let mut owned_count = 0;
        for (id, member) in &self.members {
            let current = &member.current;
            assert!(current.epoch <= self.epoch, "member {id} is ahead of its group");
            for (topic, partition) in each(&current.assigned).chain(each(&current.revoking)) {
                owned_count += 1;
                let owner = self.owner(topic, partition);
                assert!(owner == Some(id), "{topic}-{partition} of {id} is also with {owner:?}");
            }
        }
        assert_eq!(owned_count, self.owners.len(), "owners of partitions that nobody has");
        let mut targeted = BTreeSet::new();
        for (id, target) in &self.target {
            assert!(self.members.contains_key(id), "a target for {id}, who is no member");
            for (topic, partitions) in target {
                for partition in partitions {
                    assert!(targeted.insert((topic, partition)), "{topic}-{partition} twice");
                }
            }
        }
        let classic = self.members.values().filter(|member| member.is_classic()).count();
        assert_eq!(classic, self.classic_count, "classic members were miscounted");
    }
}

/// A protocol that a member names twice is one.
fn distinct_names(classic: &ClassicMemberMetadata) -> BTreeSet<&StrBytes> {
    classic.supported_protocols.iter().map(|protocol| &protocol.name).collect()
}

fn count_down(uses: &mut BTreeMap<StrBytes, usize>, name: &StrBytes) {
    if let Some(count) = uses.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            uses.remove(name);
        }
    }
}
