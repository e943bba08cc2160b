//! Compaction: what stays, what goes, and crashes on the way.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset};
use proptest::prelude::*;
use protocol::records::{Batch, Scratch};
use storage::{
    AppendBatch, CleanupPolicy, CompactionStats, Log, LogConfig, LogDir, ProducerDescription,
};

use crate::basics::{read_all, small};
use crate::support::batches::{keyed_batch, split};
use crate::support::{DIR, Producer, World, run};

const MEMORY: usize = 1 << 20;

pub(crate) fn compacted() -> LogConfig {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    LogConfig { cleanup, delete_retention_ms: 1000, min_cleanable_dirty_permille: 1, ..small() }
}

/// Everything that is written is in closed segments afterwards, and below the recovery point.
fn close_segments(world: &World, dir: &LogDir, log: &mut Log) {
    let filler = "z".repeat(1900);
    for key in ["filler-a", "filler-b"] {
        let batch = keyed_batch(&[(Some(key), Some(&filler))], world.now().0);
        run(log.append(vec![batch], LeaderEpoch(0), world.now()));
    }
    run(log.sync()).unwrap();
    run(dir.checkpoint()).unwrap();
}

fn compact(world: &World, log: &mut Log) -> Option<CompactionStats> {
    let limit = log.log_end();
    let compaction = run(log.begin_compaction(limit, world.now(), MEMORY)).unwrap()?;
    let done = run(compaction.run()).unwrap();
    Some(run(log.finish_compaction(done)).unwrap())
}

fn put(world: &World, log: &mut Log, batch: AppendBatch) {
    let outcomes = run(log.append(vec![batch], LeaderEpoch(0), world.now()));
    assert!(matches!(outcomes[0], storage::AppendOutcome::Appended { .. }), "{outcomes:?}");
}

type Found = (i64, Option<String>, Option<String>);

fn records(batches: &[Batch]) -> Vec<Found> {
    let mut found = Vec::new();
    for batch in batches.iter().filter(|batch| !batch.header.attributes.is_control()) {
        let records = batch.records(1 << 20, &mut Scratch::new()).unwrap();
        for record in &records {
            let record = record.unwrap();
            let text = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            found.push((record.offset.0, text(record.key), text(record.value)));
        }
    }
    found
}

/// All records that are not filler.
fn content(log: &Log) -> Vec<Found> {
    let start = log.log_start().0;
    let mut all = records(&split(&read_all(log, start)));
    all.retain(|(_, key, _)| key.as_ref().is_none_or(|key| !key.starts_with("filler")));
    all
}

fn found(offset: i64, key: &str, value: Option<&str>) -> Found {
    (offset, Some(key.to_owned()), value.map(str::to_owned))
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    let now = world.now().0;
    put(&world, &mut log, keyed_batch(&[(Some("a"), Some("1")), (Some("b"), Some("1"))], now));
    put(&world, &mut log, keyed_batch(&[(Some("a"), Some("2")), (Some("c"), Some("1"))], now));
    put(&world, &mut log, keyed_batch(&[(Some("a"), Some("3"))], now));
    put(&world, &mut log, keyed_batch(&[(None, Some("no key"))], now));
    assert!(run(log.begin_compaction(log.log_end(), world.now(), MEMORY)).unwrap().is_none());
    close_segments(&world, &dir, &mut log);
    let stats = compact(&world, &mut log).unwrap();
    assert!(stats.records_kept < stats.records_read);
    let expected = [found(1, "b", Some("1")), found(3, "c", Some("1")), found(4, "a", Some("3"))];
    assert_eq!(content(&log), expected);
    // Nothing new: nothing to do.
    assert!(compact(&world, &mut log).is_none());
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    assert_eq!(content(&log), expected);
    // A later value replaces one that an earlier round kept.
    put(&world, &mut log, keyed_batch(&[(Some("b"), Some("2"))], world.now().0));
    close_segments(&world, &dir, &mut log);
    compact(&world, &mut log).unwrap();
    let keys: Vec<String> = content(&log).into_iter().filter_map(|record| record.1).collect();
    assert_eq!(keys, ["c", "a", "b"]);
}

#[test]
fn a_tombstone_goes_after_the_horizon_of_its_first_round() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    put(&world, &mut log, keyed_batch(&[(Some("a"), Some("1"))], world.now().0));
    put(&world, &mut log, keyed_batch(&[(Some("a"), None)], world.now().0));
    close_segments(&world, &dir, &mut log);
    compact(&world, &mut log).unwrap();
    assert_eq!(content(&log), [found(1, "a", None)]);
    // Later rounds do not put it off (KAFKA-8522).
    for _ in 0..2 {
        world.clock.advance_ms(499);
        close_segments(&world, &dir, &mut log);
        compact(&world, &mut log).unwrap();
        assert_eq!(content(&log), [found(1, "a", None)]);
    }
    world.clock.advance_ms(2);
    close_segments(&world, &dir, &mut log);
    compact(&world, &mut log).unwrap();
    assert_eq!(content(&log), []);
}

