//! The last commit and the good-bye: what is on its way is waited for, what can not be committed is
//! told, and a topic that is gone holds up nobody.

use super::*;

/// A member that commits by itself, but not before it has to.
fn by_itself() -> GroupConfig {
    GroupConfig { auto_commit: Some(Duration::from_secs(3_600)), ..by_hand() }
}

fn commits(world: &Mutex<World>) -> usize {
    look(world).log.iter().filter(|entry| entry.ends_with(":OffsetCommit")).count()
}

#[test]
fn commits_on_their_way_are_waited_for() {
    for instance_id in [None, Some("i".into())] {
        run(async |runtime, net| {
            let world = start(&net);
            let config = GroupConfig { instance_id: instance_id.clone(), ..by_hand() };
            let late = Trouble::Late(ErrorCode::None, Duration::from_secs(2));
            let consumer = member(&runtime, config.clone()).await;
            look(&world).trouble(ApiKey::OffsetCommit, &[late]);
            let pending = consumer.commit_async(offsets(5));
            let before = runtime.clock.now();
            consumer.close(Duration::from_secs(10)).await.expect("nothing is left");
            let elapsed = runtime.clock.now().since(before);
            assert!(elapsed >= Duration::from_secs(2), "{instance_id:?}: after {elapsed:?}");
            pending.committed().await.expect("committed");
            // But no longer than asked for.
            look(&world).generation = 0;
            let consumer = member(&runtime, config).await;
            let never = Trouble::Late(ErrorCode::None, Duration::from_secs(20));
            look(&world).trouble(ApiKey::OffsetCommit, &[never]);
            drop(consumer.commit_async(offsets(6)));
            let before = runtime.clock.now();
            let closed = consumer.close(Duration::from_secs(1)).await;
            assert!(closed.is_err(), "{instance_id:?}: nobody knows about the commit");
            let elapsed = runtime.clock.now().since(before);
            assert!(elapsed < Duration::from_secs(2), "{instance_id:?}: after {elapsed:?}");
        });
    }
}

/// A member that keeps its partitions, while its JoinGroup waits at the coordinator.
async fn joining(runtime: &Runtime, world: &Mutex<World>) -> GroupConsumer {
    let config = GroupConfig { assignors: vec![Assignor::CooperativeSticky], ..by_itself() };
    let mut consumer = member(runtime, config).await;
    assert_eq!(positions(&mut consumer).await, [10, 20]);
    let rebalance = Trouble::Refuse(ErrorCode::RebalanceInProgress);
    look(world).trouble(ApiKey::Heartbeat, &[rebalance]);
    let held = Trouble::Late(ErrorCode::CoordinatorLoadInProgress, Duration::from_secs(600));
    look(world).trouble(ApiKey::JoinGroup, &[held]);
    consumer.poll(Duration::from_secs(5)).await.expect("no error");
    assert_eq!(consumer.membership().state, MemberState::Joining);
    consumer
}

#[test]
fn a_member_that_joins_its_next_generation_commits_in_the_last_one() {
    run(async |runtime, net| {
        let world = start(&net);
        let consumer = joining(&runtime, &world).await;
        // While the leader divides the partitions, coordinators take no commits.
        let rebalance = Trouble::Refuse(ErrorCode::RebalanceInProgress);
        look(&world).trouble(ApiKey::OffsetCommit, &[rebalance; 2]);
        consumer.close(Duration::from_secs(5)).await.expect("committed");
        assert_eq!(look(&world).committed, BTreeMap::from([(0, 10), (1, 20)]));
        assert_eq!(look(&world).log.last().map(String::as_str), Some("1:LeaveGroup"));
    });
}

#[test]
fn what_could_not_be_committed_is_told() {
    run(async |runtime, net| {
        let world = start(&net);
        let consumer = joining(&runtime, &world).await;
        let unknown = Trouble::Refuse(ErrorCode::UnknownMemberId);
        look(&world).trouble(ApiKey::OffsetCommit, &[unknown]);
        let closed = consumer.close(Duration::from_secs(5)).await;
        assert!(matches!(closed, Err(CommitError::NotMember(_))), "{closed:?}");
        // Out of the group, and nobody has polled since: what it had may have new owners.
        look(&world).generation = 0;
        let mut consumer = member(&runtime, by_itself()).await;
        positions(&mut consumer).await;
        look(&world).trouble(ApiKey::Heartbeat, &[unknown]);
        runtime::sleep(&*runtime.clock, Duration::from_secs(5)).await;
        assert_eq!(consumer.membership().state, MemberState::Left);
        let closed = consumer.close(Duration::from_secs(5)).await;
        assert!(matches!(closed, Err(CommitError::NotMember(_))), "{closed:?}");
    });
}

#[test]
fn what_is_known_to_be_lost_is_not_told_again() {
    run(async |runtime, net| {
        let world = start(&net);
        let mut consumer = member(&runtime, by_itself()).await;
        positions(&mut consumer).await;
        let unknown = Trouble::Refuse(ErrorCode::UnknownMemberId);
        look(&world).trouble(ApiKey::Heartbeat, &[unknown]);
        assert!(matches!(event(&mut consumer).await, Polled::Lost(_)));
        consumer.close(Duration::from_secs(5)).await.expect("nothing is left");
    });
}

