//! Produce: batches into partitions.
//!
//! Two steps, so that pipelined requests meet in one group commit: [`submit`] validates each batch
//! and hands it to its partition's owner; [`Submitted::finish`] waits for the owners' answers.
//!
//! Rules: `semantics` of record batch v2 in `protocol::records`; KIP-516 for topic ids (version 13).
//! acks=1 and acks=all both wait for stable storage here. A request that times out answers
//! REQUEST_TIMED_OUT although its data may stay (`ReplicaManager.appendRecords`).

use std::time::Duration;

use model::{Instant, Offset, Timestamp};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::records::{InvalidBatch, ProduceRules, Scratch, validate_produce};
use protocol::{ErrorCode, Records, StrBytes};
use runtime::Clock;
use runtime::sync::oneshot;
use storage::AppendError;

use crate::api::storage_error_code;
use crate::partition::{Appended, Partition, ProduceError};
use crate::registry::{Registry, Topic};
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that names topics by id only.
const TOPIC_IDS_FROM: i16 = 13;

/// A request whose batches are with their partitions.
pub(crate) struct Submitted {
    acks: i16,
    deadline: Instant,
    topics: Vec<(TopicProduceResponse, Vec<Pending>)>,
}

/// A batch on its way.
enum Pending {
    Waiting { index: i32, answer: oneshot::Receiver<Result<Appended, ProduceError>> },
    Done(PartitionProduceResponse),
}

/// Why a batch did not reach its partition.
#[derive(Clone)]
enum Refusal {
    Code(ErrorCode, &'static str),
    Invalid(InvalidBatch),
}

/// Validates the batches and hands them over.
pub(crate) async fn submit(
    shared: &Shared,
    context: &RequestContext,
    request: ProduceRequest,
    scratch: &mut Scratch,
) -> Submitted {
    let registry = shared.registry.borrow();
    // The client's time limit is about other replicas (`DelayedProduce`). This broker's own disk is
    // waited for, as far as a request may take at all.
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let timeout = timeout.max(shared.config.request_timeout);
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = find(&registry, context, &data);
        let mut pending = Vec::with_capacity(data.partition_data.len());
        for partition in data.partition_data {
            let index = partition.index;
            let accepted = accept(shared, context, request.acks, &topic, partition, scratch);
            pending.push(match accepted {
                Ok((partition, batch)) => {
                    Pending::Waiting { index, answer: partition.submit(batch).await }
                }
                Err(refusal) => Pending::Done(refused(index, refusal)),
            });
        }
        let (name, topic_id) = (data.name, data.topic_id);
        topics.push((TopicProduceResponse { name, topic_id, ..Default::default() }, pending));
    }
    Submitted { acks: request.acks, deadline: context.received + timeout, topics }
}

fn find<'a>(
    registry: &'a Registry,
    context: &RequestContext,
    data: &TopicProduceData,
) -> Result<&'a Topic, Refusal> {
    if context.api_version >= TOPIC_IDS_FROM {
        let unknown = Refusal::Code(ErrorCode::UnknownTopicId, "no topic has this id");
        return registry.by_id(data.topic_id).map(AsRef::as_ref).ok_or(unknown);
    }
    let unknown = Refusal::Code(ErrorCode::UnknownTopicOrPartition, "no topic has this name");
    registry.by_name(&data.name).map(AsRef::as_ref).ok_or(unknown)
}

/// Everything that can be said about a batch before its partition sees it.
fn accept<'a>(
    shared: &Shared,
    context: &RequestContext,
    acks: i16,
    topic: &Result<&'a Topic, Refusal>,
    data: PartitionProduceData,
    scratch: &mut Scratch,
) -> Result<(&'a Partition, protocol::records::ValidatedBatch), Refusal> {
    if !(-1..=1).contains(&acks) {
        return Err(Refusal::Code(ErrorCode::InvalidRequiredAcks, "acks must be -1, 0 or 1"));
    }
    let topic = topic.as_ref().map_err(Refusal::clone)?;
    if topic.is_internal {
        let text = "clients do not write to internal topics";
        return Err(Refusal::Code(ErrorCode::InvalidTopicException, text));
    }
    let missing = || Refusal::Code(topic.missing(data.index), "no such partition is open here");
    let partition = topic.partition(data.index).ok_or_else(missing)?;
    let records = data.records.as_ref().map(Records::to_bytes).unwrap_or_default();
    let rules = ProduceRules { produce_version: context.api_version, ..topic.rules };
    let now = shared.runtime.clock.wall();
    let batch = validate_produce(records, &rules, now, scratch).map_err(Refusal::Invalid)?;
    if batch.header.attributes.is_transactional() {
        // Nobody can have opened the transaction: its coordinator is not served.
        let text = "the batch belongs to a transaction, and none is open";
        return Err(Refusal::Code(ErrorCode::InvalidTxnState, text));
    }
    Ok((partition, batch))
}

