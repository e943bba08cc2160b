//! What was acknowledged survives SIGKILL: producers write, the broker is killed at random moments
//! and restarted, and at the end the ledger is held against the log.
//!
//! In: `KLAMM_LEDGER_ROUNDS` (kills, default 10), `KLAMM_LEDGER_SEED` (printed; the same seed
//! chooses the same moments, though not the same interleaving).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use serde_json::json;
use tests::child::{Background, wait_for};
use tests::driver::{Driver, Range};
use tests::install::{self, Tool};
use tests::ledger::{Entry, Ledger};
use tests::matrix::clients::FRANZ_GO;
use tests::record::ReadRecord;
use tests::server::{Peer, Server};

const TOPIC: &str = "ledger";
const PARTITIONS: u32 = 5;
const IDEMPOTENT: u32 = 4;
const PLAIN: u32 = 2;

/// Longest time that producers may go without a new acknowledgement while the broker is up.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);

/// Kills and restarts are what is measured: one broker at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn acknowledged_records_survive_sigkill_with_franz_go() {
    survives_sigkill(&[Tool::Go], || Ok(Command::new(install::go_program("ledger")?)));
}

#[test]
fn acknowledged_records_survive_sigkill_with_java() {
    survives_sigkill(&[Tool::Go, Tool::Java, Tool::Maven], || {
        let mut command = Command::new("java");
        let classpath = install::java_classpath("4.3.0")?;
        command.args(["-Xmx512M", "-XX:+UseSerialGC", "-cp", &classpath, "driver.Ledger"]);
        Ok(command)
    });
}

fn survives_sigkill(tools: &[Tool], writers: fn() -> Result<Command>) {
    if install::skips_without(tools) {
        return;
    }
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = number("KLAMM_LEDGER_ROUNDS").unwrap_or(10);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = number("KLAMM_LEDGER_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("KLAMM_LEDGER_SEED={seed} KLAMM_LEDGER_ROUNDS={rounds}");
    let directory = tempfile::Builder::new().prefix("klamm-ledger-").tempdir();
    let directory = directory.expect("a temporary directory can be made");
    let random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let outcome = writers().and_then(|writers| run(directory.path(), rounds, random, writers));
    if let Err(error) = outcome {
        // The directory is the evidence.
        let kept = directory.keep();
        panic!("seed {seed}, data kept in {}: {error:#}", kept.display());
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

fn run(
    directory: &Path,
    rounds: u64,
    mut random: Xoshiro256PlusPlus,
    writers: Command,
) -> Result<()> {
    let mut server = Server::start(&Peer::from_environment()?, directory)?;
    let mut reader = start_reader(&server, directory)?;
    let partitions = i32::try_from(PARTITIONS)?;
    // Small segments, so that kills also meet rolls.
    reader.create_topic(TOPIC, partitions, &json!({"segment.bytes": "1048576"}))?;
    let mut writers = Writers::start(writers, &server.address(), directory)?;
    for round in 0..rounds {
        writers.progress().with_context(|| format!("round {round}: {}", server.log_tail()))?;
        thread::sleep(Duration::from_millis(random.next_u64() % 1_200));
        crash(&mut server, &mut random).with_context(|| format!("round {round}"))?;
        if let Server::Klamm(klamm) = &server {
            println!("round {round}: ready {:?} after its start", klamm.ready_after());
        }
    }
    writers.progress().with_context(|| server.log_tail())?;
    let entries = writers.stop()?;
    // The last word is what a recovery leaves, not what a page cache of the broker's own holds.
    server.kill()?;
    server.restart()?;
    let mut reader = start_reader(&server, directory)?;
    let stored = read_topic(&mut reader)?;
    let ledger = Ledger { partitions: PARTITIONS, idempotent: IDEMPOTENT, entries };
    match ledger.check(&stored) {
        Ok(figures) => println!("{rounds} kills: {figures:?}"),
        Err(violations) => {
            let few: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
            bail!("{} violations, the first of them:\n{}", violations.len(), few.join("\n"));
        }
    }
    Ok(())
}

/// Mostly a plain kill; at times one more while it starts, at times a controlled stop.
fn crash(server: &mut Server, random: &mut Xoshiro256PlusPlus) -> Result<()> {
    let kind = random.next_u64() % 6;
    if kind == 0 {
        server.stop()?;
    } else {
        server.kill()?;
    }
    if let (1 | 2, Server::Klamm(klamm)) = (kind, &mut *server) {
        klamm.restart_and_kill(Duration::from_millis(random.next_u64() % 60))?;
    }
    server.restart()
}

fn start_reader(server: &Server, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&server.address())?;
    let settles = !matches!(server, Server::Klamm(_));
    Driver::start(&mut command, &directory.join("reader.log"), settles)
}

fn read_topic(reader: &mut Driver) -> Result<BTreeMap<i32, Vec<ReadRecord>>> {
    let mut stored = BTreeMap::new();
    for partition in 0..i32::try_from(PARTITIONS)? {
        let end = reader.offset_for(TOPIC, partition, "latest")?.0.context("latest")?;
        let mut records = vec![];
        let mut from = 0;
        while from < end {
            let until = end.min(from + 20_000);
            records.extend(reader.fetch(&[Range {
                topic: TOPIC,
                partition,
                from,
                end: until,
            }])??);
            from = until;
        }
        stored.insert(partition, records);
    }
    Ok(stored)
}

/// The producers, in a process of their own that outlives every kill.
struct Writers {
    process: Background,
    book: PathBuf,
    /// Copies the ledger to `book` until the writers close it.
    scribe: JoinHandle<std::io::Result<u64>>,
    seen: u64,
}

impl Writers {
    fn start(mut command: Command, address: &str, directory: &Path) -> Result<Writers> {
        command.args([address, TOPIC]);
        command.args([PARTITIONS, IDEMPOTENT, PLAIN].map(|number| number.to_string()));
        let mut process = Background::start_piped(&mut command, &directory.join("writers.log"))?;
        let book = directory.join("book");
        let mut stdout = process.child().stdout.take().context("stdout of the writers")?;
        let mut file = std::fs::File::create(&book)?;
        let scribe = thread::spawn(move || std::io::copy(&mut stdout, &mut file));
        Ok(Writers { process, book, scribe, seen: 0 })
    }

    /// Waits until the ledger has grown since the last call.
    fn progress(&mut self) -> Result<()> {
        let before = std::fs::metadata(&self.book)?.len().max(self.seen);
        self.seen = wait_for("an acknowledgement", PROGRESS_LIMIT, || {
            if let Some(status) = self.process.ended()? {
                bail!("the writers ended with {status}: {}", self.process.log_tail());
            }
            let now = std::fs::metadata(&self.book)?.len();
            Ok((now > before).then_some(now))
        })?;
        Ok(())
    }

    /// Lets them finish what they have begun, and gives the whole ledger.
    fn stop(mut self) -> Result<Vec<Entry>> {
        drop(self.process.child().stdin.take());
        let status =
            wait_for("the end of the writers", Duration::from_secs(90), || self.process.ended())?;
        if !status.success() {
            bail!("the writers ended with {status}: {}", self.process.log_tail());
        }
        self.scribe.join().map_err(|_| anyhow!("the scribe panicked"))??;
        let mut text = String::new();
        std::fs::File::open(&self.book)?.read_to_string(&mut text)?;
        text.lines().map(str::parse).collect()
    }
}
