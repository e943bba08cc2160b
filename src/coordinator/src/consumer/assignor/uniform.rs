//! The uniform assignor: everybody gets about as much.
//!
//! In: a [`Spec`]. Out: when all members ask for the same topics, loads differ by at most one, and no
//! more changes hands than that needs. When they do not, no single partition can be moved to make two
//! loads more equal, up to [`ROUND_COUNT_MAX`] rounds over all topics (Kafka's
//! `UniformHeterogeneousAssignmentBuilder` has the same limit).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use model::TopicId;

use super::super::partitions::Partitions;
use super::Spec;
use super::share::share_out;

/// Rounds of moving partitions between members with overlapping but different topics.
const ROUND_COUNT_MAX: usize = 16;

type Owners = BTreeMap<TopicId, Vec<Option<usize>>>;

/// What each member shall own.
pub(super) fn assign(spec: &Spec<'_>) -> Vec<Partitions> {
    let mut owners = spec.owners();
    let is_homogeneous = spec.members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    if is_homogeneous {
        share_all(spec, &mut owners);
    } else {
        let subscribers = spec.subscribers();
        let mut loads = loads(spec, &owners);
        let order = order(&subscribers, &owners);
        give_out(&order, &subscribers, &mut owners, &mut loads);
        balance(&order, &subscribers, &mut owners, &mut loads);
    }
    let mut assignment = vec![Partitions::new(); spec.members.len()];
    for (topic, places) in owners {
        for (partition, owner) in places.into_iter().enumerate() {
            let owner = owner.expect("a topic that is asked for has a subscriber");
            assignment[owner].entry(topic).or_default().insert(partition as i32);
        }
    }
    assignment
}

/// All partitions of all topics as one row.
fn share_all(spec: &Spec<'_>, owners: &mut Owners) {
    let row: Vec<Option<usize>> = owners.values().flatten().copied().collect();
    let shares = share_out(&row, spec.members.len());
    for (place, share) in owners.values_mut().flatten().zip(shares) {
        *place = Some(share);
    }
}

fn loads(spec: &Spec<'_>, owners: &Owners) -> Vec<usize> {
    let mut loads = vec![0; spec.members.len()];
    for owner in owners.values().flatten().flatten() {
        loads[*owner] += 1;
    }
    loads
}

/// Topics with many partitions for few subscribers first: they leave the least choice.
fn order(subscribers: &BTreeMap<TopicId, Vec<usize>>, owners: &Owners) -> Vec<TopicId> {
    let mut order: Vec<TopicId> = subscribers.keys().copied().collect();
    let counts = |topic: &TopicId| (owners[topic].len() as u128, subscribers[topic].len() as u128);
    order.sort_by(|a, b| {
        let ((partitions_a, members_a), (partitions_b, members_b)) = (counts(a), counts(b));
        (partitions_b * members_a)
            .cmp(&(partitions_a * members_b))
            .then(members_a.cmp(&members_b))
            .then(a.cmp(b))
    });
    order
}

/// Gives each partition that nobody has to the subscriber with the least load.
fn give_out(
    order: &[TopicId],
    subscribers: &BTreeMap<TopicId, Vec<usize>>,
    owners: &mut Owners,
    loads: &mut [usize],
) {
    for topic in order {
        let places = owners.get_mut(topic).expect("every topic that is asked for is there");
        if places.iter().all(Option::is_some) {
            continue;
        }
        let mut least: BinaryHeap<Reverse<(usize, usize)>> =
            subscribers[topic].iter().map(|member| Reverse((loads[*member], *member))).collect();
        for place in places.iter_mut().filter(|place| place.is_none()) {
            let mut top = least.peek_mut().expect("a topic that is asked for has a subscriber");
            let Reverse((load, member)) = &mut *top;
            *load += 1;
            loads[*member] += 1;
            *place = Some(*member);
        }
    }
}

/// Moves partitions from those with the most load to those with the least, topic by topic, until a
/// whole round changes nothing.
fn balance(
    order: &[TopicId],
    subscribers: &BTreeMap<TopicId, Vec<usize>>,
    owners: &mut Owners,
    loads: &mut [usize],
) {
    for _ in 0..ROUND_COUNT_MAX {
        let mut moved_count = 0;
        for topic in order {
            let places = owners.get_mut(topic).expect("every topic that is asked for is there");
            moved_count += balance_topic(&subscribers[topic], places, loads);
        }
        if moved_count == 0 {
            return;
        }
    }
}

/// How many partitions were moved.
fn balance_topic(
    subscribers: &[usize],
    places: &mut [Option<usize>],
    loads: &mut [usize],
) -> usize {
    let of_subscribers = || subscribers.iter().map(|member| loads[*member]);
    let (least, most) = (of_subscribers().min(), of_subscribers().max());
    if most.unwrap_or(0) <= least.unwrap_or(0) + 1 {
        return 0;
    }
    let mut held: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (partition, owner) in places.iter().enumerate() {
        let owner = owner.expect("all partitions are given out before they are moved");
        held.entry(owner).or_default().push(partition);
    }
    let mut takers: BTreeSet<(usize, usize)> =
        subscribers.iter().map(|member| (loads[*member], *member)).collect();
    let mut givers: BTreeSet<(usize, usize)> =
        held.keys().map(|member| (loads[*member], *member)).collect();
    let mut moved_count = 0;
    while let (Some(taker), Some(giver)) = (takers.first().copied(), givers.last().copied()) {
        if giver.0 <= taker.0 + 1 {
            break;
        }
        let from = held.get_mut(&giver.1).expect("givers are those who hold something");
        let partition = from.pop().expect("who holds nothing is no giver");
        let is_empty = from.is_empty();
        places[partition] = Some(taker.1);
        held.entry(taker.1).or_default().push(partition);
        takers.remove(&taker);
        takers.remove(&giver);
        givers.remove(&giver);
        givers.remove(&taker);
        loads[giver.1] -= 1;
        loads[taker.1] += 1;
        takers.insert((taker.0 + 1, taker.1));
        takers.insert((giver.0 - 1, giver.1));
        givers.insert((taker.0 + 1, taker.1));
        if !is_empty {
            givers.insert((giver.0 - 1, giver.1));
        }
        moved_count += 1;
    }
    moved_count
}
