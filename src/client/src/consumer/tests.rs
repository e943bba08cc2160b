//! The consumer against a broker with fetch sessions that forgets, refuses and hangs up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{Offset, Timestamp, Uuid};
use protocol::frame::RequestFrame;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
};
use protocol::records::{BatchBuilder, BatchOptions, Compression, RecordParts};
use protocol::{ApiKey, Decode, Records};
use rand_core::Rng;
use runtime::{Runtime, split_seed};

use super::*;
use crate::config::ClientConfig;
use crate::testing::{FakeBroker, FakeNet, Reaction, answer, run};

const TOPIC_ID: Uuid = Uuid([9; 16]);

/// A partition's batches of three records each, from `start` to `end`.
#[derive(Clone, Debug, Default)]
struct ModelPartition {
    start: i64,
    end: i64,
    batches: Vec<(i64, Bytes)>,
}

impl ModelPartition {
    fn with_batches(count: i64) -> ModelPartition {
        let batches = (0..count).map(|number| (number * 3, batch(number * 3))).collect();
        ModelPartition { start: 0, end: count * 3, batches }
    }

    /// The batches from the one that holds `offset` on, up to `bytes_max`, at least one.
    fn read(&self, offset: i64, bytes_max: i32) -> Records {
        let mut data = Vec::new();
        for (_, batch) in self.batches.iter().filter(|(base, _)| base + 3 > offset) {
            if !data.is_empty() && data.len() + batch.len() > bytes_max as usize {
                break;
            }
            data.extend_from_slice(batch);
        }
        Records::from(Bytes::from(data))
    }
}

fn batch(base: i64) -> Bytes {
    let compression = if base % 2 == 0 { Compression::Zstd } else { Compression::None };
    let options =
        BatchOptions { base_offset: Offset(base), compression, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for offset in base..base + 3 {
        let value = format!("v{offset}");
        let parts = RecordParts { value: Some(value.as_bytes()), ..Default::default() };
        builder.append(Timestamp(1_000 + offset), &parts);
    }
    builder.finish().expect("a small batch").bytes
}

/// A fetch session as a broker keeps it (`FetchSession`): what is fetched, from where.
#[derive(Debug, Default)]
struct Session {
    id: i32,
    epoch: i32,
    wanted: BTreeMap<i32, (i64, i32)>,
}

#[derive(Debug, Default)]
struct Broker {
    partitions: BTreeMap<i32, ModelPartition>,
    session: Session,
    next_session: i32,
    /// How many partitions each request named.
    named: Vec<usize>,
}

/// What happens to one fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    HangUp,
    /// The session is dropped, as when the cache is full.
    Forget,
    /// Every partition answers with this.
    Refuse(ErrorCode),
}

