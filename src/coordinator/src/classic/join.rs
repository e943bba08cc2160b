//! JoinGroup: becoming or staying a member of a classic group.
//!
//! In: a JoinGroup. Out: mostly nothing until the join phase ends; an error, a member id to come back
//! with, or the present generation at once.
//!
//! The rules are those of `GroupMetadataManager.classicGroupJoin`; static members (KIP-345) have their
//! own file.

use std::time::Duration;

use bytes::Bytes;
use model::Uuid;
use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use super::group::{ClassicGroup, ClassicState};
use super::member::{ClassicMember, MemberProtocol, Waiting, duration};
use super::rebalance::{answer_join, answer_join_error, join_members, join_response};
use crate::group::Group;
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

/// How long a new member's JoinGroup may wait: it can not show signs of life without its id, and may
/// long have gone.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// So many ids of a group are given out and not used yet: who asks for an id and never comes with it
/// costs memory until its session would be over.
pub(crate) const PENDING_JOINS_MAX: usize = 10_000;

impl Shard {
    pub(crate) fn join_group(
        &mut self,
        from: Caller,
        mut request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        if from.api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let group = self.groups.get(&request.group_id);
        match self.check_join(&request) {
            Err((member, error)) => answer_join_error(from.waiting(), &member, error, out),
            Ok(()) => match group {
                Some(Group::Consumer(group)) if !group.is_empty() => {
                    self.join_consumer_group(from, request, env, out);
                }
                _ => self.join_classic_group(from, request, env, out),
            },
        }
    }

    /// What can be said without looking at members: also `GroupCoordinatorService.joinGroup`.
    fn check_join(&self, request: &m::JoinGroupRequest) -> Result<(), (StrBytes, ErrorCode)> {
        let member = &request.member_id;
        if request.group_id.is_empty() {
            return Err((member.clone(), ErrorCode::InvalidGroupId));
        }
        let session_timeout = duration(request.session_timeout_ms);
        let config = &self.config;
        if session_timeout < config.classic_session_timeout_min
            || session_timeout > config.classic_session_timeout_max
        {
            return Err((member.clone(), ErrorCode::InvalidSessionTimeout));
        }
        match self.groups.get(&request.group_id) {
            Some(Group::Consumer(group)) if !group.is_empty() => Ok(()),
            Some(Group::Classic(group)) if group.supports_request(request) => Ok(()),
            Some(Group::Classic(group)) if !self.accepts(group, request) => Ok(()),
            Some(Group::Classic(_)) => Err((member.clone(), ErrorCode::InconsistentGroupProtocol)),
            None | Some(Group::Consumer(_)) if !member.is_empty() => {
                Err((member.clone(), ErrorCode::UnknownMemberId))
            }
            None | Some(Group::Consumer(_)) => {
                if request.protocol_type.is_empty() || request.protocols.is_empty() {
                    return Err((StrBytes::new(), ErrorCode::InconsistentGroupProtocol));
                }
                Ok(())
            }
        }
    }

    fn join_classic_group(
        &mut self,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let id = self.find_or_create_classic_group(&request.group_id, env, out);
        let group = self.classic(&id).expect("the group was found or created");
        if !self.accepts(group, &request) {
            answer_join_error(
                from.waiting(),
                &StrBytes::new(),
                ErrorCode::GroupMaxSizeReached,
                out,
            );
            self.remove_classic_member(&id, &request.member_id, out);
            // Perhaps it was the only one that the others waited for.
            self.finish_join_phase_if_due(&id, env, out);
        } else if request.member_id.is_empty() {
            self.join_new(&id, from, request, env, out);
        } else {
            self.join_known(&id, from, request, env, out);
        }
    }

    /// The group's id; without a group, or with a consumer group that nobody is in, a new group that
    /// the log knows of.
    fn find_or_create_classic_group(
        &mut self,
        id: &StrBytes,
        env: &Env<'_>,
        out: &mut Output,
    ) -> StrBytes {
        if let Some((id, Group::Classic(_))) = self.groups.get_key_value(id) {
            return id.clone();
        }
        let id = id.detached();
        if let Some(Group::Consumer(group)) = self.groups.get(&id) {
            for record in group.tombstones(&id) {
                self.write(record, out);
            }
            self.groups.remove(&id);
        }
        let record = ClassicGroup::new(Some(env.wall)).to_record(&id);
        self.write(record, out);
        id
    }

