//! LeaveGroup: one or many, by themselves or by an admin.

use expect_test::expect;

use crate::script::check;

#[test]
fn the_others_rebalance() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         b leaves reason=closing, \
         admin asks, \
         a beats, \
         a joins",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
              6s b: leave: ok ok
              6s last rebalance: member b left: closing at 6000 ms
              6s a: beat: REBALANCE_IN_PROGRESS
              6s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn many_at_once() {
    check(
        "a enters, \
         b enters, \
         c enters, \
         after 6s, \
         a syncs a:x b:y c:z, \
         b syncs, \
         c syncs, \
         b leaves also=c+d reason=closing, \
         admin asks",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              0s c: join: MEMBER_ID_REQUIRED for c
              6s a: a in generation 1 by range led by a of [a b c]
              6s b: b in generation 1 by range led by a of []
              6s c: c in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y c:z
              6s a: reads x
              6s b: reads y
              6s c: reads z
              6s b: leave: ok ok ok UNKNOWN_MEMBER_ID
              6s last rebalance: member b left: closing, member c left: closing at 6000 ms
        "#]],
    );
}

#[test]
fn old_versions_have_one_error() {
    check(
        "a enters, \
         after 3s, \
         a leaves v=2, \
         a leaves v=2, \
         a leaves v=0 group=other, \
         a leaves v=1 group=, \
         a leaves group=other, \
         a leaves group=",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 2
              3s a: leave: ok
              3s a: leave: UNKNOWN_MEMBER_ID
              3s a: leave: UNKNOWN_MEMBER_ID
              3s a: leave: INVALID_GROUP_ID
              3s a: leave: ok UNKNOWN_MEMBER_ID
              3s a: leave: INVALID_GROUP_ID
        "#]],
    );
}

#[test]
fn the_last_one_empties_the_group() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a leaves",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g generation 2
              3s a: leave: ok ok
        "#]],
    );
}

#[test]
fn who_leaves_while_joining_is_told() {
    check(
        "a enters, \
         b enters, \
         a leaves, \
         after 6s",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              0s a: join: UNKNOWN_MEMBER_ID
              0s a: leave: ok ok
              6s b: b in generation 1 by range led by b of [b]
        "#]],
    );
}

#[test]
fn pending_members_may_leave() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         b joins, \
         a joins, \
         b leaves",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s b: join: MEMBER_ID_REQUIRED for b
              3s a: a in generation 2 by range led by a of [a]
              3s b: leave: ok ok
        "#]],
    );
}

#[test]
fn nobody_rejoins_for_a_pending_member_that_leaves() {
    check(
        "a enters, after 3s, a syncs a:x, b joins, b leaves, a beats",
        expect![[r#"
        0s log: g generation 0
        0s a: join: MEMBER_ID_REQUIRED for a
        3s a: a in generation 1 by range led by a of [a]
        3s log: g generation 1 a:x
        3s a: reads x
        3s b: join: MEMBER_ID_REQUIRED for b
        3s b: leave: ok ok
        3s a: beat: ok
    "#]],
    );
}
