//! A classic group: its members, their common protocol, its state.
//!
//! In: members that come, rejoin and go; records. Out: the votes, the leader, the record. No timers and
//! no answers: whoever changes a group sees to these.
//!
//! Invariants:
//! - [`ClassicState::Empty`] has no members, the last two states have some
//! - the leader is a member, and there is one once there are members
//! - every member knows the group's protocol, and all have at least one protocol in common
//! - `static_members` has each instance id of a member, and nothing else
//! - nobody is both a member and pending

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Instant, Timestamp};
use protocol::messages as m;
use protocol::{Decode, ErrorCode, Reader, StrBytes};

use super::member::ClassicMember;
use crate::group::Rebalance;
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

/// The protocol type of consumers, whose bytes a coordinator understands.
pub(crate) const CONSUMER: &str = "consumer";

/// More than what a group's record has beside its texts and members.
const GROUP_RECORD_BYTES: usize = 64;

/// The names that are in every list. Takes as many steps as there are names, each in the logarithm of
/// that: whoever joins says how many there are.
pub(crate) fn common_names<'a, L>(lists: impl Iterator<Item = L>) -> BTreeSet<&'a str>
where
    L: Iterator<Item = &'a str>,
{
    // In how many of the lists so far each name is that was in all of them when it was last seen. A
    // name that a list has twice counts once.
    let mut seen_in: BTreeMap<&str, usize> = BTreeMap::new();
    let mut list_count = 0;
    for list in lists {
        for name in list {
            if list_count == 0 {
                seen_in.insert(name, 1);
            } else if let Some(count) = seen_in.get_mut(name)
                && *count == list_count
            {
                *count += 1;
            }
        }
        list_count += 1;
    }
    seen_in.into_iter().filter(|(_, count)| *count == list_count).map(|(name, _)| name).collect()
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
    /// A group without anything, as of a moment that counts for expiry if it is known.
    pub(crate) fn new(now: Option<Timestamp>) -> ClassicGroup {
        ClassicGroup {
            state: ClassicState::Empty,
            state_since: now,
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

    /// Whether its members are consumers.
    pub(crate) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|kind| *kind == *CONSUMER)
    }

    /// Whether this member says who reads what.
    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| *leader == *member)
    }

    /// Takes a member in. The first one decides the protocol type, and leads.
    pub(crate) fn add(&mut self, id: StrBytes, member: ClassicMember, protocol_type: &StrBytes) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.detached());
        }
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.pending_joins.remove(&id);
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
    }

    /// Lets a member go, or one that was to become one. Another member leads when it was the leader.
    pub(crate) fn remove(&mut self, id: &str) -> Option<ClassicMember> {
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id, and returns what it was under the old one.
    pub(crate) fn rename(&mut self, old: &str, new: &StrBytes) -> Option<ClassicMember> {
        let member = self.members.remove(old)?;
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), new.clone());
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(new.clone());
        }
        let renamed = ClassicMember {
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            ..member.clone()
        };
        self.members.insert(new.clone(), renamed);
        Some(member)
    }

    /// Whether a request comes from a member that is one still (`ClassicGroup.validateMember`).
    ///
    /// # Errors
    /// The member is not known, or another has taken the instance id.
    pub(crate) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if *known != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether offsets may be committed (`ClassicGroup.validateOffsetCommit`).
    ///
    /// # Errors
    /// The group has members and this is none of them, it is not of this generation, or the
    /// generation is not yet what the members agreed on.
    pub(crate) fn check_offset_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance.is_some() {
            self.check_member(member, instance)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else {
            return Err(ErrorCode::UnknownMemberId);
        }
        if self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether a member with these protocols can take part.
    pub(crate) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut names: impl Iterator<Item = &'a StrBytes>,
    ) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && names.next().is_some();
        }
        if self.protocol_type.as_ref().is_none_or(|own| *own != *protocol_type) {
            return false;
        }
        if self.members.is_empty() {
            return names.next().is_some();
        }
        let candidates = self.candidates();
        names.any(|name| candidates.contains(name.as_str()))
    }

    /// The protocols that all members know.
    fn candidates(&self) -> BTreeSet<&str> {
        common_names(self.members.values().map(|member| {
            let protocols = member.protocols.iter();
            protocols.map(|protocol| protocol.name.as_str())
        }))
    }

    /// The vote: every member is for the first of its protocols that all can do, and most votes win;
    /// at a tie, what the leader likes better.
    pub(crate) fn select_protocol(&self) -> Option<StrBytes> {
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader))?;
        let candidates = self.candidates();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(vote) = member.vote(|name| candidates.contains(name)) {
                *votes.entry(vote).or_default() += 1;
            }
        }
        let most = votes.values().max()?;
        let mut names = leader.protocols.iter().map(|protocol| &protocol.name);
        names.find(|name| votes.get(name.as_str()) == Some(most)).cloned()
    }

    /// Whether everybody that is known has joined.
    pub(crate) fn has_all_joined(&self) -> bool {
        self.pending_joins.is_empty()
            && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// How many members have joined since the rebalance began.
    pub(crate) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    /// Makes sure that the leader has joined; returns whether there is such a member.
    pub(crate) fn elect_leader(&mut self) -> bool {
        let has_joined = |member: &ClassicMember| member.awaiting_join.is_some();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(has_joined) {
            return true;
        }
        match self.members.iter().find(|(_, member)| has_joined(member)) {
            Some((id, _)) => {
                self.leader = Some(id.clone());
                true
            }
            None => false,
        }
    }

    /// How long the slowest member may take to rejoin.
    pub(crate) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// The join phase is over.
    pub(crate) fn begin_generation(&mut self, now: Timestamp) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.select_protocol();
        self.subscribed_topics = self.read_subscriptions();
        self.initial_join_ends = None;
        self.pending_syncs = self.members.keys().cloned().collect();
        let has_members = !self.members.is_empty();
        let state =
            if has_members { ClassicState::CompletingRebalance } else { ClassicState::Empty };
        self.move_to(state, now);
    }

    /// Changes the state.
    pub(crate) fn move_to(&mut self, state: ClassicState, now: Timestamp) {
        self.state = state;
        self.state_since = Some(now);
    }

    /// Whether a member reads the topic; consumers are taken to read everything when their
    /// subscriptions are not understood.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// What the members read, if they are consumers of whom that can be known.
    pub(crate) fn read_subscriptions(&self) -> Option<BTreeSet<StrBytes>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(member.read_subscription(self.protocol.as_ref()?)?);
        }
        Some(topics)
    }

    /// The group as the log shall know it.
    pub(crate) fn to_record(&self, group: &StrBytes) -> Record {
        let members = self.members.iter();
        let members = members.map(|(id, member)| member.to_record(id, self.protocol.as_ref()));
        Record::GroupMetadata {
            key: m::GroupMetadataKey { group: group.clone() },
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

    /// At most so many bytes are its record's key and value.
    pub(crate) fn record_bytes_max(&self, group: &StrBytes) -> usize {
        let texts = [&self.protocol_type, &self.protocol, &self.leader];
        let texts = texts.iter().map(|text| text.as_ref().map_or(0, |text| text.len()));
        let protocol = self.protocol.as_ref();
        let members = self.members.iter();
        let members = members.map(|(id, member)| member.record_bytes_max(id, protocol));
        group.len() + texts.sum::<usize>() + members.sum::<usize>() + GROUP_RECORD_BYTES
    }

    /// Asserts what must always hold.
    pub(crate) fn assert_invariants(&self) {
        match self.state {
            ClassicState::Empty => assert!(self.members.is_empty()),
            ClassicState::PreparingRebalance => {}
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                assert!(!self.members.is_empty());
                let protocol = self.protocol.as_ref();
                let mut members = self.members.values();
                assert!(members.all(|m| protocol.is_none_or(|name| m.metadata(name).is_some())));
            }
        }
        if !self.members.is_empty() {
            let leader = self.leader.as_ref().expect("members have a leader");
            assert!(self.members.contains_key(leader));
        }
        let instances = self.members.iter();
        let instances: BTreeMap<_, _> =
            instances.filter_map(|(id, m)| Some((m.instance_id.clone()?, id.clone()))).collect();
        assert_eq!(instances, self.static_members);
        assert!(self.pending_joins.iter().all(|id| !self.members.contains_key(id)));
        assert!(self.pending_syncs.iter().all(|id| self.members.contains_key(id)));
        for member in self.members.values() {
            let is_joining = self.state == ClassicState::PreparingRebalance;
            assert!(member.awaiting_join.is_none() || is_joining);
            let is_syncing = self.state == ClassicState::CompletingRebalance;
            assert!(member.awaiting_sync.is_none() || is_syncing);
        }
    }
}

impl ClassicMember {
    /// The topics that a consumer says it reads. Only the fields of version 0 are read: all later
    /// versions begin with them (`ClassicGroup.computeSubscribedTopics`).
    pub(crate) fn read_subscription(&self, protocol: &str) -> Option<BTreeSet<StrBytes>> {
        let mut reader = Reader::new(self.metadata(protocol)?.clone());
        let version = reader.i16().ok()?;
        if version < 0 {
            return None;
        }
        let subscription = m::ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?;
        Some(subscription.topics.iter().map(StrBytes::detached).collect())
    }
}