#[test]
fn nothing_at_or_past_the_limit_is_touched() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    for n in 0..30 {
        let value = format!("{n}-{}", "v".repeat(300));
        put(&world, &mut log, keyed_batch(&[(Some("a"), Some(&value))], world.now().0));
    }
    close_segments(&world, &dir, &mut log);
    let compaction = run(log.begin_compaction(Offset(12), world.now(), MEMORY)).unwrap().unwrap();
    let done = run(compaction.run()).unwrap();
    run(log.finish_compaction(done)).unwrap();
    let offsets: Vec<i64> = content(&log).iter().map(|record| record.0).collect();
    let kept_from = offsets[1];
    assert!(kept_from <= 12, "{offsets:?}");
    assert_eq!(offsets[1..], (kept_from..30).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_a_checkpoint_still_has_to_sync_is_left_alone() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    let value = "v".repeat(1900);
    let put_one = |log: &mut Log| {
        put(&world, log, keyed_batch(&[(Some("k"), Some(&value))], world.now().0));
        run(log.sync()).unwrap();
    };
    (0..3).for_each(|_| put_one(&mut log));
    // The recovery point is the end of the active segment, which is closed by the next append.
    run(dir.checkpoint()).unwrap();
    put_one(&mut log);
    let stats = compact(&world, &mut log);
    assert!(stats.is_some(), "the segments before it are compacted");
    run(dir.checkpoint()).unwrap();
    assert!(!log.is_offline());
    let stats = compact(&world, &mut log);
    assert!(stats.is_some(), "after the checkpoint it is compacted too");
    run(dir.checkpoint()).unwrap();
    assert!(!log.is_offline());
}

#[test]
fn the_last_batch_of_a_producer_stays_even_empty() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    let p = Producer::new(9);
    let now = world.now().0;
    for n in 0..3 {
        put(&world, &mut log, p.batch(n, 1, now));
    }
    put(&world, &mut log, keyed_batch(&[(Some("k"), Some("by another"))], now));
    close_segments(&world, &dir, &mut log);
    compact(&world, &mut log).unwrap();
    assert_eq!(content(&log), [found(3, "k", Some("by another"))]);
    let known = log.producers();
    run(log.close()).unwrap();
    // Without any snapshot the state has to come from the batches.
    for name in world.disk.names(&format!("{DIR}/t-0")) {
        if name.ends_with(".snapshot") {
            world.disk.damage(&format!("{DIR}/t-0/{name}"), Vec::clear);
        }
    }
    let mut log = world.open_log(&dir, "t-0", &compacted());
    // The two batches before it are compacted away; nothing else is forgotten.
    let last = known[0].batches[2..].to_vec();
    assert_eq!(log.producers(), [ProducerDescription { batches: last, ..known[0].clone() }]);
    put(&world, &mut log, p.batch(3, 1, now));
}

#[test]
fn aborted_data_goes_and_markers_outlive_their_data() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    let (p, q) = (Producer::new(1), Producer::new(2));
    let now = world.now().0;
    put(&world, &mut log, keyed_batch(&[(Some("k"), Some("first"))], now));
    put(&world, &mut log, p.txn_batch(0, 1, now));
    put(&world, &mut log, p.marker(false, 0, now));
    put(&world, &mut log, q.txn_batch(0, 1, now));
    put(&world, &mut log, q.marker(true, 0, now));
    put(&world, &mut log, keyed_batch(&[(Some("k"), Some("last"))], now));
    // Other batches of the same producers, so that these are not their last ones.
    put(&world, &mut log, p.batch(1, 1, now));
    put(&world, &mut log, q.batch(1, 1, now));
    close_segments(&world, &dir, &mut log);
    let markers = |log: &Log| {
        let batches = split(&read_all(log, 0));
        batches
            .iter()
            .filter(|b| b.header.attributes.is_control() && b.header.record_count > 0)
            .count()
    };
    compact(&world, &mut log).unwrap();
    assert_eq!(content(&log), [found(7, "k", Some("v"))]);
    assert_eq!(markers(&log), 2, "their data was still there when the round began");
    for (millis, left) in [(0, 2), (999, 2), (2, 0)] {
        world.clock.advance_ms(millis);
        close_segments(&world, &dir, &mut log);
        compact(&world, &mut log).unwrap();
        assert_eq!(markers(&log), left, "after {millis} ms");
    }
}

#[test]
fn a_round_that_runs_out_of_memory_goes_on_next_time() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    for n in 0..60 {
        let key = format!("key-{}", n % 30);
        let value = format!("{n}-{}", "v".repeat(100));
        put(&world, &mut log, keyed_batch(&[(Some(&key), Some(&value))], world.now().0));
    }
    close_segments(&world, &dir, &mut log);
    let mut rounds = 0;
    loop {
        let limit = log.log_end();
        let begun = run(log.begin_compaction(limit, world.now(), 500)).unwrap();
        let Some(compaction) = begun else { break };
        let done = run(compaction.run()).unwrap();
        run(log.finish_compaction(done)).unwrap();
        rounds += 1;
        assert!(rounds < 60, "every round gets further");
    }
    assert!(rounds > 3, "{rounds}");
    let offsets: Vec<i64> = content(&log).iter().map(|record| record.0).collect();
    assert_eq!(offsets, (30..60).collect::<Vec<_>>());
}