impl Submitted {
    /// Waits until each batch is durable or refused, or the request's time is over.
    pub(crate) async fn finish(self, clock: &dyn Clock) -> ProduceResponse {
        let mut responses = Vec::with_capacity(self.topics.len());
        for (mut topic, pending) in self.topics {
            topic.partition_responses.reserve(pending.len());
            for batch in pending {
                let done = match batch {
                    Pending::Done(response) => response,
                    Pending::Waiting { index, answer } => {
                        let left = self.deadline.since(clock.now());
                        outcome(index, runtime::timeout(clock, left, answer).await)
                    }
                };
                topic.partition_responses.push(done);
            }
            responses.push(topic);
        }
        ProduceResponse { responses, ..Default::default() }
    }

    /// Whether the client wants no answer.
    pub(crate) fn is_unacknowledged(&self) -> bool {
        self.acks == 0
    }
}

/// For acks=0, which has no answer: the first error, which ends the connection so that the producer
/// looks for the cause (`KafkaApis.handleProduceRequest`).
pub(crate) fn first_error(response: &ProduceResponse) -> Option<ErrorCode> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|p| ErrorCode::from_code(p.error_code)).find(|error| error.is_error())
}

type Answered = Result<Result<Appended, ProduceError>, oneshot::error::RecvError>;

fn outcome(index: i32, answered: Result<Answered, runtime::Elapsed>) -> PartitionProduceResponse {
    match answered {
        Ok(Ok(Ok(appended))) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.append_time.0,
            log_start_offset: appended.log_start.0,
            ..Default::default()
        },
        Ok(Ok(Err(error))) => failed(index, error_code(&error), Some(error.to_string())),
        Ok(Err(_)) => failed(index, error_code(&ProduceError::Closed), None),
        Err(runtime::Elapsed) => failed(index, ErrorCode::RequestTimedOut, None),
    }
}

fn refused(index: i32, refusal: Refusal) -> PartitionProduceResponse {
    match refusal {
        Refusal::Code(error, text) => failed(index, error, Some(text.to_owned())),
        Refusal::Invalid(invalid) => {
            let record_errors = invalid.record_errors.iter().map(|record| {
                let message = Some(StrBytes::from(record.message.to_string()));
                BatchIndexAndErrorMessage {
                    batch_index: record.index,
                    batch_index_error_message: message,
                    ..Default::default()
                }
            });
            let record_errors = record_errors.collect();
            let failed = failed(index, invalid.error, Some(invalid.message));
            PartitionProduceResponse { record_errors, ..failed }
        }
    }
}

fn failed(index: i32, error: ErrorCode, text: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: Offset(-1).0,
        log_append_time_ms: Timestamp::NONE.0,
        log_start_offset: Offset(-1).0,
        error_message: text.map(StrBytes::from),
        ..Default::default()
    }
}

/// What a client is told about a batch that was not acknowledged.
fn error_code(error: &ProduceError) -> ErrorCode {
    match error {
        ProduceError::Closed => ErrorCode::NotLeaderOrFollower,
        ProduceError::Sync(error) => storage_error_code(error),
        ProduceError::Refused(error) => match error {
            AppendError::Storage(error) => storage_error_code(error),
            AppendError::BatchTooLarge { .. } => ErrorCode::RecordListTooLarge,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
            AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            AppendError::InvalidMarker => ErrorCode::InvalidRecord,
        },
    }
}
