//! Classic members in a consumer group: JoinGroup, SyncGroup, Heartbeat and LeaveGroup served from
//! the same state as ConsumerGroupHeartbeat (KIP-848, online migration).
//!
//! A member's epoch is its generation. JoinGroup is what a heartbeat is to others: it takes the member
//! one step towards its target. SyncGroup tells it what it owns. Heartbeat tells it to join again when
//! there is another step to take.

use model::Uuid;
use protocol::messages as m;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;
use protocol::messages::consumer_group_member_metadata_value as metadata;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::cluster::Cluster;
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

use super::embedded;
use super::group::ConsumerGroup;
use super::heartbeat::Seat;
use super::member::{Member, MemberState, Subscription};
use super::refusal::from_ms;

/// The first version of JoinGroup whose members have to ask for an id first (KIP-394).
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;

/// The first version of JoinGroup's answer whose protocol may be null.
const NULL_PROTOCOL_VERSION: i16 = 7;

/// The first version of LeaveGroup with many members; before it the one member's error is the
/// answer's.
const MANY_LEAVERS_VERSION: i16 = 3;

/// A classic member as its requests are served.
struct ClassicCaller {
    group_id: StrBytes,
    id: StrBytes,
    member: Member,
}

impl ClassicCaller {
    fn metadata(&self) -> &metadata::ClassicMemberMetadata {
        self.member.subscription.classic.as_ref().expect("it was found to be classic")
    }
}

impl Shard {
    /// JoinGroup of a classic member to a consumer group.
    pub(crate) fn join_consumer_group(
        &mut self,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let (ticket, version) = (from.ticket, from.api_version);
        let response = self.try_join(&from, &request, env, out).unwrap_or_else(|(error, id)| {
            let has_to_name = version < NULL_PROTOCOL_VERSION;
            m::JoinGroupResponse {
                error_code: error.code(),
                member_id: id,
                generation_id: -1,
                protocol_name: has_to_name.then(StrBytes::new),
                ..Default::default()
            }
        });
        out.answer(ticket, Response::JoinGroup(response));
    }