impl Broker {
    fn fetch(&mut self, mut request: RequestFrame, trouble: Trouble) -> Reaction {
        let body = FetchRequest::decode(&mut request.body, request.api_version);
        let body = body.expect("a good request");
        if trouble == Trouble::HangUp {
            return Reaction::HangUp;
        }
        if trouble == Trouble::Forget {
            self.session = Session::default();
        }
        if let Err(code) = self.enter(&body) {
            let error_code = code.code();
            return answer(&request, &FetchResponse { error_code, ..Default::default() });
        }
        let partitions: Vec<PartitionData> = self
            .session
            .wanted
            .iter()
            .filter_map(|(index, (offset, bytes_max))| {
                let answer = self.partition(*index, *offset, *bytes_max, trouble);
                let news = answer.error_code != 0 || answer.records.is_some();
                (news || body.session_epoch == 0).then_some(answer)
            })
            .collect();
        let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() };
        let responses = vec![topic];
        let session_id = self.session.id;
        let something = responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .any(|partition| partition.error_code != 0 || partition.records.is_some());
        let response = FetchResponse { session_id, responses, ..Default::default() };
        match answer(&request, &response) {
            // Whoever asks for more than there is has to wait.
            Reaction::Answer(bytes) if !something => {
                let wait = Duration::from_millis(body.max_wait_ms as u64);
                Reaction::AnswerAfter(wait, bytes)
            }
            reaction => reaction,
        }
    }

    /// Opens or continues a session.
    fn enter(&mut self, request: &FetchRequest) -> Result<(), ErrorCode> {
        if request.session_epoch == 0 {
            self.next_session += 1;
            self.session = Session { id: self.next_session, epoch: 0, wanted: BTreeMap::new() };
        } else if request.session_id != self.session.id {
            return Err(ErrorCode::FetchSessionIdNotFound);
        } else if request.session_epoch != self.session.epoch + 1 {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        } else {
            self.session.epoch += 1;
        }
        for topic in &request.forgotten_topics_data {
            assert_eq!(topic.topic_id, TOPIC_ID);
            topic.partitions.iter().for_each(|index| {
                self.session.wanted.remove(index);
            });
        }
        let mut named = 0;
        for topic in &request.topics {
            assert_eq!(topic.topic_id, TOPIC_ID);
            for partition in &topic.partitions {
                named += 1;
                let wanted = (partition.fetch_offset, partition.partition_max_bytes);
                self.session.wanted.insert(partition.partition, wanted);
            }
        }
        self.named.push(named);
        Ok(())
    }

    fn partition(
        &self,
        index: i32,
        offset: i64,
        bytes_max: i32,
        trouble: Trouble,
    ) -> PartitionData {
        let partition = &self.partitions[&index];
        let in_range = (partition.start..=partition.end).contains(&offset);
        let code = match trouble {
            Trouble::Refuse(code) => code,
            _ if !in_range => ErrorCode::OffsetOutOfRange,
            _ => ErrorCode::None,
        };
        let served = code == ErrorCode::None && offset < partition.end;
        PartitionData {
            partition_index: index,
            error_code: code.code(),
            high_watermark: partition.end,
            last_stable_offset: partition.end,
            log_start_offset: partition.start,
            records: served.then(|| partition.read(offset, bytes_max)),
            ..Default::default()
        }
    }

    fn list_offsets(&self, mut request: RequestFrame) -> Reaction {
        let body = ListOffsetsRequest::decode(&mut request.body, request.api_version);
        let topics = body.expect("a good request").topics;
        let find = |partition: &ModelPartition, timestamp: i64| match timestamp {
            -1 => partition.end,
            -2 => partition.start,
            // The record of offset n has timestamp 1000 + n.
            time => Some((time - 1_000).max(partition.start))
                .filter(|o| *o < partition.end)
                .unwrap_or(-1),
        };
        let topics = topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let partition = &self.partitions[&wanted.partition_index];
                let offset = find(partition, wanted.timestamp);
                let partition_index = wanted.partition_index;
                ListOffsetsPartitionResponse { partition_index, offset, ..Default::default() }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse { name: topic.name, partitions, ..Default::default() }
        });
        let topics = topics.collect();
        answer(&request, &ListOffsetsResponse { topics, ..Default::default() })
    }
}

/// A broker that leads topic `t` with `partitions` of `batches` batches each.
fn start(
    net: &FakeNet,
    partitions: i32,
    batches: i64,
    mut trouble: impl FnMut() -> Trouble + Send + 'static,
) -> Arc<Mutex<Broker>> {
    let model = (0..partitions).map(|index| (index, ModelPartition::with_batches(batches)));
    let broker = Broker { partitions: model.collect(), ..Broker::default() };
    let broker = Arc::new(Mutex::new(broker));
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        ..Default::default()
    };
    let node =
        MetadataResponseBroker { node_id: 1, host: "broker".into(), port: 1, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some("t".into()),
        topic_id: TOPIC_ID,
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    let metadata =
        MetadataResponse { brokers: vec![node], topics: vec![topic], ..Default::default() };
    let serving = Arc::clone(&broker);
    FakeBroker::start(net, "broker:1", Arc::new(Mutex::new(metadata)), move |request| {
        let mut broker = serving.lock().unwrap_or_else(PoisonError::into_inner);
        match request.api_key {
            ApiKey::Fetch => broker.fetch(request, trouble()),
            ApiKey::ListOffsets => broker.list_offsets(request),
            other => panic!("{other:?} is not expected"),
        }
    });
    broker
}

fn consumer(runtime: &Runtime, config: ConsumerConfig) -> Consumer {
    let servers = vec!["broker:1".to_owned()];
    let config_of_client = ClientConfig { bootstrap_servers: servers, ..ClientConfig::default() };
    Consumer::new(&Client::new(runtime, config_of_client), config)
}

