//! Logs on a disk that fails and loses power.

// The helpers of tests may end a test as the tests themselves may.
#![allow(clippy::unwrap_used)]

mod basics;
mod compaction;
mod crash;
mod faults;
mod journal;
mod producers;
mod retention;
mod support;
