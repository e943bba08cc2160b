//! Random histories: clients, time and restarts in any order.
//!
//! The world of scripts itself compares the shard with its log after every event, and knows an answer
//! that comes twice or tells of an assignment that is not in the log. Here is what only a history shows:
//! generations go up, all that are answered together are in the same one, and in the end nobody waits.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use protocol::messages as m;

use crate::call::Response;
use crate::config::Config;
use crate::record::Record;
use crate::script::World;
use crate::shard::Output;

/// Two dynamic members, and three processes for two static ones.
const CLIENTS: [&str; 5] = ["a", "b", "s instance=i", "r instance=i", "k instance=j"];

fn event() -> impl Strategy<Value = String> {
    let client = prop::sample::select(&CLIENTS[..]);
    let act = (client, 0..20_u32).prop_map(|(client, act)| {
        let (who, instance) = client.split_once(' ').unwrap_or((client, ""));
        let times = "session=10 rebalance=15";
        match act {
            0..=4 => format!("{who} joins {times} {instance}"),
            5 => format!("{who} joins {times} {instance} topics=u"),
            6 => format!("{who} joins {times} {instance} protocols=range+other"),
            7 => format!("{who} joins {times} {instance} member="),
            8..=12 => format!("{who} syncs all"),
            13..=15 => format!("{who} beats"),
            16 => format!("{who} leaves reason=random"),
            17 => format!("{who} commits t-0@{act} u-1@{act}"),
            18 => format!("{who} commits group=h t-1@{act} generation=-1 member="),
            _ => format!("{who} commits t-2@{act} retention=3 v=4"),
        }
    });
    let wait = prop::sample::select(&[1, 500, 3_000, 4_000, 9_000, 16_000, 700_000][..]);
    let rare = prop::sample::select(
        &["coordinator restarts", "admin deletes", "admin removes i", "admin forgets t-0"][..],
    );
    prop_oneof![
        16 => act,
        3 => wait.prop_map(|millis| format!("after {millis}ms")),
        1 => rare.prop_map(str::to_owned),
    ]
}

/// Generations of the group's present life.
#[derive(Default)]
struct Generations {
    seen: i32,
    records: usize,
}

impl Generations {
    fn check(&mut self, world: &World) {
        for record in &world.records[self.records..] {
            let Record::GroupMetadata { value, .. } = record else { continue };
            let generation = value.as_ref().map_or(0, |value| value.generation);
            assert!(self.seen <= generation || value.is_none());
            self.seen = generation;
        }
        self.records = world.records.len();
        let joined: Vec<_> =
            world.answers.iter().filter_map(|(_, answer)| joined(answer)).collect();
        let now: BTreeSet<_> = joined.iter().map(|join| join.generation_id).collect();
        // Time may have seen several generations, a call sees one.
        for generation in now {
            let same = joined.iter().filter(|join| join.generation_id == generation);
            let leaders: BTreeSet<_> = same.clone().map(|join| &join.leader).collect();
            assert_eq!(leaders.len(), 1);
            let protocols: BTreeSet<_> = same.clone().map(|join| &join.protocol_name).collect();
            assert_eq!(protocols.len(), 1);
            for join in same {
                let ids = join.members.iter().map(|member| &member.member_id);
                let ids: BTreeSet<_> = ids.collect();
                assert_eq!(ids.is_empty(), join.leader != join.member_id);
                assert!(ids.is_empty() || ids.contains(&join.member_id));
            }
        }
    }
}

fn joined(answer: &Response) -> Option<&m::JoinGroupResponse> {
    match answer {
        Response::JoinGroup(join) if join.error_code == 0 => Some(join),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_keep_the_rules(
        events in prop::collection::vec(event(), 1..80),
        size_max in 1..5_usize,
    ) {
        let config = Config {
            classic_group_size_max: size_max,
            offsets_retention: Duration::from_secs(600),
            ..Config::default()
        };
        let mut world = World::new(config);
        let mut generations = Generations::default();
        for event in &events {
            world.play(event);
            generations.check(&world);
        }
        world.play("after 1h");
        prop_assert!(world.open.is_empty(), "{:?} wait", world.open);
        let group = world.shard.classic("g");
        prop_assert!(group.is_none_or(|group| group.members.is_empty()));
    }
}

#[test]
fn offsets_stand_for_themselves_and_groups_are_whole() {
    let offset = || Record::OffsetCommit { key: m::OffsetCommitKey::default(), value: None };
    let group = || Record::GroupMetadata { key: m::GroupMetadataKey::default(), value: None };
    let mut out = Output::default();
    let lengths = |out: &Output| out.parts().map(<[Record]>::len).collect::<Vec<_>>();
    assert_eq!(lengths(&out), [] as [usize; 0]);
    out.seam();
    out.records.extend([offset(), offset(), group(), group()]);
    out.seam();
    out.seam();
    out.records.extend([group(), offset(), group()]);
    assert_eq!(lengths(&out), [1, 1, 2, 3]);
    out.seam();
    out.records.push(offset());
    assert_eq!(lengths(&out), [1, 1, 2, 3, 1]);
}
