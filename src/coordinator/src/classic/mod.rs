//! Classic groups: the members agree among themselves who reads what.

use protocol::StrBytes;
use protocol::messages as m;

use crate::record::Record;
use crate::shard::{Caller, Env, Output, Shard};

/// A classic group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {}

impl Shard {
    pub(crate) fn replay_classic_group(
        &mut self,
        _key: m::GroupMetadataKey,
        _value: Option<m::GroupMetadataValue>,
    ) {
        todo!()
    }
    pub(crate) fn on_classic_groups_loaded(&mut self, _env: &mut Env<'_>, _out: &mut Output) {
        todo!()
    }
    pub(crate) fn join_group(
        &mut self,
        _from: Caller,
        _request: m::JoinGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn sync_group(
        &mut self,
        _from: Caller,
        _request: m::SyncGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn heartbeat(
        &mut self,
        _from: Caller,
        _request: m::HeartbeatRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn leave_group(
        &mut self,
        _from: Caller,
        _request: m::LeaveGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn describe_group(
        &mut self,
        _from: Caller,
        _group: StrBytes,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn delete_group(
        &mut self,
        _from: Caller,
        _group: StrBytes,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn list_groups(
        &mut self,
        _from: Caller,
        _states: &[StrBytes],
        _types: &[StrBytes],
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_classic_join_timeout(
        &mut self,
        _group: &str,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_classic_sync_timeout(
        &mut self,
        _group: &str,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_classic_session_timeout(
        &mut self,
        _group: &str,
        _member: &str,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_classic_pending_timeout(
        &mut self,
        _group: &str,
        _member: &str,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn assert_classic_invariants(&self) {}
}

/// Kept here until the record of a classic group is built.
#[allow(dead_code)]
fn group_record(_group: &ClassicGroup) -> Record {
    todo!()
}
