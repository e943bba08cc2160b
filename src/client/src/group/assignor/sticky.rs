//! The sticky division: as even as can be, and of those the one that moves least. Pure.
//!
//! Two cases, as in Kafka's `AbstractStickyAssignor`. When all members subscribe to the same topics,
//! the shares are known beforehand and everyone keeps up to its share. Otherwise everyone keeps what
//! it has, what is free goes to the member with the least, and partitions move one at a time to a
//! member that has at least two fewer, until no move helps.
//!
//! Invariants: a partition that two members claim belongs to the one of the later generation, to
//! neither when that is equal; what moves is what its reader did not own before, if there is a choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use protocol::StrBytes;

use super::{GroupAssignment, GroupMember};
use crate::metadata::TopicPartition;

/// What each member has, by its place among the sorted members.
type Shares = Vec<BTreeSet<TopicPartition>>;

/// See the module.
pub(super) fn assign(counts: &BTreeMap<StrBytes, i32>, members: &[GroupMember]) -> GroupAssignment {
    let mut sorted: Vec<&GroupMember> = members.iter().collect();
    sorted.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    let all = partitions(counts, &sorted);
    let owned = owned(&all, &sorted);
    let equal = sorted.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    let shares = if equal { divide(&all, owned) } else { balance(&all, owned, &sorted) };
    let ids = sorted.iter().map(|member| member.member_id.clone());
    ids.zip(shares).map(|(id, share)| (id, share.into_iter().collect())).collect()
}

/// The partitions of topics that somebody reads.
fn partitions(
    counts: &BTreeMap<StrBytes, i32>,
    members: &[&GroupMember],
) -> BTreeSet<TopicPartition> {
    let read = |topic: &StrBytes| members.iter().any(|member| member.topics.contains(topic));
    let read = counts.iter().filter(|(topic, _)| read(topic));
    read.flat_map(|(topic, &count)| (0..count).map(|p| TopicPartition::new(topic.clone(), p)))
        .collect()
}

/// What each member really has, of what it claims.
fn owned(all: &BTreeSet<TopicPartition>, members: &[&GroupMember]) -> Shares {
    // The latest generation that claims a partition, and the members that do so in it.
    let mut claims: BTreeMap<&TopicPartition, (i32, Vec<usize>)> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let valid = |at: &&TopicPartition| all.contains(*at) && member.topics.contains(&at.topic);
        for at in member.owned.iter().filter(valid) {
            let claim = claims.entry(at).or_insert((member.generation, Vec::new()));
            if claim.0 < member.generation {
                *claim = (member.generation, Vec::new());
            }
            if claim.0 == member.generation {
                claim.1.push(place);
            }
        }
    }
    let mut shares = vec![BTreeSet::new(); members.len()];
    for (at, (_, claimants)) in claims {
        if let [owner] = claimants[..] {
            shares[owner].insert(at.clone());
        }
    }
    shares
}

/// All read the same: `extra` members get one more than the rest, those that have it first.
fn divide(all: &BTreeSet<TopicPartition>, mut shares: Shares) -> Shares {
    if shares.is_empty() {
        return shares;
    }
    let (least, mut extra) = (all.len() / shares.len(), all.len() % shares.len());
    for share in &mut shares {
        let mut quota = least;
        if share.len() > least && extra > 0 {
            extra -= 1;
            quota += 1;
        }
        while share.len() > quota {
            share.pop_last();
        }
    }
    let taken: BTreeSet<TopicPartition> = shares.iter().flatten().cloned().collect();
    let mut free = all.difference(&taken).cloned();
    // One partition a round, so that neighbours of a topic go to different members.
    while let Some(short) = shares.iter().map(BTreeSet::len).min().filter(|have| *have < least) {
        for share in shares.iter_mut().filter(|share| share.len() == short) {
            share.extend(free.next());
        }
    }
    for share in shares.iter_mut().filter(|share| share.len() == least) {
        share.extend(free.next());
    }
    shares
}

