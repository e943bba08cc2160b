//! A membership as a state machine: what both protocols have in common. Pure.
//!
//! In: the coordinator's answers, what the application gave up, metadata, the present time. Out:
//! [`Action`]s. A shell (`task.rs`) carries them out and reports back.
//!
//! Invariants:
//! - what a [`Notice`] takes away belongs to the application until it says that it let go, and
//!   nothing that depends on it is sent to the coordinator before
//! - an answer to a question that was overtaken by events changes nothing: its [`CallId`] tells
//!
//! Start at `classic.rs` and `consumer.rs`.

mod classic;
mod consumer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use model::{Instant, TopicId};
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use protocol::{ErrorCode, StrBytes};

pub(crate) use classic::ClassicMember;
pub(crate) use consumer::ConsumerMember;

use super::assignor::Assignor;
use super::config::GroupMembershipOperation;
use super::error::GroupError;
use crate::error::{BrokerError, ClientError};
use crate::metadata::TopicPartition;

/// The generation of a classic group, or the epoch of a member of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberEpoch(pub i32);

impl MemberEpoch {
    /// Not a member.
    pub const NONE: MemberEpoch = MemberEpoch(-1);
}

impl std::fmt::Display for MemberEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// Where a membership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Nothing is subscribed to.
    Unsubscribed,
    /// On the way into the group, or into its next generation.
    Joining,
    /// In the group, with work to hand over or to take over.
    Rebalancing,
    /// In the group.
    Stable,
    /// Out of the group, until the application polls again.
    Left,
    /// Out of the group for good.
    Failed,
}

/// What is known of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Where it stands.
    pub state: MemberState,
    /// The member id; empty before a coordinator gave one.
    pub member_id: StrBytes,
    /// Generation or member epoch.
    pub epoch: MemberEpoch,
    /// The assignor that the group has agreed on, in the classic protocol.
    pub assignor: Option<Assignor>,
    /// Whether this member computes the assignment, in the classic protocol.
    pub is_leader: bool,
}

/// Partitions that come or go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub partitions: BTreeSet<TopicPartition>,
    /// The generation or member epoch that brought or takes them.
    pub epoch: MemberEpoch,
}

/// What a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topics {
    Named(BTreeSet<StrBytes>),
    /// An RE2 expression for the coordinator; consumer protocol only.
    Regex(StrBytes),
}

/// To the application.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// Give these up, and say so.
    Revoke(Change),
    /// These may belong to somebody else already; say that it was heard.
    Lose(Change),
    /// These are new.
    Assign(Change),
    Failed(GroupError),
}

/// Tells the answers to a member's requests apart.
pub(crate) type CallId = u64;

/// A request to the coordinator.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
}

/// What came of a [`Call`].
#[derive(Debug)]
pub(crate) enum Answer {
    Join(Result<JoinGroupResponse, ClientError>),
    Sync(Result<SyncGroupResponse, ClientError>),
    Heartbeat(Result<HeartbeatResponse, ClientError>),
    /// Whatever it was: nobody waits for more.
    Leave,
    ConsumerHeartbeat(Result<ConsumerGroupHeartbeatResponse, ClientError>),
}

/// What the shell is to do.
#[derive(Debug)]
pub(crate) enum Action {
    Send(CallId, Call),
    /// How many partitions these topics have now.
    Count(BTreeSet<StrBytes>),
    /// The names of these topics.
    Resolve(BTreeSet<TopicId>),
    /// The coordinator has been silent too long: look for it anew.
    ForgetCoordinator,
    Tell(Notice),
    /// The membership is over, as the application asked.
    Done,
}

/// One of the two protocols.
pub(crate) enum Member {
    Classic(Box<ClassicMember>),
    Consumer(Box<ConsumerMember>),
}

macro_rules! either {
    ($self:ident, $member:ident => $body:expr) => {
        match $self {
            Member::Classic($member) => $body,
            Member::Consumer($member) => $body,
        }
    };
}

impl Member {
    /// What to do, in order.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        either!(self, member => std::mem::take(&mut member.actions))
    }

    pub(crate) fn membership(&self) -> Membership {
        either!(self, member => member.membership())
    }

    pub(crate) fn on_subscription(&mut self, now: Instant, topics: Topics) {
        match (self, topics) {
            (Member::Classic(member), Topics::Named(topics)) => member.on_subscription(now, topics),
            (Member::Classic(_), Topics::Regex(_)) => {
                unreachable!("a classic member's patterns are matched before they come here")
            }
            (Member::Consumer(member), topics) => member.on_subscription(now, topics),
        }
    }

    /// The application has let go of what the oldest open notice took away.
    pub(crate) fn on_released(&mut self, now: Instant) {
        either!(self, member => member.on_released(now));
    }

    pub(crate) fn on_answer(&mut self, now: Instant, id: CallId, answer: Answer) {
        match (self, answer) {
            (Member::Classic(member), answer) => member.on_answer(now, id, answer),
            (Member::Consumer(member), Answer::ConsumerHeartbeat(answer)) => {
                member.on_heartbeat(now, id, answer);
            }
            (Member::Consumer(_), _) => unreachable!("a consumer member only sends heartbeats"),
        }
    }

    /// How many partitions topics have; those that do not exist are left out.
    pub(crate) fn on_counts(&mut self, now: Instant, counts: &BTreeMap<StrBytes, i32>) {
        if let Member::Classic(member) = self {
            member.on_counts(now, counts);
        }
    }

    /// The names of topics, by id.
    pub(crate) fn on_names(&mut self, now: Instant, names: BTreeMap<TopicId, StrBytes>) {
        if let Member::Consumer(member) = self {
            member.on_names(now, names);
        }
    }

    /// A commit in `epoch` was refused with `code`.
    pub(crate) fn on_commit_refused(&mut self, now: Instant, epoch: MemberEpoch, code: ErrorCode) {
        either!(self, member => member.on_commit_refused(now, epoch, code));
    }

    /// Time has passed. `last_poll` is when the application last polled; `None` while it does.
    pub(crate) fn on_tick(&mut self, now: Instant, last_poll: Option<Instant>) {
        either!(self, member => member.on_tick(now, last_poll));
    }

    /// When time alone changes something.
    pub(crate) fn next_wake(&self, last_poll: Option<Instant>) -> Option<Instant> {
        either!(self, member => member.next_wake(last_poll))
    }

    /// The application wants the group to rebalance. One that is under way is enough.
    pub(crate) fn on_rejoin(&mut self, now: Instant, reason: StrBytes) {
        if let Member::Classic(member) = self {
            member.on_rejoin(now, reason);
        }
    }

    /// Leaves the group, and gives up everything; [`Action::Done`] follows. What is subscribed to
    /// later is joined for after that.
    pub(crate) fn on_leave(
        &mut self,
        now: Instant,
        operation: GroupMembershipOperation,
        reason: &'static str,
    ) {
        match self {
            Member::Classic(member) => member.on_leave(operation, reason),
            Member::Consumer(member) => member.on_leave(now, operation),
        }
    }
}

fn refusal(code: ErrorCode, message: Option<StrBytes>) -> BrokerError {
    BrokerError { code, message: message.as_ref().map(StrBytes::detached) }
}

/// What a final refusal means to the application.
fn fatal(error: BrokerError) -> GroupError {
    match error.code {
        ErrorCode::FencedInstanceId | ErrorCode::UnreleasedInstanceId => GroupError::Fenced(error),
        _ => GroupError::Refused(error.into()),
    }
}
