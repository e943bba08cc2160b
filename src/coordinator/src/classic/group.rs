//! A classic group: its members, their common protocol, its state.
//!
//! In: members that come, rejoin and go; records. Out: the votes, the leader, the record. No timers and
//! no answers: whoever changes a group sees to these.
//!
//! Invariants:
//! - there are members exactly in the states other than [`ClassicState::Empty`]
//! - the leader is a member, and there is one once there are members
//! - every member knows the group's protocol, and all have at least one protocol in common
//! - `static_members` has each instance id of a member, and nothing else
//! - nobody is both a member and pending

use std::collections::{BTreeMap, BTreeSet};

use model::{Instant, Timestamp};
use protocol::StrBytes;
use protocol::messages as m;

use super::member::ClassicMember;
use crate::record::Record;

/// Where a classic group stands; one that is dead is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClassicState {
    /// Without members; its offsets may go on.
    Empty,
    /// Members are awaited to join or rejoin.
    PreparingRebalance,
    /// The leader is awaited to say who reads what.
    CompletingRebalance,
    /// Everybody knows what to read.
    Stable,
}

impl ClassicState {
    /// As Kafka's APIs name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
        }
    }
}

/// Why a group began its last rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rebalance {
    /// For people; KIP-800 has clients give reasons.
    pub(crate) reason: String,
    /// When it began.
    pub(crate) at: Timestamp,
}

/// A classic group.
#[derive(Clone, Debug)]
pub(crate) struct ClassicGroup {
    /// Where it stands.
    pub(crate) state: ClassicState,
    /// Since when, if that is known: it is not in values before version 2.
    pub(crate) state_since: Option<Timestamp>,
    /// Such as `consumer` or `connect`; none in a group that only ever had offsets.
    pub(crate) protocol_type: Option<StrBytes>,
    /// What the members chose for this generation.
    pub(crate) protocol: Option<StrBytes>,
    /// Counts finished join phases.
    pub(crate) generation: i32,
    /// The member that says who reads what.
    pub(crate) leader: Option<StrBytes>,
    /// By member id.
    pub(crate) members: BTreeMap<StrBytes, ClassicMember>,
    /// Member ids by instance id.
    pub(crate) static_members: BTreeMap<StrBytes, StrBytes>,
    /// Ids that were given out and not yet joined with.
    pub(crate) pending_joins: BTreeSet<StrBytes>,
    /// Members that have joined this generation and not asked for their assignment.
    pub(crate) pending_syncs: BTreeSet<StrBytes>,
    /// What members of protocol type `consumer` read; none when that can not be known.
    pub(crate) subscribed_topics: Option<BTreeSet<StrBytes>>,
    /// The first join phase of an empty group waits for more members up to here.
    pub(crate) initial_join_ends: Option<Instant>,
    /// Whether somebody joined since that wait was last extended.
    pub(crate) has_new_member: bool,
    /// Why it last began to rebalance, as far as this coordinator has seen.
    pub(crate) last_rebalance: Option<Rebalance>,
}

impl ClassicGroup {
    /// A group without anything.
    pub(crate) fn new(now: Timestamp) -> ClassicGroup {
        ClassicGroup {
            state: ClassicState::Empty,
            state_since: Some(now),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            subscribed_topics: None,
            initial_join_ends: None,
            has_new_member: false,
            last_rebalance: None,
        }
    }

    /// The group as the log shall know it.
    pub(crate) fn to_record(&self, group: &StrBytes) -> Record {
        let members = self.members.iter();
        let members = members.map(|(id, member)| member.to_record(id, self.protocol.as_ref()));
        Record::GroupMetadata {
            key: m::GroupMetadataKey { group: group.clone(), ..Default::default() },
            value: Some(m::GroupMetadataValue {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation: self.generation,
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                current_state_timestamp: self.state_since.unwrap_or(Timestamp::NONE).0,
                members: members.collect(),
                ..Default::default()
            }),
        }
    }
}
