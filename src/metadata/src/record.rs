//! The records of the metadata log.
//!
//! In: a change that the controller decided. Out: bytes for the value of a log record, and back.
//!
//! Bytes: one byte of format version, then the record in postcard. Postcard names neither variants
//! nor fields, so any change to [`Record`] or to what it holds raises [`FORMAT_VERSION`] (a new
//! variant at the end does not change what older bytes mean, but an older klamm must refuse it).
//! The state is Kafka's (`metadata/src/main/resources/common/metadata`), the bytes are klamm's own.
//!
//! Start at [`Record`].

use std::fmt;

use model::{BrokerEpoch, BrokerId, PartitionIndex, ProducerId, TopicId, Uuid};
use serde::{Deserialize, Serialize};

/// The newest format this klamm writes and reads.
pub const FORMAT_VERSION: u8 = 2;

/// One change of cluster metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Names the cluster; the first record of a log.
    Cluster {
        /// The cluster id, as clients see it.
        cluster_id: String,
    },
    /// Finalizes a feature at a level; 0 takes it away (KIP-584).
    Feature {
        /// Kafka's name, such as `transaction.version`.
        name: String,
        /// The level that brokers behave by from here on.
        level: u16,
    },
    /// A broker's process registers (KIP-631).
    RegisterBroker {
        /// Its `node.id`.
        broker: BrokerId,
        /// The offset of this record.
        epoch: BrokerEpoch,
        /// Random per process, so that two processes with one `node.id` are told apart.
        incarnation: Uuid,
        /// Where clients reach it, one per listener.
        endpoints: Vec<Endpoint>,
        /// `broker.rack`.
        rack: Option<String>,
        /// Whether it has yet to say that it is ready.
        fenced: bool,
        /// How its former process ended.
        restart: Restart,
    },
    /// The broker leads no more partitions than it must, and gets no new ones.
    FenceBroker {
        /// Which broker.
        broker: BrokerId,
        /// Which registration of it.
        epoch: BrokerEpoch,
    },
    /// The broker is ready to lead.
    UnfenceBroker {
        /// Which broker.
        broker: BrokerId,
        /// Which registration of it.
        epoch: BrokerEpoch,
    },
    /// A topic begins, without partitions.
    Topic {
        /// Its name.
        name: String,
        /// Its id, never used before.
        id: TopicId,
    },
    /// A topic ends, with its partitions and its configs.
    RemoveTopic {
        /// Which topic.
        id: TopicId,
    },
    /// A partition, as a whole. New ones come in the order of their indexes.
    Partition {
        /// Its topic.
        topic_id: TopicId,
        /// Its index: the number of partitions that the topic has so far.
        index: PartitionIndex,
        /// Its state.
        state: PartitionState,
    },
    /// What changed of a partition. Its partition epoch rises by one; its leader epoch rises when
    /// the leader is named, be it a new one or not.
    PartitionChange {
        /// Its topic.
        topic_id: TopicId,
        /// Its index.
        index: PartitionIndex,
        /// The new leader, [`BrokerId::NONE`] for none.
        leader: Option<BrokerId>,
        /// The new in-sync replicas.
        isr: Option<Vec<BrokerId>>,
        /// The new eligible leader replicas (KIP-966).
        elr: Option<Vec<BrokerId>>,
        /// The new replicas.
        replicas: Option<Vec<BrokerId>>,
    },
    /// A config of a resource is set, or taken back with `None`.
    Config {
        /// Which resource.
        resource: ConfigResource,
        /// Which config.
        name: String,
        /// Its value as text.
        value: Option<String>,
    },
    /// Producer ids below `next` belong to `broker`, from where the last record of this kind ended.
    ProducerIds {
        /// Who may hand them out.
        broker: BrokerId,
        /// In which registration.
        epoch: BrokerEpoch,
        /// The first id that nobody owns yet.
        next: ProducerId,
    },
    /// The broker has looked through the logs that lay in its directory when it first came, and made
    /// topics of them: a log that it finds later and no topic claims is left over.
    Adopted {
        /// Which broker.
        broker: BrokerId,
    },
}

