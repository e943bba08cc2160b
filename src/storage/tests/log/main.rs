//! Logs on a disk that fails and loses power.

mod basics;
mod compaction;
mod crash;
mod faults;
mod producers;
mod retention;
mod support;
