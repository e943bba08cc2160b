//! Produce over real sockets into a real directory.

use bytes::Bytes;
use metadata::controller::NewTopic;
use model::{Offset, Timestamp, Uuid};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::records::{BatchBuilder, BatchOptions, RecordParts};
use protocol::{ApiKey, Decode, ErrorCode, Records, StrBytes, frame};
use runtime::Stream;
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};
use storage::ReadRequest;

use super::start;
use crate::Broker;
use crate::partition::Partition;

/// Creates `orders` with one partition; gives its id and the partition.
pub(super) async fn create_topic(broker: &Broker) -> (Uuid, Partition) {
    create_with(broker, "orders", &[]).await
}

/// Creates a topic with one partition and these settings.
pub(super) async fn create_with(
    broker: &Broker,
    name: &str,
    configs: &[(&str, &str)],
) -> (Uuid, Partition) {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
    let topic = NewTopic {
        name: name.to_owned(),
        partition_count: 1,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.collect(),
    };
    let created = broker.shared.controller.create_topics(vec![topic], false).await.unwrap();
    let id = created.outcome[0].as_ref().unwrap().id;
    broker.shared.wait_applied(created.offset).await;
    let registry = broker.shared.registry.borrow();
    (id, registry.by_id(id).unwrap().partition(0).unwrap().clone())
}

pub(super) fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let parts = RecordParts { key: None, value: Some(value.as_bytes()), headers: &[] };
    builder.append(Timestamp(1), &parts);
    builder.finish().unwrap().bytes
}

pub(super) fn request(
    acks: i16,
    topic: &'static str,
    id: Uuid,
    index: i32,
    records: Bytes,
) -> ProduceRequest {
    let records = Some(Records::from(records));
    let partition = PartitionProduceData { index, records, ..Default::default() };
    let topic = TopicProduceData {
        name: StrBytes::from_static(topic),
        topic_id: id,
        partition_data: vec![partition],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 5000, topic_data: vec![topic], ..Default::default() }
}

pub(super) async fn send(stream: &mut dyn Stream, version: i16, request: &ProduceRequest) {
    let frame = frame::encode_request(request, version, 1, None).unwrap().concat();
    stream.write_all(&frame).await.unwrap();
}

pub(super) async fn answer(stream: &mut dyn Stream, version: i16) -> PartitionProduceResponse {
    let len = stream.read_u32().await.unwrap() as usize;
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    let bytes = Bytes::from(bytes);
    let (_, mut body) =
        frame::decode_response_header(bytes, ApiKey::Produce, version, 1 << 20).unwrap();
    let response = ProduceResponse::decode(&mut body, version).unwrap();
    response.responses[0].partition_responses[0].clone()
}

#[test]
fn pipelined_batches_get_offsets_in_order_and_are_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let (id, partition) = create_topic(&broker).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for at in 0..20 {
            let (version, acks) = if at % 2 == 0 { (9, -1) } else { (13, 1) };
            let topic = if version == 13 { "" } else { "orders" };
            let id = if version == 13 { id } else { Uuid::ZERO };
            send(&mut *stream, version, &request(acks, topic, id, 0, batch("x"))).await;
        }
        for at in 0..20 {
            let version = if at % 2 == 0 { 9 } else { 13 };
            let response = answer(&mut *stream, version).await;
            assert_eq!((response.error_code, response.base_offset), (0, at));
        }
        let read = ReadRequest {
            from: Offset(0),
            max_bytes: 1 << 20,
            up_to: partition.high_watermark(),
            at_least_one: true,
            verify_crc: true,
        };
        assert_eq!(partition.reader().read(read).await.unwrap().next_offset, Offset(20));
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_time_limit_of_zero_is_about_other_replicas() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        create_topic(&broker).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for (acks, offset) in [(1, 0), (-1, 1)] {
            let request = request(acks, "orders", Uuid::ZERO, 0, batch("x"));
            send(&mut *stream, 9, &ProduceRequest { timeout_ms: 0, ..request }).await;
            let response = answer(&mut *stream, 9).await;
            assert_eq!((response.error_code, response.base_offset), (0, offset));
        }
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn each_refusal_has_its_error() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let (_, partition) = create_topic(&broker).await;
        let mut broken = batch("x").to_vec();
        *broken.last_mut().unwrap() ^= 1;
        let good = || batch("x");
        let cases = [
            (9, request(-1, "nowhere", Uuid::ZERO, 0, good()), ErrorCode::UnknownTopicOrPartition),
            (9, request(-1, "orders", Uuid::ZERO, 1, good()), ErrorCode::UnknownTopicOrPartition),
            (9, request(-1, "orders", Uuid::ZERO, -1, good()), ErrorCode::UnknownTopicOrPartition),
            (13, request(-1, "", Uuid([9; 16]), 0, good()), ErrorCode::UnknownTopicId),
            (9, request(2, "orders", Uuid::ZERO, 0, good()), ErrorCode::InvalidRequiredAcks),
            (9, request(-1, "orders", Uuid::ZERO, 0, broken.into()), ErrorCode::CorruptMessage),
        ];
        let mut stream = runtime.net.connect(&address).await.unwrap();
        for (version, request, error) in cases {
            send(&mut *stream, version, &request).await;
            let response = answer(&mut *stream, version).await;
            assert_eq!(ErrorCode::from_code(response.error_code), error, "{request:?}");
            assert_eq!(response.base_offset, -1);
        }
        assert_eq!(partition.high_watermark(), Offset(0), "nothing of them was written");
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        create_topic(&broker).await;
        let mut stream = runtime.net.connect(&address).await.unwrap();
        send(&mut *stream, 9, &request(0, "orders", Uuid::ZERO, 0, batch("a"))).await;
        send(&mut *stream, 9, &request(-1, "orders", Uuid::ZERO, 0, batch("b"))).await;
        assert_eq!(
            answer(&mut *stream, 9).await.base_offset,
            1,
            "the first answer is the second's"
        );
        send(&mut *stream, 9, &request(0, "nowhere", Uuid::ZERO, 0, batch("c"))).await;
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        broker.stop().await;
    })
    .unwrap();
}
