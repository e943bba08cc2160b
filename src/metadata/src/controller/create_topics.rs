//! New topics.
//!
//! In: names, numbers or assignments, configs. Out: per topic its records (topic, configs, partitions) and
//! what it became. Checks and errors are those of `ReplicationControlManager.createTopics`.

use model::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId, Uuid};

use crate::config::BrokerConfig;
use crate::controller::alter_configs::check_topic_configs;
use crate::controller::placement::place;
use crate::controller::topic_name::{RESERVED, check_topic_name};
use crate::controller::{
    ControllerError, Decision, Draft, Named, PARTITIONS_PER_REQUEST_MAX, Random,
};
use crate::image::{Image, Overrides};
use crate::record::{ConfigResource, PartitionState, Record};

/// A topic that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the broker's default.
    pub partition_count: i32,
    /// How many replicas each; -1 for the broker's default.
    pub replication_factor: i16,
    /// Which brokers keep which partition, when that is decided by hand; then the numbers are -1.
    pub assignments: Vec<Assignment>,
    /// Its configs; none may be without a value.
    pub configs: Vec<(String, Option<String>)>,
}

/// The replicas of a partition, assigned by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub index: PartitionIndex,
    /// Its brokers, the preferred leader first.
    pub brokers: Vec<BrokerId>,
}

/// A topic that comes into being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partition_count: usize,
    /// How many replicas each of them has.
    pub replication_factor: usize,
    /// What is set on it.
    pub overrides: Overrides,
}

/// Decides on new topics; the answers are in the order of the request.
pub fn create_topics(
    image: &Image,
    config: &BrokerConfig,
    topics: &[NewTopic],
    validate_only: bool,
    random: Random<'_>,
) -> Decision<Vec<Result<CreatedTopic, ControllerError>>> {
    let total = topics.iter().map(|topic| asked_partitions(topic, config)).sum();
    if total > PARTITIONS_PER_REQUEST_MAX {
        let refused = ControllerError::TooManyPartitions { count: total };
        return Decision::answer(topics.iter().map(|_| Err(refused.clone())).collect());
    }
    let named = Named::new(topics.iter().map(|topic| topic.name.as_str()));
    let mut draft = Draft::new(image, config);
    let outcome = topics
        .iter()
        .map(|topic| {
            if named.is_repeated(&topic.name.as_str()) {
                return Err(ControllerError::Duplicate { what: format!("topic `{}`", topic.name) });
            }
            let (records, created) = create(&draft, topic, random)?;
            draft.accept(records);
            Ok(created)
        })
        .collect();
    draft.decide(outcome).unless(validate_only)
}

fn asked_partitions(topic: &NewTopic, config: &BrokerConfig) -> usize {
    match topic.partition_count {
        _ if !topic.assignments.is_empty() => topic.assignments.len(),
        -1 => usize::try_from(config.num_partitions).unwrap_or(0),
        count => usize::try_from(count).unwrap_or(0),
    }
}

fn create(
    draft: &Draft<'_>,
    topic: &NewTopic,
    random: Random<'_>,
) -> Result<(Vec<Record>, CreatedTopic), ControllerError> {
    let NewTopic { name, .. } = topic;
    check_new_name(&draft.image, name)?;
    let overrides = overrides(topic)?;
    let layers = draft.config.layers(&draft.image);
    check_topic_configs(&overrides, &layers)?;
    let replicas =
        if topic.assignments.is_empty() { placed(draft, topic, random)? } else { assigned(topic)? };
    let id = new_id(&draft.image, random);
    let created = CreatedTopic {
        id,
        partition_count: replicas.len(),
        replication_factor: replicas.first().map_or(0, Vec::len),
        overrides: overrides.clone(),
    };
    let resource = ConfigResource::Topic(name.clone());
    let mut records = vec![Record::Topic { name: name.clone(), id }];
    records.extend(overrides.into_iter().map(|(name, value)| Record::Config {
        resource: resource.clone(),
        name,
        value: Some(value),
    }));
    records.extend(new_partitions(&draft.image, id, 0, replicas)?);
    Ok((records, created))
}

pub(super) fn check_new_name(image: &Image, name: &str) -> Result<(), ControllerError> {
    check_topic_name(name)?;
    if RESERVED.contains(&name) {
        return Err(ControllerError::ReservedTopicName { name: name.to_owned() });
    }
    if image.topic(name).is_some() {
        return Err(ControllerError::TopicExists { name: name.to_owned() });
    }
    match image.colliding_topic(name) {
        Some(existing) => Err(ControllerError::TopicCollision {
            name: name.to_owned(),
            existing: existing.to_owned(),
        }),
        None => Ok(()),
    }
}

