//! Fetch: what a request asks for, and the sessions that spare clients from repeating it.
//!
//! Start at [`SessionCache::open`] for which partitions a request means, at [`read::read`] for what
//! they have to give.

pub(crate) mod memory;
pub(crate) mod read;
mod session;
mod session_cache;
#[cfg(test)]
mod tests;

use model::Uuid;
use protocol::StrBytes;

pub(crate) use session_cache::SessionCache;

/// A topic as a request names it: by id from version 13 on, by name before (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(StrBytes),
    Id(Uuid),
}

/// One partition that a fetch wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}
