//! Both membership machines, event by event: what goes in is told by a method, what comes out is
//! compared as text. And groups of members around a model coordinator, with any order of events.

mod consumer_groups;
mod groups;

use std::time::Duration;

use bytes::Bytes;
use protocol::messages::consumer_group_heartbeat_response as heartbeat;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, SyncGroupResponse,
};

use super::*;
use crate::backoff::Backoff;
use crate::error::RequestError;
use crate::group::assignor::wire::{decode_assignment, encode_assignment};
use crate::group::config::{GroupConfig, GroupMembershipOperation, GroupProtocol};

const TOPIC: TopicId = model::Uuid([7; 16]);

/// A member, the requests it waits for and the time.
struct Script {
    member: Member,
    now: Instant,
    /// When the application last polled.
    polled: Instant,
    sent: Vec<(CallId, Call)>,
}

fn config(protocol: GroupProtocol, assignors: &[Assignor]) -> GroupConfig {
    GroupConfig { protocol, assignors: assignors.to_vec(), ..GroupConfig::new("g") }
}

impl Script {
    fn new(config: GroupConfig) -> Script {
        Script::with_random(config, 0)
    }

    fn with_random(config: GroupConfig, key: u64) -> Script {
        let protocol = config.protocol;
        let config = std::sync::Arc::new(config);
        let backoff =
            Backoff { initial: Duration::from_millis(100), max: Duration::from_millis(100) };
        let random = runtime::split_seed(3, "member", key);
        let member = match protocol {
            GroupProtocol::Classic => {
                Member::Classic(Box::new(ClassicMember::new(config, backoff, random)))
            }
            GroupProtocol::Consumer => {
                Member::Consumer(Box::new(ConsumerMember::new(config, backoff, random)))
            }
        };
        let now = Instant(1_000_000_000);
        Script { member, now, polled: now, sent: Vec::new() }
    }

    fn subscribe(&mut self, topics: &[&str]) -> String {
        let topics = topics.iter().map(|topic| StrBytes::from(*topic)).collect();
        self.member.on_subscription(self.now, Topics::Named(topics));
        self.told()
    }

    /// What the member wants since the last look.
    fn told(&mut self) -> String {
        let mut words = Vec::new();
        for action in self.member.take_actions() {
            if let Action::Send(id, call) = &action {
                self.sent.push((*id, call.clone()));
            }
            words.push(word(&action));
        }
        words.join(" ")
    }

    /// Answers the last request.
    fn answer(&mut self, answer: Answer) -> String {
        let (id, _) = self.sent.last().expect("a request");
        self.member.on_answer(self.now, *id, answer);
        self.told()
    }

    fn after(&mut self, pause: Duration) -> String {
        self.now = self.now + pause;
        self.member.on_tick(self.now, Some(self.polled));
        self.told()
    }

    /// As long as it takes for something to happen by itself.
    fn wait(&mut self) -> String {
        let wake = self.member.next_wake(Some(self.polled)).expect("something is due");
        self.now = self.now.max(wake);
        self.member.on_tick(self.now, Some(self.polled));
        self.told()
    }

    fn poll_and_release(&mut self) -> String {
        self.polled = self.now;
        self.member.on_released(self.now);
        self.told()
    }

    fn leave(&mut self, operation: GroupMembershipOperation) -> String {
        self.member.on_leave(self.now, operation, "the test is over");
        self.told()
    }

    fn count(&mut self, partitions: i32) -> String {
        self.member.on_counts(self.now, &BTreeMap::from([("t".into(), partitions)]));
        self.told()
    }

