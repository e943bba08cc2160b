//! The APIs of groups, where the handlers have a say of their own.

use std::path::Path;

use model::PartitionIndex;
use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};
use runtime::{Runtime, Stream};

use super::stray::create;
use super::versions::call;
use crate::Broker;
use crate::api::NO_OPERATIONS;

/// A consumer group.
const GROUP: StrBytes = StrBytes::from_static("g");
/// A group that has offsets and no members.
const SIMPLE: StrBytes = StrBytes::from_static("simple");
/// No group.
const NOBODY: StrBytes = StrBytes::from_static("nobody");
const ORDERS: StrBytes = StrBytes::from_static("orders");

/// A broker whose group coordinators serve, and a connection to it.
async fn start(
    runtime: &Runtime,
    dir: &Path,
    settings: &[(&str, &str)],
) -> (Broker, Box<dyn Stream>) {
    let (broker, address) = super::start(runtime, dir, settings).await;
    let mut wire = runtime.net.connect(&address).await.unwrap();
    let find = m::FindCoordinatorRequest { coordinator_keys: vec![GROUP], ..Default::default() };
    call(&mut *wire, 4, &find).await.unwrap();
    while list(&mut *wire, &[]).await.0 != ErrorCode::None {}
    (broker, wire)
}

/// The groups with their types.
async fn list(wire: &mut dyn Stream, types: &[&'static str]) -> (ErrorCode, Vec<(String, String)>) {
    let types_filter = types.iter().copied().map(StrBytes::from_static).collect();
    let request = m::ListGroupsRequest { types_filter, ..Default::default() };
    let listed = call(wire, 5, &request).await.unwrap();
    let groups = listed.groups.iter();
    let groups = groups.map(|group| (group.group_id.to_string(), group.group_type.to_string()));
    (ErrorCode::from_code(listed.error_code), groups.collect())
}

/// Makes [`GROUP`] a consumer group with a member.
async fn join(wire: &mut dyn Stream) {
    let heartbeat = m::ConsumerGroupHeartbeatRequest {
        group_id: GROUP,
        member_id: StrBytes::from_static("a"),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![ORDERS]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    assert_eq!(call(wire, 1, &heartbeat).await.unwrap().error_code, 0);
}

/// Commits an offset of the first partition of [`ORDERS`] in [`SIMPLE`].
async fn commit(wire: &mut dyn Stream) {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let partitions = vec![partition];
    let topic = OffsetCommitRequestTopic { name: ORDERS, partitions, ..Default::default() };
    let request = m::OffsetCommitRequest {
        group_id: SIMPLE,
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let committed = call(wire, 9, &request).await.unwrap();
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
}

#[test]
fn a_heartbeat_is_good_while_the_coordinator_loads() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let one = [("offsets.topic.num.partitions", "1")];
        let (broker, mut wire) = start(&runtime, dir.path(), &one).await;
        use ErrorCode as E;
        for (standing, heard, left) in [
            (None, E::UnknownMemberId, E::UnknownMemberId),
            (Some(E::CoordinatorLoadInProgress), E::None, E::CoordinatorLoadInProgress),
            (Some(E::NotCoordinator), E::NotCoordinator, E::NotCoordinator),
        ] {
            if let Some(why) = standing {
                broker.shared.groups.refuse(PartitionIndex(0), why);
            }
            let member_id = StrBytes::from_static("a");
            let heartbeat = m::HeartbeatRequest {
                group_id: GROUP,
                member_id: member_id.clone(),
                ..Default::default()
            };
            let answer = call(&mut *wire, 4, &heartbeat).await.unwrap();
            assert_eq!(ErrorCode::from_code(answer.error_code), heard, "{standing:?}");
            let leave = m::LeaveGroupRequest { group_id: GROUP, member_id, ..Default::default() };
            let answer = call(&mut *wire, 2, &leave).await.unwrap();
            assert_eq!(ErrorCode::from_code(answer.error_code), left, "{standing:?}");
        }
        broker.stop().await;
    })
    .unwrap();
}

