//! What a poll can report.

use model::Offset;
use protocol::records::BatchError;

use crate::error::{BrokerError, ClientError};
use crate::metadata::TopicPartition;

/// Why a partition can not be read on. The position stays; seek to go on elsewhere.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The position is not in the log, and `auto.offset.reset` says to tell.
    #[error("offset {offset} is not in the log of {at}{}", Self::range(.log_start))]
    OffsetOutOfRange {
        /// The partition.
        at: TopicPartition,
        /// The position.
        offset: Offset,
        /// Where the log begins, if the broker said so.
        log_start: Option<Offset>,
    },
    /// The broker refuses to serve the partition.
    #[error("fetch {at}")]
    Refused {
        /// The partition.
        at: TopicPartition,
        /// Its words.
        #[source]
        source: BrokerError,
    },
    /// The records that came are damaged.
    #[error("read {at} at offset {offset}")]
    Corrupt {
        /// The partition.
        at: TopicPartition,
        /// The position.
        offset: Offset,
        /// What is wrong with the bytes.
        #[source]
        source: BatchError,
    },
    /// The position could not be looked up.
    #[error("look up the offset to start {at} at")]
    Lookup {
        /// The partition.
        at: TopicPartition,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// The partition is not assigned to this consumer.
    #[error("{at} is not assigned")]
    NotAssigned {
        /// The partition.
        at: TopicPartition,
    },
}

impl ConsumerError {
    fn range(log_start: &Option<Offset>) -> String {
        log_start.map(|start| format!(", which begins at {start}")).unwrap_or_default()
    }
}
