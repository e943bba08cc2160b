//! The state of the cluster at one offset of the metadata log.
//!
//! In: records. Out: a new image; the old one stays as it was, for whoever still holds it. Both
//! share what did not change, so an image of 10,000 topics is cloned in no time and changed in the
//! time that the change takes.
//!
//! Invariants ([`Image::assert_invariants`]):
//! - every topic is found by its name and by its id, and no two names differ in `.` and `_` only
//! - `isr` and `elr` are among the replicas and have nobody in common; the leader is in the ISR
//! - configs of a topic exist only while the topic does
//! - images at one offset of one log are equal on every node
//!
//! Start at [`Image::replay`].

mod check;
mod delta;
mod replay;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerId,
    TopicId, Uuid,
};

use crate::record::{ConfigResource, Endpoint, PartitionState};

pub use delta::{BrokerChange, Delta, TopicChange};
pub use replay::{Misfit, ReplayError};
pub use snapshot::SnapshotError;

/// The values that were set on a resource, by the configs' names.
pub type Overrides = BTreeMap<String, String>;

static NO_OVERRIDES: Overrides = Overrides::new();

/// What the metadata log says, up to one offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    offset: Offset,
    cluster_id: Option<Arc<str>>,
    features: Arc<BTreeMap<String, u16>>,
    brokers: OrdMap<BrokerId, Arc<Broker>>,
    topics: OrdMap<Arc<str>, Arc<Topic>>,
    topic_names: OrdMap<TopicId, Arc<str>>,
    /// Names with a `.` or `_`, by what they become when all of these are the same character: metrics
    /// of topics that differ in these alone would mix (`Topic.unifyCollisionChars`).
    unified_names: OrdMap<String, Arc<str>>,
    configs: OrdMap<ConfigResource, Arc<Overrides>>,
    next_producer_id: ProducerId,
    partition_count: u64,
    /// Brokers that have looked through the logs they found at their first start.
    adopted: OrdSet<BrokerId>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Names this registration.
    pub epoch: BrokerEpoch,
    /// Names the process.
    pub incarnation: Uuid,
    /// Where it is reached, one per listener.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Whether it may not lead, because it is not ready or not heard of.
    pub fenced: bool,
}

impl Broker {
    /// The address on the listener of that name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// Its partitions; the place in the list is the partition's index.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition of that index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// Partitions with their indexes.
    pub fn indexed_partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Arc<Partition>)> {
        (0i32..).map(PartitionIndex).zip(&self.partitions)
    }

    /// How many replicas its first partition has: that is what Kafka calls the topic's replication
    /// factor.
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |first| first.replicas.len())
    }
}

/// A partition as the controller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Brokers that keep a copy; the first one is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are in sync.
    pub isr: Vec<BrokerId>,
    /// Those that may lead although they left the ISR (KIP-966).
    pub elr: Vec<BrokerId>,
    /// The leader, [`BrokerId::NONE`] for none.
    pub leader: BrokerId,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes.
    pub partition_epoch: PartitionEpoch,
}

impl From<PartitionState> for Partition {
    fn from(state: PartitionState) -> Partition {
        let PartitionState { replicas, isr, elr, leader, leader_epoch, partition_epoch } = state;
        Partition { replicas, isr, elr, leader, leader_epoch, partition_epoch }
    }
}

impl From<&Partition> for PartitionState {
    fn from(partition: &Partition) -> PartitionState {
        PartitionState {
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            elr: partition.elr.clone(),
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
        }
    }
}

impl Default for Image {
    /// What an empty log says.
    fn default() -> Image {
        Image {
            offset: Offset(-1),
            cluster_id: None,
            features: Arc::default(),
            brokers: OrdMap::new(),
            topics: OrdMap::new(),
            topic_names: OrdMap::new(),
            unified_names: OrdMap::new(),
            configs: OrdMap::new(),
            next_producer_id: ProducerId(0),
            partition_count: 0,
            adopted: OrdSet::new(),
        }
    }
}

impl Image {
    /// The offset of the last record that is in this image; -1 when there is none.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The offset of the first record that is not.
    pub fn next_offset(&self) -> Offset {
        self.offset.next()
    }

    /// The cluster's id; `None` before the first record of the log.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Finalized features with their levels, by name.
    pub fn features(&self) -> &BTreeMap<String, u16> {
        &self.features
    }

    /// The finalized level of a feature; 0 when it is not finalized.
    pub fn feature_level(&self, name: &str) -> u16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// What ApiVersions calls the epoch of the finalized features: it only ever grows. As in Kafka,
    /// this is the offset of the image.
    pub fn features_epoch(&self) -> i64 {
        self.offset.0.max(0)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The brokers that are not fenced, by id.
    pub fn live_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// A registered broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Whether that broker is registered and not fenced.
    pub fn is_live(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    /// Whether that broker has made topics of the logs that it found at its first start.
    pub fn has_adopted(&self, id: BrokerId) -> bool {
        self.adopted.contains(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics from that name on (that name included, if there), by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.range(Arc::<str>::from(name)..).map(|(_, topic)| topic)
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by its id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&**self.topic_names.get(&id)?)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    pub fn partition_count(&self) -> u64 {
        self.partition_count
    }

    /// The topic other than `name` that `name` would be mixed up with in metrics.
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let other = self.unified_names.get(&unify(name)?)?;
        (**other != *name).then_some(other)
    }

    /// What was set on a resource; nothing for one that does not exist.
    pub fn overrides(&self, resource: &ConfigResource) -> &Overrides {
        self.configs.get(resource).map_or(&NO_OVERRIDES, |overrides| overrides)
    }

    /// The resources that something was set on.
    pub fn configured_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// The first producer id that nobody owns yet.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }
}

/// `name` with `.` and `_` made the same, if it has any of them.
fn unify(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