/// The state of a partition as its record carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Brokers that keep a copy; the first one is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// Those of them that have everything up to the high watermark.
    pub isr: Vec<BrokerId>,
    /// Those that left the ISR while it was too small to move the high watermark (KIP-966).
    pub elr: Vec<BrokerId>,
    /// The leader, [`BrokerId::NONE`] for none.
    pub leader: BrokerId,
    /// Counts leaders.
    pub leader_epoch: model::LeaderEpoch,
    /// Counts changes.
    pub partition_epoch: model::PartitionEpoch,
}

/// How the former process of a broker that registers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// It closed its logs, or there was none.
    Clean,
    /// It was killed: the ends of its logs may be lost, so that offsets may be given out anew. Every
    /// partition that it leads gets a new leader epoch by this one record, so that clients and
    /// followers see that the log may have changed.
    Unclean,
}

/// One address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub listener: String,
    /// What clients resolve.
    pub host: String,
    /// Where they connect.
    pub port: u16,
    /// What they speak there.
    pub security_protocol: SecurityProtocol,
}

/// What is spoken on a listener (Kafka's `SecurityProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SecurityProtocol {
    /// Kafka's protocol over TCP.
    Plaintext,
    /// Over TLS.
    Ssl,
    /// After a SASL handshake.
    SaslPlaintext,
    /// After a SASL handshake over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// All of them, by code.
    pub const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Kafka's number for it on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }
}

/// What a config belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// One broker.
    Broker(BrokerId),
    /// Every broker that does not say otherwise.
    DefaultBroker,
    /// A group, by id (KIP-848).
    Group(String),
    /// A subscription of client metrics, by name (KIP-714).
    ClientMetrics(String),
}

impl ConfigResource {
    /// Kafka's number for the type (`ConfigResource.Type`).
    pub fn type_code(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) | ConfigResource::DefaultBroker => 4,
            ConfigResource::ClientMetrics(_) => 16,
            ConfigResource::Group(_) => 32,
        }
    }

    /// The resource's name on the wire: empty for all brokers.
    pub fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name)
            | ConfigResource::Group(name)
            | ConfigResource::ClientMetrics(name) => name.clone(),
            ConfigResource::Broker(id) => id.to_string(),
            ConfigResource::DefaultBroker => String::new(),
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(f, "topic `{name}`"),
            ConfigResource::Broker(id) => write!(f, "broker {id}"),
            ConfigResource::DefaultBroker => f.write_str("all brokers"),
            ConfigResource::Group(name) => write!(f, "group `{name}`"),
            ConfigResource::ClientMetrics(name) => write!(f, "client metrics `{name}`"),
        }
    }
}

/// Bytes that are no record of this klamm's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeRecordError {
    /// Written by a newer klamm.
    #[error(
        "metadata record has format {found}, this klamm reads up to {FORMAT_VERSION}: a newer klamm \
         wrote this log; start that version or a later one"
    )]
    Newer {
        /// The version byte.
        found: u8,
    },
    /// Written by no klamm.
    #[error("metadata record has format {found}, which no klamm ever wrote: the log is damaged")]
    UnknownFormat {
        /// The version byte.
        found: u8,
    },
    /// Nothing there.
    #[error("metadata record is empty: the log is damaged")]
    Empty,
    /// Not what its format says.
    #[error("metadata record of format {format}, {length} bytes, is malformed: the log is damaged")]
    Malformed {
        /// The version byte.
        format: u8,
        /// How many bytes there were.
        length: usize,
    },
}

impl Record {
    /// The bytes of this record.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT_VERSION])
            .expect("growing a vector does not fail, and every type of a record has a length")
    }

    /// The record in `bytes`, which hold nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Record, DecodeRecordError> {
        let (&found, body) = bytes.split_first().ok_or(DecodeRecordError::Empty)?;
        if found == 0 {
            return Err(DecodeRecordError::UnknownFormat { found });
        }
        if found > FORMAT_VERSION {
            return Err(DecodeRecordError::Newer { found });
        }
        match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok(record),
            Ok(_) | Err(_) => {
                Err(DecodeRecordError::Malformed { format: found, length: bytes.len() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
