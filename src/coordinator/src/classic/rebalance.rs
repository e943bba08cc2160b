//! The join phase of a classic group: how it begins, whom it waits for, how it ends.
//!
//! In: a reason to rebalance, members that come and go, timers. Out: the answers to all JoinGroups at
//! once, and the record of a group that has no members any more.
//!
//! Start at [`Shard::rebalance`] and [`Shard::finish_join_phase`].

use std::time::Duration;

use bytes::Bytes;
use protocol::messages as m;
use protocol::messages::join_group_response::JoinGroupResponseMember;
use protocol::{ErrorCode, StrBytes};

use super::group::{ClassicGroup, ClassicState};
use super::member::{ClassicMember, Waiting};
use crate::call::Response;
use crate::group::Rebalance;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

/// How soon a join phase that nobody joined is looked at again: members may say that they need no
/// time at all to rejoin.
const REJOIN_WAIT_MIN: Duration = Duration::from_secs(1);

impl Shard {
    /// Begins a rebalance, or sees whether the one that is under way is over.
    pub(crate) fn rebalance_or_finish_join_phase(
        &mut self,
        id: &StrBytes,
        reason: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        match self.classic(id).map(|group| group.state) {
            Some(ClassicState::PreparingRebalance) => self.finish_join_phase_if_due(id, env, out),
            Some(_) => self.rebalance(id, reason, env, out),
            None => {}
        }
    }

    /// Begins a rebalance. An empty group waits a while for more members than its first one; members
    /// that wait for an assignment are told to rejoin.
    pub(crate) fn rebalance(
        &mut self,
        id: &StrBytes,
        reason: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        self.recall_assignments(id, env, out);
        self.timers.cancel(&Timer::ClassicSync(id.clone()));
        let delay = self.config.classic_initial_rebalance_delay;
        let Some(group) = self.classic_mut(id) else { return };
        let is_initial = group.state == ClassicState::Empty;
        group.pending_syncs.clear();
        group.move_to(ClassicState::PreparingRebalance, env.wall);
        group.last_rebalance = Some(Rebalance::new(reason, env.wall));
        let timeout = group.rebalance_timeout();
        self.activity.classic_rebalances += 1;
        let Some(group) = self.classic_mut(id) else { return };
        if is_initial {
            group.has_new_member = false;
            group.initial_join_ends = Some(env.now + timeout.max(delay));
            self.timers.set(Timer::ClassicJoin(id.clone()), env.now + delay);
        } else if group.has_all_joined() {
            self.finish_join_phase(id, env, out);
        } else {
            self.timers.set(Timer::ClassicJoin(id.clone()), env.now + timeout);
        }
    }

    /// Who waits for an assignment of a generation that will not be, is told so.
    fn recall_assignments(&mut self, id: &StrBytes, env: &mut Env<'_>, out: &mut Output) {
        let Some(group) = self.classic_mut(id) else { return };
        if group.state != ClassicState::CompletingRebalance {
            return;
        }
        let mut told = Vec::new();
        for (member_id, member) in &mut group.members {
            member.assignment = Bytes::new();
            if let Some(waiting) = member.awaiting_sync.take() {
                answer_sync_error(waiting, ErrorCode::RebalanceInProgress, out);
                told.push((member_id.clone(), member.session_timeout));
            }
        }
        for (member_id, session_timeout) in told {
            self.set_session(id, &member_id, session_timeout, env);
        }
    }

    /// Ends the join phase when everybody has joined. That of an empty group goes on: others may come.
    pub(crate) fn finish_join_phase_if_due(
        &mut self,
        id: &StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let is_due = self.classic(id).is_some_and(|group| {
            group.state == ClassicState::PreparingRebalance
                && group.initial_join_ends.is_none()
                && group.has_all_joined()
        });
        if is_due {
            self.finish_join_phase(id, env, out);
        }
    }

    pub(crate) fn on_classic_join_timeout(
        &mut self,
        id: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some((id, _)) = self.groups.get_key_value(id) else { return };
        let id = id.clone();
        let delay = self.config.classic_initial_rebalance_delay;
        let Some(group) = self.classic_mut(&id) else { return };
        if group.state != ClassicState::PreparingRebalance {
            return;
        }
        if let Some(end) = group.initial_join_ends
            && group.has_new_member
            && env.now < end
        {
            group.has_new_member = false;
            self.timers.set(Timer::ClassicJoin(id), env.now + delay.min(end - env.now));
            return;
        }
        self.finish_join_phase(&id, env, out);
    }

