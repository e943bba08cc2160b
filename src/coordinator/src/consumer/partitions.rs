//! Sets of partitions: what a member shall own, and what it owns since which epoch.
//!
//! Invariant: no topic stands with an empty set, so that two equal sets are equal values.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// Partitions by topic, each with the epoch in which the member got it (KIP-1251).
pub(super) type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// Whether all that a member reports is in `owned`; a member that reports nothing proves nothing.
pub(super) fn is_within(reported: Option<&[Reported]>, owned: &Owned) -> bool {
    reported.is_some_and(|reported| {
        reported.iter().all(|topic| {
            topic.partitions.iter().all(|partition| contains(owned, topic.topic_id, *partition))
        })
    })
}

/// Whether a member may still use some of `owned`: who reports nothing may use all.
pub(super) fn may_overlap(reported: Option<&[Reported]>, owned: &Owned) -> bool {
    let Some(reported) = reported else { return true };
    reported
        .iter()
        .any(|topic| topic.partitions.iter().any(|&it| contains(owned, topic.topic_id, it)))
}

/// Whether the partition is in the set.
pub(super) fn contains(owned: &Owned, topic: TopicId, partition: i32) -> bool {
    owned.get(&topic).is_some_and(|partitions| partitions.contains_key(&partition))
}

/// All partitions of a set, one by one.
pub(super) fn each(owned: &Owned) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    owned.iter().flat_map(|(topic, partitions)| partitions.keys().map(|it| (*topic, *it)))
}
