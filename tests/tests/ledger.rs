//! What was acknowledged survives SIGKILL: producers write and readers read, the broker is killed at
//! random moments and restarted, and at the end everything is read back. All of it is a history,
//! and the checks that judge simulated runs judge it.
//!
//! In: `KLAMM_LEDGER_ROUNDS` (kills, default 10), `KLAMM_LEDGER_SEED` (printed; the same seed
//! chooses the same moments, though not the same interleaving).

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use history::{History, Promise};
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use tests::child::wait_for;
use tests::driver::Driver;
use tests::install::{self, Tool};
use tests::ledger::foreign::Writers;
use tests::ledger::own::{Clients, Crew};
use tests::ledger::{self, Ledger, damage, foreign, own};
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Peer, Server};

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 5;

/// The producers of klamm's own client.
const OWN: [Promise; 7] = [
    Promise::Idempotent,
    Promise::Idempotent,
    Promise::Idempotent,
    Promise::AtLeastOnce,
    Promise::AtLeastOnce,
    Promise::AtMostOnce,
    Promise::AtMostOnce,
];

const READERS: u32 = 2;

/// Longest time that a client may go without a new answer while the broker is up.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);

/// Kills of the run whose history is damaged.
const DAMAGED_ROUNDS: u64 = 2;

/// Kills and restarts are what is measured: one broker at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn acknowledged_records_survive_sigkill_with_our_client() {
    survives_sigkill(rounds(), None);
}

#[test]
fn acknowledged_records_survive_sigkill_with_franz_go() {
    if !install::skips_without(&[Tool::Go]) {
        survives_sigkill(rounds(), Some(|| Ok(Command::new(install::go_program("ledger")?))));
    }
}

#[test]
fn acknowledged_records_survive_sigkill_with_java() {
    if install::skips_without(&[Tool::Go, Tool::Java, Tool::Maven]) {
        return;
    }
    let command = || {
        let mut command = Command::new("java");
        let classpath = install::java_classpath("4.3.0")?;
        command.args(["-Xmx512M", "-XX:+UseSerialGC", "-cp", &classpath, "driver.Ledger"]);
        Ok(command)
    };
    survives_sigkill(rounds(), Some(command));
}

/// What is written down is enough to fail: each damage to it has its name.
#[test]
fn damage_to_a_recorded_history_is_named() {
    let history = survives_sigkill(DAMAGED_ROUNDS, None);
    for damage in damage::ALL {
        let mut damaged = history.clone();
        (damage.make)(&mut damaged).unwrap_or_else(|error| panic!("{}: {error:#}", damage.name));
        let violations = damaged.check().violations;
        let named = violations.first().map(|violation| violation.anomaly);
        let few: Vec<String> = violations.iter().take(5).map(ToString::to_string).collect();
        assert_eq!(named, damage.named, "{}: {few:#?}", damage.name);
    }
}

/// Writers of a foreign client.
type Foreign = fn() -> Result<Command>;

fn survives_sigkill(rounds: u64, writers: Option<Foreign>) -> History {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = number("KLAMM_LEDGER_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("KLAMM_LEDGER_SEED={seed} KLAMM_LEDGER_ROUNDS={rounds}");
    let directory = tempfile::Builder::new().prefix("klamm-ledger-").tempdir();
    let directory = directory.expect("a temporary directory can be made");
    let ledger = Arc::new(Ledger::new(TOPIC, PARTITIONS));
    let outcome = run(&ledger, directory.path(), rounds, seed, writers)
        .and_then(|()| ledger::judge(&ledger.history()));
    match outcome {
        Ok(figures) => println!("{rounds} kills: {figures}"),
        Err(error) => {
            // The directory is the evidence.
            let kept = directory.keep();
            let written = ledger::write(&ledger.history(), &kept.join("history"));
            panic!("seed {seed}, kept in {} ({written:?}): {error:#}", kept.display());
        }
    }
    ledger.history()
}

fn rounds() -> u64 {
    number("KLAMM_LEDGER_ROUNDS").unwrap_or(10)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

fn run(
    ledger: &Arc<Ledger>,
    directory: &Path,
    rounds: u64,
    seed: u64,
    writers: Option<Foreign>,
) -> Result<()> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut server = Server::start(&Peer::from_environment()?, directory)?;
    let address = server.address();
    // Small segments, so that kills also meet rolls.
    let settings = [("segment.bytes", "1048576"), ("retention.ms", "-1")];
    own::create_topic(ledger, &address, &settings)?;
    let foreign = writers.map(|command| Writers::start(command()?, &address, directory, ledger));
    let mut foreign = foreign.transpose()?;
    let crew = Crew {
        producers: if foreign.is_none() { OWN.to_vec() } else { vec![] },
        readers: READERS,
        deletes: matches!(server, Server::Klamm(_)),
    };
    let clients = Clients::start(ledger, &address, seed, &crew);
    for round in 0..rounds {
        progress(ledger, &mut foreign)
            .with_context(|| format!("round {round}: {}", server.log_tail()))?;
        thread::sleep(Duration::from_millis(random.next_u64() % 1_200));
        crash(&mut server, &mut random).with_context(|| format!("round {round}"))?;
        if let Server::Klamm(klamm) = &server {
            println!("round {round}: ready {:?} after its start", klamm.ready_after());
        }
    }
    progress(ledger, &mut foreign).with_context(|| server.log_tail())?;
    let is_foreign = foreign.is_some();
    foreign.map(Writers::stop).transpose()?;
    clients.stop()?;
    // The last word is what a recovery leaves, not what a page cache of the broker's own holds.
    server.kill()?;
    server.restart()?;
    let stored = if is_foreign {
        foreign::read_all(&mut start_reader(&server, directory)?, ledger)?
    } else {
        own::read_all(ledger, &address)?
    };
    for (partition, stored) in stored {
        ledger.stored(partition, stored);
    }
    Ok(())
}

/// Waits until every client that waits for answers has had a new one.
fn progress(ledger: &Ledger, foreign: &mut Option<Writers>) -> Result<()> {
    let before = ledger.progress();
    let progressed = wait_for("an answer to each client", PROGRESS_LIMIT, || {
        foreign.as_mut().map_or(Ok(()), Writers::check)?;
        let now = ledger.progress();
        Ok(before.iter().zip(&now).all(|(before, now)| before < now).then_some(()))
    });
    progressed.with_context(|| format!("before {before:?}, now {:?}", ledger.progress()))
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

/// The last reader is not of the writers' making, nor of the broker's.
fn start_reader(server: &Server, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&server.address())?;
    let settles = !matches!(server, Server::Klamm(_));
    Driver::start(&mut command, &directory.join("reader.log"), settles)
}
