//! A member of a consumer group: ConsumerGroupHeartbeat (KIP-848; `ConsumerMembershipManager`,
//! `ConsumerHeartbeatRequestManager`). Pure.
//!
//! The coordinator answers heartbeats with a target. What is owned beyond it is given up, then what
//! is new is taken, and the next heartbeat, sent at once, says what is owned now. A member that is
//! fenced loses everything, and joins again with epoch 0 and the same member id.
//!
//! Invariants:
//! - a heartbeat never leaves out of its owned partitions what the application still has
//! - one heartbeat is in flight at a time
//! - a field that has not changed since the coordinator answered is not sent again

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::{Instant, TopicId, Uuid};
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::messages::consumer_group_heartbeat_response::Assignment;
use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::{ErrorCode, StrBytes};
use rand_core::Rng;
use runtime::RandomStream;

use super::{
    Action, Call, CallId, Change, MemberEpoch, MemberState, Membership, Notice, Topics, fatal,
    refusal,
};
use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::group::config::{GroupConfig, GroupMembershipOperation};
use crate::group::error::GroupError;
use crate::metadata::TopicPartition;
use crate::producer::millis;

/// The epoch of a heartbeat that joins.
const JOIN: i32 = 0;

/// The epoch of a heartbeat that leaves.
const LEAVE: i32 = -1;

/// The epoch of a static member's heartbeat that leaves and is expected back.
const LEAVE_FOR_A_WHILE: i32 = -2;

/// A partition of a topic that may be created anew under its old name.
type IdPartition = (TopicId, i32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unsubscribed,
    /// Sends heartbeats, with epoch 0 until the coordinator gave another one.
    Member,
    /// Out, until the application has heard so.
    Out,
    Failed,
    /// Has left, and waits for the answer to that.
    Leaving,
}

/// See the module.
pub(crate) struct ConsumerMember {
    config: Arc<GroupConfig>,
    backoff: Backoff,
    random: RandomStream,
    pub(super) actions: Vec<Action>,
    phase: Phase,
    member_id: StrBytes,
    epoch: i32,
    /// The epoch before the member was out, for what is told then.
    last_epoch: i32,
    topics: Option<Topics>,
    /// What the coordinator knows, as far as it answered.
    told_topics: Option<Topics>,
    told_owned: Option<BTreeSet<IdPartition>>,
    /// What went out with the heartbeat in flight.
    sending: Option<(Option<Topics>, Option<BTreeSet<IdPartition>>)>,
    /// Everything is sent again: what the coordinator knows is uncertain.
    everything: bool,
    /// What shall be owned, `None` before the coordinator said.
    target: Option<BTreeSet<IdPartition>>,
    owned: BTreeSet<IdPartition>,
    names: BTreeMap<TopicId, StrBytes>,
    releasing: VecDeque<BTreeSet<IdPartition>>,
    in_flight: Option<CallId>,
    next_heartbeat: Instant,
    interval: std::time::Duration,
    failures: u32,
    next_call: CallId,
}

impl ConsumerMember {
    pub(crate) fn new(
        config: Arc<GroupConfig>,
        backoff: Backoff,
        mut random: RandomStream,
    ) -> ConsumerMember {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        // The member chooses its id (KIP-1082) and keeps it for life.
        let member_id = Uuid::from_random(bytes).to_string().into();
        ConsumerMember {
            // Until the coordinator says how often.
            interval: config.heartbeat_interval,
            config,
            backoff,
            random,
            actions: Vec::new(),
            phase: Phase::Unsubscribed,
            member_id,
            epoch: JOIN,
            last_epoch: -1,
            topics: None,
            told_topics: None,
            told_owned: None,
            sending: None,
            everything: true,
            target: None,
            owned: BTreeSet::new(),
            names: BTreeMap::new(),
            releasing: VecDeque::new(),
            in_flight: None,
            next_heartbeat: Instant::default(),
            failures: 0,
            next_call: 0,
        }
    }

    pub(super) fn membership(&self) -> Membership {
        let settled = self.releasing.is_empty()
            && self.target.as_ref().is_some_and(|target| *target == self.owned);
        let state = match self.phase {
            Phase::Unsubscribed | Phase::Leaving => MemberState::Unsubscribed,
            Phase::Member if self.epoch == JOIN => MemberState::Joining,
            Phase::Member if settled => MemberState::Stable,
            Phase::Member => MemberState::Rebalancing,
            Phase::Out => MemberState::Left,
            Phase::Failed => MemberState::Failed,
        };
        let is_member = self.phase == Phase::Member && self.epoch != JOIN;
        Membership {
            state,
            member_id: self.member_id.clone(),
            epoch: if is_member { MemberEpoch(self.epoch) } else { MemberEpoch::NONE },
            assignor: None,
            is_leader: false,
        }
    }

