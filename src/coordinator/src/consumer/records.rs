//! The records that a consumer group writes (`GroupCoordinatorRecordHelpers`).

use std::collections::BTreeSet;

use model::{Timestamp, TopicId};
use protocol::StrBytes;
use protocol::messages as m;
use protocol::messages::consumer_group_target_assignment_member_value::TopicPartition;

use crate::record::Record;

use super::group::Pattern;
use super::member::{Current, Subscription};
use super::partitions::Partitions;

/// The group has a new epoch, or none: then it is gone.
pub(super) fn epoch(group: &StrBytes, epoch_and_hash: Option<(i32, i64)>) -> Record {
    let value = |(epoch, metadata_hash)| m::ConsumerGroupMetadataValue {
        epoch,
        metadata_hash,
        ..Default::default()
    };
    Record::ConsumerGroupMetadata {
        key: m::ConsumerGroupMetadataKey { group_id: group.clone() },
        value: epoch_and_hash.map(value),
    }
}

/// The topics of the group are told by the hash alone.
pub(super) fn no_partition_metadata(group: &StrBytes) -> Record {
    Record::ConsumerGroupPartitionMetadata {
        key: m::ConsumerGroupPartitionMetadataKey { group_id: group.clone() },
        value: None,
    }
}

/// A member wants this, or is gone.
pub(super) fn member(
    group: &StrBytes,
    member: &StrBytes,
    subscription: Option<&Subscription>,
) -> Record {
    Record::ConsumerGroupMemberMetadata {
        key: m::ConsumerGroupMemberMetadataKey {
            group_id: group.clone(),
            member_id: member.clone(),
        },
        value: subscription.map(Subscription::to_record),
    }
}

/// The target assignment of this epoch is complete.
pub(super) fn target_epoch(group: &StrBytes, epoch_and_time: Option<(i32, Timestamp)>) -> Record {
    let value =
        |(assignment_epoch, at): (i32, Timestamp)| m::ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch,
            assignment_timestamp: at.0,
            ..Default::default()
        };
    Record::ConsumerGroupTargetAssignmentMetadata {
        key: m::ConsumerGroupTargetAssignmentMetadataKey { group_id: group.clone() },
        value: epoch_and_time.map(value),
    }
}

/// What a member shall own.
pub(super) fn target(
    group: &StrBytes,
    member: &StrBytes,
    partitions: Option<&Partitions>,
) -> Record {
    let value = |partitions: &Partitions| {
        let topic = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| TopicPartition {
            topic_id: *topic,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        };
        m::ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: partitions.iter().map(topic).collect(),
            ..Default::default()
        }
    };
    Record::ConsumerGroupTargetAssignmentMember {
        key: m::ConsumerGroupTargetAssignmentMemberKey {
            group_id: group.clone(),
            member_id: member.clone(),
        },
        value: partitions.map(value),
    }
}

/// What a member owns.
pub(super) fn current(group: &StrBytes, member: &StrBytes, current: Option<&Current>) -> Record {
    Record::ConsumerGroupCurrentMemberAssignment {
        key: m::ConsumerGroupCurrentMemberAssignmentKey {
            group_id: group.clone(),
            member_id: member.clone(),
        },
        value: current.map(Current::to_record),
    }
}

/// What a pattern matches.
pub(super) fn pattern(group: &StrBytes, pattern: &StrBytes, matched: Option<&Pattern>) -> Record {
    // The version is that of Kafka's metadata image. 0 makes a Kafka that takes over look anew.
    let value = |matched: &Pattern| m::ConsumerGroupRegularExpressionValue {
        topics: matched.topics.iter().cloned().collect(),
        version: 0,
        timestamp: matched.timestamp,
        ..Default::default()
    };
    Record::ConsumerGroupRegularExpression {
        key: m::ConsumerGroupRegularExpressionKey {
            group_id: group.clone(),
            regular_expression: pattern.clone(),
        },
        value: matched.map(value),
    }
}
