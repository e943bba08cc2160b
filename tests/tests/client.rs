//! This project's own client library against a broker, klamm's or Apache Kafka's.

#[path = "client_groups/mod.rs"]
mod client_groups;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::admin::{ConfigEntry, ConfigOperation, ConfigResource, NewTopic};
use client::consumer::OffsetReset;
use client::metadata::Topic;
use client::producer::{Acks, RecordMetadata};
use client::record::Header;
use client::{
    Admin, Client, ClientConfig, Consumer, ConsumerConfig, IsolationLevel, OffsetSpec, Producer,
    ProducerConfig, ProducerRecord, TopicPartition,
};
use model::{Offset, Timestamp};
use protocol::records::Compression;
use protocol::{ErrorCode, StrBytes};
use tests::server::Peer;
use tests::suite::{Case, Lab, run_beside};

fn main() -> ExitCode {
    let mut cases: Vec<Case> = Compression::ALL
        .map(|codec| {
            let name = format!("client::round_trip::{}", codec.name());
            Case::new(name, move |lab| {
                on_client(lab, async |lab, c| round_trip(lab, c, codec).await)
            })
        })
        .into();
    cases.extend([
        Case::new("client::round_trip::acks", |lab| on_client(lab, acks)),
        Case::new("client::round_trip::large", |lab| on_client(lab, large)),
        Case::new("client::offsets", |lab| on_client(lab, offsets)),
        Case::new("client::producers", |lab| on_client(lab, producers)),
        Case::new("client::admin::configs", |lab| on_client(lab, configs)),
        Case::new("client::admin::topics", |lab| on_client(lab, topics)),
        Case::new("client::admin::cluster", |lab| on_client(lab, cluster)),
    ]);
    cases.extend(client_groups::cases());
    run_beside(4, &[], cases)
}

/// The timestamp of record 0.
const EPOCH_MS: i64 = 1_700_000_000_000;

fn on_client(lab: &Lab, body: impl AsyncFnOnce(&Lab, Client) -> Result<()>) -> Result<()> {
    let config =
        ClientConfig { bootstrap_servers: vec![lab.address()?], ..ClientConfig::default() };
    runtime_tokio::run(async |runtime| body(lab, Client::connect(&runtime, config).await?).await)?
}

/// A topic that keeps records of [`EPOCH_MS`]: they would be gone with the first look at
/// `retention.ms`.
async fn create(client: &Client, topic: &StrBytes, partitions: i32) -> Result<()> {
    let configs = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    let new = NewTopic { partitions: Some(partitions), configs, ..NewTopic::default() };
    let topics = BTreeMap::from([(topic.clone(), new)]);
    let created = Admin::new(client).create_topics(&topics, false).await;
    created.into_values().next().context("an answer")??;
    Ok(())
}

fn record(topic: &StrBytes, number: i64) -> ProducerRecord {
    ProducerRecord {
        topic: topic.clone(),
        key: Some(Bytes::from(format!("key-{}", number % 97))),
        value: (number % 10 != 9)
            .then(|| Bytes::from(format!("value {number} {}", "x".repeat(80)))),
        headers: vec![Header { key: "n".into(), value: Some(Bytes::from(number.to_string())) }],
        timestamp: Some(Timestamp(EPOCH_MS + number)),
        partition: None,
    }
}

/// Sends `count` records and returns where they are.
async fn produce(
    client: &Client,
    config: ProducerConfig,
    topic: &StrBytes,
    count: i64,
) -> Result<Vec<RecordMetadata>> {
    let producer = Producer::start(client, config)?;
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(producer.send(record(topic, number)).await?);
    }
    let mut sent = Vec::new();
    for delivery in deliveries {
        sent.push(delivery.acknowledged().await?);
    }
    producer.close(Duration::from_secs(5)).await;
    Ok(sent)
}