    fn try_join(
        &mut self,
        from: &Caller,
        request: &m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<m::JoinGroupResponse, (ErrorCode, StrBytes)> {
        let refused = |error| (error, request.member_id.clone());
        let is_nameless = request.member_id.is_empty();
        let own_id = if is_nameless {
            StrBytes::from(Uuid::from_random((env.random)()).to_string())
        } else {
            request.member_id.detached()
        };
        let key = self.groups.get_key_value(&request.group_id).map(|(id, _)| id.clone());
        let group_id = key.ok_or_else(|| refused(ErrorCode::UnknownMemberId))?;
        let group = self.consumer_group(&group_id);
        let group = group.ok_or_else(|| refused(ErrorCode::UnknownMemberId))?;
        let size_max = self.config.consumer_group_size_max;
        if !group.has_room(&own_id, request.group_instance_id.as_ref(), size_max) {
            return Err(refused(ErrorCode::GroupMaxSizeReached));
        }
        if !group.supports_classic(request) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        // All protocols of a consumer carry the same subscription.
        let asked = request.protocols.first().and_then(|it| embedded::subscription(&it.metadata));
        let asked = asked.ok_or_else(|| refused(ErrorCode::InconsistentGroupProtocol))?;
        let is_static = request.group_instance_id.is_some();
        if is_nameless && !is_static && from.api_version >= MEMBER_ID_REQUIRED_VERSION {
            return Err((ErrorCode::MemberIdRequired, own_id));
        }
        let seat = classic_seat(group, request, own_id).map_err(refused)?;
        let downgrade = self.replaced_by_classic(&group_id, &seat);

        let id = self.take_seat(&group_id, seat, out);
        let wanted = self.wanted_by_classic(&group_id, &id, from, request, &asked);
        let has_new_topics = match wanted {
            Some(wanted) => self.subscribe(&group_id, &id, &wanted, env, out),
            None => false,
        };
        if !downgrade {
            // A group that is about to become classic leaves a new assignment to its new leader.
            self.update_target(&group_id, env, out);
        }
        let owned = reported(&asked, env.cluster);
        self.reconcile(&group_id, &id, Some(&owned), has_new_topics, env, out);
        Ok(self.finish_join(&group_id, &id, request, downgrade, env, out))
    }

    fn finish_join(
        &mut self,
        group_id: &StrBytes,
        id: &StrBytes,
        request: &m::JoinGroupRequest,
        downgrade: bool,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> m::JoinGroupResponse {
        let member = self.consumer_group(group_id).and_then(|group| group.member(id));
        let generation_id = member.expect("it took its seat").current.epoch;
        self.timers.cancel(&Timer::ConsumerJoin(group_id.clone(), id.clone()));
        self.timers.cancel(&Timer::ConsumerRebalance(group_id.clone(), id.clone()));
        if downgrade {
            // Whoever still waits for something, or has to give it up, would never hear of that in a
            // generation that stands. Kafka only looks at the epoch.
            let has_all = self.consumer_group(group_id).is_some_and(ConsumerGroup::is_reconciled);
            let reason = format!("only classic members are left since {id} joined");
            self.downgrade_without(group_id, &[], (!has_all).then_some(&*reason), env, out);
        } else {
            let session = Timer::ConsumerSession(group_id.clone(), id.clone());
            self.timers.set(session, env.now + from_ms(request.session_timeout_ms));
            let sync = Timer::ConsumerSync(group_id.clone(), id.clone());
            self.timers.set(sync, env.now + from_ms(request.rebalance_timeout_ms));
        }
        // The coordinator assigns: there is no leader, and no member learns of the others.
        m::JoinGroupResponse {
            generation_id,
            member_id: id.clone(),
            protocol_type: Some(StrBytes::from_static(embedded::PROTOCOL_TYPE)),
            protocol_name: request.protocols.first().map(|protocol| protocol.name.clone()),
            ..Default::default()
        }
    }

    /// What a classic member wants from now on; nothing when it wants what it wanted.
    fn wanted_by_classic(
        &self,
        group_id: &StrBytes,
        id: &StrBytes,
        from: &Caller,
        request: &m::JoinGroupRequest,
        asked: &m::ConsumerProtocolSubscription,
    ) -> Option<Subscription> {
        let known = self.consumer_group(group_id).and_then(|group| group.member(id));
        let unborn = Member::default();
        let old = &known.unwrap_or(&unborn).subscription;
        let protocol = |protocol: &m::join_group_request::JoinGroupRequestProtocol| {
            metadata::ClassicProtocol {
                name: protocol.name.clone(),
                metadata: protocol.metadata.clone(),
                ..Default::default()
            }
        };
        let rack_id = asked.rack_id.as_ref().filter(|rack| !rack.is_empty());
        let wanted = Subscription {
            instance_id: request.group_instance_id.as_ref().or(old.instance_id.as_ref()).cloned(),
            rack_id: rack_id.or(old.rack_id.as_ref()).cloned(),
            client_id: from.client_id.clone(),
            client_host: from.client_host.clone(),
            topics: asked.topics.iter().cloned().collect(),
            // A classic member has no pattern; it may have had one before it became classic.
            pattern: Some(StrBytes::new()),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => old.rebalance_timeout_ms,
                timeout => timeout,
            },
            assignor: old.assignor.clone(),
            classic: Some(metadata::ClassicMemberMetadata {
                session_timeout_ms: request.session_timeout_ms,
                supported_protocols: request.protocols.iter().map(protocol).collect(),
                ..Default::default()
            }),
        };
        (known.is_none() || *old != wanted).then_some(wanted)
    }

    /// SyncGroup of a classic member of a consumer group.
    pub(crate) fn sync_consumer_group(
        &mut self,
        from: Caller,
        request: m::SyncGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let response = self.try_sync(&request, env).unwrap_or_else(|error| m::SyncGroupResponse {
            error_code: error.code(),
            ..Default::default()
        });
        out.answer(from.ticket, Response::SyncGroup(response));
    }

    fn try_sync(
        &mut self,
        request: &m::SyncGroupRequest,
        env: &mut Env<'_>,
    ) -> Result<m::SyncGroupResponse, ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let caller = self.classic_caller(&request.group_id, &request.member_id, instance)?;
        if caller.member.current.epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let protocol = caller.metadata().supported_protocols.first();
        let differs = |asked: &Option<StrBytes>, known: Option<&str>| {
            asked.as_ref().is_some_and(|asked| Some(asked.as_str()) != known)
        };
        if differs(&request.protocol_type, Some(embedded::PROTOCOL_TYPE))
            || differs(&request.protocol_name, protocol.map(|protocol| protocol.name.as_str()))
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let group = self.consumer_group(&caller.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        // A member that gives up partitions has joined already: it is told to rejoin after that. A
        // group whose next assignment is not made yet has no step for it: it would rejoin in a loop.
        let current = &caller.member.current;
        if current.epoch < group.assignment_epoch && current.state != MemberState::Unrevoked {
            self.await_join(&caller, env);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let version = protocol.map_or(0, |protocol| embedded::version(&protocol.metadata));
        let owned = embedded::owned(&current.assigned);
        let assignment = embedded::encode_assignment(owned, env.cluster, version)
            .map_err(|_| ErrorCode::UnknownServerError)?;
        self.timers.cancel(&Timer::ConsumerSync(caller.group_id.clone(), caller.id.clone()));
        self.renew_classic_session(&caller, env);
        Ok(m::SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..Default::default()
        })
    }

    /// Heartbeat of a classic member of a consumer group.
    pub(crate) fn heartbeat_of_consumer_group(
        &mut self,
        from: Caller,
        request: m::HeartbeatRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let refused = self.try_classic_heartbeat(&request, env, out).err();
        let error_code = refused.map_or(0, ErrorCode::code);
        let response = m::HeartbeatResponse { error_code, ..Default::default() };
        out.answer(from.ticket, Response::Heartbeat(response));
    }

    fn try_classic_heartbeat(
        &mut self,
        request: &m::HeartbeatRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let caller = self.classic_caller(&request.group_id, &request.member_id, instance)?;
        if caller.member.current.epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.renew_classic_session(&caller, env);
        // Perhaps nobody else is there who asks for it.
        self.update_target(&caller.group_id, env, out);
        let group = self.consumer_group(&caller.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let current = &caller.member.current;
        let has_to_rejoin = current.epoch < group.assignment_epoch
            || match current.state {
                MemberState::Stable | MemberState::Unknown => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !group.waits_for_others(&caller.id),
            };
        if has_to_rejoin {
            self.await_join(&caller, env);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// The classic member that calls, by its instance id if it has one.
    fn classic_caller(
        &self,
        group_id: &StrBytes,
        id: &StrBytes,
        instance: Option<&str>,
    ) -> Result<ClassicCaller, ErrorCode> {
        let key = self.groups.get_key_value(group_id).map(|(id, _)| id);
        let group_id = key.ok_or(ErrorCode::UnknownMemberId)?;
        let group = self.consumer_group(group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let found = match instance {
            None => group.entry(id),
            Some(instance) => group.static_member(instance),
        };
        let (known, member) = found.ok_or(ErrorCode::UnknownMemberId)?;
        if known != id {
            return Err(ErrorCode::FencedInstanceId);
        }
        if !member.is_classic() {
            return Err(ErrorCode::UnknownMemberId);
        }
        Ok(ClassicCaller { group_id: group_id.clone(), id: known.clone(), member: member.clone() })
    }

    fn await_join(&mut self, caller: &ClassicCaller, env: &Env<'_>) {
        let timer = Timer::ConsumerJoin(caller.group_id.clone(), caller.id.clone());
        let timeout = from_ms(caller.member.subscription.rebalance_timeout_ms);
        self.timers.set_if_absent(timer, env.now + timeout);
    }

    fn renew_classic_session(&mut self, caller: &ClassicCaller, env: &Env<'_>) {
        let timer = Timer::ConsumerSession(caller.group_id.clone(), caller.id.clone());
        self.timers.set(timer, env.now + from_ms(caller.metadata().session_timeout_ms));
    }

    /// LeaveGroup for members of a consumer group, whichever protocol they speak: consumer-protocol
    /// members leave by a heartbeat, so it is an admin who asks.
    pub(crate) fn leave_consumer_group(
        &mut self,
        from: Caller,
        request: m::LeaveGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let mut leavers: Vec<StrBytes> = Vec::new();
        let mut members = Vec::with_capacity(request.members.len());
        for identity in &request.members {
            let found = self.find_named(&request.group_id, identity);
            let error_code = found.as_ref().err().map_or(0, |error| error.code());
            if let Ok(id) = found
                && !leavers.contains(&id)
            {
                leavers.push(id);
            }
            members.push(MemberResponse {
                // What was asked for: whoever named an instance id alone looks for it so.
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code,
                ..Default::default()
            });
        }
        let key = self.groups.get_key_value(&request.group_id).map(|(id, _)| id.clone());
        if let (Some(group_id), Some(first)) = (key, leavers.first()) {
            let reason = match leavers.len() {
                1 => format!("member {first} left"),
                count => format!("member {first} and {} others left", count - 1),
            };
            self.fence_members(&group_id, &leavers, reason, env, out);
        }
        let mut response = m::LeaveGroupResponse { members, ..Default::default() };
        if from.api_version < MANY_LEAVERS_VERSION {
            response.error_code = response.members.pop().map_or(0, |member| member.error_code);
        }
        out.answer(from.ticket, Response::LeaveGroup(response));
    }

    fn find_named(
        &self,
        group_id: &StrBytes,
        identity: &MemberIdentity,
    ) -> Result<StrBytes, ErrorCode> {
        let group = self.consumer_group(group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let asked = &identity.member_id;
        let found = match &identity.group_instance_id {
            None => group.entry(asked),
            Some(instance) => group.static_member(instance),
        };
        let (id, _) = found.ok_or(ErrorCode::UnknownMemberId)?;
        // Admins name static members by their instance ids alone (KIP-345).
        let is_by_instance = identity.group_instance_id.is_some() && asked.is_empty();
        if id != asked && !is_by_instance {
            return Err(ErrorCode::FencedInstanceId);
        }
        Ok(id.clone())
    }
}

impl ConsumerGroup {
    /// Whether the joiner speaks a protocol that all classic members speak.
    fn supports_classic(&self, request: &m::JoinGroupRequest) -> bool {
        request.protocol_type == *embedded::PROTOCOL_TYPE
            && request.protocols.iter().any(|protocol| {
                self.is_empty() || self.protocol_use_count(&protocol.name) == self.classic_count()
            })
    }
}

/// The seat of a classic joiner. A known instance id with a known member id has to be that member's;
/// without a member id it takes the place of whoever has the instance id, as KIP-345 has it.
fn classic_seat(
    group: &ConsumerGroup,
    request: &m::JoinGroupRequest,
    own_id: StrBytes,
) -> Result<Seat, ErrorCode> {
    let holder = request.group_instance_id.as_ref().map(|instance| group.static_member(instance));
    match holder {
        None | Some(None) if holder.is_none() || request.member_id.is_empty() => {
            Ok(match group.entry(&own_id) {
                Some((id, _)) => Seat::Taken(id.clone()),
                None => Seat::Free(own_id),
            })
        }
        None | Some(None) => Err(ErrorCode::UnknownMemberId),
        Some(Some((id, _))) if request.member_id.is_empty() => {
            Ok(Seat::Replaces { old: id.clone(), new: own_id })
        }
        Some(Some((id, _))) if *id == request.member_id => Ok(Seat::Taken(id.clone())),
        Some(Some(_)) => Err(ErrorCode::FencedInstanceId),
    }
}

/// What a classic joiner says that it owns, in terms of topic ids.
fn reported(asked: &m::ConsumerProtocolSubscription, cluster: &dyn Cluster) -> Vec<Reported> {
    let topics = asked.owned_partitions.iter().filter_map(|owned| {
        Some(Reported {
            topic_id: cluster.topic(&owned.topic)?.id,
            partitions: owned.partitions.clone(),
            ..Default::default()
        })
    });
    topics.collect()
}
