//! The broker: what a Kafka client talks to.
//!
//! Under construction from the inside out. Here so far: [`partition`], the owner of a log with its
//! group commit, and [`frame_reader`], which takes requests off a connection within limits.

// Nothing outside the tests calls the crate yet.
#![allow(dead_code)]

mod frame_reader;
mod partition;