/// Reads `count` records from the beginning; the offsets of each partition have no gap.
async fn read(
    client: &Client,
    topic: &StrBytes,
    partitions: i32,
    count: i64,
) -> Result<BTreeMap<i64, client::ConsumerRecord>> {
    let config =
        ConsumerConfig { offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client, config);
    consumer.assign((0..partitions).map(|p| TopicPartition::new(topic.clone(), p)));
    let mut next = BTreeMap::<TopicPartition, Offset>::new();
    let mut records = BTreeMap::new();
    while (records.len() as i64) < count {
        let polled = consumer.poll(Duration::from_secs(20)).await?;
        ensure!(!polled.is_empty(), "nothing for 20 s after {} records", records.len());
        for record in polled {
            let expected = next.entry(record.at.clone()).or_insert(Offset::ZERO);
            ensure!(record.offset == *expected, "{}: {} came", record.at, record.offset);
            *expected = expected.next();
            let number = record.headers.first().and_then(|header| header.value.as_deref());
            let number = std::str::from_utf8(number.context("a header")?)?.parse()?;
            ensure!(records.insert(number, record).is_none(), "record {number} came twice");
        }
    }
    Ok(records)
}

async fn round_trip(lab: &Lab, client: Client, compression: Compression) -> Result<()> {
    const COUNT: i64 = 5_000;
    let topic = StrBytes::from(lab.topic(&format!("client-{}", compression.name())));
    create(&client, &topic, 3).await?;
    let config = ProducerConfig { compression, ..ProducerConfig::default() };
    let sent = produce(&client, config, &topic, COUNT).await?;
    let read = read(&client, &topic, 3, COUNT).await?;
    for (number, metadata) in (0..).zip(&sent) {
        let (sent, got) = (record(&topic, number), &read[&number]);
        ensure!((&sent.key, &sent.value) == (&got.key, &got.value), "record {number}: {got:?}");
        ensure!(sent.headers == got.headers, "record {number}: {got:?}");
        ensure!(sent.timestamp == Some(got.timestamp), "record {number}: {got:?}");
        let place = (&metadata.at, metadata.offset);
        ensure!(place == (&got.at, Some(got.offset)), "record {number}: {metadata:?} {got:?}");
    }
    Ok(())
}

async fn acks(lab: &Lab, client: Client) -> Result<()> {
    for (acks, name) in [(Acks::None, "0"), (Acks::Leader, "1"), (Acks::All, "all")] {
        let topic = StrBytes::from(lab.topic(&format!("client-acks-{name}")));
        create(&client, &topic, 1).await?;
        let config = ProducerConfig { acks, idempotence: false, ..ProducerConfig::default() };
        let sent = produce(&client, config, &topic, 300).await?;
        let known = sent.iter().filter(|metadata| metadata.offset.is_some()).count();
        ensure!(known == if acks == Acks::None { 0 } else { 300 }, "acks {name}: {known} offsets");
        read(&client, &topic, 1, 300).await?;
    }
    Ok(())
}

async fn large(lab: &Lab, client: Client) -> Result<()> {
    let topic = StrBytes::from(lab.topic("client-large"));
    create(&client, &topic, 1).await?;
    let config = ProducerConfig { request_bytes_max: 4 << 20, ..ProducerConfig::default() };
    let producer = Producer::start(&client, config)?;
    let of_size = |size: usize| {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        ProducerRecord { value: Some(Bytes::from(bytes)), ..record(&topic, 0) }
    };
    let fits = of_size(1_000_000);
    producer.send(fits.clone()).await?.acknowledged().await?;
    let refused = producer.send(of_size(2_000_000)).await?.acknowledged().await;
    let code = refused.err().and_then(|error| error.code());
    ensure!(code == Some(ErrorCode::MessageTooLarge), "{code:?}");
    producer.send(record(&topic, 1)).await?.acknowledged().await?;
    let read = read(&client, &topic, 1, 2).await?;
    ensure!(read[&0].value == fits.value, "the megabyte came back changed");
    Ok(())
}

