//! What the members of all groups share: numbers, who has what at the moment, groups that an
//! administrator has closed, guests that were invited, topics that grew.
//!
//! Start at [`Groups`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use history::{GroupEvent, GroupWhat, Partition, What};
use protocol::StrBytes;

use super::{Role, Work, roles};
use crate::scenario::{GroupSpec, Scenario};
use crate::world::{Nanos, NodeId};

/// Sessions are numbered from here, beyond all readers.
const MEMBERS_FROM: u32 = 1_000;

/// A member of a group, by its place in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberPlace {
    /// Which group, in the order of their ids.
    pub group: usize,
    /// Which member of it, from 0.
    pub number: u32,
    /// Whether it only comes when it is invited.
    pub is_guest: bool,
}

/// What a client is as a member.
#[derive(Clone, Debug)]
pub struct View {
    /// The number of its session.
    pub member: u32,
    /// The group's id.
    pub group: Arc<str>,
    /// What it was told is its own.
    pub owned: BTreeSet<Partition>,
    /// The member id by which it is in the group, if it is, as it was told last.
    pub id: Option<StrBytes>,
    /// When the last poll began that had no change to tell.
    pub untold: Nanos,
}

/// An assignment that nobody made anew when its leader came back: a static leader is told to leave it
/// alone, and does not know of which partitions it was. One that was added meanwhile is for the next
/// generation, as in Kafka (`ConsumerCoordinator.onLeaderElected`).
#[derive(Clone, Copy, Debug)]
struct Stood {
    epoch: i32,
    at: Nanos,
}

/// Somebody asked for a topic to have so many partitions.
#[derive(Clone, Copy, Debug)]
struct Grown {
    asked: Nanos,
    count: i32,
}

#[derive(Default)]
struct State {
    views: BTreeMap<usize, View>,
    /// Groups whose members are to stay away.
    closed: BTreeSet<Arc<str>>,
    /// Until when guests stay.
    invited: BTreeMap<Arc<str>, Nanos>,
    /// The partitions of topics that grew.
    grown: BTreeMap<Arc<str>, i32>,
    /// By topic.
    growths: BTreeMap<Arc<str>, Vec<Grown>>,
    /// By group.
    stood: BTreeMap<Arc<str>, Stood>,
}

/// See the module.
pub(super) struct Groups {
    members: AtomicU32,
    writes: AtomicU32,
    losses: AtomicU32,
    growths: Arc<()>,
    state: Mutex<State>,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups {
            members: AtomicU32::new(MEMBERS_FROM),
            writes: AtomicU32::default(),
            losses: AtomicU32::default(),
            growths: Arc::default(),
            state: Mutex::default(),
        }
    }
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no write of offsets had before.
    pub(super) fn next_write(&self) -> u32 {
        self.writes.fetch_add(1, Ordering::Relaxed)
    }

    /// Members of `group` leave, and stay away until [`Groups::open`].
    pub(super) fn close(&self, group: &Arc<str>) {
        self.lock().closed.insert(Arc::clone(group));
    }

    pub(super) fn open(&self, group: &Arc<str>) {
        self.lock().closed.remove(group);
    }

    pub(super) fn is_closed(&self, group: &Arc<str>) -> bool {
        self.lock().closed.contains(group)
    }

    /// Whether nobody is a member of `group`, as far as the members know.
    pub(super) fn is_empty(&self, group: &Arc<str>) -> bool {
        !self.lock().views.values().any(|view| view.group == *group)
    }
}

/// A topic grows while this lives.
pub struct Growth {
    _of: Arc<()>,
}

impl Work {
    /// The group at this place.
    pub(super) fn group(&self, at: usize) -> (Arc<str>, &GroupSpec) {
        let (name, spec) = self.scenario.groups.iter().nth(at).expect("roles come from groups");
        (Arc::from(name.as_str()), spec)
    }

    /// Writes down what happened in a group.
    pub(super) fn note_group(&self, node: NodeId, group: &Arc<str>, what: GroupWhat) {
        let group = Arc::clone(group);
        self.recorder.note(node, What::Group(GroupEvent { group, what }));
    }

    /// A session of client number `client` begins; returns its number.
    pub(super) fn begin_session(&self, client: usize, group: &Arc<str>) -> u32 {
        let member = self.groups.members.fetch_add(1, Ordering::Relaxed);
        let (group, owned) = (Arc::clone(group), BTreeSet::new());
        let view = View { member, group, owned, id: None, untold: 0 };
        self.groups.lock().views.insert(client, view);
        member
    }

    /// The session of client number `client` is over, if it had one.
    pub(super) fn end_session(&self, node: NodeId, client: usize) {
        let view = self.groups.lock().views.remove(&client);
        if let Some(View { member, group, .. }) = view {
            self.note_group(node, &group, GroupWhat::Ended { member });
        }
    }

    /// Client number `client` is in its group by this member id, or is not.
    pub(super) fn note_member_id(&self, client: usize, id: Option<StrBytes>) {
        if let Some(view) = self.groups.lock().views.get_mut(&client) {
            view.id = id;
        }
    }

