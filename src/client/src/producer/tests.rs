//! The producer against brokers that lose, refuse, delay and repeat.
//!
//! [`ModelLog`] does what a broker's log does with idempotent producers; the scripts around it make
//! the trouble. What must hold is read from the log: nothing twice, nothing acknowledged missing,
//! the order kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Uuid};
use protocol::frame::RequestFrame;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use protocol::messages::{
    InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse,
};
use protocol::records::{Batch, Compression, Scratch};
use protocol::{ApiKey, Decode, ErrorCode};
use rand_core::Rng;
use runtime::{RandomStream, Runtime, split_seed};

use super::*;
use crate::config::ClientConfig;
use crate::testing::{FakeBroker, FakeNet, Reaction, answer, run};

/// One partition's log and what it knows of its producers (semantics of `ProducerStateManager`).
#[derive(Debug, Default)]
struct ModelLog {
    values: Vec<String>,
    producers: BTreeMap<ProducerId, Known>,
}

#[derive(Debug)]
struct Known {
    epoch: ProducerEpoch,
    /// First and last sequence and first offset of the last five batches.
    batches: VecDeque<(i32, i32, i64)>,
}

impl ModelLog {
    /// Appends a batch or recognises it; the base offset or the error.
    fn append(&mut self, batch: &Batch) -> Result<i64, ErrorCode> {
        let header = &batch.header;
        batch.verify_crc().map_err(|_| ErrorCode::CorruptMessage)?;
        let (first, last) = (header.base_sequence.0, header.last_sequence().0);
        let base = self.values.len() as i64;
        if header.producer_id.is_idempotent() {
            if let Some(known) = self.producers.get(&header.producer_id) {
                if header.producer_epoch < known.epoch {
                    return Err(ErrorCode::InvalidProducerEpoch);
                }
                let same_epoch = header.producer_epoch == known.epoch;
                let again = known.batches.iter().find(|b| (b.0, b.1) == (first, last));
                if let Some((_, _, offset)) = again.filter(|_| same_epoch) {
                    return Ok(*offset);
                }
                let next = match known.batches.back() {
                    Some((_, last, _)) if same_epoch => last.wrapping_add(1) & i32::MAX,
                    _ => 0,
                };
                if first != next {
                    return Err(ErrorCode::OutOfOrderSequenceNumber);
                }
            }
            let epoch = header.producer_epoch;
            let fresh = || Known { epoch, batches: VecDeque::new() };
            let known = self.producers.entry(header.producer_id).or_insert_with(fresh);
            if known.epoch != epoch {
                *known = fresh();
            }
            known.batches.push_back((first, last, base));
            if known.batches.len() > 5 {
                known.batches.pop_front();
            }
        }
        let records = batch.records(1 << 24, &mut Scratch::new()).expect("good records");
        for record in &records {
            let value = record.expect("a good record").value.expect("a value");
            self.values.push(String::from_utf8_lossy(value).into_owned());
        }
        Ok(base)
    }
}

/// The logs of all partitions.
type Logs = Arc<Mutex<BTreeMap<i32, ModelLog>>>;

fn values(logs: &Logs, partition: i32) -> Vec<String> {
    let logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    logs.get(&partition).map(|log| log.values.clone()).unwrap_or_default()
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// It never arrives.
    Lost,
    /// It is carried out, the response is lost with the connection.
    AnswerLost,
    /// It is carried out and never answered.
    AnswerLate,
    /// Refused without being carried out.
    Refused(ErrorCode),
    /// Carried out, and answered with an error all the same.
    DoneBut(ErrorCode),
}

fn broker(id: i32) -> MetadataResponseBroker {
    let host = "broker".into();
    MetadataResponseBroker { node_id: id, host, port: id, ..Default::default() }
}

/// A cluster of `brokers` brokers that has topic `t` with `partitions` partitions led by broker 1.
fn metadata(brokers: i32, partitions: i32) -> Arc<Mutex<MetadataResponse>> {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        leader_epoch: 0,
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("t".into()),
        topic_id: Uuid([7; 16]),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    let brokers = (1..=brokers).map(broker).collect();
    let topics = vec![topic];
    Arc::new(Mutex::new(MetadataResponse {
        brokers,
        topics,
        controller_id: 1,
        ..Default::default()
    }))
}

fn init_producer_id(request: &RequestFrame, next: &mut i64) -> Reaction {
    *next += 1;
    let response = InitProducerIdResponse { producer_id: *next, ..Default::default() };
    answer(request, &response)
}