async fn offsets(lab: &Lab, client: Client) -> Result<()> {
    let topic = StrBytes::from(lab.topic("client-offsets"));
    create(&client, &topic, 1).await?;
    let at = TopicPartition::new(topic.clone(), 0);
    let config = ProducerConfig { compression: Compression::Gzip, ..ProducerConfig::default() };
    produce(&client, config, &topic, 100).await?;
    let find = async |spec| -> Result<Option<i64>> {
        let specs = BTreeMap::from([(at.clone(), spec)]);
        let mut found = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        let found = found.remove(&at).context("an answer")??;
        Ok(found.offset.map(|offset| offset.0))
    };
    for (spec, expected) in [
        (OffsetSpec::Earliest, Some(0)),
        (OffsetSpec::Latest, Some(100)),
        (OffsetSpec::MaxTimestamp, Some(99)),
        (OffsetSpec::At(Timestamp(EPOCH_MS + 57)), Some(57)),
        (OffsetSpec::At(Timestamp(EPOCH_MS + 100)), None),
    ] {
        let found = find(spec).await?;
        ensure!(found == expected, "{spec:?}: {found:?}");
    }
    let before = BTreeMap::from([(at.clone(), Some(Offset(30)))]);
    let mut deleted = Admin::new(&client).delete_records(&before).await;
    let start = deleted.remove(&at).context("an answer")??;
    ensure!(start == Offset(30), "{start}");
    let found = find(OffsetSpec::Earliest).await?;
    ensure!(found == Some(30), "{found:?}");
    let nowhere = TopicPartition::new(topic, 7);
    let specs = BTreeMap::from([(nowhere.clone(), OffsetSpec::Latest)]);
    let found = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    ensure!(found[&nowhere].is_err(), "{found:?}");
    Ok(())
}

async fn producers(lab: &Lab, client: Client) -> Result<()> {
    let topic = StrBytes::from(lab.topic("client-producers"));
    create(&client, &topic, 1).await?;
    produce(&client, ProducerConfig::default(), &topic, 10).await?;
    let at = TopicPartition::new(topic, 0);
    let mut described = Admin::new(&client).describe_producers([at.clone()]).await;
    let described = described.remove(&at).context("an answer")??;
    ensure!(described.len() == 1, "{described:?}");
    ensure!(described[0].last_sequence.0 == 9, "{described:?}");
    ensure!(described[0].transaction_start.is_none(), "{described:?}");
    Ok(())
}

/// The settings of `resource`, once they have the wanted values.
async fn settings(
    lab: &Lab,
    client: &Client,
    resource: &ConfigResource,
    wanted: &[(&str, &str)],
) -> Result<BTreeMap<StrBytes, ConfigEntry>> {
    let clock = &*client.runtime().clock;
    let deadline = clock.now() + patience(lab);
    loop {
        let mut described = Admin::new(client).describe_configs([resource.clone()], true).await;
        let described = described.remove(resource).context("an answer")??;
        let value = |name: &str| described.get(name).and_then(|entry| entry.value.as_deref());
        let differs = wanted.iter().find(|(name, wanted)| value(name) != Some(wanted));
        let Some((name, wanted)) = differs else { return Ok(described) };
        ensure!(clock.now() < deadline, "{name} is {:?} instead of {wanted}", value(name));
        runtime::sleep(clock, Duration::from_millis(20)).await;
    }
}

