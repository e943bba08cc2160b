//! Classic groups and the log: taking records in, and going on after a load.
//!
//! A record says all of a group but what only its present coordinator knows: timers, waiting calls,
//! ids that were given out, and what members can do beside what the group chose. On a live group a
//! record leaves these as they are; without them, a group with members is taken for stable.

use protocol::StrBytes;
use protocol::messages as m;

use super::group::{ClassicGroup, ClassicState};
use super::member::ClassicMember;
use crate::group::Group;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

impl Shard {
    pub(crate) fn replay_classic_group(
        &mut self,
        key: m::GroupMetadataKey,
        value: Option<m::GroupMetadataValue>,
    ) {
        match (self.groups.get_mut(&key.group), value) {
            (Some(Group::Classic(group)), Some(value)) => group.apply(value),
            (_, Some(value)) => {
                let mut group = ClassicGroup::new(None);
                group.apply(value);
                self.groups.insert(key.group.detached(), Group::Classic(group));
            }
            (Some(Group::Classic(_)), None) => self.forget_classic_group(&key.group),
            // A consumer group that was a classic one, or one that is gone already.
            (_, None) => {}
        }
    }

    fn forget_classic_group(&mut self, id: &str) {
        let Some((id, Group::Classic(group))) = self.groups.remove_entry(id) else { return };
        for member in group.pending_joins {
            self.timers.cancel(&Timer::ClassicPending(id.clone(), member));
        }
        for member in group.members.into_keys() {
            self.timers.cancel(&Timer::ClassicSession(id.clone(), member));
        }
        self.timers.cancel(&Timer::ClassicJoin(id.clone()));
        self.timers.cancel(&Timer::ClassicSync(id));
    }

    pub(crate) fn on_classic_groups_loaded(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let is_classic = |group: &Group| matches!(group, Group::Classic(_));
        let groups = self.groups.iter().filter(|(_, group)| is_classic(group));
        let ids: Vec<_> = groups.map(|(id, _)| id.clone()).collect();
        for id in ids {
            out.seam();
            self.set_sessions(&id, env);
            let size = self.classic(&id).map_or(0, |group| group.members.len());
            if self.config.classic_group_size_max < size {
                // The limit was changed: whoever rejoins last is out, after committing.
                let max = self.config.classic_group_size_max;
                let reason = format!("the group has {size} members, {max} are allowed");
                self.rebalance(&id, &reason, env, out);
            }
        }
    }

    /// A consumer group became this classic group, whose record is written (KIP-848): its members get
    /// timers, and with a reason they are told to rejoin.
    pub(crate) fn start_classic_group(
        &mut self,
        id: &str,
        reason: Option<&str>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some((id, Group::Classic(_))) = self.groups.get_key_value(id) else { return };
        let id = id.clone();
        self.set_sessions(&id, env);
        if let Some(reason) = reason {
            self.rebalance_or_finish_join_phase(&id, reason, env, out);
        }
    }

    fn set_sessions(&mut self, id: &StrBytes, env: &Env<'_>) {
        let Some(group) = self.classic(id) else { return };
        let members = group.members.iter();
        let sessions: Vec<_> =
            members.map(|(id, member)| (id.clone(), member.session_timeout)).collect();
        for (member, session_timeout) in sessions {
            self.set_session(id, &member, session_timeout, env);
        }
    }
}

impl ClassicGroup {
    fn apply(&mut self, value: m::GroupMetadataValue) {
        let state =
            if value.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        self.state = state;
        self.state_since = (value.current_state_timestamp >= 0)
            .then_some(model::Timestamp(value.current_state_timestamp));
        self.protocol_type =
            (!value.protocol_type.is_empty()).then(|| value.protocol_type.detached());
        self.protocol = value.protocol.as_ref().map(StrBytes::detached);
        self.generation = value.generation;
        self.leader = value.leader.as_ref().map(StrBytes::detached);
        self.apply_members(value.members);
        // A record that says otherwise was not written by a coordinator that kept to the rules.
        if !self.leader.as_ref().is_some_and(|leader| self.members.contains_key(leader)) {
            self.leader = self.members.keys().next().cloned();
        }
        self.subscribed_topics = self.read_subscriptions();
    }

    fn apply_members(&mut self, members: Vec<m::group_metadata_value::MemberMetadata>) {
        let mut live = std::mem::take(&mut self.members);
        self.static_members.clear();
        for member in members {
            let id = member.member_id.detached();
            let mut member = ClassicMember::from_record(member, self.protocol.as_ref());
            if let Some(known) = live.remove(&id) {
                member.keep_what_the_log_does_not_know(known);
            }
            if let Some(instance) = &member.instance_id
                && let Some(other) = self.static_members.insert(instance.clone(), id.clone())
            {
                self.members.remove(&other);
            }
            if let Some(before) = self.members.insert(id, member)
                && let Some(instance) = before.instance_id
            {
                self.static_members.remove(&instance);
            }
        }
        self.pending_joins.retain(|id| !self.members.contains_key(id));
        self.pending_syncs.retain(|id| self.members.contains_key(id));
    }
}

impl ClassicMember {
    fn keep_what_the_log_does_not_know(&mut self, known: ClassicMember) {
        self.awaiting_join = known.awaiting_join;
        self.awaiting_sync = known.awaiting_sync;
        self.is_new = known.is_new;
        let is_among = |chosen| known.protocols.contains(chosen);
        if self.protocols.iter().all(is_among) {
            self.protocols = known.protocols;
        }
    }
}
