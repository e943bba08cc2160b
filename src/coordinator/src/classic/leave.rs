//! LeaveGroup: members go, or are sent away by an admin.
//!
//! Before version 3 a request has one member and the answer one error; later ones have many of both.

use protocol::messages as m;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::leave_group_response::MemberResponse;
use protocol::{ErrorCode, StrBytes};

use super::group::ClassicState;
use crate::call::Response;
use crate::group::Group;
use crate::shard::{Caller, Env, Output, Shard};

impl Shard {
    pub(crate) fn leave_group(
        &mut self,
        from: Caller,
        mut request: m::LeaveGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        if from.api_version < 3 {
            let member_id = request.member_id.clone();
            request.members = vec![MemberIdentity { member_id, ..Default::default() }];
        }
        if request.group_id.is_empty() {
            return answer_leave(&from, ErrorCode::InvalidGroupId, Vec::new(), out);
        }
        match self.groups.get_key_value(&request.group_id) {
            None => {
                let members = request.members.iter();
                let unknown = |member| member_response(member, Err(ErrorCode::UnknownMemberId));
                answer_leave(&from, ErrorCode::None, members.map(unknown).collect(), out);
            }
            Some((_, Group::Consumer(_))) => self.leave_consumer_group(from, request, env, out),
            Some((id, Group::Classic(_))) => {
                let id = id.clone();
                self.leave_classic_group(&id, &from, &request, env, out);
            }
        }
    }

    fn leave_classic_group(
        &mut self,
        id: &StrBytes,
        from: &Caller,
        request: &m::LeaveGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let mut responses = Vec::new();
        let mut left = Vec::new();
        for member in &request.members {
            let result = self.leave_one(id, member, out);
            responses.push(member_response(member, result.as_ref().map(|_| ()).map_err(|e| *e)));
            left.extend(result.ok().flatten());
        }
        match self.classic(id).map(|group| group.state) {
            Some(ClassicState::CompletingRebalance | ClassicState::Stable) if !left.is_empty() => {
                self.rebalance(id, &left.join(", "), env, out);
            }
            _ => self.finish_join_phase_if_due(id, env, out),
        }
        answer_leave(from, ErrorCode::None, responses, out);
    }

    /// Lets one member go; returns what happened, for people. Nothing did when it had only got its
    /// id: the others need not rejoin, as Kafka has them do.
    fn leave_one(
        &mut self,
        id: &StrBytes,
        member: &MemberIdentity,
        out: &mut Output,
    ) -> Result<Option<String>, ErrorCode> {
        let group = self.classic(id).ok_or(ErrorCode::UnknownMemberId)?;
        let is_pending = group.pending_joins.contains(&member.member_id);
        let instance = member.group_instance_id.as_deref();
        let member_id = if member.member_id.is_empty() {
            // An admin knows static members by their instance id alone.
            let known = instance.and_then(|instance| group.static_members.get(instance));
            known.ok_or(ErrorCode::UnknownMemberId)?.clone()
        } else {
            if !is_pending {
                group.check_member(&member.member_id, instance)?;
            }
            member.member_id.clone()
        };
        self.remove_classic_member(id, &member_id, out);
        let because = match member.reason.as_deref() {
            None | Some("") => String::new(),
            Some(reason) => format!(": {reason}"),
        };
        Ok((!is_pending).then(|| format!("member {member_id} left{because}")))
    }
}

/// What became of one member.
pub(crate) fn member_response(
    member: &MemberIdentity,
    result: Result<(), ErrorCode>,
) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: result.err().map_or(0, ErrorCode::code),
        ..Default::default()
    }
}

/// Answers a LeaveGroup; an old client gets the error of its only member.
pub(crate) fn answer_leave(
    from: &Caller,
    error: ErrorCode,
    members: Vec<MemberResponse>,
    out: &mut Output,
) {
    let mut response =
        m::LeaveGroupResponse { error_code: error.code(), members, ..Default::default() };
    if from.api_version < 3 {
        for member in response.members.drain(..) {
            if response.error_code == 0 {
                response.error_code = member.error_code;
            }
        }
    }
    out.answer(from.ticket, Response::LeaveGroup(response));
}