async fn configs(lab: &Lab, client: Client) -> Result<()> {
    let topic = StrBytes::from(lab.topic("client-configs"));
    create(&client, &topic, 1).await?;
    let admin = Admin::new(&client);
    let resource = ConfigResource::topic(topic);
    let set = |value: &str| ConfigOperation::Set(value.to_owned());
    for (changes, retention, policy) in [
        (vec![("retention.ms", set("60000"))], "60000", "delete"),
        (
            vec![("cleanup.policy", ConfigOperation::Append("compact".to_owned()))],
            "60000",
            "delete,compact",
        ),
        (
            vec![("cleanup.policy", ConfigOperation::Subtract("delete".to_owned()))],
            "60000",
            "compact",
        ),
        (
            vec![
                ("retention.ms", ConfigOperation::Delete),
                ("cleanup.policy", ConfigOperation::Delete),
            ],
            "604800000",
            "delete",
        ),
    ] {
        let changes = changes.into_iter().map(|(name, change)| (name.to_owned(), change)).collect();
        let changes = BTreeMap::from([(resource.clone(), changes)]);
        admin.alter_configs(&changes, false).await.remove(&resource).context("an answer")??;
        let wanted = [("retention.ms", retention), ("cleanup.policy", policy)];
        let described = settings(lab, &client, &resource, &wanted).await?;
        ensure!(described.values().all(|entry| entry.documentation.is_some()), "documentation");
    }
    let wrong = BTreeMap::from([("retention.ms".to_owned(), set("soon"))]);
    let refused = admin.alter_configs(&BTreeMap::from([(resource.clone(), wrong)]), false).await;
    let code = refused[&resource].as_ref().err().and_then(client::ClientError::code);
    ensure!(code == Some(ErrorCode::InvalidConfig), "{code:?}");
    Ok(())
}

async fn topics(lab: &Lab, client: Client) -> Result<()> {
    let topic = StrBytes::from(lab.topic("client-topics"));
    create(&client, &topic, 2).await?;
    let admin = Admin::new(&client);
    let mut described = admin.describe_topics([topic.clone(), "no-such-topic".into()]).await?;
    let of_topic = described.remove(&topic).context("an answer")??;
    ensure!(of_topic.partitions.len() == 2 && !of_topic.id.is_zero(), "{of_topic:?}");
    ensure!(described.values().all(Result::is_err), "{described:?}");
    let counts = BTreeMap::from([(topic.clone(), 6)]);
    admin.create_partitions(&counts, false).await.remove(&topic).context("an answer")??;
    listed(lab, &client, |all| all.get(&topic).is_some_and(|t| t.partitions.len() == 6)).await?;
    let deleted = admin.delete_topics([topic.clone(), "no-such-topic".into()]).await;
    ensure!(deleted[&topic].is_ok(), "{deleted:?}");
    let code = deleted["no-such-topic"].as_ref().err().and_then(client::ClientError::code);
    ensure!(code == Some(ErrorCode::UnknownTopicOrPartition), "{code:?}");
    listed(lab, &client, |all| !all.contains_key(&topic)).await
}

/// Lists the topics until they are as `wanted`. A change that klamm has answered is there; Apache
/// Kafka's brokers hear of it a moment later.
async fn listed(
    lab: &Lab,
    client: &Client,
    wanted: impl Fn(&BTreeMap<StrBytes, Topic>) -> bool,
) -> Result<()> {
    let clock = &*client.runtime().clock;
    let deadline = clock.now() + patience(lab);
    loop {
        let topics = Admin::new(client).list_topics().await?;
        if wanted(&topics) {
            return Ok(());
        }
        ensure!(clock.now() < deadline, "{:?}", topics.keys());
        runtime::sleep(clock, Duration::from_millis(20)).await;
    }
}

/// How long a change may take to be seen once it is answered.
fn patience(lab: &Lab) -> Duration {
    match lab.peer() {
        Peer::Klamm => Duration::ZERO,
        Peer::Kafka | Peer::Running(_) => Duration::from_secs(10),
    }
}

async fn cluster(_: &Lab, client: Client) -> Result<()> {
    let admin = Admin::new(&client);
    let cluster = admin.describe_cluster().await?;
    ensure!(!cluster.cluster_id.is_empty() && cluster.brokers.len() == 1, "{cluster:?}");
    let dirs = admin.describe_log_dirs().await?;
    for (broker, dirs) in dirs {
        let dirs = dirs?;
        ensure!(cluster.brokers.contains_key(&broker), "broker {broker}");
        ensure!(dirs.iter().any(|dir| dir.error.is_none()), "{dirs:?}");
        ensure!(dirs.iter().any(|dir| dir.usable_bytes > Some(0)), "{dirs:?}");
    }
    Ok(())
}