/// Carries a Produce request out, with `trouble`.
fn produce(mut request: RequestFrame, logs: &Logs, trouble: Trouble) -> Reaction {
    if trouble == Trouble::Lost {
        return Reaction::HangUp;
    }
    let body = ProduceRequest::decode(&mut request.body, request.api_version);
    let body = body.expect("a good request");
    let mut logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
    let mut response = ProduceResponse::default();
    for topic in body.topic_data {
        let mut answers = Vec::new();
        for partition in topic.partition_data {
            let records = partition.records.expect("records").to_bytes();
            let batch = Batch::parse(records).expect("one batch");
            let log = logs.entry(partition.index).or_default();
            let result = match trouble {
                Trouble::Refused(code) => Err(code),
                Trouble::DoneBut(code) => log.append(&batch).and(Err(code)),
                _ => log.append(&batch),
            };
            let code = result.err().unwrap_or(ErrorCode::None);
            answers.push(PartitionProduceResponse {
                index: partition.index,
                error_code: code.code(),
                base_offset: result.unwrap_or(-1),
                ..Default::default()
            });
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
            ..Default::default()
        });
    }
    match trouble {
        Trouble::AnswerLost => Reaction::HangUp,
        Trouble::AnswerLate => Reaction::Silence,
        _ if body.acks == 0 => Reaction::Nothing,
        _ => answer(&request, &response),
    }
}

/// Starts broker `id`, which has trouble with Produce requests as `trouble` says.
fn start_broker(
    net: &FakeNet,
    id: i32,
    metadata: &Arc<Mutex<MetadataResponse>>,
    logs: &Logs,
    mut trouble: impl FnMut() -> Trouble + Send + 'static,
) {
    let logs = Arc::clone(logs);
    let mut next_producer_id = 0;
    FakeBroker::start(net, &format!("broker:{id}"), Arc::clone(metadata), move |request| {
        match request.api_key {
            ApiKey::InitProducerId => init_producer_id(&request, &mut next_producer_id),
            ApiKey::Produce => produce(request, &logs, trouble()),
            other => panic!("{other:?} is not expected"),
        }
    });
}

fn client(runtime: &Runtime) -> Client {
    let config = ClientConfig {
        bootstrap_servers: vec!["broker:1".to_owned()],
        request_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    };
    Client::new(runtime, config)
}

fn record(partition: i32, value: &str) -> ProducerRecord {
    ProducerRecord {
        topic: "t".into(),
        partition: Some(PartitionIndex(partition)),
        value: Some(Bytes::from(value.to_owned())),
        ..Default::default()
    }
}

/// Small batches, so that many are in flight.
fn small_batches() -> ProducerConfig {
    ProducerConfig {
        batch_bytes: 200,
        linger: Duration::from_millis(1),
        compression: Compression::Snappy,
        delivery_timeout: Duration::from_secs(3600),
        ..ProducerConfig::default()
    }
}

/// Troubles drawn by chance: three of ten requests are lost in some way.
fn chance(mut random: RandomStream) -> impl FnMut() -> Trouble + Send {
    move || match random.next_u64() % 100 {
        0..8 => Trouble::Lost,
        8..16 => Trouble::AnswerLost,
        16..20 => Trouble::AnswerLate,
        20..24 => Trouble::Refused(ErrorCode::NotLeaderOrFollower),
        24..27 => Trouble::Refused(ErrorCode::NotEnoughReplicas),
        27..31 => Trouble::DoneBut(ErrorCode::NotEnoughReplicasAfterAppend),
        31..34 => Trouble::DoneBut(ErrorCode::RequestTimedOut),
        _ => Trouble::None,
    }
}

#[test]
fn idempotent_records_arrive_once_and_in_order_whatever_gets_lost() {
    for seed in 0..150 {
        let logs = Logs::default();
        run(async |runtime, net| {
            let random = split_seed(seed, "trouble", 0);
            start_broker(&net, 1, &metadata(1, 2), &logs, chance(random));
            let client = client(&runtime);
            let producer = Producer::start(&client, small_batches()).expect("good settings");
            let mut deliveries = Vec::new();
            for number in 0..200 {
                let sent = producer.send(record(number % 2, &format!("v{number}"))).await;
                deliveries.push((number, sent.expect("taken")));
                if number % 7 == 0 {
                    runtime::sleep(&*runtime.clock, Duration::from_millis(3)).await;
                }
            }
            for (number, delivery) in deliveries {
                let metadata = delivery.acknowledged().await.expect("acknowledged");
                let offset = metadata.offset.expect("an offset");
                assert_eq!(offset, Offset(i64::from(number / 2)), "seed {seed}, record {number}");
            }
            assert_eq!(producer.buffered_bytes(), 0);
        });
        for partition in 0..2 {
            let expected: Vec<String> =
                (0..200).filter(|n| n % 2 == partition).map(|n| format!("v{n}")).collect();
            assert_eq!(values(&logs, partition), expected, "seed {seed}");
        }
    }
}

