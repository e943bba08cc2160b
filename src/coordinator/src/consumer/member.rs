//! A member of a consumer group: what it wants, and how far it has come towards its target.
//!
//! In and out: the records that say so. Text and bytes are copied out of the records, since they
//! would keep whole frames alive.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::TopicId;
use protocol::StrBytes;
use protocol::messages as m;
use protocol::messages::consumer_group_current_member_assignment_value as current;
use protocol::messages::consumer_group_member_metadata_value as metadata;

use super::partitions::Owned;

/// The epoch of a static member that is away and will be back within its session (KIP-848).
pub(super) const EPOCH_AWAY: i32 = -2;

/// The epoch that a member leaves with.
pub(super) const EPOCH_LEAVING: i32 = -1;

/// How far a member is with its target assignment (`MemberState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It owns what it shall own as of its epoch.
    #[default]
    Stable,
    /// It has to give up partitions before it goes on.
    Unrevoked,
    /// It waits for partitions that others have to give up.
    Unreleased,
    /// Written by a newer coordinator.
    Unknown,
}

impl MemberState {
    fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }

    fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// What a member wants, and who it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Subscription {
    pub(super) instance_id: Option<StrBytes>,
    pub(super) rack_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) client_host: StrBytes,
    pub(super) topics: BTreeSet<StrBytes>,
    /// A pattern, or nothing, or the empty text: both mean none.
    pub(super) pattern: Option<StrBytes>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) assignor: Option<StrBytes>,
    /// What only members of the classic protocol have.
    pub(super) classic: Option<metadata::ClassicMemberMetadata>,
}

impl Subscription {
    /// The pattern, if there is one.
    pub(super) fn pattern(&self) -> Option<&StrBytes> {
        self.pattern.as_ref().filter(|pattern| !pattern.is_empty())
    }

    pub(super) fn from_record(value: &m::ConsumerGroupMemberMetadataValue) -> Subscription {
        Subscription {
            instance_id: detached(value.instance_id.as_ref()),
            rack_id: detached(value.rack_id.as_ref()),
            client_id: value.client_id.detached(),
            client_host: value.client_host.detached(),
            topics: value.subscribed_topic_names.iter().map(StrBytes::detached).collect(),
            pattern: detached(value.subscribed_topic_regex.as_ref()),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            assignor: detached(value.server_assignor.as_ref()),
            classic: value.classic_member_metadata.as_ref().map(copied),
        }
    }

    pub(super) fn to_record(&self) -> m::ConsumerGroupMemberMetadataValue {
        m::ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.iter().cloned().collect(),
            subscribed_topic_regex: self.pattern.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.assignor.clone(),
            classic_member_metadata: self.classic.clone(),
            ..Default::default()
        }
    }
}

fn detached(text: Option<&StrBytes>) -> Option<StrBytes> {
    text.map(StrBytes::detached)
}

fn copied(classic: &metadata::ClassicMemberMetadata) -> metadata::ClassicMemberMetadata {
    let protocol = |protocol: &metadata::ClassicProtocol| metadata::ClassicProtocol {
        name: protocol.name.detached(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
        ..Default::default()
    };
    metadata::ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: classic.supported_protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Current {
    /// 0 before the first assignment, [`EPOCH_AWAY`] while a static member is away.
    pub(super) epoch: i32,
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    pub(super) assigned: Owned,
    /// What it has to give up and may still use.
    pub(super) revoking: Owned,
}

impl Current {
    pub(super) fn from_record(value: &m::ConsumerGroupCurrentMemberAssignmentValue) -> Current {
        let owned = |topics: &[current::TopicPartitions]| {
            topics
                .iter()
                .filter(|topic| !topic.partitions.is_empty())
                .map(|topic| (topic.topic_id, with_epochs(topic, value.member_epoch.max(0))))
                .collect()
        };
        Current {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: MemberState::from_code(value.state),
            assigned: owned(&value.assigned_partitions),
            revoking: owned(&value.partitions_pending_revocation),
        }
    }

    pub(super) fn to_record(&self) -> m::ConsumerGroupCurrentMemberAssignmentValue {
        let topics = |owned: &Owned| {
            let topic =
                |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| current::TopicPartitions {
                    topic_id: *topic,
                    partitions: partitions.keys().copied().collect(),
                    assignment_epochs: Some(partitions.values().copied().collect()),
                    ..Default::default()
                };
            owned.iter().map(topic).collect()
        };
        m::ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: topics(&self.assigned),
            partitions_pending_revocation: topics(&self.revoking),
            ..Default::default()
        }
    }

    /// Whether there is nothing left to do for the assignment of this epoch.
    pub(super) fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }
}

/// Records from before Kafka 4.3 have no epochs: the member's is the latest that they can be.
fn with_epochs(topic: &current::TopicPartitions, member_epoch: i32) -> BTreeMap<i32, i32> {
    match &topic.assignment_epochs {
        Some(epochs) if epochs.len() == topic.partitions.len() => {
            topic.partitions.iter().copied().zip(epochs.iter().copied()).collect()
        }
        _ => topic.partitions.iter().map(|partition| (*partition, member_epoch)).collect(),
    }
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub(super) subscription: Subscription,
    pub(super) current: Current,
}

impl Member {
    /// Whether it speaks the classic protocol.
    pub(super) fn is_classic(&self) -> bool {
        self.subscription.classic.is_some()
    }
}