    /// Whether there is room. While members join, those who have joined count: who rejoins last may
    /// find a full group. A static member that comes back takes its old place, which Kafka forgets.
    fn accepts(&self, group: &ClassicGroup, request: &m::JoinGroupRequest) -> bool {
        let max = self.config.classic_group_size_max;
        let instance = request.group_instance_id.as_ref();
        let before = instance.and_then(|instance| group.static_members.get(instance));
        let id = before.filter(|_| request.member_id.is_empty()).unwrap_or(&request.member_id);
        let known = group.members.get(id);
        match group.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance => {
                known.is_some_and(|member| member.awaiting_join.is_some())
                    || group.joined_count() < max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                known.is_some() || group.members.len() < max
            }
        }
    }

    fn join_new(
        &mut self,
        id: &StrBytes,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let prefix = request.group_instance_id.as_ref().unwrap_or(&from.client_id);
        let member = new_member_id(prefix, (env.random)());
        let group = self.classic_mut(id).expect("the group was found or created");
        if let Some(instance) = &request.group_instance_id {
            if let Some(old) = group.static_members.get(instance).cloned() {
                return self.replace_static_member(id, &old, member, from, request, env, out);
            }
        } else if from.api_version >= 4 {
            if PENDING_JOINS_MAX <= group.pending_joins.len() {
                let error = ErrorCode::GroupMaxSizeReached;
                return answer_join_error(from.waiting(), &StrBytes::new(), error, out);
            }
            // A client that gives up on its first JoinGroup would leave a member behind every time:
            // it first learns its id (KIP-394).
            group.pending_joins.insert(member.clone());
            let timer = Timer::ClassicPending(id.clone(), member.clone());
            self.timers.set(timer, env.now + duration(request.session_timeout_ms));
            return answer_join_error(from.waiting(), &member, ErrorCode::MemberIdRequired, out);
        }
        self.add_member(id, member, from, request, env, out);
    }

    fn add_member(
        &mut self,
        id: &StrBytes,
        member_id: StrBytes,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        self.timers.cancel(&Timer::ClassicPending(id.clone(), member_id.clone()));
        let group = self.classic_mut(id).expect("the group was found or created");
        if group.initial_join_ends.is_some() {
            group.has_new_member = true;
        }
        let reason = format!("member {member_id} joined{}", client_reason(&request));
        let member = ClassicMember {
            instance_id: request.group_instance_id.as_ref().map(StrBytes::detached),
            client_id: from.client_id.detached(),
            client_host: from.client_host.detached(),
            rebalance_timeout: duration(request.rebalance_timeout_ms),
            session_timeout: duration(request.session_timeout_ms),
            protocols: member_protocols(&request),
            assignment: Bytes::new(),
            awaiting_join: Some(from.waiting()),
            awaiting_sync: None,
            is_new: true,
        };
        group.add(member_id.clone(), member, &request.protocol_type);
        self.set_session(id, &member_id, NEW_MEMBER_JOIN_TIMEOUT, env);
        self.rebalance_or_finish_join_phase(id, &reason, env, out);
    }

    /// A JoinGroup with a member id.
    fn join_known(
        &mut self,
        id: &StrBytes,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let group = self.classic(id).expect("the group was found or created");
        if let Some(pending) = group.pending_joins.get(&request.member_id)
            && request.group_instance_id.is_none()
        {
            let member = pending.clone();
            return self.add_member(id, member, from, request, env, out);
        }
        let instance = request.group_instance_id.as_deref();
        if let Err(error) = group.check_member(&request.member_id, instance) {
            let response = m::JoinGroupResponse {
                error_code: error.code(),
                member_id: request.member_id,
                protocol_name: None,
                ..Default::default()
            };
            return answer_join(from.waiting(), response, out);
        }
        let known = group.members.get_key_value(&request.member_id);
        let (member_id, member) = known.expect("it was just checked");
        let has_changed = member.protocols != member_protocols(&request);
        let is_leader = group.is_leader(member_id);
        let reason = match group.state {
            ClassicState::CompletingRebalance if !has_changed => None,
            ClassicState::Stable if !has_changed && !is_leader => None,
            // A leader joins again when what it assigns has changed, which it need not say.
            ClassicState::Stable if is_leader => Some("leader"),
            _ => Some("member"),
        };
        let member_id = member_id.clone();
        match reason {
            // Its answer was lost, or it only wants to be sure.
            None => {
                let members = if is_leader { join_members(group) } else { Vec::new() };
                answer_join(from.waiting(), join_response(group, &member_id, members), out);
            }
            Some(who) => {
                let what = if has_changed { "with another subscription" } else { "again" };
                let because = client_reason(&request);
                let reason = format!("{who} {member_id} joined {what}{because}");
                self.update_member(id, &member_id, &from, &request, out);
                self.rebalance_or_finish_join_phase(id, &reason, env, out);
            }
        }
    }

    /// A member joins anew; an older JoinGroup of it is refused, because only one can be answered.
    pub(crate) fn update_member(
        &mut self,
        id: &StrBytes,
        member: &StrBytes,
        from: &Caller,
        request: &m::JoinGroupRequest,
        out: &mut Output,
    ) {
        let group = self.classic_mut(id);
        let Some(known) = group.and_then(|group| group.members.get_mut(member)) else { return };
        known.protocols = member_protocols(request);
        known.rebalance_timeout = duration(request.rebalance_timeout_ms);
        known.session_timeout = duration(request.session_timeout_ms);
        if let Some(older) = known.awaiting_join.replace(from.waiting()) {
            answer_join_error(older, member, ErrorCode::RebalanceInProgress, out);
        }
    }
}

