//! Load by our own client, which is any client to a broker: what it costs itself is measured with
//! what the broker does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerRecord,
    TopicPartition,
};
use model::PartitionIndex;
use protocol::StrBytes;

use super::{Shape, Span, Tally};

const RECORD_BYTES: usize = 100;
/// Records under way at most.
const RECORDS_MAX: usize = 500_000;
/// As franz-go is told.
const BATCH_BYTES: usize = 1_000_000;
const BUFFER_BYTES: usize = 128 << 20;
/// All that a fetch brings, about: franz-go gives that.
const POLL_RECORDS_MAX: usize = 10_000;
/// How long a poll waits.
const POLL_LIMIT: Duration = Duration::from_millis(500);

/// What our client does.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Append or read.
    task: Task,
    #[command(flatten)]
    pub(super) shape: Shape,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Task {
    Produce,
    Consume,
}

/// Produces or consumes.
///
/// # Errors
/// The broker can not be reached, or refuses.
pub(super) fn run(options: &Options) -> Result<Tally> {
    let (topic, span) = (&options.shape.topic, options.shape.span());
    let counted = runtime_tokio::run(async |runtime| {
        let config =
            ClientConfig { bootstrap_servers: vec![topic.address.clone()], ..Default::default() };
        let client = Client::connect(&runtime, config).await?;
        match options.task {
            Task::Produce => produce(&client, &topic.topic, span).await,
            Task::Consume => consume(&client, &topic.topic, topic.partitions, span).await,
        }
    })??;
    Ok(Tally { counted, bytes: counted * RECORD_BYTES as u64, ..Tally::default() })
}

async fn produce(client: &Client, topic: &str, span: Span) -> Result<u64> {
    let config = ProducerConfig {
        batch_bytes: BATCH_BYTES,
        buffer_bytes: BUFFER_BYTES,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(client, config)?;
    let value: Bytes = (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let topic = StrBytes::from(topic);
    let mut under_way = VecDeque::new();
    let mut counted = 0;
    while Instant::now() < span.until {
        for _ in 0..1024 {
            let record = ProducerRecord {
                topic: topic.clone(),
                partition: None,
                key: None,
                value: Some(value.clone()),
                headers: Vec::new(),
                timestamp: None,
            };
            under_way.push_back(producer.send(record).await?);
        }
        while under_way.len() > RECORDS_MAX {
            let delivery = under_way.pop_front().context("there are many")?;
            delivery.acknowledged().await?;
            counted += u64::from(span.has(Instant::now()));
        }
    }
    for delivery in under_way {
        delivery.acknowledged().await?;
    }
    Ok(counted)
}

async fn consume(client: &Client, topic: &str, partitions: u32, span: Span) -> Result<u64> {
    let config = ConsumerConfig { poll_records_max: POLL_RECORDS_MAX, ..Default::default() };
    let mut consumer = Consumer::new(client, config);
    let topic = StrBytes::from(topic);
    let all: Vec<TopicPartition> = (0..partitions)
        .map(|partition| {
            let partition = PartitionIndex(i32::try_from(partition)?);
            Ok(TopicPartition { topic: topic.clone(), partition })
        })
        .collect::<Result<_>>()?;
    consumer.assign(all.iter().cloned());
    for at in &all {
        consumer.seek_to_beginning(at)?;
    }
    let mut counted = 0;
    while Instant::now() < span.until {
        let records = consumer.poll(POLL_LIMIT).await?.len() as u64;
        if span.has(Instant::now()) {
            counted += records;
        }
        for at in &all {
            // Again from the beginning.
            if consumer.position(at).is_some() && consumer.position(at) == consumer.end(at) {
                consumer.seek_to_beginning(at)?;
            }
        }
    }
    Ok(counted)
}
