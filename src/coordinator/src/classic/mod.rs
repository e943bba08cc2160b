//! Classic groups: the members agree among themselves who reads what.
//!
//! In: calls of members, timers, records. Out: records of groups and answers. A group goes from
//! `Empty` over `PreparingRebalance` (everybody joins) and `CompletingRebalance` (the leader assigns)
//! to `Stable`, and back whenever a member comes or goes.
//!
//! The rules are those of Kafka's `GroupMetadataManager` and `ClassicGroup`.
//!
//! Start at [`ClassicGroup`] and [`Shard::join_group`].

mod describe;
mod group;
mod heartbeat;
pub(crate) mod join;
pub(crate) mod leave;
mod member;
pub(crate) mod rebalance;
mod replay;
mod static_member;
mod sync;
#[cfg(test)]
mod tests;

use std::time::Duration;

use protocol::{ErrorCode, StrBytes};

pub(crate) use group::{CONSUMER, ClassicGroup, ClassicState, common_names};
pub(crate) use member::{ClassicMember, MEMBER_RECORD_BYTES, MemberProtocol};
use rebalance::{answer_join_error, answer_sync_error};

use crate::group::Group;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

impl Shard {
    pub(crate) fn classic(&self, id: &str) -> Option<&ClassicGroup> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => Some(group),
            Some(Group::Consumer(_)) | None => None,
        }
    }

    pub(crate) fn classic_mut(&mut self, id: &str) -> Option<&mut ClassicGroup> {
        match self.groups.get_mut(id) {
            Some(Group::Classic(group)) => Some(group),
            Some(Group::Consumer(_)) | None => None,
        }
    }

    /// Starts a member's session anew.
    pub(crate) fn set_session(
        &mut self,
        id: &StrBytes,
        member: &StrBytes,
        timeout: Duration,
        env: &Env<'_>,
    ) {
        let timer = Timer::ClassicSession(id.clone(), member.clone());
        self.timers.set(timer, env.now + timeout);
    }

    /// A sign of life of a member.
    pub(crate) fn renew_session(&mut self, id: &str, member: &str, env: &Env<'_>) {
        let Some((id, Group::Classic(group))) = self.groups.get_key_value(id) else { return };
        let Some((member, known)) = group.members.get_key_value(member) else { return };
        let timer = Timer::ClassicSession(id.clone(), member.clone());
        self.timers.set(timer, env.now + known.session_timeout);
    }

    /// Takes a member out, also one that only has an id, with its timers; its calls are refused.
    /// What that means for the group is for the caller to see.
    pub(crate) fn remove_classic_member(
        &mut self,
        id: &StrBytes,
        member_id: &StrBytes,
        out: &mut Output,
    ) {
        self.timers.cancel(&Timer::ClassicPending(id.clone(), member_id.clone()));
        self.timers.cancel(&Timer::ClassicSession(id.clone(), member_id.clone()));
        let group = self.classic_mut(id);
        let Some(member) = group.and_then(|group| group.remove(member_id)) else { return };
        let error = ErrorCode::UnknownMemberId;
        if let Some(waiting) = member.awaiting_join {
            answer_join_error(waiting, &StrBytes::new(), error, out);
        }
        if let Some(waiting) = member.awaiting_sync {
            answer_sync_error(waiting, error, out);
        }
    }

    /// Refuses everything that members wait for: the group is about to change its protocol.
    pub(crate) fn refuse_waiting_classic_members(
        &mut self,
        id: &str,
        error: ErrorCode,
        out: &mut Output,
    ) {
        let Some(group) = self.classic_mut(id) else { return };
        for (member_id, member) in &mut group.members {
            if let Some(waiting) = member.awaiting_join.take() {
                answer_join_error(waiting, member_id, error, out);
            }
            if let Some(waiting) = member.awaiting_sync.take() {
                answer_sync_error(waiting, error, out);
            }
        }
    }

    pub(crate) fn on_classic_session_timeout(
        &mut self,
        id: &str,
        member_id: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some((id, Group::Classic(group))) = self.groups.get_key_value(id) else { return };
        let Some((member_id, member)) = group.members.get_key_value(member_id) else { return };
        if member.is_excused() {
            return;
        }
        let (id, member_id) = (id.clone(), member_id.clone());
        let reason = format!("member {member_id}: session timeout");
        self.remove_classic_member(&id, &member_id, out);
        match self.classic(&id).map(|group| (group.state, group.has_all_joined())) {
            Some((ClassicState::PreparingRebalance, true)) => {
                self.finish_join_phase(&id, env, out);
            }
            Some((ClassicState::CompletingRebalance | ClassicState::Stable, _)) => {
                self.rebalance(&id, &reason, env, out);
            }
            _ => {}
        }
    }

    pub(crate) fn on_classic_pending_timeout(
        &mut self,
        id: &str,
        member_id: &str,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some((id, _)) = self.groups.get_key_value(id) else { return };
        let id = id.clone();
        let Some(group) = self.classic_mut(&id) else { return };
        group.pending_joins.remove(member_id);
        if group.state == ClassicState::PreparingRebalance && group.has_all_joined() {
            self.finish_join_phase(&id, env, out);
        }
    }

    pub(crate) fn assert_classic_invariants(&self) {
        for (id, group) in &self.groups {
            let Group::Classic(group) = group else { continue };
            group.assert_invariants();
            let is_set = |timer| self.timers.is_set(&timer);
            let is_preparing = group.state == ClassicState::PreparingRebalance;
            assert_eq!(is_set(Timer::ClassicJoin(id.clone())), is_preparing);
            if group.state == ClassicState::CompletingRebalance {
                assert!(is_set(Timer::ClassicSync(id.clone())));
            }
            for (member_id, member) in &group.members {
                let session = Timer::ClassicSession(id.clone(), member_id.clone());
                assert!(member.is_excused() || is_set(session));
            }
            for member_id in &group.pending_joins {
                assert!(is_set(Timer::ClassicPending(id.clone(), member_id.clone())));
            }
        }
    }
}
