//! Topics whose logs were found in a directory that another broker wrote.
//!
//! In: what was found. Out: the topics' records, led by the broker that found them. Unlike topics that
//! clients create they come with ids, partitions and leader epochs of their own.

use std::collections::BTreeMap;

use model::{BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};

use super::create_topics::{check_new_name, new_id};
use super::{ControllerError, Decision, Draft, OFFSETS_TOPIC, Random, is_internal_topic};
use crate::config::BrokerConfig;
use crate::image::Image;
use crate::record::{ConfigResource, PartitionState, Record};

/// A topic found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTopic {
    /// Its name.
    pub name: String,
    /// Its id, where its logs know it.
    pub id: Option<TopicId>,
    /// How many partitions it had at least, as its logs say, also those that can not be read.
    pub partition_count: i32,
    /// The last leader epoch of each partition that can be read.
    pub partitions: BTreeMap<PartitionIndex, LeaderEpoch>,
}

impl FoundTopic {
    /// Partitions up to this number that can not be read, or are not there.
    pub fn missing(&self, partition_count: i32) -> Vec<PartitionIndex> {
        let all = (0..partition_count).map(PartitionIndex);
        all.filter(|index| !self.partitions.contains_key(index)).collect()
    }
}

/// Takes topics in; the answers are in the order of `found`. The broker is noted as one that has
/// done so: it will not again.
///
/// Partitions that were not found below one that was are created empty. Leader epochs go on from
/// those of the logs, so that no epoch has two leaders.
pub fn adopt_topics(
    image: &Image,
    config: &BrokerConfig,
    found: &[FoundTopic],
    broker: BrokerId,
    random: Random<'_>,
) -> Decision<Vec<Result<TopicId, ControllerError>>> {
    let mut draft = Draft::new(image, config);
    let outcome = found
        .iter()
        .map(|topic| {
            check_new_name(&draft.image, &topic.name)?;
            let id = match topic.id {
                Some(id) if draft.image.topic_by_id(id).is_none() => id,
                _ => new_id(&draft.image, random),
            };
            let partitions = partition_count(topic, config);
            draft.accept(records(topic, id, broker, partitions));
            Ok(id)
        })
        .collect();
    if !image.has_adopted(broker) {
        draft.accept(vec![Record::Adopted { broker }]);
    }
    draft.decide(outcome)
}

/// As many as its logs say. A group is in the partition that its name and the number of partitions say,
/// so for committed offsets that number has to be right: where some are missing, the last ones may be
/// too, and the broker's setting says how many there were.
pub fn partition_count(topic: &FoundTopic, config: &BrokerConfig) -> i32 {
    let found = topic.partition_count;
    if topic.name == OFFSETS_TOPIC && !topic.missing(found).is_empty() {
        found.max(config.groups.offsets_topic_num_partitions)
    } else {
        found
    }
}

fn records(topic: &FoundTopic, id: TopicId, broker: BrokerId, partitions: i32) -> Vec<Record> {
    let partitions = (0..partitions).map(PartitionIndex).map(|index| {
        let epoch = topic.partitions.get(&index).map_or(0, |epoch| epoch.0 + 1).max(0);
        let state = PartitionState {
            replicas: vec![broker],
            isr: vec![broker],
            elr: Vec::new(),
            leader: broker,
            leader_epoch: LeaderEpoch(epoch),
            // Every change of the leader was a change.
            partition_epoch: PartitionEpoch(epoch),
        };
        Record::Partition { topic_id: id, index, state }
    });
    let begun = Record::Topic { name: topic.name.clone(), id };
    std::iter::once(begun).chain(compaction(&topic.name)).chain(partitions).collect()
}

/// Settings are not found with a log, but those of the cluster's own topics are known: retention by time
/// would take committed offsets away.
fn compaction(name: &str) -> Option<Record> {
    is_internal_topic(name).then(|| Record::Config {
        resource: ConfigResource::Topic(name.to_owned()),
        name: "cleanup.policy".to_owned(),
        value: Some("compact".to_owned()),
    })
}
