//! What concerns groups of any type: to list, to delete, to count them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::messages as m;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::classic::{CONSUMER, ClassicState, Rebalance};
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Caller, Output, Shard};

impl Group {
    /// As ListGroups names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Group::Classic(_) => "Classic",
            Group::Consumer(_) => "Consumer",
        }
    }

    /// As ListGroups and the describing APIs name it.
    pub(crate) fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state.name(),
            Group::Consumer(group) => group.state_name(),
        }
    }

    /// Whether it has no member.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.state == ClassicState::Empty,
            Group::Consumer(group) => group.is_empty(),
        }
    }

    /// Whether a member reads the topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    fn protocol_type(&self) -> StrBytes {
        match self {
            Group::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
            Group::Consumer(_) => StrBytes::from_static(CONSUMER),
        }
    }

    fn tombstones(&self, id: &StrBytes) -> Vec<Record> {
        match self {
            Group::Classic(_) => {
                let key = m::GroupMetadataKey { group: id.clone() };
                vec![Record::GroupMetadata { key, value: None }]
            }
            Group::Consumer(group) => group.tombstones(id),
        }
    }
}

impl Shard {
    /// How many groups there are, by type and state as ListGroups names them.
    pub fn group_counts(&self) -> BTreeMap<(&'static str, &'static str), usize> {
        let mut counts = BTreeMap::new();
        for group in self.groups.values() {
            *counts.entry((group.type_name(), group.state_name())).or_default() += 1;
        }
        counts
    }

    /// Why and when a classic group began its last rebalance; nothing when that was before this
    /// coordinator took it over.
    pub fn last_rebalance(&self, group: &str) -> Option<&Rebalance> {
        self.classic(group)?.last_rebalance.as_ref()
    }

    pub(crate) fn list_groups(
        &mut self,
        from: Caller,
        states: &[StrBytes],
        types: &[StrBytes],
        out: &mut Output,
    ) {
        let has = |wanted: &[StrBytes], name: &str| {
            let mut names = wanted.iter();
            wanted.is_empty() || names.any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let groups = self
            .groups
            .iter()
            .filter(|(_, group)| has(states, group.state_name()) && has(types, group.type_name()));
        let listed = groups.map(|(id, group)| ListedGroup {
            group_id: id.clone(),
            protocol_type: group.protocol_type(),
            group_state: StrBytes::from_static(group.state_name()),
            group_type: StrBytes::from_static(group.type_name()),
            ..Default::default()
        });
        out.answer(from.ticket, Response::ListGroups(listed.collect()));
    }

    /// Only a group without members can be deleted; its offsets go with it.
    pub(crate) fn delete_group(&mut self, from: Caller, id: &StrBytes, out: &mut Output) {
        let error = match self.groups.get(id) {
            None => ErrorCode::GroupIdNotFound,
            Some(group) if !group.is_empty() => ErrorCode::NonEmptyGroup,
            Some(_) => {
                self.delete_all_offsets(id, out);
                self.write_group_tombstones(id, out);
                ErrorCode::None
            }
        };
        out.answer(from.ticket, Response::DeleteGroup(error));
    }

    /// Takes a group away that is empty and has no offsets.
    pub(crate) fn write_group_tombstones(&mut self, id: &StrBytes, out: &mut Output) {
        let Some(group) = self.groups.get(id) else { return };
        for record in group.tombstones(id) {
            self.write(record, out);
        }
    }
}
