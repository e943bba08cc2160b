//! Administration: topics, configs, partitions, deleted records, the cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Client, Entry, same};
use crate::child::wait_for;
use crate::driver::{Driver, Produce, Range, must_fail};
use crate::record::{BASE_TIME, Record};
use crate::suite::Lab;

pub(super) const ENTRIES: &[Entry] = &[
    Entry { name: "admin::topic_from_creation_to_deletion", needs: &[], body: life_of_a_topic },
    Entry { name: "admin::created_anew", needs: &[], body: created_anew },
    Entry { name: "admin::topic_configs", needs: &["describe_config"], body: topic_configs },
    Entry { name: "admin::broker_configs", needs: &["describe_config"], body: broker_configs },
    Entry { name: "admin::alter_config", needs: &["alter_config"], body: alter_config },
    Entry {
        name: "admin::alter_config_legacy",
        needs: &["alter_config_legacy"],
        body: alter_config_legacy,
    },
    Entry {
        name: "admin::create_partitions",
        needs: &["create_partitions"],
        body: create_partitions,
    },
    Entry { name: "admin::delete_records", needs: &["delete_records"], body: delete_records },
    Entry { name: "admin::describe_cluster", needs: &["describe_cluster"], body: cluster },
    Entry { name: "admin::log_append_time", needs: &["fetch"], body: log_append_time },
];

fn names(driver: &mut Driver) -> Result<Vec<String>> {
    let names = driver.expect(json!({"op": "list_topics"}))?;
    Ok(serde_json::from_value(names)?)
}

fn described(driver: &mut Driver, topic: &str) -> Result<Value> {
    driver.expect(json!({"op": "describe_topic", "topic": topic}))
}

/// The id of a topic that was just created; Apache Kafka may take a moment to show it.
fn id_of(driver: &mut Driver, topic: &str) -> Result<Value> {
    let operation = json!({"op": "describe_topic", "topic": topic});
    wait_for("the topic to show", Duration::from_secs(20), || match driver.call(&operation)? {
        Ok(info) => Ok(Some(info["id"].clone())),
        Err(failure) if failure.code == "UNKNOWN_TOPIC_OR_PARTITION" => Ok(None),
        Err(failure) => Err(failure.into()),
    })
}

fn gone(driver: &mut Driver, topic: &str) -> Result<()> {
    wait_for("the topic to be gone", Duration::from_secs(20), || {
        Ok((!names(driver)?.iter().any(|name| name == topic)).then_some(()))
    })
}

fn life_of_a_topic(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        ensure!(!names(driver)?.iter().any(|name| name == topic), "listed before its creation");
        driver.create_topic(topic, 3, &json!({}))?;
        // franz-go answers from memory what it heard less than 10 ms ago.
        wait_for("the topic to be listed", Duration::from_secs(20), || {
            Ok(names(driver)?.iter().any(|name| name == topic).then_some(()))
        })?;
        let info = described(driver, topic)?;
        let partitions = info["partitions"].as_array().context("partitions")?;
        ensure!(partitions.len() == 3, "{info}");
        let leader = &partitions[0]["leader"];
        for (partition, number) in partitions.iter().zip(0..) {
            let due = json!({
                "partition": number, "leader": leader, "replicas": [leader], "isr": [leader],
            });
            ensure!(*partition == due, "{partition}, due {due}");
        }
        driver.expect(json!({"op": "delete_topic", "topic": topic}))?;
        gone(driver, topic)?;
        let failure = must_fail(driver.call(&json!({"op": "describe_topic", "topic": topic}))?)?;
        ensure!(failure.code == "UNKNOWN_TOPIC_OR_PARTITION", "{failure}");
        Ok(())
    })
}

/// A topic of the same name is another topic: another id, and empty.
fn created_anew(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        driver.produce(&Produce::to(topic), &[Record::new("k", "old", BASE_TIME)])??;
        let old = id_of(driver, topic)?;
        driver.expect(json!({"op": "delete_topic", "topic": topic}))?;
        gone(driver, topic)?;
        driver.create_topic(topic, 1, &json!({}))?;
        // Libraries that know ids may still have the old one in memory for a moment.
        wait_for("the topic's new id", Duration::from_secs(20), || {
            let new = id_of(driver, topic)?;
            Ok((new.is_null() || old != new).then_some(()))
        })?;
        ensure!(driver.offset_for(topic, 0, "latest")?.0 == Some(0), "not empty");
        let records = [Record::new("k", "new", BASE_TIME)];
        let offsets = driver.produce(&Produce::to(topic), &records)??;
        ensure!(offsets == [Some(0)], "{offsets:?}");
        Ok(())
    })
}

