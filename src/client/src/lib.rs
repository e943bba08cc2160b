//! Kafka client over the runtime traits: producer, consumer, admin.
//!
//! An honest client: it knows of a broker only what the protocol says, negotiates versions, and
//! works against Apache Kafka as well. Everything it does goes through a `runtime::Runtime`, so it
//! runs the same in production and in a simulation.
//!
//! Layers, from the wire up: [`link`] (one connection), [`client`] (a cluster and its metadata),
//! then [`producer`], [`consumer`] and [`admin`] beside each other.
//!
//! Start at [`Client::connect`].

pub mod admin;
pub mod backoff;
pub mod client;
pub mod config;
pub mod consumer;
mod coordinator;
pub mod error;
pub mod group;
mod leaders;
pub mod link;
pub mod metadata;
pub mod offsets;
pub mod partitioner;
pub mod producer;
pub mod record;
#[cfg(test)]
mod testing;
pub mod versions;

pub use admin::Admin;
pub use client::{Client, TopicSet};
pub use config::ClientConfig;
pub use consumer::{Consumer, ConsumerConfig, ConsumerRecord};
pub use error::{BrokerError, ClientError, RequestError};
pub use group::{GroupConfig, GroupConsumer, GroupProtocol, Polled, Subscription};
pub use leaders::PerPartition;
pub use metadata::TopicPartition;
pub use offsets::{IsolationLevel, ListedOffset, OffsetSpec};
pub use producer::{Producer, ProducerConfig, ProducerRecord};
