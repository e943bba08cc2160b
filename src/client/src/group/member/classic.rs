//! A member of a classic group: JoinGroup, SyncGroup, Heartbeat (`AbstractCoordinator`,
//! `ConsumerCoordinator`). Pure.
//!
//! The way into a generation: give up what the protocol wants given up (eager: everything), join,
//! as the leader divide the partitions, sync, and take what was assigned. In the cooperative
//! protocol what goes to somebody else is given up after the sync, and a second join gives it on
//! (KIP-429).
//!
//! Invariants:
//! - heartbeats go out whenever this is a member and neither joins nor syncs
//! - `owned` is what the application has or will be told to have, until it let go of it
//! - without a generation nothing is owned that was not announced as lost

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::Instant;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse,
};
use protocol::{ErrorCode, StrBytes};
use runtime::RandomStream;

use super::{
    Action, Answer, Call, CallId, Change, MemberEpoch, MemberState, Membership, Notice, fatal,
    refusal,
};
use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::group::assignor::wire::{
    Subscription, decode_assignment, decode_member, encode_assignment,
};
use crate::group::assignor::{Assignor, GroupMember};
use crate::group::config::{GroupConfig, GroupMembershipOperation};
use crate::group::error::GroupError;
use crate::metadata::TopicPartition;
use crate::producer::millis;

/// The protocol type of consumers.
const PROTOCOL_TYPE: StrBytes = StrBytes::from_static("consumer");

#[derive(Debug)]
enum Phase {
    Unsubscribed,
    /// To join as soon as the application let go of what it has to.
    Preparing,
    /// To join at this moment.
    Waiting(Instant),
    Joining(CallId),
    /// As the leader, to learn how many partitions there are. Nobody's work is divided when the
    /// coordinator says that the last assignment stands (KIP-814).
    Counting(Option<Vec<GroupMember>>),
    Syncing(CallId),
    Stable,
    Failed,
    /// Has left, and waits for the answer to that.
    Leaving(CallId),
}

/// See the module.
pub(crate) struct ClassicMember {
    config: Arc<GroupConfig>,
    backoff: Backoff,
    random: RandomStream,
    pub(super) actions: Vec<Action>,
    phase: Phase,
    topics: BTreeSet<StrBytes>,
    member_id: StrBytes,
    generation: i32,
    assignor: Option<Assignor>,
    owned: BTreeSet<TopicPartition>,
    /// What the application was told to let go of, oldest first.
    releasing: VecDeque<BTreeSet<TopicPartition>>,
    /// The last assignment and its generation, for the sticky assignors.
    previous: BTreeSet<TopicPartition>,
    previous_generation: i32,
    /// What this member said it subscribes to when it joined.
    joined_topics: BTreeSet<StrBytes>,
    /// As the leader: what the assignment was computed from.
    led: Option<BTreeMap<StrBytes, i32>>,
    leads: BTreeSet<StrBytes>,
    /// Why to join again.
    rejoin: Option<StrBytes>,
    /// Told to the coordinator with the next join (KIP-800).
    reason: Option<StrBytes>,
    heartbeat: Option<CallId>,
    next_heartbeat: Instant,
    last_heard: Instant,
    failures: u32,
    next_call: CallId,
}

impl ClassicMember {
    pub(crate) fn new(
        config: Arc<GroupConfig>,
        backoff: Backoff,
        random: RandomStream,
    ) -> ClassicMember {
        ClassicMember {
            config,
            backoff,
            random,
            actions: Vec::new(),
            phase: Phase::Unsubscribed,
            topics: BTreeSet::new(),
            member_id: StrBytes::new(),
            generation: -1,
            assignor: None,
            owned: BTreeSet::new(),
            releasing: VecDeque::new(),
            previous: BTreeSet::new(),
            previous_generation: -1,
            joined_topics: BTreeSet::new(),
            led: None,
            leads: BTreeSet::new(),
            rejoin: None,
            reason: None,
            heartbeat: None,
            next_heartbeat: Instant::default(),
            last_heard: Instant::default(),
            failures: 0,
            next_call: 0,
        }
    }

