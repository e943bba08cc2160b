//! More partitions for topics that are there.
//!
//! In: how many the topic shall have in all, and optionally their replicas. Out: the records of those that
//! are added. Checks and errors are those of `ReplicationControlManager.createPartitions`.

use model::BrokerId;

use crate::config::BrokerConfig;
use crate::controller::create_topics::{new_partitions, random_number};
use crate::controller::placement::place;
use crate::controller::{
    ControllerError, Decision, Draft, Named, PARTITIONS_PER_REQUEST_MAX, Random, is_internal_topic,
};
use crate::image::Image;
use crate::record::Record;

/// A topic that is to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// Its name.
    pub topic: String,
    /// How many partitions it shall have, with those that it has.
    pub count: i32,
    /// The replicas of each new one, when that is decided by hand.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Decides on more partitions; the answers are in the order of the request.
pub fn create_partitions(
    image: &Image,
    config: &BrokerConfig,
    topics: &[MorePartitions],
    validate_only: bool,
    random: Random<'_>,
) -> Decision<Vec<Result<(), ControllerError>>> {
    let total = topics.iter().map(|topic| added(image, topic)).sum();
    if total > PARTITIONS_PER_REQUEST_MAX {
        let refused = ControllerError::TooManyPartitions { count: total };
        return Decision::answer(topics.iter().map(|_| Err(refused.clone())).collect());
    }
    let named = Named::new(topics.iter().map(|topic| topic.topic.as_str()));
    let mut draft = Draft::new(image, config);
    let outcome = topics
        .iter()
        .map(|topic| {
            if named.is_repeated(&topic.topic.as_str()) {
                return Err(ControllerError::Duplicate {
                    what: format!("topic `{}`", topic.topic),
                });
            }
            let records = grow(&draft.image, topic, random)?;
            draft.accept(records);
            Ok(())
        })
        .collect();
    draft.decide(outcome).unless(validate_only)
}

fn added(image: &Image, topic: &MorePartitions) -> usize {
    let current = image.topic(&topic.topic).map_or(0, |topic| topic.partitions.len());
    usize::try_from(topic.count).unwrap_or(0).saturating_sub(current)
}

fn grow(
    image: &Image,
    more: &MorePartitions,
    random: Random<'_>,
) -> Result<Vec<Record>, ControllerError> {
    let topic = image
        .topic(&more.topic)
        .ok_or_else(|| ControllerError::UnknownTopic { name: more.topic.clone() })?;
    if is_internal_topic(&more.topic) {
        return Err(ControllerError::InternalTopicGrows { name: more.topic.clone() });
    }
    let current = topic.partitions.len();
    let count = usize::try_from(more.count).unwrap_or(0);
    if count == current {
        return Err(ControllerError::PartitionsExist { name: more.topic.clone(), count });
    }
    if count < current {
        let (name, asked) = (more.topic.clone(), more.count);
        return Err(ControllerError::FewerPartitions { name, current, asked });
    }
    let factor = topic.replication_factor();
    let replicas = match &more.assignments {
        None => {
            let number = random_number(random);
            let placed = place(image, current, count - current, factor, number);
            placed.ok_or_else(|| ControllerError::TooFewBrokers {
                factor: i16::try_from(factor).unwrap_or(i16::MAX),
                live: image.live_brokers().count(),
            })?
        }
        Some(assigned) if assigned.len() != count - current => {
            let (added, assigned) = (count - current, assigned.len());
            return Err(ControllerError::AssignmentCount { added, assigned });
        }
        Some(assigned) => assigned.clone(),
    };
    if replicas.iter().any(|replicas| replicas.len() != factor) {
        let index = model::PartitionIndex(i32::try_from(current).unwrap_or(i32::MAX));
        let rule = "new partitions must have as many replicas as those that are there";
        return Err(ControllerError::InvalidAssignment { index, rule });
    }
    new_partitions(image, topic.id, current, replicas)
}