fn from_beginning() -> ConsumerConfig {
    ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        partition_fetch_bytes_max: 300,
        poll_records_max: 7,
        ..ConsumerConfig::default()
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// Polls until `count` records came, and returns the offsets by partition.
async fn read(consumer: &mut Consumer, count: usize) -> BTreeMap<i32, Vec<i64>> {
    let mut offsets = BTreeMap::<i32, Vec<i64>>::new();
    let mut left = count;
    while left > 0 {
        let records = consumer.poll(Duration::from_secs(60)).await.expect("records");
        assert!(!records.is_empty(), "nothing for a minute, {left} are missing");
        left = left.saturating_sub(records.len());
        for record in records {
            assert_eq!(record.value, Some(Bytes::from(format!("v{}", record.offset))));
            offsets.entry(record.at.partition.0).or_default().push(record.offset.0);
        }
    }
    offsets
}

#[test]
fn every_record_comes_once_and_in_order_whatever_the_broker_does() {
    for seed in 0..60 {
        run(async |runtime, net| {
            let mut random = split_seed(seed, "trouble", 0);
            start(&net, 3, 40, move || match random.next_u64() % 20 {
                0 => Trouble::HangUp,
                1 | 2 => Trouble::Forget,
                3 => Trouble::Refuse(ErrorCode::NotLeaderOrFollower),
                4 => Trouble::Refuse(ErrorCode::UnknownLeaderEpoch),
                _ => Trouble::None,
            });
            let mut consumer = consumer(&runtime, from_beginning());
            consumer.assign((0..3).map(at));
            let offsets = read(&mut consumer, 360).await;
            for index in 0..3 {
                assert!(offsets[&index].iter().copied().eq(0..120), "seed {seed}");
                assert_eq!(consumer.position(&at(index)), Some(Offset(120)));
            }
        });
    }
}

#[test]
fn a_session_names_only_what_changed() {
    run(async |runtime, net| {
        let broker = start(&net, 20, 0, || Trouble::None);
        let mut consumer = consumer(&runtime, from_beginning());
        consumer.assign((0..20).map(at));
        assert_eq!(consumer.poll(Duration::from_secs(1)).await.expect("nothing").len(), 0);
        for round in 1..4 {
            {
                let mut broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
                let partition = ModelPartition::with_batches(round);
                broker.partitions.insert(5, partition);
            }
            read(&mut consumer, 3).await;
        }
        let broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(broker.next_session, 1, "one session");
        assert_eq!(broker.named[0], 20);
        assert!(broker.named[1..].iter().all(|named| *named <= 1), "{:?}", broker.named);
    });
}

#[test]
fn seeking_drops_what_was_fetched_for_the_old_place() {
    run(async |runtime, net| {
        start(&net, 1, 100, || Trouble::None);
        let mut consumer = consumer(&runtime, from_beginning());
        consumer.assign([at(0)]);
        read(&mut consumer, 7).await;
        consumer.seek(&at(0), Offset(200)).expect("assigned");
        assert_eq!(read(&mut consumer, 2).await[&0][..2], [200, 201]);
        consumer.seek_to_beginning(&at(0)).expect("assigned");
        assert_eq!(read(&mut consumer, 1).await[&0][0], 0);
        consumer.seek_to_time(&at(0), Timestamp(1_150)).expect("assigned");
        assert_eq!(read(&mut consumer, 1).await[&0][0], 150);
        consumer.seek_to_time(&at(0), Timestamp(9_999)).expect("assigned");
        assert!(consumer.poll(Duration::from_secs(5)).await.expect("nothing").is_empty());
        assert_eq!(consumer.position(&at(0)), Some(Offset(300)));
        consumer.seek_to_end(&at(0)).expect("assigned");
        assert!(consumer.poll(Duration::from_secs(5)).await.expect("nothing").is_empty());
        assert!(consumer.seek(&at(9), Offset(0)).is_err());
    });
}

#[test]
fn a_position_outside_the_log_goes_where_the_policy_says() {
    for (policy, next) in
        [(OffsetReset::Earliest, Some(30)), (OffsetReset::Latest, None), (OffsetReset::Error, None)]
    {
        run(async |runtime, net| {
            let broker = start(&net, 1, 100, || Trouble::None);
            {
                let mut broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
                broker.partitions.get_mut(&0).expect("it is there").start = 30;
            }
            let config = ConsumerConfig { offset_reset: policy, ..from_beginning() };
            let mut consumer = consumer(&runtime, config);
            consumer.assign([at(0)]);
            consumer.seek(&at(0), Offset(10)).expect("assigned");
            let polled = consumer.poll(Duration::from_secs(5)).await;
            match policy {
                OffsetReset::Error => {
                    let error = polled.expect_err("the position is gone");
                    let ConsumerError::OffsetOutOfRange { offset, log_start, .. } = error else {
                        panic!("{error}")
                    };
                    assert_eq!((offset, log_start), (Offset(10), Some(Offset(30))));
                    consumer.seek(&at(0), Offset(40)).expect("assigned");
                    assert_eq!(read(&mut consumer, 1).await[&0][0], 40);
                }
                _ => {
                    let first = polled.expect("no error").first().map(|record| record.offset.0);
                    assert_eq!(first, next, "{policy:?}");
                }
            }
        });
    }
}

#[test]
fn a_paused_partition_waits_and_the_others_go_on() {
    run(async |runtime, net| {
        start(&net, 2, 4, || Trouble::None);
        let mut consumer = consumer(&runtime, from_beginning());
        consumer.assign([at(0), at(1)]);
        consumer.pause(&at(0)).expect("assigned");
        let offsets = read(&mut consumer, 12).await;
        assert_eq!(offsets.keys().copied().collect::<Vec<_>>(), [1]);
        assert!(consumer.poll(Duration::from_secs(5)).await.expect("nothing").is_empty());
        consumer.resume(&at(0)).expect("assigned");
        assert!(read(&mut consumer, 12).await[&0].iter().copied().eq(0..12));
        assert_eq!(consumer.end(&at(0)), Some(Offset(12)));
    });
}

/// A partition without news keeps nobody waiting who reads another, and is not asked for all the
/// time.
#[test]
fn one_that_has_nothing_does_not_hold_up_the_others() {
    run(async |runtime, net| {
        let broker = start(&net, 2, 100, || Trouble::None);
        let lock = || broker.lock().unwrap_or_else(PoisonError::into_inner);
        lock().partitions.insert(1, ModelPartition::default());
        let config = ConsumerConfig {
            // One batch at a time.
            partition_fetch_bytes_max: 1,
            poll_records_max: 1,
            fetch_wait_max: Duration::from_secs(2),
            ..from_beginning()
        };
        let mut consumer = consumer(&runtime, config);
        consumer.assign([at(0), at(1)]);
        let began = runtime.clock.now();
        for read_before in 0..303 {
            if read_before == 150 {
                lock().partitions.insert(1, ModelPartition::with_batches(1));
            }
            assert_eq!(consumer.poll(Duration::from_secs(60)).await.expect("records").len(), 1);
            // Who takes time for each record has the next ones waiting.
            runtime::sleep(&*runtime.clock, Duration::from_millis(10)).await;
        }
        assert_eq!(consumer.position(&at(1)), Some(Offset(3)));
        let took = runtime.clock.now().since(began);
        assert!(took < Duration::from_secs(4), "{took:?}");
        // One for each batch, and every two seconds one for the other partition alone.
        assert!(lock().named.len() < 110, "{} fetches", lock().named.len());
    });
}

#[test]
fn a_refusal_is_told_and_tried_again() {
    run(async |runtime, net| {
        let mut fetches = 0;
        start(&net, 1, 4, move || {
            fetches += 1;
            match fetches {
                1 => Trouble::Refuse(ErrorCode::TopicAuthorizationFailed),
                _ => Trouble::None,
            }
        });
        let mut consumer = consumer(&runtime, from_beginning());
        consumer.assign([at(0)]);
        let error = consumer.poll(Duration::from_secs(5)).await.expect_err("refused");
        assert!(matches!(error, ConsumerError::Refused { .. }), "{error}");
        assert_eq!(read(&mut consumer, 1).await[&0][0], 0);
    });
}
