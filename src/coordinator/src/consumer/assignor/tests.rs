//! What every assignor promises, over drawn groups: coverage, balance, stickiness, repeatability.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use model::{TopicId, Uuid};
use proptest::prelude::*;

use super::{Assignor, MemberSpec, Partitions, Spec};

/// A group as drawn: partition counts by topic, topics by member.
#[derive(Clone, Debug)]
struct Drawn {
    topics: Vec<u32>,
    members: BTreeMap<String, BTreeSet<usize>>,
}

fn topic_id(index: usize) -> TopicId {
    let mut id = [0; 16];
    id[15] = index as u8 + 1;
    Uuid(id)
}

fn assign(
    assignor: Assignor,
    drawn: &Drawn,
    current: &BTreeMap<String, Partitions>,
) -> BTreeMap<String, Partitions> {
    let nothing = Partitions::new();
    let members = drawn.members.iter().map(|(id, topics)| MemberSpec {
        id,
        instance: None,
        topics: topics.iter().map(|topic| topic_id(*topic)).collect::<Rc<[TopicId]>>(),
        current: current.get(id).unwrap_or(&nothing),
    });
    let spec = Spec {
        members: members.collect(),
        topics: drawn.topics.iter().enumerate().map(|(at, count)| (topic_id(at), *count)).collect(),
    };
    drawn.members.keys().cloned().zip(assignor.assign(&spec)).collect()
}