impl ClassicGroup {
    fn supports_request(&self, request: &m::JoinGroupRequest) -> bool {
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        self.supports(&request.protocol_type, names)
    }
}

/// Copies, that outlive the request.
fn member_protocols(request: &m::JoinGroupRequest) -> Vec<MemberProtocol> {
    let protocols = request.protocols.iter();
    let protocols = protocols.map(|protocol| MemberProtocol {
        name: protocol.name.detached(),
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    protocols.collect()
}

/// The reason that a client gives (KIP-800), as the end of a sentence.
pub(crate) fn client_reason(request: &m::JoinGroupRequest) -> String {
    match request.reason.as_deref() {
        None | Some("") => String::new(),
        Some(reason) => format!(": {reason}"),
    }
}

/// The longest text that the protocol can say, in bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// A hyphen and a UUID.
const SUFFIX_BYTES: usize = 37;

/// As Kafka makes them: what a client calls itself, then a UUID in the hexadecimal form. A long name is
/// cut: an id that can not be told would close the connection of its member, and of the leader.
pub(crate) fn new_member_id(prefix: &str, random: [u8; 16]) -> StrBytes {
    let mut ends = (0..=prefix.len().min(TEXT_BYTES_MAX - SUFFIX_BYTES)).rev();
    let end = ends.find(|end| prefix.is_char_boundary(*end)).expect("the beginning is one");
    let prefix = &prefix[..end];
    let bytes = u128::from_be_bytes(Uuid::from_random(random).0);
    let hex = format!("{bytes:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    StrBytes::from(format!("{prefix}-{a}-{b}-{c}-{d}-{e}"))
}

impl Caller {
    /// The call, to be answered later.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { ticket: self.ticket, api_version: self.api_version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_can_be_told_whatever_its_client_is_called() {
        let uuid = "-00000000-0000-4000-8000-000000000000";
        assert_eq!(new_member_id("a", [0; 16]), *format!("a{uuid}"));
        let longest = new_member_id(&"a".repeat(TEXT_BYTES_MAX), [0; 16]);
        assert_eq!(longest, *format!("{}{uuid}", "a".repeat(TEXT_BYTES_MAX - SUFFIX_BYTES)));
        // Three bytes a character: the last one does not fit.
        let cut = new_member_id(&"\u{20ac}".repeat(TEXT_BYTES_MAX / 3), [0; 16]);
        assert_eq!(
            cut,
            *format!("{}{uuid}", "\u{20ac}".repeat((TEXT_BYTES_MAX - SUFFIX_BYTES) / 3))
        );
    }
}
