//! Drawn histories of a group: what always holds, holds; replay agrees; and when the members beat in
//! peace, everybody is stable and every partition is owned once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::TopicId;
use proptest::prelude::*;
use protocol::ErrorCode;

use super::classic;
use super::world::{GROUP, World, durable};
use crate::consumer::ConsumerGroup;
use crate::consumer::partitions::each;
use crate::{Config, MigrationPolicy, Record, Shard};

const NAMES: [&str; 5] = ["a", "b", "c:i", "d:j", "e"];
const WISHES: [&str; 6] = ["t", "u", "t,u", "/t|v/", "u,v", "-"];
const TOPICS: [&str; 3] = ["t", "u", "v"];
const BEATS: [&str; 5] = ["beats", "beats", "holds", "loses", "pings"];

#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Beat(usize, usize),
    Read(usize, usize),
    Leave(usize),
    Pause(usize),
    Topic(usize, u32),
    Drop(usize),
    Pass(u64),
    Reload,
    Classic(usize),
}

/// Classic consumers beside the others: their ids, which are all there is to them.
const CLASSIC: [&str; 2] = ["k", "l"];

/// What a cooperative classic consumer of topic `t` knows.
#[derive(Clone, Debug, Default)]
struct Classic {
    generation: i32,
    owned: BTreeSet<(TopicId, i32)>,
    is_in: bool,
}

impl Classic {
    /// Beats, and does what it is told: joins again, with what it still owns, and syncs.
    fn go_on(&mut self, world: &mut World, id: &str) {
        if world.group().is_none_or(ConsumerGroup::is_empty) {
            // That group would be a classic one, which is another matter.
            *self = Classic::default();
            return;
        }
        let error = match self.is_in {
            true => classic::try_heartbeat(world, id, self.generation),
            false => ErrorCode::RebalanceInProgress,
        };
        match error {
            ErrorCode::None => {}
            ErrorCode::RebalanceInProgress => self.rejoin(world, id),
            _ => *self = Classic::default(),
        }
    }

    fn rejoin(&mut self, world: &mut World, id: &str) {
        let topic = world.cluster.topics.get("t").map(|topic| topic.id);
        // It speaks of topics by their names: what is gone can not be spoken of, nor read.
        self.owned.retain(|(owned, _)| Some(*owned) == topic);
        let owned: Vec<i32> = self.owned.iter().map(|(_, partition)| *partition).collect();
        let response = classic::try_join(world, classic::join_request(id, None, &owned));
        assert_eq!(response.error_code, 0);
        self.generation = response.generation_id;
        self.is_in = true;
        if let Ok(assignment) = classic::try_sync(world, id, self.generation) {
            let topics = assignment.assigned_partitions.iter().flat_map(|topic| {
                let id = world.cluster.topics[topic.topic.as_str()].id;
                topic.partitions.iter().map(move |partition| (id, *partition))
            });
            self.owned = topics.collect();
        }
    }
}

type Classics = BTreeMap<&'static str, Classic>;

fn step() -> impl Strategy<Value = Step> {
    let member = 0..NAMES.len();
    let wish = 0..WISHES.len();
    prop_oneof![
        3 => (member.clone(), wish.clone()).prop_map(|(member, wish)| Step::Join(member, wish)),
        9 => (member.clone(), 0..BEATS.len()).prop_map(|(member, how)| Step::Beat(member, how)),
        1 => (member.clone(), wish).prop_map(|(member, wish)| Step::Read(member, wish)),
        1 => member.clone().prop_map(Step::Leave),
        1 => member.prop_map(Step::Pause),
        1 => (0..TOPICS.len(), 0_u32..6).prop_map(|(topic, more)| Step::Topic(topic, more)),
        1 => (0..TOPICS.len()).prop_map(Step::Drop),
        1 => (0_u64..30).prop_map(Step::Pass),
        1 => Just(Step::Reload),
        4 => (0..CLASSIC.len()).prop_map(Step::Classic),
    ]
}

fn id(member: usize) -> &'static str {
    NAMES[member].split(':').next().unwrap()
}

fn play(world: &mut World, classics: &mut Classics, step: &Step) {
    match *step {
        Step::Classic(which) => {
            classics.entry(CLASSIC[which]).or_default().go_on(world, CLASSIC[which])
        }
        Step::Join(member, wish) => {
            world.join(NAMES[member], WISHES[wish]);
        }
        Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
        Step::Reload => world.reload(),
        Step::Topic(topic, more) => {
            let known = world.cluster.topics.get(TOPICS[topic]);
            let count = known.map_or(0, |topic| topic.partition_count) + more;
            world.cluster.set(TOPICS[topic], count);
            world.topics_changed();
        }
        Step::Drop(topic) => {
            world.cluster.topics.remove(TOPICS[topic]);
            world.topics_changed();
        }
        Step::Beat(member, _)
        | Step::Read(member, _)
        | Step::Leave(member)
        | Step::Pause(member)
            if !world.clients.contains_key(id(member)) => {}
        Step::Beat(member, how) => {
            world.beat(id(member), BEATS[how]);
        }
        Step::Read(member, wish) => {
            world.clients.get_mut(id(member)).unwrap().wish = WISHES[wish].to_owned();
            world.beat(id(member), "reads");
        }
        Step::Leave(member) => {
            world.leave(id(member), -1);
            world.clients.remove(id(member));
        }
        Step::Pause(member) => {
            let epoch = if NAMES[member].contains(':') { -2 } else { -1 };
            world.leave(id(member), epoch);
            world.clients.remove(id(member));
        }
    }
}

