//! The assignors against Kafka's own examples and as properties.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::wire::{Subscription, decode_assignment, decode_member, encode_assignment};
use super::*;

type Owned<'a> = &'a [(&'a str, &'a [i32])];

fn member(id: &str, topics: &[&str]) -> GroupMember {
    owning(id, topics, &[], -1)
}

fn owning(id: &str, topics: &[&str], owned: Owned<'_>, generation: i32) -> GroupMember {
    GroupMember {
        member_id: id.into(),
        instance_id: None,
        topics: topics.iter().map(|topic| StrBytes::from(*topic)).collect(),
        owned: at(owned),
        generation,
    }
}

fn at(topics: Owned<'_>) -> BTreeSet<TopicPartition> {
    let each = |(topic, list): &(&str, &[i32])| {
        let topic = StrBytes::from(*topic);
        list.iter().map(move |p| TopicPartition::new(topic.clone(), *p)).collect::<Vec<_>>()
    };
    topics.iter().flat_map(each).collect()
}

fn counts(topics: &[(&str, i32)]) -> BTreeMap<StrBytes, i32> {
    topics.iter().map(|(topic, count)| (StrBytes::from(*topic), *count)).collect()
}

fn text(assignment: &GroupAssignment) -> String {
    let member = |(id, partitions): (&StrBytes, &Vec<TopicPartition>)| {
        let list: Vec<String> = partitions.iter().map(TopicPartition::to_string).collect();
        format!("{id}={}", list.join(","))
    };
    assignment.iter().map(member).collect::<Vec<_>>().join(" ")
}

/// The examples of `RangeAssignor`'s and `RoundRobinAssignor`'s documentation, and static members.
#[test]
fn range_and_round_robin_are_kafkas() {
    let topics = counts(&[("t0", 3), ("t1", 3)]);
    let both = ["t0", "t1"];
    let two = [member("c0", &both), member("c1", &both)];
    for (assignor, expected) in [
        (Assignor::Range, "c0=t0-0,t0-1,t1-0,t1-1 c1=t0-2,t1-2"),
        (Assignor::RoundRobin, "c0=t0-0,t0-2,t1-1 c1=t0-1,t1-0,t1-2"),
    ] {
        assert_eq!(text(&assignor.assign(&topics, &two)), expected);
    }
    // The static member comes first, whatever its member id; an instance id counts more.
    let statics = |first: &str, second: &str| {
        let mut members = [member("a", &both), member("b", &both), member("c", &both)];
        members[1].instance_id = Some(first.into());
        members[2].instance_id = Some(second.into());
        members
    };
    let ranged = Assignor::Range.assign(&counts(&[("t0", 4)]), &statics("i2", "i1"));
    assert_eq!(text(&ranged), "a=t0-3 b=t0-2 c=t0-0,t0-1");
    let turned = Assignor::RoundRobin.assign(&counts(&[("t0", 4)]), &statics("i2", "i1"));
    assert_eq!(text(&turned), "a=t0-2 b=t0-1 c=t0-0,t0-3");
}

