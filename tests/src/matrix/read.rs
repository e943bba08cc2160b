//! Reading: by offset, by timestamp, from the middle of compressed batches, many partitions at
//! once, and records that arrive while the consumer waits.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use super::{Client, Entry, same};
use crate::driver::{Produce, Range};
use crate::record::{BASE_TIME, Record};
use crate::suite::Lab;

pub(super) const ENTRIES: &[Entry] = &[
    Entry { name: "read::by_offset", needs: &["fetch"], body: by_offset },
    Entry { name: "read::by_timestamp", needs: &[], body: by_timestamp },
    Entry { name: "read::max_timestamp", needs: &["max_timestamp"], body: max_timestamp },
    Entry { name: "read::ends_of_an_empty_partition", needs: &[], body: empty_partition },
    Entry { name: "read::many_partitions", needs: &["fetch"], body: many_partitions },
    Entry { name: "read::waits_for_records", needs: &["fetch"], body: waits_for_records },
];

/// One compressed batch and then single ones; ranges that begin and end inside of them.
fn by_offset(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let records = client.assorted();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let (first, rest) = records.split_at(40);
        driver.produce(&Produce { codec: "gzip", ..Produce::to(topic) }, first)??;
        for record in rest {
            driver.produce(&Produce::to(topic), std::slice::from_ref(record))??;
        }
        let end = i64::try_from(records.len())?;
        for (from, end) in [(0, end), (1, 2), (17, 30), (39, 41), (40, end), (end - 1, end)] {
            let range = Range { topic, partition: 0, from, end };
            let read = driver.fetch(&[range])??;
            let wanted = &records[usize::try_from(from)?..usize::try_from(end)?];
            same(&read, wanted, from).with_context(|| format!("range {from}..{end}"))?;
        }
        Ok(())
    })
}

/// Kafka finds the first offset whose timestamp is at least the given one, record by record; also
/// inside of a compressed batch, and also where timestamps fall.
fn by_timestamp(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let records = client.assorted();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let (first, rest) = records.split_at(20);
        driver.produce(&Produce { codec: "gzip", ..Produce::to(topic) }, first)??;
        driver.produce(&Produce::to(topic), rest)??;
        let times = [0, 1, 10, 15, 49, 50, 51, 60, 61, 100, 105, 230, 245, 490, 491, 1_000];
        for at in times.map(|time| BASE_TIME + time) {
            let due = records.iter().position(|record| record.timestamp >= at);
            let due = due.context("a record at that time or later")?;
            let found = driver.offset_for(topic, 0, at)?;
            ensure!(found.0 == Some(i64::try_from(due)?), "time {at}: {found:?}, due {due}");
            // Not every library passes the timestamp on.
            let timestamp = records[due].timestamp;
            ensure!(
                found.1.is_none_or(|found| found == timestamp),
                "time {at}: {found:?}, due {timestamp}"
            );
        }
        let later = driver.offset_for(topic, 0, BASE_TIME + 1_001)?;
        ensure!(later == (None, None), "behind the last record: {later:?}");
        let earliest = driver.offset_for(topic, 0, "earliest")?.0;
        let latest = driver.offset_for(topic, 0, "latest")?.0;
        let count = i64::try_from(records.len())?;
        ensure!((earliest, latest) == (Some(0), Some(count)), "{earliest:?} to {latest:?}");
        Ok(())
    })
}

fn max_timestamp(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let times = [5, 900, 30, 900, 7];
    let record = |time: i64| Record::new("k", "v", BASE_TIME + time);
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let empty = driver.offset_for(topic, 0, "max_timestamp")?;
        ensure!(empty.0.is_none(), "of an empty partition: {empty:?}");
        driver.produce(&Produce { codec: "lz4", ..Produce::to(topic) }, &times.map(record))??;
        let found = driver.offset_for(topic, 0, "max_timestamp")?;
        ensure!(found.0 == Some(1), "first of the largest: {found:?}");
        Ok(())
    })
}

fn empty_partition(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 2, &json!({}))?;
        for partition in 0..2 {
            ensure!(driver.offset_for(topic, partition, "earliest")?.0 == Some(0));
            ensure!(driver.offset_for(topic, partition, "latest")?.0 == Some(0));
            ensure!(driver.offset_for(topic, partition, BASE_TIME)?.0.is_none());
        }
        Ok(())
    })
}

/// More partitions than one answer holds: the client and the broker keep a fetch session.
fn many_partitions(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    const PARTITIONS: i32 = 20;
    let of = |partition: i32| -> Vec<Record> {
        let value = |i: i64| format!("{partition} {i} {}", "y".repeat(2_000));
        (0..30).map(|i| Record::new("k", &value(i), BASE_TIME + i)).collect()
    };
    lab.with(client, |driver| {
        driver.create_topic(topic, PARTITIONS, &json!({}))?;
        for partition in 0..PARTITIONS {
            driver.produce(&Produce { partition, ..Produce::to(topic) }, &of(partition))??;
        }
        let range = |partition| Range { topic, partition, from: 3, end: 30 };
        let ranges: Vec<Range<'_>> = (0..PARTITIONS).map(range).collect();
        let read = driver.fetch(&ranges)??;
        for (partition, read) in (0..).zip(read.chunks(27)) {
            ensure!(read.iter().all(|record| record.partition == partition), "sorted");
            same(read, &of(partition)[3..], 3).with_context(|| format!("partition {partition}"))?;
        }
        ensure!(read.len() == 27 * 20, "{} records", read.len());
        Ok(())
    })
}

/// The consumer is at the end of the partition before anything is written.
fn waits_for_records(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let records = [Record::new("k", "late", BASE_TIME), Record::new("k", "later", BASE_TIME)];
    lab.with(client, |driver| driver.create_topic(topic, 1, &json!({})))?;
    let mut consumer = lab.take(client)?;
    let mut producer = lab.take(client)?;
    let start = Instant::now();
    let read = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let read = consumer.fetch(&[Range { topic, partition: 0, from: 0, end: 2 }]);
            (read, start.elapsed())
        });
        for record in &records {
            producer.produce(&Produce::to(topic), std::slice::from_ref(record))??;
        }
        let written_after = start.elapsed();
        let (read, read_after) = reading.join().map_err(|_| anyhow!("the reader panicked"))?;
        let late = read_after.saturating_sub(written_after);
        ensure!(late < Duration::from_secs(20), "seen {late:?} after the acknowledgement");
        Ok(read??)
    })?;
    lab.give_back(client, consumer);
    drop(producer);
    same(&read, &records, 0)
}
