//! Cluster metadata: records, the immutable image, the controller's decisions, configs.
//!
//! In: records of the metadata log, requests to the controller, configuration texts. Out: an
//! [`Image`], records to append with an answer per item, typed settings. Nothing here does I/O,
//! reads a clock or draws a random number.
//!
//! The log is the truth: an image is what its records say ([`Image::replay`]), and a decision of
//! [`controller`] takes effect by its records being appended and replayed, on every node alike.
//!
//! Start at [`Image`], then [`controller`] and [`config`].

pub mod config;
pub mod controller;
mod image;
mod record;

pub use image::{
    Broker, BrokerChange, Delta, Image, Misfit, Overrides, Partition, ReplayError, SnapshotError,
    Topic, TopicChange,
};
pub use record::{
    ConfigResource, DecodeRecordError, Endpoint, FORMAT_VERSION, PartitionState, Record, Restart,
    SecurityProtocol,
};
