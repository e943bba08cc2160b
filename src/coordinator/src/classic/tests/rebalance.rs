//! Rebalances: who is waited for, who is out.

use expect_test::expect;

use crate::script::check;

#[test]
fn who_does_not_rejoin_is_out() {
    check(
        "a enters rebalance=10 session=30, \
         b enters rebalance=10 session=30, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         a joins rebalance=10, \
         after 9s, \
         b beats, \
         after 1s",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            6s b: reads y
            15s b: beat: REBALANCE_IN_PROGRESS
            16s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn a_leader_that_does_not_rejoin_is_replaced() {
    check(
        "a enters rebalance=10 session=30, \
         b enters rebalance=10 session=30, \
         after 6s, \
         a syncs a:x b:y, \
         b joins topics=u rebalance=10, \
         after 10s, \
         b syncs b:z",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            16s b: b in generation 2 by range led by b of [b]
            16s log: g generation 2 b:z
            16s b: reads z
        "#]],
    );
}

#[test]
fn silent_members_are_out() {
    check(
        "a enters session=10, \
         b enters session=10, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         after 9s, \
         a beats, \
         after 2s, \
         admin asks, \
         a beats, \
         a joins, \
         a syncs a:xy",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            6s b: reads y
            15s a: beat: ok
            17s last rebalance: member b: session timeout at 16000 ms
            17s a: beat: REBALANCE_IN_PROGRESS
            17s a: a in generation 2 by range led by a of [a]
            17s log: g generation 2 a:xy
            17s a: reads xy
        "#]],
    );
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    check(
        "a enters session=10, \
         after 3s, \
         a syncs a:x, \
         after 10s, \
         admin describes v=5, \
         a joins",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            13s log: g generation 2
            13s admin: describe: ok Empty/consumer/ because member a: session timeout at 13000 ms
            13s a: join: UNKNOWN_MEMBER_ID for a (null protocol)
        "#]],
    );
}

#[test]
fn a_waiting_member_needs_no_heartbeats() {
    check(
        "a enters session=10 rebalance=60, \
         b enters session=60 rebalance=60, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         a joins rebalance=60 session=10, \
         after 30s, \
         b joins rebalance=60 session=60, \
         after 9s, \
         a syncs a:x b:y",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            6s b: reads y
            36s a: a in generation 2 by range led by a of [a b]
            36s b: b in generation 2 by range led by a of []
            45s log: g generation 2 a:x b:y
            45s a: reads x
        "#]],
    );
}

#[test]
fn who_does_not_sync_is_out() {
    check(
        "a enters rebalance=20, \
         b enters rebalance=20, \
         after 6s, \
         b syncs, \
         a beats, \
         b beats, \
         after 20s, \
         admin asks, \
         b joins rebalance=20, \
         a joins rebalance=20",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s a: beat: ok
            6s b: beat: ok
            26s b: sync: REBALANCE_IN_PROGRESS
            26s last rebalance: no SyncGroup from a in time at 26000 ms
            26s b: b in generation 2 by range led by b of [b]
            26s a: join: UNKNOWN_MEMBER_ID for a (null protocol)
        "#]],
    );
}

#[test]
fn a_follower_that_does_not_sync_is_out_of_a_stable_group() {
    check(
        "a enters rebalance=20, \
         b enters rebalance=20, \
         after 6s, \
         a syncs a:x b:y, \
         after 20s, \
         admin asks, \
         a joins",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s b: join: MEMBER_ID_REQUIRED for b
            6s a: a in generation 1 by range led by a of [a b]
            6s b: b in generation 1 by range led by a of []
            6s log: g generation 1 a:x b:y
            6s a: reads x
            26s last rebalance: no SyncGroup from b in time at 26000 ms
            26s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn members_without_time_to_rejoin_do_not_stop_the_clock() {
    check(
        "a joins rebalance=0 instance=i session=10, \
         after 3s, \
         after 20s",
        expect![[r#"
              0s log: g generation 0
              3s log: g generation 2
              3s a: a in generation 1 by range led by a of [a]
        "#]],
    );
}

#[test]
fn sessions_start_anew_after_a_load() {
    check(
        "a enters session=10, \
         after 3s, \
         a syncs a:x, \
         after 9s, \
         coordinator restarts, \
         after 9s, \
         a beats, \
         after 10s",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            21s a: beat: ok
            31s log: g generation 2
        "#]],
    );
}

#[test]
fn heartbeats_of_strangers() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a beats generation=0, \
         a beats member=other, \
         a beats group=other, \
         a beats group=",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s a: beat: ILLEGAL_GENERATION
              3s a: beat: UNKNOWN_MEMBER_ID
              3s a: beat: UNKNOWN_MEMBER_ID
              3s a: beat: INVALID_GROUP_ID
        "#]],
    );
}
