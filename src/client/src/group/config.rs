//! Settings of a member of a group. Names and defaults are Kafka's.

use std::time::Duration;

use protocol::StrBytes;

use super::assignor::Assignor;
use super::observer::CommitObserver;
use crate::consumer::ConsumerConfig;

/// How members and coordinator talk (`group.protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// JoinGroup, SyncGroup, Heartbeat: one member computes the assignment.
    Classic,
    /// ConsumerGroupHeartbeat: the coordinator does (KIP-848).
    Consumer,
}

/// Whether a member that goes stays counted in until its session ends
/// (`CloseOptions.GroupMembershipOperation`, KIP-1092).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupMembershipOperation {
    /// A dynamic member leaves, a static one is expected back.
    #[default]
    Default,
    /// Also a static member leaves: its partitions go to others at once.
    LeaveGroup,
    /// Also a dynamic member says nothing: others get its partitions when its session ends.
    RemainInGroup,
}

/// How a group is joined and its offsets are kept.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.id`.
    pub group_id: StrBytes,
    /// `group.instance.id`: makes the member static, so that it may be away for a while without a
    /// rebalance (KIP-345).
    pub instance_id: Option<StrBytes>,
    /// `group.protocol`.
    pub protocol: GroupProtocol,
    /// `partition.assignment.strategy`, for the classic protocol: what this member can do, the
    /// best first. Rebalances are cooperative when all of these are.
    pub assignors: Vec<Assignor>,
    /// `group.remote.assignor`, for the consumer protocol; the coordinator's choice when `None`.
    pub remote_assignor: Option<StrBytes>,
    /// `session.timeout.ms`, for the classic protocol: a member that is silent so long is out.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`, for the classic protocol.
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: a member that does not poll for so long leaves. Also how long a
    /// rebalance waits for this member.
    pub poll_interval_max: Duration,
    /// `auto.commit.interval.ms`; `None` stands for `enable.auto.commit=false`.
    pub auto_commit: Option<Duration>,
    /// Hears of these commits.
    pub commit_observer: Option<CommitObserver>,
    /// How records are fetched, and where to start without a committed offset.
    pub consumer: ConsumerConfig,
}

impl GroupConfig {
    /// Kafka's defaults for a member of `group_id`.
    pub fn new(group_id: impl Into<StrBytes>) -> GroupConfig {
        GroupConfig {
            group_id: group_id.into(),
            instance_id: None,
            protocol: GroupProtocol::Classic,
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            remote_assignor: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            poll_interval_max: Duration::from_secs(300),
            auto_commit: Some(Duration::from_secs(5)),
            commit_observer: None,
            consumer: ConsumerConfig::default(),
        }
    }

    /// Whether members keep what they have while the group rebalances (KIP-429): only if every
    /// assignor that may be chosen can live with that.
    pub(crate) fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| assignor.is_cooperative())
    }
}
