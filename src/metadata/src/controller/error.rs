//! Why the controller refuses an item.

use model::{BrokerEpoch, BrokerId, PartitionIndex, TopicId};
use protocol::ErrorCode;

use crate::config::ConfigError;
use crate::controller::PARTITIONS_PER_REQUEST_MAX;
use crate::controller::topic_name::InvalidTopicName;

/// Why an item of a request is refused. The text is for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// A topic of that name is there.
    #[error("topic `{name}` already exists")]
    TopicExists {
        /// The name.
        name: String,
    },
    /// A name that topics can not have.
    #[error(transparent)]
    InvalidTopicName(#[from] InvalidTopicName),
    /// A name that the cluster keeps for itself.
    #[error("topic name `{name}` belongs to the cluster itself: choose another one")]
    ReservedTopicName {
        /// The name.
        name: String,
    },
    /// A name that metrics would mix up with another topic's.
    #[error(
        "topic `{name}` would be mixed up with topic `{existing}` in metrics, where `.` and `_` are \
         the same: choose a name that differs in more"
    )]
    TopicCollision {
        /// The name.
        name: String,
        /// The topic that is there.
        existing: String,
    },
    /// A number of partitions that can not be.
    #[error("{count} partitions: give at least 1, or -1 for the broker's num.partitions")]
    InvalidPartitionCount {
        /// The number.
        count: i32,
    },
    /// As many partitions as there are.
    #[error("topic `{name}` already has {count} partitions")]
    PartitionsExist {
        /// The topic.
        name: String,
        /// How many it has.
        count: usize,
    },
    /// Fewer partitions than there are.
    #[error(
        "topic `{name}` has {current} partitions, {asked} would be fewer: partitions can not be taken \
         away"
    )]
    FewerPartitions {
        /// The topic.
        name: String,
        /// How many it has.
        current: usize,
        /// How many were asked for.
        asked: i32,
    },
    /// Too much for one request.
    #[error(
        "{count} partitions in one request: at most {PARTITIONS_PER_REQUEST_MAX} are created at once; \
         spread them over several requests"
    )]
    TooManyPartitions {
        /// How many were asked for.
        count: usize,
    },
    /// A replication factor that can not be.
    #[error(
        "replication factor {factor}: give at least 1, or -1 for the broker's \
         default.replication.factor"
    )]
    InvalidReplicationFactor {
        /// The number.
        factor: i16,
    },
    /// More replicas than brokers.
    #[error(
        "replication factor {factor}, but only {live} brokers are alive: ask for at most {live}, or \
         start more brokers"
    )]
    TooFewBrokers {
        /// How many replicas were wanted.
        factor: i16,
        /// How many brokers are there for them.
        live: usize,
    },
    /// Assignments and numbers in one request.
    #[error(
        "replicas are assigned by hand, so the number of partitions and the replication factor must \
         be -1"
    )]
    AssignmentAndCount,
    /// Assignments that do not make a topic.
    #[error("partition {index}: {rule}")]
    InvalidAssignment {
        /// The partition.
        index: PartitionIndex,
        /// What has to hold.
        rule: &'static str,
    },
    /// A replica on a broker that nobody knows.
    #[error("partition {index} is assigned to broker {broker}, which is not registered")]
    UnknownReplica {
        /// The partition.
        index: PartitionIndex,
        /// The broker.
        broker: BrokerId,
    },
    /// Not as many assignments as new partitions.
    #[error(
        "{added} partitions are added, but {assigned} are assigned: assign each of them, or none"
    )]
    AssignmentCount {
        /// How many come.
        added: usize,
        /// How many were assigned.
        assigned: usize,
    },
    /// A config or a value that can not be.
    #[error(transparent)]
    InvalidConfig(ConfigError),
    /// A broker's or client metrics' config that can not be: Kafka answers these in another way.
    #[error(transparent)]
    InvalidBrokerConfig(ConfigError),
    /// No topic of that name.
    #[error("topic `{name}` does not exist")]
    UnknownTopic {
        /// The name.
        name: String,
    },
    /// No topic of that id.
    #[error("no topic has the id {id}: it may have been deleted")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// The place of everything in an internal topic hangs on how many partitions it has.
    #[error(
        "topic `{name}` is the broker's own and keeps the number of its partitions: with another one \
         groups would be looked for where they are not"
    )]
    InternalTopicGrows {
        /// The topic.
        name: String,
    },
    /// The same thing twice in one request.
    #[error("{what} is named twice in one request: name it once")]
    Duplicate {
        /// What.
        what: String,
    },
    /// A topic named by nothing.
    #[error("a topic has to be named by its name or by its id, and only one of them")]
    UnnamedTopic,
    /// The broker's configuration says no.
    #[error("topics can not be deleted here: delete.topic.enable is false")]
    DeletionDisabled,
    /// A type of resource that has no configs here.
    #[error("resources of type {code} have no configs here")]
    ResourceType {
        /// The number on the wire.
        code: i8,
    },
    /// A resource's name that can not be.
    #[error("`{name}` names no {what}")]
    ResourceName {
        /// The name.
        name: String,
        /// What it should name.
        what: &'static str,
    },
    /// An operation that nobody knows.
    #[error("config operation {code} is unknown: 0 sets, 1 deletes, 2 appends, 3 subtracts")]
    ConfigOperation {
        /// The number on the wire.
        code: i8,
    },
    /// Another process serves as that broker.
    #[error(
        "broker {broker} is running already, as another process: give this one another node.id, or \
         stop the other"
    )]
    DuplicateBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// A broker of another cluster.
    #[error("broker {broker} belongs to cluster `{theirs}`, this is `{ours}`")]
    ClusterId {
        /// The broker.
        broker: BrokerId,
        /// Its cluster.
        theirs: String,
        /// This one.
        ours: String,
    },
    /// A registration that is over.
    #[error(
        "broker {broker} is not registered with epoch {epoch}: another registration replaced it"
    )]
    StaleBrokerEpoch {
        /// The broker.
        broker: BrokerId,
        /// The registration.
        epoch: BrokerEpoch,
    },
    /// Every id is owned.
    #[error("all producer ids are given out")]
    ProducerIdsExhausted,
}

