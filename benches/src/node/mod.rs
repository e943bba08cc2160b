//! What one broker carries, and how long it takes: raw load on klamm, on Apache Kafka and on the
//! limit program, once with acknowledgements from the page cache and once from stable storage.
//!
//! All run at once on this machine, and one after the other has work. Before each measurement what
//! the others wrote is on disk.
//!
//! Start at [`measure`]; [`works`] is what is measured, [`contestant`] who.

mod contestant;
mod works;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tests::child::{Background, run};
use tests::install;

use crate::load::Report;
use crate::machine::Machine;
use crate::result::{Outcome, Table};
use contestant::{Contestant, Running, Use};
use works::{Tool, WORKS, Work};

/// What is measured at once, and told on the page in a section of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// How much one broker carries, by raw load.
    Throughput,
    /// How long a request takes, by raw load.
    Latency,
    /// How much whole clients get through.
    Clients,
}

/// What all kinds of raw load have in common.
macro_rules! raw_load {
    () => {
        "\
Raw load: requests that are encoded beforehand, over plain sockets, so that the broker is what is measured;
acks=all, records of 100 bytes. The limit program takes the same frames, checks the checksums, writes one file
for each partition, syncs for all who wait, and answers; it does nothing that is not needed for that. 'Page
cache' is `klamm.durability=os`, and Kafka as it is shipped; 'synced' is klamm as it is, and Kafka with
`flush.messages=1`. Broker and load share the machine's threads."
    };
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Throughput => "throughput",
            Subject::Latency => "latency",
            Subject::Clients => "clients",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Subject::Throughput => "Throughput of one broker",
            Subject::Latency => "Latency of one broker",
            Subject::Clients => "Clients of one broker",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Subject::Throughput => raw_load!(),
            Subject::Latency => concat!(
                raw_load!(),
                "\nWhat a request at a fixed rate took counts from when it was due."
            ),
            Subject::Clients => {
                "\
One process with one client, six partitions, records of 100 bytes, acks=all, no compression, batches of 1 MB at
the most. Client and broker share the machine's threads, and the client needs most of them. 'Page cache' is
`klamm.durability=os`, and Kafka as it is shipped; 'synced' is klamm as it is, and Kafka with
`flush.messages=1`."
            }
        }
    }
}

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure so often.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only rows whose names contain this; nothing is kept then.
    #[arg(long)]
    rows: Option<String>,
    /// Only these; nothing is kept then.
    #[arg(long)]
    only: Vec<Who>,
}

/// Whom to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    Klamm,
    Kafka,
    Limit,
}

impl Who {
    const ALL: [Who; 3] = [Who::Klamm, Who::Kafka, Who::Limit];

    fn name(self) -> &'static str {
        match self {
            Who::Klamm => "klamm",
            Who::Kafka => "Kafka",
            Who::Limit => "limit",
        }
    }
}

/// Measures in turns.
///
/// # Errors
/// A program does not do what it has to.
pub fn measure(subject: Subject, options: &Options) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("klamm-node-").tempdir()?;
    let mut tables: Vec<Table> = Vec::new();
    for is_synced in [false, true] {
        let who = Who::ALL
            .into_iter()
            .filter(|who| options.only.is_empty() || options.only.contains(who));
        let contestants = who.map(|who| Contestant { who, is_synced });
        let mut running = Vec::new();
        for contestant in contestants {
            running.push(contestant.start(directory.path())?);
        }
        for turn in 0..options.turns {
            for work in WORKS.iter().filter(|work| options.wants(subject, work)) {
                for contestant in running.iter_mut().filter(|it| work.is_for(it.contestant)) {
                    let table = table_of(&mut tables, work);
                    one(contestant, work, options, (turn, directory.path()), table)
                        .with_context(|| format!("{}: {}", contestant.name(), work.what))?;
                }
            }
        }
    }
    Ok(Outcome {
        subject: subject.name().to_owned(),
        title: subject.title().to_owned(),
        about: subject.about().to_owned(),
        machine: Machine::here()?,
        tables,
    })
}

impl Options {
    /// Whether all of it is measured.
    pub fn is_whole(&self) -> bool {
        self.rows.is_none() && self.only.is_empty()
    }

    fn wants(&self, subject: Subject, work: &Work) -> bool {
        let is_named = self.rows.as_ref().is_none_or(|part| work.what.contains(part.as_str()));
        work.subject == subject && is_named
    }
}

fn table_of<'a>(tables: &'a mut Vec<Table>, work: &Work) -> &'a mut Table {
    let place = tables.iter().position(|table| table.title == work.subject.name());
    let place = place.unwrap_or_else(|| {
        let names = Who::ALL.map(Who::name);
        tables.push(Table::new(
            work.subject.name(),
            &names,
            &[("klamm", "Kafka"), ("klamm", "limit")],
        ));
        tables.len() - 1
    });
    &mut tables[place]
}

/// Measures one piece of work once.
fn one(
    contestant: &mut Running,
    work: &Work,
    options: &Options,
    (turn, directory): (usize, &Path),
    table: &mut Table,
) -> Result<()> {
    let topic = contestant.begin(work, turn)?;
    settle()?;
    let (report, used) = load(contestant, work, &topic, options.seconds, directory)?;
    let kind = if contestant.contestant.is_synced { "synced" } else { "page cache" };
    let name = contestant.contestant.who.name();
    let what = format!("{}, {kind}", work.what);
    println!("{name}: {what}: {report:?} {used:?}");
    for figure in work.figures {
        table.put(name, &what, figure.unit(), figure.of(&report, &used));
    }
    contestant.end(work, &topic)
}

/// What others wrote is on the disk before somebody is measured.
fn settle() -> Result<()> {
    run(&mut Command::new("sync"), Duration::from_secs(120)).map(drop)
}

/// Puts the load on, and gives what came of it and what it cost.
fn load(
    contestant: &Running,
    work: &Work,
    topic: &str,
    seconds: f64,
    directory: &Path,
) -> Result<(Report, Use)> {
    let mut command = match work.tool {
        Tool::FranzGo => Command::new(install::go_program("franzload")?),
        Tool::Raw | Tool::Own => Command::new(std::env::current_exe()?),
    };
    command.args(match work.tool {
        Tool::FranzGo => &[][..],
        Tool::Raw => &["load"],
        Tool::Own => &["load", "client"],
    });
    command.args(work.arguments);
    command.args(["--address", &contestant.address, "--topic", topic]);
    command.args(["--partitions", &work.partitions.to_string()]);
    command.args(["--seconds", &seconds.to_string()]);
    let before = contestant.use_of()?;
    let mut load = Background::start_piped(&mut command, &directory.join("load.log"))?;
    let stdout = load.child().stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let report = serde_json::from_str(&line).with_context(|| load.log_tail())?;
    // Its connections are open still, so the threads that served them are there.
    let used = contestant.use_of()?.since(&before);
    drop(load.child().stdin.take());
    Ok((report, used))
}

fn scratch(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.replace(' ', "-"))
}
