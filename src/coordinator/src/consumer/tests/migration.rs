//! Groups that change their protocol while they run.

use std::time::Duration;

use expect_test::expect;
use protocol::messages as m;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::{ErrorCode, StrBytes};

use super::classic::join_request;
use super::world::{GROUP, World};
use crate::classic::{ClassicGroup, ClassicMember, MemberProtocol};
use crate::consumer::embedded;
use crate::consumer::migrate::converted;
use crate::consumer::partitions::each;
use crate::group::Group;
use crate::{Config, MigrationPolicy, Request, Response};

/// A version of JoinGroup without the detour over MEMBER_ID_REQUIRED.
const JOIN_VERSION: i16 = 3;

impl World {
    fn classic_call(&mut self, version: i16, request: Request) -> Vec<Response> {
        let before = std::mem::replace(&mut self.version, version);
        let answers = self.call(request);
        self.version = before;
        answers.into_iter().map(|answer| answer.response).collect()
    }

    fn classic_join(&mut self, request: m::JoinGroupRequest) -> Vec<Response> {
        self.classic_call(JOIN_VERSION, Request::JoinGroup(request))
    }

    fn classic_sync(
        &mut self,
        id: &StrBytes,
        generation_id: i32,
        given: &[&[i32]],
    ) -> Vec<Response> {
        let topic = self.cluster.topics["t"].id;
        let assign = |partitions: &&[i32]| {
            let topics = std::iter::once((&topic, partitions.to_vec()));
            let assignment = embedded::encode_assignment(topics, &self.cluster, 3).unwrap();
            let member_id = id.clone();
            SyncGroupRequestAssignment { member_id, assignment, ..Default::default() }
        };
        let request = m::SyncGroupRequest {
            group_id: StrBytes::from_static(GROUP),
            generation_id,
            member_id: id.clone(),
            assignments: given.iter().map(assign).collect(),
            ..Default::default()
        };
        self.classic_call(3, Request::SyncGroup(request))
    }

    fn classic_beat(&mut self, id: &StrBytes, generation_id: i32) -> &'static str {
        let request = m::HeartbeatRequest {
            group_id: StrBytes::from_static(GROUP),
            generation_id,
            member_id: id.clone(),
            ..Default::default()
        };
        match &self.classic_call(3, Request::Heartbeat(request))[..] {
            [Response::Heartbeat(response)] => ErrorCode::from_code(response.error_code).name(),
            other => panic!("{other:?}"),
        }
    }

    /// A stable classic group of one member that owns these partitions. The member's id.
    fn classic_group(&mut self, owned: &[i32]) -> StrBytes {
        assert!(self.classic_join(join_request("", None, &[])).is_empty());
        self.pass(Duration::from_secs(4));
        let joined = self.late_answers.pop().map(|answer| answer.response);
        let Some(Response::JoinGroup(joined)) = joined else { panic!("{joined:?}") };
        assert_eq!(joined.error_code, 0);
        let synced = self.classic_sync(&joined.member_id, joined.generation_id, &[owned]);
        assert!(
            matches!(&synced[..], [Response::SyncGroup(it)] if it.error_code == 0),
            "{synced:?}"
        );
        joined.member_id
    }

    /// The group without its random member id.
    fn told(&mut self, script: &str, id: &StrBytes) -> String {
        self.run(script).replace(id.as_str(), "k")
    }

    fn classic_state(&self) -> String {
        match self.shard.groups.get(GROUP) {
            Some(Group::Classic(group)) => {
                let reason = group.last_rebalance.as_ref().map_or("nothing", |it| &it.reason);
                let count = group.members.len();
                format!("{} {} with {count} because {reason}", group.state.name(), group.generation)
            }
            _ => "not classic".to_owned(),
        }
    }
}

