//! What a client knows of a cluster: brokers, topics, leaders.
//!
//! In: Metadata responses, possibly old ones, and leader hints (KIP-951). Out: an immutable
//! [`View`]. No I/O.
//!
//! Invariants:
//! - a partition's leader epoch never goes back while its topic id stays the same (KIP-320), so a
//!   response of a broker that lags behind undoes nothing
//! - a topic that failed keeps its error until a later response names it again
//!
//! Start at [`View::apply`].

use std::collections::BTreeMap;

use model::{BrokerId, Instant, LeaderEpoch, PartitionIndex, TopicId};
use protocol::messages::MetadataResponse;
use protocol::messages::metadata_response::MetadataResponseTopic;
use protocol::{ErrorCode, StrBytes};

/// A topic's name and a partition of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: StrBytes,
    /// The partition.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// The pair of `topic` and `partition`.
    pub fn new(topic: impl Into<StrBytes>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: PartitionIndex(partition) }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The advertised host.
    pub host: StrBytes,
    /// The advertised port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

impl Node {
    /// `host:port`, with an IPv6 host in brackets.
    pub fn address(&self) -> String {
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: StrBytes,
    /// Its id; zero from brokers that have none.
    pub id: TopicId,
    /// Why it can not be used, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Whether brokers use it for themselves.
    pub internal: bool,
    /// By partition number.
    pub partitions: BTreeMap<PartitionIndex, Partition>,
    /// The partitions that have a leader now, in order.
    pub available: Vec<PartitionIndex>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Why it can not be used, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Who takes its records; [`BrokerId::NONE`] while nobody does.
    pub leader: BrokerId,
    /// The leader's epoch; [`LeaderEpoch::NONE`] from old brokers.
    pub leader_epoch: LeaderEpoch,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that are in sync.
    pub isr: Vec<BrokerId>,
    /// Those that are not reachable.
    pub offline_replicas: Vec<BrokerId>,
}

/// A snapshot of a cluster as its answers show it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Counts the changes of this view.
    pub version: u64,
    /// The cluster's id.
    pub cluster_id: Option<StrBytes>,
    /// A broker that takes administrative requests.
    pub controller: Option<BrokerId>,
    /// By id.
    pub brokers: BTreeMap<BrokerId, Node>,
    /// By name: those that were asked for.
    pub topics: BTreeMap<StrBytes, Topic>,
    /// When each topic was last confirmed.
    updated: BTreeMap<StrBytes, Instant>,
    names: BTreeMap<TopicId, StrBytes>,
}

impl View {
    /// This view with what `response` tells, received at `now`.
    #[must_use]
    pub fn apply(&self, response: &MetadataResponse, now: Instant) -> View {
        let mut next = self.clone();
        next.version += 1;
        next.cluster_id = response.cluster_id.as_ref().map(StrBytes::detached).or(next.cluster_id);
        next.controller = match response.controller_id {
            id if id >= 0 => Some(BrokerId(id)),
            _ => next.controller,
        };
        // An empty list comes from a broker that is still starting; the old addresses are better.
        if !response.brokers.is_empty() {
            next.brokers = response
                .brokers
                .iter()
                .map(|broker| {
                    let id = BrokerId(broker.node_id);
                    let host = broker.host.detached();
                    let rack = broker.rack.as_ref().map(StrBytes::detached);
                    (id, Node { id, host, port: broker.port, rack })
                })
                .collect();
        }
        for topic in &response.topics {
            next.apply_topic(topic, now);
        }
        next
    }

