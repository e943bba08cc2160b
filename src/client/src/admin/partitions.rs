//! What partitions' leaders are asked: deleting records, listing producers.

use std::collections::BTreeMap;

use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use protocol::messages::describe_producers_request::TopicRequest;
use protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeProducersRequest,
    DescribeProducersResponse,
};

use super::{Admin, checked};
use crate::leaders::{Asked, PerPartition};
use crate::metadata::TopicPartition;

/// What a partition knows of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// When it last wrote.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
}

impl Admin {
    /// Deletes the records below the given offsets; `None` stands for the high watermark. Answers
    /// with the new beginning of each partition.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, Option<Offset>>,
    ) -> PerPartition<Offset> {
        let timeout_ms = self.timeout_ms();
        let request = |asked: &Asked| {
            let mut topics: Vec<DeleteRecordsTopic> = Vec::new();
            for (at, _) in asked {
                let partition = DeleteRecordsPartition {
                    partition_index: at.partition.0,
                    offset: before[at].map_or(-1, |offset| offset.0),
                    ..Default::default()
                };
                match topics.last_mut().filter(|topic| topic.name == at.topic) {
                    Some(topic) => topic.partitions.push(partition),
                    None => topics.push(DeleteRecordsTopic {
                        name: at.topic.clone(),
                        partitions: vec![partition],
                        ..Default::default()
                    }),
                }
            }
            DeleteRecordsRequest { topics, timeout_ms, ..Default::default() }
        };
        let answers = |response: DeleteRecordsResponse| {
            let mut results = Vec::new();
            for topic in response.topics {
                for answer in topic.partitions {
                    let at = TopicPartition::new(topic.name.clone(), answer.partition_index);
                    let start = Offset(answer.low_watermark);
                    results.push((at, checked(answer.error_code, None, start)));
                }
            }
            results
        };
        self.client.ask_leaders(before.keys().cloned(), request, answers).await
    }

    /// The producers that the leaders of `partitions` remember (KIP-664).
    pub async fn describe_producers(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> PerPartition<Vec<ProducerState>> {
        let request = |asked: &Asked| {
            let mut topics: Vec<TopicRequest> = Vec::new();
            for (at, _) in asked {
                match topics.last_mut().filter(|topic| topic.name == at.topic) {
                    Some(topic) => topic.partition_indexes.push(at.partition.0),
                    None => topics.push(TopicRequest {
                        name: at.topic.clone(),
                        partition_indexes: vec![at.partition.0],
                        ..Default::default()
                    }),
                }
            }
            DescribeProducersRequest { topics, ..Default::default() }
        };
        let answers = |response: DescribeProducersResponse| {
            let mut results = Vec::new();
            for topic in response.topics {
                for answer in topic.partitions {
                    let at = TopicPartition::new(topic.name.clone(), answer.partition_index);
                    let states = answer.active_producers.iter().map(state).collect();
                    results.push((at, checked(answer.error_code, answer.error_message, states)));
                }
            }
            results
        };
        self.client.ask_leaders(partitions, request, answers).await
    }
}

fn state(answer: &protocol::messages::describe_producers_response::ProducerState) -> ProducerState {
    let start = answer.current_txn_start_offset;
    ProducerState {
        producer_id: ProducerId(answer.producer_id),
        // Wider on the wire than an epoch is.
        epoch: ProducerEpoch(i16::try_from(answer.producer_epoch).unwrap_or(-1)),
        last_sequence: Sequence(answer.last_sequence),
        last_timestamp: Timestamp(answer.last_timestamp),
        transaction_start: (start >= 0).then_some(Offset(start)),
    }
}
