//! Fetch requests and responses, between the wire's words and the consumer's. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{BrokerId, LeaderEpoch, Offset, ProducerId};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::{FetchRequest, FetchResponse};
use protocol::{ErrorCode, StrBytes};

use super::chunk::Chunk;
use super::config::ConsumerConfig;
use super::session::{SessionRequest, Wanted};
use crate::metadata::{Node, TopicPartition};
use crate::offsets::IsolationLevel;
use crate::producer::millis;

/// What a request asked for, with the generation of each partition's position.
pub(crate) type Asked = BTreeMap<TopicPartition, (u64, Wanted)>;

/// The request of a session, which may wait at the broker for so long.
pub(crate) fn fetch_request(
    config: &ConsumerConfig,
    session: SessionRequest,
    wait_max: Duration,
) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (at, wanted) in session.named {
        let partition = FetchPartition {
            partition: at.partition.0,
            current_leader_epoch: wanted.leader_epoch.0,
            fetch_offset: wanted.offset.0,
            partition_max_bytes: wanted.bytes_max,
            ..Default::default()
        };
        match topics.last_mut().filter(|topic| topic.topic == at.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: at.topic,
                topic_id: wanted.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    let mut forgotten_topics_data: Vec<ForgottenTopic> = Vec::new();
    for (at, topic_id) in session.forgotten {
        forgotten_topics_data.push(ForgottenTopic {
            topic: at.topic,
            topic_id,
            partitions: vec![at.partition.0],
            ..Default::default()
        });
    }
    FetchRequest {
        max_wait_ms: millis(wait_max),
        min_bytes: config.fetch_bytes_min,
        max_bytes: config.fetch_bytes_max,
        isolation_level: config.isolation.wire(),
        session_id: session.session_id,
        session_epoch: session.session_epoch,
        topics,
        forgotten_topics_data,
        rack_id: StrBytes::from(config.rack.as_str()),
        ..Default::default()
    }
}

/// What a response says of one partition.
#[derive(Debug)]
pub(crate) struct PartitionAnswer {
    pub(crate) at: TopicPartition,
    pub(crate) error: ErrorCode,
    /// The records, when there are any.
    pub(crate) chunk: Option<Chunk>,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) last_stable_offset: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    /// A follower to read from instead (KIP-392).
    pub(crate) read_replica: Option<BrokerId>,
    /// The leader, when it is another one (KIP-951).
    pub(crate) leader: Option<(BrokerId, LeaderEpoch, Option<Node>)>,
}

/// The answers for those partitions that were asked for.
pub(crate) fn partition_answers(
    asked: &Asked,
    response: FetchResponse,
    isolation: IsolationLevel,
) -> Vec<PartitionAnswer> {
    let names: BTreeMap<_, _> =
        asked.iter().map(|(at, (_, wanted))| (wanted.topic_id, at.topic.clone())).collect();
    let nodes: BTreeMap<i32, Node> = response
        .node_endpoints
        .iter()
        .map(|node| {
            let (id, host) = (BrokerId(node.node_id), node.host.detached());
            let rack = node.rack.as_ref().map(StrBytes::detached);
            (node.node_id, Node { id, host, port: node.port, rack })
        })
        .collect();
    let mut answers = Vec::new();
    for topic in response.responses {
        let by_id = names.get(&topic.topic_id).filter(|_| !topic.topic_id.is_zero());
        let name = by_id.cloned().unwrap_or(topic.topic);
        for data in topic.partitions {
            let at = TopicPartition::new(name.clone(), data.partition_index);
            if let Some((_, wanted)) = asked.get(&at) {
                answers.push(partition_answer(at, wanted.offset, data, isolation, &nodes));
            }
        }
    }
    answers
}

fn partition_answer(
    at: TopicPartition,
    from: Offset,
    data: PartitionData,
    isolation: IsolationLevel,
    nodes: &BTreeMap<i32, Node>,
) -> PartitionAnswer {
    let offset = |value: i64| (value >= 0).then_some(Offset(value));
    let aborted = (isolation == IsolationLevel::ReadCommitted).then(|| {
        let aborted = data.aborted_transactions.unwrap_or_default();
        aborted.iter().map(|txn| (Offset(txn.first_offset), ProducerId(txn.producer_id))).collect()
    });
    let records = data.records.filter(|records| !records.is_empty());
    let chunk = records.map(|records| Chunk::new(at.clone(), from, &records, aborted));
    let leader = &data.current_leader;
    PartitionAnswer {
        error: ErrorCode::from_code(data.error_code),
        chunk,
        high_watermark: offset(data.high_watermark),
        last_stable_offset: offset(data.last_stable_offset),
        log_start: offset(data.log_start_offset),
        read_replica: (data.preferred_read_replica >= 0)
            .then_some(BrokerId(data.preferred_read_replica)),
        leader: (leader.leader_id >= 0).then(|| {
            let node = nodes.get(&leader.leader_id).cloned();
            (BrokerId(leader.leader_id), LeaderEpoch(leader.leader_epoch), node)
        }),
        at,
    }
}
