//! JoinGroup: who is let in, who is answered at once.

use expect_test::expect;

use crate::config::Config;
use crate::script::{check, check_with};

#[test]
fn arguments_are_checked_first() {
    check(
        "a joins group=, \
         a joins session=5, \
         a joins session=1801, \
         a joins member=unknown, \
         a joins type=, \
         a joins protocols=",
        expect![[r#"
              0s a: join: INVALID_GROUP_ID
              0s a: join: INVALID_SESSION_TIMEOUT
              0s a: join: INVALID_SESSION_TIMEOUT
              0s a: join: UNKNOWN_MEMBER_ID for a
              0s a: join: INCONSISTENT_GROUP_PROTOCOL
              0s a: join: INCONSISTENT_GROUP_PROTOCOL
        "#]],
    );
}

#[test]
fn refusals_of_a_group_that_is_there() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         b joins type=connect, \
         b joins protocols=other, \
         b joins member=unknown, \
         b joins member=unknown instance=i",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s b: join: INCONSISTENT_GROUP_PROTOCOL
              3s b: join: INCONSISTENT_GROUP_PROTOCOL
              3s b: join: UNKNOWN_MEMBER_ID for b (null protocol)
              3s b: join: UNKNOWN_MEMBER_ID for b (null protocol)
        "#]],
    );
}

#[test]
fn the_first_member_waits_for_others() {
    check(
        "a enters, \
         after 2s, \
         b enters, \
         after 1s, \
         after 3s",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              2s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
        "#]],
    );
}

#[test]
fn the_wait_for_others_ends_with_the_rebalance_timeout() {
    check(
        "a enters rebalance=7, \
         after 2s, \
         b enters, \
         after 3s, \
         c enters, \
         after 2s",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              2s b: join: MEMBER_ID_REQUIRED for b
              5s c: join: MEMBER_ID_REQUIRED for c
              7s a: a in generation 1 by range led by a of [a b c]
              7s b: b in generation 1 by range led by a of []
              7s c: c in generation 1 by range led by a of []
        "#]],
    );
}

