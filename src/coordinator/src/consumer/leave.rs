//! Members that go: by their own wish, because they are silent, or because they do not give up what
//! they shall; and what is due later in a consumer group.

use protocol::StrBytes;
use protocol::messages as m;

use crate::cluster::TopicChanges;
use crate::group::Group;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

use super::member::{EPOCH_AWAY, MemberState};
use super::partitions::Partitions;
use super::records;
use super::refusal::{Refusal, from_ms};

impl Shard {
    /// A heartbeat with the epoch of one who leaves, for good or for a while.
    pub(super) fn leave_by_heartbeat(
        &mut self,
        request: &m::ConsumerGroupHeartbeatRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, Refusal> {
        let (group_id, id) = self.find_leaver(request)?;
        if request.member_epoch == EPOCH_AWAY {
            self.send_away(&group_id, &id, out);
        } else {
            let reason = format!("member {id} left");
            self.fence_members(&group_id, std::slice::from_ref(&id), reason, env, out);
        }
        Ok(m::ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: request.member_epoch,
            ..Default::default()
        })
    }

    fn find_leaver(
        &self,
        request: &m::ConsumerGroupHeartbeatRequest,
    ) -> Result<(StrBytes, StrBytes), Refusal> {
        let group_id = &request.group_id;
        let (group_id, group) = match self.groups.get_key_value(group_id) {
            Some((id, Group::Consumer(group))) => (id, group),
            Some((id, Group::Classic(_))) => return Err(Refusal::not_a_consumer_group(id)),
            None => {
                let message = format!("Group {group_id} not found.");
                return Err(Refusal::new(protocol::ErrorCode::GroupIdNotFound, message));
            }
        };
        let asked = &request.member_id;
        let id = match &request.instance_id {
            None => group.entry(asked).ok_or_else(|| Refusal::unknown_member(asked, group_id))?.0,
            Some(instance) => {
                let holder = group.static_member(instance);
                let (id, _) = holder.ok_or_else(|| Refusal::unknown_instance(instance))?;
                if id != asked {
                    return Err(Refusal::fenced_instance(asked, instance, id));
                }
                id
            }
        };
        Ok((group_id.clone(), id.clone()))
    }

    /// A static member goes for a while: its place and partitions are kept until its session ends.
    fn send_away(&mut self, group_id: &StrBytes, id: &StrBytes, out: &mut Output) {
        let member = self.consumer_group(group_id).and_then(|group| group.member(id));
        let mut current = member.expect("it was just found").current.clone();
        current.epoch = EPOCH_AWAY;
        current.revoking.clear();
        for epoch in current.assigned.values_mut().flat_map(|partitions| partitions.values_mut()) {
            // Whoever comes back in its place may commit from its first epoch on.
            *epoch = 0;
        }
        self.timers.cancel(&Timer::ConsumerRebalance(group_id.clone(), id.clone()));
        self.write(records::current(group_id, id, Some(&current)), out);
    }

