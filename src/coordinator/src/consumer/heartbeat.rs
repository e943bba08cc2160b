//! ConsumerGroupHeartbeat: joining, staying and leaving in one request (KIP-848).
//!
//! What can be refused is refused before anything is written. A beat that changes nothing looks up the
//! group and the member, renews a timer and answers.

use std::collections::{BTreeMap, BTreeSet};

use model::{TopicId, Uuid};
use protocol::messages as m;
use protocol::messages::consumer_group_heartbeat_response as response;
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::group::Group;
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

use super::group::ConsumerGroup;
use super::member::{Current, EPOCH_AWAY, EPOCH_LEAVING, Member, MemberState, Subscription};
use super::partitions::{Owned, is_within};
use super::refusal::{Refusal, to_ms};
use super::{pattern, records, validate};

type Request = m::ConsumerGroupHeartbeatRequest;

/// The member that a request is from.
#[derive(Debug, PartialEq)]
pub(super) enum Seat {
    /// A member of this id.
    Taken(StrBytes),
    /// A new member will have this id.
    Free(StrBytes),
    /// A static member comes back under a new id.
    Replaces {
        /// The id until now.
        old: StrBytes,
        /// The id from now on.
        new: StrBytes,
    },
}

impl Shard {
    /// Serves a sign of life of a consumer-protocol member.
    pub(crate) fn consumer_group_heartbeat(
        &mut self,
        from: Caller,
        request: Request,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let response = self
            .try_heartbeat(&from, &request, env, out)
            .unwrap_or_else(Refusal::into_heartbeat_response);
        out.answer(from.ticket, Response::ConsumerGroupHeartbeat(response));
    }