fn config(driver: &mut Driver, resource: &str, name: &str) -> Result<Value> {
    driver.expect(json!({"op": "describe_config", "resource": resource, "name": name}))
}

/// A config has the value; where the library tells the source, it is the one due.
fn has(configs: &Value, key: &str, value: &str, source: &str) -> Result<()> {
    let entry = &configs[key];
    ensure!(entry["value"] == value, "{key} is {entry}, due {value}");
    // With eligible leader replicas (KIP-966) the controller sets this one for the cluster.
    let of_the_cluster =
        key == "min.insync.replicas" && entry["source"] == "DYNAMIC_DEFAULT_BROKER_CONFIG";
    let source_due = entry["source"].is_null() || entry["source"] == source || of_the_cluster;
    ensure!(source_due, "{key} is {entry}, due {source}");
    ensure!(entry["sensitive"] == false, "{key} is {entry}");
    Ok(())
}

const DYNAMIC: &str = "DYNAMIC_TOPIC_CONFIG";
const DEFAULT: &str = "DEFAULT_CONFIG";

/// Every topic config of Kafka 4.3 is listed, with the default that Kafka has.
const TOPIC_DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.type", "producer"),
    ("compression.zstd.level", "3"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("follower.replication.throttled.replicas", ""),
    ("index.interval.bytes", "4096"),
    ("leader.replication.throttled.replicas", ""),
    ("local.retention.bytes", "-2"),
    ("local.retention.ms", "-2"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("remote.log.copy.disable", "false"),
    ("remote.log.delete.on.disable", "false"),
    ("remote.storage.enable", "false"),
    ("retention.bytes", "-1"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

fn topic_configs(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        let own = json!({"max.message.bytes": "123456"});
        driver.create_topic(topic, 1, &own)?;
        let configs = config(driver, "topic", topic)?;
        for (key, value) in TOPIC_DEFAULTS {
            has(&configs, key, value, DEFAULT)?;
        }
        has(&configs, "max.message.bytes", "123456", DYNAMIC)?;
        has(&configs, "retention.ms", "-1", DYNAMIC)
    })
}

fn broker_configs(lab: &Lab, client: &Client, _topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        let cluster = driver.expect(json!({"op": "describe_cluster"}))?;
        let id = cluster["brokers"][0]["id"].as_i64().context("id of the broker")?;
        let configs = config(driver, "broker", &id.to_string())?;
        has(&configs, "message.max.bytes", "1048588", DEFAULT)?;
        has(&configs, "auto.create.topics.enable", "true", DEFAULT)?;
        ensure!(configs["node.id"]["value"] == *id.to_string(), "{}", configs["node.id"]);
        // Not every library passes it on.
        let read_only =
            configs.as_object().into_iter().flatten().any(|(_, c)| c["read_only"] == true);
        ensure!(!read_only || configs["node.id"]["read_only"] == true, "{}", configs["node.id"]);
        Ok(())
    })
}

fn alter_config(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"segment.bytes": "2000000"}))?;
        driver.expect(json!({
            "op": "alter_config", "resource": "topic", "name": topic,
            "set": {"retention.bytes": "5000000", "cleanup.policy": "compact,delete"},
            "delete": ["segment.bytes"],
        }))?;
        wait_for("the change to show", Duration::from_secs(20), || {
            let configs = config(driver, "topic", topic)?;
            Ok((configs["retention.bytes"]["value"] == "5000000").then_some(()))
        })?;
        let configs = config(driver, "topic", topic)?;
        has(&configs, "cleanup.policy", "compact,delete", DYNAMIC)?;
        has(&configs, "segment.bytes", "1073741824", DEFAULT)?;
        has(&configs, "retention.ms", "-1", DYNAMIC)
    })
}

/// AlterConfigs replaces: what is not named falls back to its default. (One library helps, and
/// names all that was set before.)
fn alter_config_legacy(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"segment.bytes": "2000000"}))?;
        driver.expect(json!({
            "op": "alter_config_legacy", "resource": "topic", "name": topic,
            "set": {"retention.bytes": "5000000"},
        }))?;
        wait_for("the change to show", Duration::from_secs(20), || {
            let configs = config(driver, "topic", topic)?;
            Ok((configs["retention.bytes"]["value"] == "5000000").then_some(()))
        })?;
        let configs = config(driver, "topic", topic)?;
        if !client.can("legacy_replaces") {
            return has(&configs, "segment.bytes", "2000000", DYNAMIC);
        }
        has(&configs, "segment.bytes", "1073741824", DEFAULT)?;
        has(&configs, "retention.ms", "604800000", DEFAULT)
    })
}