#[test]
fn records_given_up_leave_no_duplicates_and_the_rest_goes_on() {
    let mut given_up = 0;
    for seed in 0..150 {
        let logs = Logs::default();
        let mut acknowledged = Vec::new();
        run(async |runtime, net| {
            let mut random = split_seed(seed, "trouble", 0);
            let mut calm = chance(split_seed(seed, "trouble", 1));
            let trouble = move || match random.next_u64() % 10 {
                // Long enough silences that batches pass their time limit.
                0..3 => Trouble::AnswerLate,
                3 => Trouble::Refused(ErrorCode::InvalidRecord),
                _ => calm(),
            };
            start_broker(&net, 1, &metadata(1, 1), &logs, trouble);
            let client = client(&runtime);
            let config =
                ProducerConfig { delivery_timeout: Duration::from_secs(7), ..small_batches() };
            let producer = Producer::start(&client, config).expect("good settings");
            let mut deliveries = Vec::new();
            for number in 0..150 {
                let value = format!("v{number}");
                let delivery = producer.send(record(0, &value)).await.expect("taken");
                deliveries.push((value, delivery));
                runtime::sleep(&*runtime.clock, Duration::from_millis(40)).await;
            }
            for (value, delivery) in deliveries {
                match delivery.acknowledged().await {
                    Ok(metadata) => acknowledged.push((value, metadata.offset)),
                    Err(_) => given_up += 1,
                }
            }
            // Batches that were given up on the wire are kept until their connection ends.
            runtime::sleep(&*runtime.clock, Duration::from_secs(10)).await;
            assert_eq!(producer.buffered_bytes(), 0, "seed {seed}");
        });
        let log = values(&logs, 0);
        let numbers: Vec<u32> = log.iter().map(|v| v[1..].parse().expect("a number")).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: {numbers:?}");
        for (value, offset) in acknowledged {
            let offset = offset.expect("an offset").0 as usize;
            assert_eq!(log.get(offset), Some(&value), "seed {seed}");
        }
    }
    assert!(given_up > 100, "the scenario reaches what it is about: {given_up}");
}

/// Sends `count` records one batch each and returns what became of them.
async fn send_all(producer: &Producer, count: i32) -> Vec<Result<RecordMetadata, DeliveryError>> {
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(producer.send(record(0, &format!("v{number}"))).await.expect("taken"));
    }
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.acknowledged().await);
    }
    outcomes
}

#[test]
fn a_moved_partition_is_found_at_its_new_leader() {
    let logs = Logs::default();
    run(async |runtime, net| {
        let metadata = metadata(2, 1);
        let moved = Arc::clone(&metadata);
        let mut requests = 0;
        start_broker(&net, 1, &metadata, &logs, move || {
            requests += 1;
            if requests < 2 {
                return Trouble::None;
            }
            let mut metadata = moved.lock().unwrap_or_else(PoisonError::into_inner);
            metadata.topics[0].partitions[0].leader_id = 2;
            metadata.topics[0].partitions[0].leader_epoch = 1;
            Trouble::Refused(ErrorCode::NotLeaderOrFollower)
        });
        start_broker(&net, 2, &metadata, &logs, || Trouble::None);
        let client = client(&runtime);
        let config = ProducerConfig { batch_bytes: 1, ..small_batches() };
        let producer = Producer::start(&client, config).expect("good settings");
        for outcome in send_all(&producer, 20).await {
            outcome.expect("acknowledged");
        }
        assert_eq!(client.view().leader(&TopicPartition::new("t", 0)).map(|l| l.0.0), Some(2));
    });
    let expected: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    assert_eq!(values(&logs, 0), expected);
}

#[test]
fn a_batch_that_is_too_large_goes_in_halves() {
    let logs = Logs::default();
    run(async |runtime, net| {
        let mut requests = 0;
        start_broker(&net, 1, &metadata(1, 1), &logs, move || {
            requests += 1;
            match requests {
                1 | 2 => Trouble::Refused(ErrorCode::MessageTooLarge),
                _ => Trouble::None,
            }
        });
        let client = client(&runtime);
        let config = ProducerConfig { batch_bytes: 10_000, ..small_batches() };
        let producer = Producer::start(&client, config).expect("good settings");
        for (number, outcome) in send_all(&producer, 9).await.into_iter().enumerate() {
            let offset = outcome.expect("acknowledged").offset;
            assert_eq!(offset, Some(Offset(number as i64)));
        }
        assert_eq!(producer.buffered_bytes(), 0);
    });
    assert_eq!(values(&logs, 0).len(), 9);
}

