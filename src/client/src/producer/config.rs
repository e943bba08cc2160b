//! Settings of a producer. Names and defaults are Kafka's.

use std::time::Duration;

use protocol::records::{Compression, CompressionLevel};

use super::error::ProducerConfigError;

/// How many copies a record needs before it counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all: a lost record stays unnoticed.
    None,
    /// The leader's copy.
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    /// As ProduceRequest carries it.
    pub fn wire(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How a producer batches, sends and retries.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`: no record twice, none out of order, within one partition.
    pub idempotence: bool,
    /// `compression.type`.
    pub compression: Compression,
    /// `compression.*.level`; the codec's default when not set.
    pub compression_level: CompressionLevel,
    /// `linger.ms`: how long a batch that is not full waits for company.
    pub linger: Duration,
    /// `batch.size`: where a batch counts as full, in bytes before compression.
    pub batch_bytes: usize,
    /// `max.request.size`, in bytes.
    pub request_bytes_max: usize,
    /// `buffer.memory`: bytes of records that may wait for their outcome.
    pub buffer_bytes: usize,
    /// `max.block.ms`: how long a send waits for metadata or buffer room.
    pub block_max: Duration,
    /// `delivery.timeout.ms`: from being taken to being given up.
    pub delivery_timeout: Duration,
    /// `max.in.flight.requests.per.connection`.
    pub in_flight_max: usize,
    /// Whether a topic that is missing is asked to be created (`auto.create.topics.enable` on the
    /// broker decides).
    pub create_topics: bool,
    /// `retries`: how often a batch may be sent again, within `delivery.timeout.ms`. With 0 and
    /// without idempotence no record is ever written twice.
    pub retries: u32,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            compression_level: CompressionLevel::default(),
            linger: Duration::from_millis(5),
            batch_bytes: 16 * 1024,
            request_bytes_max: 1024 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            block_max: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            in_flight_max: 5,
            create_topics: true,
            retries: u32::MAX,
        }
    }
}

/// How many batches of one producer and partition a broker remembers (`NUM_BATCHES_TO_RETAIN`).
pub(crate) const REMEMBERED_BATCHES: usize = 5;

impl ProducerConfig {
    /// Checks what the settings demand of each other.
    pub(crate) fn check(&self) -> Result<(), ProducerConfigError> {
        if self.idempotence && self.acks != Acks::All {
            return Err(ProducerConfigError::IdempotenceNeedsAcksAll);
        }
        if self.idempotence && self.in_flight_max > REMEMBERED_BATCHES {
            return Err(ProducerConfigError::TooManyInFlight { requests: self.in_flight_max });
        }
        if self.idempotence && self.retries == 0 {
            return Err(ProducerConfigError::IdempotenceNeedsRetries);
        }
        let limits = [
            ("max.in.flight.requests.per.connection", self.in_flight_max),
            ("batch.size", self.batch_bytes),
            ("max.request.size", self.request_bytes_max),
            ("buffer.memory", self.buffer_bytes),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(ProducerConfigError::Zero { name }),
            None => Ok(()),
        }
    }
}
