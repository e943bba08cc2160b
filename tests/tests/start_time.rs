//! Time to ready: of an empty broker, and after SIGKILL with 1,000 partitions and gigabytes of log.
//!
//! In: `KLAMM_TEST_GIGABYTES` (default 2). Out: figures, and bounds that hold on a busy machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::driver::Driver;
use tests::install::{self, Tool};
use tests::matrix::clients::FRANZ_GO;
use tests::server::{Klamm, KlammOptions};

/// Milliseconds to seconds, said the design; a machine with other work to do gets this much.
const READY_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn an_empty_broker_is_ready_at_once() {
    let directory = tempfile::Builder::new().prefix("klamm-start-").tempdir().unwrap();
    let options = KlammOptions::in_directory(&directory.path().join("data"));
    let mut klamm = Klamm::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let resident = klamm.resident_bytes().unwrap() / 1024;
    println!("empty: ready after {:?}, {resident} KiB resident", klamm.ready_after());
    klamm.stop().unwrap();
    klamm.restart().unwrap_or_else(|error| panic!("{error:#}"));
    println!("stopped and started: ready after {:?}", klamm.ready_after());
    assert!(klamm.ready_after() < Duration::from_secs(2), "{:?}", klamm.ready_after());
    assert!(resident < 100 * 1024, "{resident} KiB");
}

#[test]
fn a_thousand_partitions_with_gigabytes_restart_in_seconds() {
    if install::skips_without(&[Tool::Go]) {
        return;
    }
    let directory = tempfile::Builder::new().prefix("klamm-restart-").tempdir().unwrap();
    restarts(directory.path()).unwrap_or_else(|error| panic!("{error:#}"));
}

fn restarts(directory: &Path) -> Result<()> {
    let gigabytes = std::env::var("KLAMM_TEST_GIGABYTES").ok();
    let gigabytes: u64 = gigabytes.as_deref().unwrap_or("2").parse()?;
    // The bytes have to be there, not to be slow in coming: acknowledged from the page cache.
    let options = KlammOptions::in_directory(&directory.join("data"));
    let mut klamm = Klamm::start(options.set("klamm.durability", "os"))?;
    let mut driver = start(&klamm, directory)?;
    let begun = Instant::now();
    for topic in 0..10 {
        driver.create_topic(&format!("start-{topic}"), 100, &json!({}))?;
    }
    println!("1,000 partitions created in {:?}", begun.elapsed());
    let begun = Instant::now();
    let mut records = 0;
    while records * 500_000 < gigabytes * 1_000_000_000 {
        let answer = driver.expect(json!({
            "op": "produce_everywhere", "topic": "start-", "codec": "none", "acks": -1,
            "idempotent": true, "bytes_max": 1_000_000, "value_bytes": 500_000,
        }))?;
        records += answer["records"].as_u64().context("records")?;
    }
    println!("{records} records of 500 kB written in {:?}", begun.elapsed());
    klamm.kill()?;
    klamm.restart().with_context(|| klamm.log_tail())?;
    let killed = klamm.ready_after();
    let mut driver = start(&klamm, directory)?;
    let end = driver.offset_for("start-7", 42, "latest")?.0.context("latest")?;
    ensure!(u64::try_from(end)? == records / 1_000, "{end} of {} records", records / 1_000);
    klamm.stop()?;
    klamm.restart()?;
    println!(
        "1,000 partitions, {gigabytes} GB: ready {killed:?} after SIGKILL, {:?} after SIGTERM",
        klamm.ready_after()
    );
    ensure!(killed < READY_LIMIT, "{killed:?} after SIGKILL");
    ensure!(klamm.ready_after() < READY_LIMIT, "{:?} after SIGTERM", klamm.ready_after());
    Ok(())
}

fn start(klamm: &Klamm, directory: &Path) -> Result<Driver> {
    let mut command = (FRANZ_GO.command)(&klamm.address())?;
    Driver::start(&mut command, &directory.join("driver.log"), false)
}