    fn state(&self) -> MemberState {
        self.member.membership().state
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Send(_, call) => match call {
            Call::Join(request) => {
                let metadata = &request.protocols[0].metadata;
                let assignor = Assignor::from_name(&request.protocols[0].name).expect("ours");
                let me = crate::group::assignor::wire::decode_member(
                    request.member_id.clone(),
                    None,
                    metadata,
                    assignor,
                );
                let owned = list(&me.expect("our own words").owned);
                format!("join({}:{owned})", request.member_id)
            }
            Call::Sync(request) => {
                let share =
                    |assignment: &Bytes| list(&decode_assignment(assignment).expect("ours"));
                let shares = request
                    .assignments
                    .iter()
                    .map(|a| format!("{}={}", a.member_id, share(&a.assignment)));
                format!("sync({}:{})", request.generation_id, shares.collect::<Vec<_>>().join(";"))
            }
            Call::Heartbeat(request) => format!("beat({})", request.generation_id),
            Call::Leave(request) => {
                let member = &request.members[0];
                let instance = member.group_instance_id.as_ref().map(|id| format!("/{id}"));
                format!("leave({}{})", member.member_id, instance.unwrap_or_default())
            }
            Call::ConsumerHeartbeat(request) => consumer_heartbeat(request),
        },
        Action::Count(topics) => format!("count({})", topics.len()),
        Action::Resolve(ids) => format!("resolve({})", ids.len()),
        Action::ForgetCoordinator => "forget".to_owned(),
        Action::Tell(Notice::Revoke(change)) => format!("revoke({})", change_word(change)),
        Action::Tell(Notice::Lose(change)) => format!("lose({})", change_word(change)),
        Action::Tell(Notice::Assign(change)) => format!("assign({})", change_word(change)),
        Action::Tell(Notice::Failed(error)) => match error {
            GroupError::Fenced(_) => "fenced".to_owned(),
            GroupError::Refused(error) => format!("refused({:?})", error.code()),
            other => format!("failed({other})"),
        },
        Action::Done => "done".to_owned(),
    }
}

fn consumer_heartbeat(request: &ConsumerGroupHeartbeatRequest) -> String {
    let mut words = vec![request.member_epoch.to_string()];
    if let Some(names) = &request.subscribed_topic_names {
        words.push(names.iter().map(StrBytes::to_string).collect::<Vec<_>>().join(","));
    }
    if let Some(owned) = &request.topic_partitions {
        let partitions = owned.iter().flat_map(|topic| &topic.partitions);
        words.push(format!(
            "owns[{}]",
            partitions.map(i32::to_string).collect::<Vec<_>>().join(",")
        ));
    }
    if request.rebalance_timeout_ms >= 0 {
        words.push("all".to_owned());
    }
    format!("hb({})", words.join(" "))
}

fn list(partitions: &BTreeSet<TopicPartition>) -> String {
    partitions.iter().map(|at| at.partition.to_string()).collect::<Vec<_>>().join(",")
}

fn change_word(change: &Change) -> String {
    format!("{}@{}", list(&change.partitions), change.epoch)
}

fn joined(generation_id: i32, leader: &str, members: &[&Call]) -> Answer {
    let member = |call: &&Call| {
        let Call::Join(request) = call else { panic!("{call:?}") };
        JoinGroupResponseMember {
            member_id: request.member_id.clone(),
            metadata: request.protocols[0].metadata.clone(),
            ..Default::default()
        }
    };
    let Some(Call::Join(first)) = members.first() else { panic!("no member") };
    let members: Vec<_> = members.iter().map(member).collect();
    let response = JoinGroupResponse {
        generation_id,
        leader: leader.into(),
        member_id: first.member_id.clone(),
        protocol_name: Some(first.protocols[0].name.clone()),
        members: if *leader == *first.member_id { members } else { Vec::new() },
        ..Default::default()
    };
    Answer::Join(Ok(response))
}

fn join_error(code: ErrorCode, member_id: &str) -> Answer {
    let member_id = member_id.into();
    Answer::Join(Ok(JoinGroupResponse { error_code: code.code(), member_id, ..Default::default() }))
}