/// Subscriptions differ.
fn balance(all: &BTreeSet<TopicPartition>, owned: Shares, members: &[&GroupMember]) -> Shares {
    let taken: BTreeSet<&TopicPartition> = owned.iter().flatten().collect();
    let mut free: Vec<&TopicPartition> = all.iter().filter(|at| !taken.contains(at)).collect();
    let mut balance = Balance::new(&owned, members);
    // Those with little choice first.
    free.sort_by_key(|at| balance.readers[&at.topic].len());
    for at in free {
        let least = balance.readers[&at.topic].first().copied();
        if let Some((_, place)) = least {
            balance.give(at.clone(), place);
        }
    }
    // Each move brings two shares closer together, so this ends.
    while let Some((at, from, to)) = balance.next_move() {
        balance.take(&at, from);
        balance.give(at, to);
    }
    balance.shares
}

/// Shares on their way to a balance. What a move changes is little, beside all that there is to look at.
struct Balance<'a> {
    before: &'a Shares,
    shares: Shares,
    members: &'a [&'a GroupMember],
    /// Who reads a topic, by size of share and place.
    readers: BTreeMap<&'a StrBytes, BTreeSet<(usize, usize)>>,
    /// All places, the largest share first.
    largest: BTreeSet<(Reverse<usize>, usize)>,
}

impl<'a> Balance<'a> {
    fn new(before: &'a Shares, members: &'a [&'a GroupMember]) -> Balance<'a> {
        let mut readers: BTreeMap<_, BTreeSet<(usize, usize)>> = BTreeMap::new();
        let mut largest = BTreeSet::new();
        for (place, member) in members.iter().enumerate() {
            let size = before[place].len();
            largest.insert((Reverse(size), place));
            for topic in &member.topics {
                readers.entry(topic).or_default().insert((size, place));
            }
        }
        Balance { before, shares: before.clone(), members, readers, largest }
    }

    fn give(&mut self, at: TopicPartition, place: usize) {
        let size = self.shares[place].len();
        self.shares[place].insert(at);
        self.resize(place, size);
    }

    fn take(&mut self, at: &TopicPartition, place: usize) {
        let size = self.shares[place].len();
        self.shares[place].remove(at);
        self.resize(place, size);
    }

    fn resize(&mut self, place: usize, before: usize) {
        let size = self.shares[place].len();
        self.largest.remove(&(Reverse(before), place));
        self.largest.insert((Reverse(size), place));
        for topic in &self.members[place].topics {
            let readers = self.readers.entry(topic).or_default();
            readers.remove(&(before, place));
            readers.insert((size, place));
        }
    }

    /// A partition whose reader has at least two more than somebody else who could read it: out of the
    /// largest share, and not one that was there before unless all were.
    fn next_move(&self) -> Option<(TopicPartition, usize, usize)> {
        self.largest.iter().find_map(|&(Reverse(size), from)| {
            let leaves = |topic: &StrBytes| {
                let least = self.readers[topic].first();
                least.is_some_and(|(least, _)| least + 2 <= size)
            };
            if !self.members[from].topics.iter().any(leaves) {
                return None;
            }
            let moves = |at: &&TopicPartition| leaves(&at.topic);
            let is_new = |at: &&TopicPartition| !self.before[from].contains(*at);
            let share = &self.shares[from];
            let new = share.iter().filter(is_new).find(moves);
            let at = new.or_else(|| share.iter().find(moves))?;
            Some((at.clone(), from, self.least_reader(at)?))
        })
    }

    /// Who has the least of those who read it; of equals, the one that had it.
    fn least_reader(&self, at: &TopicPartition) -> Option<usize> {
        let readers = &self.readers[&at.topic];
        let (least, first) = *readers.first()?;
        let mut equals = readers.iter().take_while(|(size, _)| *size == least);
        let had_it = equals.find(|(_, place)| self.before[*place].contains(at));
        Some(had_it.map_or(first, |(_, place)| *place))
    }
}
