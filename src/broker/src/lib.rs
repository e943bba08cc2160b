//! The broker: what a Kafka client talks to.
//!
//! In: a [`runtime::Runtime`] and a [`BrokerConfig`]. Out: Kafka's protocol on the configured listeners, logs
//! in the configured directory.
//!
//! A request goes from `server` and `connection` over `dispatch` to its file in `api`; Produce and
//! Fetch go on to `partition`, whatever changes the cluster to `controller`, whose images `topics`
//! turns into open partitions. Groups have their coordinators in `coordination`, one per partition of
//! `__consumer_offsets`.
//!
//! Start at [`Broker::start`].

mod adopt;
mod api;
mod connection;
mod controller;
mod coordination;
mod dir_health;
mod dispatch;
mod ends;
mod error_chain;
mod fetch;
mod frame_reader;
mod groups;
mod maintenance;
mod metrics;
mod open_connections;
mod partition;
mod producer_ids;
mod registry;
mod request;
mod scrape;
mod server;
mod shared;
mod start;
mod stopping;
#[cfg(test)]
mod tests;
mod topic_settings;
mod topics;

pub use ends::PartitionEnds;
pub use metadata::config::BrokerConfig;
pub use start::{Broker, StartError};
pub use storage::LogDirError;
