//! Six members of two libraries, a producer that never rests, and SIGKILL for members and for the
//! broker, in random order.
//!
//! In: `KLAMM_GROUP_KILLS` (default 8), `KLAMM_TEST_SEED` (default: drawn, and told). Out: nothing
//! that was acknowledged is skipped, nothing that was committed is read again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::driver::{Driver, Produce};
use crate::group::{Event, Group, Kind, LIMIT, Options};
use crate::matrix::clients::FRANZ_GO;
use crate::record::{BASE_TIME, Record};
use crate::server::Server;
use crate::suite::{Case, Lab};

const PARTITIONS: i32 = 12;
const RECORDS_PER_REQUEST: u32 = 20;

/// The case for two kinds, three members of each.
pub fn storm(first: &'static Kind, second: &'static Kind) -> Case {
    let name = format!("storm::{}_and_{}", first.name, second.name);
    let topic = name.clone();
    let body =
        move |lab: &Lab| lab.mortal(|server| run(lab, server, &lab.topic(&topic), [first, second]));
    let tools = [first.client.tools, second.client.tools, FRANZ_GO.tools].concat();
    Case::new(name, body).with_tools(&tools)
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| variable.to_owned())).transpose()
}

fn run(lab: &Lab, server: &mut Server, name: &str, kinds: [&'static Kind; 2]) -> Result<()> {
    let seed = match number("KLAMM_TEST_SEED")? {
        Some(seed) => seed,
        None => u64::from(std::process::id()),
    };
    let address = server.address();
    let start = |what: &str| -> Result<Driver> {
        let log = lab.path().join(format!("{name}-{what}.log"));
        Driver::start(&mut (FRANZ_GO.command)(&address)?, &log, lab.settles())
    };
    let mut driver = start("driver")?;
    let mut producer = start("producer")?;
    let mut group = Group::new(name, PARTITIONS, &address, lab.path(), &mut driver)?;
    group.gather(kinds[0], 3, &Options::default())?;
    group.gather(kinds[1], 3, &Options::default())?;
    let rests = AtomicBool::new(false);
    let acknowledged = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut producer, name, seed, &rests));
        let raged = rage(&mut group, server, seed);
        rests.store(true, Ordering::Release);
        let written = writer.join().map_err(|_| anyhow!("the writer panicked"))?;
        raged.with_context(|| format!("KLAMM_TEST_SEED={seed}"))?;
        written
    })?;
    check(&mut group, &acknowledged).with_context(|| format!("KLAMM_TEST_SEED={seed}"))
}

/// Writes until told to rest; gives the values that were acknowledged.
fn write(producer: &mut Driver, topic: &str, seed: u64, rests: &AtomicBool) -> Result<Vec<String>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 1);
    let mut acknowledged = Vec::new();
    let mut count = 0;
    while !rests.load(Ordering::Acquire) {
        let values: Vec<String> =
            (0..RECORDS_PER_REQUEST).map(|i| format!("record {}", count + i)).collect();
        count += RECORDS_PER_REQUEST;
        let records: Vec<Record> =
            values.iter().map(|value| Record::new("k", value, BASE_TIME)).collect();
        let partition = below(&mut random, u64::from(PARTITIONS.unsigned_abs()));
        let how = Produce { partition: i32::try_from(partition)?, ..Produce::to(topic) };
        // What was refused may be there or not: nobody was promised anything.
        if producer.produce(&how, &records)?.is_ok() {
            acknowledged.extend(values);
        }
    }
    Ok(acknowledged)
}

fn below(random: &mut Xoshiro256PlusPlus, limit: u64) -> u64 {
    random.next_u64() % limit
}

/// Kills, and lets the group go on a little or settle, in an order that the seed draws. Members are
/// replaced by others of their kind.
fn rage(group: &mut Group<'_>, server: &mut Server, seed: u64) -> Result<()> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    for kill in 0..number("KLAMM_GROUP_KILLS")?.unwrap_or(8) {
        // Both kinds of kills happen in every run, however short.
        if kill == 1 || (kill > 1 && below(&mut random, 3) == 0) {
            server.kill()?;
            server.restart()?;
        } else {
            let here = group.here();
            let victim = here[usize::try_from(below(&mut random, here.len() as u64))?];
            let kind = group.kind(victim);
            group.kill(victim)?;
            group.join(kind, &Options::default())?;
        }
        if below(&mut random, 2) == 0 {
            group.settle()?;
        } else {
            let read = reads(group);
            group.wait("more to be read", LIMIT, |group| reads(group) > read + 5)?;
        }
    }
    Ok(())
}

/// How many batches the members have read.
fn reads(group: &Group<'_>) -> usize {
    let is_read = |event: &&Event| matches!(event, Event::Read(..));
    (0..group.count()).map(|index| group.history(index).filter(is_read).count()).sum()
}

fn check(group: &mut Group<'_>, acknowledged: &[String]) -> Result<()> {
    let mut ends = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let end = group.driver.offset_for(&group.name, partition, "latest")?.0;
        ends.insert(partition, end.context("end of a partition")?);
    }
    let total: i64 = ends.values().sum();
    group.set_ends(ends);
    group.wait_read()?;
    group.settle()?;
    group.wait_all_committed()?;
    let read: std::collections::BTreeSet<&str> = group.values().collect();
    let skipped = acknowledged.iter().find(|value| !read.contains(value.as_str()));
    ensure!(skipped.is_none(), "{skipped:?} was acknowledged and never read");
    ensure!(!acknowledged.is_empty(), "nothing was acknowledged");
    println!("{} records acknowledged, {total} written, all read", acknowledged.len());
    group.disperse()
}
