//! Static members (KIP-345): come back under another id, in every state.

use expect_test::expect;

use crate::script::check;

#[test]
fn coming_back_to_a_stable_group_changes_nothing() {
    check(
        "a joins instance=i, \
         b joins instance=j, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         old joins instance=k member=none, \
         b forgets, \
         b joins, \
         b syncs, \
         a beats",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
              6s old: join: UNKNOWN_MEMBER_ID for old (null protocol)
              6s log: g generation 1 a:x b2:y
              6s b: b2 in generation 1 by range led by a of []
              6s b: reads y
              6s a: beat: ok
        "#]],
    );
}

#[test]
fn a_leader_that_comes_back_does_not_assign() {
    check(
        "a joins instance=i, \
         b joins instance=j, \
         after 6s, \
         a syncs a:x b:y, \
         a forgets, \
         a joins, \
         a syncs, \
         a forgets, \
         a joins v=8, \
         a syncs",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s log: g generation 1 a2:x b:y
              6s a: a2 in generation 1 by range led by a2 of [a2 b] skip
              6s a: reads x
              6s log: g generation 1 a3:x b:y
              6s a: a3 in generation 1 by range led by a2 of []
              6s a: reads x
        "#]],
    );
}

#[test]
fn the_old_id_is_fenced() {
    check(
        "a joins instance=i, \
         after 3s, \
         a syncs a:x, \
         b joins instance=i, \
         a beats, \
         a syncs, \
         a commits t-0@5, \
         a leaves, \
         a joins, \
         b beats",
        expect![[r#"
              0s log: g generation 0
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g generation 1 b:x
              3s b: b in generation 1 by range led by b of [b] skip
              3s a: beat: FENCED_INSTANCE_ID
              3s a: sync: FENCED_INSTANCE_ID
              3s a: commit: FENCED_INSTANCE_ID
              3s a: leave: ok FENCED_INSTANCE_ID
              3s a: join: FENCED_INSTANCE_ID for a (null protocol)
              3s b: beat: ok
        "#]],
    );
}

#[test]
fn who_waits_under_the_old_id_is_fenced() {
    check(
        "a joins instance=i, \
         b joins instance=i, \
         after 6s, \
         c joins instance=c, \
         b joins, \
         after 1s, \
         c syncs, \
         d joins instance=c",
        expect![[r#"
              0s log: g generation 0
              0s a: join: FENCED_INSTANCE_ID for a (null protocol)
              3s b: b in generation 1 by range led by b of [b]
              6s c: c in generation 2 by range led by b of []
              6s b: b in generation 2 by range led by b of [c b]
              7s c: sync: FENCED_INSTANCE_ID
        "#]],
    );
}

#[test]
fn coming_back_before_the_assignment_rebalances() {
    check(
        "a joins instance=i, \
         b joins instance=j, \
         after 6s, \
         b forgets, \
         b joins, \
         admin asks, \
         a joins",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s last rebalance: member j-00000000-0000-4000-8000-000000000003 joined before the assignment at 6000 ms
              6s a: a in generation 2 by range led by a of [a b2]
              6s b: b2 in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn coming_back_for_other_topics_rebalances() {
    check(
        "a joins instance=i, \
         b joins instance=j, \
         after 6s, \
         a syncs a:x b:y, \
         b forgets, \
         b joins topics=u, \
         admin asks, \
         a joins",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s last rebalance: member j-00000000-0000-4000-8000-000000000003 joined with another subscription at 6000 ms
              6s a: a in generation 2 by range led by a of [a b2]
              6s b: b2 in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn coming_back_with_another_protocol_rebalances() {
    check(
        "a joins instance=i protocols=p+q, \
         b joins instance=j protocols=p+q, \
         after 6s, \
         a syncs a:x b:y, \
         b forgets, \
         b joins protocols=q, \
         a joins protocols=p+q",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by p led by a of [a b]
              6s b: b in generation 1 by p led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s a: a in generation 2 by q led by a of [a b2]
              6s b: b2 in generation 2 by q led by a of []
        "#]],
    );
}

#[test]
fn static_members_stay_until_their_session_ends() {
    check(
        "a joins instance=i session=60 rebalance=10, \
         b joins instance=j session=60 rebalance=10, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         a joins session=60 rebalance=10 member=, \
         a joins session=60 rebalance=10 topics=u, \
         after 10s, \
         a syncs a2:x b:y, \
         after 5s, \
         admin describes, \
         after 5s, \
         admin asks",
        expect![[r#"
            0s log: g generation 0
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            6s b: reads y
            6s log: g generation 1 a2:x b:y
            6s a: a2 in generation 1 by range led by a2 of [a2 b] skip
            16s a: a2 in generation 2 by range led by a2 of [a2 b]
            16s log: g generation 2 a2:x b:y
            16s a: reads x
            21s admin: describe: ok Stable/consumer/range a2(a /10.0.0.1 17 x) b(b /10.0.0.1 17 y) because leader a2 joined with another subscription at 6000 ms
            26s last rebalance: no SyncGroup from b in time at 26000 ms
        "#]],
    );
}

#[test]
fn nobody_rejoins_and_the_phase_goes_on() {
    check(
        "a joins instance=i session=30 rebalance=5, \
         b joins instance=j session=30 rebalance=5, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         c joins v=3 session=30 rebalance=5, \
         c leaves, \
         d joins instance=k session=30 rebalance=5, \
         admin removes k, \
         after 5s, \
         admin describes, \
         after 30s",
        expect![[r#"
            0s log: g generation 0
            5s a: a in generation 1 by range led by a of [a b]
            5s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            6s b: reads y
            6s c: leave: ok UNKNOWN_MEMBER_ID
            6s d: join: UNKNOWN_MEMBER_ID
            6s admin: leave: ok ok
            11s c: c in generation 2 by range led by c of [c a b]
            11s admin: describe: ok CompletingRebalance/consumer/ c(c /10.0.0.1 0 nothing) a(a /10.0.0.1 0 x) b(b /10.0.0.1 0 y) because member c joined at 6000 ms
            16s log: g generation 3
        "#]],
    );
}

#[test]
fn an_admin_removes_a_static_member() {
    check(
        "a joins instance=i, \
         b joins instance=j, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         admin removes j k reason=scaled_down, \
         admin asks, \
         a joins",
        expect![[r#"
              0s log: g generation 0
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
              6s admin: leave: ok ok UNKNOWN_MEMBER_ID
              6s last rebalance: member b left: scaled down at 6000 ms
              6s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn the_new_id_survives_a_load() {
    check(
        "a joins instance=i, \
         after 3s, \
         a syncs a:x, \
         a forgets, \
         a joins, \
         coordinator restarts, \
         a beats, \
         a syncs",
        expect![[r#"
              0s log: g generation 0
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g generation 1 a2:x
              3s a: a2 in generation 1 by range led by a2 of [a2] skip
              3s a: beat: ok
              3s a: reads x
        "#]],
    );
}
