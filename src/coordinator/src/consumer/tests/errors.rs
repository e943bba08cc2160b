//! What is refused, in Kafka's words.

use expect_test::expect;
use protocol::messages::ConsumerGroupHeartbeatRequest as Request;
use protocol::{ErrorCode, StrBytes};

use super::classic::{join, join_request};
use super::world::World;
use crate::Config;
use crate::consumer::Refusal;

fn refusal(world: &mut World, change: impl FnOnce(&mut Request)) -> String {
    let mut request = Request {
        group_id: StrBytes::from_static("g"),
        member_id: StrBytes::from_static("m"),
        rebalance_timeout_ms: 5000,
        subscribed_topic_names: Some(vec![StrBytes::from_static("t")]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    change(&mut request);
    let written = world.log.len();
    let response = world.heartbeat(request);
    assert!(response.error_code == 0 || world.log.len() == written, "refused and yet written");
    let code = ErrorCode::from_code(response.error_code).name();
    format!("{code}: {}\n", response.error_message.as_deref().unwrap_or(""))
}

#[test]
fn requests_that_are_wrong_in_themselves() {
    let mut world = World::new();
    let text = StrBytes::from_static;
    let mut all = String::new();
    all += &refusal(&mut world, |it| it.member_id = text(" "));
    all += &refusal(&mut world, |it| it.group_id = text(""));
    all += &refusal(&mut world, |it| it.instance_id = Some(text("")));
    all += &refusal(&mut world, |it| it.rack_id = Some(text("")));
    all += &refusal(&mut world, |it| it.rebalance_timeout_ms = -1);
    all += &refusal(&mut world, |it| it.topic_partitions = None);
    all += &refusal(&mut world, |it| it.subscribed_topic_names = None);
    all += &refusal(&mut world, |it| it.member_epoch = -2);
    all += &refusal(&mut world, |it| it.member_epoch = -3);
    all += &refusal(&mut world, |it| it.server_assignor = Some(text("best")));
    all += &refusal(&mut world, |it| it.subscribed_topic_regex = Some(text("(?=a)")));
    all += &refusal(&mut world, |it| it.subscribed_topic_regex = Some(text("a)b(")));
    expect![[r#"
        INVALID_REQUEST: MemberId can't be empty.
        INVALID_REQUEST: GroupId can't be empty.
        INVALID_REQUEST: InstanceId can't be empty.
        INVALID_REQUEST: RackId can't be empty.
        INVALID_REQUEST: RebalanceTimeoutMs must be provided in first request.
        INVALID_REQUEST: TopicPartitions must be empty when (re-)joining.
        INVALID_REQUEST: Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.
        INVALID_REQUEST: InstanceId can't be null.
        INVALID_REQUEST: MemberEpoch is invalid.
        UNSUPPORTED_ASSIGNOR: ServerAssignor best is not supported. Supported assignors: uniform, range.
        INVALID_REGULAR_EXPRESSION: SubscribedTopicRegex `(?=a)` is not a valid regular expression: unknown flag of a group: =.
        INVALID_REGULAR_EXPRESSION: SubscribedTopicRegex `a)b(` is not a valid regular expression: unopened group.
    "#]].assert_eq(&all);
}

#[test]
fn requests_for_what_is_not_there() {
    let mut world = World::new();
    let text = StrBytes::from_static;
    let mut all = String::new();
    all += &refusal(&mut world, |it| it.member_epoch = 1);
    all += &refusal(&mut world, |it| it.member_epoch = -1);
    world.run("topic t 2; a joins t; a beats; b:i joins t; a beats");
    all += &refusal(&mut world, |it| it.member_epoch = 1);
    all += &refusal(&mut world, |it| it.member_epoch = -1);
    let instance = |it: &mut Request, epoch, instance| {
        it.member_epoch = epoch;
        it.instance_id = Some(text(instance));
    };
    all += &refusal(&mut world, |it| instance(it, 1, "j"));
    all += &refusal(&mut world, |it| instance(it, -2, "j"));
    all += &refusal(&mut world, |it| instance(it, 1, "i"));
    all += &refusal(&mut world, |it| instance(it, -1, "i"));
    all += &refusal(&mut world, |it| instance(it, 0, "i"));
    let epoch = |it: &mut Request, epoch| {
        it.member_id = text("a");
        it.member_epoch = epoch;
    };
    all += &refusal(&mut world, |it| epoch(it, 9));
    world.run("a beats; a beats");
    all += &refusal(&mut world, |it| {
        epoch(it, 1);
        it.topic_partitions = None;
    });
    expect![[r#"
        GROUP_ID_NOT_FOUND: Consumer group g not found.
        GROUP_ID_NOT_FOUND: Group g not found.
        UNKNOWN_MEMBER_ID: Member m is not a member of group g.
        UNKNOWN_MEMBER_ID: Member m is not a member of group g.
        UNKNOWN_MEMBER_ID: Instance id j is unknown.
        UNKNOWN_MEMBER_ID: Instance id j is unknown.
        FENCED_INSTANCE_ID: Static member m with instance id i was fenced by member b.
        FENCED_INSTANCE_ID: Static member m with instance id i was fenced by member b.
        UNRELEASED_INSTANCE_ID: Static member m with instance id i cannot join the group because the instance id is owned by b member.
        FENCED_MEMBER_EPOCH: The consumer group member has a greater member epoch (9) than the one known by the group coordinator (2). The member must abandon all its partitions and rejoin.
        FENCED_MEMBER_EPOCH: The consumer group member has a smaller member epoch (1) than the one known by the group coordinator (3). The member must abandon all its partitions and rejoin.
    "#]].assert_eq(&all);
}

#[test]
fn a_full_group_takes_nobody() {
    let mut world = World::with(Config { consumer_group_size_max: 1, ..Default::default() });
    expect![[r#"
        a joins t: epoch 2 [t0]
        b joins t: GROUP_MAX_SIZE_REACHED: The consumer group has reached its maximum capacity of 1 members.
        a beats: epoch 2
        a joins t: epoch 2 [t0]
    "#]].assert_eq(&world.run("topic t 1; a joins t; b joins t; a beats; a joins t"));
    let mut world = World::with(Config { consumer_group_size_max: 0, ..Default::default() });
    expect![[r#"
        a joins t: GROUP_MAX_SIZE_REACHED: The consumer group has reached its maximum capacity of 0 members.
        show: no group
    "#]].assert_eq(&world.run("a joins t; show"));
}

#[test]
fn a_static_member_comes_back_to_a_full_group() {
    let mut world = World::with(Config { consumer_group_size_max: 1, ..Default::default() });
    let mut all = world.run("topic t 1; a:i joins t; a pauses; b:i joins t; c:j joins t; b pauses");
    all += &join(&mut world, join_request("", Some("i"), &[]));
    expect![[r#"
        a:i joins t: epoch 2 [t0]
        a pauses: epoch -2
        b:i joins t: epoch 2 [t0]
        c:j joins t: GROUP_MAX_SIZE_REACHED: The consumer group has reached its maximum capacity of 1 members.
        b pauses: epoch -2
        joined AQEBAQEBQQGBAQEBAQEBAQ in 2
    "#]].assert_eq(&all);
}

#[test]
fn a_subscription_that_the_log_has_no_room_for_is_refused() {
    let mut world = World::with(Config { record_bytes_max: 400, ..Default::default() });
    let fits = "x".repeat(100);
    expect![[r#"
        a joins xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: epoch 2 []
        b joins xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy: INVALID_REQUEST: The subscription is 101 bytes long; 100 are allowed, a quarter of segment.bytes of __consumer_offsets.
        a reads /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy/: INVALID_REQUEST: The subscription is 101 bytes long; 100 are allowed, a quarter of segment.bytes of __consumer_offsets.
    "#]].assert_eq(&world.run(&format!("a joins {fits}; b joins {fits}y; a reads /{fits}y/")));
}

#[test]
fn ids_are_no_longer_than_anybody_needs() {
    let mut world = World::new();
    let mut all = refusal(&mut world, |it| it.member_id = StrBytes::from("m".repeat(1001)));
    all += &refusal(&mut world, |it| it.instance_id = Some(StrBytes::from("i".repeat(1001))));
    let fits = refusal(&mut world, |it| it.member_id = StrBytes::from("m".repeat(1000)));
    assert!(fits.starts_with("NONE"), "{fits}");
    expect![[r#"
        INVALID_REQUEST: MemberId has 1001 bytes; 1000 are allowed.
        INVALID_REQUEST: InstanceId has 1001 bytes; 1000 are allowed.
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_message_that_repeats_what_a_client_sent_is_cut() {
    let refusal = Refusal::unknown_member(&"ä".repeat(20_000), "g");
    let message = refusal.into_heartbeat_response().error_message.unwrap();
    assert!(message.len() < 1010 && message.ends_with("ä…"), "{message}");
}

#[test]
fn without_the_protocol_nobody_is_served() {
    let config = Config { is_consumer_protocol_enabled: false, ..Default::default() };
    expect![[r#"
        a joins t: UNSUPPORTED_VERSION: The consumer group protocol is not enabled.
    "#]]
    .assert_eq(&World::with(config).run("a joins t"));
}

/// Before version 1 the coordinator made the ids (KIP-1082).
#[test]
fn version_0_gives_out_ids() {
    let mut world = World::new();
    world.version = 0;
    let request = Request {
        group_id: StrBytes::from_static("g"),
        rebalance_timeout_ms: 5000,
        subscribed_topic_names: Some(vec![StrBytes::from_static("t")]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let response = world.heartbeat(request);
    assert_eq!(response.error_code, 0);
    assert_eq!(response.member_id.map(|id| id.len()), Some(22));
}

#[test]
fn offsets_are_committed_and_read_in_the_members_epoch() {
    let mut world = World::new();
    world.run("topic t 1; a joins t; a beats");
    let group = world.group().unwrap();
    let commit = |member, epoch, version| group.check_offset_commit(member, None, epoch, version);
    assert_eq!(commit("a", 2, 9), Ok(()));
    assert_eq!(commit("a", 2, 8), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(commit("a", 3, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("x", 1, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("", -1, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.check_offset_fetch(None, -1), Ok(()));
    assert_eq!(group.check_offset_fetch(Some("a"), 2), Ok(()));
    assert_eq!(group.check_offset_fetch(Some("a"), 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.check_offset_fetch(Some("x"), 1), Err(ErrorCode::UnknownMemberId));
    assert!(group.is_subscribed_to("t") && !group.is_subscribed_to("u"));
    world.run("a leaves");
    let group = world.group().unwrap();
    assert_eq!(group.check_offset_commit("", None, -1, 9), Ok(()));
    assert!(group.is_empty());
}

/// A member goes on with an epoch behind for partitions that it has had since then (KIP-1251).
#[test]
fn commits_under_way_survive_a_new_epoch() {
    let mut world = World::new();
    world.run(
        "topic t 3; a joins t; a beats; b joins t; a beats; a beats; b beats; topic t 4; a beats",
    );
    let topic = world.cluster.topics["t"].id;
    let group = world.group().unwrap();
    assert_eq!(group.member("a").unwrap().current.epoch, 4);
    let commit = |member, epoch, partition| {
        group.check_offset_commit(member, None, epoch, 9)?;
        group.check_commit_of_partition(member, epoch, topic, partition)
    };
    assert_eq!(commit("a", 4, 0), Ok(()));
    assert_eq!(commit("a", 2, 0), Ok(()));
    assert_eq!(commit("a", 1, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("b", 3, 2), Ok(()));
    assert_eq!(commit("b", 2, 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("b", 2, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("a", 5, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("", -1, 0), Err(ErrorCode::UnknownMemberId));
}
