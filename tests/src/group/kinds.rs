//! The kinds of members: a client, a protocol, an assignor.

use std::process::Command;

use anyhow::Result;

use crate::install;
use crate::matrix::Client;
use crate::matrix::clients::{CONFLUENT, FRANZ_GO, JAVA_4_3, KAFKA_PYTHON, KAFKAJS, SARAMA};

/// How members talk to the group's coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl Protocol {
    /// As `group.protocol` has it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        }
    }
}

/// A kind of member.
#[derive(Debug)]
pub struct Kind {
    /// The name in the names of its cases.
    pub name: &'static str,
    /// The client that creates topics, produces and administers for its cases.
    pub client: &'static Client,
    /// The program, given the broker's address; the options are one more argument.
    pub command: fn(&str) -> Result<Command>,
    /// How it talks.
    pub protocol: Protocol,
    /// The assignor; `None` is the library's own, or the broker's default.
    pub assignor: Option<&'static str>,
    /// Whether it keeps what it has during a rebalance.
    pub is_incremental: bool,
    /// What its library can not do.
    pub lacks: &'static [&'static str],
}

impl Kind {
    /// Whether its library can do this.
    pub fn can(&self, what: &str) -> bool {
        !self.lacks.contains(&what) && self.client.can(what)
    }
}

const RANGE: Option<&str> = Some("range");
const COOPERATIVE: Option<&str> = Some("cooperative-sticky");

/// Java's, classic, range.
pub static JAVA_CLASSIC: Kind = Kind {
    name: "java_classic",
    client: &JAVA_4_3,
    command: java,
    protocol: Protocol::Classic,
    assignor: RANGE,
    is_incremental: false,
    lacks: &[],
};

/// Java's, classic, cooperative-sticky.
pub static JAVA_COOPERATIVE: Kind =
    Kind { name: "java_cooperative", assignor: COOPERATIVE, is_incremental: true, ..JAVA_CLASSIC };

/// Java's with `group.protocol=consumer`.
pub static JAVA_CONSUMER: Kind = Kind {
    name: "java_consumer",
    protocol: Protocol::Consumer,
    assignor: None,
    is_incremental: true,
    ..JAVA_CLASSIC
};

/// librdkafka, classic, range.
pub static LIBRDKAFKA_CLASSIC: Kind = Kind {
    name: "librdkafka_classic",
    client: &CONFLUENT,
    command: |address| python("confluent_member.py", address),
    protocol: Protocol::Classic,
    assignor: RANGE,
    is_incremental: false,
    lacks: &[],
};

/// librdkafka, classic, cooperative-sticky.
pub static LIBRDKAFKA_COOPERATIVE: Kind = Kind {
    name: "librdkafka_cooperative",
    assignor: COOPERATIVE,
    is_incremental: true,
    ..LIBRDKAFKA_CLASSIC
};

/// librdkafka with `group.protocol=consumer`.
pub static LIBRDKAFKA_CONSUMER: Kind = Kind {
    name: "librdkafka_consumer",
    protocol: Protocol::Consumer,
    assignor: None,
    is_incremental: true,
    ..LIBRDKAFKA_CLASSIC
};

/// kafka-python, range. It knows only the classic protocol.
pub static KAFKA_PYTHON_CLASSIC: Kind = Kind {
    name: "kafka_python",
    client: &KAFKA_PYTHON,
    command: |address| python("kafka_python_member.py", address),
    protocol: Protocol::Classic,
    assignor: RANGE,
    is_incremental: false,
    lacks: &[],
};

/// kafka-python, cooperative-sticky.
pub static KAFKA_PYTHON_COOPERATIVE: Kind = Kind {
    name: "kafka_python_cooperative",
    assignor: COOPERATIVE,
    is_incremental: true,
    ..KAFKA_PYTHON_CLASSIC
};

/// kafkajs with its own assignor. It knows only the classic protocol, and no static members.
pub static KAFKAJS_CLASSIC: Kind = Kind {
    name: "kafkajs",
    client: &KAFKAJS,
    command: |address| {
        let mut command = Command::new("node");
        command.arg(install::node_directory()?.join("member.js")).arg(address);
        Ok(command)
    },
    protocol: Protocol::Classic,
    assignor: None,
    is_incremental: false,
    lacks: &["static_member"],
};

/// franz-go, classic, range.
pub static FRANZ_CLASSIC: Kind = Kind {
    name: "franz_classic",
    client: &FRANZ_GO,
    command: |address| go("franz-member", address),
    protocol: Protocol::Classic,
    assignor: RANGE,
    is_incremental: false,
    lacks: &[],
};

/// franz-go, classic, cooperative-sticky.
pub static FRANZ_COOPERATIVE: Kind = Kind {
    name: "franz_cooperative",
    assignor: COOPERATIVE,
    is_incremental: true,
    ..FRANZ_CLASSIC
};

/// franz-go, consumer protocol. A static member leaves without its instance id, which is refused, so
/// its partitions wait for the end of its session.
pub static FRANZ_CONSUMER: Kind = Kind {
    name: "franz_consumer",
    protocol: Protocol::Consumer,
    assignor: None,
    is_incremental: true,
    lacks: &["static_member"],
    ..FRANZ_CLASSIC
};

/// sarama, range. It knows only the classic protocol.
pub static SARAMA_CLASSIC: Kind = Kind {
    name: "sarama",
    client: &SARAMA,
    command: |address| go("sarama-member", address),
    protocol: Protocol::Classic,
    assignor: RANGE,
    is_incremental: false,
    lacks: &[],
};

/// A listener container of spring-kafka, classic, range.
pub static SPRING_CLASSIC: Kind = Kind {
    name: "spring_classic",
    command: |address| {
        virtual_machine(&install::spring_classpath("4.0.0")?, "spring.Member", address)
    },
    ..JAVA_CLASSIC
};

/// A listener container of spring-kafka with `group.protocol=consumer`.
pub static SPRING_CONSUMER: Kind = Kind {
    name: "spring_consumer",
    protocol: Protocol::Consumer,
    assignor: None,
    is_incremental: true,
    ..SPRING_CLASSIC
};

fn java(address: &str) -> Result<Command> {
    virtual_machine(&install::java_classpath("4.3.0")?, "driver.Member", address)
}

fn virtual_machine(classpath: &str, class: &str, address: &str) -> Result<Command> {
    let mut command = Command::new("java");
    // Six of them at once share two cores and one memory.
    command.args(["-Xmx128M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classpath]);
    command.args([class, address]);
    Ok(command)
}

fn python(script: &str, address: &str) -> Result<Command> {
    let mut command = Command::new(install::python()?);
    command.arg("-u").arg(install::clients_directory().join("python").join(script)).arg(address);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

fn go(program: &str, address: &str) -> Result<Command> {
    let mut command = Command::new(install::go_program(program)?);
    command.arg(address);
    Ok(command)
}
