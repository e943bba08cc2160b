//! Groups that change their protocol: what consumer groups need of classic ones (KIP-848).

use expect_test::expect;
use protocol::ErrorCode;

use crate::config::Config;
use crate::script::World;

/// A stable group of one member, in the log of a coordinator that has just seen it become classic.
fn handed_over(reason: Option<&str>) -> World {
    let mut before = World::new(Config::default());
    for event in ["a enters", "after 3s", "a syncs a:x"] {
        before.play(event);
    }
    let record = before.records.last().unwrap().clone();
    let mut world = World::new(Config::default());
    world.clients = before.clients;
    world.names = before.names;
    world.run(|shard, env, out| {
        shard.write(record, out);
        shard.start_classic_group("g", reason, env, out);
        shard.assert_classic_invariants();
    });
    world
}

#[test]
fn members_have_a_session_and_are_told_to_rejoin() {
    let mut world = handed_over(Some("the last consumer left"));
    for event in ["admin asks", "a beats", "after 44s", "a beats", "after 45s"] {
        world.play(event);
    }
    expect![[r#"
        0s log: g generation 1 a:x
        0s last rebalance: the last consumer left at 0 ms
        0s a: beat: REBALANCE_IN_PROGRESS
        44s a: beat: REBALANCE_IN_PROGRESS
        89s log: g generation 2
    "#]]
    .assert_eq(&world.told);
}

#[test]
fn without_a_reason_the_group_goes_on() {
    let mut world = handed_over(None);
    for event in ["admin asks", "a beats", "a syncs"] {
        world.play(event);
    }
    expect![[r#"
          0s log: g generation 1 a:x
          0s last rebalance: none
          0s a: beat: ok
          0s a: reads x
    "#]]
    .assert_eq(&world.told);
}

#[test]
fn who_waits_is_told_before_the_group_changes() {
    let mut world = World::new(Config::default());
    for event in ["a joins v=3", "b joins v=3", "after 6s", "b syncs", "c joins v=3", "b joins"] {
        world.play(event);
    }
    world.run(|shard, _, out| {
        shard.refuse_waiting_classic_members("g", ErrorCode::RebalanceInProgress, out);
    });
    assert!(world.open.is_empty());
    expect![[r#"
          0s log: g generation 0
          6s a: a in generation 1 by range led by a of [a b]
          6s b: b in generation 1 by range led by a of []
          6s b: sync: REBALANCE_IN_PROGRESS
          6s b: join: REBALANCE_IN_PROGRESS for b
          6s c: join: REBALANCE_IN_PROGRESS for c
    "#]]
    .assert_eq(&world.told);
}
