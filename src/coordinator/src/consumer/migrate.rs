//! Groups that change their protocol while they run (KIP-848).
//!
//! A classic group of consumers becomes a consumer group when the first consumer-protocol member joins:
//! its members and what they own stay. A consumer group becomes a classic group when the last
//! consumer-protocol member goes and classic ones are left; these are then told to rejoin.
//!
//! Both are written as the end of one group and the beginning of the other, in one batch.

use model::Timestamp;
use protocol::messages as m;
use protocol::messages::consumer_group_member_metadata_value as metadata;
use protocol::{ErrorCode, StrBytes};

use crate::classic::{
    ClassicGroup, ClassicMember, MEMBER_RECORD_BYTES, MemberProtocol, common_names,
};
use crate::cluster::Cluster;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

use super::group::ConsumerGroup;
use super::hash::metadata_hash;
use super::heartbeat::Seat;
use super::member::{Current, Member, MemberState, Subscription};
use super::partitions::{Owned, Partitions};
use super::refusal::{Refusal, from_ms, to_ms};
use super::{embedded, records};

/// More than a topic and its name take in an assignment, beside its partitions.
const TOPIC_BYTES: usize = 256 + 16;

impl Shard {
    /// A consumer-protocol member joins a classic group.
    ///
    /// # Errors
    /// The group can not become a consumer group, or has no room; nothing was written.
    pub(super) fn upgrade_classic_group(
        &mut self,
        group_id: &StrBytes,
        joiner: &m::ConsumerGroupHeartbeatRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let Some(Group::Classic(group)) = self.groups.get(group_id) else { return Ok(()) };
        let consumer = if group.members.is_empty() {
            ConsumerGroup::new()
        } else {
            self.check_upgrade(group_id, group)?;
            converted(group_id, group, env.cluster)?
        };
        let size_max = self.config.consumer_group_size_max;
        let known = consumer.member(&joiner.member_id).is_some();
        if !consumer.has_room(&joiner.member_id, joiner.instance_id.as_ref(), size_max) {
            return Err(Refusal::group_full(size_max));
        }
        let birth = consumer.birth_records(group_id, env.cluster);
        let bytes = encoded_bytes(&birth);
        if self.config.member_bytes_max() < bytes {
            let why = format!("its members take {bytes} bytes, which its log has no room for");
            return Err(cannot_upgrade(group_id, &why));
        }
        // They will rejoin, and find the consumer group.
        self.refuse_waiting_classic_members(group_id, ErrorCode::RebalanceInProgress, out);
        let end = Record::GroupMetadata {
            key: m::GroupMetadataKey { group: group_id.clone() },
            value: None,
        };
        self.write(end, out);
        for record in birth {
            self.write(record, out);
        }
        for (id, member) in consumer.members() {
            let session =
                member.subscription.classic.as_ref().map_or(0, |it| it.session_timeout_ms);
            let timer = Timer::ConsumerSession(group_id.clone(), id.clone());
            self.timers.set(timer, env.now + from_ms(session));
        }
        let instance = joiner.instance_id.as_ref();
        if known || instance.is_some_and(|it| consumer.static_member(it).is_some()) {
            // Who is new brings a new epoch, and with it a new assignment. Who is not would leave the
            // classic one in force, which may be one that a rebalance was about to replace.
            let reason = "the group was a classic one".to_owned();
            self.bump_group_epoch(group_id, reason, env, out);
        }
        Ok(())
    }

    fn check_upgrade(&self, group_id: &str, group: &ClassicGroup) -> Result<(), Refusal> {
        let why = if !self.config.migration_policy.may_upgrade() {
            "online upgrade is disabled"
        } else if group.protocol_type.as_deref() != Some(embedded::PROTOCOL_TYPE) {
            "the group does not use the consumer embedded protocol"
        } else if group.members.len() > self.config.consumer_group_size_max {
            "the group size exceeds the consumer group maximum size"
        } else {
            return Ok(());
        };
        Err(cannot_upgrade(group_id, why))
    }

