//! Records of odd logs, and of a real Kafka.

use bytes::Bytes;
use expect_test::expect;
use protocol::StrBytes;
use protocol::messages as m;

use super::world::World;
use crate::consumer::records;
use crate::{Config, Record, Shard};

#[test]
fn tombstones_of_what_is_not_there_are_nothing() {
    let mut world = World::new();
    world.run("topic t 2; a joins /t/; b joins t");
    let group = StrBytes::from_static("g");
    let tombstones = world.group().unwrap().tombstones(&group);
    let mut shard = Shard::new(Config::default().into());
    for tombstone in tombstones.iter().chain([&records::no_partition_metadata(&group)]) {
        shard.replay(tombstone.clone());
        assert!(shard.groups.is_empty(), "{tombstone:?} made a group");
    }
    // The same for a group that is there and members that are not.
    shard.replay(records::epoch(&group, Some((7, 0))));
    for tombstone in &tombstones[..tombstones.len() - 1] {
        shard.replay(tombstone.clone());
        shard.assert_consumer_invariants();
    }
    shard.replay(records::epoch(&group, None));
    assert!(shard.groups.is_empty());
}

#[test]
fn tombstones_take_the_group_away() {
    let mut world = World::new();
    world.run("topic t 2; a joins /t/; b joins t; a beats");
    let tombstones = world.group().unwrap().tombstones(&StrBytes::from_static("g"));
    let mut shard = world.replayed();
    for tombstone in tombstones {
        shard.replay(tombstone);
    }
    assert!(shard.groups.is_empty());
}

/// Kafka 4.1 and later take these records away when they see them.
#[test]
fn old_records_about_topics_are_taken_away_on_load() {
    let mut world = World::new();
    world.run("topic t 1; a joins t");
    world.log.push(Record::ConsumerGroupPartitionMetadata {
        key: m::ConsumerGroupPartitionMetadataKey { group_id: StrBytes::from_static("g") },
        value: Some(m::ConsumerGroupPartitionMetadataValue::default()),
    });
    world.reload();
    let last = world.log.last().cloned();
    assert_eq!(last, Some(records::no_partition_metadata(&StrBytes::from_static("g"))));
    let written = world.log.len();
    world.reload();
    assert_eq!(world.log.len(), written);
}

/// What became of topics while nobody coordinated the group is seen on load.
#[test]
fn topics_that_changed_meanwhile_give_a_new_epoch() {
    let mut world = World::new();
    world.run("topic t 1; a joins t");
    world.cluster.set("t", 2);
    let shown = world.run("reload; show; a beats");
    expect![[r#"
        show: Assigning 3/2 because topics changed while nobody looked; a@2 Stable [t0]
        a beats: epoch 3 [t0 t1]
    "#]]
    .assert_eq(&shown);
}

/// A member whose state this coordinator does not know has to start over.
#[test]
fn a_state_of_the_future_is_fenced() {
    let mut world = World::new();
    world.run("topic t 1; a joins t; a beats");
    let Some(Record::ConsumerGroupCurrentMemberAssignment { key, value: Some(mut value) }) =
        world.log.last().cloned()
    else {
        panic!("the last record of a join is the member's assignment");
    };
    value.state = 9;
    world.log.push(Record::ConsumerGroupCurrentMemberAssignment { key, value: Some(value) });
    world.reload();
    expect![[r#"
        a beats: FENCED_MEMBER_EPOCH: The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.
        a beats: epoch 2 [t0]
        show: Stable 2/2 because nothing; a@2 Stable [t0]
    "#]].assert_eq(&world.run("a beats; a beats; show"));
}

/// The records of Kafka 4.3.0 and kafka-clients 4.3.0 in a group where a static member `a` subscribed
/// by pattern, a classic member `b` joined, `a` closed (and stays for a while), and `b` left.
const KAFKA: &str = include_str!("kafka-4.3.txt");

fn bytes(hex: &str) -> Option<Bytes> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    (hex != "-").then(|| digits.map(byte).collect())
}

#[test]
fn records_of_kafka_are_understood_and_written_alike() {
    let mut world = World::new();
    world.cluster.set("t", 3);
    let id = "ubkeIsuhSHGmfNRFlzQOMw".parse().unwrap();
    world.cluster.topics.get_mut("t").unwrap().id = id;
    let mut shown = String::new();
    let show = |world: &mut World| {
        let told = world.run("show").replace("itlSGEhNS2GvFmKN2oBvcA", "a");
        told.replace("ywxYbSspR3GAZZIUvKW2Sw", "b")
    };
    for (at, line) in KAFKA.lines().enumerate() {
        let (key, value) = line.split_once(' ').unwrap();
        let (key, value) = (bytes(key), bytes(value));
        let record = Record::decode(key.clone(), value.clone()).unwrap().unwrap();
        assert_eq!(record.encode().unwrap(), (key.unwrap(), value), "record {at}: {record:?}");
        world.log.push(record.clone());
        world.shard.replay(record);
        if [4, 7, 13, 17].contains(&at) {
            shown += &show(&mut world);
        }
    }
    shown += &show(&mut world);
    let group = world.group().unwrap();
    let pattern = group.patterns.get("t.*").unwrap();
    assert_eq!(pattern.topics.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["t"]);
    world.reload();
    // Our hash is another one than Kafka's.
    shown += &show(&mut world);
    expect![[r#"
        show: Assigning 2/1 because nothing; a@1 Stable []
        show: Reconciling 2/2 because nothing; a@2 Stable [t0 t1 t2]; b@0 Stable []
        show: Reconciling 3/3 because nothing; a@2 Unrevoked [t0 t1] gives up [t2]; b@3 Unreleased []
        show: Reconciling 3/3 because nothing; a@-2 Stable [t0 t1]; b@3 Stable [t2]
        show: Assigning 4/3 because nothing; a@-2 Stable [t0 t1]
        show: Assigning 5/3 because topics changed while nobody looked; a@-2 Stable [t0 t1]
    "#]]
    .assert_eq(&shown);
}