    fn apply_topic(&mut self, answer: &MetadataResponseTopic, now: Instant) {
        // Detached, so that a name does not keep a whole response in memory.
        let name = answer.name.as_ref().map(StrBytes::detached);
        let Some(name) = name.or_else(|| self.names.get(&answer.topic_id).cloned()) else {
            return;
        };
        let error = ErrorCode::from_code(answer.error_code);
        self.updated.insert(name.clone(), now);
        let known = self.topics.get(&name);
        if error != ErrorCode::None {
            let gone = error == ErrorCode::UnknownTopicOrPartition;
            let old = known.filter(|_| !gone);
            let topic = Topic {
                name: name.clone(),
                id: old.map(|topic| topic.id).unwrap_or_default(),
                error,
                internal: answer.is_internal,
                partitions: old.map(|topic| topic.partitions.clone()).unwrap_or_default(),
                available: old.map(|topic| topic.available.clone()).unwrap_or_default(),
            };
            self.topics.insert(name, topic);
            return;
        }
        let same = known.filter(|topic| topic.id == answer.topic_id);
        let partitions = partitions_of(answer, same);
        if let Some(known) = known {
            self.names.remove(&known.id);
        }
        if !answer.topic_id.is_zero() {
            self.names.insert(answer.topic_id, name.clone());
        }
        let topic = Topic {
            name: name.clone(),
            id: answer.topic_id,
            error,
            internal: answer.is_internal,
            available: available(&partitions),
            partitions,
        };
        self.topics.insert(name, topic);
    }

    /// This view with a new leader, as a Produce or Fetch response hints it (KIP-951).
    ///
    /// `None` when the hint is not newer than what is known or names an unknown broker.
    #[must_use]
    pub fn with_leader(
        &self,
        at: &TopicPartition,
        leader: BrokerId,
        epoch: LeaderEpoch,
        node: Option<Node>,
    ) -> Option<View> {
        let known = self.partition(at)?;
        if epoch <= known.leader_epoch || leader == BrokerId::NONE {
            return None;
        }
        if node.is_none() && !self.brokers.contains_key(&leader) {
            return None;
        }
        let mut next = self.clone();
        next.version += 1;
        if let Some(node) = node {
            next.brokers.insert(leader, node);
        }
        let topic = next.topics.get_mut(&at.topic)?;
        let partition = topic.partitions.get_mut(&at.partition)?;
        partition.leader = leader;
        partition.leader_epoch = epoch;
        partition.error = ErrorCode::None;
        topic.available = available(&topic.partitions);
        Some(next)
    }

    /// This view with a broker's address, as a FindCoordinator response tells it. `None` when it is
    /// known already.
    #[must_use]
    pub fn with_node(&self, node: Node) -> Option<View> {
        if self.brokers.get(&node.id) == Some(&node) {
            return None;
        }
        let rack = self.brokers.get(&node.id).and_then(|known| known.rack.clone());
        let mut next = self.clone();
        next.version += 1;
        next.brokers.insert(node.id, Node { rack: node.rack.clone().or(rack), ..node });
        Some(next)
    }

    /// The partition, when its topic is known and fine.
    pub fn partition(&self, at: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&at.topic)?.partitions.get(&at.partition)
    }

    /// The broker that leads the partition and its epoch, when that broker's address is known.
    pub fn leader(&self, at: &TopicPartition) -> Option<(BrokerId, LeaderEpoch)> {
        let partition = self.partition(at)?;
        let known = self.brokers.contains_key(&partition.leader);
        known.then_some((partition.leader, partition.leader_epoch))
    }

    /// The name behind a topic id.
    pub fn name_of(&self, id: TopicId) -> Option<&StrBytes> {
        self.names.get(&id)
    }

    /// When the topic was last part of a response.
    pub fn updated(&self, topic: &str) -> Option<Instant> {
        self.updated.get(topic).copied()
    }
}

fn available(partitions: &BTreeMap<PartitionIndex, Partition>) -> Vec<PartitionIndex> {
    let led = partitions.iter().filter(|(_, partition)| partition.leader != BrokerId::NONE);
    led.map(|(index, _)| *index).collect()
}