impl ControllerError {
    /// Kafka's code for it: the one place where the two meet.
    pub fn code(&self) -> ErrorCode {
        match self {
            ControllerError::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            ControllerError::InvalidTopicName(_) | ControllerError::TopicCollision { .. } => {
                ErrorCode::InvalidTopicException
            }
            ControllerError::InvalidPartitionCount { .. }
            | ControllerError::PartitionsExist { .. }
            | ControllerError::FewerPartitions { .. } => ErrorCode::InvalidPartitions,
            ControllerError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
            ControllerError::InvalidReplicationFactor { .. }
            | ControllerError::TooFewBrokers { .. } => ErrorCode::InvalidReplicationFactor,
            ControllerError::InvalidAssignment { .. }
            | ControllerError::UnknownReplica { .. }
            | ControllerError::AssignmentCount { .. } => ErrorCode::InvalidReplicaAssignment,
            ControllerError::InvalidConfig(_) => ErrorCode::InvalidConfig,
            ControllerError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
            ControllerError::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            ControllerError::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
            ControllerError::ReservedTopicName { .. }
            | ControllerError::AssignmentAndCount
            | ControllerError::InvalidBrokerConfig(_)
            | ControllerError::Duplicate { .. }
            | ControllerError::InternalTopicGrows { .. }
            | ControllerError::UnnamedTopic
            | ControllerError::ResourceType { .. }
            | ControllerError::ResourceName { .. }
            | ControllerError::ConfigOperation { .. } => ErrorCode::InvalidRequest,
            ControllerError::DuplicateBroker { .. } => ErrorCode::DuplicateBrokerRegistration,
            ControllerError::ClusterId { .. } => ErrorCode::InconsistentClusterId,
            ControllerError::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
            ControllerError::ProducerIdsExhausted => ErrorCode::UnknownServerError,
        }
    }
}
