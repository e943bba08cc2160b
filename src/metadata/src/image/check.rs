//! What holds in every image.
//!
//! A record that would break a rule of one partition is refused by replay ([`Partition::check`]);
//! rules between parts of the image can only be broken by a bug, so they are assertions.

use super::{Image, Partition, unify};
use crate::record::ConfigResource;
use model::{BrokerId, Uuid};

impl Partition {
    /// The rule that this state breaks, if any.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let rules = [
            (!self.replicas.is_empty(), "it has no replica"),
            (is_set(&self.replicas), "a replica is listed twice"),
            (is_set(&self.isr), "an in-sync replica is listed twice"),
            (is_set(&self.elr), "an eligible leader replica is listed twice"),
            (is_subset(&self.isr, &self.replicas), "an in-sync replica is no replica"),
            (is_subset(&self.elr, &self.replicas), "an eligible leader replica is no replica"),
            (!self.elr.iter().any(|id| self.isr.contains(id)), "an in-sync replica is in the ELR"),
            (!self.isr.is_empty() || !self.elr.is_empty(), "neither ISR nor ELR has a member"),
            (
                self.leader == BrokerId::NONE || self.isr.contains(&self.leader),
                "the leader is not in sync",
            ),
            (self.leader_epoch.0 >= 0, "the leader epoch is negative"),
            (self.partition_epoch.0 >= self.leader_epoch.0, "more leaders than changes"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(rule),
            None => Ok(()),
        }
    }
}

fn is_set(ids: &[BrokerId]) -> bool {
    ids.iter().enumerate().all(|(at, id)| !ids[..at].contains(id))
}

fn is_subset(ids: &[BrokerId], of: &[BrokerId]) -> bool {
    ids.iter().all(|id| of.contains(id))
}

impl Image {
    /// Panics when the image contradicts itself. Takes time in proportion to its size.
    pub fn assert_invariants(&self) {
        assert_eq!(
            self.topics.len(),
            self.topic_names.len(),
            "a topic has no id, or an id no topic"
        );
        let mut partition_count = 0;
        for (name, topic) in &self.topics {
            assert_eq!(*name, topic.name, "topic under a wrong name");
            assert_eq!(self.topic_names.get(&topic.id), Some(name), "topic under a wrong id");
            assert_ne!(topic.id, Uuid::ZERO, "topic `{name}` has no id");
            if let Some(unified) = unify(name) {
                assert_eq!(self.unified_names.get(&unified), Some(name), "a name collides");
            }
            for (index, partition) in topic.indexed_partitions() {
                assert_eq!(partition.check(), Ok(()), "partition {name}-{index}: {partition:?}");
            }
            partition_count += topic.partitions.len() as u64;
        }
        assert_eq!(self.partition_count, partition_count, "partitions counted wrongly");
        let unified = self.topics.keys().filter(|name| unify(name).is_some()).count();
        assert_eq!(self.unified_names.len(), unified, "a unified name has no topic");
        for (id, broker) in &self.brokers {
            assert_eq!(*id, broker.id, "broker under a wrong id");
            assert!(broker.epoch.0 <= self.offset.0, "broker {id} registered in the future");
        }
        for (resource, overrides) in &self.configs {
            assert!(!overrides.is_empty(), "{resource} is listed without configs");
            if let ConfigResource::Topic(name) = resource {
                assert!(self.topics.contains_key(name.as_str()), "{resource} has configs only");
            }
        }
        assert!(self.next_producer_id.0 >= 0, "producer ids went negative");
    }
}
