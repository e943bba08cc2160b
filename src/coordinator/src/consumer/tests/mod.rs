//! Consumer groups under scripts (see `world.rs`).

mod classic;
mod describe;
mod errors;
mod expiry;
mod migration;
mod random;
mod replay;
mod world;

use std::time::Duration;

use expect_test::{Expect, expect};

use world::World;

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&World::new().run(script));
}

#[test]
fn members_share_partitions_and_hand_them_over() {
    check(
        "topic t 3; a joins t; a beats; b joins t; show; a holds; show; b beats; a beats; show;
         b beats; show; a pings; b pings",
        expect![[r#"
            a joins t: epoch 2 [t0 t1 t2]
            a beats: epoch 2
            b joins t: epoch 3 []
            show: Reconciling 3/3 because member b joined; a@2 Stable [t0 t1 t2]; b@3 Unreleased []
            a holds: epoch 2 [t0 t1]
            show: Reconciling 3/3 because member b joined; a@2 Unrevoked [t0 t1] gives up [t2]; b@3 Unreleased []
            b beats: epoch 3
            a beats: epoch 3
            show: Reconciling 3/3 because member b joined; a@3 Stable [t0 t1]; b@3 Unreleased []
            b beats: epoch 3 [t2]
            show: Stable 3/3 because member b joined; a@3 Stable [t0 t1]; b@3 Stable [t2]
            a pings: epoch 3
            b pings: epoch 3
        "#]],
    );
}

#[test]
fn a_leaver_makes_room() {
    check(
        "topic t 2; a joins t; b joins t; a beats; a beats; b beats; show; a leaves; show;
         b beats; show; b leaves; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            b joins t: epoch 3 []
            a beats: epoch 2 [t0]
            a beats: epoch 3
            b beats: epoch 3 [t1]
            show: Stable 3/3 because member b joined; a@3 Stable [t0]; b@3 Stable [t1]
            a leaves: epoch -1
            show: Assigning 4/3 because member a left; b@3 Stable [t1]
            b beats: epoch 4 [t0 t1]
            show: Stable 4/4 because member a left; b@4 Stable [t0 t1]
            b leaves: epoch -1
            show: Empty 5/4 because member b left
        "#]],
    );
}

#[test]
fn a_lost_answer_is_given_again() {
    check(
        "topic t 2; a joins t; a beats; b joins t; a loses; a beats; a loses; a beats; b loses; b beats; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            a beats: epoch 2
            b joins t: epoch 3 []
            a loses: epoch 2 [t0]
            a beats: epoch 2 [t0]
            a loses: epoch 3
            a beats: epoch 3 [t0]
            b loses: epoch 3 [t1]
            b beats: epoch 3 [t1]
            show: Stable 3/3 because member b joined; a@3 Stable [t0]; b@3 Stable [t1]
        "#]],
    );
}

#[test]
fn a_member_that_is_silent_is_out() {
    check(
        "topic t 2; a joins t; b joins t; a beats; a beats; b beats; after 30s; b beats; after 20s; show;
         a beats; b beats; show; a beats; b beats; b beats; a beats; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            b joins t: epoch 3 []
            a beats: epoch 2 [t0]
            a beats: epoch 3
            b beats: epoch 3 [t1]
            b beats: epoch 3
            show: Assigning 4/3 because member a: session timeout; b@3 Stable [t1]
            a beats: UNKNOWN_MEMBER_ID: Member a is not a member of group g.
            b beats: epoch 4 [t0 t1]
            show: Stable 4/4 because member a: session timeout; b@4 Stable [t0 t1]
            a beats: epoch 5 []
            b beats: epoch 4 [t0]
            b beats: epoch 5
            a beats: epoch 5 [t1]
            show: Stable 5/5 because member a joined; a@5 Stable [t1]; b@5 Stable [t0]
        "#]],
    );
}

#[test]
fn a_member_that_does_not_give_up_its_partitions_is_out() {
    check(
        "topic t 2; a joins t; a beats; b joins t; a holds; after 40s; a holds; b beats; after 30s; show; a holds",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            a beats: epoch 2
            b joins t: epoch 3 []
            a holds: epoch 2 [t0]
            a holds: epoch 2
            b beats: epoch 3
            show: Assigning 4/3 because member a: did not give up its partitions in time; b@3 Unreleased []
            a holds: UNKNOWN_MEMBER_ID: Member a is not a member of group g.
        "#]],
    );
}

#[test]
fn topics_come_grow_and_go() {
    check(
        "a joins t,u; show; topic t 1; show; a beats; show; topic u 2; a beats; topic t 2; show; a beats;
         a beats; drop u; show; a beats; a beats; show; topic v 1; show",
        expect![[r#"
            a joins t,u: epoch 2 []
            show: Stable 2/2 because member a joined; a@2 Stable []
            show: Assigning 3/2 because topic t is there; a@2 Stable []
            a beats: epoch 3 [t0]
            show: Stable 3/3 because topic t is there; a@3 Stable [t0]
            a beats: epoch 4 [t0 u0 u1]
            show: Assigning 5/4 because topic t has 2 partitions; a@4 Stable [t0 u0 u1]
            a beats: epoch 5 [t0 t1 u0 u1]
            a beats: epoch 5
            show: Assigning 6/5 because topic u is gone; a@5 Stable [t0 t1 gone0 gone1]
            a beats: epoch 5 [t0 t1]
            a beats: epoch 6
            show: Stable 6/6 because topic u is gone; a@6 Stable [t0 t1]
            show: Stable 6/6 because topic u is gone; a@6 Stable [t0 t1]
        "#]],
    );
}

#[test]
fn a_new_subscription_is_a_new_epoch() {
    check(
        "topic t 1; topic u 1; a joins t; a beats; a reads u; show; a beats; a reads u; a reads t,u; show",
        expect![[r#"
            a joins t: epoch 2 [t0]
            a beats: epoch 2
            a reads u: epoch 2 []
            show: Reconciling 3/3 because member a changed its subscription; a@2 Unrevoked [] gives up [t0]
            a beats: epoch 3 [u0]
            a reads u: epoch 3 [u0]
            a reads t,u: epoch 4 [t0 u0]
            show: Stable 4/4 because member a changed its subscription; a@4 Stable [t0 u0]
        "#]],
    );
}

#[test]
fn patterns_are_matched_by_the_coordinator() {
    check(
        "topic t-1 1; topic u 1; a joins /t-.*/; show; topic t-2 1; a beats; show; after 12s; topic t-3 1; a beats;
         show; b joins /u|t-3/; show; a reads u; show",
        expect![[r#"
            a joins /t-.*/: epoch 2 [t-10]
            show: Stable 2/2 because member a joined; a@2 Stable [t-10]
            a beats: epoch 2
            show: Stable 2/2 because member a joined; a@2 Stable [t-10]
            a beats: epoch 3 [t-10 t-20]
            show: Stable 3/3 because pattern t-.* matches other topics; a@3 Stable [t-10 t-20]
            b joins /u|t-3/: epoch 4 [u0 t-30]
            show: Reconciling 4/4 because member b joined; a@3 Stable [t-10 t-20]; b@4 Stable [u0 t-30]
            a reads u: epoch 3 []
            show: Reconciling 5/5 because member a changed its subscription; a@3 Unrevoked [] gives up [t-10 t-20]; b@4 Stable [u0 t-30]
        "#]],
    );
}

#[test]
fn static_members_keep_their_place_while_they_are_away() {
    check(
        "topic t 2; a:i joins t; b joins t; a beats; a beats; b beats; a2:i joins t; a pauses; show;
         a2:i joins t; show; a beats; a2 beats; b beats; show",
        expect![[r#"
            a:i joins t: epoch 2 [t0 t1]
            b joins t: epoch 3 []
            a beats: epoch 2 [t0]
            a beats: epoch 3
            b beats: epoch 3 [t1]
            a2:i joins t: UNRELEASED_INSTANCE_ID: Static member a2 with instance id i cannot join the group because the instance id is owned by a member.
            a pauses: epoch -2
            show: Reconciling 3/3 because member b joined; a@-2 Stable [t0]; b@3 Stable [t1]
            a2:i joins t: epoch 3 [t0]
            show: Stable 3/3 because member b joined; a2@3 Stable [t0]; b@3 Stable [t1]
            a beats: FENCED_INSTANCE_ID: Static member a with instance id i was fenced by member a2.
            a2 beats: epoch 3
            b beats: epoch 3
            show: Stable 3/3 because member b joined; a2@3 Stable [t0]; b@3 Stable [t1]
        "#]],
    );
}

#[test]
fn static_members_that_stay_away_are_out() {
    check(
        "topic t 1; a:i joins t; a pauses; after 50s; show; b:i joins t",
        expect![[r#"
            a:i joins t: epoch 2 [t0]
            a pauses: epoch -2
            show: Empty 3/2 because member a: session timeout
            b:i joins t: epoch 4 [t0]
        "#]],
    );
}

#[test]
fn a_new_coordinator_goes_on() {
    check(
        "topic t 3; a joins t; a beats; b joins t; a holds; reload; show; b beats; a beats; b beats; show;
         after 44s; show; after 2s; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1 t2]
            a beats: epoch 2
            b joins t: epoch 3 []
            a holds: epoch 2 [t0 t1]
            show: Reconciling 3/3 because nothing; a@2 Unrevoked [t0 t1] gives up [t2]; b@3 Unreleased []
            b beats: epoch 3
            a beats: epoch 3
            b beats: epoch 3 [t2]
            show: Stable 3/3 because nothing; a@3 Stable [t0 t1]; b@3 Stable [t2]
            show: Stable 3/3 because nothing; a@3 Stable [t0 t1]; b@3 Stable [t2]
            show: Empty 5/3 because member b: session timeout
        "#]],
    );
}

#[test]
fn a_new_coordinator_still_waits_no_longer_than_it_must() {
    check(
        "topic t 2; a joins t; a beats; b joins t; a holds; reload; after 30s; a holds; b beats; after 25s;
         a holds; b beats; after 10s; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            a beats: epoch 2
            b joins t: epoch 3 []
            a holds: epoch 2 [t0]
            a holds: epoch 2
            b beats: epoch 3
            a holds: epoch 2
            b beats: epoch 3
            show: Assigning 4/3 because member a: did not give up its partitions in time; b@3 Unreleased []
        "#]],
    );
}

#[test]
fn assignments_are_not_made_more_often_than_the_interval_says() {
    let mut world = World::new();
    world.cluster.settings.assignment_interval = Duration::from_secs(10);
    let script = "topic t 4; a joins t; a beats; b joins t; c joins t; a beats; show; after 11s; show; a beats;
                  a beats; b beats; c beats; show";
    expect![[r#"
        a joins t: epoch 2 [t0 t1 t2 t3]
        a beats: epoch 2
        b joins t: epoch 2 []
        c joins t: epoch 2 []
        a beats: epoch 2
        show: Assigning 4/2 because member c joined; a@2 Stable [t0 t1 t2 t3]; b@2 Stable []; c@2 Stable []
        show: Reconciling 4/4 because member c joined; a@2 Stable [t0 t1 t2 t3]; b@2 Stable []; c@2 Stable []
        a beats: epoch 2 [t0 t1]
        a beats: epoch 4
        b beats: epoch 4 [t2]
        c beats: epoch 4 [t3]
        show: Stable 4/4 because member c joined; a@4 Stable [t0 t1]; b@4 Stable [t2]; c@4 Stable [t3]
    "#]].assert_eq(&world.run(script));
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_put_assignments_off() {
    let mut world = World::new();
    world.cluster.settings.assignment_interval = Duration::from_secs(10);
    world.run("topic t 4; a joins t; a beats");
    world.wall_at_zero -= 100_000;
    expect![[r#"
        b joins t: epoch 2 []
        show: Assigning 3/2 because member b joined; a@2 Stable [t0 t1 t2 t3]; b@2 Stable []
        show: Reconciling 3/3 because member b joined; a@2 Stable [t0 t1 t2 t3]; b@2 Stable []
    "#]]
    .assert_eq(&world.run("b joins t; show; after 11s; show"));
}

#[test]
fn a_member_that_rejoins_with_its_id_starts_over() {
    check(
        "topic t 2; a joins t; a beats; b joins t; a joins t; show; b beats; show",
        expect![[r#"
            a joins t: epoch 2 [t0 t1]
            a beats: epoch 2
            b joins t: epoch 3 []
            a joins t: epoch 3 [t0]
            show: Reconciling 3/3 because member b joined; a@3 Stable [t0]; b@3 Unreleased []
            b beats: epoch 3 [t1]
            show: Stable 3/3 because member b joined; a@3 Stable [t0]; b@3 Stable [t1]
        "#]],
    );
}

#[test]
fn a_static_member_that_was_fenced_comes_back_at_once() {
    check(
        "topic t 2; a:i joins t; a beats; b joins t; a joins t; a:i joins t; b beats; show",
        expect![[r#"
            a:i joins t: epoch 2 [t0 t1]
            a beats: epoch 2
            b joins t: epoch 3 []
            a joins t: epoch 3 [t0]
            a:i joins t: epoch 3 [t0]
            b beats: epoch 3 [t1]
            show: Stable 3/3 because member b joined; a@3 Stable [t0]; b@3 Stable [t1]
        "#]],
    );
}

#[test]
fn an_assignor_is_chosen_by_most_votes() {
    let mut world = World::new();
    world.run("topic t 1; a joins t; b joins t; c joins t");
    let want = |world: &mut World, member: &str, assignor: &'static str| {
        let epoch = world.group().unwrap().member(member).unwrap().current.epoch;
        let mut request = world.request(member, epoch, false);
        request.server_assignor = Some(protocol::StrBytes::from_static(assignor));
        world.heartbeat(request);
        world.group().unwrap().preferred_assignor(&world.config).to_owned()
    };
    let said = [
        want(&mut world, "a", "range"),
        want(&mut world, "b", "uniform"),
        want(&mut world, "c", "range"),
        want(&mut world, "a", "uniform"),
    ];
    assert_eq!(said, ["range", "uniform", "range", "uniform"]);
}

/// Topics come and go all the time in a large cluster: only those whom it concerns look.
#[test]
fn changes_of_topics_that_a_group_does_not_read_cost_it_nothing() {
    let mut world = World::new();
    let lookups = |world: &mut World, script: &str| {
        let before = world.cluster.lookup_count.get();
        world.run(script);
        world.cluster.lookup_count.get() - before
    };
    world.run("topic t 3; topic u 3; a joins t; a beats; a beats");
    assert_eq!(lookups(&mut world, "topic u 4; drop u; topic v 1"), 0);
    assert!(lookups(&mut world, "topic t 4") > 0, "it has a new epoch");
    // With a pattern, names are matched, and topics looked up if others match than before.
    world.run("a reads /t.*/; a beats; after 11s; a beats");
    assert_eq!(lookups(&mut world, "topic v 2; drop v"), 0);
    world.run("after 11s; a beats");
    assert!(lookups(&mut world, "topic t2 1") > 0);
    assert!(lookups(&mut world, "topic t2 2") > 0);
    expect![[r#"
        show: Assigning 6/4 because topic t2 has 2 partitions; a@4 Stable [t0 t1 t2 t3]
    "#]]
    .assert_eq(&world.run("show"));
}

/// A quiet beat writes nothing and takes the same steps in a large group as in a small one.
#[test]
fn a_quiet_beat_writes_nothing() {
    let mut world = World::new();
    world.run("topic t 3; a joins t; a beats; a beats");
    let written = world.log.len();
    world.run("a pings; a beats; a pings");
    assert_eq!(world.log.len(), written);
}