fn synced(partitions: &[i32]) -> Answer {
    let partitions: Vec<_> = partitions.iter().map(|p| TopicPartition::new("t", *p)).collect();
    let assignment = encode_assignment(&partitions);
    Answer::Sync(Ok(SyncGroupResponse { assignment, ..Default::default() }))
}

fn sync_error(code: ErrorCode) -> Answer {
    Answer::Sync(Ok(SyncGroupResponse { error_code: code.code(), ..Default::default() }))
}

fn beat(code: ErrorCode) -> Answer {
    Answer::Heartbeat(Ok(HeartbeatResponse { error_code: code.code(), ..Default::default() }))
}

fn no_answer() -> ClientError {
    RequestError::Disconnected { address: "b:1".into() }.into()
}

/// A follower with partitions 0 and 1 of topic `t` in generation 1.
fn follower(assignor: Assignor) -> Script {
    follower_with(config(GroupProtocol::Classic, &[assignor]))
}

fn follower_with(config: GroupConfig) -> Script {
    let mut script = Script::new(config);
    assert_eq!(script.subscribe(&["t"]), "join(:)");
    assert_eq!(script.answer(join_error(ErrorCode::MemberIdRequired, "m")), "join(m:)");
    assert_eq!(script.rejoined(1), "sync(1:)");
    assert_eq!(script.answer(synced(&[0, 1])), "assign(0,1@1)");
    assert_eq!(script.state(), MemberState::Stable);
    script
}

impl Script {
    /// The last join is answered: somebody else leads.
    fn rejoined(&mut self, generation: i32) -> String {
        let call = self.sent.last().expect("a join").1.clone();
        self.answer(joined(generation, "leader", &[&call]))
    }
}

#[test]
fn an_eager_member_gives_everything_up_before_it_joins() {
    let mut script = follower(Assignor::Range);
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::None)), "");
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::RebalanceInProgress)), "revoke(0,1@1)");
    // The application takes its time: the coordinator hears that the member lives.
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::RebalanceInProgress)), "");
    assert_eq!(script.state(), MemberState::Rebalancing);
    assert_eq!(script.poll_and_release(), "join(m:)");
    assert_eq!(script.state(), MemberState::Joining);
    assert_eq!(script.rejoined(2), "sync(2:)");
    assert_eq!(script.answer(synced(&[1])), "assign(1@2)");
}

#[test]
fn a_cooperative_member_gives_up_only_what_goes_and_joins_again() {
    let mut script = follower(Assignor::CooperativeSticky);
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::RebalanceInProgress)), "join(m:0,1)");
    assert_eq!(script.rejoined(2), "sync(2:)");
    assert_eq!(script.answer(synced(&[0])), "revoke(1@2) assign(@2)");
    assert_eq!(script.wait(), "beat(2)");
    assert_eq!(script.answer(beat(ErrorCode::None)), "");
    assert_eq!(script.poll_and_release(), "join(m:0)");
    assert_eq!(script.rejoined(3), "sync(3:)");
    assert_eq!(script.answer(synced(&[0])), "assign(@3)");
    assert_eq!(script.state(), MemberState::Stable);
}

#[test]
fn the_sticky_member_remembers_what_it_gave_up() {
    let mut script = follower(Assignor::Sticky);
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::RebalanceInProgress)), "revoke(0,1@1)");
    assert_eq!(script.poll_and_release(), "join(m:0,1)");
}

#[test]
fn the_leader_counts_divides_and_watches() {
    let mut script = Script::new(config(GroupProtocol::Classic, &[Assignor::Range]));
    script.subscribe(&["t"]);
    script.answer(join_error(ErrorCode::MemberIdRequired, "m"));
    let me = script.sent.last().expect("a join").1.clone();
    let Call::Join(request) = &me else { panic!("{me:?}") };
    let other = Call::Join(JoinGroupRequest { member_id: "n".into(), ..request.clone() });
    assert_eq!(script.answer(joined(1, "m", &[&me, &other])), "count(1)");
    assert_eq!(script.count(3), "sync(1:m=0,1;n=2)");
    assert_eq!(script.answer(synced(&[0, 1])), "assign(0,1@1)");
    assert!(script.member.membership().is_leader);
    assert_eq!(script.count(3), "");
    assert_eq!(script.count(4), "revoke(0,1@1)");
    assert_eq!(script.poll_and_release(), "join(m:)");
}