    /// Whether only classic members are left without these, and the group may become classic.
    pub(super) fn may_downgrade_without(&self, group_id: &str, leavers: &[StrBytes]) -> bool {
        let Some(group) = self.consumer_group(group_id) else { return false };
        let is_classic = |id: &&StrBytes| group.member(id).is_some_and(Member::is_classic);
        let rest = group.members().len() - leavers.len();
        let classic_rest = group.classic_count() - leavers.iter().filter(is_classic).count();
        // A group that had only classic members before is one that could not be downgraded then.
        let has_consumer_leaver = leavers.iter().any(|id| !is_classic(&id));
        has_consumer_leaver
            && rest > 0
            && classic_rest == rest
            && self.config.migration_policy.may_downgrade()
            && rest <= self.config.classic_group_size_max
            && group.classic_bytes_max() <= self.config.member_bytes_max()
    }

    /// Whether a classic member takes the seat of the last consumer-protocol member.
    pub(super) fn replaced_by_classic(&self, group_id: &str, seat: &Seat) -> bool {
        let (Seat::Replaces { old, .. }, Some(group)) = (seat, self.consumer_group(group_id))
        else {
            return false;
        };
        group.member(old).is_some_and(|member| !member.is_classic())
            && group.classic_count() + 1 == group.members().len()
            && self.config.migration_policy.may_downgrade()
            && group.members().len() <= self.config.classic_group_size_max
            && group.classic_bytes_max() <= self.config.member_bytes_max()
    }

    /// Makes the group, without some members, a classic one. The others keep what they shall own; with
    /// a reason they are told to rejoin.
    pub(super) fn downgrade_without(
        &mut self,
        group_id: &StrBytes,
        leavers: &[StrBytes],
        reason: Option<&str>,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let Some(group) = self.consumer_group(group_id) else { return };
        let classic = group.to_classic(leavers, env.wall, env.cluster);
        let tombstones = group.tombstones(group_id);
        let ids: Vec<StrBytes> = group.members().keys().cloned().collect();
        for id in &ids {
            self.cancel_consumer_timers(group_id, id);
        }
        self.timers.cancel(&Timer::ConsumerAssignment(group_id.clone()));
        self.timers.cancel(&Timer::ConsumerRegex(group_id.clone()));
        for tombstone in tombstones {
            self.write(tombstone, out);
        }
        self.write(classic.to_record(group_id), out);
        self.start_classic_group(group_id, reason, env, out);
    }
}

/// How much room records take.
fn encoded_bytes(records: &[Record]) -> usize {
    let encoded = records.iter().filter_map(|record| record.encode().ok());
    encoded.map(|(key, value)| key.len() + value.map_or(0, |value| value.len())).sum()
}

fn cannot_upgrade(group_id: &str, why: &str) -> Refusal {
    let message =
        format!("Cannot upgrade classic group {group_id} to consumer group because {why}.");
    Refusal::new(ErrorCode::GroupIdNotFound, message)
}

