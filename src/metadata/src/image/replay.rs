//! From an image and the next records to the next image.
//!
//! In: records in the order of the log, each with its offset. Out: the image after them, or an error
//! and no image: a record that does not fit means that this node can not go on, because its state is
//! no longer that of the others (semantics of KAFKA-14275).
//!
//! Start at [`Image::replay`].

use std::sync::Arc;

use model::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerId,
    TopicId, Uuid,
};

use super::{Broker, Image, Partition, Topic, unify};
use crate::record::{ConfigResource, PartitionState, Record, Restart};

/// A record that does not fit the image it is applied to: the log is damaged, or klamm has a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("apply metadata record {offset}")]
pub struct ReplayError {
    /// Where the record is.
    pub offset: Offset,
    /// What does not fit.
    #[source]
    pub misfit: Misfit,
}

/// Why a record does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Records are missing or come twice.
    #[error("the next record is {expected}")]
    Gap {
        /// The offset that comes next.
        expected: Offset,
    },
    /// A log of two clusters.
    #[error("the cluster is `{known}`, the record says `{found}`")]
    ClusterId {
        /// What the log said before.
        known: String,
        /// What it says now.
        found: String,
    },
    /// A registration that is not newer than the one before, or not named by its offset.
    #[error("broker {broker} registers with epoch {epoch}, which is not the offset of the record")]
    BrokerEpoch {
        /// Which broker.
        broker: BrokerId,
        /// What the record says.
        epoch: BrokerEpoch,
    },
    /// Not a registered broker, or not in that registration.
    #[error("no broker {broker} is registered with epoch {epoch}")]
    UnknownBroker {
        /// Which broker.
        broker: BrokerId,
        /// Which registration.
        epoch: BrokerEpoch,
    },
    /// A topic that is there already, by name, by id or by a name that collides.
    #[error("topic `{name}` with id {id} is there already")]
    TopicExists {
        /// Its name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// A topic that is not there.
    #[error("no topic has the id {id}")]
    UnknownTopic {
        /// Its id.
        id: TopicId,
    },
    /// Configs of a topic that is not there.
    #[error("no topic is named `{name}`")]
    UnknownTopicName {
        /// Its name.
        name: String,
    },
    /// A partition out of order.
    #[error("partition {found} of topic `{topic}` comes where {expected} should")]
    PartitionOrder {
        /// Its topic.
        topic: String,
        /// The next index.
        expected: PartitionIndex,
        /// The record's.
        found: PartitionIndex,
    },
    /// A partition that is not there.
    #[error("topic `{topic}` has no partition {index}")]
    UnknownPartition {
        /// Its topic.
        topic: String,
        /// Its index.
        index: PartitionIndex,
    },
    /// A partition's state that contradicts itself.
    #[error("partition {index} of topic `{topic}`: {rule}")]
    Partition {
        /// Its topic.
        topic: String,
        /// Its index.
        index: PartitionIndex,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Producer ids that somebody owns already.
    #[error("producer ids below {next} are given out, those below {known} were already")]
    ProducerIds {
        /// What the log said before.
        known: ProducerId,
        /// What it says now.
        next: ProducerId,
    },
}

impl Image {
    /// The image after `records`, the first of which has the offset `first`.
    pub fn replay(&self, first: Offset, records: &[Record]) -> Result<Image, ReplayError> {
        let mut image = self.clone();
        if first != image.next_offset() {
            let misfit = Misfit::Gap { expected: image.next_offset() };
            return Err(ReplayError { offset: first, misfit });
        }
        image.advance(records)?;
        if cfg!(debug_assertions) {
            image.assert_invariants();
        }
        Ok(image)
    }

    /// Applies the next records in place; after an error the image is of no use.
    pub(crate) fn advance(&mut self, records: &[Record]) -> Result<(), ReplayError> {
        for record in records {
            let offset = self.next_offset();
            self.apply(offset, record).map_err(|misfit| ReplayError { offset, misfit })?;
            self.offset = offset;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, offset: Offset, record: &Record) -> Result<(), Misfit> {
        match record {
            Record::Cluster { cluster_id } => self.name_cluster(cluster_id),
            Record::Feature { name, level } => {
                self.finalize_feature(name, *level);
                Ok(())
            }
            Record::RegisterBroker {
                broker,
                epoch,
                incarnation,
                endpoints,
                rack,
                fenced,
                restart,
            } => {
                if epoch.0 != offset.0 {
                    return Err(Misfit::BrokerEpoch { broker: *broker, epoch: *epoch });
                }
                self.insert_broker(Broker {
                    id: *broker,
                    epoch: *epoch,
                    incarnation: *incarnation,
                    endpoints: endpoints.clone(),
                    rack: rack.clone(),
                    fenced: *fenced,
                });
                if *restart == Restart::Unclean {
                    self.raise_leader_epochs(*broker);
                }
                Ok(())
            }
            Record::FenceBroker { broker, epoch } => self.set_fenced(*broker, *epoch, true),
            Record::UnfenceBroker { broker, epoch } => self.set_fenced(*broker, *epoch, false),
            Record::Topic { name, id } => self.add_topic(name, *id),
            Record::RemoveTopic { id } => self.remove_topic(*id),
            Record::Partition { topic_id, index, state } => {
                self.add_partition(*topic_id, *index, state)
            }
            Record::PartitionChange { topic_id, index, leader, isr, elr, replicas } => self
                .change_partition(*topic_id, *index, |partition| {
                    set(&mut partition.replicas, replicas);
                    set(&mut partition.isr, isr);
                    set(&mut partition.elr, elr);
                    if let Some(leader) = leader {
                        partition.leader = *leader;
                        partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
                    }
                }),
            Record::Config { resource, name, value } => {
                self.set_config(resource, name, value.as_deref())
            }
            Record::ProducerIds { broker, epoch, next } => {
                self.known_broker(*broker, *epoch)?;
                self.raise_next_producer_id(*next)
            }
            Record::Adopted { broker } => {
                self.adopted.insert(*broker);
                Ok(())
            }
        }
    }

    fn name_cluster(&mut self, cluster_id: &str) -> Result<(), Misfit> {
        match &self.cluster_id {
            Some(known) if **known != *cluster_id => {
                Err(Misfit::ClusterId { known: known.to_string(), found: cluster_id.to_owned() })
            }
            _ => {
                self.cluster_id = Some(cluster_id.into());
                Ok(())
            }
        }
    }

    fn finalize_feature(&mut self, name: &str, level: u16) {
        let features = Arc::make_mut(&mut self.features);
        if level == 0 {
            features.remove(name);
        } else {
            features.insert(name.to_owned(), level);
        }
    }

    pub(super) fn insert_broker(&mut self, broker: Broker) {
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    /// A new leader epoch for every partition that `broker` leads.
    fn raise_leader_epochs(&mut self, broker: BrokerId) {
        let led: Vec<Arc<str>> = self
            .topics
            .values()
            .filter(|topic| topic.partitions.iter().any(|p| p.leader == broker))
            .map(|topic| Arc::clone(&topic.name))
            .collect();
        for name in led {
            let topic = self.topics.get_mut(&name).expect("the name was just read from the map");
            for partition in &mut Arc::make_mut(topic).partitions {
                if partition.leader == broker {
                    let partition = Arc::make_mut(partition);
                    partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
                    partition.partition_epoch = PartitionEpoch(partition.partition_epoch.0 + 1);
                }
            }
        }
    }

    fn known_broker(&mut self, id: BrokerId, epoch: BrokerEpoch) -> Result<&mut Broker, Misfit> {
        match self.brokers.get_mut(&id) {
            Some(broker) if broker.epoch == epoch => Ok(Arc::make_mut(broker)),
            _ => Err(Misfit::UnknownBroker { broker: id, epoch }),
        }
    }

    fn set_fenced(&mut self, id: BrokerId, epoch: BrokerEpoch, on: bool) -> Result<(), Misfit> {
        self.known_broker(id, epoch)?.fenced = on;
        Ok(())
    }

    fn add_topic(&mut self, name: &str, id: TopicId) -> Result<(), Misfit> {
        let exists = self.topics.contains_key(name)
            || self.topic_names.contains_key(&id)
            || self.colliding_topic(name).is_some();
        if exists || id == Uuid::ZERO {
            return Err(Misfit::TopicExists { name: name.to_owned(), id });
        }
        let name: Arc<str> = name.into();
        let topic = Topic { name: Arc::clone(&name), id, partitions: Vec::new() };
        self.topics.insert(Arc::clone(&name), Arc::new(topic));
        if let Some(unified) = unify(&name) {
            self.unified_names.insert(unified, Arc::clone(&name));
        }
        self.topic_names.insert(id, name);
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), Misfit> {
        let name = self.topic_names.remove(&id).ok_or(Misfit::UnknownTopic { id })?;
        let topic = self.topics.remove(&*name).expect("every id has its topic");
        self.partition_count -= topic.partitions.len() as u64;
        if let Some(unified) = unify(&name) {
            self.unified_names.remove(&unified);
        }
        self.configs.remove(&ConfigResource::Topic(name.to_string()));
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, Misfit> {
        let name = self.topic_names.get(&id).ok_or(Misfit::UnknownTopic { id })?;
        let topic = self.topics.get_mut(&**name).expect("every id has its topic");
        Ok(Arc::make_mut(topic))
    }

    fn add_partition(
        &mut self,
        id: TopicId,
        found: PartitionIndex,
        state: &PartitionState,
    ) -> Result<(), Misfit> {
        let topic = self.topic_mut(id)?;
        let expected = i32::try_from(topic.partitions.len()).map(PartitionIndex);
        if expected != Ok(found) {
            return Err(Misfit::PartitionOrder {
                topic: topic.name.to_string(),
                expected: expected.unwrap_or(PartitionIndex(i32::MAX)),
                found,
            });
        }
        let partition = Partition::from(state.clone());
        if let Err(rule) = partition.check() {
            return Err(Misfit::Partition { topic: topic.name.to_string(), index: found, rule });
        }
        topic.partitions.push(Arc::new(partition));
        self.partition_count += 1;
        Ok(())
    }

    fn change_partition(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        change: impl FnOnce(&mut Partition),
    ) -> Result<(), Misfit> {
        let topic = self.topic_mut(id)?;
        let name = Arc::clone(&topic.name);
        let at = usize::try_from(index.0).unwrap_or(usize::MAX);
        let partition = topic
            .partitions
            .get_mut(at)
            .ok_or_else(|| Misfit::UnknownPartition { topic: name.to_string(), index })?;
        let partition = Arc::make_mut(partition);
        change(partition);
        partition.partition_epoch = PartitionEpoch(partition.partition_epoch.0 + 1);
        partition.check().map_err(|rule| Misfit::Partition { topic: name.to_string(), index, rule })
    }

    fn set_config(
        &mut self,
        resource: &ConfigResource,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), Misfit> {
        if let ConfigResource::Topic(topic) = resource
            && !self.topics.contains_key(topic.as_str())
        {
            return Err(Misfit::UnknownTopicName { name: topic.clone() });
        }
        match value {
            Some(value) => {
                let overrides = self.configs.entry(resource.clone()).or_default();
                Arc::make_mut(overrides).insert(name.to_owned(), value.to_owned());
            }
            None => {
                let Some(overrides) = self.configs.get_mut(resource) else { return Ok(()) };
                let overrides = Arc::make_mut(overrides);
                overrides.remove(name);
                if overrides.is_empty() {
                    self.configs.remove(resource);
                }
            }
        }
        Ok(())
    }

    pub(super) fn raise_next_producer_id(&mut self, next: ProducerId) -> Result<(), Misfit> {
        if next <= self.next_producer_id {
            return Err(Misfit::ProducerIds { known: self.next_producer_id, next });
        }
        self.next_producer_id = next;
        Ok(())
    }
}

fn set(place: &mut Vec<BrokerId>, value: &Option<Vec<BrokerId>>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}