/// A static leader that comes back is told that nothing has to be divided (KIP-814).
#[test]
fn a_skipped_assignment_is_not_made_up() {
    let mut script = Script::new(config(GroupProtocol::Classic, &[Assignor::Range]));
    script.subscribe(&["t"]);
    let me = script.sent.last().expect("a join").1.clone();
    let Answer::Join(Ok(response)) = joined(4, "", &[&me]) else { unreachable!() };
    let skipped = JoinGroupResponse { skip_assignment: true, ..response };
    assert_eq!(script.answer(Answer::Join(Ok(skipped))), "count(1)");
    assert_eq!(script.count(3), "sync(4:)");
    assert_eq!(script.answer(synced(&[2])), "assign(2@4)");
    assert_eq!(script.count(5), "revoke(2@4)");
}

#[test]
fn a_member_that_nobody_knows_loses_everything_and_comes_back() {
    for (code, expected) in
        [(ErrorCode::UnknownMemberId, "join(:)"), (ErrorCode::IllegalGeneration, "join(m:)")]
    {
        let mut script = follower(Assignor::CooperativeSticky);
        assert_eq!(script.wait(), "beat(1)");
        assert_eq!(script.answer(beat(code)), "lose(0,1@1)", "{code}");
        assert_eq!(script.state(), MemberState::Left);
        assert_eq!(script.member.next_wake(Some(script.polled)), None);
        assert_eq!(script.poll_and_release(), expected, "{code}");
    }
}

#[test]
fn what_may_go_away_is_tried_again_with_a_pause() {
    for answer in [
        join_error(ErrorCode::CoordinatorLoadInProgress, ""),
        join_error(ErrorCode::NotCoordinator, ""),
        join_error(ErrorCode::RebalanceInProgress, ""),
        Answer::Join(Err(no_answer())),
    ] {
        let mut script = Script::new(config(GroupProtocol::Classic, &[Assignor::Range]));
        script.subscribe(&["t"]);
        let before = script.now;
        let text = format!("{answer:?}");
        assert_eq!(script.answer(answer), "", "{text}");
        assert_eq!(script.wait(), "join(:)", "{text}");
        assert!(script.now.since(before) >= Duration::from_millis(80), "{text}");
    }
    let mut script = follower(Assignor::CooperativeSticky);
    script.wait();
    script.answer(beat(ErrorCode::RebalanceInProgress));
    script.rejoined(2);
    assert_eq!(script.answer(sync_error(ErrorCode::RebalanceInProgress)), "join(m:0,1)");
    script.rejoined(3);
    assert_eq!(script.answer(sync_error(ErrorCode::NotCoordinator)), "");
    assert_eq!(script.wait(), "join(m:0,1)");
}

#[test]
fn a_silent_coordinator_is_looked_for_before_the_session_ends_for_good() {
    let mut script = follower(Assignor::Range);
    assert_eq!(script.wait(), "beat(1)");
    assert_eq!(script.answer(Answer::Heartbeat(Err(no_answer()))), "");
    assert_eq!(script.wait(), "beat(1)");
    // The answer never comes.
    assert_eq!(script.wait(), "forget beat(1)");
    assert_eq!(script.answer(beat(ErrorCode::None)), "");
    assert_eq!(script.state(), MemberState::Stable);
}

