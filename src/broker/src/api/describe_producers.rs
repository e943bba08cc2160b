//! DescribeProducers: the idempotent producers a partition remembers (KIP-664).

use protocol::ErrorCode;
use protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use storage::ProducerDescription;

use crate::request::RequestContext;
use crate::shared::Shared;

/// Describes each partition's producers.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let registry = shared.registry.borrow();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for index in asked.partition_indexes {
            let producers = match registry.partition(&asked.name, index) {
                Ok(partition) => partition.producers().await.ok_or(ErrorCode::NotLeaderOrFollower),
                Err(error) => Err(error),
            };
            let (error, producers) = match producers {
                Ok(producers) => (ErrorCode::None, producers),
                Err(error) => (error, Vec::new()),
            };
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code: error.code(),
                active_producers: producers.iter().map(describe).collect(),
                ..Default::default()
            });
        }
        topics.push(TopicResponse { name: asked.name, partitions, ..Default::default() });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

fn describe(producer: &ProducerDescription) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.0,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.current_txn_start.map_or(-1, |offset| offset.0),
        ..Default::default()
    }
}
