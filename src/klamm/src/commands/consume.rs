//! `klamm consume`: read records and print them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use client::consumer::{OffsetReset, TimestampType};
use client::{
    Client, Consumer, ConsumerConfig, ConsumerRecord, IsolationLevel, OffsetSpec, TopicPartition,
};
use model::{Offset, PartitionIndex, Timestamp};
use protocol::StrBytes;
use runtime::Runtime;
use runtime_tokio::StopSignals;
use serde_json::{Map, Value};

use super::consume_group;
use super::format::Format;
use super::start::Start;
use crate::bytes_text::insert_bytes;
use crate::cli::{Consume, Global};
use crate::connect::{connect, topic_failure};
use crate::failure::Failure;
use crate::output::OutputFormat;

/// How long one poll waits before the loop looks around.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// Runs the command; as a member of a group, until one of `signals` comes.
pub(crate) async fn run(
    runtime: Runtime,
    global: Global,
    arguments: Consume,
    signals: Option<StopSignals>,
) -> Result<(), Failure> {
    let format = Format::parse(&arguments.format).map_err(Failure::usage)?;
    if let Some(signals) = signals {
        let config = consume_group::config(&arguments)?;
        let client = connect(&runtime, &global).await?;
        let reader = consume_group::Reader { client, format, output: global.output };
        return reader.run(arguments, config, signals).await;
    }
    let client = connect(&runtime, &global).await?;
    let partitions = partitions(&client, &arguments).await?;
    let isolation = isolation(&arguments);
    let starts = starts(&client, &partitions, arguments.from, isolation).await?;
    let mut goals = match arguments.exit_at_end {
        true => Some(lookup(&client, &partitions, OffsetSpec::Latest, isolation).await?),
        false => None,
    };
    let config =
        ConsumerConfig { isolation, offset_reset: OffsetReset::Error, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(&client, config);
    consumer.assign(partitions);
    for (at, start) in &starts {
        consumer.seek(at, *start).map_err(|error| Failure::new("seek").because(error))?;
    }
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 && !reached(&mut goals, &consumer) {
        let polled = consumer.poll(POLL).await;
        let mut records = polled.map_err(|error| Failure::new("consume").because(error))?;
        if let Some(goals) = &goals {
            records.retain(|record| goals.get(&record.at).is_none_or(|end| record.offset < *end));
        }
        records.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= records.len() as u64;
        print_records(&records, &format, global.output)?;
    }
    Ok(())
}

pub(super) fn isolation(arguments: &Consume) -> IsolationLevel {
    match arguments.read_committed {
        true => IsolationLevel::ReadCommitted,
        false => IsolationLevel::ReadUncommitted,
    }
}

/// The partitions to read.
pub(super) async fn partitions(
    client: &Client,
    arguments: &Consume,
) -> Result<Vec<TopicPartition>, Failure> {
    let mut all = Vec::new();
    for topic in &arguments.topics {
        all.extend(partitions_of(client, topic, &arguments.partitions).await?);
    }
    Ok(all)
}

/// The partitions of one topic, all when none is `wanted`.
async fn partitions_of(
    client: &Client,
    topic: &str,
    wanted: &[i32],
) -> Result<Vec<TopicPartition>, Failure> {
    let name = StrBytes::from(topic);
    let topic = match client.topic(&name, false).await {
        Ok(topic) => topic,
        Err(error) => return Err(topic_failure(client, &name, &error).await),
    };
    let count = topic.partitions.len();
    for &number in wanted {
        if !topic.partitions.contains_key(&PartitionIndex(number)) {
            let last = count.saturating_sub(1);
            return Err(Failure::new(format!("topic `{name}` has no partition {number}"))
                .hint(format!("its partitions are 0 to {last}")));
        }
    }
    let all = topic.partitions.keys().map(|index| index.0);
    let is_wanted = |index: &i32| wanted.is_empty() || wanted.contains(index);
    Ok(all.filter(is_wanted).map(|index| TopicPartition::new(name.clone(), index)).collect())
}

/// The offset to start at in each partition, within what the partition has.
async fn starts(
    client: &Client,
    partitions: &[TopicPartition],
    from: Start,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let since = |time| OffsetSpec::At(time);
    let spec = match from {
        Start::Beginning => OffsetSpec::Earliest,
        Start::End | Start::At(_) | Start::BeforeEnd(_) => OffsetSpec::Latest,
        Start::Since(time) => since(time),
        Start::Ago(ago) => {
            let now = client.runtime().clock.wall();
            let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            since(Timestamp(now.0.saturating_sub(ago).max(0)))
        }
    };
    let found = lookup(client, partitions, spec, isolation).await?;
    if !matches!(from, Start::At(_) | Start::BeforeEnd(_)) {
        return Ok(found);
    }
    let firsts = lookup(client, partitions, OffsetSpec::Earliest, isolation).await?;
    let place = |(at, end): (TopicPartition, Offset)| {
        let first = firsts.get(&at).copied().unwrap_or(Offset::ZERO);
        let wanted = match from {
            Start::At(offset) => offset,
            Start::BeforeEnd(count) => Offset(end.0.saturating_sub(count)),
            Start::Beginning | Start::End | Start::Since(_) | Start::Ago(_) => end,
        };
        (at, wanted.max(first).min(end))
    };
    Ok(found.into_iter().map(place).collect())
}

/// One offset of each partition; the end where no record is young enough.
pub(super) async fn lookup(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel,
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let ask = async |spec| {
        let specs = partitions.iter().map(|at| (at.clone(), spec)).collect();
        client.list_offsets(&specs, isolation).await
    };
    let mut found = BTreeMap::new();
    let mut too_old = false;
    for (at, listed) in ask(spec).await {
        let listed = listed
            .map_err(|error| Failure::client(format!("look up an offset of {at}"), &error))?;
        too_old |= listed.offset.is_none();
        if let Some(offset) = listed.offset {
            found.insert(at, offset);
        }
    }
    if too_old {
        for (at, listed) in ask(OffsetSpec::Latest).await {
            let listed = listed
                .map_err(|error| Failure::client(format!("look up the end of {at}"), &error))?;
            let end = listed.offset.unwrap_or(Offset::ZERO);
            found.entry(at).or_insert(end);
        }
    }
    Ok(found)
}

/// Whether every partition was read up to its goal. Those that were are forgotten.
fn reached(goals: &mut Option<BTreeMap<TopicPartition, Offset>>, consumer: &Consumer) -> bool {
    let Some(goals) = goals else { return false };
    let open = |at: &TopicPartition, end: &Offset| {
        consumer.position(at).is_none_or(|position| position < *end)
    };
    !goals.iter().any(|(at, end)| open(at, end))
}

pub(super) fn print_records(
    records: &[ConsumerRecord],
    format: &Format,
    output: OutputFormat,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    for record in records {
        match output {
            OutputFormat::Table => format.print(record, &mut out),
            OutputFormat::Json => {
                out.extend_from_slice(document(record).to_string().as_bytes());
                out.push(b'\n');
            }
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Failure::stdout)
}

fn document(record: &ConsumerRecord) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), record.at.topic.as_str().into());
    object.insert("partition".to_owned(), record.at.partition.0.into());
    object.insert("offset".to_owned(), record.offset.0.into());
    object.insert("timestamp".to_owned(), record.timestamp.0.into());
    let kind = match record.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    object.insert("timestamp_type".to_owned(), kind.into());
    let headers = record.headers.iter().map(|header| {
        let mut object = Map::new();
        object.insert("key".to_owned(), header.key.as_str().into());
        insert_bytes(&mut object, "value", header.value.as_deref());
        Value::from(object)
    });
    object.insert("headers".to_owned(), headers.collect());
    insert_bytes(&mut object, "key", record.key.as_deref());
    insert_bytes(&mut object, "value", record.value.as_deref());
    Value::from(object)
}