    /// Takes members out of the group, which gets a new epoch, or becomes a classic group when only
    /// classic members are left.
    pub(super) fn fence_members(
        &mut self,
        group_id: &StrBytes,
        ids: &[StrBytes],
        reason: String,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            self.cancel_consumer_timers(group_id, id);
        }
        if self.may_downgrade_without(group_id, ids) {
            self.downgrade_without(group_id, ids, Some(&reason), env, out);
            return;
        }
        for id in ids {
            self.remove_member_records(group_id, id, out);
        }
        self.drop_unused_patterns(group_id, out);
        self.bump_group_epoch(group_id, reason, env, out);
        if let Some(group) = self.consumer_group_mut(group_id).filter(|group| group.is_empty()) {
            group.emptied_at = Some(env.wall);
        }
    }

    /// The records that take a member away; their order matters to Kafka's replay.
    pub(super) fn remove_member_records(
        &mut self,
        group_id: &StrBytes,
        id: &StrBytes,
        out: &mut Output,
    ) {
        self.write(records::current(group_id, id, None), out);
        self.write(records::target(group_id, id, None::<&Partitions>), out);
        self.write(records::member(group_id, id, None), out);
    }

    pub(super) fn cancel_consumer_timers(&mut self, group_id: &StrBytes, id: &StrBytes) {
        self.timers.cancel(&Timer::ConsumerSession(group_id.clone(), id.clone()));
        self.timers.cancel(&Timer::ConsumerRebalance(group_id.clone(), id.clone()));
        self.forget_classic_timers(group_id, id);
    }

    /// A member that speaks the consumer protocol from now on is not awaited to join or sync.
    pub(super) fn forget_classic_timers(&mut self, group_id: &StrBytes, id: &StrBytes) {
        self.timers.cancel(&Timer::ConsumerJoin(group_id.clone(), id.clone()));
        self.timers.cancel(&Timer::ConsumerSync(group_id.clone(), id.clone()));
    }

    /// Does what is due in a consumer group.
    pub(crate) fn on_consumer_timer(&mut self, timer: Timer, env: &mut Env<'_>, out: &mut Output) {
        let (group_id, id, why) = match timer {
            Timer::ConsumerSession(group, id) => (group, id, "session timeout"),
            Timer::ConsumerRebalance(group, id) => {
                (group, id, "did not give up its partitions in time")
            }
            Timer::ConsumerJoin(group, id) => (group, id, "did not rejoin in time"),
            Timer::ConsumerSync(group, id) => (group, id, "did not sync in time"),
            Timer::ConsumerAssignment(group) => {
                let has_members =
                    self.consumer_group(&group).is_some_and(|it| !it.members().is_empty());
                if has_members {
                    self.assign_targets(&group, env, out);
                }
                return;
            }
            Timer::ConsumerRegex(group) => {
                self.look_at_patterns(&group, env, out);
                return;
            }
            _ => return,
        };
        if self.consumer_group(&group_id).is_some_and(|group| group.member(&id).is_some()) {
            let reason = format!("member {id}: {why}");
            self.fence_members(&group_id, std::slice::from_ref(&id), reason, env, out);
        }
    }

    /// The patterns of the group are matched anew because time has passed.
    fn look_at_patterns(&mut self, group_id: &StrBytes, env: &mut Env<'_>, out: &mut Output) {
        if let Some(pattern) = self.match_patterns(group_id, env, out) {
            let reason = format!("pattern {pattern} matches other topics");
            self.bump_group_epoch(group_id, reason, env, out);
        }
    }

    /// Members of loaded groups have a full session, and the time they have to give up partitions
    /// begins anew. What became of topics meanwhile is looked at.
    pub(crate) fn on_consumer_groups_loaded(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let mut ids = Vec::new();
        for (group_id, group) in &mut self.groups {
            let Group::Consumer(group) = group else { continue };
            let settings = env.cluster.consumer_group_settings(group_id);
            for (id, member) in group.members() {
                let key = || (group_id.clone(), id.clone());
                let session = match &member.subscription.classic {
                    Some(classic) => from_ms(classic.session_timeout_ms),
                    None => settings.session_timeout,
                };
                let (group_id, id) = key();
                self.timers.set(Timer::ConsumerSession(group_id, id), env.now + session);
                let current = &member.current;
                let has_to_revoke = current.state == MemberState::Unrevoked
                    && current.epoch != EPOCH_AWAY
                    && !member.is_classic();
                if has_to_revoke {
                    let (group_id, id) = key();
                    let timeout = from_ms(member.subscription.rebalance_timeout_ms);
                    self.timers.set(Timer::ConsumerRebalance(group_id, id), env.now + timeout);
                }
            }
            // The log does not say since when; offsets are rather kept for too long.
            group.emptied_at = group.is_empty().then_some(env.wall);
            ids.push(group_id.clone());
        }
        for group_id in &ids {
            out.seam();
            self.take_away_old_record(group_id, out);
            if self.consumer_group(group_id).is_some_and(|group| !group.is_empty()) {
                let reason = self.look_at_names(group_id, env, out);
                self.look_at_topics(group_id, reason, env, out);
            }
        }
    }

    /// Since Kafka 4.1 topics are told by a hash.
    fn take_away_old_record(&mut self, group_id: &StrBytes, out: &mut Output) {
        if self.consumer_group(group_id).is_some_and(|group| group.has_partition_metadata) {
            self.write(records::no_partition_metadata(group_id), out);
        }
    }

    /// Topics are new, gone or have grown. Only the groups that this concerns are looked at: that takes
    /// as many steps as they have topics.
    pub(crate) fn on_topics_of_consumer_groups_changed(
        &mut self,
        changes: &TopicChanges,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let are_other_names = !changes.created.is_empty() || !changes.deleted.is_empty();
        let mut concerned = Vec::new();
        for (id, group) in &self.groups {
            let Group::Consumer(group) = group else { continue };
            let reads_one = changes.names().any(|name| group.reads(name));
            let may_match = are_other_names && group.used_patterns().next().is_some();
            if !group.is_empty() && (reads_one || may_match) {
                concerned.push((id.clone(), reads_one, may_match));
            }
        }
        for (id, reads_one, may_match) in concerned {
            out.seam();
            let reason = if may_match { self.look_at_names(&id, env, out) } else { None };
            if reads_one || reason.is_some() {
                self.look_at_topics(&id, reason, env, out);
            }
        }
    }
}
