//! Classic groups: the members agree among themselves who reads what.

use protocol::StrBytes;
use protocol::messages as m;

use crate::shard::{Caller, Env, Output, Shard};

mod group;
mod member;

#[allow(unused_imports)]
pub(crate) use group::{ClassicGroup, ClassicState, Rebalance};
#[allow(unused_imports)]
pub(crate) use member::{ClassicMember, MemberProtocol, Waiting};

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

    /// A consumer group became this classic group, whose record is written (KIP-848): its members
    /// get timers, and are told to rejoin.
    #[allow(dead_code)]
    pub(crate) fn start_classic_group(
        &mut self,
        _group: &str,
        _reason: &str,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
}
