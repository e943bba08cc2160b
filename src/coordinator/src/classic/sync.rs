//! SyncGroup: the leader says who reads what, the others ask.
//!
//! In: a SyncGroup. Out: with the leader's, the record of the group and the answers to all who wait.
//! Nobody learns an assignment that is not in the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::messages as m;
use protocol::{ErrorCode, StrBytes};

use super::group::{ClassicGroup, ClassicState};
use super::rebalance::answer_sync_error;
use crate::call::Response;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Caller, Env, Output, Shard};
use crate::timers::Timer;

impl Shard {
    pub(crate) fn sync_group(
        &mut self,
        from: Caller,
        request: m::SyncGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
        let error = if from.api_version >= 5 && !names_protocol {
            Some(ErrorCode::InconsistentGroupProtocol)
        } else if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else {
            match self.groups.get(&request.group_id) {
                None => Some(ErrorCode::UnknownMemberId),
                Some(Group::Consumer(group)) if group.is_empty() => {
                    Some(ErrorCode::UnknownMemberId)
                }
                Some(Group::Consumer(_)) => {
                    return self.sync_consumer_group(from, request, env, out);
                }
                Some(Group::Classic(group)) => group.check_sync(&request).err(),
            }
        };
        match error {
            Some(error) => answer_sync_error(from.waiting(), error, out),
            None => self.sync_classic_group(from, request, env, out),
        }
    }

    fn sync_classic_group(
        &mut self,
        from: Caller,
        request: m::SyncGroupRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let known = self.groups.get_key_value(&request.group_id);
        let id = known.expect("the group was just checked").0.clone();
        let group = self.classic_mut(&id).expect("the group was just checked");
        group.pending_syncs.remove(&request.member_id);
        if group.pending_syncs.is_empty() {
            self.timers.cancel(&Timer::ClassicSync(id.clone()));
        }
        let group = self.classic_mut(&id).expect("the group was just checked");
        let is_leader = group.is_leader(&request.member_id);
        let is_stable = group.state == ClassicState::Stable;
        let (protocol_type, protocol) = (group.protocol_type.clone(), group.protocol.clone());
        let member = group.members.get_mut(&request.member_id);
        let member = member.expect("the member was just checked");
        if is_stable {
            let assignment = member.assignment.clone();
            let response = sync_response(protocol_type, protocol, assignment);
            return out.answer(from.ticket, response);
        }
        if let Some(older) = member.awaiting_sync.replace(from.waiting()) {
            answer_sync_error(older, ErrorCode::RebalanceInProgress, out);
        }
        if is_leader {
            self.assign(&id, &request.assignments, env, out);
        }
    }

    /// Members that the leader left out have nothing to read.
    fn assign(
        &mut self,
        id: &StrBytes,
        assignments: &[m::sync_group_request::SyncGroupRequestAssignment],
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let assignments: BTreeMap<&str, &Bytes> =
            assignments.iter().map(|one| (one.member_id.as_str(), &one.assignment)).collect();
        let group = self.classic_mut(id).expect("the group was just checked");
        for (member_id, member) in &mut group.members {
            let given = assignments.get(member_id.as_str());
            member.assignment =
                given.map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
        }
        let record_bytes = group.record_bytes_max(id);
        if self.config.record_bytes_max < record_bytes {
            return self.refuse_assignment(id, record_bytes, env, out);
        }
        let group = self.classic_mut(id).expect("the group was just checked");
        group.move_to(ClassicState::Stable, env.wall);
        let record = group.to_record(id);
        debug_assert!(fits(&record, record_bytes), "the bound is one");
        self.write(record, out);
        self.answer_syncs(id, env, out);
    }

    /// What does not fit into the log can not be given out. Members are told what Kafka tells them
    /// (`ClassicGroup.appendGroupMetadataErrorToResponseError`), and the group begins anew.
    fn refuse_assignment(
        &mut self,
        id: &StrBytes,
        record_bytes: usize,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let mut told = Vec::new();
        let group = self.classic_mut(id).expect("the group was just checked");
        for (member_id, member) in &mut group.members {
            member.assignment = Bytes::new();
            if let Some(waiting) = member.awaiting_sync.take() {
                answer_sync_error(waiting, ErrorCode::UnknownServerError, out);
                told.push((member_id.clone(), member.session_timeout));
            }
        }
        for (member, session_timeout) in told {
            self.set_session(id, &member, session_timeout, env);
        }
        let max = self.config.record_bytes_max;
        let reason = format!(
            "assignments and subscriptions of the group are {record_bytes} bytes long, a record of \
             the log is {max} at most (offsets.topic.segment.bytes)"
        );
        self.rebalance(id, &reason, env, out);
    }

    fn answer_syncs(&mut self, id: &StrBytes, env: &mut Env<'_>, out: &mut Output) {
        let group = self.classic_mut(id).expect("the group was just checked");
        let mut answered = Vec::new();
        for (member_id, member) in &mut group.members {
            let Some(waiting) = member.awaiting_sync.take() else { continue };
            let (protocol_type, protocol) = (group.protocol_type.clone(), group.protocol.clone());
            let response = sync_response(protocol_type, protocol, member.assignment.clone());
            out.answer(waiting.ticket, response);
            answered.push((member_id.clone(), member.session_timeout));
        }
        for (member, session_timeout) in answered {
            self.set_session(id, &member, session_timeout, env);
        }
    }
}

impl ClassicGroup {
    fn check_sync(&self, request: &m::SyncGroupRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if differ(request.protocol_type.as_ref(), self.protocol_type.as_ref())
            || differ(request.protocol_name.as_ref(), self.protocol.as_ref())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.state == ClassicState::PreparingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}

/// Whether a record is not longer than it was said to be at most.
fn fits(record: &Record, bytes_max: usize) -> bool {
    let size = |(key, value): (Bytes, Option<Bytes>)| key.len() + value.map_or(0, |v| v.len());
    record.encode().is_ok_and(|encoded| size(encoded) <= bytes_max)
}

/// Whether both are known and not the same.
fn differ(one: Option<&StrBytes>, other: Option<&StrBytes>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

fn sync_response(
    protocol_type: Option<StrBytes>,
    protocol_name: Option<StrBytes>,
    assignment: Bytes,
) -> Response {
    Response::SyncGroup(m::SyncGroupResponse {
        protocol_type,
        protocol_name,
        assignment,
        ..Default::default()
    })
}
