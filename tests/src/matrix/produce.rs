//! Producing: codecs, acknowledgements, idempotence, sizes, several partitions; each read back
//! byte for byte.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Client, Entry, consecutive, read_all, read_partition, same};
use crate::child::wait_for;
use crate::driver::Produce;
use crate::record::{BASE_TIME, Record, megabyte, noise};
use crate::suite::Lab;

pub(super) const ENTRIES: &[Entry] = &[
    Entry { name: "produce::acks_0", needs: &[], body: |l, c, t| acks(l, c, t, 0) },
    Entry { name: "produce::acks_1", needs: &[], body: |l, c, t| acks(l, c, t, 1) },
    Entry { name: "produce::acks_all", needs: &[], body: |l, c, t| acks(l, c, t, -1) },
    Entry { name: "produce::idempotent_in_order", needs: &[], body: idempotent_in_order },
    Entry { name: "produce::one_megabyte", needs: &[], body: one_megabyte },
    Entry { name: "produce::four_megabytes", needs: &[], body: four_megabytes },
    Entry { name: "produce::several_partitions", needs: &[], body: several_partitions },
    Entry { name: "produce::compressed_by_the_broker", needs: &[], body: compressed_by_the_broker },
    Entry { name: "produce::creates_the_topic", needs: &[], body: creates_the_topic },
];

/// All forms of records with one codec, in few batches.
pub(super) fn codec(lab: &Lab, client: &Client, topic: &str, codec: &str) -> Result<()> {
    let records = client.assorted();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let offsets = driver.produce(&Produce { codec, ..Produce::to(topic) }, &records)??;
        ensure!(offsets.len() == records.len(), "{} offsets", offsets.len());
        consecutive(&offsets, 0)
    })?;
    lab.with(client.reader(), |driver| {
        let read = read_all(driver, topic, records.len())?;
        for record in &read {
            let kind = record.timestamp_type.as_deref();
            ensure!(matches!(kind, None | Some("create")), "timestamp type {kind:?}");
        }
        same(&read, &records, 0)
    })
}

fn acks(lab: &Lab, client: &Client, topic: &str, acks: i32) -> Result<()> {
    let records = client.assorted();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let how = Produce { acks, idempotent: false, codec: "gzip", ..Produce::to(topic) };
        let offsets = driver.produce(&how, &records)??;
        if acks == 0 {
            // Nobody says when the records have arrived.
            let end = i64::try_from(records.len())?;
            return wait_for("all records", Duration::from_secs(20), || {
                let latest = driver.offset_for(topic, 0, "latest")?.0;
                Ok((latest == Some(end)).then_some(()))
            });
        }
        consecutive(&offsets, 0)
    })?;
    lab.with(client.reader(), |driver| same(&read_all(driver, topic, records.len())?, &records, 0))
}

fn idempotent_in_order(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let record = |i: i64| {
        let value = format!("{i} {}", "x".repeat(400));
        Record::new("k", &value, BASE_TIME + i)
    };
    let records: Vec<Record> = (0..1_000).map(record).collect();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        for (i, part) in records.chunks(250).enumerate() {
            let offsets = driver.produce(&Produce::to(topic), part)??;
            consecutive(&offsets, i64::try_from(i)? * 250)?;
        }
        Ok(())
    })?;
    lab.with(client.reader(), |driver| same(&read_all(driver, topic, records.len())?, &records, 0))
}

fn one_megabyte(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let small = |text: &str| Record::new("small", text, BASE_TIME);
    let records = [small("before"), megabyte(), small("between"), megabyte(), small("after")];
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        // One after the other: how a library fills its batches around a large record is its own.
        for (record, offset) in records.iter().zip(0..) {
            let codec = if offset == 3 && client.codecs.contains(&"lz4") { "lz4" } else { "none" };
            let how = Produce { codec, ..Produce::to(topic) };
            consecutive(&driver.produce(&how, std::slice::from_ref(record))??, offset)?;
        }
        Ok(())
    })?;
    lab.with(client.reader(), |driver| same(&read_all(driver, topic, records.len())?, &records, 0))
}

fn four_megabytes(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let large = Record {
        key: None,
        value: Some(noise(11, 4_000_000)),
        headers: vec![],
        timestamp: BASE_TIME,
    };
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"max.message.bytes": "5000000"}))?;
        let how = Produce { bytes_max: 5_000_000, ..Produce::to(topic) };
        consecutive(&driver.produce(&how, std::slice::from_ref(&large))??, 0)
    })?;
    lab.with(client.reader(), |driver| same(&read_all(driver, topic, 1)?, &[large], 0))
}

fn several_partitions(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let of = |partition: i32| -> Vec<Record> {
        let value = |i: i64| format!("partition {partition}, record {i}");
        (0..20).map(|i| Record::new("k", &value(i), BASE_TIME + i)).collect()
    };
    lab.with(client, |driver| {
        driver.create_topic(topic, 3, &json!({}))?;
        for partition in [2, 0, 1] {
            let how = Produce { partition, ..Produce::to(topic) };
            consecutive(&driver.produce(&how, &of(partition))??, 0)?;
        }
        Ok(())
    })?;
    lab.with(client.reader(), |driver| {
        for partition in 0..3 {
            let read = read_partition(driver, topic, partition, 20)?;
            same(&read, &of(partition), 0).with_context(|| format!("partition {partition}"))?;
        }
        Ok(())
    })
}

/// A topic's own `compression.type` counts, not the producer's.
fn compressed_by_the_broker(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let records = client.assorted();
    for (codec, of_the_topic) in [("none", "gzip"), ("gzip", "zstd"), ("gzip", "uncompressed")] {
        let topic = format!("{topic}-{codec}-{of_the_topic}");
        lab.with(client, |driver| {
            driver.create_topic(&topic, 1, &json!({"compression.type": of_the_topic}))?;
            let how = Produce { codec, ..Produce::to(&topic) };
            consecutive(&driver.produce(&how, &records)??, 0)
        })?;
        lab.with(client.reader(), |driver| {
            let read = read_all(driver, &topic, records.len())?;
            same(&read, &records, 0).with_context(|| format!("{codec} to {of_the_topic}"))
        })?;
    }
    Ok(())
}

/// `auto.create.topics.enable` is on by default, and the client's metadata request asks for it.
fn creates_the_topic(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    // Defaults of the broker: records that are older than a week are not kept for long.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let record = Record::new("k", "into nothing", i64::try_from(now.as_millis())?);
    lab.with(client, |driver| {
        driver.produce(&Produce::to(topic), std::slice::from_ref(&record))??;
        Ok(())
    })?;
    lab.with(client.reader(), |driver| same(&read_all(driver, topic, 1)?, &[record], 0))
}
