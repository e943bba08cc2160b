//! Deletion by age, size and DeleteRecords; look-ups by time.

use model::{LeaderEpoch, Offset, Timestamp};
use protocol::records::Compression;
use storage::{CleanupPolicy, Log, LogConfig, ReadError, Retained, StorageError};

use crate::basics::{append, request, small};
use crate::support::batches::{compressed_batch, keyed_batch, timed_batch};
use crate::support::{DIR, Producer, World, run};

fn filled(world: &World, config: &LogConfig) -> (storage::LogDir, Log) {
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", config);
    let filler = "x".repeat(900);
    for _ in 0..10 {
        append(world, &mut log, &[&filler]);
        world.clock.advance_ms(1000);
    }
    run(log.sync()).unwrap();
    (dir, log)
}

fn segments(world: &World) -> usize {
    let names = world.disk.names(&format!("{DIR}/t-0"));
    names.iter().filter(|name| name.ends_with(".log")).count()
}

#[test]
fn segments_go_by_age_only_below_the_high_watermark() {
    let world = World::new(1);
    let config = LogConfig { retention_ms: 5000, ..small() };
    let (_dir, mut log) = filled(&world, &config);
    // Two batches of 900 bytes a segment; the last record of segment n is 10 - 2n - 1 s old.
    assert_eq!(segments(&world), 5);
    let nothing = run(log.apply_retention(Offset(1), world.now())).unwrap();
    assert_eq!(nothing, Retained::default());
    let removed = run(log.apply_retention(Offset(10), world.now())).unwrap();
    assert_eq!(removed.segments_removed, 2);
    assert_eq!(log.log_start(), Offset(4));
    let early = run(log.reader().read(request(3)));
    assert!(matches!(early, Err(ReadError::OutOfRange { log_start: Offset(4), .. })));
    run(log.reader().read(request(4))).unwrap();
    // In the end the active segment goes too, and offsets go on.
    world.clock.advance_ms(60_000);
    assert_eq!(run(log.apply_retention(Offset(10), world.now())).unwrap().segments_removed, 3);
    assert_eq!((log.log_start(), log.log_end()), (Offset(10), Offset(10)));
    assert_eq!(append(&world, &mut log, &["next"]), (10, 10));
}

#[test]
fn segments_go_by_size_and_their_files_later() {
    let world = World::new(1);
    let config = LogConfig { retention_bytes: 4500, ..small() };
    let (_dir, mut log) = filled(&world, &config);
    let size = log.size_bytes();
    let removed = run(log.apply_retention(Offset(10), world.now())).unwrap();
    assert_eq!(removed.segments_removed, 2);
    assert_eq!(log.size_bytes(), size - removed.bytes_removed);
    assert!(log.size_bytes() >= 4500);
    let deleted = |world: &World| {
        let names = world.disk.names(&format!("{DIR}/t-0"));
        names.iter().filter(|name| name.ends_with(".deleted")).count()
    };
    assert!(deleted(&world) > 0);
    world.clock.advance_ms(59_999);
    run(log.remove_deleted_files(world.now()));
    assert!(deleted(&world) > 0);
    world.clock.advance_ms(1);
    run(log.remove_deleted_files(world.now()));
    assert_eq!(deleted(&world), 0);
}

#[test]
fn a_compacted_topic_is_not_trimmed_by_age() {
    let world = World::new(1);
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let config = LogConfig { retention_ms: 1, retention_bytes: 1, cleanup, ..small() };
    let (_dir, mut log) = filled(&world, &config);
    assert_eq!(run(log.apply_retention(Offset(10), world.now())).unwrap().segments_removed, 0);
}

#[test]
fn deleted_records_stay_deleted_and_producers_stay_known() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let p = Producer::new(5);
    for n in 0..40 {
        run(log.append(vec![p.batch(n * 3, 3, world.now().0)], LeaderEpoch(n / 10), world.now()));
    }
    run(log.sync()).unwrap();
    let known = log.producers();
    assert_eq!(run(log.delete_records(Offset(61))).unwrap(), Offset(61));
    assert_eq!(run(log.delete_records(Offset(10))).unwrap(), Offset(61));
    assert!(matches!(run(log.reader().read(request(60))), Err(ReadError::OutOfRange { .. })));
    // In the middle of a batch: the batch is served whole.
    run(log.reader().read(request(61))).unwrap();
    assert_eq!(log.producers(), known);
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!((log.log_start(), log.log_end()), (Offset(61), Offset(120)));
    assert_eq!(log.producers(), known);
    assert_eq!(log.reader().leader_epoch_of(Offset(61)), Some(LeaderEpoch(2)));
    assert_eq!(run(log.delete_records(Offset(500))).unwrap(), Offset(120));
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &small());
    assert_eq!((log.log_start(), log.log_end()), (Offset(120), Offset(120)));
    assert_eq!(log.producers(), known);
}