/// The partitions of `answer`; where `known`, the same topic's older state, has a newer leader
/// epoch, that one stays.
fn partitions_of(
    answer: &MetadataResponseTopic,
    known: Option<&Topic>,
) -> BTreeMap<PartitionIndex, Partition> {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    let mut partitions = BTreeMap::new();
    for partition in &answer.partitions {
        let index = PartitionIndex(partition.partition_index);
        let newer = known
            .and_then(|topic| topic.partitions.get(&index))
            .filter(|known| known.leader_epoch > LeaderEpoch(partition.leader_epoch))
            // Brokers before leader epochs answer -1, which says nothing about age.
            .filter(|_| partition.leader_epoch >= 0);
        let fresh = Partition {
            error: ErrorCode::from_code(partition.error_code),
            leader: BrokerId(partition.leader_id),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            replicas: ids(&partition.replica_nodes),
            isr: ids(&partition.isr_nodes),
            offline_replicas: ids(&partition.offline_replicas),
        };
        partitions.insert(index, newer.cloned().unwrap_or(fresh));
    }
    partitions
}

#[cfg(test)]
mod tests {
    use model::Uuid;
    use protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition,
    };

    use super::*;

    fn response(id: u8, leader_id: i32, leader_epoch: i32, error_code: i16) -> MetadataResponse {
        let broker = |node_id| MetadataResponseBroker {
            node_id,
            host: StrBytes::from_static("h"),
            port: 9000 + node_id,
            ..Default::default()
        };
        let partition = MetadataResponsePartition { leader_id, leader_epoch, ..Default::default() };
        let topic = MetadataResponseTopic {
            error_code,
            name: Some(StrBytes::from_static("t")),
            topic_id: Uuid([id; 16]),
            partitions: if error_code == 0 { vec![partition] } else { Vec::new() },
            ..Default::default()
        };
        let (brokers, topics) = (vec![broker(1), broker(2)], vec![topic]);
        MetadataResponse { brokers, topics, controller_id: 1, ..Default::default() }
    }

    fn leader(view: &View) -> Option<(i32, i32)> {
        let (leader, epoch) = view.leader(&TopicPartition::new("t", 0))?;
        Some((leader.0, epoch.0))
    }

    #[test]
    fn an_old_response_does_not_bring_back_an_old_leader() {
        let view = View::default().apply(&response(1, 1, 5, 0), Instant(0));
        assert_eq!(leader(&view), Some((1, 5)));
        let view = view.apply(&response(1, 2, 4, 0), Instant(1));
        assert_eq!(leader(&view), Some((1, 5)));
        let view = view.apply(&response(1, 2, 6, 0), Instant(2));
        assert_eq!(leader(&view), Some((2, 6)));
    }

    #[test]
    fn a_recreated_topic_starts_over() {
        let view = View::default().apply(&response(1, 1, 5, 0), Instant(0));
        let view = view.apply(&response(2, 2, 0, 0), Instant(1));
        assert_eq!(leader(&view), Some((2, 0)));
        assert_eq!(view.name_of(Uuid([1; 16])), None);
        assert_eq!(view.name_of(Uuid([2; 16])).map(|name| &**name), Some("t"));
    }

    #[test]
    fn a_deleted_topic_loses_its_partitions_a_failed_one_keeps_them() {
        let view = View::default().apply(&response(1, 1, 5, 0), Instant(0));
        let failed = view.apply(&response(1, 1, 5, 5), Instant(1));
        assert_eq!(leader(&failed), Some((1, 5)));
        let gone = view.apply(&response(1, 1, 5, 3), Instant(1));
        assert_eq!(leader(&gone), None);
        assert_eq!(gone.topics["t"].error, ErrorCode::UnknownTopicOrPartition);
    }

    #[test]
    fn hints_only_count_when_they_are_newer() {
        let view = View::default().apply(&response(1, 1, 5, 0), Instant(0));
        let at = TopicPartition::new("t", 0);
        assert!(view.with_leader(&at, BrokerId(2), LeaderEpoch(5), None).is_none());
        assert!(view.with_leader(&at, BrokerId(9), LeaderEpoch(6), None).is_none());
        let next = view.with_leader(&at, BrokerId(2), LeaderEpoch(6), None);
        assert_eq!(leader(&next.expect("newer")), Some((2, 6)));
    }
}