#[test]
fn a_topic_that_is_gone_holds_up_nobody() {
    for code in [ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicId] {
        run(async |runtime, net| {
            let world = start(&net);
            let mut consumer = member(&runtime, by_itself()).await;
            positions(&mut consumer).await;
            let loading = Trouble::Refuse(ErrorCode::CoordinatorLoadInProgress);
            let gone = Trouble::Refuse(code);
            look(&world).trouble(ApiKey::OffsetCommit, &[loading, gone, gone]);
            consumer.commit().await.expect("whoever asks for it waits for the topic");
            assert_eq!(commits(&world), 4, "{code}");
            look(&world).trouble(ApiKey::OffsetCommit, &[loading, gone]);
            let rebalance = Trouble::Refuse(ErrorCode::RebalanceInProgress);
            look(&world).trouble(ApiKey::Heartbeat, &[rebalance]);
            assert!(matches!(event(&mut consumer).await, Polled::Revoked(_)));
            assert_eq!(commits(&world), 6, "{code}");
            assigned(&mut consumer).await;
            positions(&mut consumer).await;
            look(&world).trouble(ApiKey::OffsetCommit, &[gone; 1_000]);
            let before = runtime.clock.now();
            let closed = consumer.close(Duration::from_secs(5)).await;
            assert!(closed.is_err_and(|error| error.code() == Some(code)), "{code}");
            assert!(runtime.clock.now().since(before) < Duration::from_secs(1), "{code}");
        });
    }
}

#[test]
fn whoever_unsubscribes_can_come_back() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        run(async |runtime, net| {
            let world = start(&net);
            let mut consumer = member(&runtime, GroupConfig { protocol, ..by_itself() }).await;
            positions(&mut consumer).await;
            // A notice that nobody has heard yet is about what is given up anyway.
            let unknown = Trouble::Refuse(ErrorCode::UnknownMemberId);
            let beat = match protocol {
                GroupProtocol::Classic => ApiKey::Heartbeat,
                GroupProtocol::Consumer => ApiKey::ConsumerGroupHeartbeat,
            };
            consumer.unsubscribe(Duration::from_secs(5)).await.expect("committed");
            assert_eq!(look(&world).committed, BTreeMap::from([(0, 10), (1, 20)]));
            assert_eq!(consumer.membership().state, MemberState::Unsubscribed);
            assert!(consumer.assignment().is_empty());
            look(&world).log.clear();
            let polled = consumer.poll(Duration::from_secs(600)).await.expect("no error");
            assert_eq!((polled, &look(&world).log[..]), (Polled::Nothing, &[][..]));
            look(&world).generation = 0;
            consumer.subscribe(Subscription::topics(["t"])).await.expect("topics by name");
            assert_eq!(assigned(&mut consumer).await.partitions.len(), 2);
            positions(&mut consumer).await;
            look(&world).trouble(beat, &[unknown]);
            runtime::sleep(&*runtime.clock, Duration::from_secs(6)).await;
            assert_eq!(consumer.membership().state, MemberState::Left);
            consumer.unsubscribe(Duration::from_secs(5)).await.expect_err("it was out");
            look(&world).generation = 0;
            consumer.subscribe(Subscription::topics(["t"])).await.expect("topics by name");
            assert_eq!(assigned(&mut consumer).await.partitions.len(), 2);
        });
    }
}

#[test]
fn a_membership_that_has_ended_can_be_begun_anew() {
    run(async |runtime, net| {
        let world = start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        let fenced = Trouble::Refuse(ErrorCode::FencedInstanceId);
        look(&world).trouble(ApiKey::Heartbeat, &[fenced]);
        assert!(matches!(event(&mut consumer).await, Polled::Lost(_)));
        consumer.poll(Duration::from_secs(5)).await.expect_err("it has ended");
        consumer.unsubscribe(Duration::from_secs(5)).await.expect("nothing to commit");
        look(&world).generation = 0;
        consumer.subscribe(Subscription::topics(["t"])).await.expect("topics by name");
        assert_eq!(assigned(&mut consumer).await.partitions.len(), 2);
    });
}

#[test]
fn a_static_member_leaves_when_it_is_told_to() {
    run(async |runtime, net| {
        let world = start(&net);
        let config = GroupConfig { instance_id: Some("i".into()), ..by_hand() };
        let consumer = member(&runtime, config.clone()).await;
        consumer.close(Duration::from_secs(5)).await.expect("nothing to commit");
        assert!(!look(&world).log.iter().any(|entry| entry == "1:LeaveGroup"));
        look(&world).generation = 0;
        let consumer = member(&runtime, config).await;
        let leave = GroupMembershipOperation::LeaveGroup;
        consumer.close_with(leave, Duration::from_secs(5)).await.expect("nothing to commit");
        assert_eq!(look(&world).log.last().map(String::as_str), Some("1:LeaveGroup"));
    });
}

#[test]
fn a_member_makes_its_group_rebalance() {
    run(async |runtime, net| {
        start(&net);
        let mut consumer = member(&runtime, by_hand()).await;
        consumer.enforce_rebalance("more memory").await.expect("it is a classic group");
        assert!(matches!(event(&mut consumer).await, Polled::Revoked(_)));
        assert_eq!(assigned(&mut consumer).await.epoch, MemberEpoch(2));
        let config = GroupConfig { protocol: GroupProtocol::Consumer, ..by_hand() };
        let mut consumer = member(&runtime, config).await;
        let refused = consumer.enforce_rebalance("more memory").await;
        assert!(matches!(refused, Err(GroupError::RebalanceInConsumerGroup)), "{refused:?}");
    });
}