fn joined(responses: &[Response]) -> (ErrorCode, i32, StrBytes) {
    match responses {
        [Response::JoinGroup(it)] => {
            (ErrorCode::from_code(it.error_code), it.generation_id, it.member_id.clone())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_back() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    let mut all = world.told("a joins t; show", &id);
    assert_eq!(world.classic_beat(&id, 1), "REBALANCE_IN_PROGRESS");
    // The first join tells what it may keep, the second one what it has kept.
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[0, 1]))).1, 1);
    all += &world.told("a beats; show", &id);
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[0]))).1, 2);
    all += &world.told("a beats; a beats; show", &id);
    expect![[r#"
        a joins t: epoch 2 []
        show: Reconciling 2/2 because member a joined; a@2 Unreleased []; k@1 Stable [t0 t1]
        a beats: epoch 2
        show: Reconciling 2/2 because member a joined; a@2 Unreleased []; k@1 Unrevoked [t0] gives up [t1]
        a beats: epoch 2 [t1]
        a beats: epoch 2
        show: Stable 2/2 because member a joined; a@2 Stable [t1]; k@2 Stable [t0]
    "#]].assert_eq(&all);

    world.run("a leaves");
    expect!["PreparingRebalance 2 with 1 because member a left"].assert_eq(&world.classic_state());
    assert_eq!(world.classic_beat(&id, 2), "REBALANCE_IN_PROGRESS");
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[]))).0, ErrorCode::None);
    expect!["CompletingRebalance 3 with 1 because member a left"].assert_eq(&world.classic_state());
    assert_eq!(world.replayed().groups.len(), 1);
}

#[test]
fn members_that_wait_are_told_to_rejoin() {
    let mut world = World::new();
    world.run("topic t 2");
    assert!(world.classic_join(join_request("", None, &[])).is_empty());
    assert_eq!(world.join("a", "t"), "epoch 1 [t0]");
    let told = world.late_answers.pop().map(|answer| answer.response);
    assert_eq!(joined(&Vec::from_iter(told)).0, ErrorCode::RebalanceInProgress);
    assert_eq!(world.group().unwrap().classic_count(), 1);
}

