//! DescribeGroups: one group in the classic form.

use protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use protocol::{ErrorCode, StrBytes};

use super::group::{ClassicGroup, ClassicState};
use crate::call::Response;
use crate::group::{Group, Rebalance};
use crate::shard::{Caller, Output, Shard};

/// Before it there is no place for tagged fields.
const FIRST_TAGGED_VERSION: i16 = 5;

impl Shard {
    /// Consumer groups are not described in this form. Up to version 5, groups that can not be
    /// described are said to be dead; from version 6 that is an error (KIP-1043).
    pub(crate) fn describe_group(&mut self, from: Caller, id: StrBytes, out: &mut Output) {
        let described = match self.groups.get(&id) {
            Some(Group::Classic(group)) => describe(id, group, from.api_version),
            Some(Group::Consumer(_)) => {
                let text = format!("Group {id} is not a classic group.");
                not_found(id, text, from.api_version)
            }
            None => {
                let text = format!("Group {id} not found.");
                not_found(id, text, from.api_version)
            }
        };
        out.answer(from.ticket, Response::DescribeGroup(described));
    }
}

fn not_found(group_id: StrBytes, text: String, api_version: i16) -> DescribedGroup {
    let mut described = DescribedGroup {
        group_id,
        group_state: StrBytes::from_static("Dead"),
        ..Default::default()
    };
    if api_version >= 6 {
        described.error_code = ErrorCode::GroupIdNotFound.code();
        described.error_message = Some(StrBytes::from(text));
    }
    described
}

/// What members said of themselves is told of a stable group only: else it belongs to no protocol.
fn describe(group_id: StrBytes, group: &ClassicGroup, api_version: i16) -> DescribedGroup {
    let last_rebalance = group.last_rebalance.as_ref().map(Rebalance::to_tagged);
    let last_rebalance = last_rebalance.filter(|_| FIRST_TAGGED_VERSION <= api_version);
    let is_stable = group.state == ClassicState::Stable;
    let protocol = group.protocol.clone().filter(|_| is_stable).unwrap_or_default();
    let members = group.members.iter().map(|(id, member)| DescribedGroupMember {
        member_id: id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: member
            .metadata(&protocol)
            .filter(|_| is_stable)
            .cloned()
            .unwrap_or_default(),
        member_assignment: member.assignment.clone(),
        ..Default::default()
    });
    DescribedGroup {
        group_id,
        group_state: StrBytes::from_static(group.state.name()),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        members: members.collect(),
        protocol_data: protocol,
        unknown_tagged_fields: last_rebalance.unwrap_or_default(),
        ..Default::default()
    }
}
