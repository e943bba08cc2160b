//! Work that grows with what a member says, and no faster.

use std::time::Duration;

use bytes::Bytes;
use expect_test::expect;
use protocol::StrBytes;

use crate::classic::join::PENDING_JOINS_MAX;
use crate::classic::{ClassicGroup, ClassicMember, ClassicState, MemberProtocol};
use crate::config::Config;
use crate::script::{World, check_with};
use crate::timers::Timer;

/// Tables of so many names are made in a second; searching lists of them would take hours, and the test
/// would not end.
const NAME_COUNT: usize = 200_000;

fn member(names: impl Iterator<Item = String>) -> ClassicMember {
    let protocols =
        names.map(|name| MemberProtocol { name: StrBytes::from(name), metadata: Bytes::new() });
    ClassicMember {
        instance_id: None,
        client_id: StrBytes::new(),
        client_host: StrBytes::new(),
        rebalance_timeout: Duration::ZERO,
        session_timeout: Duration::ZERO,
        protocols: protocols.collect(),
        assignment: Bytes::new(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}

#[test]
fn many_protocols_do_not_hold_up_the_shard() {
    let names = || (0..NAME_COUNT).map(|number| format!("protocol-{number}"));
    let consumer = StrBytes::from_static("consumer");
    let mut group = ClassicGroup::new(None);
    group.add(StrBytes::from_static("a"), member(names()), &consumer);
    group.add(StrBytes::from_static("b"), member(names().rev()), &consumer);
    group.state = ClassicState::PreparingRebalance;
    let others: Vec<StrBytes> =
        (0..NAME_COUNT).map(|number| StrBytes::from(format!("other-{number}"))).collect();
    assert_eq!(group.select_protocol().as_deref(), Some("protocol-0"));
    assert!(!group.supports("consumer", others.iter()));
}

#[test]
fn a_name_that_a_member_has_twice_counts_once() {
    let names = |names: &[&str]| member(names.iter().map(|&name| name.to_owned()));
    let consumer = StrBytes::from_static("consumer");
    let mut group = ClassicGroup::new(None);
    group.add(StrBytes::from_static("a"), names(&["p", "q", "p"]), &consumer);
    group.add(StrBytes::from_static("b"), names(&["q", "q", "r"]), &consumer);
    group.add(StrBytes::from_static("c"), names(&["r", "q", "p"]), &consumer);
    assert_eq!(group.select_protocol().as_deref(), Some("q"));
}

#[test]
fn a_subscription_that_the_log_has_no_room_for_is_refused() {
    let config = Config { record_bytes_max: 400, ..Config::default() };
    // `range` is five bytes more.
    let fits = "x".repeat(95);
    check_with(
        config,
        &format!("a joins metadata={fits}, b joins metadata={fits}x"),
        expect![[r#"
        0s log: g generation 0
        0s a: join: MEMBER_ID_REQUIRED for a
        0s b: join: INVALID_REQUEST
    "#]],
    );
}

#[test]
fn ids_that_nobody_comes_back_with_are_not_given_out_for_ever() {
    let mut world = World::new(Config::default());
    world.play("a joins");
    world.run(|shard, env, _| {
        for number in 1..PENDING_JOINS_MAX {
            let id = StrBytes::from(format!("id-{number}"));
            let timer = Timer::ClassicPending(StrBytes::from_static("g"), id.clone());
            shard.timers.set(timer, env.now + Duration::from_secs(6));
            shard.classic_mut("g").expect("somebody joins it").pending_joins.insert(id);
        }
    });
    world.play("b joins");
    // Those that were given out are forgotten after their session.
    world.play("after 10s");
    world.play("c joins");
    expect![[r#"
        0s log: g generation 0
        0s a: join: MEMBER_ID_REQUIRED for a
        0s b: join: GROUP_MAX_SIZE_REACHED
        10s c: join: MEMBER_ID_REQUIRED for c
    "#]]
    .assert_eq(&world.told);
}
