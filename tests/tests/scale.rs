//! 10,000 partitions on one broker: creation, a record to each of them, memory, descriptors, restart.
//!
//! Out: figures, and bounds that hold on a busy machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::driver::Driver;
use tests::install::{self, Tool};
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Klamm, KlammOptions};

const TOPICS: u64 = 10;
const PARTITIONS: i32 = 1_000;

/// What the design allows for all of them.
const OPEN_FILES_MAX: usize = 20_000;
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

#[test]
fn ten_thousand_partitions() {
    if install::skips_without(&[Tool::Go]) {
        return;
    }
    let directory = tempfile::Builder::new().prefix("klamm-scale-").tempdir().unwrap();
    scale(directory.path()).unwrap_or_else(|error| panic!("{error:#}"));
}

fn scale(directory: &Path) -> Result<()> {
    let mut options = KlammOptions::in_directory(&directory.join("data"));
    options.ready_limit = Duration::from_secs(60);
    let mut klamm = Klamm::start(options)?;
    let mut driver = start(&klamm, directory)?;
    let begun = Instant::now();
    for topic in 0..TOPICS {
        driver.create_topic(&format!("scale-{topic}"), PARTITIONS, &json!({}))?;
    }
    println!("10,000 partitions created in {:?}: {}", begun.elapsed(), state(&klamm)?);
    for round in ["first", "second"] {
        let answer = everywhere(&mut driver)?;
        println!("{round} record to each: {} ms: {}", answer["milliseconds"], state(&klamm)?);
    }
    klamm.kill()?;
    klamm.restart().with_context(|| klamm.log_tail())?;
    println!("ready {:?} after SIGKILL: {}", klamm.ready_after(), state(&klamm)?);
    let mut driver = start(&klamm, directory)?;
    let end = driver.offset_for("scale-3", 777, "latest")?.0;
    ensure!(end == Some(2), "the end of a partition is {end:?}");
    everywhere(&mut driver)?;
    let begun = Instant::now();
    klamm.stop()?;
    println!("controlled stop in {:?}", begun.elapsed());
    klamm.restart()?;
    println!("ready {:?} after SIGTERM: {}", klamm.ready_after(), state(&klamm)?);
    let mut driver = start(&klamm, directory)?;
    let answer = everywhere(&mut driver)?;
    println!("a record to each after the restart: {} ms", answer["milliseconds"]);
    ensure!(klamm.open_files()? < OPEN_FILES_MAX, "{} open files", klamm.open_files()?);
    ensure!(klamm.resident_bytes()? < RESIDENT_BYTES_MAX, "{}", state(&klamm)?);
    ensure!(klamm.ready_after() < Duration::from_secs(30), "{:?}", klamm.ready_after());
    Ok(())
}

fn everywhere(driver: &mut Driver) -> Result<Value> {
    let answer = driver.expect(json!({
        "op": "produce_everywhere", "topic": "scale-", "codec": "none", "acks": -1,
        "idempotent": true, "bytes_max": 1_000_000, "value_bytes": 100,
    }))?;
    let due = TOPICS * u64::try_from(PARTITIONS)?;
    ensure!(answer["records"] == due, "{answer}");
    Ok(answer)
}

fn state(klamm: &Klamm) -> Result<String> {
    let mebibytes = klamm.resident_bytes()? >> 20;
    Ok(format!("{mebibytes} MiB resident, {} open files", klamm.open_files()?))
}

fn start(klamm: &Klamm, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&klamm.address())?;
    Driver::start(&mut command, &directory.join("driver.log"), false)
}
