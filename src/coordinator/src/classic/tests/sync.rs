//! SyncGroup: nobody learns an assignment that is not in the log.

use expect_test::expect;

use crate::config::Config;
use crate::script::{check, check_with};

#[test]
fn followers_wait_for_the_leader() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         b syncs, \
         after 10s, \
         a syncs a:x b:y",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            16s log: g generation 1 a:x b:y
            16s a: reads x
            16s b: reads y
        "#]],
    );
}

#[test]
fn members_that_the_leader_leaves_out_read_nothing() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         b syncs, \
         a syncs a:x",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:nothing
              6s a: reads x
              6s b: reads nothing
        "#]],
    );
}

#[test]
fn a_stable_group_gives_what_it_has() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a syncs, \
         a syncs a:y",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s a: reads x
              3s a: reads x
        "#]],
    );
}

#[test]
fn refusals() {
    check(
        "a enters, \
         after 3s, \
         a syncs generation=7, \
         a syncs member=other, \
         a syncs type=connect, \
         a syncs protocol=other, \
         a syncs group=other, \
         a syncs group=, \
         a syncs v=4 a:x",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s a: sync: ILLEGAL_GENERATION
              3s a: sync: UNKNOWN_MEMBER_ID
              3s a: sync: INCONSISTENT_GROUP_PROTOCOL
              3s a: sync: INCONSISTENT_GROUP_PROTOCOL
              3s a: sync: UNKNOWN_MEMBER_ID
              3s a: sync: INVALID_GROUP_ID
              3s log: g generation 1 a:x
              3s a: reads x
        "#]],
    );
}

#[test]
fn version_5_names_the_protocol() {
    check(
        "z syncs",
        expect![[r#"
              0s z: sync: INCONSISTENT_GROUP_PROTOCOL
        "#]],
    );
}

#[test]
fn a_rebalance_recalls_who_waits() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         b syncs, \
         c enters, \
         b syncs",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s c: join: MEMBER_ID_REQUIRED for c
              6s b: sync: REBALANCE_IN_PROGRESS
              6s b: sync: REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn an_older_sync_of_the_same_member_is_refused() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         b syncs, \
         b syncs, \
         a syncs a:x b:y",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s b: sync: REBALANCE_IN_PROGRESS
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
        "#]],
    );
}

#[test]
fn who_leaves_while_waiting_is_told() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         b syncs, \
         b leaves",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s b: sync: UNKNOWN_MEMBER_ID
              6s b: leave: ok ok
        "#]],
    );
}

#[test]
fn a_generation_without_an_assignment_leaves_none_behind() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a joins, \
         admin describes, \
         b joins v=3, \
         admin describes",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s a: a in generation 2 by range led by a of [a]
            3s admin: describe: ok CompletingRebalance/consumer/ a(a /10.0.0.1 0 x) because leader a joined again at 3000 ms
            3s admin: describe: ok PreparingRebalance/consumer/ a(a /10.0.0.1 0 nothing) b?(b /10.0.0.1 0 nothing) because member b-00000000-0000-4000-8000-000000000002 joined at 3000 ms
        "#]],
    );
}

#[test]
fn an_assignment_that_no_record_can_hold_is_refused() {
    let config = Config { record_bytes_max: 500, ..Config::default() };
    let long = "x".repeat(120);
    check_with(
        config,
        &format!(
            "a enters, \
             b enters, \
             after 6s, \
             b syncs, \
             a syncs a:{long} b:{long}, \
             admin describes, \
             a joins, \
             b joins, \
             a syncs a:x b:y, \
             b syncs"
        ),
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s a: sync: UNKNOWN_SERVER_ERROR
            6s b: sync: UNKNOWN_SERVER_ERROR
            6s admin: describe: ok PreparingRebalance/consumer/ a(a /10.0.0.1 0 nothing) b(b /10.0.0.1 0 nothing) because assignments and subscriptions of the group are 614 bytes long, a record of the log is 500 at most (offsets.topic.segment.bytes) at 6000 ms
            6s a: a in generation 2 by range led by a of [a b]
            6s b: b in generation 2 by range led by a of []
            6s log: g generation 2 a:x b:y
            6s a: reads x
            6s b: reads y
        "#]],
    );
}