    pub(super) fn on_subscription(&mut self, now: Instant, topics: Topics) {
        if self.topics.as_ref() == Some(&topics) {
            return;
        }
        self.topics = Some(topics);
        if self.phase == Phase::Unsubscribed {
            self.phase = Phase::Member;
        }
        if self.phase == Phase::Member {
            self.next_heartbeat = now;
        }
        self.beat(now);
        self.assert_invariants();
    }

    fn beat(&mut self, now: Instant) {
        let due = self.phase == Phase::Member && self.next_heartbeat <= now;
        if !due || self.in_flight.is_some() {
            return;
        }
        let request = self.heartbeat();
        self.next_heartbeat = now + self.interval;
        let call = self.send(request);
        self.in_flight = Some(call);
    }

    /// The next heartbeat of a member.
    fn heartbeat(&mut self) -> ConsumerGroupHeartbeatRequest {
        let joins = self.epoch == JOIN;
        let everything = self.everything || joins;
        let topics = self.topics.clone().filter(|_| everything || self.topics != self.told_topics);
        let owned = Some(self.owned.clone());
        let owned = owned.filter(|owned| everything || self.told_owned.as_ref() != Some(owned));
        self.sending = Some((topics.clone(), owned.clone()));
        let mut request = self.bare_heartbeat(self.epoch);
        if everything {
            request.rebalance_timeout_ms = millis(self.config.poll_interval_max);
            request.server_assignor = self.config.remote_assignor.clone();
            let rack = StrBytes::from(self.config.consumer.rack.as_str());
            request.rack_id = Some(rack).filter(|rack| !rack.is_empty());
        }
        match topics {
            Some(Topics::Named(names)) => {
                request.subscribed_topic_names = Some(names.into_iter().collect());
                let had_regex = matches!(self.told_topics, Some(Topics::Regex(_)));
                request.subscribed_topic_regex = had_regex.then(StrBytes::new);
            }
            Some(Topics::Regex(regex)) => {
                request.subscribed_topic_names = Some(Vec::new());
                request.subscribed_topic_regex = Some(regex);
            }
            None => {}
        }
        request.topic_partitions = owned.map(|owned| by_topic(&owned));
        request
    }

