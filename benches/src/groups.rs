//! How long rebalances take, and what many members cost.
//!
//! Three members are processes of every client of the matrix, with a session timeout of 6 s. The many
//! are `clients/go/groupload`: frames of its own and no fetches, a session timeout of 10 s, a
//! heartbeat each second, and Kafka's default wait of 3 s for the first members.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tests::driver::Driver;
use tests::group::kinds::{self, Kind};
use tests::group::{BROKER_CONFIGS, Event, Group, Options as MemberOptions, SESSION_TIMEOUT};
use tests::install;
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Peer, Server};

use crate::machine::Machine;
use crate::result::{Outcome, Table};

/// Brokers for the load have times that many members can keep.
const LOAD_CONFIGS: &[(&str, &str)] = &[
    ("group.consumer.min.session.timeout.ms", "10000"),
    ("group.consumer.session.timeout.ms", "10000"),
    ("group.consumer.min.heartbeat.interval.ms", "1000"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
];
const LOAD_SESSION: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(10);

/// A kind for every library and protocol.
static KINDS: [&Kind; 9] = [
    &kinds::JAVA_CLASSIC,
    &kinds::JAVA_CONSUMER,
    &kinds::LIBRDKAFKA_CLASSIC,
    &kinds::LIBRDKAFKA_CONSUMER,
    &kinds::KAFKA_PYTHON_CLASSIC,
    &kinds::KAFKAJS_CLASSIC,
    &kinds::FRANZ_CLASSIC,
    &kinds::FRANZ_CONSUMER,
    &kinds::SARAMA_CLASSIC,
];

const ABOUT: &str = "\
Groups of three: two members are there and a third one comes, then one is killed (measured from the end of
its session, 6 s), then one leaves; measured until every member has its share. The clients decide most of
it: members learn of a change by their next heartbeat or poll, so that the same step takes now a few
milliseconds and now an interval between two, 100 to 500 ms with these clients, whatever the broker does. A
consumer group gets a new assignment a second after its last one at the earliest
(`group.consumer.assignment.interval.ms`).

Many members, of one process that speaks the protocol and does nothing else: all come, one comes, one
leaves (of many groups, one in each tenth group, a turn after another for a second; the mean of their
times), all commit one offset, all are idle for 10 s with a heartbeat each second, one is killed (from the
end of its session, 10 s). The broker's processor time includes what a young virtual machine spends on
compiling; klamm syncs what it answers, Kafka does not.";

/// What to measure.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// Measure so often.
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// So many members in one group, and so many groups.
    #[arg(long, default_value_t = 1_000)]
    members: u64,
    /// One broker only; nothing is kept then.
    #[arg(long)]
    only: Option<Broker>,
}

