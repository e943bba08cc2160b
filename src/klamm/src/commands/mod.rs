//! One file per command.

pub(crate) mod completions;
pub(crate) mod consume;
mod consume_group;
mod format;
pub(crate) mod group;
mod lines;
pub(crate) mod log;
mod log_verify;
pub(crate) mod produce;
mod segment;
pub(crate) mod start;
pub(crate) mod topic;