fn by_time(log: &Log, at: i64, up_to: i64) -> Option<(i64, i64)> {
    let found = run(log.reader().offset_for_timestamp(Timestamp(at), Offset(up_to))).unwrap();
    found.map(|found| (found.offset.0, found.timestamp.0))
}

#[test]
fn look_ups_by_time_find_the_record() {
    let world = World::new(1);
    for codec in [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip] {
        let dir = world.open_dir();
        let name = format!("time-{}", codec.code());
        let mut log = world.open_log(&dir, &name, &small());
        let filler = "f".repeat(200);
        for n in 0..50 {
            // Four records a batch, 1 ms apart; batches are 10 ms apart.
            let records = [(None, Some(filler.as_str())); 4];
            let batch = compressed_batch(codec, &records, 1000 + n * 10);
            run(log.append(vec![batch], LeaderEpoch(1), world.now()));
        }
        run(log.sync()).unwrap();
        for reopened in [false, true] {
            if reopened {
                run(log.close()).unwrap();
                log = world.open_log(&dir, &name, &small());
            }
            for n in 0..50i64 {
                for within in 0..4 {
                    let at = 1000 + n * 10 + within;
                    assert_eq!(by_time(&log, at, 200), Some((n * 4 + within, at)), "{codec}");
                }
                let next = (n < 49).then_some((n * 4 + 4, 1010 + n * 10));
                assert_eq!(by_time(&log, 1004 + n * 10, 200), next);
            }
            assert_eq!(by_time(&log, 0, 200), Some((0, 1000)));
            assert_eq!(by_time(&log, 1012, 6), None, "not below the end that is asked for");
            assert_eq!(by_time(&log, 1012, 7), Some((6, 1012)));
            let latest = |up_to| run(log.reader().max_timestamp(Offset(up_to))).unwrap();
            assert_eq!(latest(200).map(|l| (l.offset.0, l.timestamp.0)), Some((199, 1493)));
            assert_eq!(latest(100).map(|l| l.offset.0), Some(99));
        }
        let closed = run(log.delete_records(Offset(150)));
        assert_eq!(closed.unwrap(), Offset(150));
        assert_eq!(by_time(&log, 0, 200).map(|found| found.0), Some(150));
    }
}

#[test]
fn times_out_of_order_are_found_all_the_same() {
    let world = World::new(1);
    let dir = world.open_dir();
    let config = LogConfig { index_interval_bytes: 50, ..small() };
    let mut log = world.open_log(&dir, "t-0", &config);
    let times: Vec<i64> = (0..200).map(|n| (n * 7919) % 1000 + 1).collect();
    for time in &times {
        let batch = keyed_batch(&[(None, Some("value"))], *time);
        run(log.append(vec![batch], LeaderEpoch(0), world.now()));
    }
    for at in 0..1002 {
        let expected = times.iter().position(|time| *time >= at);
        let expected = expected.map(|offset| (offset as i64, times[offset]));
        assert_eq!(by_time(&log, at, 200), expected, "{at}");
    }
    let latest = *times.iter().max().unwrap();
    let expected = times.iter().position(|time| *time == latest).unwrap() as i64;
    let found = run(log.reader().max_timestamp(Offset(200))).unwrap().unwrap();
    assert_eq!((found.offset.0, found.timestamp.0), (expected, latest));
}

#[test]
fn the_latest_record_is_never_a_deleted_one() {
    for codec in [Compression::None, Compression::Zstd] {
        let world = World::new(1);
        let dir = world.open_dir();
        let mut log = world.open_log(&dir, "t-0", &small());
        let batches = [timed_batch(codec, &[50, 90, 30, 40]), timed_batch(codec, &[20, 10])];
        for batch in batches {
            run(log.append(vec![batch], LeaderEpoch(0), world.now()));
        }
        run(log.sync()).unwrap();
        // By the start of the log, which goes through the middle of the first batch.
        let expected = [(0, 1, 90), (1, 1, 90), (2, 3, 40), (3, 3, 40), (4, 4, 20), (5, 5, 10)];
        for (start, offset, time) in expected {
            run(log.delete_records(Offset(start))).unwrap();
            let found = run(log.reader().max_timestamp(Offset(6))).unwrap().unwrap();
            assert_eq!((found.offset.0, found.timestamp.0), (offset, time), "from {start}");
        }
    }
}

