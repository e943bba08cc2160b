//! A world to test logs in: a disk that fails and loses power, a clock that stands still.

pub(crate) mod batches;
pub(crate) mod fault_disk;
pub(crate) mod model;
pub(crate) mod world;

pub(crate) use batches::{Producer, plain_batch};
pub(crate) use fault_disk::Fault;
pub(crate) use world::{DIR, World, run};
