//! A static member that comes back (KIP-345): it takes the place of the one with its instance id.
//!
//! In: a JoinGroup with an instance id that is known, and no member id. Out: the old member id is
//! fenced; a stable group writes down the new one and goes on as it was, if nothing else changes.
//!
//! Start at [`Shard::replace_static_member`].

use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use super::group::{ClassicGroup, ClassicState};
use super::join::client_reason;
use super::member::ClassicMember;
use super::rebalance::{answer_join, answer_sync_error, join_members, join_response};
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

impl Shard {
    #[allow(clippy::too_many_arguments)] // A JoinGroup, and both ids.
    pub(crate) fn replace_static_member(
        &mut self,
        id: &StrBytes,
        old: &StrBytes,
        new: StrBytes,
        from: Caller,
        request: m::JoinGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let group = self.classic_mut(id).expect("the group was found or created");
        let old_leader = group.leader.clone();
        let before = group.rename(old, &new).expect("an instance id belongs to a member");
        fence(old, &before, out);
        let member = group.members.get_mut(&new).expect("it was just renamed");
        member.client_id = from.client_id.detached();
        member.client_host = from.client_host.detached();
        self.timers.cancel(&Timer::ClassicSession(id.clone(), old.clone()));
        self.update_member(id, &new, &from, &request, out);
        let group = self.classic(id).expect("the group was found or created");
        self.set_session(id, &new, group.members[&new].session_timeout, env);

        let group = self.classic(id).expect("the group was found or created");
        let state = group.state;
        let because = client_reason(&request);
        if state == ClassicState::Stable && is_alike(group, &before, &group.members[&new]) {
            self.confirm_static_member(id, &new, old_leader, out);
        } else if state == ClassicState::Stable {
            let reason = format!("member {new} joined with another subscription{because}");
            self.rebalance(id, &reason, env, out);
        } else if state == ClassicState::CompletingRebalance {
            // The leader assigns to the old id, which nobody has any more (KAFKA-9801).
            let reason = format!("member {new} joined before the assignment{because}");
            self.rebalance(id, &reason, env, out);
        } else {
            self.finish_join_phase_if_due(id, env, out);
        }
    }

    /// The group goes on under the same assignment, with the new id in the log.
    fn confirm_static_member(
        &mut self,
        id: &StrBytes,
        new: &StrBytes,
        old_leader: Option<StrBytes>,
        out: &mut Output,
    ) {
        let group = self.classic_mut(id).expect("the group was found or created");
        let member = group.members.get_mut(new).expect("it was just renamed");
        let waiting = member.awaiting_join.take().expect("its JoinGroup waits");
        let is_leader = group.is_leader(new);
        let mut response = join_response(group, new, Vec::new());
        if waiting.api_version >= 9 {
            // A new process at the head of the group has to know whom it leads, not to assign.
            response.skip_assignment = is_leader;
            if is_leader {
                response.members = join_members(group);
            }
        } else {
            // It can not be told to leave the assignment alone, so it must not think that it leads.
            response.leader = old_leader.unwrap_or_default();
        }
        let record = group.to_record(id);
        self.write(record, out);
        answer_join(waiting, response, out);
    }
}

/// Whoever waits under the old id learns that another has taken its place.
fn fence(old: &StrBytes, member: &ClassicMember, out: &mut Output) {
    if let Some(waiting) = member.awaiting_join {
        let response = m::JoinGroupResponse {
            error_code: ErrorCode::FencedInstanceId.code(),
            member_id: old.clone(),
            protocol_name: None,
            ..Default::default()
        };
        answer_join(waiting, response, out);
    }
    if let Some(waiting) = member.awaiting_sync {
        answer_sync_error(waiting, ErrorCode::FencedInstanceId, out);
    }
}

/// Whether the group can go on with the new member as with the old one: the vote comes out the same,
/// and a consumer reads the same topics. Kafka looks at the vote only, and leaves a member that comes
/// back for other topics without them.
fn is_alike(group: &ClassicGroup, old: &ClassicMember, new: &ClassicMember) -> bool {
    let protocol = group.select_protocol();
    if protocol.is_none() || protocol != group.protocol {
        return false;
    }
    match &protocol {
        Some(protocol) if group.is_of_consumers() => {
            old.read_subscription(protocol) == new.read_subscription(protocol)
        }
        _ => true,
    }
}
