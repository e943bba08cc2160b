//! What a shard is asked, and what it answers.
//!
//! Requests and responses are the protocol's own messages, cut down to one group where a message can
//! name many: whoever calls sends each group's part to its shard.

use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use crate::admin::Counts;

/// Names a call until it is answered; never used twice in a shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A request, and who makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// The version of the request: some rules differ.
    pub api_version: i16,
    /// From the request's header; empty where it has none.
    pub client_id: StrBytes,
    /// The address of the client's end of the connection, as Kafka writes it: `/127.0.0.1`.
    pub client_host: StrBytes,
    /// What is wanted.
    pub request: Request,
}

/// What is wanted of one group, or of all groups of the shard.
///
/// Topics have their names, in versions that carry ids too: whoever calls has resolved them.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Join or rejoin a classic group.
    JoinGroup(m::JoinGroupRequest),
    /// Give or get the assignment of a classic group.
    SyncGroup(m::SyncGroupRequest),
    /// A sign of life of a classic member.
    Heartbeat(m::HeartbeatRequest),
    /// Members leave.
    LeaveGroup(m::LeaveGroupRequest),
    /// Commit offsets; `topic_id` is filled in wherever the topic exists.
    OffsetCommit(m::OffsetCommitRequest),
    /// Committed offsets of one group.
    OffsetFetch {
        /// The group and its topics; all that have offsets when `topics` is null.
        group: m::offset_fetch_request::OffsetFetchRequestGroup,
        /// Whether offsets that a transaction is about to change are refused (KIP-447).
        require_stable: bool,
    },
    /// Forget offsets.
    OffsetDelete(m::OffsetDeleteRequest),
    /// Delete one group.
    DeleteGroup(StrBytes),
    /// Describe one group in the classic form.
    DescribeGroup(StrBytes),
    /// Describe one consumer group (KIP-848).
    DescribeConsumerGroup(StrBytes),
    /// All groups of the shard in one of the states and of one of the types, compared without case;
    /// an empty list stands for all.
    ListGroups {
        /// States, such as `Stable`.
        states: Vec<StrBytes>,
        /// Types, such as `classic`.
        types: Vec<StrBytes>,
    },
    /// How many groups and offsets there are, and what the shard has done.
    Count,
    /// A sign of life of a consumer-protocol member (KIP-848).
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatRequest),
}

/// The answer to a [`Request`], errors included.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Request::JoinGroup`].
    JoinGroup(m::JoinGroupResponse),
    /// To [`Request::SyncGroup`].
    SyncGroup(m::SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(m::HeartbeatResponse),
    /// To [`Request::LeaveGroup`].
    LeaveGroup(m::LeaveGroupResponse),
    /// To [`Request::OffsetCommit`].
    OffsetCommit(m::OffsetCommitResponse),
    /// To [`Request::OffsetFetch`].
    OffsetFetch(m::offset_fetch_response::OffsetFetchResponseGroup),
    /// To [`Request::OffsetDelete`].
    OffsetDelete(m::OffsetDeleteResponse),
    /// To [`Request::DeleteGroup`].
    DeleteGroup(ErrorCode),
    /// To [`Request::DescribeGroup`].
    DescribeGroup(m::describe_groups_response::DescribedGroup),
    /// To [`Request::DescribeConsumerGroup`].
    DescribeConsumerGroup(m::consumer_group_describe_response::DescribedGroup),
    /// To [`Request::ListGroups`].
    ListGroups(Vec<m::list_groups_response::ListedGroup>),
    /// To [`Request::Count`].
    Count(Counts),
    /// To [`Request::ConsumerGroupHeartbeat`].
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatResponse),
}

/// A response and whom it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The call's.
    pub ticket: Ticket,
    /// What to send.
    pub response: Response,
}
