//! Committed offsets: who may commit, what is known, what is forgotten.

use std::time::Duration;

use expect_test::expect;
use protocol::StrBytes;
use protocol::messages as m;

use crate::config::Config;
use crate::record::Record;
use crate::script::{World, check, check_with};

#[test]
fn whoever_is_in_no_group_commits() {
    check(
        "admin fetches t-0, \
         a commits t-0@5 t-1@6 metadata=4, \
         admin fetches t-0 t-2, \
         admin fetches, \
         admin lists, \
         admin describes",
        expect![[r#"
              0s admin: offsets: ok t-0@-1
              0s log: g t-0 at 5
              0s log: g t-1 at 6
              0s a: commit: ok ok
              0s admin: offsets: ok t-0@5 with metadata t-2@-1
              0s admin: offsets: ok t-0@5 with metadata t-1@6 with metadata
              0s admin: list: g//Empty/classic
              0s admin: describe: ok Empty//
        "#]],
    );
}

#[test]
fn unknown_groups_with_a_generation() {
    check(
        "a commits t-0@5 generation=1, \
         a commits t-0@5 generation=1 v=8",
        expect![[r#"
              0s a: commit: GROUP_ID_NOT_FOUND
              0s a: commit: ILLEGAL_GENERATION
        "#]],
    );
}

#[test]
fn members_commit_in_their_generation() {
    check(
        "a enters, \
         a commits t-0@1, \
         after 3s, \
         a commits t-0@2, \
         a syncs a:x, \
         a commits t-0@3, \
         a commits t-0@4 generation=7, \
         a commits t-0@5 member=other, \
         a commits t-0@6 member= generation=-1, \
         b enters, \
         a commits t-0@7, \
         admin fetches t-0",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              0s a: commit: ILLEGAL_GENERATION
              3s a: a in generation 1 by range led by a of [a]
              3s a: commit: REBALANCE_IN_PROGRESS
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g t-0 at 3
              3s a: commit: ok
              3s a: commit: ILLEGAL_GENERATION
              3s a: commit: UNKNOWN_MEMBER_ID
              3s a: commit: UNKNOWN_MEMBER_ID
              3s b: join: MEMBER_ID_REQUIRED for b
              3s log: g t-0 at 7
              3s a: commit: ok
              3s admin: offsets: ok t-0@7
        "#]],
    );
}

#[test]
fn commits_are_signs_of_life() {
    check(
        "a enters session=10, \
         after 3s, \
         a syncs a:x, \
         after 8s, \
         a commits t-0@3, \
         after 8s, \
         a beats, \
         after 10s",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            11s log: g t-0 at 3
            11s a: commit: ok
            19s a: beat: ok
            29s log: g generation 2
        "#]],
    );
}

#[test]
fn metadata_may_be_too_large() {
    check(
        "a commits t-0@5 metadata=4096, \
         a commits t-0@6 metadata=4097, \
         a commits group=other t-0@6 metadata=4097, \
         admin lists",
        expect![[r#"
              0s log: g t-0 at 5
              0s a: commit: ok
              0s a: commit: OFFSET_METADATA_TOO_LARGE
              0s a: commit: OFFSET_METADATA_TOO_LARGE
              0s admin: list: g//Empty/classic
        "#]],
    );
}

#[test]
fn version_10_knows_topics_by_id() {
    check(
        "a commits t-0@5 w-0@6 v=9, \
         admin fetches v=9, \
         admin fetches v=10",
        expect![[r#"
              0s log: g t-0 at 5
              0s log: g w-0 at 6
              0s a: commit: ok ok
              0s admin: offsets: ok t-0@5 w-0@6
              0s admin: offsets: ok t-0@5
        "#]],
    );
}

#[test]
fn offsets_of_empty_groups_expire_from_when_they_emptied() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5, \
         after 6s, \
         a leaves, \
         after 6d, \
         admin fetches, \
         after 1d, \
         after 10m, \
         admin lists",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g t-0 at 5
            3s a: commit: ok
            9s log: g generation 2
            9s a: leave: ok ok
            518409s admin: offsets: ok t-0@5
            605400s log: g t-0 gone
            605400s log: g gone
            605409s admin: list:
        "#]],
    );
}

#[test]
fn offsets_that_an_empty_group_is_given_expire_from_their_commit() {
    check(
        "a enters, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5 t-1@5, \
         a leaves, \
         after 6d, \
         b commits t-0@9, \
         after 6d, \
         admin fetches, \
         after 1d, \
         after 10m, \
         admin lists",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g t-0 at 5
            3s log: g t-1 at 5
            3s a: commit: ok ok
            3s log: g generation 2
            3s a: leave: ok ok
            518403s log: g t-0 at 9
            518403s b: commit: ok
            605400s log: g t-1 gone
            1036803s admin: offsets: ok t-0@9
            1123800s log: g t-0 gone
            1123800s log: g gone
            1123803s admin: list:
        "#]],
    );
}

#[test]
fn offsets_of_simple_groups_expire_from_their_commit() {
    check(
        "a commits t-0@5, \
         after 3d, \
         a commits t-1@5, \
         after 4d, \
         after 10m, \
         admin fetches, \
         after 3d",
        expect![[r#"
            0s log: g t-0 at 5
            0s a: commit: ok
            259200s log: g t-1 at 5
            259200s a: commit: ok
            604800s log: g t-0 gone
            605400s admin: offsets: ok t-1@5
            864000s log: g t-1 gone
            864000s log: g gone
        "#]],
    );
}

#[test]
fn a_retention_of_its_own() {
    check(
        "a commits t-0@5 retention=3600 v=4, \
         a commits t-1@5 v=4, \
         after 1h, \
         admin fetches",
        expect![[r#"
            0s log: g t-0 at 5 until 3600000 ms
            0s a: commit: ok
            0s log: g t-1 at 5
            0s a: commit: ok
            3600s log: g t-0 gone
            3600s admin: offsets: ok t-1@5
        "#]],
    );
}

#[test]
fn a_stable_group_keeps_what_it_reads() {
    let config = Config { offsets_retention: Duration::from_secs(60), ..Config::default() };
    check_with(
        config,
        "a enters topics=t session=1800, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5 u-0@6, \
         after 10m",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g t-0 at 5
            3s log: g u-0 at 6
            3s a: commit: ok ok
            600s log: g u-0 gone
        "#]],
    );
}

#[test]
fn nothing_expires_while_members_join() {
    let config = Config { offsets_retention: Duration::from_secs(60), ..Config::default() };
    check_with(
        config,
        "a enters topics=t session=1800 rebalance=1800, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5 u-0@6, \
         b joins v=3 rebalance=1800, \
         after 10m, \
         admin fetches, \
         a joins topics=t session=1800, \
         a syncs a:x, \
         after 10m",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g t-0 at 5
            3s log: g u-0 at 6
            3s a: commit: ok ok
            303s b: join: UNKNOWN_MEMBER_ID
            603s admin: offsets: ok t-0@5 u-0@6
            603s a: a in generation 2 by range led by a of [a]
            603s log: g generation 2 a:x
            603s a: reads x
            1200s log: g u-0 gone
        "#]],
    );
}

#[test]
fn nothing_of_other_protocol_types_expires_while_they_run() {
    let config = Config { offsets_retention: Duration::from_secs(60), ..Config::default() };
    check_with(
        config,
        "a enters type=connect metadata=x session=1800, \
         after 3s, \
         a syncs a:x, \
         a commits u-0@6, \
         after 30m",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g u-0 at 6
            3s a: commit: ok
            1803s log: g generation 2
        "#]],
    );
}

#[test]
fn subscriptions_that_are_not_understood_keep_everything() {
    let config = Config { offsets_retention: Duration::from_secs(60), ..Config::default() };
    check_with(
        config,
        "a enters metadata=x session=1800, \
         after 3s, \
         a syncs a:x, \
         a commits u-0@6, \
         after 20m, \
         admin forgets u-0",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            3s a: a in generation 1 by range led by a of [a]
            3s log: g generation 1 a:x
            3s a: reads x
            3s log: g u-0 at 6
            3s a: commit: ok
            1203s admin: forget: ok GROUP_SUBSCRIBED_TO_TOPIC
        "#]],
    );
}

#[test]
fn groups_somebody_is_about_to_join_stay() {
    check(
        "a joins session=1200, \
         after 10m, \
         admin lists, \
         a joins, \
         after 3s",
        expect![[r#"
            0s log: g generation 0
            0s a: join: MEMBER_ID_REQUIRED for a
            600s admin: list: g//Empty/classic
            603s a: a in generation 1 by range led by a of [a]
        "#]],
    );
}

#[test]
fn offsets_are_deleted_where_nobody_reads() {
    check(
        "a enters topics=t, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5 u-0@6, \
         admin forgets t-0 u-0 u-1, \
         admin fetches, \
         a leaves, \
         admin forgets t-0, \
         admin forgets group=other t-0, \
         admin forgets group= t-0",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g t-0 at 5
              3s log: g u-0 at 6
              3s a: commit: ok ok
              3s log: g u-0 gone
              3s admin: forget: ok GROUP_SUBSCRIBED_TO_TOPIC ok ok
              3s admin: offsets: ok t-0@5
              3s log: g generation 2
              3s a: leave: ok ok
              3s log: g t-0 gone
              3s admin: forget: ok ok
              3s admin: forget: GROUP_ID_NOT_FOUND
              3s admin: forget: INVALID_GROUP_ID
        "#]],
    );
}

#[test]
fn offsets_of_running_groups_of_other_types_are_not_deleted() {
    check(
        "a enters type=connect metadata=x, \
         after 3s, \
         a syncs a:x, \
         a commits t-0@5, \
         admin forgets t-0",
        expect![[r#"
              0s log: g generation 0
              0s a: join: MEMBER_ID_REQUIRED for a
              3s a: a in generation 1 by range led by a of [a]
              3s log: g generation 1 a:x
              3s a: reads x
              3s log: g t-0 at 5
              3s a: commit: ok
              3s admin: forget: NON_EMPTY_GROUP
        "#]],
    );
}

#[test]
fn deleted_topics_take_their_offsets_along() {
    check(
        "a commits t-0@5 u-0@6, \
         b commits group=h t-1@7, \
         topic t gone, \
         admin fetches, \
         topic t id=9, \
         a commits t-0@1, \
         topic t id=9, \
         admin fetches",
        expect![[r#"
              0s log: g t-0 at 5
              0s log: g u-0 at 6
              0s a: commit: ok ok
              0s log: h t-1 at 7
              0s b: commit: ok
              0s log: g t-0 gone
              0s log: h t-1 gone
              0s admin: offsets: ok u-0@6
              0s log: g t-0 at 1
              0s a: commit: ok
              0s admin: offsets: ok t-0@1 u-0@6
        "#]],
    );
}

#[test]
fn a_load_drops_offsets_of_topics_that_are_others_now() {
    check(
        "a commits t-0@5 u-0@6 w-0@7, \
         topic t id=9 unseen, \
         topic u gone unseen, \
         topic w id=10 unseen, \
         coordinator restarts, \
         admin fetches",
        expect![[r#"
              0s log: g t-0 at 5
              0s log: g u-0 at 6
              0s log: g w-0 at 7
              0s a: commit: ok ok ok
              0s log: g t-0 gone
              0s admin: offsets: ok u-0@6 w-0@7
        "#]],
    );
}

#[test]
fn offsets_of_a_topic_that_went_unseen_are_not_for_the_next_of_its_name() {
    check(
        "a commits t-0@5 u-0@6, \
         topic t gone unseen, \
         coordinator restarts, \
         admin fetches, \
         topic t id=9, \
         admin fetches t-0, \
         admin fetches",
        expect![[r#"
            0s log: g t-0 at 5
            0s log: g u-0 at 6
            0s a: commit: ok ok
            0s admin: offsets: ok t-0@5 u-0@6
            0s log: g t-0 gone
            0s admin: offsets: ok t-0@-1
            0s admin: offsets: ok u-0@6
        "#]],
    );
}

#[test]
fn nobody_is_told_an_offset_of_another_topic() {
    check(
        "a commits t-0@5 u-0@6, \
         topic t id=9 unseen, \
         admin fetches t-0 u-0, \
         admin fetches, \
         admin fetches u-0 v=10 topic-id=2, \
         admin fetches u-0 v=10 topic-id=8",
        expect![[r#"
            0s log: g t-0 at 5
            0s log: g u-0 at 6
            0s a: commit: ok ok
            0s admin: offsets: ok t-0@-1 u-0@6
            0s admin: offsets: ok u-0@6
            0s admin: offsets: ok u-0@6
            0s admin: offsets: ok u-0@-1
        "#]],
    );
}

#[test]
fn commits_for_a_topic_that_is_another_by_now_are_refused() {
    check(
        "topic t id=9, \
         a commits t-0@5 topic-id=1, \
         a commits t-0@5 topic-id=1 v=10, \
         a commits t-0@5 topic-id=9 v=10, \
         topic t gone, \
         a commits t-0@6 topic-id=9, \
         admin fetches t-0",
        expect![[r#"
            0s a: commit: UNKNOWN_TOPIC_OR_PARTITION
            0s a: commit: UNKNOWN_TOPIC_ID
            0s log: g t-0 at 5
            0s a: commit: ok
            0s log: g t-0 gone
            0s a: commit: UNKNOWN_TOPIC_OR_PARTITION
            0s admin: offsets: ok t-0@-1
        "#]],
    );
}

#[test]
fn more_than_one_batch_of_tombstones_takes_several_runs() {
    let config = Config { offsets_retention: Duration::from_secs(60), ..Config::default() };
    let mut world = World::new(config);
    world.run(|shard, _, out| {
        for partition in 0..10_002 {
            let (group, topic) = (StrBytes::from_static("g"), StrBytes::from_static("t"));
            let key = m::OffsetCommitKey { group, topic, partition };
            let value = Some(m::OffsetCommitValue::default());
            shard.write(Record::OffsetCommit { key, value }, out);
        }
    });
    world.play("after 10m");
    let counts = |world: &World| {
        let gone = |record: &&Record| matches!(record, Record::OffsetCommit { value: None, .. });
        (world.records.iter().filter(gone).count(), world.shard.groups.len())
    };
    assert_eq!(counts(&world), (10_000, 1));
    world.play("after 1s");
    assert_eq!(counts(&world), (10_002, 0));
}
