//! From Produce responses to results per batch. Pure.

use std::collections::BTreeMap;

use model::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp};
use protocol::messages::ProduceResponse;
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::{ErrorCode, StrBytes};

use super::error::DeliveryError;
use super::verdict::BatchResult;
use crate::error::{BrokerError, RequestError};
use crate::metadata::{Node, TopicPartition, View};

/// A batch that was sent.
#[derive(Clone, Debug)]
pub(crate) struct SentBatch {
    pub(crate) at: TopicPartition,
    pub(crate) batch_id: u64,
}

/// A leader that a response names (KIP-951).
#[derive(Debug)]
pub(crate) struct LeaderHint {
    pub(crate) at: TopicPartition,
    pub(crate) leader: BrokerId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) node: Option<Node>,
}

/// The same failure for every batch of a request.
pub(crate) fn all_failed(
    sent: &[SentBatch],
    error: &RequestError,
) -> Vec<(TopicPartition, u64, BatchResult)> {
    let failed = || BatchResult::Failed(error.clone().into());
    sent.iter().map(|batch| (batch.at.clone(), batch.batch_id, failed())).collect()
}

/// What acks=0 has instead of a response.
pub(crate) fn all_sent(sent: &[SentBatch]) -> Vec<(TopicPartition, u64, BatchResult)> {
    let done = || BatchResult::Acknowledged { base_offset: None, log_append_time: None };
    sent.iter().map(|batch| (batch.at.clone(), batch.batch_id, done())).collect()
}

/// Each sent batch with what the response says of it. `view` knows the names of topic ids.
pub(crate) fn results(
    sent: &[SentBatch],
    response: &ProduceResponse,
    view: &View,
    address: &str,
) -> Vec<(TopicPartition, u64, BatchResult)> {
    let mut answers: BTreeMap<(&StrBytes, PartitionIndex), &PartitionProduceResponse> =
        BTreeMap::new();
    for topic in &response.responses {
        let name = view.name_of(topic.topic_id).unwrap_or(&topic.name);
        for partition in &topic.partition_responses {
            answers.insert((name, PartitionIndex(partition.index)), partition);
        }
    }
    let result = |batch: &SentBatch| match answers.get(&(&batch.at.topic, batch.at.partition)) {
        Some(answer) => result(answer),
        None => BatchResult::Failed(DeliveryError::Request(RequestError::Protocol {
            address: address.into(),
            reason: format!("the Produce response leaves out {}", batch.at),
        })),
    };
    sent.iter().map(|batch| (batch.at.clone(), batch.batch_id, result(batch))).collect()
}

fn result(answer: &PartitionProduceResponse) -> BatchResult {
    let code = ErrorCode::from_code(answer.error_code);
    if code == ErrorCode::None {
        let base_offset = (answer.base_offset >= 0).then_some(Offset(answer.base_offset));
        let time = answer.log_append_time_ms;
        let log_append_time = (time >= 0).then_some(Timestamp(time));
        return BatchResult::Acknowledged { base_offset, log_append_time };
    }
    let of_record =
        || answer.record_errors.iter().find_map(|e| e.batch_index_error_message.clone());
    let message = answer.error_message.clone().or_else(of_record);
    BatchResult::Failed(BrokerError { code, message }.into())
}

/// The leaders that the response names for partitions that have moved.
pub(crate) fn hints(response: &ProduceResponse, view: &View) -> Vec<LeaderHint> {
    let node = |id| {
        let node = response.node_endpoints.iter().find(|node| node.node_id == id)?;
        let (host, rack) = (node.host.clone(), node.rack.clone());
        Some(Node { id: BrokerId(id), host, port: node.port, rack })
    };
    let mut hints = Vec::new();
    for topic in &response.responses {
        let name = view.name_of(topic.topic_id).unwrap_or(&topic.name);
        for partition in &topic.partition_responses {
            let current = &partition.current_leader;
            if current.leader_id < 0 {
                continue;
            }
            hints.push(LeaderHint {
                at: TopicPartition::new(name.clone(), partition.index),
                leader: BrokerId(current.leader_id),
                epoch: LeaderEpoch(current.leader_epoch),
                node: node(current.leader_id),
            });
        }
    }
    hints
}
