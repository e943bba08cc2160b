//! No room, errors of the disk, damaged files.

use model::{LeaderEpoch, Offset, Timestamp};
use storage::{AppendError, AppendOutcome, LogConfig, OpenError, ReadError, StorageError};

use crate::basics::{append, read_all, request, small};
use crate::support::fault_disk::Operation;
use crate::support::{DIR, Fault, Producer, World, plain_batch, run};

/// Enough for several segments of 16 KiB.
const RECORDS: i64 = 600;
const LOG: &str = "/data/t-0/00000000000000000000.log";

#[test]
fn a_full_disk_rejects_the_part_and_the_log_goes_on() {
    for partial in [0, 40, 100] {
        let world = World::new(1);
        let dir = world.open_dir();
        let mut log = world.open_log(&dir, "t-0", &LogConfig::default());
        let p = Producer::new(1);
        run(log.append(vec![p.batch(0, 1, 1)], LeaderEpoch(0), world.now()));
        let before = world.disk.content(LOG).unwrap();
        world.disk.set_room(Some(world.disk.bytes_used() + partial));
        let group = vec![p.batch(1, 1, 1), p.batch(2, 1, 1), p.batch(2, 1, 1)];
        let outcomes = run(log.append(group.clone(), LeaderEpoch(0), world.now()));
        for outcome in &outcomes {
            let AppendOutcome::Rejected(AppendError::Storage(error)) = outcome else {
                panic!("{outcome:?}")
            };
            assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
        }
        assert_eq!(world.disk.content(LOG).unwrap(), before, "cut back");
        assert_eq!(log.log_end(), Offset(1));
        // The producer's state is as if nothing had come.
        world.disk.set_room(None);
        let outcomes = run(log.append(group, LeaderEpoch(0), world.now()));
        assert!(matches!(outcomes[0], AppendOutcome::Appended { base_offset: Offset(1), .. }));
        assert!(matches!(outcomes[1], AppendOutcome::Appended { base_offset: Offset(2), .. }));
        assert!(matches!(outcomes[2], AppendOutcome::Duplicate { base_offset: Offset(2), .. }));
        run(log.sync()).unwrap();
        world.disk.lose_power();
        drop((log, dir));
        let dir = world.open_dir();
        assert_eq!(world.open_log(&dir, "t-0", &LogConfig::default()).log_end(), Offset(3));
    }
}

#[test]
fn an_index_that_recovery_could_not_save_is_not_believed_later() {
    for seed in 0..24 {
        for nth in 0..8 {
            found_by_time(seed, Operation::Write, nth, Fault::Full);
            found_by_time(seed, Operation::Sync, nth, Fault::Io);
        }
    }
}

/// The indexes of a log are gone after a crash, its recovery runs into a fault, and it is recovered
/// once more after a checkpoint: every record is found by its time all the same.
fn found_by_time(seed: u64, operation: Operation, nth: u64, fault: Fault) {
    // Indexes of several sectors, so that a part of one can be lost.
    let config = LogConfig { segment_bytes: 16 << 10, index_interval_bytes: 0, ..small() };
    let world = World::new(seed);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &config);
    for time in 0..RECORDS {
        let batch = vec![plain_batch(&["a value of some length"], time)];
        run(log.append(batch, LeaderEpoch(0), world.now()));
    }
    run(log.sync()).unwrap();
    world.disk.kill_process();
    drop((log, dir));
    for name in world.disk.names(&format!("{DIR}/t-0")) {
        if name.ends_with("index") {
            let path = format!("{DIR}/t-0/{name}");
            run(world.runtime().disk.remove_file(path.as_ref())).unwrap();
        }
    }
    let dir = world.open_dir();
    world.disk.plan(operation, nth, fault);
    // It may fail as a whole. When it does not, a checkpoint says that all of it was recovered.
    let log = world.try_open_log(&dir, "t-0", &config);
    run(dir.checkpoint()).ok();
    match operation {
        Operation::Sync => world.disk.lose_power(),
        _ => world.disk.kill_process(),
    }
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &config);
    for time in (0..RECORDS).step_by(7).chain([RECORDS - 1]) {
        let found = run(log.reader().offset_for_timestamp(Timestamp(time), Offset(RECORDS)));
        let found = found.unwrap().map(|found| found.offset.0);
        assert_eq!(found, Some(time), "seed {seed}, {operation:?} {nth}");
    }
}

