//! Logs on a disk that fails and loses power.

mod basics;
mod crash;
mod faults;
mod producers;
mod support;
