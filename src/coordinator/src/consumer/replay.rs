//! The records of consumer groups, taken in.
//!
//! Any order is accepted, and so are tombstones of what is not there: compaction keeps the end of a
//! story and not its beginning (KAFKA-17306, KAFKA-19862).

use std::collections::BTreeSet;

use model::Timestamp;
use protocol::StrBytes;

use crate::group::Group;
use crate::record::Record;
use crate::shard::Shard;

use super::group::{ConsumerGroup, Pattern};
use super::member::{Current, EPOCH_LEAVING, Subscription};
use super::partitions::Partitions;

impl Shard {
    /// Takes in a record of a consumer group.
    pub(crate) fn replay_consumer_group(&mut self, record: Record) {
        match record {
            Record::ConsumerGroupMetadata { key, value: None } => {
                if let Some(Group::Consumer(_)) = self.groups.get(&key.group_id) {
                    self.groups.remove(&key.group_id);
                }
            }
            Record::ConsumerGroupMetadata { key, value: Some(value) } => {
                let group = self.consumer_group_of_record(&key.group_id);
                group.epoch = value.epoch;
                group.metadata_hash = value.metadata_hash;
            }
            Record::ConsumerGroupPartitionMetadata { key, value: Some(_) } => {
                self.consumer_group_of_record(&key.group_id).has_partition_metadata = true;
            }
            Record::ConsumerGroupMemberMetadata { key, value: Some(value) } => {
                let group = self.consumer_group_of_record(&key.group_id);
                group.set_subscription(&key.member_id, Subscription::from_record(&value));
            }
            Record::ConsumerGroupTargetAssignmentMetadata { key, value: Some(value) } => {
                let group = self.consumer_group_of_record(&key.group_id);
                group.assignment_epoch = value.assignment_epoch;
                group.assigned_at = Timestamp(value.assignment_timestamp);
            }
            Record::ConsumerGroupTargetAssignmentMember { key, value: Some(value) } => {
                let target = value
                    .topic_partitions
                    .iter()
                    .filter(|topic| !topic.partitions.is_empty())
                    .map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect()))
                    .collect();
                self.consumer_group_of_record(&key.group_id).set_target(&key.member_id, target);
            }
            Record::ConsumerGroupCurrentMemberAssignment { key, value: Some(value) } => {
                let group = self.consumer_group_of_record(&key.group_id);
                group.set_current(&key.member_id, Current::from_record(&value));
            }
            Record::ConsumerGroupRegularExpression { key, value: Some(value) } => {
                let topics = value.topics.iter().map(StrBytes::detached).collect::<BTreeSet<_>>();
                let pattern = Pattern { topics, timestamp: value.timestamp };
                let group = self.consumer_group_of_record(&key.group_id);
                group.patterns.insert(key.regular_expression.detached(), pattern);
            }
            tombstone => self.replay_consumer_group_tombstone(&tombstone),
        }
    }

    fn replay_consumer_group_tombstone(&mut self, record: &Record) {
        let id = match record {
            Record::ConsumerGroupPartitionMetadata { key, .. } => &key.group_id,
            Record::ConsumerGroupMemberMetadata { key, .. } => &key.group_id,
            Record::ConsumerGroupTargetAssignmentMetadata { key, .. } => &key.group_id,
            Record::ConsumerGroupTargetAssignmentMember { key, .. } => &key.group_id,
            Record::ConsumerGroupCurrentMemberAssignment { key, .. } => &key.group_id,
            Record::ConsumerGroupRegularExpression { key, .. } => &key.group_id,
            _ => return,
        };
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else { return };
        match record {
            Record::ConsumerGroupPartitionMetadata { .. } => group.has_partition_metadata = false,
            Record::ConsumerGroupMemberMetadata { key, .. } => group.remove_member(&key.member_id),
            Record::ConsumerGroupTargetAssignmentMetadata { .. } => {
                group.assignment_epoch = -1;
                group.assigned_at = Timestamp(0);
            }
            Record::ConsumerGroupTargetAssignmentMember { key, .. } => {
                group.target.remove(&key.member_id);
            }
            Record::ConsumerGroupCurrentMemberAssignment { key, .. }
                if group.member(&key.member_id).is_some() =>
            {
                let gone = Current { epoch: EPOCH_LEAVING, ..Default::default() };
                group.set_current(&key.member_id, gone);
            }
            Record::ConsumerGroupRegularExpression { key, .. } => {
                group.patterns.remove(&key.regular_expression);
            }
            _ => {}
        }
    }

    /// The consumer group that a record speaks of. A classic group of that name ended before, since
    /// its end is written in front of the consumer group's beginning.
    fn consumer_group_of_record(&mut self, id: &StrBytes) -> &mut ConsumerGroup {
        if !matches!(self.groups.get(id), Some(Group::Consumer(_))) {
            self.groups.insert(id.detached(), Group::Consumer(ConsumerGroup::new()));
        }
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => group,
            _ => unreachable!("it was just put there"),
        }
    }
}

impl ConsumerGroup {
    fn set_target(&mut self, member: &StrBytes, target: Partitions) {
        match self.target.get_mut(member) {
            Some(place) => *place = target,
            None => {
                self.target.insert(member.detached(), target);
            }
        }
    }
}
