//! Writes records to a cluster with every codec and reads them back: a check against any broker.
//!
//! `cargo run -p client --example round_trip -- 127.0.0.1:9092 [records]`

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use client::admin::{ConfigOperation, ConfigResource, NewTopic};
use client::consumer::OffsetReset;
use client::record::Header;
use client::{
    Admin, Client, ClientConfig, Consumer, ConsumerConfig, IsolationLevel, OffsetSpec, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use model::{Offset, Timestamp};
use protocol::StrBytes;
use protocol::records::Compression;
use runtime::Runtime;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let count = arguments.next().map_or(10_000, |count| count.parse().expect("a number"));
    runtime_tokio::run(|runtime| check(runtime, address, count)).expect("an executor");
}

async fn check(runtime: Runtime, address: String, count: i64) {
    let config = ClientConfig { bootstrap_servers: vec![address], ..ClientConfig::default() };
    let client = Client::connect(&runtime, config).await.expect("a broker");
    let admin = Admin::new(&client);
    println!("cluster: {:?}", admin.describe_cluster().await.expect("a description").brokers);
    for compression in Compression::ALL {
        round_trip(&client, &admin, compression, count).await;
    }
}

async fn round_trip(client: &Client, admin: &Admin, compression: Compression, count: i64) {
    let stamp = client.runtime().clock.wall();
    let topic = StrBytes::from(format!("round-trip-{}-{stamp}", compression.name()));
    let new = NewTopic { partitions: Some(3), replication_factor: Some(1), ..Default::default() };
    let created = admin.create_topics(&BTreeMap::from([(topic.clone(), new)]), false).await;
    println!("{created:?}");
    let began = client.runtime().clock.now();
    let config = ProducerConfig { compression, ..ProducerConfig::default() };
    let producer = Producer::start(client, config).expect("good settings");
    let mut deliveries = Vec::new();
    for number in 0..count {
        let record = ProducerRecord {
            topic: topic.clone(),
            key: Some(Bytes::from(format!("key-{}", number % 97))),
            value: Some(Bytes::from(format!("value-{number}-{}", "x".repeat(80)))),
            headers: vec![Header { key: "n".into(), value: Some(Bytes::from(number.to_string())) }],
            timestamp: Some(Timestamp(1_700_000_000_000 + number)),
            ..Default::default()
        };
        deliveries.push(producer.send(record).await.expect("taken"));
    }
    for delivery in deliveries {
        delivery.acknowledged().await.expect("acknowledged");
    }
    producer.close(Duration::from_secs(5)).await;
    let wrote = client.runtime().clock.now() - began;
    let began = client.runtime().clock.now();
    read_back(client, &topic, count).await;
    let read = client.runtime().clock.now() - began;
    println!("{compression:?}: wrote {count} in {wrote:?}, read in {read:?}");
    administer(client, admin, &topic, count).await;
}

async fn read_back(client: &Client, topic: &StrBytes, count: i64) {
    let config =
        ConsumerConfig { offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client, config);
    consumer.assign((0..3).map(|p| TopicPartition::new(topic.clone(), p)));
    let mut next = BTreeMap::<TopicPartition, Offset>::new();
    let mut numbers = Vec::new();
    while (numbers.len() as i64) < count {
        let records = consumer.poll(Duration::from_secs(10)).await.expect("records");
        assert!(!records.is_empty(), "nothing for ten seconds after {}", numbers.len());
        for record in records {
            let expected = next.entry(record.at.clone()).or_insert(Offset(0));
            assert_eq!(record.offset, *expected, "no gap in {}", record.at);
            *expected = expected.next();
            let number = record.headers[0].value.as_ref().expect("a value");
            let number: i64 = String::from_utf8_lossy(number).parse().expect("a number");
            assert_eq!(record.timestamp, Timestamp(1_700_000_000_000 + number));
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..count), "each once");
}

async fn administer(client: &Client, admin: &Admin, topic: &StrBytes, count: i64) {
    let at = TopicPartition::new(topic.clone(), 0);
    for spec in [
        OffsetSpec::Earliest,
        OffsetSpec::Latest,
        OffsetSpec::MaxTimestamp,
        OffsetSpec::At(Timestamp(1_700_000_000_000 + count / 2)),
    ] {
        let specs = BTreeMap::from([(at.clone(), spec)]);
        let found = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        println!("{spec:?}: {:?}", found[&at]);
    }
    println!("{:?}", admin.describe_producers([at.clone()]).await[&at]);
    println!("{:?}", admin.delete_records(&BTreeMap::from([(at.clone(), Some(Offset(5)))])).await);
    let resource = ConfigResource::topic(topic.clone());
    let change = ConfigOperation::Set("60000".to_owned());
    let changes = BTreeMap::from([("retention.ms".to_owned(), change)]);
    let altered = admin.alter_configs(&BTreeMap::from([(resource.clone(), changes)]), false).await;
    println!("{altered:?}");
    let configs = admin.describe_configs([resource.clone()], false).await;
    let configs = configs[&resource].as_ref().expect("a configuration");
    println!("{} settings, retention.ms {:?}", configs.len(), configs["retention.ms"].value);
    println!("{:?}", admin.create_partitions(&BTreeMap::from([(topic.clone(), 4)]), false).await);
    let dirs = admin.describe_log_dirs().await.expect("log directories");
    println!("{} brokers with log directories", dirs.len());
    println!("{:?}", admin.delete_topics([topic.clone(), "no-such-topic".into()]).await);
}
