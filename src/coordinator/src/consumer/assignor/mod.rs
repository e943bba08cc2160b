//! Who shall read what: pure functions over who is there and what there is.
//!
//! In: members with their topics and what they shall own so far, topics with their partition counts.
//! Out: what each member shall own.
//!
//! Every partition of a topic that somebody subscribes to goes to exactly one of its subscribers; the
//! same input gives the same output; members keep what they may keep. With m members and p partitions
//! the work is of order m log m + p log m.

mod range;
mod share;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;

use model::TopicId;

use super::partitions::Partitions;

/// A member as assignors see it.
#[derive(Clone, Debug)]
pub(super) struct MemberSpec<'a> {
    /// Members come in the order of their ids.
    pub(super) id: &'a str,
    /// Static members keep their place in the order whatever their member id is.
    pub(super) instance: Option<&'a str>,
    /// The topics that it asks for, sorted; shared by members that ask for the same.
    pub(super) topics: Rc<[TopicId]>,
    /// What it shall own so far.
    pub(super) current: &'a Partitions,
}

/// Who is there and what there is.
#[derive(Clone, Debug)]
pub(super) struct Spec<'a> {
    pub(super) members: Vec<MemberSpec<'a>>,
    /// How many partitions each topic has; all that members ask for are here.
    pub(super) topics: BTreeMap<TopicId, u32>,
}

/// A way to assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assignor {
    /// Everybody gets about as many partitions as everybody else.
    Uniform,
    /// The same partition numbers of like topics go to the same member.
    Range,
}

impl Assignor {
    /// The assignor of this name.
    pub(super) fn by_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// What each member shall own, in the order of the members.
    pub(super) fn assign(self, spec: &Spec<'_>) -> Vec<Partitions> {
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}

impl Spec<'_> {
    fn partition_count(&self, topic: TopicId) -> usize {
        self.topics.get(&topic).map_or(0, |count| *count as usize)
    }

    /// For every topic: who asks for it, in the order of the members.
    fn subscribers(&self) -> BTreeMap<TopicId, Vec<usize>> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        subscribers
    }

    /// For every topic that is asked for: who shall own each partition so far, as long as that member
    /// still asks for it.
    fn owners(&self) -> BTreeMap<TopicId, Vec<Option<usize>>> {
        let asked = self.members.iter().flat_map(|member| member.topics.iter());
        let mut owners: BTreeMap<TopicId, Vec<Option<usize>>> = BTreeMap::new();
        let mut last = None;
        for topic in asked {
            // Most members ask for what the one before asked for: most steps end here.
            if last != Some(topic) && !owners.contains_key(topic) {
                owners.insert(*topic, vec![None; self.partition_count(*topic)]);
            }
            last = Some(topic);
        }
        for (index, member) in self.members.iter().enumerate() {
            for (topic, partitions) in member.current {
                if member.topics.binary_search(topic).is_err() {
                    continue;
                }
                let Some(places) = owners.get_mut(topic) else { continue };
                for partition in partitions {
                    let place = usize::try_from(*partition).ok().and_then(|it| places.get_mut(it));
                    if let Some(place @ None) = place {
                        *place = Some(index);
                    }
                }
            }
        }
        owners
    }
}