fn overrides(topic: &NewTopic) -> Result<Overrides, ControllerError> {
    let valued = topic.configs.iter().map(|(name, value)| match value {
        Some(value) => Ok((name.clone(), value.clone())),
        None => Err(ControllerError::InvalidConfig(crate::config::ConfigError::NoValue {
            name: name.clone(),
        })),
    });
    valued.collect()
}

/// Replicas for a topic that leaves the choice to the controller.
fn placed(
    draft: &Draft<'_>,
    topic: &NewTopic,
    random: Random<'_>,
) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
    let factor = match topic.replication_factor {
        -1 => draft.config.default_replication_factor,
        factor => factor,
    };
    let count = match topic.partition_count {
        -1 => draft.config.num_partitions,
        count => count,
    };
    let replicas = usize::try_from(factor)
        .ok()
        .filter(|&factor| factor > 0)
        .ok_or(ControllerError::InvalidReplicationFactor { factor })?;
    let partitions = usize::try_from(count)
        .ok()
        .filter(|&count| count > 0)
        .ok_or(ControllerError::InvalidPartitionCount { count })?;
    place(&draft.image, 0, partitions, replicas, random_number(random)).ok_or_else(|| {
        ControllerError::TooFewBrokers { factor, live: draft.image.live_brokers().count() }
    })
}

/// Replicas for a topic that brings its own choice, by partition.
fn assigned(topic: &NewTopic) -> Result<Vec<Vec<BrokerId>>, ControllerError> {
    if topic.partition_count != -1 || topic.replication_factor != -1 {
        return Err(ControllerError::AssignmentAndCount);
    }
    let mut sorted: Vec<&Assignment> = topic.assignments.iter().collect();
    sorted.sort_by_key(|assignment| assignment.index);
    for (expected, assignment) in (0..).map(PartitionIndex).zip(&sorted) {
        let rule = match assignment.index.cmp(&expected) {
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Less => "it is assigned twice, or its number is negative",
            std::cmp::Ordering::Greater => "numbers must run from 0 without a gap",
        };
        return Err(ControllerError::InvalidAssignment { index: assignment.index, rule });
    }
    Ok(sorted.into_iter().map(|assignment| assignment.brokers.clone()).collect())
}

/// Records of new partitions from `first` on, whose replicas may have been assigned by hand.
pub(super) fn new_partitions(
    image: &Image,
    topic_id: TopicId,
    first: usize,
    replicas: Vec<Vec<BrokerId>>,
) -> Result<Vec<Record>, ControllerError> {
    let first = i32::try_from(first).expect("a topic's partitions have 32-bit numbers");
    let factor = replicas.first().map_or(0, Vec::len);
    let indexes = (first..).map(PartitionIndex);
    let states = indexes.zip(replicas).map(|(index, replicas)| {
        let state = new_partition(image, index, replicas, factor)?;
        Ok(Record::Partition { topic_id, index, state })
    });
    states.collect()
}

fn new_partition(
    image: &Image,
    index: PartitionIndex,
    replicas: Vec<BrokerId>,
    factor: usize,
) -> Result<PartitionState, ControllerError> {
    let refuse = |rule| Err(ControllerError::InvalidAssignment { index, rule });
    if replicas.is_empty() {
        return refuse("it has no replica");
    }
    if replicas.len() != factor {
        return refuse("it has not as many replicas as the topic's first partition");
    }
    if (1..replicas.len()).any(|at| replicas[..at].contains(&replicas[at])) {
        return refuse("a broker can keep only one replica of it");
    }
    if let Some(&broker) = replicas.iter().find(|id| image.broker(**id).is_none()) {
        return Err(ControllerError::UnknownReplica { index, broker });
    }
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(|id| image.is_live(*id)).collect();
    let Some(&leader) = isr.first() else {
        return refuse("none of its brokers is alive");
    };
    Ok(PartitionState {
        replicas,
        isr,
        elr: Vec::new(),
        leader,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
    })
}

/// An id that no topic has. As in Kafka its text does not begin with `-`, so that it is no option on a
/// command line.
pub(super) fn new_id(image: &Image, random: Random<'_>) -> TopicId {
    loop {
        let mut bytes = random();
        // The first of the text's characters has the six highest bits; `-` is 62.
        if bytes[0] >> 2 == 62 {
            bytes[0] ^= 0x80;
        }
        let id = Uuid::from_random(bytes);
        if image.topic_by_id(id).is_none() {
            return id;
        }
    }
}

/// A number out of random bytes.
pub(super) fn random_number(random: Random<'_>) -> u64 {
    let bytes = random();
    u64::from_le_bytes(bytes[..8].try_into().expect("eight of sixteen bytes"))
}
