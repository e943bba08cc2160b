//! Offsets of consumer groups: how long they stay when the members have gone.

use protocol::StrBytes;
use protocol::messages as m;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

use super::world::{GROUP, World};
use crate::Request;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Commits an offset of t-0.
fn commit(world: &mut World, member: &str, epoch: i32) {
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: StrBytes::from_static("t"),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = m::OffsetCommitRequest {
        group_id: StrBytes::from_static(GROUP),
        generation_id_or_member_epoch: epoch,
        member_id: StrBytes::from(member),
        topics: vec![topic],
        ..Default::default()
    };
    let heartbeat_version = std::mem::replace(&mut world.version, 9);
    world.call(Request::OffsetCommit(request));
    world.version = heartbeat_version;
}

/// What is left after so many days more, when somebody looks for what nobody needs.
fn left_after(world: &mut World, days: i64) -> (usize, bool) {
    world.wall_at_zero += days * DAY_MS;
    world.act(|shard, env, out| shard.expire_offsets(env, out));
    (world.shard.offsets.iter().count(), world.group().is_some())
}

#[test]
fn offsets_stay_for_the_retention_after_the_last_member_went() {
    let mut world = World::new();
    world.run("topic t 1; a joins t");
    commit(&mut world, "a", 2);
    assert_eq!(left_after(&mut world, 8), (1, true), "it is read");
    world.run("a leaves");
    assert_eq!(left_after(&mut world, 0), (1, true), "it was read until now");
    assert_eq!(left_after(&mut world, 6), (1, true));
    assert_eq!(left_after(&mut world, 1), (0, false));
}

#[test]
fn offsets_that_an_empty_group_is_given_stay_for_the_retention() {
    let mut world = World::new();
    world.run("topic t 1; a joins t; a leaves");
    world.wall_at_zero += 6 * DAY_MS;
    commit(&mut world, "", -1);
    assert_eq!(left_after(&mut world, 6), (1, true));
    assert_eq!(left_after(&mut world, 1), (0, false));
}

#[test]
fn who_takes_over_an_empty_group_counts_from_then_on() {
    let mut world = World::new();
    world.run("topic t 1; a joins t");
    commit(&mut world, "a", 2);
    world.run("a leaves");
    world.wall_at_zero += 8 * DAY_MS;
    world.reload();
    assert_eq!(left_after(&mut world, 6), (1, true));
    assert_eq!(left_after(&mut world, 1), (0, false));
}

#[test]
fn a_group_that_was_empty_for_a_while_counts_from_when_it_was_left_last() {
    let mut world = World::new();
    world.run("topic t 1; a joins t");
    commit(&mut world, "a", 2);
    world.run("a leaves");
    world.wall_at_zero += 6 * DAY_MS;
    world.run("b joins t; b leaves");
    assert_eq!(left_after(&mut world, 6), (1, true));
    assert_eq!(left_after(&mut world, 1), (0, false));
}
