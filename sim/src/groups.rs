//! Life of groups of consumers after healing: each is stable, each partition has one owner that is
//! alive, and everything there is is committed.
//!
//! Start at [`Stage::groups_settle`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Admin, Client, IsolationLevel, OffsetSpec, TopicPartition};
use history::{Committed, GroupEvent, GroupWhat, Partition, What};
use model::PartitionIndex;
use protocol::{LastRebalance, StrBytes};

use crate::run::Lifeless;
use crate::scenario::{GroupSpec, ProtocolSpec};
use crate::stage::Stage;
use crate::workload::{Role, View, members};
use crate::world::{Nanos, NodeId};

/// How often it looks whether a group is where it has to be.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// More reasons say nothing new.
const REASONS_MAX: usize = 5;

impl Stage {
    /// Waits until nobody lets a topic grow any more, and asks how large they are.
    pub(crate) async fn until_grown(&self, client: &Client) {
        if self.work.scenario.groups.is_empty() {
            return;
        }
        while self.work.is_growing() {
            self.world.sleep(LOOK_EVERY).await;
        }
        loop {
            if let Ok(listed) = Admin::new(client).list_topics().await {
                for (name, topic) in &listed {
                    if self.work.scenario.topics.contains_key(&**name) {
                        self.work.grown(name, topic.partitions.len() as i32);
                    }
                }
                return;
            }
            self.world.sleep(LOOK_EVERY).await;
        }
    }

    /// Whether every group comes to rest before `deadline`; says what is missing if not.
    pub(crate) async fn groups_settle(
        &self,
        client: &Client,
        clients: &[NodeId],
        deadline: Nanos,
    ) -> bool {
        let scenario = &self.work.scenario;
        if !self.work.damaged().is_empty() {
            return true;
        }
        for (name, spec) in &scenario.groups {
            let of_group = members(scenario).into_iter().filter(|(_, group)| group == name);
            let mut of_group = of_group.map(|(client, _)| client as usize - 1);
            if of_group.all(|client| self.work.is_silent(client)) {
                continue;
            }
            // A member that was busy hears late of what happened to it long ago.
            let from = self.world.now();
            loop {
                let mut reasons = self.not_told(clients, name, from);
                if reasons.is_empty() {
                    reasons = self.why_not_settled(client, clients, name, spec).await;
                }
                if reasons.is_empty() {
                    break;
                }
                if deadline <= self.world.now() {
                    self.lifeless("bring its groups to rest", reasons);
                    return false;
                }
                self.world.sleep(LOOK_EVERY).await;
            }
        }
        self.members_stay(client).await
    }

    /// Nothing is wrong any more: whoever is in a group stays in it, for longer than its session, also
    /// who has nothing to read and is told of no loss.
    async fn members_stay(&self, client: &Client) -> bool {
        let scenario = &self.work.scenario;
        if scenario.groups.values().all(|group| group.members == 0) {
            return true;
        }
        let (losses, views) = (self.work.losses(), self.work.views());
        let rebalances = self.last_rebalances(client).await;
        self.world.sleep(scenario.longest_session() + LOOK_EVERY * 5).await;
        let more = self.work.losses() - losses;
        let told = format!("members that are alive were told that they are out, {more} times");
        let mut why: Vec<String> = (0 < more).then_some(told).into_iter().collect();
        why.extend(self.came_anew(&views));
        for (group, now) in self.last_rebalances(client).await {
            if rebalances.get(&group) != Some(&now) {
                why.extend(self.about_who_stayed(&views, &group, &now.reason));
            }
        }
        let stay = why.is_empty();
        if !stay {
            self.lifeless("keep the members of its groups", why);
        }
        stay
    }

    /// Members that were in their group at the time of `views`, and began again since.
    fn came_anew(&self, views: &BTreeMap<usize, View>) -> Vec<String> {
        let now = self.work.views();
        let others = views.iter().filter_map(|(client, before)| {
            let id = before.id.as_ref().filter(|_| !self.is_guest(*client))?;
            let after = now.get(client);
            // Who rejoins is told when it is done.
            let is_same = after.is_some_and(|after| {
                let known = after.id.as_ref().unwrap_or(id);
                after.member == before.member && known == id
            });
            let (member, group) = (before.member, &before.group);
            (!is_same).then(|| format!("group {group}: member {member} is {id} no more"))
        });
        others.collect()
    }

    /// Why a consumer group rebalanced, when that was for one of the members that were in it at the time
    /// of `views`: it keeps its id when it is out and comes back. A classic one gets another.
    fn about_who_stayed(
        &self,
        views: &BTreeMap<usize, View>,
        group: &StrBytes,
        reason: &StrBytes,
    ) -> Option<String> {
        let is_of_group =
            |client: usize, view: &View| *view.group == **group && !self.is_guest(client);
        let of_group = views.iter().filter(|(client, view)| is_of_group(**client, view));
        let mut ids = of_group.filter_map(|(_, view)| view.id.as_ref());
        let is_named = ids.any(|id| reason.contains(id.as_str()));
        is_named.then(|| format!("group {group} has rebalanced: {reason}"))
    }

    /// Whether a client is there for a while only.
    fn is_guest(&self, client: usize) -> bool {
        matches!(self.work.roles()[client], Role::Member(place) if place.is_guest)
    }

