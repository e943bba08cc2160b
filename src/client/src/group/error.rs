//! What goes wrong with a membership, with a poll and with a commit.

use protocol::ErrorCode;

use crate::consumer::ConsumerError;
use crate::error::{BrokerError, ClientError};
use crate::metadata::TopicPartition;

/// What a poll of a group's member can report.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// The membership is over: the coordinator refuses for good. Nothing is assigned any more.
    #[error("be a member of the group")]
    Refused(#[source] ClientError),
    /// Another member with the same `group.instance.id` took this one's place, or holds it.
    #[error("the group's member of this instance id is another one")]
    Fenced(#[source] BrokerError),
    /// The members of the group can not agree on an assignor that this client knows.
    #[error("the group uses `{name}`, which this client can not do")]
    UnknownAssignor {
        /// What was chosen.
        name: String,
    },
    /// Only the coordinator can match a regular expression, and the classic protocol has none that
    /// does.
    #[error("a regular expression needs group.protocol=consumer")]
    RegexInClassicGroup,
    /// In a consumer group the coordinator alone decides when to rebalance.
    #[error("a rebalance by request needs group.protocol=classic")]
    RebalanceInConsumerGroup,
    /// The bytes of another member, or of the leader, are not Kafka's consumer protocol.
    #[error("understand the other members of the group")]
    Wire(#[source] protocol::DecodeError),
    /// The coordinator counts this member in, with an epoch that no member can have. The membership
    /// is over.
    #[error("be a member of the group with epoch {epoch}")]
    InvalidEpoch {
        /// What was answered.
        epoch: i32,
    },
    /// The committed offset of a partition could not be read, so its reading does not begin. It is
    /// tried again at the next poll.
    #[error("read the committed offsets of the group")]
    Committed(#[source] ClientError),
    /// Nothing was committed for the partition, and `auto.offset.reset` says to tell.
    #[error("the group has no committed offset for {at}")]
    NoOffset {
        /// The partition.
        at: TopicPartition,
    },
    /// The same as in a consumer without a group.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

/// Why offsets were not committed, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The member is no longer the one that the coordinator knows: its partitions may belong to
    /// somebody else (Kafka's `CommitFailedException`). The next poll tells what was lost.
    #[error("commit as a member that the group does not know any more")]
    NotMember(#[source] BrokerError),
    /// The group rebalances; poll, and commit what is still assigned then
    /// (`RebalanceInProgressException`).
    #[error("commit while the group rebalances")]
    Rebalancing,
    /// A partition's offset was refused.
    #[error("commit the offset of {at}")]
    Partition {
        /// The partition.
        at: TopicPartition,
        /// The refusal.
        #[source]
        source: BrokerError,
    },
    /// The request failed; whether the offsets are committed is unknown when no answer came.
    #[error("commit")]
    Request(#[from] ClientError),
}

impl CommitError {
    /// Whether the same commit may succeed when it is tried again.
    pub fn is_retriable(&self) -> bool {
        match self {
            CommitError::NotMember(_) => false,
            CommitError::Rebalancing => true,
            CommitError::Partition { source, .. } => source.code.is_retriable(),
            CommitError::Request(error) => error.is_retriable(),
        }
    }

    /// The error code that the coordinator answered with, when that is what happened.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            CommitError::NotMember(source) | CommitError::Partition { source, .. } => {
                Some(source.code)
            }
            CommitError::Rebalancing => Some(ErrorCode::RebalanceInProgress),
            CommitError::Request(error) => error.code(),
        }
    }
}