#[test]
fn one_record_that_is_too_large_fails_alone() {
    let logs = Logs::default();
    run(async |runtime, net| {
        let mut requests = 0;
        start_broker(&net, 1, &metadata(1, 1), &logs, move || {
            requests += 1;
            match requests {
                2 => Trouble::Refused(ErrorCode::MessageTooLarge),
                _ => Trouble::None,
            }
        });
        let client = client(&runtime);
        let config = ProducerConfig { batch_bytes: 1, ..small_batches() };
        let producer = Producer::start(&client, config).expect("good settings");
        let outcomes = send_all(&producer, 8).await;
        let failed: Vec<usize> = (0..8).filter(|&number| outcomes[number].is_err()).collect();
        assert_eq!(failed, [1]);
        let error = outcomes[1].as_ref().expect_err("it failed");
        assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    });
    assert_eq!(values(&logs, 0), ["v0", "v2", "v3", "v4", "v5", "v6", "v7"]);
}

#[test]
fn without_acks_there_is_no_offset_and_no_waiting() {
    let logs = Logs::default();
    run(async |runtime, net| {
        start_broker(&net, 1, &metadata(1, 1), &logs, || Trouble::None);
        let config = ProducerConfig { acks: Acks::None, idempotence: false, ..small_batches() };
        let producer = Producer::start(&client(&runtime), config).expect("good settings");
        for outcome in send_all(&producer, 5).await {
            assert_eq!(outcome.expect("written").offset, None);
        }
        // The broker reads on while the client is done already.
        runtime::sleep(&*runtime.clock, Duration::from_secs(1)).await;
    });
    assert_eq!(values(&logs, 0).len(), 5);
}

#[test]
fn what_can_not_be_sent_is_refused_at_once() {
    run(async |runtime, net| {
        start_broker(&net, 1, &metadata(1, 1), &Logs::default(), || Trouble::AnswerLate);
        let config = ProducerConfig {
            buffer_bytes: 400,
            request_bytes_max: 300,
            block_max: Duration::from_secs(2),
            ..small_batches()
        };
        let producer = Producer::start(&client(&runtime), config).expect("good settings");
        let large = producer.send(record(0, &"x".repeat(300))).await;
        assert!(matches!(large, Err(SendError::TooLarge { limit_bytes: 300, .. })));
        let nowhere = producer.send(record(9, "v")).await;
        assert!(matches!(nowhere, Err(SendError::Partition(_))), "{nowhere:?}");
        let _first = producer.send(record(0, &"x".repeat(150))).await.expect("taken");
        let began = runtime.clock.now();
        let full = producer.send(record(0, &"x".repeat(150))).await;
        assert!(matches!(full, Err(SendError::BufferFull { .. })), "{full:?}");
        assert!(runtime.clock.now() - began >= Duration::from_secs(2));
        producer.close(Duration::from_secs(1)).await;
    });
}

#[test]
fn closing_fails_what_is_left() {
    run(async |runtime, net| {
        start_broker(&net, 1, &metadata(1, 1), &Logs::default(), || Trouble::AnswerLate);
        let producer = Producer::start(&client(&runtime), small_batches()).expect("good settings");
        let delivery = producer.send(record(0, "v")).await.expect("taken");
        let other = producer.clone();
        producer.close(Duration::from_secs(1)).await;
        assert!(matches!(delivery.acknowledged().await, Err(DeliveryError::Closed)));
        assert!(matches!(other.send(record(0, "w")).await, Err(SendError::Closed)));
    });
}

#[test]
fn settings_that_contradict_are_refused() {
    run(async |runtime, _| {
        let client = client(&runtime);
        let check = |config| Producer::start(&client, config).err();
        let weak = ProducerConfig { acks: Acks::Leader, ..ProducerConfig::default() };
        assert_eq!(check(weak), Some(ProducerConfigError::IdempotenceNeedsAcksAll));
        let many = ProducerConfig { in_flight_max: 6, ..ProducerConfig::default() };
        assert_eq!(check(many), Some(ProducerConfigError::TooManyInFlight { requests: 6 }));
    });
}
