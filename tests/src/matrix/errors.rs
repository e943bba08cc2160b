//! Errors: what goes wrong comes back as the exception that the client's user expects.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Client, Entry, Exceptions};
use crate::driver::{Driver, Failure, Produce, Range, must_fail};
use crate::record::{BASE_TIME, Record, noise};
use crate::suite::Lab;

pub(super) const ENTRIES: &[Entry] = &[
    Entry { name: "errors::topic_exists", needs: &[], body: topic_exists },
    Entry { name: "errors::invalid_topic_name", needs: &[], body: invalid_topic_name },
    Entry { name: "errors::invalid_partitions", needs: &[], body: invalid_partitions },
    Entry {
        name: "errors::invalid_replication_factor",
        needs: &[],
        body: invalid_replication_factor,
    },
    Entry { name: "errors::invalid_config", needs: &[], body: invalid_config },
    Entry { name: "errors::unknown_topic", needs: &[], body: unknown_topic },
    Entry {
        name: "errors::fewer_partitions",
        needs: &["create_partitions"],
        body: fewer_partitions,
    },
    Entry {
        name: "errors::invalid_alteration",
        needs: &["alter_config"],
        body: invalid_alteration,
    },
    Entry { name: "errors::too_large_record", needs: &[], body: too_large_record },
    Entry { name: "errors::timestamp_in_the_future", needs: &[], body: timestamp_in_the_future },
    Entry { name: "errors::no_key_for_compaction", needs: &[], body: no_key_for_compaction },
    Entry { name: "errors::offset_out_of_range", needs: &["fetch"], body: offset_out_of_range },
];

/// An error of Kafka with the names of its exceptions.
struct Due {
    code: &'static str,
    java: &'static str,
    python: &'static str,
}

impl Due {
    /// The failure is this error, in the class that the client has for it.
    fn check(&self, client: &Client, failure: &Failure) -> Result<()> {
        let class = match client.exceptions {
            Exceptions::Java => format!("org.apache.kafka.{}", self.java),
            Exceptions::KafkaPython => format!("kafka.errors.{}", self.python),
            Exceptions::Code(class) => class.to_owned(),
        };
        ensure!(failure.code == self.code, "due {}, came {failure}", self.code);
        ensure!(failure.class == class, "due {class}, came {failure}");
        ensure!(!failure.message.is_empty(), "{failure} has no message");
        Ok(())
    }
}

const TOPIC_EXISTS: Due = Due {
    code: "TOPIC_ALREADY_EXISTS",
    java: "common.errors.TopicExistsException",
    python: "TopicAlreadyExistsError",
};
const INVALID_TOPIC: Due = Due {
    code: "INVALID_TOPIC_EXCEPTION",
    java: "common.errors.InvalidTopicException",
    python: "InvalidTopicError",
};
const INVALID_PARTITIONS: Due = Due {
    code: "INVALID_PARTITIONS",
    java: "common.errors.InvalidPartitionsException",
    python: "InvalidPartitionsError",
};
const INVALID_REPLICATION_FACTOR: Due = Due {
    code: "INVALID_REPLICATION_FACTOR",
    java: "common.errors.InvalidReplicationFactorException",
    python: "InvalidReplicationFactorError",
};
const INVALID_CONFIG: Due = Due {
    code: "INVALID_CONFIG",
    java: "common.errors.InvalidConfigurationException",
    python: "InvalidConfigurationError",
};
const UNKNOWN_TOPIC: Due = Due {
    code: "UNKNOWN_TOPIC_OR_PARTITION",
    java: "common.errors.UnknownTopicOrPartitionException",
    python: "UnknownTopicOrPartitionError",
};
const TOO_LARGE: Due = Due {
    code: "MESSAGE_TOO_LARGE",
    java: "common.errors.RecordTooLargeException",
    python: "MessageSizeTooLargeError",
};
const INVALID_TIMESTAMP: Due = Due {
    code: "INVALID_TIMESTAMP",
    java: "common.errors.InvalidTimestampException",
    python: "InvalidTimestampError",
};
const INVALID_RECORD: Due = Due {
    code: "INVALID_RECORD",
    java: "common.InvalidRecordException",
    python: "InvalidRecordError",
};
const OUT_OF_RANGE: Due = Due {
    code: "OFFSET_OUT_OF_RANGE",
    java: "clients.consumer.OffsetOutOfRangeException",
    python: "OffsetOutOfRangeError",
};

fn create(topic: &str, partitions: i32, replication_factor: i32, configs: &Value) -> Value {
    json!({
        "op": "create_topic", "topic": topic, "partitions": partitions,
        "replication_factor": replication_factor, "configs": configs,
    })
}

fn refused(driver: &mut Driver, client: &Client, operation: &Value, due: &Due) -> Result<()> {
    due.check(client, &must_fail(driver.call(operation)?)?)
}