/// Consumers before 3.9 give up on COORDINATOR_NOT_AVAILABLE there.
#[test]
fn who_asks_for_offsets_looks_for_the_coordinator_again() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let one = [("offsets.topic.num.partitions", "1")];
        let (broker, mut wire) = start(&runtime, dir.path(), &one).await;
        broker.shared.groups.refuse(PartitionIndex(0), ErrorCode::CoordinatorNotAvailable);
        let request = m::OffsetFetchRequest { group_id: GROUP, ..Default::default() };
        let answer = call(&mut *wire, 7, &request).await.unwrap();
        assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::NotCoordinator);
        broker.stop().await;
    })
    .unwrap();
}

/// Records with a long name, so many that no batch holds them: the call fails, and nobody else's.
#[test]
fn a_call_that_does_not_fit_into_the_log_fails_alone() {
    const MEMBERS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let small =
            [("offsets.topic.num.partitions", "1"), ("offsets.topic.segment.bytes", "1048576")];
        let (broker, mut wire) = start(&runtime, dir.path(), &small).await;
        join(&mut *wire).await;
        let group_id = StrBytes::from("g".repeat(30_000));
        let member = |number: usize| StrBytes::from(format!("m{number}"));
        for number in 0..MEMBERS {
            let heartbeat = m::ConsumerGroupHeartbeatRequest {
                group_id: group_id.clone(),
                member_id: member(number),
                rebalance_timeout_ms: 60_000,
                subscribed_topic_names: Some(vec![ORDERS]),
                topic_partitions: Some(Vec::new()),
                ..Default::default()
            };
            assert_eq!(call(&mut *wire, 1, &heartbeat).await.unwrap().error_code, 0);
        }
        let leaver = |number| m::leave_group_request::MemberIdentity {
            member_id: member(number),
            ..Default::default()
        };
        let all = m::LeaveGroupRequest {
            group_id: group_id.clone(),
            members: (0..MEMBERS).map(leaver).collect(),
            ..Default::default()
        };
        let one = m::LeaveGroupRequest { members: vec![leaver(0)], ..all.clone() };
        let left = call(&mut *wire, 5, &all).await.unwrap();
        assert_eq!(ErrorCode::from_code(left.error_code), ErrorCode::UnknownServerError);
        // Others are told to come again, as long as the groups are read back.
        loop {
            match list(&mut *wire, &[]).await.0 {
                ErrorCode::None => break,
                error => assert_eq!(error, ErrorCode::CoordinatorLoadInProgress),
            }
        }
        assert_eq!(list(&mut *wire, &[]).await.1.len(), 2);
        let left = call(&mut *wire, 5, &one).await.unwrap();
        assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn groups_are_listed_by_those_who_coordinate_them() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let two = [("offsets.topic.num.partitions", "2")];
        let (broker, mut wire) = start(&runtime, dir.path(), &two).await;
        join(&mut *wire).await;
        let own = vec![("g".to_owned(), "consumer".to_owned())];
        assert_eq!(list(&mut *wire, &[]).await, (ErrorCode::None, own.clone()));
        assert_eq!(list(&mut *wire, &["Consumer"]).await, (ErrorCode::None, own.clone()));
        assert_eq!(list(&mut *wire, &["classic"]).await, (ErrorCode::None, Vec::new()));

        let image = broker.shared.applied_image();
        let place = crate::groups::partition_of(&image, &GROUP).unwrap();
        let other = PartitionIndex(1 - place.0);
        let groups = &broker.shared.groups;
        groups.refuse(other, ErrorCode::CoordinatorLoadInProgress);
        let loading = (ErrorCode::CoordinatorLoadInProgress, Vec::new());
        assert_eq!(list(&mut *wire, &[]).await, loading);
        groups.refuse(other, ErrorCode::NotCoordinator);
        assert_eq!(list(&mut *wire, &[]).await, (ErrorCode::None, own));
        groups.refuse(place, ErrorCode::NotCoordinator);
        assert_eq!(list(&mut *wire, &[]).await, (ErrorCode::None, Vec::new()));
        broker.stop().await;
    })
    .unwrap();
}