#[test]
fn different_subscriptions_are_kept_to() {
    // From `RoundRobinAssignor`'s documentation.
    let topics = counts(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members = [
        member("c0", &["t0"]),
        member("c1", &["t0", "t1"]),
        member("c2", &["t0", "t1", "t2", "missing"]),
    ];
    let turned = Assignor::RoundRobin.assign(&topics, &members);
    assert_eq!(text(&turned), "c0=t0-0 c1=t1-0 c2=t1-1,t2-0,t2-1,t2-2");
    // From `StickyAssignor`'s documentation: here it is fairer.
    let sticky = Assignor::Sticky.assign(&topics, &members);
    assert_eq!(text(&sticky), "c0=t0-0 c1=t1-0,t1-1 c2=t2-0,t2-1,t2-2");
    let nobody = Assignor::RoundRobin.assign(&topics, &[member("c", &["missing"])]);
    assert_eq!(text(&nobody), "c=");
}

/// The largest shares are of a topic that is balanced. To look at all of them again for each move of
/// the other topic takes minutes.
#[test]
fn many_members_with_different_subscriptions_are_divided_soon() {
    let part =
        |of: usize, each: i32| (of as i32 * each..(of as i32 + 1) * each).collect::<Vec<_>>();
    let mut members = Vec::new();
    for number in 0..100 {
        members.push(owning(&format!("a{number}"), &["a"], &[("a", &part(number, 50))], 1));
    }
    for number in 0..200 {
        let share = if number < 40 { part(number, 40) } else { Vec::new() };
        members.push(owning(&format!("b{number}"), &["b"], &[("b", &share)], 1));
    }
    let divided = Assignor::Sticky.assign(&counts(&[("a", 5_000), ("b", 1_600)]), &members);
    assert_balanced(&members, &divided);
    assert_eq!(divided["b199"].len(), 8);
}

#[test]
fn a_member_that_left_leaves_only_its_own_partitions() {
    // The second part of the example of `StickyAssignor`'s documentation: C1 of three is gone.
    let topics = counts(&[("t0", 2), ("t1", 2), ("t2", 2), ("t3", 2)]);
    let all = ["t0", "t1", "t2", "t3"];
    let members = [
        owning("c0", &all, &[("t0", &[0]), ("t1", &[1]), ("t3", &[0])], 1),
        owning("c2", &all, &[("t1", &[0]), ("t2", &[1])], 1),
    ];
    let sticky = Assignor::Sticky.assign(&topics, &members);
    assert_eq!(text(&sticky), "c0=t0-0,t1-1,t2-0,t3-0 c2=t0-1,t1-0,t2-1,t3-1");
}

#[test]
fn the_later_generation_owns_and_equal_claims_cancel_out() {
    let topics = counts(&[("t", 2)]);
    let members = [
        owning("a", &["t"], &[("t", &[0, 1])], 4),
        owning("b", &["t"], &[("t", &[0])], 5),
        owning("c", &["t"], &[("t", &[1])], 4),
    ];
    let sticky = Assignor::Sticky.assign(&topics, &members);
    assert_eq!(text(&sticky), "a=t-1 b=t-0 c=");
    // The cooperative one waits until all whose claims cancel out have let go.
    let careful = Assignor::CooperativeSticky.assign(&topics, &members);
    assert_eq!(text(&careful), "a= b=t-0 c=");
    let members = [owning("a", &["t"], &[("t", &[0, 1])], 4), member("b", &["t"])];
    let first = Assignor::CooperativeSticky.assign(&topics, &members);
    assert_eq!(text(&first), "a=t-0 b=");
    let members = [owning("a", &["t"], &[("t", &[0])], 5), owning("b", &["t"], &[], 5)];
    let second = Assignor::CooperativeSticky.assign(&topics, &members);
    assert_eq!(text(&second), "a=t-0 b=t-1");
}

/// Bytes of kafka-clients 4.3.0 (`ConsumerProtocol.serializeSubscription`, `serializeAssignment` and
/// `StickyAssignor.serializeTopicPartitionAssignment`).
#[test]
fn bytes_are_those_of_kafka_clients() {
    let mut subscription = Subscription {
        topics: ["b", "a"].map(StrBytes::from).into(),
        owned: at(&[("b", &[1]), ("a", &[2, 0])]),
        previous: at(&[("a", &[0, 2])]),
        generation: 7,
        rack: Some("r".into()),
    };
    let topics = "0003 00000002 0001 61 0001 62";
    let owned = "00000002 0001 61 00000002 00000000 00000002 0001 62 00000001 00000001";
    let end = "00000007 0001 72";
    let user_data = "00000001 0001 61 00000002 00000000 00000002 00000007";
    let whole = |user_data: &str| unhex(&format!("{topics} {user_data} {owned} {end}"));
    assert_eq!(subscription.encode(Assignor::Range), whole("ffffffff"));
    assert_eq!(subscription.encode(Assignor::CooperativeSticky), whole("00000004 00000007"));
    let sticky = whole(&format!("00000017 {user_data}"));
    assert_eq!(subscription.encode(Assignor::Sticky), sticky);
    subscription.generation = -1;
    let fresh = subscription.encode(Assignor::Sticky);
    let read = decode_member("m".into(), None, &fresh, Assignor::Sticky).unwrap();
    assert_eq!((read.owned.len(), read.generation), (0, 0));
    let assignment = encode_assignment(&[TopicPartition::new("t", 4), TopicPartition::new("t", 1)]);
    assert_eq!(assignment, unhex("0003 00000001 0001 74 00000002 00000001 00000004 ffffffff"));
}

fn unhex(text: &str) -> bytes::Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn members_of_other_versions_are_understood() {
    // Version 0: topics and user data. Version 1: owned partitions too. Version 9 is read as 3.
    for (bytes, assignor, owned, generation) in [
        ("0000 00000001 0001 74 ffffffff", Assignor::Range, 0, -1),
        (
            "0001 00000001 0001 74 00000004 00000005 00000001 0001 74 00000001 00000000",
            Assignor::CooperativeSticky,
            1,
            5,
        ),
        ("0009 00000001 0001 74 ffffffff 00000000 00000006 ffff", Assignor::Range, 0, 6),
        // The sticky assignor's user data before it had a generation.
        (
            "0000 00000001 0001 74 0000000f 00000001 0001 74 00000001 00000003",
            Assignor::Sticky,
            1,
            -1,
        ),
    ] {
        let member = decode_member("m".into(), None, &unhex(bytes), assignor);
        let member = member.unwrap_or_else(|error| panic!("{bytes}: {error}"));
        assert_eq!(member.topics, ["t".into()].into(), "{bytes}");
        assert_eq!((member.owned.len(), member.generation), (owned, generation), "{bytes}");
    }
    let cut = unhex("0001 00000001 0001");
    assert!(decode_member("m".into(), None, &cut, Assignor::Range).is_err());
    assert_eq!(decode_assignment(&bytes::Bytes::new()), Ok(BTreeSet::new()));
}

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

fn group(equal: bool) -> impl Strategy<Value = (BTreeMap<StrBytes, i32>, Vec<GroupMember>)> {
    let topics = btree_map(prop::sample::select(&TOPICS[..]), 1..9i32, 1..=TOPICS.len());
    let subscription = || btree_set(prop::sample::select(&TOPICS[..]), 1..=TOPICS.len());
    let members = vec((subscription(), any::<prop::sample::Index>()), 1..7);
    (topics, members, subscription()).prop_map(move |(topics, members, common)| {
        let counts = topics.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        let members = members.into_iter().enumerate().map(|(number, (own, _))| {
            let topics = if equal { &common } else { &own };
            let topics: Vec<&str> = topics.iter().copied().collect();
            member(&format!("m{number}"), &topics)
        });
        (counts, members.collect())
    })
}

/// The members as they would join the next time.
fn rejoin(
    members: &[GroupMember],
    assignment: &GroupAssignment,
    generation: i32,
) -> Vec<GroupMember> {
    let with = |member: &GroupMember| GroupMember {
        owned: assignment[&member.member_id].iter().cloned().collect(),
        generation,
        ..member.clone()
    };
    members.iter().map(with).collect()
}

fn assert_complete(
    counts: &BTreeMap<StrBytes, i32>,
    members: &[GroupMember],
    assignment: &GroupAssignment,
) {
    let mut seen = BTreeSet::new();
    for member in members {
        for at in &assignment[&member.member_id] {
            assert!(member.topics.contains(&at.topic), "{at} is not read by {}", member.member_id);
            assert!(at.partition.0 < counts[&at.topic], "there is no {at}");
            assert!(seen.insert(at.clone()), "{at} is assigned twice");
        }
    }
    let read = |topic: &StrBytes| members.iter().any(|member| member.topics.contains(topic));
    let expected = counts.iter().filter(|(topic, _)| read(topic)).map(|(_, count)| *count);
    assert_eq!(seen.len() as i32, expected.sum::<i32>(), "{}", text(assignment));
}

/// Nobody could take a partition from somebody who has two more.
fn assert_balanced(members: &[GroupMember], assignment: &GroupAssignment) {
    for poor in members {
        let few = assignment[&poor.member_id].len();
        for rich in members {
            let movable =
                assignment[&rich.member_id].iter().any(|at| poor.topics.contains(&at.topic));
            let many = assignment[&rich.member_id].len();
            assert!(!movable || many <= few + 1, "{}", text(assignment));
        }
    }
}

fn moved(members: &[GroupMember], assignment: &GroupAssignment) -> usize {
    let lost = |member: &GroupMember| {
        let now: BTreeSet<_> = assignment[&member.member_id].iter().collect();
        member.owned.iter().filter(|at| !now.contains(at)).count()
    };
    members.iter().map(lost).sum()
}

proptest! {
    #[test]
    fn every_partition_is_assigned_once((counts, members) in any::<bool>().prop_flat_map(group)) {
        for assignor in Assignor::ALL {
            let assignment = assignor.assign(&counts, &members);
            assert_complete(&counts, &members, &assignment);
        }
    }

    #[test]
    fn sticky_is_balanced_and_does_not_move_without_need(
        (counts, members) in any::<bool>().prop_flat_map(group),
        gone in any::<prop::sample::Index>(),
    ) {
        let first = Assignor::Sticky.assign(&counts, &members);
        assert_balanced(&members, &first);
        let members = rejoin(&members, &first, 1);
        prop_assert_eq!(&Assignor::Sticky.assign(&counts, &members), &first);
        // One leaves: what the others have stays with them, since they all get more or the same.
        let mut left = members.clone();
        left.remove(gone.index(members.len()));
        if !left.is_empty() {
            let second = Assignor::Sticky.assign(&counts, &left);
            assert_complete(&counts, &left, &second);
            assert_balanced(&left, &second);
            let equal = left.windows(2).all(|pair| pair[0].topics == pair[1].topics)
                && left[0].topics == members[gone.index(members.len())].topics;
            prop_assert!(!equal || moved(&left, &second) == 0, "{} {}", text(&first), text(&second));
        }
    }

    #[test]
    fn a_newcomer_gets_no_more_than_its_share((counts, mut members) in group(true)) {
        let first = Assignor::Sticky.assign(&counts, &members);
        members = rejoin(&members, &first, 1);
        let total: usize = first.values().map(Vec::len).sum();
        let newcomer = GroupMember { member_id: "new".into(), owned: BTreeSet::new(), ..members[0].clone() };
        members.push(newcomer);
        let second = Assignor::Sticky.assign(&counts, &members);
        assert_balanced(&members, &second);
        prop_assert!(moved(&members, &second) <= total.div_ceil(members.len()));
        prop_assert_eq!(moved(&members, &second), second["new"].len());
    }

    #[test]
    fn cooperative_never_gives_away_what_another_owns(
        (counts, members) in any::<bool>().prop_flat_map(group),
        owners in vec(0..6usize, 40),
        generations in vec(0..3i32, 6),
    ) {
        // Any claims at all, also contradictory ones.
        let all: Vec<TopicPartition> = counts
            .iter()
            .flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic.clone(), p)))
            .collect();
        let mut members = members;
        let count = members.len();
        for (place, owner) in owners.iter().enumerate() {
            let at = all[place % all.len()].clone();
            members[owner % count].owned.insert(at);
        }
        for (member, generation) in members.iter_mut().zip(generations) {
            member.generation = generation;
        }
        let mut rounds = 0;
        loop {
            let assignment = Assignor::CooperativeSticky.assign(&counts, &members);
            for member in &members {
                for at in &assignment[&member.member_id] {
                    let other = members.iter().any(|other| {
                        other.member_id != member.member_id && other.owned.contains(at)
                    });
                    prop_assert!(!other || member.owned.contains(at), "{at}: {members:?}");
                }
            }
            let next = rejoin(&members, &assignment, 10 + rounds);
            if next.iter().zip(&members).all(|(a, b)| a.owned == b.owned) {
                assert_complete(&counts, &members, &assignment);
                assert_balanced(&members, &assignment);
                break;
            }
            members = next;
            rounds += 1;
            prop_assert!(rounds < 4, "does not settle: {members:?}");
        }
    }

    #[test]
    fn subscriptions_and_assignments_survive_the_wire((counts, members) in group(false)) {
        let assignment = Assignor::RoundRobin.assign(&counts, &members);
        for member in rejoin(&members, &assignment, 3) {
            let bytes = encode_assignment(&assignment[&member.member_id]);
            prop_assert_eq!(decode_assignment(&bytes).unwrap(), member.owned.clone());
            for assignor in Assignor::ALL {
                let subscription = Subscription {
                    topics: member.topics.clone(),
                    owned: member.owned.clone(),
                    previous: member.owned.clone(),
                    generation: member.generation,
                    rack: None,
                };
                let bytes = subscription.encode(assignor);
                let read = decode_member(member.member_id.clone(), None, &bytes, assignor).unwrap();
                prop_assert_eq!(read, member.clone());
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_at_worst(bytes in vec(any::<u8>(), 0..80)) {
        let bytes = bytes::Bytes::from(bytes);
        for assignor in Assignor::ALL {
            let _ = decode_member("m".into(), None, &bytes, assignor);
        }
        let _ = decode_assignment(&bytes);
    }
}