    fn bare_heartbeat(&self, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.config.group_id.clone(),
            member_id: self.member_id.clone(),
            member_epoch,
            instance_id: self.config.instance_id.clone(),
            rebalance_timeout_ms: -1,
            ..Default::default()
        }
    }

    fn send(&mut self, request: ConsumerGroupHeartbeatRequest) -> CallId {
        self.next_call += 1;
        self.actions.push(Action::Send(self.next_call, Call::ConsumerHeartbeat(request)));
        self.next_call
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Instant,
        id: CallId,
        answer: Result<ConsumerGroupHeartbeatResponse, ClientError>,
    ) {
        if self.in_flight != Some(id) {
            return;
        }
        self.in_flight = None;
        match (self.phase, answer) {
            (Phase::Leaving, _) => self.on_left(now),
            (Phase::Member, Ok(response)) => self.on_response(now, response),
            (Phase::Member, Err(error)) if error.is_retriable() => self.retry(now),
            (Phase::Member, Err(error)) => self.fail(GroupError::Refused(error)),
            _ => {}
        }
        self.beat(now);
        self.assert_invariants();
    }

    fn on_response(&mut self, now: Instant, response: ConsumerGroupHeartbeatResponse) {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => self.on_success(now, response),
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => self.fence(now),
            // The group went on as a classic one when this member was taken out, or is gone.
            ErrorCode::GroupIdNotFound if self.epoch != JOIN => self.fence(now),
            code if code.is_retriable() || code == ErrorCode::TopicAuthorizationFailed => {
                self.retry(now);
            }
            code => self.fail(fatal(refusal(code, response.error_message))),
        }
    }

    fn on_success(&mut self, now: Instant, response: ConsumerGroupHeartbeatResponse) {
        if response.member_epoch <= JOIN {
            // Neither of a member that has joined nor of anyone who is told so.
            return self.fail(GroupError::InvalidEpoch { epoch: response.member_epoch });
        }
        self.failures = 0;
        self.everything = false;
        let (topics, owned) = self.sending.take().unwrap_or_default();
        self.told_topics = topics.or(self.told_topics.take());
        self.told_owned = owned.or(self.told_owned.take());
        self.epoch = response.member_epoch;
        let interval_ms = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        if interval_ms > 0 {
            self.interval = std::time::Duration::from_millis(interval_ms);
        }
        self.next_heartbeat = now + self.interval;
        if let Some(assignment) = response.assignment {
            self.target = Some(partitions(assignment));
        }
        self.reconcile(now);
        if self.topics != self.told_topics {
            self.next_heartbeat = now;
        }
    }

    /// Takes the next step from what is owned to what shall be.
    fn reconcile(&mut self, now: Instant) {
        let Some(target) = self.target.as_ref().filter(|_| self.releasing.is_empty()) else {
            return;
        };
        let unknown: BTreeSet<TopicId> =
            target.iter().map(|(id, _)| *id).filter(|id| !self.names.contains_key(id)).collect();
        let wanted: BTreeSet<IdPartition> =
            target.iter().filter(|(id, _)| !unknown.contains(id)).copied().collect();
        if !unknown.is_empty() {
            self.actions.push(Action::Resolve(unknown.clone()));
        }
        let revoked: BTreeSet<IdPartition> = self.owned.difference(&wanted).copied().collect();
        if !revoked.is_empty() {
            return self.release(revoked, Notice::Revoke);
        }
        let added: BTreeSet<IdPartition> = wanted.difference(&self.owned).copied().collect();
        // An empty assignment is told too, once.
        let is_first = self.last_epoch < 0 && unknown.is_empty();
        if added.is_empty() && !is_first {
            return;
        }
        self.last_epoch = self.epoch;
        let change = Change { partitions: self.named(&added), epoch: MemberEpoch(self.epoch) };
        self.owned.extend(added.iter().copied());
        self.actions.push(Action::Tell(Notice::Assign(change)));
        if !added.is_empty() {
            self.next_heartbeat = now;
        }
    }

    fn named(&self, partitions: &BTreeSet<IdPartition>) -> BTreeSet<TopicPartition> {
        let name = |(id, index): &IdPartition| {
            let name = self.names.get(id).expect("only what has a name is owned");
            TopicPartition::new(name.clone(), *index)
        };
        partitions.iter().map(name).collect()
    }

    fn release(&mut self, partitions: BTreeSet<IdPartition>, notice: fn(Change) -> Notice) {
        let epoch = MemberEpoch(self.epoch.max(self.last_epoch));
        let change = Change { partitions: self.named(&partitions), epoch };
        self.releasing.push_back(partitions);
        self.actions.push(Action::Tell(notice(change)));
    }

    pub(super) fn on_released(&mut self, now: Instant) {
        if let Some(released) = self.releasing.pop_front() {
            self.owned.retain(|at| !released.contains(at));
        }
        if self.releasing.is_empty() {
            match self.phase {
                Phase::Member => {
                    // Others wait for it.
                    self.next_heartbeat = now;
                    self.reconcile(now);
                }
                Phase::Out => self.join_anew(now),
                Phase::Unsubscribed | Phase::Failed | Phase::Leaving => {}
            }
        }
        self.beat(now);
        self.assert_invariants();
    }

    pub(super) fn on_names(&mut self, now: Instant, names: BTreeMap<TopicId, StrBytes>) {
        // Only those that it needs: topics come and go, and the whole cluster's are told here.
        let held = self.target.iter().flatten().chain(&self.owned);
        let needed: BTreeSet<TopicId> = held.map(|(id, _)| *id).collect();
        self.names.retain(|id, _| needed.contains(id));
        let before = self.names.len();
        self.names.extend(names.into_iter().filter(|(id, _)| needed.contains(id)));
        if self.phase == Phase::Member && self.names.len() > before {
            self.reconcile(now);
            self.beat(now);
        }
        self.assert_invariants();
    }

    /// The coordinator removed this member: somebody else may own its partitions.
    fn fence(&mut self, now: Instant) {
        self.go_out();
        let lost: BTreeSet<IdPartition> = self.held();
        if !lost.is_empty() {
            self.release(lost, Notice::Lose);
        }
        if self.releasing.is_empty() {
            // A coordinator that forgets at once what it answered shall not be asked in a loop.
            self.join_anew(now);
            let pause = self.pause();
            self.next_heartbeat = now + pause;
        }
    }

    fn held(&self) -> BTreeSet<IdPartition> {
        let asked = |at: &&IdPartition| self.releasing.iter().any(|asked| asked.contains(*at));
        self.owned.iter().filter(|at| !asked(at)).copied().collect()
    }

    fn go_out(&mut self) {
        self.last_epoch = self.epoch.max(self.last_epoch);
        self.phase = Phase::Out;
        self.epoch = JOIN;
        self.target = None;
        self.told_topics = None;
        self.told_owned = None;
        self.sending = None;
        self.everything = true;
        self.in_flight = None;
    }

    fn join_anew(&mut self, now: Instant) {
        self.phase = Phase::Member;
        self.last_epoch = -1;
        self.next_heartbeat = now;
    }

    pub(super) fn on_commit_refused(&mut self, now: Instant, epoch: MemberEpoch, code: ErrorCode) {
        let current = self.phase == Phase::Member && epoch.0 == self.epoch;
        if current && code == ErrorCode::FencedInstanceId {
            self.fail(fatal(refusal(code, None)));
        } else if current
            && (code == ErrorCode::UnknownMemberId || code == ErrorCode::StaleMemberEpoch)
        {
            // A heartbeat tells the truth, and a new epoch if there is one.
            self.next_heartbeat = now;
            self.beat(now);
        }
        self.assert_invariants();
    }

    fn retry(&mut self, now: Instant) {
        self.everything = true;
        self.sending = None;
        self.next_heartbeat = now + self.pause();
    }

    fn pause(&mut self) -> std::time::Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, &mut self.random)
    }

    fn fail(&mut self, error: GroupError) {
        self.go_out();
        let lost = self.held();
        if !lost.is_empty() {
            self.release(lost, Notice::Lose);
        }
        self.phase = Phase::Failed;
        self.actions.push(Action::Tell(Notice::Failed(error)));
    }

    pub(super) fn on_tick(&mut self, now: Instant, last_poll: Option<Instant>) {
        if self.poll_deadline(last_poll).is_some_and(|deadline| deadline <= now) {
            // Others shall have the partitions; the way back begins with the next poll.
            if let Some(epoch) = self.leave_epoch(GroupMembershipOperation::Default) {
                let request = self.bare_heartbeat(epoch);
                self.send(request);
            }
            self.go_out();
            let lost = self.held();
            self.release(lost, Notice::Lose);
        }
        self.beat(now);
        self.assert_invariants();
    }

    fn poll_deadline(&self, last_poll: Option<Instant>) -> Option<Instant> {
        let counts = self.phase == Phase::Member && self.epoch != JOIN;
        counts.then_some(last_poll? + self.config.poll_interval_max)
    }

    pub(super) fn next_wake(&self, last_poll: Option<Instant>) -> Option<Instant> {
        if self.phase != Phase::Member {
            return None;
        }
        let beat = Some(self.next_heartbeat).filter(|_| self.in_flight.is_none());
        [beat, self.poll_deadline(last_poll)].into_iter().flatten().min()
    }

    /// The epoch of the heartbeat that says good-bye, if one does. A static member that goes for good
    /// says what a dynamic one says.
    fn leave_epoch(&self, operation: GroupMembershipOperation) -> Option<i32> {
        let is_static = self.config.instance_id.is_some();
        match operation {
            GroupMembershipOperation::LeaveGroup => Some(LEAVE),
            GroupMembershipOperation::RemainInGroup if !is_static => None,
            _ if is_static => Some(LEAVE_FOR_A_WHILE),
            _ => Some(LEAVE),
        }
    }

    pub(super) fn on_leave(&mut self, now: Instant, operation: GroupMembershipOperation) {
        let is_member =
            self.phase == Phase::Member && (self.epoch != JOIN || self.in_flight.is_some());
        let epoch = self.leave_epoch(operation).filter(|_| is_member);
        self.go_out();
        self.last_epoch = -1;
        self.topics = None;
        self.owned.clear();
        self.releasing.clear();
        self.failures = 0;
        self.phase = Phase::Leaving;
        match epoch {
            Some(epoch) => {
                let request = self.bare_heartbeat(epoch);
                self.in_flight = Some(self.send(request));
            }
            None => self.on_left(now),
        }
        self.assert_invariants();
    }

    fn on_left(&mut self, now: Instant) {
        self.actions.push(Action::Done);
        self.phase = Phase::Unsubscribed;
        if self.topics.is_some() {
            self.phase = Phase::Member;
            self.next_heartbeat = now;
        }
    }

    fn assert_invariants(&self) {
        let asked = self.releasing.iter().flatten();
        assert!(asked.clone().all(|at| self.owned.contains(at)), "asked for what nobody has");
        assert!(
            self.owned.iter().all(|(id, _)| self.names.contains_key(id)),
            "owned without a name"
        );
        let joins = self.phase == Phase::Member && self.epoch == JOIN;
        assert!(!joins || self.owned.is_empty(), "joins with partitions");
    }
}

fn partitions(assignment: Assignment) -> BTreeSet<IdPartition> {
    let topics = assignment.topic_partitions.into_iter();
    topics
        .flat_map(|topic| topic.partitions.into_iter().map(move |index| (topic.topic_id, index)))
        .collect()
}

fn by_topic(partitions: &BTreeSet<IdPartition>) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for &(topic_id, index) in partitions {
        match topics.last_mut().filter(|topic| topic.topic_id == topic_id) {
            Some(topic) => topic.partitions.push(index),
            None => topics.push(TopicPartitions {
                topic_id,
                partitions: vec![index],
                ..Default::default()
            }),
        }
    }
    topics
}