#[test]
fn refusals_for_good_end_the_membership() {
    let mut script = follower(Assignor::Range);
    script.wait();
    assert_eq!(script.answer(beat(ErrorCode::FencedInstanceId)), "lose(0,1@1) fenced");
    assert_eq!(script.state(), MemberState::Failed);
    assert_eq!(script.poll_and_release(), "");
    let mut script = Script::new(config(GroupProtocol::Classic, &[Assignor::Range]));
    script.subscribe(&["t"]);
    let full = script.answer(join_error(ErrorCode::GroupMaxSizeReached, ""));
    assert_eq!(full, "refused(Some(GroupMaxSizeReached))");
}

#[test]
fn whoever_does_not_poll_leaves_and_the_next_poll_brings_it_back() {
    let mut script = follower(Assignor::Range);
    assert_eq!(script.after(Duration::from_secs(299)), "forget beat(1)");
    script.answer(beat(ErrorCode::None));
    assert_eq!(script.after(Duration::from_secs(1)), "leave(m) lose(0,1@1)");
    assert_eq!(script.state(), MemberState::Left);
    assert_eq!(script.after(Duration::from_secs(1_000)), "");
    assert_eq!(script.poll_and_release(), "join(:)");
    // Without partitions it is still the poll that is waited for.
    script.answer(join_error(ErrorCode::MemberIdRequired, "m2"));
    script.rejoined(5);
    assert_eq!(script.answer(synced(&[])), "assign(@5)");
    script.after(Duration::from_secs(1));
    assert_eq!(script.after(Duration::from_secs(300)), "leave(m2) lose(@5)");
    assert_eq!(script.poll_and_release(), "join(:)");
}

#[test]
fn who_leaves_a_classic_group_says_so_or_not() {
    use GroupMembershipOperation::{Default, LeaveGroup, RemainInGroup};
    for (instance_id, operation, expected) in [
        (None, Default, "leave(m)"),
        (None, LeaveGroup, "leave(m)"),
        (None, RemainInGroup, "done"),
        (Some("i"), Default, "done"),
        (Some("i"), LeaveGroup, "leave(m/i)"),
        (Some("i"), RemainInGroup, "done"),
    ] {
        let instance_id = instance_id.map(StrBytes::from);
        let config = config(GroupProtocol::Classic, &[Assignor::Range]);
        let mut script = follower_with(GroupConfig { instance_id, ..config });
        assert_eq!(script.leave(operation), expected, "{operation:?}");
        if expected != "done" {
            assert_eq!(script.answer(Answer::Leave), "done");
        }
        assert_eq!(script.state(), MemberState::Unsubscribed);
        // It can come back, as somebody else.
        assert_eq!(script.subscribe(&["t"]), "join(:)");
    }
}

#[test]
fn whoever_comes_back_at_once_joins_when_the_good_bye_was_heard() {
    let mut script = follower(Assignor::Range);
    assert_eq!(script.leave(GroupMembershipOperation::Default), "leave(m)");
    assert_eq!(script.subscribe(&["t"]), "");
    assert_eq!(script.answer(Answer::Leave), "done join(:)");
    let mut script = consumer(modern());
    assert_eq!(script.leave(GroupMembershipOperation::Default), "hb(-1)");
    assert_eq!(script.subscribe(&["t"]), "");
    assert_eq!(script.answer(heartbeat_answer(-1, None)), "done hb(0 t owns[] all)");
    assert_eq!(script.answer(heartbeat_answer(5, Some(&[1]))), "assign(1@5) hb(5 owns[1])");
}

#[test]
fn a_rebalance_can_be_asked_for() {
    let reason = |script: &Script| match script.sent.last() {
        Some((_, Call::Join(request))) => request.reason.clone(),
        other => panic!("{other:?}"),
    };
    let mut script = follower(Assignor::CooperativeSticky);
    script.member.on_rejoin(script.now, "more memory".into());
    assert_eq!(script.told(), "join(m:0,1)");
    assert_eq!(reason(&script), Some("more memory".into()));
    // One that is under way is enough.
    script.member.on_rejoin(script.now, "once more".into());
    assert_eq!(script.told(), "");
    let mut script = follower(Assignor::Range);
    script.member.on_rejoin(script.now, "more memory".into());
    assert_eq!(script.told(), "revoke(0,1@1)");
    assert_eq!(script.poll_and_release(), "join(m:)");
    assert_eq!(reason(&script), Some("more memory".into()));
}

