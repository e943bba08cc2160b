//! What changes a consumer group: subscriptions, patterns, epochs, targets, steps of members.
//!
//! Every change is a record that is written and thereby taken in; what follows looks at the new state.
//!
//! The order within one request is Kafka's: the member's wishes, the group's epoch, the target, the
//! member's own step.

use std::collections::BTreeMap;
use std::rc::Rc;

use model::{Instant, TopicId};
use protocol::StrBytes;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;

use crate::cluster::{Cluster, Topic};
use crate::group::{Group, Rebalance};
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

use super::assignor::{Assignor, MemberSpec, Spec};
use super::group::{ConsumerGroup, Pattern};
use super::hash::metadata_hash;
use super::member::{Member, MemberState, Subscription};
use super::partitions::Partitions;
use super::reconcile::{Surroundings, step};
use super::refusal::from_ms;
use super::{pattern, records};

/// Patterns are not matched more often than this because of new topics (as Kafka does): it takes as
/// many steps as there are topics.
const PATTERN_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_secs(10);

impl Shard {
    /// The consumer group of this name.
    pub(super) fn consumer_group(&self, id: &str) -> Option<&ConsumerGroup> {
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => Some(group),
            _ => None,
        }
    }

    pub(super) fn consumer_group_mut(&mut self, id: &str) -> Option<&mut ConsumerGroup> {
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => Some(group),
            _ => None,
        }
    }

    /// Writes what the member wants from now on. Whether it asks for other topics than before.
    pub(super) fn subscribe(
        &mut self,
        group_id: &StrBytes,
        id: &StrBytes,
        wanted: &Subscription,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> bool {
        let old = self.consumer_group(group_id).and_then(|group| group.member(id));
        let is_new = old.is_none();
        let old = old.map(|member| member.subscription.clone()).unwrap_or_default();
        let has_new_topics = old.topics != wanted.topics || old.pattern() != wanted.pattern();
        self.write(records::member(group_id, id, Some(wanted)), out);
        if has_new_topics {
            self.drop_unused_patterns(group_id, out);
            self.match_new_patterns(group_id, env, out);
        }
        if is_new {
            self.bump_group_epoch(group_id, format!("member {id} joined"), env, out);
        } else if has_new_topics {
            let reason = format!("member {id} changed its subscription");
            self.bump_group_epoch(group_id, reason, env, out);
        }
        has_new_topics
    }

    /// Patterns that nobody uses any more are forgotten.
    pub(super) fn drop_unused_patterns(&mut self, group_id: &StrBytes, out: &mut Output) {
        let Some(group) = self.consumer_group(group_id) else { return };
        let unused = group.patterns.keys().filter(|it| group.pattern_use_count(it) == 0);
        for unused in unused.cloned().collect::<Vec<_>>() {
            self.write(records::pattern(group_id, &unused, None), out);
        }
    }

    /// Patterns that were never matched are.
    fn match_new_patterns(&mut self, group_id: &StrBytes, env: &mut Env<'_>, out: &mut Output) {
        let Some(group) = self.consumer_group(group_id) else { return };
        let new = group.used_patterns().filter(|it| !group.patterns.contains_key(*it));
        let new: Vec<StrBytes> = new.cloned().collect();
        for text in &new {
            let topics = pattern::matching_topics(text, env.cluster);
            let matched = Pattern { topics, timestamp: env.wall.0 };
            self.write(records::pattern(group_id, text, Some(&matched)), out);
        }
        if !new.is_empty() {
            self.schedule_patterns(group_id, env.now);
        }
    }

    /// Matches all patterns of the group anew; the first that matches other topics than before.
    pub(super) fn match_patterns(
        &mut self,
        group_id: &StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Option<StrBytes> {
        let group = self.consumer_group(group_id)?;
        let used: Vec<StrBytes> = group.used_patterns().cloned().collect();
        let mut first = None;
        for text in &used {
            let topics = pattern::matching_topics(text, env.cluster);
            let known = self.consumer_group(group_id).and_then(|group| group.patterns.get(text));
            if known.is_none_or(|known| known.topics != topics) {
                let matched = Pattern { topics, timestamp: env.wall.0 };
                self.write(records::pattern(group_id, text, Some(&matched)), out);
                first.get_or_insert_with(|| text.clone());
            }
        }
        if !used.is_empty() {
            self.schedule_patterns(group_id, env.now);
        }
        first
    }

    fn schedule_patterns(&mut self, group_id: &StrBytes, now: Instant) {
        let interval = self.config.regex_refresh_interval;
        self.timers.set(Timer::ConsumerRegex(group_id.clone()), now + interval);
        if let Some(group) = self.consumer_group_mut(group_id) {
            group.patterns_matched_at = Some(now);
        }
    }

    /// Writes a new epoch, with the topics as they are now.
    pub(super) fn bump_group_epoch(
        &mut self,
        group_id: &StrBytes,
        reason: String,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let unborn = ConsumerGroup::new();
        let group = self.consumer_group(group_id).unwrap_or(&unborn);
        let (epoch, has_old_record) = (group.epoch + 1, group.has_partition_metadata);
        let topics = group.existing_topics(env.cluster);
        self.write(records::epoch(group_id, Some((epoch, metadata_hash(&topics)))), out);
        if has_old_record {
            self.write(records::no_partition_metadata(group_id), out);
        }
        let group = self.consumer_group_mut(group_id).expect("its epoch was just written");
        group.last_rebalance = Some(Rebalance::new(&reason, env.wall));
        group.topics = topics;
        self.activity.consumer_rebalances += 1;
    }

    /// Matches patterns because there are other names than before, now or as soon as that may be. Why
    /// the group needs a new epoch, if it does.
    pub(super) fn look_at_names(
        &mut self,
        group_id: &StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Option<String> {
        let group = self.consumer_group(group_id)?;
        group.used_patterns().next()?;
        if let Some(at) = group.patterns_matched_at
            && env.now.since(at) < PATTERN_INTERVAL_MIN
        {
            self.timers.set(Timer::ConsumerRegex(group_id.clone()), at + PATTERN_INTERVAL_MIN);
            return None;
        }
        let pattern = self.match_patterns(group_id, env, out)?;
        Some(format!("pattern {pattern} matches other topics"))
    }

    /// Looks at the group's topics; what became of them is a reason for a new epoch, and there may be
    /// one already.
    pub(super) fn look_at_topics(
        &mut self,
        group_id: &StrBytes,
        reason: Option<String>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(group) = self.consumer_group_mut(group_id) else { return };
        let topics = group.existing_topics(env.cluster);
        if metadata_hash(&topics) != group.metadata_hash {
            // Who has just taken over does not know what the topics were.
            let is_known = !group.topics.is_empty() || group.metadata_hash == 0;
            let difference = difference(&group.topics, &topics).filter(|_| is_known);
            let reason = difference.or(reason);
            let reason = reason.unwrap_or_else(|| "topics changed while nobody looked".to_owned());
            self.bump_group_epoch(group_id, reason, env, out);
        } else {
            group.topics = topics;
            if let Some(reason) = reason {
                self.bump_group_epoch(group_id, reason, env, out);
            }
        }
    }

    /// Computes the target of the group's epoch, at once or when the assignment interval is over.
    pub(super) fn update_target(
        &mut self,
        group_id: &StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(group) = self.consumer_group(group_id) else { return };
        let interval = env.cluster.consumer_group_settings(group_id).assignment_interval;
        // Without a time, nobody knows when the last one was made: Kafka before 4.3 wrote none.
        if group.assignment_epoch < group.epoch && group.assigned_at.0 > 0 {
            let age = from_millis(env.wall.millis_since(group.assigned_at));
            if age < interval {
                let timer = Timer::ConsumerAssignment(group_id.clone());
                self.timers.set_if_absent(timer, env.now + (interval - age));
                return;
            }
        }
        self.assign_targets(group_id, env, out);
    }

    /// Computes the target of the group's epoch now. After a wait nobody asks the wall clock, which
    /// may have been set back, how long that was.
    pub(super) fn assign_targets(
        &mut self,
        group_id: &StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(group) = self.consumer_group(group_id) else { return };
        if group.epoch <= group.assignment_epoch {
            return;
        }
        let epoch = group.epoch;
        let targets = changed_targets(group, group.preferred_assignor(&self.config), env.cluster);
        self.timers.cancel(&Timer::ConsumerAssignment(group_id.clone()));
        for (member, target) in &targets {
            self.write(records::target(group_id, member, Some(target)), out);
        }
        self.write(records::target_epoch(group_id, Some((epoch, env.wall))), out);
    }

    /// Takes the member one step towards its target. Whether it is assigned something else.
    pub(super) fn reconcile(
        &mut self,
        group_id: &StrBytes,
        id: &StrBytes,
        reported: Option<&[Reported]>,
        has_new_subscription: bool,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> bool {
        let Some(group) = self.consumer_group(group_id) else { return false };
        let Some(member) = group.member(id) else { return false };
        if !has_new_subscription && member.current.is_reconciled_to(group.assignment_epoch) {
            return false;
        }
        let Some(next) = next_step(group, id, member, reported, has_new_subscription, env) else {
            return false;
        };
        let has_changed = next.assigned != member.current.assigned;
        let timeout = from_ms(member.subscription.rebalance_timeout_ms);
        let is_classic = member.is_classic();
        self.write(records::current(group_id, id, Some(&next)), out);
        if !is_classic {
            // Classic members are told to rejoin and have timers for that.
            let timer = Timer::ConsumerRebalance(group_id.clone(), id.clone());
            if next.state == MemberState::Unrevoked {
                self.timers.set(timer, env.now + timeout);
            } else {
                self.timers.cancel(&timer);
            }
        }
        has_changed
    }
}

fn from_millis(ms: i64) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn next_step(
    group: &ConsumerGroup,
    id: &StrBytes,
    member: &Member,
    reported: Option<&[Reported]>,
    has_new_subscription: bool,
    env: &Env<'_>,
) -> Option<super::member::Current> {
    let nothing = Partitions::new();
    let is_subscribed = |topic: TopicId| {
        let topic = env.cluster.topic_by_id(topic);
        topic.is_some_and(|topic| group.member_reads(&member.subscription, &topic.name))
    };
    let around = Surroundings {
        target_epoch: group.assignment_epoch,
        target: group.target.get(id).unwrap_or(&nothing),
        reported,
        has_new_subscription,
        is_subscribed: &is_subscribed,
        is_free: &|topic, partition| group.is_free_for(id, topic, partition),
    };
    step(&member.current, &around)
}

/// The targets of the group's members that differ from what they are.
fn changed_targets(
    group: &ConsumerGroup,
    assignor: &str,
    cluster: &dyn Cluster,
) -> Vec<(StrBytes, Partitions)> {
    let nothing = Partitions::new();
    let topics = group.existing_topics(cluster);
    let mut wishes: BTreeMap<_, Rc<[TopicId]>> = BTreeMap::new();
    let mut members = Vec::with_capacity(group.members().len());
    for (id, member) in group.members() {
        let subscription = &member.subscription;
        let wish = (&subscription.topics, subscription.pattern());
        let asked =
            wishes.entry(wish).or_insert_with(|| asked_topics(group, subscription, &topics));
        members.push(MemberSpec {
            id,
            instance: subscription.instance_id.as_deref(),
            topics: Rc::clone(asked),
            current: group.target.get(id).unwrap_or(&nothing),
        });
    }
    let counts = topics.values().map(|topic| (topic.id, topic.partition_count)).collect();
    let spec = Spec { members, topics: counts };
    let assignor = Assignor::by_name(assignor).unwrap_or(Assignor::Uniform);
    let targets = assignor.assign(&spec);
    let with_ids = group.members().keys().zip(targets);
    with_ids
        .filter(|(id, target)| group.target.get(*id) != Some(target))
        .map(|(id, target)| (id.clone(), target))
        .collect()
}

/// The ids of the topics that a member asks for and that there are, sorted.
fn asked_topics(
    group: &ConsumerGroup,
    subscription: &Subscription,
    topics: &BTreeMap<StrBytes, Topic>,
) -> Rc<[TopicId]> {
    let matched = subscription.pattern().and_then(|pattern| group.patterns.get(pattern));
    let names = subscription.topics.iter().chain(matched.into_iter().flat_map(|it| &it.topics));
    let mut ids: Vec<TopicId> =
        names.filter_map(|name| topics.get(name)).map(|topic| topic.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into()
}

/// What became of topics, in a few words.
fn difference(old: &BTreeMap<StrBytes, Topic>, new: &BTreeMap<StrBytes, Topic>) -> Option<String> {
    for (name, topic) in new {
        let count = topic.partition_count;
        match old.get(name) {
            None => return Some(format!("topic {name} is there")),
            Some(was) if was.id != topic.id => {
                return Some(format!("topic {name} is another one of that name"));
            }
            Some(was) if was.partition_count != count => {
                return Some(format!("topic {name} has {count} partitions"));
            }
            Some(_) => {}
        }
    }
    let gone = old.keys().find(|name| !new.contains_key(*name))?;
    Some(format!("topic {gone} is gone"))
}
