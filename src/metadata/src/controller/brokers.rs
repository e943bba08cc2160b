//! Brokers that come, become ready, and go.
//!
//! In: a registration, or the word that a broker is ready or lost. Out: records of the broker, and of the
//! partitions that get another leader by it. A broker that loses its place in an ISR loses it to others in
//! it; who is alone in an ISR stays, and goes on to lead as soon as it is ready, since it has everything.
//!
//! A broker's epoch is the offset of its registration (KIP-631). References: `ClusterControlManager`,
//! `ReplicationControlManager`, semantics of KIP-966 for what an unclean stop costs.

use model::{BrokerEpoch, BrokerId, PartitionIndex, TopicId, Uuid};

use crate::controller::{ControllerError, Decision};
use crate::image::{Image, Partition};
use crate::record::{Endpoint, Record, Restart};

/// A broker's process that wants to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its `node.id`.
    pub broker: BrokerId,
    /// The cluster that its data belongs to.
    pub cluster_id: String,
    /// Random per process.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// How its former process ended.
    pub restart: Restart,
    /// Whether another process of that number was heard of just now.
    pub is_other_alive: bool,
}

/// The first records of a cluster.
pub fn bootstrap(cluster_id: &str, features: &[(&str, u16)]) -> Vec<Record> {
    let cluster = Record::Cluster { cluster_id: cluster_id.to_owned() };
    let features =
        features.iter().map(|&(name, level)| Record::Feature { name: name.to_owned(), level });
    std::iter::once(cluster).chain(features).collect()
}

/// Takes a broker in, fenced; the answer is its epoch.
pub fn register_broker(
    image: &Image,
    registration: &Registration,
) -> Decision<Result<BrokerEpoch, ControllerError>> {
    let Registration { broker, cluster_id, incarnation, endpoints, rack, restart, .. } =
        registration.clone();
    let ours = image.cluster_id().unwrap_or_default();
    if ours != cluster_id {
        let (theirs, ours) = (cluster_id, ours.to_owned());
        return Decision::answer(Err(ControllerError::ClusterId { broker, theirs, ours }));
    }
    let known = image.broker(broker);
    let is_same = known.is_some_and(|known| known.incarnation == incarnation);
    if registration.is_other_alive && !is_same {
        return Decision::answer(Err(ControllerError::DuplicateBroker { broker }));
    }
    let epoch = BrokerEpoch(image.next_offset().0);
    let fenced = true;
    let register =
        Record::RegisterBroker { broker, epoch, incarnation, endpoints, rack, fenced, restart };
    let mut records = vec![register];
    records.extend(leave_isrs(image, broker));
    Decision { records, outcome: Ok(epoch) }
}

/// Lets a broker lead.
pub fn unfence_broker(
    image: &Image,
    broker: BrokerId,
    epoch: BrokerEpoch,
) -> Decision<Result<(), ControllerError>> {
    change_fence(image, broker, epoch, false, |image| lead_again(image, broker))
}

/// Takes leadership from a broker that is not heard of.
pub fn fence_broker(
    image: &Image,
    broker: BrokerId,
    epoch: BrokerEpoch,
) -> Decision<Result<(), ControllerError>> {
    change_fence(image, broker, epoch, true, |image| leave_isrs(image, broker))
}

fn change_fence(
    image: &Image,
    broker: BrokerId,
    epoch: BrokerEpoch,
    fence: bool,
    consequences: impl FnOnce(&Image) -> Vec<Record>,
) -> Decision<Result<(), ControllerError>> {
    let known = match image.broker(broker) {
        Some(known) if known.epoch == epoch => known,
        _ => return Decision::answer(Err(ControllerError::StaleBrokerEpoch { broker, epoch })),
    };
    if known.fenced == fence {
        return Decision::answer(Ok(()));
    }
    let mut records = vec![if fence {
        Record::FenceBroker { broker, epoch }
    } else {
        Record::UnfenceBroker { broker, epoch }
    }];
    records.extend(consequences(image));
    Decision { records, outcome: Ok(()) }
}

fn partitions(image: &Image) -> impl Iterator<Item = (TopicId, PartitionIndex, &Partition)> {
    image.topics().flat_map(|topic| {
        topic.indexed_partitions().map(|(index, partition)| (topic.id, index, &**partition))
    })
}

/// Takes the broker out of every ISR that others are in; they lead where it did.
fn leave_isrs(image: &Image, broker: BrokerId) -> Vec<Record> {
    let shared = partitions(image)
        .filter(|(_, _, partition)| partition.isr.len() > 1 && partition.isr.contains(&broker));
    let changes = shared.map(|(topic_id, index, partition)| {
        let isr: Vec<BrokerId> = partition.isr.iter().copied().filter(|id| *id != broker).collect();
        let is_eligible = |id: &BrokerId| isr.contains(id) && image.is_live(*id);
        let leader = (partition.leader == broker).then(|| {
            let next = partition.replicas.iter().copied().find(is_eligible);
            next.unwrap_or(BrokerId::NONE)
        });
        let isr = Some(isr);
        Record::PartitionChange { topic_id, index, leader, isr, elr: None, replicas: None }
    });
    changes.collect()
}

/// Lets the broker lead what nobody leads and it is in sync with.
fn lead_again(image: &Image, broker: BrokerId) -> Vec<Record> {
    let leaderless = partitions(image).filter(|(_, _, partition)| {
        partition.leader == BrokerId::NONE && partition.isr.contains(&broker)
    });
    let changes = leaderless.map(|(topic_id, index, _)| Record::PartitionChange {
        topic_id,
        index,
        leader: Some(broker),
        isr: None,
        elr: None,
        replicas: None,
    });
    changes.collect()
}