impl Options {
    /// Whether all of it is measured.
    pub fn is_whole(&self) -> bool {
        self.only.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broker {
    Klamm,
    Kafka,
}

impl Broker {
    fn peer(self) -> Peer {
        match self {
            Broker::Klamm => Peer::Klamm,
            Broker::Kafka => Peer::Kafka,
        }
    }
}

/// Measures in turns.
///
/// # Errors
/// A broker or a client does not do what it has to.
pub fn measure(options: &Options) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("klamm-groups-").tempdir()?;
    let mut figures = Figures::default();
    for turn in 0..options.turns {
        for broker in [Broker::Klamm, Broker::Kafka] {
            if options.only.is_none_or(|only| only == broker) {
                let place = directory.path().join(format!("{broker:?}-{turn}"));
                figures.broker = Some(broker);
                turn_of(broker, &place, options.members, &mut figures)?;
                fs::remove_dir_all(&place)?;
            }
        }
    }
    Ok(Outcome {
        subject: "groups".to_owned(),
        title: "Consumer groups".to_owned(),
        about: ABOUT.to_owned(),
        machine: Machine::here()?,
        tables: figures.tables,
    })
}

fn turn_of(broker: Broker, place: &Path, members: u64, figures: &mut Figures) -> Result<()> {
    three(&broker.peer(), &place.join("three"), figures)?;
    for protocol in ["classic", "consumer"] {
        for (groups, members) in [(1, members), (members, 1)] {
            let place = place.join(format!("{protocol}-{groups}"));
            load(&broker.peer(), &place, protocol, (groups, members), figures)?;
        }
    }
    Ok(())
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Figures {
    /// Whose figures come in.
    broker: Option<Broker>,
    tables: Vec<Table>,
}

impl Figures {
    fn put(&mut self, table: &str, what: &str, unit: &str, figure: f64) {
        let place = self.tables.iter().position(|known| known.title == table);
        let place = place.unwrap_or_else(|| {
            self.tables.push(Table::new(table, &["klamm", "Kafka"], &[("Kafka", "klamm")]));
            self.tables.len() - 1
        });
        let column = match self.broker {
            Some(Broker::Kafka) => "Kafka",
            Some(Broker::Klamm) | None => "klamm",
        };
        self.tables[place].put(column, what, unit, figure);
    }
}

/// Two members, a third comes, one is killed, one leaves; with every kind.
fn three(peer: &Peer, place: &Path, figures: &mut Figures) -> Result<()> {
    fs::create_dir_all(place)?;
    let server = Server::start_with(peer, place, BROKER_CONFIGS)?;
    let address = server.address();
    let mut command = (FRANZ_GO.command)(&address)?;
    let mut driver = Driver::start(&mut command, &place.join("driver.log"), true)?;
    for kind in KINDS {
        let mut group = Group::new(kind.name, 6, &address, place, &mut driver)?;
        let measured = rebalances(&mut group, kind, figures);
        measured.with_context(|| format!("{}\n{}", kind.name, server.log_tail()))?;
    }
    Ok(())
}

fn rebalances(group: &mut Group<'_>, kind: &'static Kind, figures: &mut Figures) -> Result<()> {
    let mut put = |what: &str, took: Duration| {
        let what = format!("{}: {what}", kind.name.replace('_', " "));
        figures.put("three members", &what, "ms", took.as_secs_f64() * 1e3);
    };
    group.gather(kind, 2, &MemberOptions::default())?;
    let joiner = group.join(kind, &MemberOptions::default())?;
    group.settle()?;
    // From when it asks, not from when its process starts.
    let joins = group.when(joiner, |event| *event == Event::Started).context("start")?;
    put("one joins", joins.elapsed());
    group.kill(joiner)?;
    put("one is killed", group.settle()?.saturating_sub(SESSION_TIMEOUT));
    group.leave(1)?;
    put("one leaves", group.settle()?);
    group.disperse()
}

/// Many members: all come, one comes, one leaves, all commit, all are idle, one is killed.
fn load(
    peer: &Peer,
    place: &Path,
    protocol: &str,
    (groups, members): (u64, u64),
    figures: &mut Figures,
) -> Result<()> {
    fs::create_dir_all(place)?;
    let server = Server::start_with(peer, place, LOAD_CONFIGS)?;
    let address = server.address();
    // Whoever leaves or is killed has something to give.
    let partitions = members + 1;
    let mut command = (FRANZ_GO.command)(&address)?;
    let mut driver = Driver::start(&mut command, &place.join("driver.log"), false)?;
    driver.create_topic("load", i32::try_from(partitions)?, &json!({}))?;
    let mut command = Command::new(install::go_program("groupload")?);
    let mut many = Driver::start(command.arg(&address), &place.join("load.log"), false)?;
    let options = json!({
        "groups": groups, "members": members, "protocol": protocol, "topic": "load",
        "partitions": partitions, "prefix": "load", "heartbeat_ms": 1_000,
        "session_timeout_ms": LOAD_SESSION.as_millis(),
    });
    let table = match groups {
        1 => format!("{members} members in one group, {protocol}"),
        _ => format!("{groups} groups of one member, {protocol}"),
    };
    let mut step = |name: &str, less: Duration, operation: Value| -> Result<()> {
        let cpu = server.cpu_seconds()?;
        let answer = many.expect(operation).with_context(|| format!("{table}: {name}"))?;
        let milliseconds = answer["milliseconds"].as_f64().context("milliseconds")?;
        let cpu = server.cpu_seconds()? - cpu;
        let milliseconds = (milliseconds - less.as_secs_f64() * 1e3).max(0.0);
        if name != IDLE_STEP {
            figures.put(&table, name, "ms", milliseconds);
        }
        figures.put(&table, name, "s of the broker's processor", cpu);
        Ok(())
    };
    step("all join", Duration::ZERO, json!({"op": "open", "at": options}))?;
    step("one joins", Duration::ZERO, json!({"op": "join"}))?;
    step("one leaves", Duration::ZERO, json!({"op": "leave"}))?;
    step("all commit", Duration::ZERO, json!({"op": "commit"}))?;
    step(IDLE_STEP, Duration::ZERO, json!({"op": "idle", "before": IDLE.as_millis()}))?;
    if groups == 1 {
        step("one is killed", LOAD_SESSION, json!({"op": "kill"}))?;
    }
    many.expect(json!({"op": "close"})).map(drop)
}

const IDLE_STEP: &str = "idle for 10 s";