/// The consumer group with a classic group's members, each with what it was last given.
pub(super) fn converted(
    group_id: &str,
    group: &ClassicGroup,
    cluster: &dyn Cluster,
) -> Result<ConsumerGroup, Refusal> {
    let malformed = || cannot_upgrade(group_id, "the embedded consumer protocol is malformed");
    let mut consumer = ConsumerGroup::new();
    consumer.epoch = group.generation;
    consumer.assignment_epoch = group.generation;
    let mut used = Vec::new();
    for (id, member) in &group.members {
        // A member that has not been in a generation yet may not know the group's protocol.
        let chosen = group.protocol.as_ref().and_then(|protocol| member.metadata(protocol));
        let any = member.protocols.first().map(|protocol| &protocol.metadata);
        let asked = chosen.or(any).and_then(embedded::subscription).ok_or_else(malformed)?;
        let given = embedded::assignment(&member.assignment).ok_or_else(malformed)?;
        if given.user_data.is_some_and(|data| !data.is_empty()) {
            let why = "an unsupported custom assignor is in use";
            return Err(cannot_upgrade(group_id, why));
        }
        let mut target = Partitions::new();
        let mut assigned = Owned::new();
        for topic in &given.assigned_partitions {
            let Some(known) = cluster.topic(&topic.topic) else { continue };
            for partition in &topic.partitions {
                // A classic leader may give a partition to two members; the first one has it.
                if consumer.owner(known.id, *partition).is_none() {
                    target.entry(known.id).or_default().insert(*partition);
                    assigned.entry(known.id).or_default().insert(*partition, group.generation);
                }
            }
        }
        consumer.target.insert(id.clone(), target);
        consumer.set_subscription(id, subscription_of(member, &asked));
        let current = Current {
            epoch: group.generation,
            previous_epoch: group.generation,
            state: MemberState::Stable,
            assigned,
            revoking: Owned::new(),
        };
        consumer.set_current(id, current);
        used.push((id, asked));
    }
    consumer.keep_what_is_used(used, cluster);
    Ok(consumer)
}

fn subscription_of(
    member: &ClassicMember,
    asked: &m::ConsumerProtocolSubscription,
) -> Subscription {
    let protocol = |protocol: &MemberProtocol| metadata::ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
        ..Default::default()
    };
    Subscription {
        instance_id: member.instance_id.clone(),
        rack_id: asked.rack_id.as_ref().filter(|rack| !rack.is_empty()).map(StrBytes::detached),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: asked.topics.iter().map(StrBytes::detached).collect(),
        pattern: Some(StrBytes::new()),
        rebalance_timeout_ms: to_ms(member.rebalance_timeout),
        assignor: None,
        classic: Some(metadata::ClassicMemberMetadata {
            session_timeout_ms: to_ms(member.session_timeout),
            supported_protocols: member.protocols.iter().map(protocol).collect(),
            ..Default::default()
        }),
    }
}

impl ConsumerGroup {
    /// The records that a group begins with when it was another one before; none without members.
    fn birth_records(&self, group_id: &StrBytes, cluster: &dyn Cluster) -> Vec<Record> {
        let members = self.members();
        if members.is_empty() {
            return Vec::new();
        }
        let hash = metadata_hash(&self.existing_topics(cluster));
        let mut birth: Vec<Record> = members
            .iter()
            .map(|(id, member)| records::member(group_id, id, Some(&member.subscription)))
            .collect();
        birth.push(records::epoch(group_id, Some((self.epoch, hash))));
        birth.extend(self.target.iter().map(|(id, it)| records::target(group_id, id, Some(it))));
        // Nobody knows when the classic leader assigned.
        birth.push(records::target_epoch(group_id, Some((self.epoch, Timestamp(0)))));
        birth.extend(
            members.iter().map(|(id, it)| records::current(group_id, id, Some(&it.current))),
        );
        birth
    }

    /// What cooperative members said they use when they joined last, and nobody was given since, they
    /// may use still: they have not heard yet that they shall let go of it, or have not joined since.
    /// It is theirs to give up, at the join that a heartbeat tells them to make. Kafka takes it for free.
    fn keep_what_is_used(
        &mut self,
        mut used: Vec<(&StrBytes, m::ConsumerProtocolSubscription)>,
        cluster: &dyn Cluster,
    ) {
        // Of two that say so the one that was in a later generation is right (KIP-792).
        used.sort_by_key(|(_, asked)| std::cmp::Reverse(asked.generation_id));
        for (id, asked) in used {
            let Some(mut current) = self.member(id).map(|member| member.current.clone()) else {
                continue;
            };
            for topic in &asked.owned_partitions {
                let Some(known) = cluster.topic(&topic.topic) else { continue };
                for partition in &topic.partitions {
                    if self.owner(known.id, *partition).is_none() {
                        let revoking = current.revoking.entry(known.id).or_default();
                        revoking.insert(*partition, current.epoch);
                        current.state = MemberState::Unrevoked;
                    }
                }
            }
            self.set_current(id, current);
        }
    }

