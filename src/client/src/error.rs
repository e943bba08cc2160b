//! Why a request got no answer that makes sense.
//!
//! Two layers: [`RequestError`] when no response came or it was unreadable, and [`ErrorCode`]s that
//! a broker put into a response. [`ClientError`] is either of them with its context.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use model::{BrokerId, PartitionIndex};
use protocol::records::BatchError;
use protocol::{ApiKey, DecodeError, EncodeError, ErrorCode, StrBytes};

/// A request that got no readable response. Clones share the cause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection could not be made.
    #[error("connect to {address}")]
    Connect {
        /// `host:port`.
        address: Arc<str>,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection broke or was closed before the response came. Whether the broker acted on the
    /// request is unknown.
    #[error("{address} closed the connection before it answered")]
    Disconnected {
        /// `host:port`.
        address: Arc<str>,
    },
    /// No response within the request's time limit. Whether the broker acted on it is unknown.
    #[error("{address} did not answer {api:?} within {limit:?}")]
    TimedOut {
        /// `host:port`.
        address: Arc<str>,
        /// The API that was called.
        api: ApiKey,
        /// The request's time limit.
        limit: Duration,
    },
    /// No version of the API is spoken by both sides.
    #[error(
        "{address} serves {api:?} in versions {broker_min} to {broker_max}, this client needs {client_min} to {client_max}"
    )]
    UnsupportedVersion {
        /// `host:port`.
        address: Arc<str>,
        /// The API that was called.
        api: ApiKey,
        /// Lowest version the broker serves; -1 when it does not know the API.
        broker_min: i16,
        /// Highest version the broker serves; -1 when it does not know the API.
        broker_max: i16,
        /// Lowest version this client can use.
        client_min: i16,
        /// Highest version this client can use.
        client_max: i16,
    },
    /// The response is not what its schema says.
    #[error("decode the {api:?} response of {address}")]
    Decode {
        /// `host:port`.
        address: Arc<str>,
        /// The API that was called.
        api: ApiKey,
        /// What is wrong with it.
        #[source]
        source: Arc<DecodeError>,
    },
    /// The request has a field that the negotiated version can not carry.
    #[error("encode the {api:?} request")]
    Encode {
        /// The API that was called.
        api: ApiKey,
        /// What does not fit.
        #[source]
        source: Arc<EncodeError>,
    },
    /// The codec refuses the records of a request.
    #[error("compress the records of the {api:?} request")]
    Compress {
        /// The API that was called.
        api: ApiKey,
        /// What the codec says.
        #[source]
        source: Arc<BatchError>,
    },
    /// The bytes on the connection are not Kafka's protocol.
    #[error("{address} does not speak the Kafka protocol: {reason}")]
    Protocol {
        /// `host:port`.
        address: Arc<str>,
        /// What was seen.
        reason: String,
    },
    /// Metadata knows no broker of that id.
    #[error("no broker with id {0} is known")]
    UnknownBroker(BrokerId),
    /// Too many requests wait for this broker already.
    #[error("too many requests wait for {address}")]
    QueueFull {
        /// `host:port`.
        address: Arc<str>,
    },
}

impl RequestError {
    /// Whether the same request may succeed when it is sent again.
    pub fn is_retriable(&self) -> bool {
        match self {
            RequestError::Connect { .. }
            | RequestError::Disconnected { .. }
            | RequestError::TimedOut { .. }
            | RequestError::UnknownBroker(_)
            | RequestError::QueueFull { .. } => true,
            RequestError::UnsupportedVersion { .. }
            | RequestError::Decode { .. }
            | RequestError::Encode { .. }
            | RequestError::Compress { .. }
            | RequestError::Protocol { .. } => false,
        }
    }

    /// Whether it is certain that the broker never saw the request.
    pub fn was_never_sent(&self) -> bool {
        match self {
            RequestError::Connect { .. }
            | RequestError::UnsupportedVersion { .. }
            | RequestError::Encode { .. }
            | RequestError::Compress { .. }
            | RequestError::UnknownBroker(_)
            | RequestError::QueueFull { .. } => true,
            RequestError::Disconnected { .. }
            | RequestError::TimedOut { .. }
            | RequestError::Decode { .. }
            | RequestError::Protocol { .. } => false,
        }
    }
}

/// A broker refused, in the words of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", Self::tail(.message))]
pub struct BrokerError {
    /// The error code.
    pub code: ErrorCode,
    /// What the broker adds to it.
    pub message: Option<StrBytes>,
}

impl BrokerError {
    fn tail(message: &Option<StrBytes>) -> String {
        message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
    }

    /// `Ok` for the code 0, the refusal otherwise.
    pub fn check(code: i16, message: Option<StrBytes>) -> Result<(), BrokerError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => Err(BrokerError { code, message }),
        }
    }
}

/// What ends an operation of the client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No response.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A response that refuses.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The topic is not there.
    #[error("topic `{topic}` does not exist")]
    UnknownTopic {
        /// Its name.
        topic: StrBytes,
    },
    /// The topic is there but has no such partition.
    #[error("topic `{topic}` has {count} partitions, so no partition {partition}")]
    UnknownPartition {
        /// The topic's name.
        topic: StrBytes,
        /// The partition that was asked for.
        partition: PartitionIndex,
        /// How many there are.
        count: usize,
    },
    /// The operation's own time limit passed; `last` is what went wrong on the way.
    #[error("gave up after {limit:?}")]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// The last failure, when there was one.
        #[source]
        last: Option<Box<ClientError>>,
    },
}

impl ClientError {
    /// Whether trying again may help.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Request(error) => error.is_retriable(),
            ClientError::Broker(error) => error.code.is_retriable(),
            // A topic that was just created may not be known everywhere yet.
            ClientError::UnknownTopic { .. } | ClientError::UnknownPartition { .. } => true,
            ClientError::TimedOut { .. } => false,
        }
    }

    /// The error code that a broker answered with, when that is what happened.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Broker(error) => Some(error.code),
            ClientError::TimedOut { last: Some(last), .. } => last.code(),
            ClientError::UnknownTopic { .. } => Some(ErrorCode::UnknownTopicOrPartition),
            _ => None,
        }
    }
}