#[test]
fn no_room_for_a_new_segment_rejects_and_goes_on() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let filler = "x".repeat(1800);
    append(&world, &mut log, &[&filler]);
    world.disk.set_room(Some(world.disk.bytes_used()));
    let group = vec![plain_batch(&["a"], 1), plain_batch(&[&filler], 1)];
    let outcomes = run(log.append(group, LeaderEpoch(0), world.now()));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Rejected(_))));
    world.disk.set_room(None);
    assert_eq!(append(&world, &mut log, &[&filler]), (1, 1));
    assert_eq!(append(&world, &mut log, &["b"]), (2, 2));
}

#[test]
fn a_failed_write_ends_all_appends_and_reads_go_on() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    append(&world, &mut log, &["a"]);
    run(log.sync()).unwrap();
    world.disk.plan(Operation::Write, 0, Fault::Io);
    for _ in 0..2 {
        let outcomes = run(log.append(vec![plain_batch(&["b"], 1)], LeaderEpoch(0), world.now()));
        assert!(matches!(
            &outcomes[..],
            [AppendOutcome::Rejected(AppendError::Storage(StorageError::Offline { .. }))]
        ));
        assert!(log.is_offline());
    }
    assert_eq!(read_all(&log, 0).len(), plain_batch(&["a"], 1).header.size_bytes());
    assert!(matches!(run(log.sync()), Err(StorageError::Offline { .. })));
    assert!(matches!(run(log.truncate_to(Offset(0))), Err(StorageError::Offline { .. })));
    assert_eq!(dir.offline_logs(), [log.name().clone()]);
    assert!(run(log.close()).is_err());
    assert!(!run(dir.close()).unwrap(), "no clean mark");
}

#[test]
fn a_failed_sync_acknowledges_nothing_ever() {
    for operation in [Operation::Sync, Operation::SyncDir] {
        let world = World::new(1);
        let dir = world.open_dir();
        let mut log = world.open_log(&dir, "t-0", &small());
        append(&world, &mut log, &["a"]);
        run(log.sync()).unwrap();
        let filler = "x".repeat(1950);
        append(&world, &mut log, &[&filler]);
        let synced = log.durable_end();
        world.disk.plan(operation, 0, Fault::Io);
        assert!(matches!(run(log.sync()), Err(StorageError::Offline { .. })));
        assert!(matches!(run(log.sync()), Err(StorageError::Offline { .. })));
        assert!(log.begin_sync().is_none());
        assert_eq!(log.durable_end(), synced);
        run(dir.checkpoint()).unwrap();
        world.disk.lose_power();
        drop((log, dir));
        let dir = world.open_dir();
        let log = world.open_log(&dir, "t-0", &small());
        assert!(log.log_end() >= synced);
    }
}

#[test]
fn damage_below_the_recovery_point_is_an_error_and_above_it_a_cut() {
    for (position, is_acknowledged) in [(100, true), (500, false)] {
        let world = World::new(1);
        let dir = world.open_dir();
        let mut log = world.open_log(&dir, "t-0", &LogConfig::default());
        for _ in 0..5 {
            append(&world, &mut log, &["some record"]);
        }
        run(log.sync()).unwrap();
        run(dir.checkpoint()).unwrap();
        for _ in 0..5 {
            append(&world, &mut log, &["some record"]);
        }
        let size = plain_batch(&["some record"], 1).header.size_bytes();
        assert!(100 < 5 * size && 5 * size < 500 && 500 < 10 * size, "{size}");
        world.disk.kill_process();
        drop((log, dir));
        // The length of a batch, which shows without its checksum too.
        let position = position / size * size + 8;
        world.disk.damage(LOG, |bytes| bytes[position] ^= 0x40);
        let dir = world.open_dir();
        let opened = world.try_open_log(&dir, "t-0", &LogConfig::default());
        if is_acknowledged {
            // Only what is read can be found out: from the newest snapshot on, here from the start.
            let Err(OpenError::Corrupt { position: found, .. }) = opened else { panic!() };
            assert_eq!(found as usize, position - 8);
            assert!(!run(dir.close()).unwrap(), "it was not recovered, so it is not clean");
        } else {
            let log = opened.unwrap();
            assert_eq!(log.log_end(), Offset((position / size) as i64));
        }
    }
}