fn size(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// Every partition of every topic that is asked for is with exactly one of those who ask.
fn check_coverage(drawn: &Drawn, assigned: &BTreeMap<String, Partitions>) {
    let mut seen = BTreeSet::new();
    for (id, partitions) in assigned {
        for (topic, partitions) in partitions {
            let asked = drawn.members[id].iter().any(|at| topic_id(*at) == *topic);
            assert!(asked, "{id} has {topic} and did not ask for it");
            for partition in partitions {
                assert!(seen.insert((*topic, *partition)), "{topic}-{partition} twice");
            }
        }
    }
    let asked: BTreeSet<usize> = drawn.members.values().flatten().copied().collect();
    let count: u32 = asked.iter().map(|at| drawn.topics[*at]).sum();
    assert_eq!(seen.len(), count as usize, "partitions without a reader");
}

fn moved_count(old: &BTreeMap<String, Partitions>, new: &BTreeMap<String, Partitions>) -> usize {
    let kept = |id: &String, partitions: &Partitions| -> usize {
        let new = new.get(id);
        let new = |topic| new.and_then(|new| new.get(topic));
        partitions
            .iter()
            .map(|(topic, old)| new(topic).map_or(0, |new| old.intersection(new).count()))
            .sum()
    };
    old.iter().map(|(id, partitions)| size(partitions) - kept(id, partitions)).sum()
}

fn homogeneous(drawn: &Drawn) -> Drawn {
    let all: BTreeSet<usize> = (0..drawn.topics.len()).collect();
    let members = drawn.members.keys().map(|id| (id.clone(), all.clone())).collect();
    Drawn { topics: drawn.topics.clone(), members }
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let topics = proptest::collection::vec(0_u32..12, 1..6);
    topics.prop_flat_map(|topics| {
        let asked = proptest::collection::btree_set(0..topics.len(), 0..=topics.len());
        let members = proptest::collection::btree_map("[a-h]", asked, 1..8);
        (Just(topics), members).prop_map(|(topics, members)| Drawn { topics, members })
    })
}

fn check_balance(assigned: &BTreeMap<String, Partitions>) {
    let sizes: Vec<usize> = assigned.values().map(size).collect();
    let spread = sizes.iter().max().unwrap() - sizes.iter().min().unwrap();
    assert!(spread <= 1, "loads of {sizes:?}");
}

proptest! {
    #[test]
    fn all_is_covered_and_repeats(drawn in drawn(), then in drawn()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let first = assign(assignor, &drawn, &BTreeMap::new());
            check_coverage(&drawn, &first);
            prop_assert_eq!(&first, &assign(assignor, &drawn, &BTreeMap::new()));
            let second = assign(assignor, &then, &first);
            check_coverage(&then, &second);
            prop_assert_eq!(&second, &assign(assignor, &then, &first));
            prop_assert_eq!(&second, &assign(assignor, &then, &second), "what fits does not stay");
        }
    }

    #[test]
    fn uniform_is_balanced_and_moves_no_more_than_it_must(drawn in drawn(), then in drawn()) {
        let (drawn, mut then) = (homogeneous(&drawn), homogeneous(&then));
        then.topics = drawn.topics.clone();
        let then = homogeneous(&then);
        let first = assign(Assignor::Uniform, &drawn, &BTreeMap::new());
        check_balance(&first);
        let second = assign(Assignor::Uniform, &then, &first);
        check_balance(&second);
        // Only what leavers had and what stayers have above their new share changes hands.
        let total: usize = first.values().map(size).sum();
        let (least, extra) = (total / then.members.len(), total % then.members.len());
        let mut held: Vec<usize> = first
            .iter()
            .map(|(id, it)| if then.members.contains_key(id) { size(it) } else { 0 })
            .collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let kept_max: usize =
            held.iter().enumerate().map(|(at, held)| *held.min(&(least + usize::from(at < extra)))).sum();
        prop_assert_eq!(moved_count(&first, &second), total - kept_max);
    }

    #[test]
    fn uniform_leaves_no_single_move_that_helps(drawn in drawn(), then in drawn()) {
        let first = assign(Assignor::Uniform, &drawn, &BTreeMap::new());
        let second = assign(Assignor::Uniform, &then, &first);
        for (giver, partitions) in &second {
            for topic in partitions.keys() {
                for (taker, asked) in &then.members {
                    if asked.iter().any(|at| topic_id(*at) == *topic) {
                        let (more, less) = (size(partitions), size(&second[taker]));
                        prop_assert!(more <= less + 1, "{} to {}", giver, taker);
                    }
                }
            }
        }
    }

    #[test]
    fn range_gives_like_topics_alike_and_each_topic_evenly(drawn in drawn(), then in drawn()) {
        let first = assign(Assignor::Range, &drawn, &BTreeMap::new());
        let second = assign(Assignor::Range, &then, &first);
        let askers = |topic: usize| -> BTreeSet<&String> {
            then.members.iter().filter(|(_, asked)| asked.contains(&topic)).map(|(id, _)| id).collect()
        };
        let of = |id: &String, topic: usize| {
            second[id].get(&topic_id(topic)).cloned().unwrap_or_default()
        };
        for a in 0..then.topics.len() {
            let counts: Vec<usize> = askers(a).iter().map(|id| of(id, a).len()).collect();
            if let (Some(most), Some(least)) = (counts.iter().max(), counts.iter().min()) {
                prop_assert!(most - least <= 1);
            }
            for b in 0..a {
                if then.topics[a] == then.topics[b] && askers(a) == askers(b) {
                    for id in askers(a) {
                        prop_assert_eq!(of(id, a), of(id, b), "of {} and {} for {}", a, b, id);
                    }
                }
            }
        }
    }

    #[test]
    fn range_keeps_numbers_when_members_come_and_go(count in 1_u32..40, members in 1_usize..8, topics in 1_usize..4) {
        let group = |members: usize| Drawn {
            topics: vec![count; topics],
            members: (0..members).map(|at| (format!("m{at}"), (0..topics).collect())).collect(),
        };
        let first = assign(Assignor::Range, &group(members), &BTreeMap::new());
        let second = assign(Assignor::Range, &group(members + 1), &first);
        // The newcomer's share is all that moves.
        let share = size(&second[&format!("m{members}")]);
        prop_assert_eq!(moved_count(&first, &second), share);
        let third = assign(Assignor::Range, &group(members), &second);
        prop_assert_eq!(moved_count(&second, &third), share);
    }
}

#[test]
fn a_new_range_assignment_is_made_of_ranges() {
    let drawn = Drawn {
        topics: vec![5, 5],
        members: ["a", "b"].map(|id| (id.to_owned(), BTreeSet::from([0, 1]))).into(),
    };
    let assigned = assign(Assignor::Range, &drawn, &BTreeMap::new());
    for topic in [0, 1] {
        assert_eq!(assigned["a"][&topic_id(topic)], BTreeSet::from([0, 1, 2]));
        assert_eq!(assigned["b"][&topic_id(topic)], BTreeSet::from([3, 4]));
    }
}

#[test]
fn static_members_come_first_by_their_instance_ids() {
    let nothing = Partitions::new();
    let topics: Rc<[TopicId]> = [topic_id(0)].into();
    let member =
        |id, instance| MemberSpec { id, instance, topics: topics.clone(), current: &nothing };
    let spec = Spec {
        members: vec![member("a", None), member("b", Some("i2")), member("c", Some("i1"))],
        topics: BTreeMap::from([(topic_id(0), 3)]),
    };
    let assigned = Assignor::Range.assign(&spec);
    let first = |at: usize| assigned[at][&topic_id(0)].first().copied();
    assert_eq!([first(2), first(1), first(0)], [Some(0), Some(1), Some(2)]);
}
