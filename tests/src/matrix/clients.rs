//! The foreign clients, and what each of them does in its own way.

use std::process::Command;

use super::{Client, Exceptions};
use crate::install::{self, Tool};

const ALL_CODECS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];

/// franz-go.
pub static FRANZ_GO: Client = Client {
    name: "franz_go",
    tools: &[Tool::Go],
    command: |address| {
        let mut command = Command::new(install::go_program("franz")?);
        command.arg(address);
        Ok(command)
    },
    codecs: ALL_CODECS,
    lacks: &[],
    exceptions: Exceptions::Code("*kerr.Error"),
    reader: None,
};

/// sarama: does not know the listing by largest timestamp.
pub static SARAMA: Client = Client {
    name: "sarama",
    tools: &[Tool::Go],
    command: |address| {
        let mut command = Command::new(install::go_program("sarama")?);
        command.arg(address);
        Ok(command)
    },
    codecs: ALL_CODECS,
    lacks: &["max_timestamp"],
    exceptions: Exceptions::Code("sarama.KError"),
    reader: None,
};

/// Java's, of the release that Apache Kafka's server here has; AlterConfigs is gone from it.
pub static JAVA_4_3: Client = Client {
    name: "java_4_3",
    tools: &[Tool::Java, Tool::Maven],
    command: |address| java("4.3.0", address),
    codecs: ALL_CODECS,
    lacks: &["alter_config_legacy"],
    exceptions: Exceptions::Java,
    reader: None,
};

/// Java's of the last release before 4.0.
pub static JAVA_3_9: Client = Client {
    name: "java_3_9",
    tools: &[Tool::Java, Tool::Maven],
    command: |address| java("3.9.1", address),
    codecs: ALL_CODECS,
    lacks: &[],
    exceptions: Exceptions::Java,
    reader: None,
};

fn java(version: &str, address: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xmx512M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]);
    command.args([&install::java_classpath(version)?, "driver.Main", address]);
    Ok(command)
}

/// librdkafka under confluent-kafka for Python, which does not pass the deletion of offsets on.
pub static CONFLUENT: Client = Client {
    name: "confluent_kafka",
    tools: &[Tool::Python],
    command: |address| python("confluent_driver.py", address),
    codecs: ALL_CODECS,
    lacks: &["delete_group_offsets"],
    exceptions: Exceptions::Code("KafkaException"),
    reader: None,
};

/// kafka-python: refuses to send a record that has neither key nor value; its legacy alteration
/// adds what was set before.
pub static KAFKA_PYTHON: Client = Client {
    name: "kafka_python",
    tools: &[Tool::Python],
    command: |address| python("kafka_python_driver.py", address),
    codecs: ALL_CODECS,
    lacks: &["null_record", "legacy_replaces"],
    exceptions: Exceptions::KafkaPython,
    reader: None,
};

fn python(script: &str, address: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(install::python()?);
    command.arg("-u").arg(install::clients_directory().join("python").join(script)).arg(address);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// kafkajs: its consumer knows only groups, so another client reads what it wrote. It throws
/// nothing for a topic that exists.
pub static KAFKAJS: Client = Client {
    name: "kafkajs",
    tools: &[Tool::Node, Tool::Npm, Tool::Go],
    command: |address| {
        let mut command = Command::new("node");
        command.arg(install::node_directory()?.join("driver.js")).arg(address);
        Ok(command)
    },
    codecs: &["none", "gzip", "snappy", "zstd"],
    lacks: &[
        "fetch",
        "max_timestamp",
        "alter_config",
        "exception_for_topic_exists",
        "delete_group_offsets",
    ],
    exceptions: Exceptions::Code("KafkaJSProtocolError"),
    reader: Some(&FRANZ_GO),
};