fn topic_exists(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 2, &json!({}))?;
        let failure = must_fail(driver.call(&create(topic, 5, 1, &json!({})))?)?;
        if client.can("exception_for_topic_exists") {
            TOPIC_EXISTS.check(client, &failure)?;
        }
        ensure!(failure.code == TOPIC_EXISTS.code, "{failure}");
        let info = driver.expect(json!({"op": "describe_topic", "topic": topic}))?;
        ensure!(info["partitions"].as_array().map(Vec::len) == Some(2), "{info}");
        Ok(())
    })
}

fn invalid_topic_name(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        for name in [format!("{topic} with spaces"), "..".to_owned(), "x".repeat(250)] {
            refused(driver, client, &create(&name, 1, 1, &json!({})), &INVALID_TOPIC)?;
        }
        Ok(())
    })
}

fn invalid_partitions(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        refused(driver, client, &create(topic, 0, 1, &json!({})), &INVALID_PARTITIONS)
    })
}

fn invalid_replication_factor(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        for factor in [3, 0] {
            let operation = create(topic, 1, factor, &json!({}));
            refused(driver, client, &operation, &INVALID_REPLICATION_FACTOR)?;
        }
        Ok(())
    })
}

fn invalid_config(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        for configs in [
            json!({"no.such.config": "1"}),
            json!({"retention.ms": "soon"}),
            json!({"cleanup.policy": "burn"}),
            json!({"segment.bytes": "1"}),
        ] {
            refused(driver, client, &create(topic, 1, 1, &configs), &INVALID_CONFIG)?;
        }
        Ok(())
    })
}

fn unknown_topic(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        let describe = json!({"op": "describe_topic", "topic": topic});
        refused(driver, client, &describe, &UNKNOWN_TOPIC)?;
        refused(driver, client, &json!({"op": "delete_topic", "topic": topic}), &UNKNOWN_TOPIC)?;
        let names = driver.expect(json!({"op": "list_topics"}))?;
        let created = names.as_array().into_iter().flatten().any(|name| name == topic);
        ensure!(!created, "asking for the topic created it");
        Ok(())
    })
}

fn fewer_partitions(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 3, &json!({}))?;
        for total in [2, 3] {
            let operation = json!({"op": "create_partitions", "topic": topic, "total": total});
            refused(driver, client, &operation, &INVALID_PARTITIONS)?;
        }
        Ok(())
    })
}

fn invalid_alteration(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        for set in [json!({"retention.ms": "x"}), json!({"retention.msec": "1"})] {
            let operation = json!({
                "op": "alter_config", "resource": "topic", "name": topic,
                "set": set, "delete": [],
            });
            refused(driver, client, &operation, &INVALID_CONFIG)?;
        }
        Ok(())
    })
}

/// The broker's limit, not the client's own.
fn too_large_record(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let record =
        Record { key: None, value: Some(noise(3, 5_000)), headers: vec![], timestamp: BASE_TIME };
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"max.message.bytes": "1000"}))?;
        for idempotent in [true, false] {
            let how = Produce { idempotent, ..Produce::to(topic) };
            let failure = must_fail(driver.produce(&how, std::slice::from_ref(&record))?)?;
            TOO_LARGE.check(client, &failure)?;
        }
        let small = Record::new("k", "fits", BASE_TIME);
        let offsets = driver.produce(&Produce::to(topic), &[small])??;
        ensure!(offsets == [Some(0)], "{offsets:?}");
        Ok(())
    })
}

fn timestamp_in_the_future(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    // 2100-01-01: more than `message.timestamp.after.max.ms`, one hour, ahead.
    let record = Record::new("k", "v", 4_102_444_800_000);
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        let failure = must_fail(driver.produce(&Produce::to(topic), &[record])?)?;
        INVALID_TIMESTAMP.check(client, &failure)?;
        ensure!(driver.offset_for(topic, 0, "latest")?.0 == Some(0), "written all the same");
        Ok(())
    })
}

fn no_key_for_compaction(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    let record =
        Record { key: None, value: Some(b"v".to_vec()), headers: vec![], timestamp: BASE_TIME };
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({"cleanup.policy": "compact"}))?;
        let failure = must_fail(driver.produce(&Produce::to(topic), &[record])?)?;
        INVALID_RECORD.check(client, &failure)
    })
}

fn offset_out_of_range(lab: &Lab, client: &Client, topic: &str) -> Result<()> {
    lab.with(client, |driver| {
        driver.create_topic(topic, 1, &json!({}))?;
        driver.produce(&Produce::to(topic), &[Record::new("k", "v", BASE_TIME)])??;
        let range = Range { topic, partition: 0, from: 5, end: 6 };
        OUT_OF_RANGE.check(client, &must_fail(driver.fetch(&[range])?)?)
    })
}