#[test]
fn a_time_index_that_lies_is_found_out() {
    let lies: [fn(&mut Vec<u8>); 6] = [
        // Every entry names a later batch than its own.
        |bytes| {
            for at in (8..bytes.len().saturating_sub(16)).step_by(12) {
                bytes.copy_within(at + 12..at + 16, at);
            }
        },
        |bytes| bytes.iter_mut().skip(7).step_by(12).for_each(|b| *b = b.wrapping_add(1)),
        Vec::clear,
        // The end is lost, by length or in zeros.
        |bytes| bytes.truncate(bytes.len().saturating_sub(30) / 12 * 12),
        |bytes| bytes.iter_mut().skip(24).for_each(|b| *b = 0),
        // The last entry is of a time long before.
        |bytes| {
            if let Some(at) = bytes.len().checked_sub(12) {
                bytes[at..at + 8].fill(0);
            }
        },
    ];
    for lie in lies {
        let world = World::new(1);
        let dir = world.open_dir();
        let config = LogConfig { index_interval_bytes: 50, retention_ms: 1000, ..small() };
        let mut log = world.open_log(&dir, "t-0", &config);
        for time in 0..200 {
            let batch = keyed_batch(&[(None, Some("value"))], time * 10);
            run(log.append(vec![batch], LeaderEpoch(0), world.now()));
        }
        run(log.close()).unwrap();
        for name in world.disk.names(&format!("{DIR}/t-0")) {
            if name.ends_with(".timeindex") {
                world.disk.damage(&format!("{DIR}/t-0/{name}"), lie);
            }
        }
        let log = world.open_log(&dir, "t-0", &config);
        for time in 0..200 {
            assert_eq!(by_time(&log, time * 10, 200), Some((time, time * 10)));
            assert_eq!(by_time(&log, time * 10 - 5, 200), Some((time, time * 10)));
        }
        // What is not older than 1000 ms stays.
        run(log.close()).unwrap();
        let mut log = world.open_log(&dir, "t-0", &config);
        run(log.apply_retention(Offset(200), Timestamp(1_990))).unwrap();
        assert!((1..=99).contains(&log.log_start().0), "{}", log.log_start());
    }
}

/// What readers were told of the log's start holds after a crash, also when it could not be written
/// down.
#[test]
fn a_full_disk_is_given_room_and_no_start_falls() {
    let world = World::new(1);
    let config = LogConfig { retention_bytes: 4500, ..small() };
    let (dir, mut log) = filled(&world, &config);
    world.disk.set_room(Some(world.disk.bytes_used()));
    // A recovery would start below what goes, and miss it.
    let refused = run(log.apply_retention(Offset(10), world.now())).unwrap_err();
    assert!(matches!(refused, StorageError::DiskFull { .. }), "{refused}");
    assert_eq!(log.log_start(), Offset(0));
    world.disk.set_room(None);
    run(dir.checkpoint()).unwrap();
    world.disk.set_room(Some(world.disk.bytes_used()));
    let reader = log.reader();
    let removed = run(log.apply_retention(Offset(10), world.now())).unwrap();
    assert_eq!((removed.segments_removed, log.log_start()), (2, Offset(4)));
    run(reader.read(request(4))).unwrap();
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    assert_eq!(world.open_log(&dir, "t-0", &config).log_start(), Offset(4));
}

#[test]
fn producers_outlive_their_records_through_a_crash() {
    let world = World::new(1);
    let dir = world.open_dir();
    let config = LogConfig { durability: storage::Durability::Os, ..small() };
    let mut log = world.open_log(&dir, "t-0", &config);
    let now = world.now().0;
    run(log.append(vec![Producer::new(5).batch(0, 3, now)], LeaderEpoch(0), world.now()));
    append(&world, &mut log, &["plain"]);
    let filler = "x".repeat(1900);
    append(&world, &mut log, &[&filler]);
    let known = log.producers();
    let end = log.log_end();
    run(log.delete_records(end)).unwrap();
    append(&world, &mut log, &["more"]);
    world.disk.kill_process();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &config);
    assert_eq!(log.producers(), known);
}