    /// Why and when each consumer group last rebalanced, as far as it is told.
    async fn last_rebalances(&self, client: &Client) -> BTreeMap<StrBytes, LastRebalance> {
        let groups = self.work.scenario.groups.iter();
        let groups =
            groups.filter(|(_, spec)| 0 < spec.members && spec.protocol == ProtocolSpec::Consumer);
        let names: Vec<StrBytes> = groups.map(|(name, _)| StrBytes::from(name.as_str())).collect();
        let described = Admin::new(client).describe_groups(names).await;
        let last = described
            .into_iter()
            .filter_map(|(name, group)| Some((name, group.ok()?.last_rebalance?)));
        last.collect()
    }

    fn lifeless(&self, phase: &'static str, mut why: Vec<String>) {
        why.truncate(REASONS_MAX);
        self.slate().lifeless = Some(Lifeless { phase, why });
    }

    /// Members that are alive and have not asked since `from` and been told nothing new.
    fn not_told(&self, clients: &[NodeId], name: &str, from: Nanos) -> Vec<String> {
        let views = self.work.views();
        let of_group = views.iter().filter(|(client, view)| {
            let is_alive = self.world.process(clients[**client]).is_some();
            is_alive && &*view.group == name && view.untold < from
        });
        let reason =
            |view: &View| format!("group {name}: member {} has not heard all", view.member);
        of_group.map(|(_, view)| reason(view)).collect()
    }

    async fn why_not_settled(
        &self,
        client: &Client,
        clients: &[NodeId],
        name: &str,
        spec: &GroupSpec,
    ) -> Vec<String> {
        let mut partitions = self.work.partitions_of(spec);
        partitions.retain(|at| !self.work.may_be_unassigned(name, at));
        let mut reasons = self.not_owned_once(clients, name, &partitions);
        if reasons.is_empty() {
            reasons = self.not_stable(client, name).await;
        }
        if reasons.is_empty() {
            reasons = self.not_committed(client, name, &partitions).await;
        }
        reasons.iter().map(|reason| format!("group {name}: {reason}")).collect()
    }

    /// What those that are alive say is their own, held against what there is.
    fn not_owned_once(
        &self,
        clients: &[NodeId],
        name: &str,
        partitions: &[Partition],
    ) -> Vec<String> {
        let mut owners: BTreeMap<&Partition, Vec<u32>> = BTreeMap::new();
        let views = self.work.views();
        let is_alive = |client: &usize| {
            let is_member = matches!(self.work.roles()[*client], Role::Member(_));
            is_member && self.world.process(clients[*client]).is_some()
        };
        let views = views.iter().filter(|(client, view)| is_alive(client) && &*view.group == name);
        for (_, view) in views {
            for partition in &view.owned {
                owners.entry(partition).or_default().push(view.member);
            }
        }
        let none = Vec::new();
        let count = |at: &Partition| owners.get(at).unwrap_or(&none).len();
        let wrong = partitions.iter().filter(|at| count(at) != 1);
        wrong
            .map(|at| match owners.get(at) {
                Some(owners) => format!("{at} belongs to the members {owners:?}"),
                None => format!("{at} belongs to nobody"),
            })
            .collect()
    }

    async fn not_stable(&self, client: &Client, name: &str) -> Vec<String> {
        let described = Admin::new(client).describe_groups([StrBytes::from(name)]).await;
        let unstable = described.into_values().filter_map(|group| match group {
            Ok(group) if &*group.state == "Stable" => None,
            Ok(group) => Some(format!("it is {}", group.state)),
            Err(error) => Some(format!("it can not be described: {error}")),
        });
        unstable.collect()
    }

    /// Where less is committed than there is; writes down what it was told.
    async fn not_committed(
        &self,
        client: &Client,
        name: &str,
        partitions: &[Partition],
    ) -> Vec<String> {
        let at = |partition: &Partition| TopicPartition {
            topic: StrBytes::from(&*partition.topic),
            partition: PartitionIndex(partition.index),
        };
        let specs = partitions.iter().map(|partition| (at(partition), OffsetSpec::Latest));
        let ends = client.list_offsets(&specs.collect(), IsolationLevel::ReadUncommitted).await;
        let asked = self.world.now();
        let wanted = partitions.iter().map(at).collect();
        let group = StrBytes::from(name);
        let committed = Admin::new(client).list_group_offsets(&group, Some(&wanted), true).await;
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => return vec![format!("its offsets can not be read: {error}")],
        };
        let value = |partition: &Partition| {
            let value = committed.get(&at(partition))?;
            let metadata = value.metadata.to_string();
            Some(Committed { offset: value.offset.0, metadata })
        };
        let offsets = partitions.iter().map(|partition| (partition.clone(), value(partition)));
        let what = GroupWhat::Fetched { asked, offsets: offsets.collect() };
        let event = GroupEvent { group: Arc::from(name), what };
        self.work.recorder.note(NodeId::SUPERVISOR, What::Group(event));
        let behind = partitions.iter().filter_map(|partition| {
            let end = ends.get(&at(partition)).and_then(|found| found.as_ref().ok()?.offset);
            let reached = committed.get(&at(partition)).map_or(0, |value| value.offset.0);
            match end {
                Some(end) if end.0 <= reached => None,
                Some(end) => Some(format!("{partition} ends at {end}, {reached} is committed")),
                None => Some(format!("the end of {partition} is not known")),
            }
        });
        behind.collect()
    }
}
