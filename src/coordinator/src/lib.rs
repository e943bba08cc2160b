//! Group coordinators as state machines over a log.
//!
//! In: requests of members and admins, records of `__consumer_offsets`, the present time. Out: records
//! to append and answers to send. No I/O, no clock: a [`Shard`] is told everything.
//!
//! A shard holds the groups of one partition of `__consumer_offsets`, and is written for many shards
//! that move between brokers: a new owner replays the partition and goes on.
//!
//! Invariants:
//! - what a shard knows of groups and offsets is a function of the records it replayed; only timers,
//!   pending answers and signs of life of members are not in the log
//! - an answer may leave only when the records given out before it are committed
//!
//! Start at [`Shard::call`] and [`Shard::replay`].

mod admin;
mod bounds;
mod call;
mod classic;
mod cluster;
mod config;
mod consumer;
mod group;
mod offsets;
mod record;
#[cfg(test)]
mod script;
mod shard;
mod timers;

pub use admin::{Activity, Counts};
pub use call::{Answer, Call, Request, Response, Ticket};
pub use cluster::{Cluster, ConsumerGroupSettings, Topic, TopicChanges};
pub use config::{Config, MigrationPolicy};
pub use group::Rebalance;
pub use record::{Record, RecordError};
pub use shard::{Env, Output, Shard};