/// The error of each group, and whether operations are told.
async fn describe_consumer_groups(wire: &mut dyn Stream) -> Vec<(ErrorCode, bool)> {
    let request = m::ConsumerGroupDescribeRequest {
        group_ids: vec![GROUP, StrBytes::new(), NOBODY],
        include_authorized_operations: true,
        ..Default::default()
    };
    let described = call(wire, 1, &request).await.unwrap().groups.into_iter();
    let told = |operations| operations != NO_OPERATIONS;
    described.map(|g| (ErrorCode::from_code(g.error_code), told(g.authorized_operations))).collect()
}

#[test]
fn consumer_groups_are_described_where_there_are_any() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        use ErrorCode as E;
        let (broker, mut wire) = start(&runtime, dir.path(), &[]).await;
        join(&mut *wire).await;
        let described = describe_consumer_groups(&mut *wire).await;
        let due = [(E::None, true), (E::InvalidGroupId, false), (E::GroupIdNotFound, false)];
        assert_eq!(described, due);
        broker.stop().await;

        let classic = [("group.coordinator.rebalance.protocols", "classic")];
        let (broker, mut wire) = start(&runtime, dir.path(), &classic).await;
        let described = describe_consumer_groups(&mut *wire).await;
        assert_eq!(described, [(E::UnsupportedVersion, false); 3]);
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn what_may_be_done_with_a_group_is_told_of_groups_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, mut wire) = start(&runtime, dir.path(), &[]).await;
        create(&broker, &ORDERS).await;
        commit(&mut *wire).await;
        let request = m::DescribeGroupsRequest {
            groups: vec![SIMPLE, NOBODY],
            include_authorized_operations: true,
            ..Default::default()
        };
        let described = call(&mut *wire, 6, &request).await.unwrap().groups;
        let [simple, nobody] = &described[..] else { panic!("{described:?}") };
        assert_eq!(simple.error_code, 0);
        assert_ne!(simple.authorized_operations, NO_OPERATIONS);
        assert_eq!(nobody.error_code, ErrorCode::GroupIdNotFound.code());
        assert_eq!(nobody.authorized_operations, NO_OPERATIONS);
        broker.stop().await;
    })
    .unwrap();
}

/// An OffsetDelete of a partition that is there, one that is not, and a topic that is not.
fn offset_delete(group: StrBytes) -> m::OffsetDeleteRequest {
    use m::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let topic = |name, indexes: &[i32]| {
        let partition = |&partition_index: &i32| OffsetDeleteRequestPartition { partition_index };
        OffsetDeleteRequestTopic { name, partitions: indexes.iter().map(partition).collect() }
    };
    let topics = vec![topic(ORDERS, &[0, 1, -1]), topic(StrBytes::from_static("gone"), &[0])];
    m::OffsetDeleteRequest { group_id: group, topics }
}

#[test]
fn offsets_are_deleted_of_partitions_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, mut wire) = start(&runtime, dir.path(), &[]).await;
        create(&broker, &ORDERS).await;
        commit(&mut *wire).await;
        let deleted = call(&mut *wire, 0, &offset_delete(NOBODY)).await.unwrap();
        assert_eq!(deleted.error_code, ErrorCode::GroupIdNotFound.code());
        assert!(deleted.topics.is_empty(), "{deleted:?}");

        let deleted = call(&mut *wire, 0, &offset_delete(SIMPLE)).await.unwrap();
        assert_eq!(deleted.error_code, 0);
        let mut told = Vec::new();
        for topic in &deleted.topics {
            for partition in &topic.partitions {
                let code = ErrorCode::from_code(partition.error_code);
                told.push((topic.name.as_str(), partition.partition_index, code));
            }
        }
        told.sort_by_key(|(topic, index, _)| (*topic, *index));
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let due = [
            ("gone", 0, unknown),
            ("orders", -1, unknown),
            ("orders", 0, ErrorCode::None),
            ("orders", 1, unknown),
        ];
        assert_eq!(told, due);
        assert_eq!(deleted.topics.len(), 2, "each topic once");
        broker.stop().await;
    })
    .unwrap();
}