#[test]
fn ids_come_first_since_version_4() {
    check(
        "a joins v=3, \
         b joins v=4, \
         after 3s, \
         b joins v=4, \
         after 1s, \
         a joins",
        expect![[r#"
              0s log: g generation 0
              0s b: join: MEMBER_ID_REQUIRED for b
              3s a: a in generation 1 by range led by a of [a]
              4s a: a in generation 2 by range led by a of [a b]
              4s b: b in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn ids_that_are_not_used_are_forgotten() {
    check(
        "a joins session=10, \
         after 11s, \
         a joins",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            11s a: join: UNKNOWN_MEMBER_ID for a (null protocol)
        "#]],
    );
}

#[test]
fn a_pending_member_is_waited_for() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         b joins session=10, \
         a joins, \
         after 9s, \
         after 1s",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s b: join: MEMBER_ID_REQUIRED for b
            13s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn version_0_has_one_timeout_for_both() {
    check(
        "a joins v=0 session=10, \
         after 3s, \
         b joins v=0 session=10, \
         after 10s",
        expect![[r#"
            0s log: g generation 0
            3s a: a in generation 1 by range led by a of [a]
            13s b: b in generation 2 by range led by b of [b]
        "#]],
    );
}

#[test]
fn followers_are_answered_at_once_and_leaders_rebalance() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         b joins, \
         a joins reason=new_partitions, \
         admin asks, \
         b beats, \
         b joins",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
              6s b: b in generation 1 by range led by a of []
              6s last rebalance: leader a joined again: new partitions at 6000 ms
              6s b: beat: REBALANCE_IN_PROGRESS
              6s a: a in generation 2 by range led by a of [a b]
              6s b: b in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn another_subscription_rebalances() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         a syncs a:x b:y, \
         b joins topics=u, \
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
              6s last rebalance: member b joined with another subscription at 6000 ms
              6s a: a in generation 2 by range led by a of [a b]
              6s b: b in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn a_lost_answer_is_given_again() {
    check(
        "a enters, \
         b enters, \
         after 6s, \
         a joins, \
         b joins, \
         b joins topics=u, \
         admin asks",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s last rebalance: member b joined with another subscription at 6000 ms
        "#]],
    );
}

#[test]
fn an_older_join_of_the_same_member_is_refused() {
    check(
        "a enters, \
         a joins, \
         after 3s",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s a: join: REBALANCE_IN_PROGRESS for a
              3s a: a in generation 1 by range led by a of [a]
        "#]],
    );
}

#[test]
fn new_members_that_wait_too_long_are_dropped() {
    check(
        "a enters session=1800 rebalance=400, \
         after 3s, \
         a syncs a:x, \
         b joins v=3 rebalance=400, \
         after 290s, \
         a beats, \
         after 10s, \
         a joins",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            293s a: beat: REBALANCE_IN_PROGRESS
            303s b: join: UNKNOWN_MEMBER_ID
            303s a: a in generation 2 by range led by a of [a]
        "#]],
    );
}

#[test]
fn full_groups_take_nobody() {
    let config = Config { classic_group_size_max: 2, ..Config::default() };
    check_with(
        config,
        "a enters, \
         b enters, \
         after 6s, \
         c joins, \
         a syncs a:x b:y, \
         c joins",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s c: join: GROUP_MAX_SIZE_REACHED
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s c: join: GROUP_MAX_SIZE_REACHED
        "#]],
    );
}

#[test]
fn who_rejoins_last_may_find_the_group_full() {
    let config = Config { classic_group_size_max: 2, ..Config::default() };
    check_with(
        config,
        "a enters, \
         b enters, \
         after 6s, \
         a syncs a:x b:y, \
         b syncs, \
         a joins topics=u, \
         c joins v=3, \
         b joins",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by range led by a of [a b]
              6s b: b in generation 1 by range led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
              6s b: reads y
              6s b: join: GROUP_MAX_SIZE_REACHED
              6s a: a in generation 2 by range led by a of [a c]
              6s c: c in generation 2 by range led by a of []
        "#]],
    );
}

#[test]
fn a_loaded_group_that_is_too_large_rebalances() {
    let config = Config { classic_group_size_max: 0, ..Config::default() };
    check_with(
        config,
        "a enters, \
         after 3s, \
         a syncs a:x, \
         coordinator restarts, \
         admin asks, \
         a beats, \
         a joins, \
         b joins",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s last rebalance: the group has 1 members, 0 are allowed at 3000 ms
              3s a: beat: REBALANCE_IN_PROGRESS
              3s log: g generation 2
              3s a: join: GROUP_MAX_SIZE_REACHED
              3s b: join: MEMBER_ID_REQUIRED for b
        "#]],
    );
}

#[test]
fn other_protocol_types_have_bytes_of_their_own() {
    check(
        "a enters type=connect protocols=sessioned+compatible metadata=url, \
         b enters type=connect protocols=compatible metadata=url, \
         after 6s, \
         a syncs a:x b:y",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              6s a: a in generation 1 by compatible led by a of [a b]
              6s b: b in generation 1 by compatible led by a of []
              6s log: g generation 1 a:x b:y
              6s a: reads x
        "#]],
    );
}

#[test]
fn most_votes_win() {
    check(
        "a enters protocols=p+q, \
         b enters protocols=q+p, \
         c enters protocols=q+p+r, \
         after 6s",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s b: join: MEMBER_ID_REQUIRED for b
              0s c: join: MEMBER_ID_REQUIRED for c
              6s a: a in generation 1 by q led by a of [a b c]
              6s b: b in generation 1 by q led by a of []
              6s c: c in generation 1 by q led by a of []
        "#]],
    );
}

#[test]
fn a_static_member_comes_back_to_a_full_group() {
    let config = Config { classic_group_size_max: 1, ..Config::default() };
    check_with(
        config,
        "a joins instance=i, after 3s, a syncs a:x, a forgets, a joins, b joins instance=j",
        expect![[r#"
            0s log: g generation 0
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g generation 1 a2:x
            3s a: a2 in generation 1 by range led by a2 of [a2] skip
            3s b: join: GROUP_MAX_SIZE_REACHED
        "#]],
    );
}
