//! A producer that never rests while something happens to a group, and that none of what it wrote
//! is skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::driver::{Driver, Produce};
use crate::group::{Event, Group, LIMIT};
use crate::record::{BASE_TIME, Record};

const RECORDS_PER_REQUEST: u32 = 20;

/// Writes to random partitions of the group's topic while `body` runs; gives the values that were
/// acknowledged.
pub(super) fn beside_a_producer(
    group: &mut Group<'_>,
    producer: &mut Driver,
    seed: u64,
    body: impl FnOnce(&mut Group<'_>) -> Result<()>,
) -> Result<Vec<String>> {
    let topic = group.name.clone();
    let partitions = u64::try_from(group.ends().len())?;
    let rests = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(producer, &topic, partitions, seed, &rests));
        let done = body(group);
        rests.store(true, Ordering::Release);
        let written = writer.join().map_err(|_| anyhow!("the writer panicked"))?;
        done?;
        written
    })
}

fn write(
    producer: &mut Driver,
    topic: &str,
    partitions: u64,
    seed: u64,
    rests: &AtomicBool,
) -> Result<Vec<String>> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 1);
    let mut acknowledged = Vec::new();
    let mut count = 0;
    while !rests.load(Ordering::Acquire) {
        let values: Vec<String> =
            (0..RECORDS_PER_REQUEST).map(|i| format!("flow {}", count + i)).collect();
        count += RECORDS_PER_REQUEST;
        let records: Vec<Record> =
            values.iter().map(|value| Record::new("k", value, BASE_TIME)).collect();
        let partition = i32::try_from(below(&mut random, partitions))?;
        let how = Produce { partition, ..Produce::to(topic) };
        // What was refused may be there or not: nobody was promised anything.
        if producer.produce(&how, &records)?.is_ok() {
            acknowledged.extend(values);
        }
    }
    Ok(acknowledged)
}

/// A number below `limit`.
pub(super) fn below(random: &mut impl Rng, limit: u64) -> u64 {
    random.next_u64() % limit
}

/// Waits until the members have read a little more.
pub(super) fn goes_on(group: &mut Group<'_>) -> Result<()> {
    let before = reads(group);
    group.wait("more to be read", LIMIT, |group| reads(group) > before + 5).map(drop)
}

/// How many batches the members have read.
fn reads(group: &Group<'_>) -> usize {
    let is_read = |event: &&Event| matches!(event, Event::Read(..));
    (0..group.count()).map(|index| group.history(index).filter(is_read).count()).sum()
}

/// Everything that the topic holds is read, and what was acknowledged is among it.
pub(super) fn is_read(group: &mut Group<'_>, acknowledged: &[String]) -> Result<()> {
    let partitions: Vec<i32> = group.ends().keys().copied().collect();
    let mut ends = BTreeMap::new();
    for partition in partitions {
        let end = group.driver.offset_for(&group.name, partition, "latest")?.0;
        ends.insert(partition, end.context("end of a partition")?);
    }
    let total: i64 = ends.values().sum();
    group.set_ends(ends);
    group.wait_read()?;
    group.settle()?;
    let read: BTreeSet<&str> = group.values().collect();
    let skipped = acknowledged.iter().find(|value| !read.contains(value.as_str()));
    ensure!(skipped.is_none(), "{skipped:?} was acknowledged and never read");
    ensure!(!acknowledged.is_empty(), "nothing was acknowledged");
    println!("{} records acknowledged, {total} written, all read", acknowledged.len());
    Ok(())
}

/// More records come when all is calm again, are read, and committed with all that was before them: a
/// commit that failed with the broker is made up for by the next one of its partition.
pub(super) fn calm(group: &mut Group<'_>, records: i64) -> Result<()> {
    group.produce(records)?;
    group.wait_read()?;
    group.wait_all_committed()
}
