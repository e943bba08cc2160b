//! What concerns groups of any type: to list, to delete, to count them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::messages as m;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::classic::{CONSUMER, ClassicState};
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Caller, Output, Shard};

impl Group {
    /// As metrics name it.
    fn type_name(&self) -> &'static str {
        match self {
            Group::Classic(_) => "Classic",
            Group::Consumer(_) => "Consumer",
        }
    }

    /// As ListGroups names it (`Group.GroupType`).
    fn listed_type(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => "consumer",
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

/// What a shard has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Rebalances that classic groups began.
    pub classic_rebalances: u64,
    /// New epochs of consumer groups.
    pub consumer_rebalances: u64,
    /// Offsets that were committed, each partition by itself.
    pub offset_commits: u64,
    /// Offsets that were forgotten because nobody needed them any more.
    pub offset_expirations: u64,
}

/// What a shard holds, and what it has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups, by type and state as metrics name them.
    pub groups: BTreeMap<(&'static str, &'static str), usize>,
    /// Committed offsets, each partition of each group by itself.
    pub offsets: usize,
    /// Since it was loaded.
    pub activity: Activity,
}

impl Shard {
    /// Counts everything, which takes a look at every group.
    pub(crate) fn counts(&self) -> Counts {
        let mut groups = BTreeMap::new();
        for group in self.groups.values() {
            *groups.entry((group.type_name(), group.state_name())).or_default() += 1;
        }
        Counts { groups, offsets: self.offsets.iter().count(), activity: self.activity }
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
        let groups = self.groups.iter().filter(|(_, group)| {
            has(states, group.state_name()) && has(types, group.listed_type())
        });
        let listed = groups.map(|(id, group)| ListedGroup {
            group_id: id.clone(),
            protocol_type: group.protocol_type(),
            group_state: StrBytes::from_static(group.state_name()),
            group_type: StrBytes::from_static(group.listed_type()),
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
