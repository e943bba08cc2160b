//! A consumer group as describing APIs show it.

use protocol::messages::consumer_group_describe_response as response;
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::group::{Group, Rebalance};
use crate::shard::{Caller, Env, Output, Shard};

use super::group::ConsumerGroup;
use super::member::Member;
use super::partitions::Partitions;
use super::refusal::Refusal;

impl Shard {
    /// Describes one consumer group.
    pub(crate) fn describe_consumer_group(
        &mut self,
        from: Caller,
        group: StrBytes,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let described = match self.groups.get(&group) {
            Some(Group::Consumer(it)) => describe(&group, it, &self.config, env.cluster),
            Some(Group::Classic(_)) => refused(&group, Refusal::not_a_consumer_group(&group)),
            None => {
                let message = format!("Group {group} not found.");
                refused(&group, Refusal::new(ErrorCode::GroupIdNotFound, message))
            }
        };
        out.answer(from.ticket, Response::DescribeConsumerGroup(described));
    }
}

fn refused(group: &StrBytes, refusal: Refusal) -> response::DescribedGroup {
    response::DescribedGroup {
        error_code: refusal.code.code(),
        error_message: Some(StrBytes::from(refusal.message)),
        group_id: group.clone(),
        ..Default::default()
    }
}

fn describe(
    id: &StrBytes,
    group: &ConsumerGroup,
    config: &Config,
    cluster: &dyn Cluster,
) -> response::DescribedGroup {
    let members = group.members().iter();
    let last_rebalance = group.last_rebalance.as_ref().map(Rebalance::to_tagged);
    response::DescribedGroup {
        group_id: id.clone(),
        group_state: StrBytes::from_static(group.state_name()),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: StrBytes::from(group.preferred_assignor(config)),
        members: members.map(|(id, member)| describe_member(id, member, group, cluster)).collect(),
        unknown_tagged_fields: last_rebalance.unwrap_or_default(),
        ..Default::default()
    }
}

fn describe_member(
    id: &StrBytes,
    member: &Member,
    group: &ConsumerGroup,
    cluster: &dyn Cluster,
) -> response::Member {
    let subscription = &member.subscription;
    // What a member has to give up is still its own.
    let mut owned = Partitions::new();
    for (topic, partitions) in member.current.assigned.iter().chain(&member.current.revoking) {
        owned.entry(*topic).or_default().extend(partitions.keys());
    }
    response::Member {
        member_id: id.clone(),
        instance_id: subscription.instance_id.clone(),
        rack_id: subscription.rack_id.clone(),
        member_epoch: member.current.epoch,
        client_id: subscription.client_id.clone(),
        client_host: subscription.client_host.clone(),
        subscribed_topic_names: subscription.topics.iter().cloned().collect(),
        subscribed_topic_regex: subscription.pattern.clone(),
        assignment: assignment(&owned, cluster),
        target_assignment: assignment(group.target.get(id).unwrap_or(&Partitions::new()), cluster),
        member_type: i8::from(!member.is_classic()),
        ..Default::default()
    }
}

/// Topics that are gone have no names and are left out.
fn assignment(topics: &Partitions, cluster: &dyn Cluster) -> response::Assignment {
    let named = topics.iter().filter_map(|(topic_id, partitions)| {
        Some(response::TopicPartitions {
            topic_id: *topic_id,
            topic_name: cluster.topic_by_id(*topic_id)?.name,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        })
    });
    response::Assignment { topic_partitions: named.collect(), ..Default::default() }
}
