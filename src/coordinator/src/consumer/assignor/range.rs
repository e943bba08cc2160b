//! The range assignor: like topics are cut the same way.
//!
//! In: a [`Spec`]. Out: for topics with as many partitions and the same subscribers, the same member
//! gets the same partition numbers of all of them, as joins need it. What nobody had is given out in
//! ranges; members keep numbers that they had, which Kafka's own range assignor has given up since
//! 4.0 and KIP-848 promises.

use std::collections::BTreeMap;

use model::TopicId;

use super::super::partitions::Partitions;
use super::Spec;
use super::share::share_out;

/// What each member shall own.
pub(super) fn assign(spec: &Spec<'_>) -> Vec<Partitions> {
    let ranks = ranks(spec);
    let owners = spec.owners();
    let mut classes: BTreeMap<(Vec<usize>, usize), Vec<TopicId>> = BTreeMap::new();
    for (topic, subscribers) in spec.subscribers() {
        classes.entry((subscribers, spec.partition_count(topic))).or_default().push(topic);
    }
    let mut assignment = vec![Partitions::new(); spec.members.len()];
    for ((mut subscribers, _), topics) in classes {
        subscribers.sort_by_key(|member| ranks[*member]);
        let holders = holders(&topics, &owners, &subscribers);
        for (partition, taker) in share_out(&holders, subscribers.len()).into_iter().enumerate() {
            for topic in &topics {
                let member = &mut assignment[subscribers[taker]];
                member.entry(*topic).or_default().insert(partition as i32);
            }
        }
    }
    assignment
}

/// The place of each member among all: static members first, by their instance ids.
fn ranks(spec: &Spec<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by_key(|index| {
        let member = &spec.members[*index];
        (member.instance.is_none(), member.instance.unwrap_or(member.id))
    });
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index] = rank;
    }
    ranks
}

/// Who has each partition number, as an index into `subscribers`: according to the topic of which
/// most is owned, since topics that just became alike may differ.
fn holders(
    topics: &[TopicId],
    owners: &BTreeMap<TopicId, Vec<Option<usize>>>,
    subscribers: &[usize],
) -> Vec<Option<usize>> {
    let owned_count = |topic: &&TopicId| owners[*topic].iter().flatten().count();
    let Some(model) = topics.iter().rev().max_by_key(owned_count) else { return Vec::new() };
    let mut places = BTreeMap::new();
    for (place, member) in subscribers.iter().enumerate() {
        places.insert(*member, place);
    }
    owners[model].iter().map(|owner| owner.and_then(|owner| places.get(&owner).copied())).collect()
}
