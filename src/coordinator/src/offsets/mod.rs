//! Committed offsets of all groups of a shard.

use protocol::StrBytes;
use protocol::messages as m;
use protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;

use crate::shard::{Caller, Env, Output, Shard};

/// All committed offsets of a shard.
#[derive(Debug, Default)]
pub(crate) struct Offsets {}

impl Shard {
    pub(crate) fn replay_offset_commit(
        &mut self,
        _key: m::OffsetCommitKey,
        _value: Option<m::OffsetCommitValue>,
    ) {
        todo!()
    }
    pub(crate) fn on_offsets_loaded(&mut self, _env: &mut Env<'_>, _out: &mut Output) {
        todo!()
    }
    pub(crate) fn commit_offsets(
        &mut self,
        _from: Caller,
        _request: m::OffsetCommitRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn fetch_offsets(
        &mut self,
        _from: Caller,
        _group: OffsetFetchRequestGroup,
        _require_stable: bool,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn delete_offsets(
        &mut self,
        _from: Caller,
        _request: m::OffsetDeleteRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn expire_offsets(&mut self, _env: &mut Env<'_>, _out: &mut Output) {
        todo!()
    }
    pub(crate) fn delete_offsets_of_topics(&mut self, _deleted: &[StrBytes], _out: &mut Output) {
        todo!()
    }
}
