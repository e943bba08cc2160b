//! Groups of any type: to list, to describe, to delete.

use expect_test::expect;

use crate::script::check;

#[test]
fn groups_are_listed_by_state_and_type() {
    check(
        "a enters, \
         b commits group=h t-0@1, \
         admin lists, \
         admin lists states=empty, \
         admin lists states=PREPARINGREBALANCE+Stable, \
         admin lists types=classic, \
         admin lists types=CLASSIC states=stable, \
         admin lists types=consumer, \
         admin lists types=other, \
         admin counts",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s log: h t-0 at 1
            0s b: commit: ok
            0s admin: list: g/consumer/PreparingRebalance/classic h//Empty/classic
            0s admin: list: h//Empty/classic
            0s admin: list: g/consumer/PreparingRebalance/classic
            0s admin: list: g/consumer/PreparingRebalance/classic h//Empty/classic
            0s admin: list:
            0s admin: list:
            0s admin: list:
            0s counts Counts { groups: {("Classic", "Empty"): 1, ("Classic", "PreparingRebalance"): 1}, offsets: 1, activity: Activity { classic_rebalances: 1, consumer_rebalances: 0, offset_commits: 1, offset_expirations: 0 } }
        "#]],
    );
}

#[test]
fn groups_are_described() {
    check(
        "a enters, \
         admin describes, \
         after 3s, \
         admin describes, \
         a syncs a:x, \
         admin describes, \
         admin describes group=other v=5, \
         admin describes group=other v=6",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s admin: describe: ok PreparingRebalance/consumer/ a(a /10.0.0.1 0 nothing) because member a joined at 0 ms
            3s a: a in generation 1 by range led by a of [a]
            3s admin: describe: ok CompletingRebalance/consumer/ a(a /10.0.0.1 0 nothing) because member a joined at 0 ms
            3s log: g generation 1 a:x
            3s a: reads x
            3s admin: describe: ok Stable/consumer/range a(a /10.0.0.1 17 x) because member a joined at 0 ms
            3s admin: describe: ok Dead//
            3s admin: describe: GROUP_ID_NOT_FOUND Group other not found.Dead//
        "#]],
    );
}

#[test]
fn only_empty_groups_are_deleted() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5 u-0@6, \
         admin deletes, \
         a leaves, \
         admin deletes, \
         admin deletes, \
         admin fetches, \
         admin lists",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g t-0 at 5
              3s log: g u-0 at 6
              3s a: commit: ok ok
              3s admin: delete: NON_EMPTY_GROUP
              3s log: g generation 2
              3s a: leave: ok ok
              3s log: g t-0 gone
              3s log: g u-0 gone
              3s log: g gone
              3s admin: delete: ok
              3s admin: delete: GROUP_ID_NOT_FOUND
              3s admin: offsets: ok
              3s admin: list:
        "#]],
    );
}

#[test]
fn deleting_forgets_ids_that_were_given_out() {
    check(
        "a joins session=10, \
         admin deletes, \
         a joins, \
         after 20s, \
         a joins",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            0s log: g gone
            0s admin: delete: ok
            0s a: join: UNKNOWN_MEMBER_ID for a
            20s a: join: UNKNOWN_MEMBER_ID for a
        "#]],
    );
}
