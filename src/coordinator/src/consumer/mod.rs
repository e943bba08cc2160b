//! Consumer groups: the coordinator says who reads what (KIP-848).

use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use crate::record::Record;
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

/// A consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {}

impl ConsumerGroup {
    /// Its state, as ListGroups and the describing APIs name it.
    pub(crate) fn state_name(&self) -> &'static str {
        todo!()
    }
    /// Whether it has no member.
    pub(crate) fn is_empty(&self) -> bool {
        todo!()
    }
    /// Whether a member reads the topic: its offsets do not expire and are not deleted.
    pub(crate) fn is_subscribed_to(&self, _topic: &str) -> bool {
        todo!()
    }
    /// Whether this member in this epoch may commit (`ConsumerGroup.validateOffsetCommit`).
    pub(crate) fn check_offset_commit(
        &self,
        _member: &str,
        _instance: Option<&str>,
        _epoch: i32,
        _api_version: i16,
    ) -> Result<(), ErrorCode> {
        todo!()
    }
    /// Whether this member in this epoch may read offsets (`ConsumerGroup.validateOffsetFetch`).
    pub(crate) fn check_offset_fetch(
        &self,
        _member: Option<&str>,
        _epoch: i32,
    ) -> Result<(), ErrorCode> {
        todo!()
    }
    /// The records that take the group away.
    pub(crate) fn tombstones(&self, _group: &StrBytes) -> Vec<Record> {
        todo!()
    }
}

impl Shard {
    pub(crate) fn replay_consumer_group(&mut self, _record: Record) {
        todo!()
    }
    pub(crate) fn on_consumer_groups_loaded(&mut self, _env: &mut Env<'_>, _out: &mut Output) {
        todo!()
    }
    pub(crate) fn consumer_group_heartbeat(
        &mut self,
        _from: Caller,
        _request: m::ConsumerGroupHeartbeatRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn describe_consumer_group(
        &mut self,
        _from: Caller,
        _group: StrBytes,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_consumer_timer(
        &mut self,
        _timer: Timer,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn on_topics_of_consumer_groups_changed(
        &mut self,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    /// JoinGroup of a classic member to a consumer group.
    pub(crate) fn join_consumer_group(
        &mut self,
        _from: Caller,
        _request: m::JoinGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    /// SyncGroup of a classic member of a consumer group.
    pub(crate) fn sync_consumer_group(
        &mut self,
        _from: Caller,
        _request: m::SyncGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    /// Heartbeat of a classic member of a consumer group.
    pub(crate) fn heartbeat_of_consumer_group(
        &mut self,
        _from: Caller,
        _request: m::HeartbeatRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    /// LeaveGroup for members of a consumer group.
    pub(crate) fn leave_consumer_group(
        &mut self,
        _from: Caller,
        _request: m::LeaveGroupRequest,
        _env: &mut Env<'_>,
        _out: &mut Output,
    ) {
        todo!()
    }
    pub(crate) fn assert_consumer_invariants(&self) {}
}