#[test]
fn a_new_subscription_gives_up_what_is_not_in_it() {
    let mut script = follower(Assignor::CooperativeSticky);
    assert_eq!(script.subscribe(&["t", "u"]), "join(m:0,1)");
    // A change on the way is followed by another join.
    assert_eq!(script.subscribe(&["u"]), "");
    script.rejoined(2);
    assert_eq!(script.answer(synced(&[0, 1])), "assign(@2) revoke(0,1@2)");
    assert_eq!(script.poll_and_release(), "join(m:)");
}

#[test]
fn refused_commits_tell_about_the_membership() {
    for (code, expected) in [
        (ErrorCode::RebalanceInProgress, "revoke(0,1@1)"),
        (ErrorCode::UnknownMemberId, "lose(0,1@1)"),
        (ErrorCode::IllegalGeneration, "lose(0,1@1)"),
        (ErrorCode::FencedInstanceId, "lose(0,1@1) fenced"),
        (ErrorCode::OffsetMetadataTooLarge, ""),
    ] {
        let mut script = follower(Assignor::Range);
        script.member.on_commit_refused(script.now, MemberEpoch(0), code);
        assert_eq!(script.told(), "", "{code}: of an earlier generation");
        script.member.on_commit_refused(script.now, MemberEpoch(1), code);
        assert_eq!(script.told(), expected, "{code}");
    }
}

#[test]
fn an_answer_that_was_overtaken_changes_nothing() {
    let mut script = follower(Assignor::Range);
    script.wait();
    let stale = script.sent.last().expect("a heartbeat").0;
    script.member.on_commit_refused(script.now, MemberEpoch(1), ErrorCode::RebalanceInProgress);
    script.told();
    assert_eq!(script.poll_and_release(), "join(m:)");
    script.member.on_answer(script.now, stale, beat(ErrorCode::UnknownMemberId));
    assert_eq!(script.told(), "");
    assert_eq!(script.state(), MemberState::Joining);
}

fn heartbeat_answer(epoch: i32, partitions: Option<&[i32]>) -> Answer {
    let assignment = partitions.map(|partitions| {
        let partitions = partitions.to_vec();
        let topic =
            heartbeat::TopicPartitions { topic_id: TOPIC, partitions, ..Default::default() };
        heartbeat::Assignment { topic_partitions: vec![topic], ..Default::default() }
    });
    let response = ConsumerGroupHeartbeatResponse {
        member_epoch: epoch,
        heartbeat_interval_ms: 5_000,
        assignment,
        ..Default::default()
    };
    Answer::ConsumerHeartbeat(Ok(response))
}

fn heartbeat_error(code: ErrorCode) -> Answer {
    let error_code = code.code();
    let response = ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
    Answer::ConsumerHeartbeat(Ok(response))
}

/// A member with partitions 0 and 1 in epoch 1.
fn consumer(config: GroupConfig) -> Script {
    let mut script = Script::new(config);
    assert_eq!(script.subscribe(&["t"]), "hb(0 t owns[] all)");
    assert_eq!(script.answer(heartbeat_answer(1, Some(&[0, 1]))), "resolve(1)");
    script.member.on_names(script.now, BTreeMap::from([(TOPIC, "t".into())]));
    assert_eq!(script.told(), "assign(0,1@1) hb(1 owns[0,1])");
    assert_eq!(script.answer(heartbeat_answer(1, None)), "");
    assert_eq!(script.state(), MemberState::Stable);
    script
}

fn modern() -> GroupConfig {
    config(GroupProtocol::Consumer, &[])
}