    fn try_heartbeat(
        &mut self,
        from: &Caller,
        request: &Request,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, Refusal> {
        if !self.config.is_consumer_protocol_enabled {
            let message = "The consumer group protocol is not enabled.";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        validate::check(request, from.api_version, &self.config.consumer_assignors)?;
        match request.member_epoch {
            EPOCH_LEAVING | EPOCH_AWAY => self.leave_by_heartbeat(request, env, out),
            _ => self.beat(from, request, env, out),
        }
    }

    fn beat(
        &mut self,
        from: &Caller,
        request: &Request,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, Refusal> {
        let is_joining = request.member_epoch == 0;
        self.check_pattern(request)?;
        let group_id = self.enter_consumer_group(request, env, out)?;
        let seat = self.find_seat(&group_id, request, env)?;
        let id = self.take_seat(&group_id, seat, out);

        let mut has_new_subscription = false;
        if let Some(wanted) = self.wanted_subscription(&group_id, &id, from, request) {
            self.forget_classic_timers(&group_id, &id);
            has_new_subscription = self.subscribe(&group_id, &id, &wanted, env, out);
        }
        self.update_target(&group_id, env, out);
        let reported = request.topic_partitions.as_deref();
        let has_new_assignment =
            self.reconcile(&group_id, &id, reported, has_new_subscription, env, out);

        let settings = env.cluster.consumer_group_settings(&group_id);
        let timer = Timer::ConsumerSession(group_id.clone(), id.clone());
        self.timers.set(timer, env.now + settings.session_timeout);
        let is_full = is_joining
            || (request.rebalance_timeout_ms != -1
                && (request.subscribed_topic_names.is_some()
                    || request.subscribed_topic_regex.is_some())
                && reported.is_some());
        let group = self.consumer_group(&group_id).expect("it has the member");
        let member = group.member(&id).expect("it took its seat");
        let is_told = is_full || has_new_assignment;
        Ok(m::ConsumerGroupHeartbeatResponse {
            member_epoch: member.current.epoch,
            member_id: Some(id),
            heartbeat_interval_ms: to_ms(settings.heartbeat_interval),
            assignment: is_told.then(|| assignment(&member.current.assigned)),
            ..Default::default()
        })
    }

    /// A pattern that the group does not use yet has to be one.
    fn check_pattern(&self, request: &Request) -> Result<(), Refusal> {
        let Some(text) = request.subscribed_topic_regex.as_ref().filter(|it| !it.is_empty()) else {
            return Ok(());
        };
        let group = self.consumer_group(&request.group_id);
        if group.is_some_and(|group| group.pattern_use_count(text) > 0) {
            return Ok(());
        }
        pattern::compile(text).map(|_| ()).map_err(|why| {
            let message =
                format!("SubscribedTopicRegex `{text}` is not a valid regular expression: {why}.");
            Refusal::new(ErrorCode::InvalidRegularExpression, message)
        })
    }

    /// The group's id as the shard keeps it. A group that is not there yet comes into being with the
    /// first record of its member; a classic one becomes a consumer group if it may.
    fn enter_consumer_group(
        &mut self,
        request: &Request,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<StrBytes, Refusal> {
        let is_joining = request.member_epoch == 0;
        let id = request.group_id.as_str();
        match self.groups.get_key_value(id) {
            None if is_joining => {
                refuse_full(&ConsumerGroup::new(), request, self.config.consumer_group_size_max)?;
                Ok(request.group_id.detached())
            }
            None => Err(Refusal::group_not_found(id)),
            Some((id, Group::Consumer(group))) => {
                refuse_full(group, request, self.config.consumer_group_size_max)?;
                Ok(id.clone())
            }
            Some((_, Group::Classic(_))) if !is_joining => Err(Refusal::not_a_consumer_group(id)),
            Some((id, Group::Classic(_))) => {
                let id = id.clone();
                self.upgrade_classic_group(&id, request, env, out)?;
                Ok(id)
            }
        }
    }

    fn find_seat(
        &self,
        group_id: &StrBytes,
        request: &Request,
        env: &mut Env<'_>,
    ) -> Result<Seat, Refusal> {
        let unborn = ConsumerGroup::new();
        let group = self.consumer_group(group_id).unwrap_or(&unborn);
        let seat = match &request.instance_id {
            None => dynamic_seat(group, group_id, request, env)?,
            Some(instance) => static_seat(group, instance, request, env)?,
        };
        if let Seat::Taken(id) | Seat::Replaces { old: id, .. } = &seat {
            let state = group.member(id).map(|member| member.current.state);
            let owns_nothing = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
            if state == Some(MemberState::Unknown) && !owns_nothing {
                let message = "The consumer group member is in a unknown state. The member must \
                               abandon all its partitions and rejoin.";
                return Err(Refusal::new(ErrorCode::FencedMemberEpoch, message));
            }
        }
        Ok(seat)
    }

    /// Puts a returning static member in the place of its former self. The member's id.
    pub(super) fn take_seat(
        &mut self,
        group_id: &StrBytes,
        seat: Seat,
        out: &mut Output,
    ) -> StrBytes {
        let (old, new) = match seat {
            Seat::Taken(id) | Seat::Free(id) => return id,
            Seat::Replaces { old, new } => (old, new),
        };
        let group = self.consumer_group(group_id).expect("it has the old member");
        let mut member = group.member(&old).expect("it was just found").clone();
        let target = group.target.get(&old).cloned().unwrap_or_default();
        member.current.epoch = 0;
        member.current.previous_epoch = 0;
        self.cancel_consumer_timers(group_id, &old);
        self.remove_member_records(group_id, &old, out);
        self.write(records::member(group_id, &new, Some(&member.subscription)), out);
        self.write(records::target(group_id, &new, Some(&target)), out);
        self.write(records::current(group_id, &new, Some(&member.current)), out);
        new
    }

    /// What the member wants from now on; nothing when it wants what it wanted.
    fn wanted_subscription(
        &self,
        group_id: &StrBytes,
        id: &StrBytes,
        from: &Caller,
        request: &Request,
    ) -> Option<Subscription> {
        let known = self.consumer_group(group_id).and_then(|group| group.member(id));
        let unborn = Member { subscription: unborn_subscription(), ..Default::default() };
        let old = &known.unwrap_or(&unborn).subscription;
        if known.is_some() && !asks_for_change(old, from, request) {
            return None;
        }
        let names = request.subscribed_topic_names.as_ref();
        let or_old =
            |new: &Option<StrBytes>, old: &Option<StrBytes>| new.as_ref().or(old.as_ref()).cloned();
        Some(Subscription {
            instance_id: or_old(&request.instance_id, &old.instance_id),
            rack_id: or_old(&request.rack_id, &old.rack_id),
            client_id: from.client_id.clone(),
            client_host: from.client_host.clone(),
            topics: names.map_or_else(|| old.topics.clone(), |it| it.iter().cloned().collect()),
            pattern: or_old(&request.subscribed_topic_regex, &old.pattern),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => old.rebalance_timeout_ms,
                timeout => timeout,
            },
            assignor: or_old(&request.server_assignor, &old.assignor),
            classic: None,
        })
    }
}

fn unborn_subscription() -> Subscription {
    Subscription { rebalance_timeout_ms: -1, ..Default::default() }
}

fn asks_for_change(old: &Subscription, from: &Caller, request: &Request) -> bool {
    let differs = |new: &Option<StrBytes>, old: &Option<StrBytes>| new.is_some() && new != old;
    old.classic.is_some()
        || differs(&request.instance_id, &old.instance_id)
        || differs(&request.rack_id, &old.rack_id)
        || differs(&request.subscribed_topic_regex, &old.pattern)
        || differs(&request.server_assignor, &old.assignor)
        || (request.rebalance_timeout_ms != -1
            && request.rebalance_timeout_ms != old.rebalance_timeout_ms)
        || from.client_id != old.client_id
        || from.client_host != old.client_host
        || request.subscribed_topic_names.as_ref().is_some_and(|names| {
            let names: BTreeSet<&StrBytes> = names.iter().collect();
            names.len() != old.topics.len() || !names.into_iter().eq(&old.topics)
        })
}

fn refuse_full(group: &ConsumerGroup, request: &Request, size_max: usize) -> Result<(), Refusal> {
    if group.has_room(&request.member_id, request.instance_id.as_ref(), size_max) {
        Ok(())
    } else {
        Err(Refusal::group_full(size_max))
    }
}

fn dynamic_seat(
    group: &ConsumerGroup,
    group_id: &StrBytes,
    request: &Request,
    env: &mut Env<'_>,
) -> Result<Seat, Refusal> {
    match group.entry(&request.member_id) {
        Some((id, member)) => {
            check_epoch(&member.current, request)?;
            Ok(Seat::Taken(id.clone()))
        }
        None if request.member_epoch == 0 => Ok(Seat::Free(own_id(request, env))),
        None => Err(Refusal::unknown_member(&request.member_id, group_id)),
    }
}

fn static_seat(
    group: &ConsumerGroup,
    instance: &StrBytes,
    request: &Request,
    env: &mut Env<'_>,
) -> Result<Seat, Refusal> {
    let asked = &request.member_id;
    let holder = group.static_member(instance);
    if request.member_epoch != 0 {
        let (id, member) = holder.ok_or_else(|| Refusal::unknown_instance(instance))?;
        if id != asked {
            return Err(Refusal::fenced_instance(asked, instance, id));
        }
        check_epoch(&member.current, request)?;
        return Ok(Seat::Taken(id.clone()));
    }
    match holder {
        None => Ok(match group.entry(asked) {
            Some((id, _)) => Seat::Taken(id.clone()),
            None => Seat::Free(own_id(request, env)),
        }),
        Some((id, member)) if member.is_classic() || member.current.epoch == EPOCH_AWAY => {
            Ok(Seat::Replaces { old: id.clone(), new: own_id(request, env) })
        }
        // A member that was told to drop everything and come back is still itself. Kafka refuses it
        // until its session has ended.
        Some((id, _)) if id == asked => Ok(Seat::Taken(id.clone())),
        Some((id, _)) => Err(Refusal::unreleased_instance(asked, instance, id)),
    }
}

/// The id that the member made itself, or one made for it.
fn own_id(request: &Request, env: &mut Env<'_>) -> StrBytes {
    if request.member_id.is_empty() {
        StrBytes::from(Uuid::from_random((env.random)()).to_string())
    } else {
        request.member_id.detached()
    }
}

/// A member that is one epoch behind may have lost a response; it must not use what it no longer has.
fn check_epoch(current: &Current, request: &Request) -> Result<(), Refusal> {
    let received = request.member_epoch;
    let has_lost_a_response = || {
        received == current.previous_epoch
            && is_within(request.topic_partitions.as_deref(), &current.assigned)
    };
    if received == 0 || received == current.epoch {
        return Ok(());
    }
    if received < current.epoch && has_lost_a_response() {
        return Ok(());
    }
    Err(Refusal::fenced_epoch(received, current.epoch))
}

fn assignment(owned: &Owned) -> response::Assignment {
    let topic = |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| response::TopicPartitions {
        topic_id: *topic,
        partitions: partitions.keys().copied().collect(),
        ..Default::default()
    };
    response::Assignment {
        topic_partitions: owned.iter().map(topic).collect(),
        ..Default::default()
    }
}
