//! The sticky division: as even as can be, and of those the one that moves least. Pure.
//!
//! Two cases, as in Kafka's `AbstractStickyAssignor`. When all members subscribe to the same topics,
//! the shares are known beforehand and everyone keeps up to its share. Otherwise everyone keeps what
//! it has, what is free goes to the member with the least, and partitions move one at a time to a
//! member that has at least two fewer, until no move helps.
//!
//! Invariants: a partition that two members claim belongs to the one of the later generation, to
//! neither when that is equal; what moves is what its reader did not own before, if there is a choice.

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
fn balance(all: &BTreeSet<TopicPartition>, mut shares: Shares, members: &[&GroupMember]) -> Shares {
    let before = shares.clone();
    let readers = |at: &TopicPartition| -> Vec<usize> {
        let reads = |place: &usize| members[*place].topics.contains(&at.topic);
        (0..members.len()).filter(reads).collect()
    };
    let taken: BTreeSet<&TopicPartition> = before.iter().flatten().collect();
    let mut free: Vec<&TopicPartition> = all.iter().filter(|at| !taken.contains(at)).collect();
    // Those with little choice first.
    free.sort_by_key(|at| readers(at).len());
    for at in free {
        let least = readers(at).into_iter().min_by_key(|place| shares[*place].len());
        if let Some(place) = least {
            shares[place].insert(at.clone());
        }
    }
    // Each move brings two shares closer together, so this ends.
    while let Some((at, from, to)) = next_move(&shares, &before, &readers) {
        shares[from].remove(&at);
        shares[to].insert(at);
    }
    shares
}

/// A partition whose reader has at least two more than somebody else who could read it: out of the
/// largest share, and not one that was there before unless all were.
fn next_move(
    shares: &Shares,
    before: &Shares,
    readers: &impl Fn(&TopicPartition) -> Vec<usize>,
) -> Option<(TopicPartition, usize, usize)> {
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(shares[*place].len()));
    for from in order {
        let (old, new): (Vec<_>, Vec<_>) =
            shares[from].iter().partition(|at| before[from].contains(*at));
        for at in new.into_iter().chain(old) {
            let to = readers(at).into_iter().min_by_key(|to| {
                // Of equals, the one that had it.
                (shares[*to].len(), !before[*to].contains(at))
            })?;
            if shares[to].len() + 2 <= shares[from].len() {
                return Some((at.clone(), from, to));
            }
        }
    }
    None
}