#[test]
fn what_is_left_when_the_log_is_read_is_the_same() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[1]);
    world.run("a joins t");
    world.assert_replay_agrees();
    world.reload();
    assert_eq!(world.classic_beat(&id, 1), "REBALANCE_IN_PROGRESS");
    let told = world.told("a leaves; show", &id);
    expect![[r#"
        a leaves: epoch -1
        show: no group
    "#]]
    .assert_eq(&told);
    let Some(Group::Classic(lived)) = world.shard.groups.get(GROUP) else { panic!() };
    let replayed = world.replayed();
    let Some(Group::Classic(loaded)) = replayed.groups.get(GROUP) else { panic!() };
    assert_eq!(lived.members, loaded.members);
    assert_eq!(lived.generation, loaded.generation);
}

#[test]
fn an_empty_classic_group_gives_way() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[1]);
    world.pass(Duration::from_secs(60));
    expect![
        "Empty 2 with 0 because member client-01010101-0101-4101-8101-010101010101: session timeout"
    ]
    .assert_eq(&world.classic_state());
    expect![[r#"
        a joins t: epoch 2 [t0 t1]
        show: Stable 2/2 because member a joined; a@2 Stable [t0 t1]
    "#]]
    .assert_eq(&world.told("a joins t; show", &id));
}

#[test]
fn groups_that_may_not_change_do_not() {
    let config = Config { migration_policy: MigrationPolicy::Downgrade, ..Default::default() };
    let mut world = World::with(config);
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    let mut all = world.told("a joins t; a beats", &id);
    all += &world.classic_state();
    expect![[r#"
        a joins t: GROUP_ID_NOT_FOUND: Cannot upgrade classic group g to consumer group because online upgrade is disabled.
        a beats: GROUP_ID_NOT_FOUND: Cannot upgrade classic group g to consumer group because online upgrade is disabled.
        Stable 1 with 1 because member client-01010101-0101-4101-8101-010101010101 joined"#]].assert_eq(&all);

    let config = Config { migration_policy: MigrationPolicy::Upgrade, ..Default::default() };
    let mut world = World::with(config);
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    expect![[r#"
        a joins t: epoch 2 []
        a leaves: epoch -1
        show: Assigning 3/2 because member a left; k@1 Stable [t0 t1]
    "#]]
    .assert_eq(&world.told("a joins t; a leaves; show", &id));

    let config = Config { consumer_group_size_max: 1, ..Default::default() };
    let mut world = World::with(config);
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    expect![[r#"
        a joins t: GROUP_MAX_SIZE_REACHED: The consumer group has reached its maximum capacity of 1 members.
    "#]].assert_eq(&world.told("a joins t", &id));
}

/// In one batch, so it has to fit into one.
#[test]
fn a_group_that_the_log_has_no_room_for_keeps_its_protocol() {
    let mut world = World::with(Config { record_bytes_max: 4 * 250, ..Default::default() });
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    let mut all = world.told("a joins t", &id);
    all += &world.classic_state();
    expect![[r#"
        a joins t: GROUP_ID_NOT_FOUND: Cannot upgrade classic group g to consumer group because its members take 344 bytes, which its log has no room for.
        Stable 1 with 1 because member client-01010101-0101-4101-8101-010101010101 joined"#]].assert_eq(&all);

    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    let mut all = world.told("a joins t", &id);
    world.shard.limit_records(4 * 250);
    all += &world.told("a leaves; show", &id);
    expect![[r#"
        a joins t: epoch 2 []
        a leaves: epoch -1
        show: Assigning 3/2 because member a left; k@1 Stable [t0 t1]
    "#]]
    .assert_eq(&all);
}

#[test]
fn a_static_member_that_is_replaced_by_a_classic_one_takes_the_group_with_it() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0]);
    let all = world.told("a:i joins t; show", &id);
    expect![[r#"
        a:i joins t: epoch 2 [t1]
        show: Reconciling 2/2 because member a joined; a@2 Stable [t1]; k@1 Stable [t0]
    "#]]
    .assert_eq(&all);
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[0]))).1, 2);
    let (error, generation, _) = joined(&world.classic_join(join_request("", Some("i"), &[])));
    assert_eq!((error, generation), (ErrorCode::None, 2));
    expect!["Stable 2 with 2 because nothing"].assert_eq(&world.classic_state());
    let told = world.told("a beats", &id);
    expect![[r#"
        a beats: GROUP_ID_NOT_FOUND: Group g is not a consumer group.
    "#]]
    .assert_eq(&told);
}

/// The classic group had begun to rebalance, as a partition had nobody any more.
#[test]
fn a_static_member_that_comes_back_as_another_kind_leaves_no_old_assignment() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0]);
    world.run("a:i joins t");
    assert_eq!(joined(&world.classic_join(join_request("", Some("i"), &[]))).1, 2);
    let leave = m::LeaveGroupRequest {
        group_id: StrBytes::from_static(GROUP),
        member_id: id.clone(),
        ..Default::default()
    };
    world.classic_call(2, Request::LeaveGroup(leave));
    expect![[r#"
        b:i joins t: epoch 3 [t0 t1]
        show: Stable 3/3 because the group was a classic one; b@3 Stable [t0 t1]
    "#]]
    .assert_eq(&world.told("b:i joins t; show", &id));
}

/// Others wait for what the static member is to give up: the generation is not one to go on with.
#[test]
fn a_group_in_the_middle_of_an_assignment_does_not_stand_when_it_becomes_classic() {
    let mut world = World::new();
    world.run("topic t 2; a:i joins t; a beats");
    let (_, _, id) = joined(&world.classic_join(join_request("", None, &[])));
    expect![[r#"
        show: Reconciling 3/3 because member k joined; k@3 Unreleased []; a@2 Stable [t0 t1]
    "#]]
    .assert_eq(&world.told("show", &id));
    let (error, generation, _) = joined(&world.classic_join(join_request("", Some("i"), &[])));
    assert_eq!((error, generation), (ErrorCode::None, 3));
    let state = world.classic_state();
    assert!(state.starts_with("PreparingRebalance 3 with 2 because only classic"), "{state}");
    assert_eq!(world.classic_beat(&id, 3), "REBALANCE_IN_PROGRESS");
}

/// Before version 3 of LeaveGroup there was one member and one error.
#[test]
fn an_old_client_leaves_alone() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0]);
    world.run("a joins t");
    let mut leave = |member_id: &StrBytes| {
        let request = m::LeaveGroupRequest {
            group_id: StrBytes::from_static(GROUP),
            member_id: member_id.clone(),
            ..Default::default()
        };
        match &world.classic_call(2, Request::LeaveGroup(request))[..] {
            [Response::LeaveGroup(it)] => (ErrorCode::from_code(it.error_code), it.members.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(leave(&id), (ErrorCode::None, 0));
    assert_eq!(leave(&id), (ErrorCode::UnknownMemberId, 0));
}

/// A member of the classic protocol that was given these partitions, and uses those.
fn classic_member(world: &World, id: &str, given: &[i32], used: &[i32]) -> ClassicMember {
    let topics = std::iter::once((&world.cluster.topics["t"].id, given.to_vec()));
    let protocol = MemberProtocol {
        name: StrBytes::from_static("range"),
        metadata: join_request(id, None, used).protocols[0].metadata.clone(),
    };
    ClassicMember {
        instance_id: None,
        client_id: StrBytes::new(),
        client_host: StrBytes::new(),
        rebalance_timeout: Duration::from_secs(60),
        session_timeout: Duration::from_secs(10),
        protocols: vec![protocol],
        assignment: embedded::encode_assignment(topics, &world.cluster, 3).unwrap(),
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}

fn classic_group_of(members: Vec<(&'static str, ClassicMember)>) -> ClassicGroup {
    let mut group = ClassicGroup::new(None);
    group.protocol = Some(StrBytes::from_static("range"));
    let members = members.into_iter().map(|(id, member)| (StrBytes::from_static(id), member));
    group.members.extend(members);
    group
}

/// A leader may give one partition to two members; only one of them can have it from now on.
#[test]
fn a_partition_that_two_members_were_given_goes_to_one() {
    let mut world = World::new();
    world.run("topic t 2");
    let member = |id| (id, classic_member(&world, id, &[0, 1], &[]));
    let group = classic_group_of(["k", "l"].map(member).to_vec());
    let converted = converted(GROUP, &group, &world.cluster).unwrap();
    converted.assert_invariants();
    let owned = |id| each(&converted.member(id).unwrap().current.assigned).count();
    assert_eq!((owned("k"), owned("l")), (2, 0));
}

/// The leader took a partition from a member that uses it until it has heard of that.
#[test]
fn what_a_cooperative_member_uses_is_not_free() {
    let mut world = World::new();
    world.run("topic t 4");
    let member = |id, given: &[i32], used: &[i32]| (id, classic_member(&world, id, given, used));
    let group = classic_group_of(vec![
        member("k", &[0], &[0, 1]),
        member("l", &[], &[1, 0, 2]),
        member("m", &[], &[]),
    ]);
    let converted = converted(GROUP, &group, &world.cluster).unwrap();
    converted.assert_invariants();
    let current = |id| {
        let current = &converted.member(id).unwrap().current;
        let places = |owned| each(owned).map(|(_, partition)| partition).collect::<Vec<_>>();
        format!(
            "{:?} {:?} {:?}",
            current.state,
            places(&current.assigned),
            places(&current.revoking)
        )
    };
    assert_eq!(current("k"), "Unrevoked [0] [1]");
    assert_eq!(current("l"), "Unrevoked [] [2]");
    assert_eq!(current("m"), "Stable [] []");
    assert_eq!(converted.owner(world.cluster.topics["t"].id, 3), None);
}

/// The same from its requests: the new member gets the partition when the classic one has let go.
#[test]
fn a_member_that_was_told_late_lets_go_first() {
    let mut world = World::new();
    world.run("topic t 2");
    let id = world.classic_group(&[0, 1]);
    // A generation that ends before anybody was assigned anything.
    for (generation, used) in [(2, vec![1]), (3, vec![0, 1])] {
        let rejoined = joined(&world.classic_join(join_request(&id, None, &used)));
        assert_eq!((rejoined.0, rejoined.1), (ErrorCode::None, generation));
    }
    let mut all = world.told("a joins t; show", &id);
    assert_eq!(world.classic_beat(&id, 3), "REBALANCE_IN_PROGRESS");
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[0, 1]))).1, 3);
    all += &world.told("a beats", &id);
    assert_eq!(joined(&world.classic_join(join_request(&id, None, &[]))).1, 4);
    all += &world.told("a beats; show", &id);
    expect![[r#"
        a joins t: epoch 4 []
        show: Reconciling 4/4 because member a joined; a@4 Unreleased []; k@3 Unrevoked [] gives up [t0 t1]
        a beats: epoch 4
        a beats: epoch 4 [t0]
        show: Stable 4/4 because member a joined; a@4 Stable [t0]; k@4 Stable [t1]
    "#]].assert_eq(&all);
}

/// A classic member rejoins when there is a step to take, and not until then.
#[test]
fn nobody_rejoins_before_there_is_a_new_assignment() {
    let mut world = World::new();
    world.cluster.settings.assignment_interval = Duration::from_secs(4);
    world.run("topic t 2; a joins t; b joins t");
    let (_, epoch, id) = joined(&world.classic_join(join_request("", None, &[])));
    let synced = world.classic_sync(&id, epoch, &[]);
    assert!(matches!(&synced[..], [Response::SyncGroup(it)] if it.error_code == 0), "{synced:?}");
    assert_eq!(world.classic_beat(&id, epoch), "NONE");
    world.run("after 5s");
    assert_eq!(world.classic_beat(&id, epoch), "REBALANCE_IN_PROGRESS");
    let (error, later, _) = joined(&world.classic_join(join_request(&id, None, &[])));
    assert_eq!((error, later), (ErrorCode::None, epoch + 2));
}