    pub(super) fn membership(&self) -> Membership {
        let state = match &self.phase {
            Phase::Unsubscribed | Phase::Leaving(_) => MemberState::Unsubscribed,
            Phase::Preparing if self.generation < 0 => MemberState::Left,
            Phase::Preparing => MemberState::Rebalancing,
            Phase::Waiting(_) | Phase::Joining(_) | Phase::Counting(_) | Phase::Syncing(_) => {
                MemberState::Joining
            }
            Phase::Stable if self.releasing.is_empty() => MemberState::Stable,
            Phase::Stable => MemberState::Rebalancing,
            Phase::Failed => MemberState::Failed,
        };
        Membership {
            state,
            member_id: self.member_id.clone(),
            epoch: MemberEpoch(self.generation),
            assignor: self.assignor,
            is_leader: self.led.is_some(),
        }
    }

    pub(super) fn on_subscription(&mut self, now: Instant, topics: BTreeSet<StrBytes>) {
        self.topics = topics;
        match self.phase {
            Phase::Unsubscribed => self.join(now),
            Phase::Stable if self.topics != self.joined_topics => {
                self.prepare(now, "the subscription has changed");
            }
            // A join that is on its way is followed by another one, and a good-bye by a first one.
            _ => {}
        }
        self.assert_invariants();
    }

    pub(super) fn on_answer(&mut self, now: Instant, id: CallId, answer: Answer) {
        match (answer, &self.phase) {
            (Answer::Join(answer), Phase::Joining(call)) if *call == id => {
                self.on_join(now, answer);
            }
            (Answer::Sync(answer), Phase::Syncing(call)) if *call == id => {
                self.on_sync(now, answer);
            }
            (Answer::Heartbeat(answer), _) if self.heartbeat == Some(id) => {
                self.heartbeat = None;
                self.on_heartbeat(now, answer);
            }
            (Answer::Leave, Phase::Leaving(call)) if *call == id => self.on_left(now),
            _ => {}
        }
        self.assert_invariants();
    }

    /// Gives up what has to be given up before a join, and joins.
    fn prepare(&mut self, now: Instant, reason: impl Into<StrBytes>) {
        self.reason = Some(reason.into());
        self.rejoin = None;
        let revoked: BTreeSet<TopicPartition> = if self.config.is_cooperative() {
            let gone = |at: &&TopicPartition| !self.topics.contains(&at.topic);
            self.held().filter(gone).cloned().collect()
        } else {
            self.held().cloned().collect()
        };
        self.phase = Phase::Preparing;
        if !revoked.is_empty() {
            self.release(revoked, Notice::Revoke);
        }
        self.go_on(now);
    }

    /// What is owned and not yet asked back.
    fn held(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.iter().filter(|at| !self.releasing.iter().any(|asked| asked.contains(*at)))
    }

    fn release(&mut self, partitions: BTreeSet<TopicPartition>, notice: fn(Change) -> Notice) {
        self.releasing.push_back(partitions.clone());
        let epoch = MemberEpoch(self.generation.max(self.previous_generation));
        self.actions.push(Action::Tell(notice(Change { partitions, epoch })));
    }

    pub(super) fn on_released(&mut self, now: Instant) {
        if let Some(released) = self.releasing.pop_front() {
            self.owned.retain(|at| !released.contains(at));
        }
        self.go_on(now);
        self.assert_invariants();
    }

    /// Joins if that is all that is left to do.
    fn go_on(&mut self, now: Instant) {
        if !self.releasing.is_empty() {
            return;
        }
        match self.phase {
            Phase::Preparing => self.join(now),
            Phase::Stable if self.rejoin.is_some() => {
                self.reason = self.rejoin.take();
                self.join(now);
            }
            _ => {}
        }
    }