    /// At most so many bytes are the record of the classic group that this one would become.
    fn classic_bytes_max(&self) -> usize {
        let length = |text: &Option<StrBytes>| text.as_ref().map_or(0, |text| text.len());
        let subscriptions = self.members().iter().map(|(id, member)| {
            let known = &member.subscription;
            let protocols = known.classic.iter().flat_map(|classic| &classic.supported_protocols);
            let protocols = protocols.map(|protocol| protocol.metadata.len());
            let texts = id.len() + known.client_id.len() + known.client_host.len();
            let texts = texts + length(&known.instance_id);
            MEMBER_RECORD_BYTES + texts + protocols.max().unwrap_or(0)
        });
        let assignments = self.target.values().flat_map(Partitions::values);
        let assignments = assignments.map(|partitions| TOPIC_BYTES + 4 * partitions.len());
        subscriptions.sum::<usize>() + assignments.sum::<usize>()
    }

    /// The classic group of all members but the leavers; all of them have to be classic.
    fn to_classic(
        &self,
        leavers: &[StrBytes],
        now: Timestamp,
        cluster: &dyn Cluster,
    ) -> ClassicGroup {
        let stayers = self.members().iter().filter(|(id, _)| !leavers.contains(id));
        let stayers: Vec<_> = stayers
            .filter_map(|(id, member)| Some((id, member, member.subscription.classic.as_ref()?)))
            .collect();
        let protocol = common_protocol(stayers.iter().map(|(.., classic)| *classic));
        let mut group = ClassicGroup::new(Some(now));
        group.protocol_type = Some(StrBytes::from_static(embedded::PROTOCOL_TYPE));
        group.generation = self.epoch;
        group.leader = stayers.first().map(|(id, ..)| (*id).clone());
        group.protocol = protocol;
        let nothing = Partitions::new();
        for (id, member, classic) in stayers {
            let target = embedded::targeted(self.target.get(id).unwrap_or(&nothing));
            let known = classic.supported_protocols.first();
            let version = known.map_or(0, |protocol| embedded::version(&protocol.metadata));
            // What can not be encoded is assigned anew: the members rejoin anyway.
            let assignment = embedded::encode_assignment(target, cluster, version);
            let member =
                classic_member(&member.subscription, classic, assignment.unwrap_or_default());
            group.members.insert(id.clone(), member);
        }
        group
    }
}

/// The first protocol of the first member that all others know too.
fn common_protocol<'a>(
    members: impl Iterator<Item = &'a metadata::ClassicMemberMetadata> + Clone,
) -> Option<StrBytes> {
    let names = |classic: &'a metadata::ClassicMemberMetadata| {
        classic.supported_protocols.iter().map(|protocol| &protocol.name)
    };
    let common = common_names(members.clone().map(|it| names(it).map(StrBytes::as_str)));
    names(members.clone().next()?).find(|name| common.contains(name.as_str())).cloned()
}

fn classic_member(
    subscription: &Subscription,
    classic: &metadata::ClassicMemberMetadata,
    assignment: bytes::Bytes,
) -> ClassicMember {
    let protocol = |protocol: &metadata::ClassicProtocol| MemberProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    };
    ClassicMember {
        instance_id: subscription.instance_id.clone(),
        client_id: subscription.client_id.clone(),
        client_host: subscription.client_host.clone(),
        rebalance_timeout: from_ms(subscription.rebalance_timeout_ms),
        session_timeout: from_ms(classic.session_timeout_ms),
        protocols: classic.supported_protocols.iter().map(protocol).collect(),
        assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}
