//! Who of a classic group reads what: Kafka's client-side assignors. Pure.
//!
//! In: the members with their subscriptions and what they own, and the number of partitions of each
//! topic. Out: the partitions of every member. Range and round robin divide as `RangeAssignor` and
//! `RoundRobinAssignor` do; the sticky ones are as even and as sticky as `StickyAssignor` and
//! `CooperativeStickyAssignor`, but who gets a partition more than others may differ, so whose
//! client leads a mixed group does not matter. Racks are not looked at (KIP-881).
//!
//! Invariants:
//! - every partition of a subscribed topic that exists goes to one member that subscribes to it
//! - only the cooperative assignor leaves one out: as long as another member owns it
//!
//! Start at [`Assignor::assign`]; `wire.rs` is what members and leader send each other.

mod sticky;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use protocol::StrBytes;

use crate::metadata::TopicPartition;

/// A member as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// Its member id.
    pub member_id: StrBytes,
    /// Its `group.instance.id`.
    pub instance_id: Option<StrBytes>,
    /// What it subscribes to.
    pub topics: BTreeSet<StrBytes>,
    /// What it has now, in its own words.
    pub owned: BTreeSet<TopicPartition>,
    /// The generation in which it got that; -1 when it does not say.
    pub generation: i32,
}

/// The partitions of each member, by member id.
pub type GroupAssignment = BTreeMap<StrBytes, Vec<TopicPartition>>;

/// A way to divide partitions (`partition.assignment.strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Of each topic one run of neighbours per member: equal partitions of topics with the same
    /// number of partitions go to the same member.
    Range,
    /// Partition by partition, member by member.
    RoundRobin,
    /// As even as can be, with as few moves as can be; everything is given up before (eager).
    Sticky,
    /// The same, but only what moves is given up, and given on in a second rebalance (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Assignor; 4] =
        [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky];

    /// The name that members agree on.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of that name.
    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether members can keep what they have while the group rebalances.
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// Divides the partitions of `counts` (how many each topic has; topics that do not exist are
    /// not in it) among `members`.
    pub fn assign(
        self,
        counts: &BTreeMap<StrBytes, i32>,
        members: &[GroupMember],
    ) -> GroupAssignment {
        match self {
            Assignor::Range => range(counts, members),
            Assignor::RoundRobin => round_robin(counts, members),
            Assignor::Sticky => sticky::assign(counts, members),
            Assignor::CooperativeSticky => {
                without_transfers(sticky::assign(counts, members), members)
            }
        }
    }
}

/// Static members first, by instance id; then dynamic ones, by member id
/// (`AbstractPartitionAssignor.MemberInfo`).
fn by_identity(a: &&GroupMember, b: &&GroupMember) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.member_id.cmp(&b.member_id),
    }
}

fn nothing(members: &[GroupMember]) -> GroupAssignment {
    members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect()
}

fn range(counts: &BTreeMap<StrBytes, i32>, members: &[GroupMember]) -> GroupAssignment {
    let mut assignment = nothing(members);
    for (topic, &count) in counts {
        let mut readers: Vec<&GroupMember> =
            members.iter().filter(|member| member.topics.contains(topic)).collect();
        readers.sort_by(by_identity);
        let Ok(reader_count) = i32::try_from(readers.len()) else { continue };
        let mut next = 0;
        for (place, reader) in (0..reader_count).zip(readers) {
            let share = count / reader_count + i32::from(place < count % reader_count);
            let partitions = (next..next + share).map(|p| TopicPartition::new(topic.clone(), p));
            assignment.entry(reader.member_id.clone()).or_default().extend(partitions);
            next += share;
        }
    }
    assignment
}

fn round_robin(counts: &BTreeMap<StrBytes, i32>, members: &[GroupMember]) -> GroupAssignment {
    let mut assignment = nothing(members);
    let mut order: Vec<&GroupMember> = members.iter().collect();
    order.sort_by(by_identity);
    let mut turn = 0;
    for (topic, &count) in counts {
        for partition in 0..count {
            let reads = |place: &usize| order[place % order.len()].topics.contains(topic);
            let Some(place) = (turn..turn + order.len()).find(reads) else { break };
            let reader = &order[place % order.len()].member_id;
            let at = TopicPartition::new(topic.clone(), partition);
            assignment.entry(reader.clone()).or_default().push(at);
            turn = (place + 1) % order.len();
        }
    }
    assignment
}

/// Takes out what somebody else still owns: its owner sees that it lost it, gives it up and joins
/// again, and then it is free. Of those that claim the same, the one of the latest generation keeps
/// it; when there are several of those, all of them have to give it up first.
fn without_transfers(mut assignment: GroupAssignment, members: &[GroupMember]) -> GroupAssignment {
    let mut claims: BTreeMap<&TopicPartition, Vec<(i32, &StrBytes)>> = BTreeMap::new();
    for member in members {
        for at in &member.owned {
            claims.entry(at).or_default().push((member.generation, &member.member_id));
        }
    }
    let may_have = |reader: &StrBytes, at: &TopicPartition| {
        let Some(claims) = claims.get(at) else { return true };
        let latest = claims.iter().map(|(generation, _)| *generation).max();
        let mut owners = claims.iter().filter(|(generation, _)| Some(*generation) == latest);
        matches!((owners.next(), owners.next()), (Some((_, owner)), None) if *owner == reader)
    };
    for (reader, partitions) in &mut assignment {
        partitions.retain(|at| may_have(reader, at));
    }
    assignment
}
