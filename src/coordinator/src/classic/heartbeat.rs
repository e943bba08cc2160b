//! Heartbeat: a member's sign of life, by which it learns that it has to rejoin.

use protocol::ErrorCode;
use protocol::messages as m;

use super::group::{ClassicGroup, ClassicState};
use crate::call::Response;
use crate::group::Group;
use crate::shard::{Caller, Env, Output, Shard};

impl Shard {
    pub(crate) fn heartbeat(
        &mut self,
        from: Caller,
        request: m::HeartbeatRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let result = match self.groups.get(&request.group_id) {
            _ if request.group_id.is_empty() => Err(ErrorCode::InvalidGroupId),
            None => Err(ErrorCode::UnknownMemberId),
            Some(Group::Consumer(_)) => {
                return self.heartbeat_of_consumer_group(from, request, env, out);
            }
            Some(Group::Classic(group)) => group.check_heartbeat(&request),
        };
        if matches!(result, Ok(()) | Err(ErrorCode::RebalanceInProgress)) {
            self.renew_session(&request.group_id, &request.member_id, env);
        }
        let error_code = result.err().map_or(0, ErrorCode::code);
        let response = m::HeartbeatResponse { error_code, ..Default::default() };
        out.answer(from.ticket, Response::Heartbeat(response));
    }
}

impl ClassicGroup {
    fn check_heartbeat(&self, request: &m::HeartbeatRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }
}