    fn join(&mut self, now: Instant) {
        self.joined_topics = self.topics.clone();
        self.rejoin = None;
        self.heartbeat = None;
        let cooperative = self.config.is_cooperative();
        let subscription = Subscription {
            topics: self.topics.clone(),
            owned: if cooperative { self.owned.clone() } else { BTreeSet::new() },
            previous: self.previous.clone(),
            generation: self.previous_generation,
            rack: Some(self.config.consumer.rack.as_str().into())
                .filter(|rack: &StrBytes| !rack.is_empty()),
        };
        let protocols = self.config.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: StrBytes::from_static(assignor.name()),
            metadata: subscription.encode(*assignor),
            ..Default::default()
        });
        let request = JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.poll_interval_max),
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
            protocol_type: PROTOCOL_TYPE,
            protocols: protocols.collect(),
            reason: self.reason.clone(),
            ..Default::default()
        };
        let call = self.send(Call::Join(request));
        self.phase = Phase::Joining(call);
        self.last_heard = now;
    }

    fn send(&mut self, call: Call) -> CallId {
        self.next_call += 1;
        self.actions.push(Action::Send(self.next_call, call));
        self.next_call
    }

    fn on_join(&mut self, now: Instant, answer: Result<JoinGroupResponse, ClientError>) {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.on_no_answer(now, error),
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => self.on_joined(now, response),
            ErrorCode::MemberIdRequired => {
                self.member_id = response.member_id.detached();
                self.reason = Some("the coordinator requires a member id".into());
                self.join(now);
            }
            ErrorCode::UnknownMemberId => {
                self.forget_generation(true);
                self.lose(now, "the coordinator does not know the member id");
            }
            code if code.is_retriable() || code == ErrorCode::RebalanceInProgress => {
                self.retry_join(now);
            }
            code => self.fail(fatal(refusal(code, None))),
        }
    }

    fn on_joined(&mut self, now: Instant, response: JoinGroupResponse) {
        self.failures = 0;
        self.last_heard = now;
        self.member_id = response.member_id.detached();
        self.generation = response.generation_id;
        self.led = None;
        self.leads.clear();
        let name = response.protocol_name.unwrap_or_default();
        let chosen = Assignor::from_name(&name).filter(|a| self.config.assignors.contains(a));
        let Some(assignor) = chosen else {
            return self.fail(GroupError::UnknownAssignor { name: name.to_string() });
        };
        self.assignor = Some(assignor);
        if response.leader != response.member_id {
            return self.sync(Vec::new());
        }
        let members: Result<Vec<GroupMember>, _> = response
            .members
            .into_iter()
            .map(|m| decode_member(m.member_id, m.group_instance_id, &m.metadata, assignor))
            .collect();
        match members {
            Ok(members) => {
                self.leads = members.iter().flat_map(|member| member.topics.clone()).collect();
                self.actions.push(Action::Count(self.leads.clone()));
                self.phase = Phase::Counting((!response.skip_assignment).then_some(members));
            }
            Err(error) => self.fail(GroupError::Wire(error)),
        }
    }

    pub(super) fn on_counts(&mut self, now: Instant, counts: &BTreeMap<StrBytes, i32>) {
        let known = |topic: &StrBytes| Some((topic.clone(), *counts.get(topic)?));
        let counts: BTreeMap<StrBytes, i32> = self.leads.iter().filter_map(known).collect();
        match &mut self.phase {
            Phase::Counting(members) => {
                let members = members.take().unwrap_or_default();
                let assignor = self.assignor.expect("it is set before the phase");
                let shares = assignor.assign(&counts, &members).into_iter();
                let assignments =
                    shares.map(|(member_id, partitions)| SyncGroupRequestAssignment {
                        member_id,
                        assignment: encode_assignment(&partitions),
                        ..Default::default()
                    });
                self.led = Some(counts);
                self.sync(assignments.collect());
            }
            Phase::Stable if self.led.as_ref().is_some_and(|led| *led != counts) => {
                self.prepare(now, "the metadata of the group's topics has changed");
            }
            _ => {}
        }
        self.assert_invariants();
    }

    fn sync(&mut self, assignments: Vec<SyncGroupRequestAssignment>) {
        let request = SyncGroupRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: self.assignor.map(|assignor| StrBytes::from_static(assignor.name())),
            assignments,
            ..Default::default()
        };
        let call = self.send(Call::Sync(request));
        self.phase = Phase::Syncing(call);
    }

    fn on_sync(&mut self, now: Instant, answer: Result<SyncGroupResponse, ClientError>) {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.on_no_answer(now, error),
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => match decode_assignment(&response.assignment) {
                Ok(assigned) => self.on_assigned(now, assigned),
                Err(error) => self.fail(GroupError::Wire(error)),
            },
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                let unknown = response.error_code == ErrorCode::UnknownMemberId.code();
                self.forget_generation(unknown);
                self.lose(now, "the coordinator refuses to synchronize the member");
            }
            ErrorCode::RebalanceInProgress => {
                self.reason = Some("the group rebalances already".into());
                self.join(now);
            }
            code if code.is_retriable() => self.retry_join(now),
            code => self.fail(fatal(refusal(code, None))),
        }
    }

    fn on_assigned(&mut self, now: Instant, assigned: BTreeSet<TopicPartition>) {
        self.phase = Phase::Stable;
        self.reason = None;
        self.last_heard = now;
        self.next_heartbeat = now + self.config.heartbeat_interval;
        self.previous = assigned.clone();
        self.previous_generation = self.generation;
        let epoch = MemberEpoch(self.generation);
        let revoked: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        let partitions: BTreeSet<_> = assigned.difference(&self.owned).cloned().collect();
        if !revoked.is_empty() {
            self.release(revoked, Notice::Revoke);
            self.rejoin = Some("partitions were given up that others wait for".into());
        }
        self.owned.extend(assigned);
        self.actions.push(Action::Tell(Notice::Assign(Change { partitions, epoch })));
        if self.topics != self.joined_topics {
            self.prepare(now, "the subscription has changed");
        }
    }

    fn on_heartbeat(&mut self, now: Instant, answer: Result<HeartbeatResponse, ClientError>) {
        self.next_heartbeat = now + self.config.heartbeat_interval;
        let response = match answer {
            Ok(response) => response,
            Err(error) if error.is_retriable() => {
                self.next_heartbeat = now + self.pause();
                return;
            }
            Err(error) => return self.fail(GroupError::Refused(error)),
        };
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                self.failures = 0;
                self.last_heard = now;
            }
            ErrorCode::RebalanceInProgress => {
                self.last_heard = now;
                if matches!(self.phase, Phase::Stable) {
                    self.prepare(now, "the group rebalances");
                }
            }
            code if code.is_retriable() => self.next_heartbeat = now + self.pause(),
            code => self.on_membership_error(now, code),
        }
    }

    /// The coordinator does not count this member in any more, or never will.
    fn on_membership_error(&mut self, now: Instant, code: ErrorCode) {
        match code {
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.forget_generation(code == ErrorCode::UnknownMemberId);
                self.lose(now, "the coordinator does not know the member any more");
            }
            code => self.fail(fatal(refusal(code, None))),
        }
    }

    pub(super) fn on_commit_refused(&mut self, now: Instant, epoch: MemberEpoch, code: ErrorCode) {
        let current = epoch.0 == self.generation;
        if current && matches!(self.phase, Phase::Stable | Phase::Preparing) {
            match code {
                ErrorCode::RebalanceInProgress if matches!(self.phase, Phase::Stable) => {
                    self.prepare(now, "a commit found the group rebalancing");
                }
                ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration
                | ErrorCode::FencedInstanceId => self.on_membership_error(now, code),
                _ => {}
            }
        }
        self.assert_invariants();
    }

    fn forget_generation(&mut self, member_id_too: bool) {
        self.generation = -1;
        self.led = None;
        self.leads.clear();
        self.heartbeat = None;
        if member_id_too {
            self.member_id = StrBytes::new();
        }
    }

    /// Everything that is owned may belong to somebody else. Once the application knows, joins.
    fn lose(&mut self, now: Instant, reason: &'static str) {
        self.reason = Some(StrBytes::from_static(reason));
        self.rejoin = None;
        let lost: BTreeSet<TopicPartition> = self.held().cloned().collect();
        self.phase = Phase::Preparing;
        if !lost.is_empty() {
            self.release(lost, Notice::Lose);
        }
        self.go_on(now);
    }

    fn fail(&mut self, error: GroupError) {
        self.forget_generation(false);
        let lost: BTreeSet<TopicPartition> = self.held().cloned().collect();
        if !lost.is_empty() {
            self.release(lost, Notice::Lose);
        }
        self.phase = Phase::Failed;
        self.actions.push(Action::Tell(Notice::Failed(error)));
    }

    fn on_no_answer(&mut self, now: Instant, error: ClientError) {
        if error.is_retriable() {
            self.retry_join(now);
        } else {
            self.fail(GroupError::Refused(error));
        }
    }

    fn retry_join(&mut self, now: Instant) {
        self.phase = Phase::Waiting(now + self.pause());
    }

    fn pause(&mut self) -> std::time::Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, &mut self.random)
    }

    pub(super) fn on_tick(&mut self, now: Instant, last_poll: Option<Instant>) {
        if self.poll_deadline(last_poll).is_some_and(|deadline| deadline <= now) {
            self.on_poll_timeout();
        }
        match self.phase {
            Phase::Waiting(at) if at <= now => self.join(now),
            Phase::Stable | Phase::Preparing => self.beat(now),
            _ => {}
        }
        self.assert_invariants();
    }

    /// When the application has to have polled again.
    fn poll_deadline(&self, last_poll: Option<Instant>) -> Option<Instant> {
        let counts = self.generation >= 0 && matches!(self.phase, Phase::Stable | Phase::Preparing);
        counts.then_some(last_poll? + self.config.poll_interval_max)
    }

    /// Whoever does not poll does not work: others shall have the partitions
    /// (`max.poll.interval.ms`, KIP-62). The way back begins with the next poll.
    fn on_poll_timeout(&mut self) {
        let operation = GroupMembershipOperation::Default;
        self.send_leave(operation, "the application did not poll in time");
        self.forget_generation(true);
        self.reason = Some("the application polls again".into());
        self.rejoin = None;
        self.phase = Phase::Preparing;
        let lost = self.held().cloned().collect();
        // Even when there is nothing to lose: it is the poll that is waited for.
        self.release(lost, Notice::Lose);
    }

    fn beat(&mut self, now: Instant) {
        if self.generation < 0 {
            return;
        }
        if self.session_end() <= now {
            self.last_heard = now;
            self.heartbeat = None;
            self.actions.push(Action::ForgetCoordinator);
        }
        if self.heartbeat.is_none() && self.next_heartbeat <= now {
            let request = HeartbeatRequest {
                group_id: self.config.group_id.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                group_instance_id: self.config.instance_id.clone(),
                ..Default::default()
            };
            let call = self.send(Call::Heartbeat(request));
            self.heartbeat = Some(call);
        }
    }

    fn session_end(&self) -> Instant {
        self.last_heard + self.config.session_timeout
    }

    pub(super) fn next_wake(&self, last_poll: Option<Instant>) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) => Some(at),
            Phase::Stable | Phase::Preparing if self.generation >= 0 => {
                let beat = Some(self.next_heartbeat).filter(|_| self.heartbeat.is_none());
                let wakes = [beat, Some(self.session_end()), self.poll_deadline(last_poll)];
                wakes.into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// By default dynamic members say good-bye, and static ones are expected back (KIP-345).
    fn send_leave(
        &mut self,
        operation: GroupMembershipOperation,
        reason: &'static str,
    ) -> Option<CallId> {
        let leaves = match operation {
            GroupMembershipOperation::Default => self.config.instance_id.is_none(),
            GroupMembershipOperation::LeaveGroup => true,
            GroupMembershipOperation::RemainInGroup => false,
        };
        if !leaves || self.member_id.is_empty() {
            return None;
        }
        let member = MemberIdentity {
            member_id: self.member_id.clone(),
            group_instance_id: self.config.instance_id.clone(),
            reason: Some(StrBytes::from_static(reason)),
            ..Default::default()
        };
        let (group_id, members) = (self.config.group_id.clone(), vec![member]);
        let request = LeaveGroupRequest { group_id, members, ..Default::default() };
        Some(self.send(Call::Leave(request)))
    }

    pub(super) fn on_rejoin(&mut self, now: Instant, reason: StrBytes) {
        if matches!(self.phase, Phase::Stable) && self.releasing.is_empty() {
            self.prepare(now, reason);
        }
        self.assert_invariants();
    }

    pub(super) fn on_leave(&mut self, operation: GroupMembershipOperation, reason: &'static str) {
        let call = self.send_leave(operation, reason);
        self.forget_generation(true);
        self.topics.clear();
        self.owned.clear();
        self.releasing.clear();
        self.previous.clear();
        self.previous_generation = -1;
        self.rejoin = None;
        self.reason = None;
        self.failures = 0;
        self.phase = match call {
            Some(call) => Phase::Leaving(call),
            None => Phase::Unsubscribed,
        };
        if call.is_none() {
            self.actions.push(Action::Done);
        }
        self.assert_invariants();
    }

    fn on_left(&mut self, now: Instant) {
        self.phase = Phase::Unsubscribed;
        self.actions.push(Action::Done);
        if !self.topics.is_empty() {
            self.join(now);
        }
    }

    fn assert_invariants(&self) {
        let asked = self.releasing.iter().flatten();
        assert!(asked.clone().all(|at| self.owned.contains(at)), "asked for what nobody has");
        let joining = matches!(self.phase, Phase::Joining(_));
        assert!(!joining || self.releasing.is_empty(), "joins before all is given up");
        let eager = !self.config.is_cooperative();
        assert!(!(joining && eager) || self.owned.is_empty(), "an eager member joins with work");
        assert!(self.heartbeat.is_none() || self.generation >= 0, "a heartbeat of nobody");
    }
}
