//! Why a record was not taken or not delivered.

use std::time::Duration;

use protocol::{ErrorCode, StrBytes};

use crate::error::{BrokerError, ClientError, RequestError};

/// A record that was taken but did not get through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The broker refused it for good.
    #[error(transparent)]
    Refused(#[from] BrokerError),
    /// `delivery.timeout.ms` passed. The record may or may not be in the log.
    #[error("not delivered within {limit:?} ({attempts} attempts)")]
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// How often it was sent.
        attempts: u32,
        /// What went wrong the last time.
        #[source]
        last: Option<Box<DeliveryError>>,
    },
    /// No readable response, and trying again can not help.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The producer was closed before the record was sent.
    #[error("the producer was closed")]
    Closed,
}

impl DeliveryError {
    /// The error code that a broker answered with, when that is what happened.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            DeliveryError::Refused(error) => Some(error.code),
            DeliveryError::TimedOut { last: Some(last), .. } => last.code(),
            DeliveryError::TimedOut { last: None, .. }
            | DeliveryError::Request(_)
            | DeliveryError::Closed => None,
        }
    }
}

/// A record that the producer did not take.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// It can not fit into one request.
    #[error("a record of {size_bytes} bytes is above max.request.size ({limit_bytes})")]
    TooLarge {
        /// The most it may take on the wire.
        size_bytes: usize,
        /// `max.request.size`.
        limit_bytes: usize,
    },
    /// Its topic is not usable.
    #[error("look up topic `{topic}`")]
    Topic {
        /// The topic's name.
        topic: StrBytes,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// The topic has no such partition.
    #[error(transparent)]
    Partition(ClientError),
    /// `max.block.ms` passed while `buffer.memory` was full.
    #[error("no room in the buffer of {buffer_bytes} bytes for {limit:?}")]
    BufferFull {
        /// `buffer.memory`.
        buffer_bytes: usize,
        /// `max.block.ms`.
        limit: Duration,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerConfigError {
    /// `enable.idempotence` needs `acks=all`.
    #[error("an idempotent producer needs acks=all")]
    IdempotenceNeedsAcksAll,
    /// Numbers that were given out must reach the broker.
    #[error("an idempotent producer needs retries above 0")]
    IdempotenceNeedsRetries,
    /// Brokers remember five batches per producer.
    #[error(
        "an idempotent producer may have 1 to 5 requests in flight per connection, not {requests}"
    )]
    TooManyInFlight {
        /// `max.in.flight.requests.per.connection`.
        requests: usize,
    },
    /// A limit of zero would send nothing.
    #[error("{name} must be above zero")]
    Zero {
        /// The setting.
        name: &'static str,
    },
}
