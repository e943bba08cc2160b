//! Classic members of a consumer group.

use expect_test::expect;
use protocol::messages as m;
use protocol::messages::consumer_protocol_subscription::TopicPartition;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::{Encode, ErrorCode, StrBytes, Writer};

use super::world::{GROUP, World};
use crate::consumer::embedded;
use crate::shard::Caller;
use crate::{Answer, Response, Ticket};

fn caller(api_version: i16) -> Caller {
    Caller {
        ticket: Ticket(0),
        api_version,
        client_id: StrBytes::from_static("classic"),
        client_host: StrBytes::from_static("/127.0.0.1"),
    }
}

/// The bytes of a subscription to `t` that tells what is owned of it.
fn metadata(owned: &[i32]) -> bytes::Bytes {
    let message = m::ConsumerProtocolSubscription {
        topics: vec![StrBytes::from_static("t")],
        owned_partitions: vec![TopicPartition {
            topic: StrBytes::from_static("t"),
            partitions: owned.to_vec(),
        }],
        ..Default::default()
    };
    let mut writer = Writer::new();
    writer.i16(3);
    message.encode(&mut writer, 3).unwrap();
    writer.into_bytes()
}

pub(super) fn join_request(id: &str, instance: Option<&str>, owned: &[i32]) -> m::JoinGroupRequest {
    m::JoinGroupRequest {
        group_id: StrBytes::from_static(GROUP),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: StrBytes::from(id),
        group_instance_id: instance.map(StrBytes::from),
        protocol_type: StrBytes::from_static("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: StrBytes::from_static("range"),
            metadata: metadata(owned),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The answer to a JoinGroup.
pub(super) fn try_join(world: &mut World, request: m::JoinGroupRequest) -> m::JoinGroupResponse {
    let answers = world.act(|shard, env, out| {
        shard.join_consumer_group(caller(9), request, env, out);
        shard.assert_consumer_invariants();
    });
    let [Answer { response: Response::JoinGroup(response), .. }] = &answers[..] else {
        panic!("{answers:?}");
    };
    response.clone()
}

pub(super) fn join(world: &mut World, request: m::JoinGroupRequest) -> String {
    let response = try_join(world, request);
    match response.error_code {
        0 => format!("joined {} in {}\n", response.member_id, response.generation_id),
        error => format!("{} {}\n", name(error), response.member_id),
    }
}

fn name(code: i16) -> &'static str {
    ErrorCode::from_code(code).name()
}

/// What a SyncGroup says that the member owns.
pub(super) fn try_sync(
    world: &mut World,
    id: &str,
    generation_id: i32,
) -> Result<m::ConsumerProtocolAssignment, ErrorCode> {
    let request = m::SyncGroupRequest {
        group_id: StrBytes::from_static(GROUP),
        generation_id,
        member_id: StrBytes::from(id),
        protocol_type: Some(StrBytes::from_static("consumer")),
        protocol_name: Some(StrBytes::from_static("range")),
        ..Default::default()
    };
    let answers = world.act(|shard, env, out| {
        shard.sync_consumer_group(caller(5), request, env, out);
    });
    let Response::SyncGroup(response) = &answers[0].response else { panic!("{answers:?}") };
    match ErrorCode::from_code(response.error_code) {
        ErrorCode::None => Ok(embedded::assignment(&response.assignment).unwrap()),
        error => Err(error),
    }
}

fn sync(world: &mut World, id: &str, generation_id: i32) -> String {
    match try_sync(world, id, generation_id) {
        Ok(assignment) => {
            let topics = assignment.assigned_partitions.iter();
            let topics = topics.map(|topic| format!("{} {:?}", topic.topic, topic.partitions));
            format!("synced {}\n", topics.collect::<Vec<_>>().join(" "))
        }
        Err(error) => format!("{}\n", error.name()),
    }
}

/// What a Heartbeat is answered.
pub(super) fn try_heartbeat(world: &mut World, id: &str, generation_id: i32) -> ErrorCode {
    let request = m::HeartbeatRequest {
        group_id: StrBytes::from_static(GROUP),
        generation_id,
        member_id: StrBytes::from(id),
        ..Default::default()
    };
    let answers = world.act(|shard, env, out| {
        shard.heartbeat_of_consumer_group(caller(4), request, env, out);
    });
    let Response::Heartbeat(response) = &answers[0].response else { panic!("{answers:?}") };
    ErrorCode::from_code(response.error_code)
}

fn heartbeat(world: &mut World, id: &str, generation_id: i32) -> String {
    format!("beat {}\n", try_heartbeat(world, id, generation_id).name())
}

fn leave(world: &mut World, members: &[(&str, Option<&str>)]) -> String {
    let identity = |(id, instance): &(&str, Option<&str>)| MemberIdentity {
        member_id: StrBytes::from(*id),
        group_instance_id: instance.map(StrBytes::from),
        ..Default::default()
    };
    let request = m::LeaveGroupRequest {
        group_id: StrBytes::from_static(GROUP),
        members: members.iter().map(identity).collect(),
        ..Default::default()
    };
    let answers = world.act(|shard, env, out| {
        shard.leave_consumer_group(caller(5), request, env, out);
        shard.assert_consumer_invariants();
    });
    let Response::LeaveGroup(response) = &answers[0].response else { panic!("{answers:?}") };
    let members = response.members.iter();
    let members = members.map(|member| format!("{} {}", member.member_id, name(member.error_code)));
    format!("{}\n", members.collect::<Vec<_>>().join(", "))
}

#[test]
fn a_classic_member_walks_with_the_others() {
    let mut world = World::new();
    let mut all = world.run("topic t 3; a joins t; a beats");
    all += &join(&mut world, join_request("", None, &[]));
    all += &join(&mut world, join_request("k", None, &[]));
    all += &sync(&mut world, "k", 2);
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("a beats; a beats; show");
    // Now there is something to get: it is told to rejoin.
    all += &heartbeat(&mut world, "k", 2);
    all += &join(&mut world, join_request("k", None, &[]));
    all += &sync(&mut world, "k", 2);
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("b joins t; show");
    // There is something to give up: the first join takes it away, the second one says it is gone.
    all += &heartbeat(&mut world, "k", 2);
    all += &sync(&mut world, "k", 2);
    all += &join(&mut world, join_request("k", None, &[2]));
    all += &world.run("show");
    all += &sync(&mut world, "k", 3);
    all += &heartbeat(&mut world, "k", 3);
    expect![[r#"
        a joins t: epoch 2 [t0 t1 t2]
        a beats: epoch 2
        MEMBER_ID_REQUIRED AQEBAQEBQQGBAQEBAQEBAQ
        joined k in 3
        ILLEGAL_GENERATION
        beat ILLEGAL_GENERATION
        a beats: epoch 2 [t0 t1]
        a beats: epoch 3
        show: Reconciling 3/3 because member k joined; a@3 Stable [t0 t1]; k@3 Unreleased []
        beat ILLEGAL_GENERATION
        joined k in 3
        ILLEGAL_GENERATION
        beat ILLEGAL_GENERATION
        b joins t: epoch 4 []
        show: Reconciling 4/4 because member b joined; a@3 Stable [t0 t1]; b@4 Unreleased []; k@3 Stable [t2]
        beat ILLEGAL_GENERATION
        ILLEGAL_GENERATION
        joined k in 4
        show: Reconciling 4/4 because member b joined; a@3 Stable [t0 t1]; b@4 Unreleased []; k@4 Stable [t2]
        ILLEGAL_GENERATION
        beat ILLEGAL_GENERATION
    "#]].assert_eq(&all);
}

#[test]
fn a_classic_member_gives_up_partitions_between_two_joins() {
    let mut world = World::new();
    let mut all = world.run("topic t 2; a joins -");
    all += &join(&mut world, join_request("k", None, &[]));
    all += &sync(&mut world, "k", 2);
    all += &world.run("a reads t; show");
    all += &heartbeat(&mut world, "k", 2);
    // The first join takes a partition away in the old generation; the second one, which comes when
    // it is given up, moves on.
    all += &join(&mut world, join_request("k", None, &[0, 1]));
    all += &sync(&mut world, "k", 2);
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("show");
    all += &join(&mut world, join_request("k", None, &[0]));
    all += &sync(&mut world, "k", 3);
    all += &heartbeat(&mut world, "k", 3);
    all += &world.run("a beats; show");
    expect![[r#"
        a joins -: epoch 2 []
        joined k in 3
        ILLEGAL_GENERATION
        a reads t: epoch 4 []
        show: Reconciling 4/4 because member a changed its subscription; a@4 Unreleased []; k@3 Stable [t0 t1]
        beat ILLEGAL_GENERATION
        joined k in 3
        ILLEGAL_GENERATION
        beat ILLEGAL_GENERATION
        show: Reconciling 4/4 because member a changed its subscription; a@4 Unreleased []; k@3 Unrevoked [t0] gives up [t1]
        joined k in 4
        ILLEGAL_GENERATION
        beat ILLEGAL_GENERATION
        a beats: epoch 4 [t1]
        show: Stable 4/4 because member a changed its subscription; a@4 Stable [t1]; k@4 Stable [t0]
    "#]].assert_eq(&all);
}

#[test]
fn classic_members_have_their_own_deadlines() {
    let mut world = World::new();
    let mut all = world.run("topic t 2; a joins t; a beats");
    all += &join(&mut world, join_request("k", None, &[]));
    all += &world.run("after 9s; a beats; show");
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("after 9s; a beats");
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("after 3s; a beats; show");
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        a beats: epoch 2
        joined k in 3
        a beats: epoch 2 [t0]
        show: Reconciling 3/3 because member k joined; a@2 Unrevoked [t0] gives up [t1]; k@3 Unreleased []
        beat ILLEGAL_GENERATION
        a beats: epoch 4 [t0 t1]
        beat UNKNOWN_MEMBER_ID
        a beats: epoch 4
        show: Stable 4/4 because member k: session timeout; a@4 Stable [t0 t1]
    "#]].assert_eq(&all);
}

#[test]
fn a_classic_member_that_does_not_rejoin_is_out() {
    let mut world = World::new();
    let mut all = world.run("topic t 2; a joins t; a beats");
    all += &join(&mut world, join_request("k", None, &[]));
    all += &sync(&mut world, "k", 2);
    all += &world.run("b joins t; a beats");
    for _ in 0..3 {
        all += &heartbeat(&mut world, "k", 2);
        all += &world.run("after 8s; a beats; b beats");
    }
    all += &heartbeat(&mut world, "k", 2);
    all += &world.run("show");
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        a beats: epoch 2
        joined k in 3
        ILLEGAL_GENERATION
        b joins t: epoch 4 []
        a beats: epoch 2 [t0]
        beat ILLEGAL_GENERATION
        a beats: epoch 4
        b beats: epoch 4
        beat ILLEGAL_GENERATION
        a beats: epoch 5
        b beats: epoch 5 [t1]
        beat UNKNOWN_MEMBER_ID
        a beats: epoch 5
        b beats: epoch 5
        beat UNKNOWN_MEMBER_ID
        show: Stable 5/5 because member k: session timeout; a@5 Stable [t0]; b@5 Stable [t1]
    "#]]
    .assert_eq(&all);
}

#[test]
fn classic_requests_that_are_refused() {
    let mut world = World::new();
    let mut all = world.run("topic t 2; a joins t; a:i joins t; a beats");
    let change = |change: fn(&mut m::JoinGroupRequest)| {
        let mut request = join_request("k", None, &[]);
        change(&mut request);
        request
    };
    all += &join(&mut world, change(|it| it.protocol_type = StrBytes::from_static("connect")));
    all += &join(&mut world, change(|it| it.protocols.clear()));
    all += &join(&mut world, change(|it| it.protocols[0].metadata = bytes::Bytes::new()));
    all += &join(&mut world, join_request("k", Some("j"), &[]));
    all += &join(&mut world, join_request("k", Some("i"), &[]));
    all += &sync(&mut world, "a", 1);
    all += &heartbeat(&mut world, "a", 1);
    all += &heartbeat(&mut world, "x", 1);
    all += &join(&mut world, join_request("k", None, &[]));
    all += &join(&mut world, {
        let mut request = join_request("l", None, &[]);
        request.protocols[0].name = StrBytes::from_static("sticky");
        request
    });
    // Twice the same is no other.
    all += &join(&mut world, {
        let mut request = join_request("k", None, &[]);
        request.protocols.push(request.protocols[0].clone());
        request
    });
    all += &join(&mut world, join_request("l", None, &[]));
    all += &heartbeat(&mut world, "k", 1);
    all += &sync(&mut world, "k", 1);
    all += &leave(&mut world, &[("x", None), ("k", Some("i")), ("", Some("j"))]);
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        a:i joins t: epoch 2 [t0 t1]
        a beats: epoch 2
        INCONSISTENT_GROUP_PROTOCOL k
        INCONSISTENT_GROUP_PROTOCOL k
        INCONSISTENT_GROUP_PROTOCOL k
        UNKNOWN_MEMBER_ID k
        FENCED_INSTANCE_ID k
        UNKNOWN_MEMBER_ID
        beat UNKNOWN_MEMBER_ID
        beat UNKNOWN_MEMBER_ID
        joined k in 3
        INCONSISTENT_GROUP_PROTOCOL l
        joined k in 3
        joined l in 4
        beat ILLEGAL_GENERATION
        ILLEGAL_GENERATION
        x UNKNOWN_MEMBER_ID, k FENCED_INSTANCE_ID,  UNKNOWN_MEMBER_ID
    "#]]
    .assert_eq(&all);
}

/// By an admin (`Admin.removeMembersFromConsumerGroup`), of either kind.
#[test]
fn members_are_removed() {
    let mut world = World::new();
    let mut all = world.run("topic t 3; a joins t; b:i joins t; c:j joins t");
    all += &join(&mut world, join_request("k", None, &[]));
    all += &leave(&mut world, &[("a", None), ("", Some("i")), ("x", Some("j"))]);
    all += &world.run("show; a beats; b beats; c beats");
    all += &leave(&mut world, &[("", Some("j"))]);
    assert!(world.group().is_none(), "only a classic member is left");
    expect![[r#"
        a joins t: epoch 2 [t0 t1 t2]
        b:i joins t: epoch 3 []
        c:j joins t: epoch 4 []
        joined k in 5
        a NONE,  NONE, x FENCED_INSTANCE_ID
        show: Assigning 6/5 because member a and 1 others left; c@4 Unreleased []; k@5 Stable []
        a beats: UNKNOWN_MEMBER_ID: Member a is not a member of group g.
        b beats: UNKNOWN_MEMBER_ID: Instance id i is unknown.
        c beats: epoch 6 [t0 t1]
         NONE
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_static_member_comes_back_as_a_classic_one_and_leaves() {
    let mut world = World::new();
    let mut all =
        world.run("topic t 2; a joins t; a beats; b:i joins t; a beats; a beats; b beats");
    all += &join(&mut world, join_request("", Some("i"), &[]));
    all += &world.run("show; b beats");
    all += &join(&mut world, join_request("", Some("i"), &[]));
    all += &world.run("show");
    all += &leave(&mut world, &[("", Some("i"))]);
    all += &world.run("show");
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        a beats: epoch 2
        b:i joins t: epoch 3 []
        a beats: epoch 2 [t0]
        a beats: epoch 3
        b beats: epoch 3 [t1]
        joined AQEBAQEBQQGBAQEBAQEBAQ in 3
        show: Stable 3/3 because member b joined; AQEBAQEBQQGBAQEBAQEBAQ@3 Stable [t1]; a@3 Stable [t0]
        b beats: FENCED_INSTANCE_ID: Static member b with instance id i was fenced by member AQEBAQEBQQGBAQEBAQEBAQ.
        joined AgICAgICQgKCAgICAgICAg in 3
        show: Stable 3/3 because member b joined; AgICAgICQgKCAgICAgICAg@3 Stable [t1]; a@3 Stable [t0]
         NONE
        show: Assigning 4/3 because member AgICAgICQgKCAgICAgICAg left; a@3 Stable [t0]
    "#]].assert_eq(&all);
}

/// A member that changes its protocol under its id keeps its place.
#[test]
fn a_classic_member_becomes_a_consumer_member() {
    let mut world = World::new();
    let mut all = world.run("topic t 2; a joins t; a beats");
    all += &join(&mut world, join_request("k", None, &[]));
    all += &world.run("k joins t; after 25s; a beats; k beats; show");
    assert_eq!(world.group().unwrap().classic_count(), 0);
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        a beats: epoch 2
        joined k in 3
        k joins t: epoch 3 []
        a beats: epoch 2 [t0]
        k beats: epoch 3
        show: Reconciling 3/3 because member k joined; a@2 Unrevoked [t0] gives up [t1]; k@3 Unreleased []
    "#]].assert_eq(&all);
}