#[test]
fn heartbeats_say_only_what_changed() {
    let mut script = consumer(modern());
    let before = script.now;
    assert_eq!(script.wait(), "hb(1)");
    assert_eq!(script.now.since(before), Duration::from_secs(5));
    assert_eq!(script.answer(heartbeat_answer(2, None)), "");
    assert_eq!(script.member.membership().epoch, MemberEpoch(2));
    assert_eq!(script.subscribe(&["t", "u"]), "hb(2 t,u)");
    // Whether that arrived nobody knows.
    assert_eq!(script.answer(Answer::ConsumerHeartbeat(Err(no_answer()))), "");
    assert_eq!(script.wait(), "hb(2 t,u owns[0,1] all)");
    assert_eq!(script.answer(heartbeat_answer(3, None)), "");
    assert_eq!(script.wait(), "hb(3)");
}

#[test]
fn what_goes_is_given_up_before_what_comes_is_taken() {
    let mut script = consumer(modern());
    script.wait();
    assert_eq!(script.answer(heartbeat_answer(1, Some(&[1, 2]))), "revoke(0@1)");
    assert_eq!(script.state(), MemberState::Rebalancing);
    // Meanwhile the member is alive and owns what it owned.
    assert_eq!(script.wait(), "hb(1)");
    // The target moves on.
    assert_eq!(script.answer(heartbeat_answer(2, Some(&[1, 3]))), "");
    assert_eq!(script.poll_and_release(), "assign(3@2) hb(2 owns[1,3])");
    assert_eq!(script.answer(heartbeat_answer(3, None)), "");
    assert_eq!(script.state(), MemberState::Stable);
}

#[test]
fn a_release_is_told_at_once_also_when_nothing_comes() {
    let mut script = consumer(modern());
    script.wait();
    assert_eq!(script.answer(heartbeat_answer(1, Some(&[1]))), "revoke(0@1)");
    assert_eq!(script.poll_and_release(), "hb(1 owns[1])");
    assert_eq!(script.answer(heartbeat_answer(2, None)), "");
}

#[test]
fn a_fenced_member_loses_everything_and_joins_with_its_old_id() {
    let codes =
        [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId, ErrorCode::GroupIdNotFound];
    for code in codes {
        let mut script = consumer(modern());
        let id = script.member.membership().member_id;
        script.wait();
        assert_eq!(script.answer(heartbeat_error(code)), "lose(0,1@1)", "{code}");
        assert_eq!(script.state(), MemberState::Left);
        assert_eq!(script.poll_and_release(), "hb(0 t owns[] all)");
        assert_eq!(script.member.membership().member_id, id);
        assert_eq!(script.answer(heartbeat_answer(7, Some(&[1]))), "assign(1@7) hb(7 owns[1])");
    }
}

#[test]
fn heartbeats_go_on_through_trouble_and_end_with_refusals() {
    for code in [
        ErrorCode::NotCoordinator,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::CoordinatorLoadInProgress,
    ] {
        let mut script = consumer(modern());
        script.wait();
        assert_eq!(script.answer(heartbeat_error(code)), "", "{code}");
        assert_eq!(script.wait(), "hb(1 t owns[0,1] all)", "{code}");
    }
    for (code, expected) in [
        (ErrorCode::UnreleasedInstanceId, "fenced"),
        (ErrorCode::FencedInstanceId, "fenced"),
        (ErrorCode::UnsupportedAssignor, "refused(Some(UnsupportedAssignor))"),
        (ErrorCode::InvalidRegularExpression, "refused(Some(InvalidRegularExpression))"),
        (ErrorCode::GroupAuthorizationFailed, "refused(Some(GroupAuthorizationFailed))"),
    ] {
        let mut script = Script::new(modern());
        script.subscribe(&["t"]);
        assert_eq!(script.answer(heartbeat_error(code)), expected, "{code}");
        assert_eq!(script.state(), MemberState::Failed);
    }
}

