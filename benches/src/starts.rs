//! How long a broker takes to start, also after it was killed while it was written to.
//!
//! Start at [`measure`].

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use tests::child::{Background, run, wait_for};
use tests::install;
use tests::server::{Kafka, Klamm, KlammOptions, Server};

use crate::machine::Machine;
use crate::result::{Outcome, Table};

const ABOUT: &str = "\
Both as they are shipped, klamm with every record synced. A start is measured from the start of the process to
the first answer to Metadata that names a broker. A restart follows `kill -9` under load (4 connections × 5
batches of 64 KiB over six partitions) and is measured until the first record is acknowledged, by asking every
few milliseconds. The large log is still in the page cache, as it is when a process is killed and the machine
is not.";
const PARTITIONS: u32 = 6;
const BATCH_BYTES: u64 = 65_536;
const LOAD: Duration = Duration::from_secs(2);
const READY_LIMIT: Duration = Duration::from_secs(600);

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure so often.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Bytes of the large log, in GB.
    #[arg(long, default_value_t = 10.0)]
    gigabytes: f64,
}

/// Measures in turns.
///
/// # Errors
/// A program does not do what it has to.
pub fn measure(options: &Options) -> Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("klamm-starts-").tempdir()?;
    let mut table = Table::new("starts", &["klamm", "Kafka"], &[("klamm", "Kafka")]);
    table.put("klamm", "the program", "MiB", mebibytes(fs::metadata(install::klamm()?)?.len()));
    for turn in 0..options.turns {
        for who in [Who::Klamm, Who::Kafka] {
            let place = directory.path().join(format!("{}-{turn}", who.name()));
            let (mut server, took) = who.start(&place)?;
            put(&mut table, who, "first start", "ms", milliseconds(took));
            put(&mut table, who, "memory after it", "MiB", resident(&server)?);
            create(&server)?;
            let took = kill_and_restart(&mut server, directory.path())?;
            put(&mut table, who, "restart after kill -9, small log", "ms", milliseconds(took));
            server.kill()?;
            fs::remove_dir_all(&place)?;
        }
    }
    for who in [Who::Klamm, Who::Kafka] {
        // One after the other: both do not fit onto every disk.
        let place = directory.path().join(who.name());
        let (mut server, _) = who.start(&place)?;
        create(&server)?;
        fill(&server, options.gigabytes)?;
        let what = format!("restart after kill -9, log of {} GB", options.gigabytes);
        for _ in 0..options.turns {
            let took = kill_and_restart(&mut server, directory.path())?;
            put(&mut table, who, &what, "ms", milliseconds(took));
        }
        put(&mut table, who, "memory after it, large log", "MiB", resident(&server)?);
        server.kill()?;
        fs::remove_dir_all(&place)?;
    }
    Ok(Outcome {
        subject: "starts".to_owned(),
        title: "Starts".to_owned(),
        about: ABOUT.to_owned(),
        machine: Machine::here()?,
        tables: vec![table],
    })
}

fn put(table: &mut Table, who: Who, what: &str, unit: &str, figure: f64) {
    println!("{}: {what}: {figure} {unit}", who.name());
    table.put(who.name(), what, unit, figure);
}

#[derive(Clone, Copy)]
enum Who {
    Klamm,
    Kafka,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Klamm => "klamm",
            Who::Kafka => "Kafka",
        }
    }

    /// Starts it on an empty directory, and says how long that took.
    fn start(self, place: &Path) -> Result<(Server, Duration)> {
        fs::create_dir_all(place)?;
        Ok(match self {
            Who::Klamm => {
                let klamm = Klamm::start(KlammOptions::in_directory(&place.join("data")))?;
                let took = klamm.ready_after();
                (Server::Klamm(klamm), took)
            }
            Who::Kafka => {
                let kafka = Kafka::start_as_shipped(place, &[])?;
                let took = kafka.ready_after();
                (Server::Kafka(kafka), took)
            }
        })
    }
}

fn load_command(server: &Server, what: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load", what, "--address", &server.address(), "--topic", "log"]);
    command.args(["--partitions", &PARTITIONS.to_string()]);
    Ok(command)
}

fn create(server: &Server) -> Result<()> {
    run(&mut load_command(server, "create")?, Duration::from_secs(60)).map(drop)
}

fn produce(server: &Server, seconds: f64) -> Result<Command> {
    let mut command = load_command(server, "produce")?;
    command.args(["--connections", "4", "--depth", "5"]);
    command.args(["--batch-bytes", &BATCH_BYTES.to_string()]);
    command.args(["--warm-up", "0", "--seconds", &seconds.to_string()]);
    Ok(command)
}

fn fill(server: &Server, gigabytes: f64) -> Result<()> {
    let mut written = 0.0;
    while written < gigabytes {
        let output = run(&mut produce(server, LOAD.as_secs_f64())?, Duration::from_secs(120))?;
        let report: crate::load::Report = serde_json::from_slice(&output.stdout)?;
        written += report.bytes as f64 / 1e9;
    }
    Ok(())
}

/// Kills the broker under load, and gives how long it is until it takes a record again.
fn kill_and_restart(server: &mut Server, directory: &Path) -> Result<Duration> {
    let mut load = produce(server, READY_LIMIT.as_secs_f64())?;
    let load = Background::start(&mut load, &directory.join("load.log"))?;
    thread::sleep(LOAD);
    server.kill()?;
    drop(load);
    let begun = Instant::now();
    server.restart()?;
    let is_taken = || Ok(crate::load::takes_a_batch(&server.address(), "log").then_some(()));
    wait_for("a record to be taken", READY_LIMIT, is_taken)?;
    Ok(begun.elapsed())
}

fn resident(server: &Server) -> Result<f64> {
    let process = server.process_id().context("it runs")?;
    Ok(mebibytes(tests::server::resident_bytes_of(process)?))
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