fn create_partitions(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let record = Record::new("k", "in a new partition", BASE_TIME);
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        driver.expect(json!({"op": "create_partitions", "topic": topic, "total": 4}))?;
        wait_for("four partitions", Duration::from_secs(20), || {
            let info = described(driver, topic)?;
            Ok((info["partitions"].as_array().map(Vec::len) == Some(4)).then_some(()))
        })?;
        let how = Produce { partition: 3, ..Produce::to(topic) };
        let offsets = driver.produce(&how, std::slice::from_ref(&record))??;
        ensure!(offsets == [Some(0)], "{offsets:?}");
        Ok(())
    })
}

fn delete_records(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let record = |i: i64| Record::new("k", &format!("record {i}"), BASE_TIME + i);
    let records: Vec<Record> = (0..10).map(record).collect();
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        driver.produce(&Produce::to(topic), &records)??;
        let operation = |before: i64| {
            json!({"op": "delete_records", "topic": topic, "partition": 0, "before": before})
        };
        let answer = driver.expect(operation(4))?;
        let low = &answer["low_watermark"];
        ensure!(low.is_null() || *low == 4, "{answer}");
        ensure!(driver.offset_for(topic, 0, "earliest")?.0 == Some(4));
        ensure!(driver.offset_for(topic, 0, "latest")?.0 == Some(10));
        if client.can("fetch") {
            let read = driver.fetch(&[Range { topic, partition: 0, from: 4, end: 10 }])??;
            same(&read, &records[4..], 4)?;
        }
        // -1 means: up to the high watermark. Deleting less than was deleted changes nothing.
        driver.expect(operation(-1))?;
        ensure!(driver.offset_for(topic, 0, "earliest")?.0 == Some(10));
        driver.expect(operation(2))?;
        ensure!(driver.offset_for(topic, 0, "earliest")?.0 == Some(10));
        let failure = must_fail(driver.call(&operation(11))?)?;
        ensure!(failure.code == "OFFSET_OUT_OF_RANGE", "{failure}");
        let offsets = driver.produce(&Produce::to(topic), &records[..1])??;
        ensure!(offsets == [Some(10)], "{offsets:?}");
        Ok(())
    })
}

fn cluster(lab: &Lab, client: &Client, _topic: &str) -> Result<()> {
    let address = lab.address()?;
    lab.with(client, |driver| {
        let cluster = driver.expect(json!({"op": "describe_cluster"}))?;
        let brokers = cluster["brokers"].as_array().context("brokers")?;
        ensure!(brokers.len() == 1, "{cluster}");
        let host = brokers[0]["host"].as_str().context("host")?;
        ensure!(format!("{host}:{}", brokers[0]["port"]) == address, "{cluster}");
        Ok(())
    })
}

/// With LogAppendTime the broker's clock counts, and the consumer is told so.
fn log_append_time(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let records = [Record::new("k", "a", BASE_TIME), Record::new("k", "b", BASE_TIME + 1)];
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"message.timestamp.type": "LogAppendTime"}))?;
        for codec in ["none", "gzip"] {
            driver.produce(&Produce { codec, ..Produce::to(topic) }, &records)??;
        }
        let read = driver.fetch(&[Range { topic, partition: 0, from: 0, end: 4 }])??;
        for record in &read {
            let kind = record.timestamp_type.as_deref();
            ensure!(matches!(kind, None | Some("append")), "timestamp type {kind:?}");
            let timestamp = record.record.timestamp;
            ensure!(timestamp > BASE_TIME + 1_000_000, "timestamp {timestamp}");
        }
        let values = read.iter().map(|read| read.record.value.as_deref());
        let written = records.iter().chain(&records).map(|record| record.value.as_deref());
        ensure!(values.eq(written), "{read:?}");
        let last = read.last().context("a record")?.record.timestamp;
        let found = driver.offset_for(topic, 0, last + 1)?;
        ensure!(found.0.is_none(), "behind the last: {found:?}");
        let found = driver.offset_for(topic, 0, BASE_TIME)?;
        ensure!(found.0 == Some(0), "before the first: {found:?}");
        Ok(())
    })
}