#[test]
fn members_say_how_they_leave() {
    use GroupMembershipOperation::{Default, LeaveGroup, RemainInGroup};
    for (instance_id, operation, expected) in [
        (None, LeaveGroup, "hb(-1)"),
        (None, RemainInGroup, "done"),
        (Some("i".into()), LeaveGroup, "hb(-1)"),
        (Some("i".into()), RemainInGroup, "hb(-2)"),
    ] {
        let mut script = consumer(GroupConfig { instance_id, ..modern() });
        assert_eq!(script.leave(operation), expected, "{operation:?}");
    }
    for (instance_id, expected) in [(None, "hb(-1)"), (Some("i".into()), "hb(-2)")] {
        let mut script = consumer(GroupConfig { instance_id: instance_id.clone(), ..modern() });
        assert_eq!(script.leave(Default), expected);
        assert_eq!(script.answer(heartbeat_answer(-1, None)), "done");
        // Out by itself, when the application does not poll.
        let mut script = consumer(GroupConfig { instance_id, ..modern() });
        let said = script.after(Duration::from_secs(300));
        assert_eq!(said, format!("{expected} lose(0,1@1)"));
        assert_eq!(script.poll_and_release(), "hb(0 t owns[] all)");
    }
}

#[test]
fn an_epoch_that_no_member_has_ends_the_membership() {
    for epoch in [0, -1, -2, i32::MIN] {
        let mut script = consumer(modern());
        script.wait();
        let told = script.answer(heartbeat_answer(epoch, None));
        let error = format!("be a member of the group with epoch {epoch}");
        assert_eq!(told, format!("lose(0,1@1) failed({error})"));
        assert_eq!(script.state(), MemberState::Failed);
        assert_eq!(script.poll_and_release(), "");
    }
}

#[test]
fn a_topic_that_was_made_anew_is_another_one() {
    let mut script = consumer(modern());
    script.wait();
    let topic_id = model::Uuid([8; 16]);
    let Answer::ConsumerHeartbeat(Ok(mut response)) = heartbeat_answer(2, Some(&[0])) else {
        unreachable!()
    };
    response.assignment.as_mut().expect("one").topic_partitions[0].topic_id = topic_id;
    let answer = Answer::ConsumerHeartbeat(Ok(response));
    assert_eq!(script.answer(answer), "resolve(1) revoke(0,1@2)");
    script.member.on_names(script.now, BTreeMap::from([(topic_id, "t".into())]));
    assert_eq!(script.poll_and_release(), "assign(0@2) hb(2 owns[0])");
}

/// Those of the whole cluster are told, and topics come and go.
#[test]
fn names_that_nobody_needs_are_not_kept() {
    let mut script = consumer(modern());
    let other = model::Uuid([9; 16]);
    script.member.on_names(script.now, BTreeMap::from([(other, "other".into())]));
    assert_eq!(script.told(), "");
    script.wait();
    let Answer::ConsumerHeartbeat(Ok(mut response)) = heartbeat_answer(2, Some(&[0])) else {
        unreachable!()
    };
    response.assignment.as_mut().expect("one").topic_partitions[0].topic_id = other;
    // It asks for the name when it needs it.
    let answer = Answer::ConsumerHeartbeat(Ok(response));
    assert_eq!(script.answer(answer), "resolve(1) revoke(0,1@2)");
}

#[test]
fn a_stale_commit_asks_for_the_newest_epoch() {
    let mut script = consumer(modern());
    script.member.on_commit_refused(script.now, MemberEpoch(1), ErrorCode::StaleMemberEpoch);
    assert_eq!(script.told(), "hb(1)");
    assert_eq!(script.answer(heartbeat_answer(2, None)), "");
    script.member.on_commit_refused(script.now, MemberEpoch(1), ErrorCode::StaleMemberEpoch);
    assert_eq!(script.told(), "");
}