    /// Client number `client` was told nothing new by a poll that began then.
    pub(super) fn note_untold(&self, client: usize, begun: Nanos) {
        if let Some(view) = self.groups.lock().views.get_mut(&client) {
            view.untold = begun;
        }
    }

    /// A member of `group` was told of the assignment of an epoch. `stands`: it leads a classic group,
    /// is static and has just come back, so that it may not have made it.
    pub(super) fn note_assignment(&self, group: &Arc<str>, epoch: i32, stands: bool) {
        let mut state = self.groups.lock();
        if state.stood.get(group).is_some_and(|stood| stood.epoch < epoch) {
            state.stood.remove(group);
        }
        if stands {
            let stood = Stood { epoch, at: self.world.now() };
            state.stood.insert(Arc::clone(group), stood);
        }
    }

    /// Whether the assignment of `group` may be one that stood when its leader came back, from before
    /// `partition` was added.
    pub fn may_be_unassigned(&self, group: &str, partition: &Partition) -> bool {
        let state = self.groups.lock();
        let growths = state.growths.get(&partition.topic).into_iter().flatten();
        let added = growths.filter(|grown| partition.index < grown.count);
        let added = added.map(|grown| grown.asked).min();
        let given = self.scenario.topics.get(&*partition.topic).map_or(0, |topic| topic.partitions);
        let stood = state.stood.get(group);
        given <= partition.index && added.zip(stood).is_some_and(|(added, stood)| added <= stood.at)
    }

    /// A member was told that it is out of its group.
    pub(super) fn note_loss(&self) {
        self.groups.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// How often members were told so.
    pub fn losses(&self) -> u32 {
        self.groups.losses.load(Ordering::Relaxed)
    }

    /// Changes what client number `client` has.
    pub(super) fn change_owned(
        &self,
        client: usize,
        change: impl FnOnce(&mut BTreeSet<Partition>),
    ) {
        if let Some(view) = self.groups.lock().views.get_mut(&client) {
            change(&mut view.owned);
        }
    }

    /// What every client is as a member, by client from 0; of one that crashed what it was.
    pub fn views(&self) -> BTreeMap<usize, View> {
        self.groups.lock().views.clone()
    }

    /// Guests of `group` may stay until then.
    pub fn invite(&self, group: &str, until: Nanos) {
        let mut state = self.groups.lock();
        let invited = state.invited.entry(Arc::from(group)).or_default();
        *invited = until.max(*invited);
    }

    /// Until when guests of `group` may stay.
    pub(super) fn invited_until(&self, group: &Arc<str>) -> Nanos {
        self.groups.lock().invited.get(group).copied().unwrap_or_default()
    }

    /// The guests of `group`: clients, from 1.
    pub fn guests(&self, group: &str) -> Vec<u32> {
        let at = self.scenario.groups.keys().position(|name| name == group);
        let is_guest = |role: &Role| matches!(role, Role::Member(place) if place.is_guest && Some(place.group) == at);
        let clients = (1..).zip(self.roles()).filter(|(_, role)| is_guest(role));
        clients.map(|(client, _)| client).collect()
    }

    /// How many partitions a topic of the scenario has, as far as anybody was told.
    pub fn partition_count(&self, topic: &str) -> i32 {
        let given = self.scenario.topics.get(topic).map_or(0, |topic| topic.partitions);
        self.groups.lock().grown.get(topic).copied().unwrap_or_default().max(given)
    }

    /// A topic of the scenario has so many partitions.
    pub fn grown(&self, topic: &str, partitions: i32) {
        let mut state = self.groups.lock();
        let count = state.grown.entry(Arc::from(topic)).or_default();
        *count = partitions.max(*count);
    }

    /// Somebody asks for a topic to have so many partitions, until what this returns is dropped.
    pub fn begin_growth(&self, topic: &str, count: i32) -> Growth {
        let grown = Grown { asked: self.world.now(), count };
        self.groups.lock().growths.entry(Arc::from(topic)).or_default().push(grown);
        Growth { _of: Arc::clone(&self.groups.growths) }
    }

    /// Whether a topic is growing.
    pub fn is_growing(&self) -> bool {
        1 < Arc::strong_count(&self.groups.growths)
    }
}

/// The members of all groups that are always there: clients, from 1, with their group's id.
pub fn members(scenario: &Scenario) -> Vec<(u32, &str)> {
    let names: Vec<&String> = scenario.groups.keys().collect();
    let roles = (1..).zip(roles(scenario));
    let members = roles.filter_map(|(client, role)| match role {
        Role::Member(place) if !place.is_guest => Some((client, names[place.group].as_str())),
        _ => None,
    });
    members.collect()
}

/// The places of all groups' members and guests, in order.
pub(super) fn places(scenario: &Scenario) -> impl Iterator<Item = MemberPlace> {
    scenario.groups.values().enumerate().flat_map(|(group, spec)| {
        (0..spec.members + spec.guests).map(move |number| MemberPlace {
            group,
            number,
            is_guest: spec.members <= number,
        })
    })
}