#[test]
fn truncation_makes_a_running_compaction_void() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    for n in 0..20 {
        let value = format!("{n}-{}", "v".repeat(300));
        put(&world, &mut log, keyed_batch(&[(Some("a"), Some(&value))], world.now().0));
    }
    close_segments(&world, &dir, &mut log);
    let limit = log.log_end();
    let compaction = run(log.begin_compaction(limit, world.now(), MEMORY)).unwrap().unwrap();
    assert!(
        run(log.begin_compaction(limit, world.now(), MEMORY)).unwrap().is_none(),
        "one at a time"
    );
    let done = run(compaction.run()).unwrap();
    run(log.truncate_to(Offset(3))).unwrap();
    let stats = run(log.finish_compaction(done)).unwrap();
    assert_eq!(stats, CompactionStats::default());
    let offsets: Vec<i64> = content(&log).iter().map(|record| record.0).collect();
    assert_eq!(offsets, [0, 1, 2]);
    let names = world.disk.names(&format!("{DIR}/t-0"));
    assert!(names.iter().all(|name| !name.ends_with(".cleaned")), "{names:?}");
}

#[test]
fn readers_go_on_across_a_swap() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &compacted());
    for n in 0..40 {
        let key = format!("k{}", n % 3);
        let value = format!("{n}-{}", "v".repeat(300));
        put(&world, &mut log, keyed_batch(&[(Some(&key), Some(&value))], world.now().0));
    }
    close_segments(&world, &dir, &mut log);
    let reader = log.reader();
    let request = crate::basics::request;
    run(reader.read(storage::ReadRequest { max_bytes: 1, ..request(5) })).unwrap();
    compact(&world, &mut log).unwrap();
    for from in 0..40 {
        let read =
            run(reader.read(storage::ReadRequest { max_bytes: 1, ..request(from) })).unwrap();
        let [batch] = &split(&read.bytes)[..] else { panic!("one batch") };
        assert!(batch.header.last_offset() >= Offset(from));
    }
}

/// A replacement and what it replaced are never both there.
fn assert_segments_do_not_overlap(world: &World) {
    let dir = format!("{DIR}/t-0");
    let mut end = Offset(0);
    for name in world.disk.names(&dir).iter().filter(|name| name.ends_with(".log")) {
        let base = name.trim_end_matches(".log").parse().map(Offset).unwrap();
        assert!(base >= end, "{name} starts below {end}");
        let bytes = world.disk.content(&format!("{dir}/{name}")).unwrap();
        end = split(&bytes.into()).last().map_or(base, |batch| batch.header.next_offset());
    }
}

proptest! {
    /// Random keys and tombstones, rounds that a crash ends anywhere: every key has its last value,
    /// nothing moved, nothing came back.
    #[test]
    fn a_crash_in_a_round_loses_no_key(
        seed in any::<u64>(),
        rounds in prop::collection::vec(
            (prop::collection::vec((0..6u8, prop::option::weighted(0.8, 1..400usize)), 1..40),
             prop::option::of(1..60u64), any::<bool>()),
            1..5,
        ),
    ) {
        let world = World::new(seed);
        let mut latest: BTreeMap<String, (i64, Option<String>)> = BTreeMap::new();
        for (puts, halt_after, loses_power) in rounds {
            let dir = world.open_dir();
            let mut log = world.open_log(&dir, "t-0", &compacted());
            for (key, value) in puts {
                let key = format!("k{key}");
                let value = value.map(|len| "v".repeat(len));
                let offset = log.log_end().0;
                let batch = keyed_batch(&[(Some(&key), value.as_deref())], world.now().0);
                put(&world, &mut log, batch);
                latest.insert(key, (offset, value));
            }
            close_segments(&world, &dir, &mut log);
            let end = log.log_end();
            if let Some(operations) = halt_after {
                world.disk.halt_after(operations);
            }
            let limit = log.log_end();
            let begun = run(log.begin_compaction(limit, world.now(), MEMORY));
            if let Ok(Some(compaction)) = begun
                && let Ok(done) = run(compaction.run())
            {
                let _ = run(log.finish_compaction(done));
            }
            if loses_power {
                world.disk.lose_power();
            } else {
                world.disk.kill_process();
            }
            drop((log, dir));
            let dir = world.open_dir();
            let log = world.open_log(&dir, "t-0", &compacted());
            prop_assert_eq!(log.log_end(), end);
            assert_segments_do_not_overlap(&world);
            let mut last: BTreeMap<String, (i64, Option<String>)> = BTreeMap::new();
            for (offset, key, value) in content(&log) {
                last.insert(key.unwrap(), (offset, value));
            }
            // The clock stands still, so no tombstone is old enough to go.
            prop_assert_eq!(&last, &latest);
            world.disk.kill_process();
        }
    }
}