fn epochs(world: &World) -> BTreeMap<String, i32> {
    let members = world.group().map(|group| group.members());
    let members = members.into_iter().flatten();
    members.map(|(id, member)| (id.to_string(), member.current.epoch)).collect()
}

fn check_epochs(before: &BTreeMap<String, i32>, after: &BTreeMap<String, i32>) {
    for (id, after) in after {
        let before = before.get(id).copied().unwrap_or(0);
        assert!(*after >= before || *after == -2, "{id} fell from {before} to {after}");
    }
}

/// What a client may still use is what the coordinator holds for it: so no two clients use one
/// partition, unless one of them was taken out and does not know.
fn check_clients(world: &World, classics: &Classics) {
    let Some(group) = world.group() else { return };
    for (id, client) in &world.clients {
        let Some(member) = group.member(id) else { continue };
        let current = &member.current;
        let held: BTreeSet<_> = each(&current.assigned).chain(each(&current.revoking)).collect();
        let (owned, epoch) = (&client.owned, client.epoch);
        assert!(owned.is_subset(&held), "{id} in {epoch} uses {owned:?} of {current:?}");
    }
    for (id, Classic { generation, owned, .. }) in classics {
        let Some(member) = group.member(id) else { continue };
        let current = &member.current;
        let held: BTreeSet<_> = each(&current.assigned).chain(each(&current.revoking)).collect();
        assert!(owned.is_subset(&held), "{id} in {generation} uses {owned:?} of {current:?}");
    }
}

/// Everybody beats until nobody can have missed anything.
fn settle(world: &mut World, classics: &mut Classics) {
    for _ in 0..20 {
        for id in world.clients.keys().cloned().collect::<Vec<_>>() {
            world.beat(&id, "beats");
        }
        for (id, classic) in classics.iter_mut() {
            classic.go_on(world, id);
        }
        world.pass(Duration::from_secs(5));
    }
    // Classic members are not let in by a group that nobody is in.
    classics.retain(|_, classic| classic.is_in);
}

fn check_settled(world: &World, classics: &Classics) {
    let Some(group) = world.group() else { return };
    let ids = world.clients.keys().map(String::as_str);
    let clients: BTreeSet<&str> = ids.chain(classics.keys().copied()).collect();
    let members: BTreeSet<&str> = group.members().keys().map(|id| id.as_str()).collect();
    assert_eq!(clients, members);
    if members.is_empty() {
        return;
    }
    assert_eq!(group.state_name(), "Stable");
    let mut owned = BTreeSet::new();
    for (id, member) in group.members() {
        let client = world.clients.get(id.as_str()).map(|client| &client.owned);
        let classic = classics.get(id.as_str()).map(|client| &client.owned);
        let assigned: BTreeSet<_> = each(&member.current.assigned).collect();
        assert_eq!(client.or(classic), Some(&assigned), "{id} does not know what it owns");
        for (topic, _) in &assigned {
            let topic = world.cluster.topics.values().find(|it| it.id == *topic).unwrap();
            assert!(group.member_reads(&member.subscription, &topic.name), "{id} did not ask");
        }
        owned.extend(assigned);
    }
    let read = world.cluster.topics.values().filter(|topic| group.is_subscribed_to(&topic.name));
    let count: u32 = read.map(|topic| topic.partition_count).sum();
    assert_eq!(owned.len(), count as usize, "partitions that nobody owns");
}

fn key(record: &Record) -> Vec<u8> {
    record.encode().unwrap().0.to_vec()
}

/// The log with its first records compacted: only the last of each key, and no tombstones if they
/// are old enough.
fn compacted(log: &[Record], end: usize, has_tombstones: bool) -> Vec<Record> {
    let last: BTreeMap<Vec<u8>, usize> =
        log[..end].iter().enumerate().map(|(at, record)| (key(record), at)).collect();
    let is_kept = |at: usize, record: &Record| {
        let is_tombstone = record.encode().unwrap().1.is_none();
        at >= end || (last[&key(record)] == at && (has_tombstones || !is_tombstone))
    };
    let kept = log.iter().enumerate().filter(|(at, record)| is_kept(*at, record));
    kept.map(|(_, record)| record.clone()).collect()
}

fn check_compaction(world: &World, share: usize) {
    let end = world.log.len() * share / 100;
    for has_tombstones in [true, false] {
        let mut shard = Shard::new(Config::default().into());
        for record in compacted(&world.log, end, has_tombstones) {
            shard.replay(record);
        }
        let expected = durable(world.shard.consumer_group(GROUP));
        assert_eq!(durable(shard.consumer_group(GROUP)), expected, "a compacted log differs");
        shard.assert_consumer_invariants();
    }
}

proptest! {
    #[test]
    fn histories_keep_what_always_holds(
        steps in proptest::collection::vec(step(), 1..60),
        interval in prop_oneof![2 => Just(0), 1 => 1_u64..8],
        share in 0_usize..=100,
    ) {
        // A group that becomes a classic one is another matter (see migration.rs).
        let migration_policy = MigrationPolicy::Disabled;
        let mut world = World::with(Config { migration_policy, ..Default::default() });
        let mut classics = Classics::new();
        world.cluster.settings.assignment_interval = Duration::from_secs(interval);
        world.cluster.set("t", 4);
        world.topics_changed();
        for step in &steps {
            let before = epochs(&world);
            play(&mut world, &mut classics, step);
            check_epochs(&before, &epochs(&world));
            check_clients(&world, &classics);
            world.shard.assert_consumer_invariants();
            world.assert_replay_agrees();
        }
        check_compaction(&world, share);
        settle(&mut world, &mut classics);
        check_settled(&world, &classics);
        world.assert_replay_agrees();
    }
}