    /// Ends the join phase with those who have joined. Dynamic members who have not are out; static
    /// ones stay until their session ends. When nobody has joined, the phase goes on
    /// (`GroupMetadataManager.completeClassicGroupJoin`).
    pub(crate) fn finish_join_phase(&mut self, id: &StrBytes, env: &mut Env<'_>, out: &mut Output) {
        self.timers.cancel(&Timer::ClassicJoin(id.clone()));
        self.remove_missing_members(id, out);
        let Some(group) = self.classic_mut(id) else { return };
        if !group.elect_leader() && !group.members.is_empty() {
            group.initial_join_ends = None;
            let wait = group.rebalance_timeout().max(REJOIN_WAIT_MIN);
            self.timers.set(Timer::ClassicJoin(id.clone()), env.now + wait);
            return;
        }
        group.begin_generation(env.wall);
        if group.state == ClassicState::Empty {
            let record = group.to_record(id);
            self.write(record, out);
            return;
        }
        answer_joins(group, out);
        let sync_timeout = group.rebalance_timeout();
        let members = group.members.iter();
        let sessions: Vec<_> =
            members.map(|(id, member)| (id.clone(), member.session_timeout)).collect();
        for (member, session_timeout) in sessions {
            self.set_session(id, &member, session_timeout, env);
        }
        self.timers.set(Timer::ClassicSync(id.clone()), env.now + sync_timeout);
    }

    fn remove_missing_members(&mut self, id: &StrBytes, out: &mut Output) {
        let Some(group) = self.classic(id) else { return };
        let is_missing =
            |member: &ClassicMember| member.awaiting_join.is_none() && member.instance_id.is_none();
        let members = group.members.iter().filter(|(_, member)| is_missing(member));
        let missing: Vec<_> = members.map(|(id, _)| id.clone()).collect();
        for member in missing {
            self.remove_classic_member(id, &member, out);
        }
    }

    /// Members that have not asked for their assignment in time are out (KAFKA-12890).
    pub(crate) fn on_classic_sync_timeout(
        &mut self,
        id: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some((id, _)) = self.groups.get_key_value(id) else { return };
        let id = id.clone();
        let Some(group) = self.classic(&id) else { return };
        if group.pending_syncs.is_empty() {
            return;
        }
        let late: Vec<_> = group.pending_syncs.iter().cloned().collect();
        for member in &late {
            self.remove_classic_member(&id, member, out);
        }
        let names: Vec<_> = late.iter().map(StrBytes::as_str).collect();
        let reason = format!("no SyncGroup from {} in time", names.join(", "));
        self.rebalance(&id, &reason, env, out);
    }
}

/// Everybody who joined learns of the new generation, the leader also of its members.
fn answer_joins(group: &mut ClassicGroup, out: &mut Output) {
    let ids: Vec<_> = group.members.keys().cloned().collect();
    for id in ids {
        let member = group.members.get_mut(&id).expect("the id is a member's");
        member.is_new = false;
        let Some(waiting) = member.awaiting_join.take() else { continue };
        let members = if group.is_leader(&id) { join_members(group) } else { Vec::new() };
        let response = join_response(group, &id, members);
        answer_join(waiting, response, out);
    }
}

/// A member's view of the present generation.
pub(crate) fn join_response(
    group: &ClassicGroup,
    member: &StrBytes,
    members: Vec<JoinGroupResponseMember>,
) -> m::JoinGroupResponse {
    m::JoinGroupResponse {
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_default(),
        member_id: member.clone(),
        members,
        ..Default::default()
    }
}

/// What the leader learns of the members.
pub(crate) fn join_members(group: &ClassicGroup) -> Vec<JoinGroupResponseMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    let members = group.members.iter();
    let members = members.map(|(id, member)| JoinGroupResponseMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        ..Default::default()
    });
    members.collect()
}

/// Answers a JoinGroup; before version 7 the name of the protocol can not be null.
pub(crate) fn answer_join(waiting: Waiting, mut response: m::JoinGroupResponse, out: &mut Output) {
    if waiting.api_version < 7 {
        response.protocol_name.get_or_insert_default();
    }
    out.answer(waiting.ticket, Response::JoinGroup(response));
}

/// Refuses a JoinGroup.
pub(crate) fn answer_join_error(
    waiting: Waiting,
    member: &StrBytes,
    error: ErrorCode,
    out: &mut Output,
) {
    let response = m::JoinGroupResponse {
        error_code: error.code(),
        member_id: member.clone(),
        ..Default::default()
    };
    answer_join(waiting, response, out);
}

/// Refuses a SyncGroup.
pub(crate) fn answer_sync_error(waiting: Waiting, error: ErrorCode, out: &mut Output) {
    let response = m::SyncGroupResponse { error_code: error.code(), ..Default::default() };
    out.answer(waiting.ticket, Response::SyncGroup(response));
}