#[test]
fn a_log_that_ends_below_its_recovery_point_is_lost_not_short() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &LogConfig::default());
    append(&world, &mut log, &["a"]);
    let size = world.disk.content(LOG).unwrap().len();
    append(&world, &mut log, &["b"]);
    run(log.sync()).unwrap();
    run(dir.checkpoint()).unwrap();
    world.disk.kill_process();
    drop((log, dir));
    world.disk.damage(LOG, |bytes| bytes.truncate(size));
    let dir = world.open_dir();
    assert!(matches!(
        world.try_open_log(&dir, "t-0", &LogConfig::default()),
        Err(OpenError::Lost { recovery_point: Offset(2), log_end: Offset(1), .. })
    ));
}

#[test]
fn damaged_bytes_are_never_served() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    for _ in 0..10 {
        append(&world, &mut log, &["some record"]);
    }
    let size = plain_batch(&["some record"], 1).header.size_bytes();
    // In the records: found by the checksum, which a reader asks for.
    world.disk.damage(LOG, |bytes| bytes[3 * size + 65] ^= 1);
    let result = run(log.reader().read(request(0)));
    assert!(
        matches!(&result, Err(ReadError::Corrupt { position, .. }) if *position == 3 * size as u64),
        "{result:?}"
    );
    // In the chain: found without.
    world.disk.damage(LOG, |bytes| bytes[5 * size + 16] = 1);
    let lax = storage::ReadRequest { verify_crc: false, from: Offset(4), ..request(0) };
    assert!(matches!(run(log.reader().read(lax)), Err(ReadError::Corrupt { .. })));
}

#[test]
fn indexes_that_lie_are_found_out() {
    let lies: [fn(&mut Vec<u8>); 6] = [
        // Every position is that of a batch, but of a later one.
        |bytes| {
            for at in (4..bytes.len().saturating_sub(12)).step_by(8) {
                bytes.copy_within(at + 8..at + 12, at);
            }
        },
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(11),
        |bytes| bytes.iter_mut().skip(7).step_by(8).for_each(|b| *b ^= 1),
        |bytes| bytes.iter_mut().for_each(|b| *b = 0xff),
        |bytes| bytes.extend_from_slice(&[0; 4096]),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let world = World::new(1);
        let dir = world.open_dir();
        let config = LogConfig { segment_bytes: 10_000, index_interval_bytes: 100, ..small() };
        let mut log = world.open_log(&dir, "t-0", &config);
        for _ in 0..300 {
            append(&world, &mut log, &["some record"]);
        }
        let bytes = read_all(&log, 0);
        run(log.close()).unwrap();
        assert!(run(dir.close()).unwrap());
        drop(dir);
        for name in world.disk.names(&format!("{DIR}/t-0")) {
            if name.ends_with("index") {
                world.disk.damage(&format!("{DIR}/t-0/{name}"), lie);
            }
        }
        let dir = world.open_dir();
        let log = world.open_log(&dir, "t-0", &config);
        assert_eq!(log.log_end(), Offset(300), "lie {number}");
        for from in (0..300).rev() {
            let read = storage::ReadRequest { max_bytes: 1, ..request(from) };
            let read = run(log.reader().read(read)).unwrap();
            assert_eq!(read.next_offset, Offset(from + 1), "lie {number}");
        }
        assert_eq!(read_all(&log, 0), bytes);
    }
}

#[test]
fn bad_snapshots_give_way_to_older_ones() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let p = Producer::new(3);
    for n in 0..60 {
        run(log.append(vec![p.batch(n, 1, world.now().0)], LeaderEpoch(0), world.now()));
    }
    let known = log.producers();
    run(log.close()).unwrap();
    assert!(run(dir.close()).unwrap());
    drop(dir);
    let names = world.disk.names(&format!("{DIR}/t-0"));
    let newest = names.iter().rfind(|name| name.ends_with(".snapshot")).unwrap().clone();
    world.disk.damage(&format!("{DIR}/t-0/{newest}"), |bytes| bytes[20] ^= 1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.producers(), known);
    let again = run(log.append(vec![p.batch(55, 1, 1)], LeaderEpoch(0), world.now()));
    assert!(matches!(again[0], AppendOutcome::Duplicate { base_offset: Offset(55), .. }));
}

/// A log whose directory could not even be made is as gone as one can be.
#[test]
fn deleting_a_log_that_never_was_is_no_error() {
    let world = World::new(1);
    let dir = world.open_dir();
    run(dir.delete_log(&"never-0".parse().unwrap())).unwrap();
    assert!(run(dir.set_aside(&"never-0".parse().unwrap())).is_err());
}
