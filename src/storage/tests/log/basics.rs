//! Append, read, roll, reopen.

use bytes::Bytes;
use model::{LeaderEpoch, Offset};
use storage::{AppendOutcome, Durability, Log, LogConfig, ReadError, ReadRequest};

use crate::support::batches::{sized_batch, split};
use crate::support::{DIR, World, plain_batch, run};

pub(crate) fn small() -> LogConfig {
    LogConfig { segment_bytes: 2048, index_interval_bytes: 256, ..LogConfig::default() }
}

pub(crate) fn append(world: &World, log: &mut Log, values: &[&str]) -> (i64, i64) {
    let batch = plain_batch(values, world.now().0);
    match &run(log.append(vec![batch], LeaderEpoch(0), world.now()))[..] {
        [AppendOutcome::Appended { base_offset, last_offset, .. }] => {
            (base_offset.0, last_offset.0)
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn request(from: i64) -> ReadRequest {
    ReadRequest {
        from: Offset(from),
        max_bytes: 1 << 20,
        up_to: Offset(i64::MAX),
        at_least_one: true,
        verify_crc: true,
    }
}

/// Everything from `from` on, by as many reads as it takes.
pub(crate) fn read_all(log: &Log, from: i64) -> Bytes {
    let mut all = Vec::new();
    let mut at = Offset(from);
    while at < log.log_end() {
        let read = run(log.reader().read(ReadRequest { from: at, ..request(0) })).unwrap();
        assert!(read.next_offset > at, "a read below the end finds something");
        all.extend_from_slice(&read.bytes);
        at = read.next_offset;
    }
    Bytes::from(all)
}

#[test]
fn offsets_go_on_across_groups_segments_and_restarts() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!(append(&world, &mut log, &["a", "b", "c"]), (0, 2));
    let filler = "x".repeat(300);
    for at in 0..20 {
        assert_eq!(append(&world, &mut log, &[&filler]), (3 + at, 3 + at));
    }
    assert_eq!(log.durable_end(), Offset(0));
    assert_eq!(run(log.sync()).unwrap(), Offset(23));
    let bytes = read_all(&log, 0);
    let names = world.disk.names(&format!("{DIR}/t-0"));
    assert!(names.iter().filter(|name| name.ends_with(".log")).count() > 2, "{names:?}");

    run(log.close()).unwrap();
    assert!(run(dir.close()).unwrap());
    drop(dir);
    let dir = world.open_dir();
    assert!(dir.was_clean());
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.durable_end(), Offset(23));
    assert_eq!(read_all(&log, 0), bytes);
    assert_eq!(append(&world, &mut log, &["z"]), (23, 23));
}

#[test]
fn a_group_is_one_write_and_offsets_follow_each_other() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &LogConfig::default());
    append(&world, &mut log, &["first"]);
    let before = world.disk.operations();
    let group = vec![plain_batch(&["a", "b"], 5), plain_batch(&["c"], 6), plain_batch(&["d"], 7)];
    let outcomes = run(log.append(group, LeaderEpoch(0), world.now()));
    assert_eq!(world.disk.operations() - before, 1);
    let bases: Vec<i64> = outcomes
        .iter()
        .map(|outcome| match outcome {
            AppendOutcome::Appended { base_offset, .. } => base_offset.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bases, [1, 3, 4]);
    let syncs = world.disk.syncs();
    run(log.sync()).unwrap();
    assert_eq!(world.disk.syncs() - syncs, 1);
}

#[test]
fn reads_give_whole_batches_within_the_limits() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &LogConfig::default());
    for _ in 0..10 {
        append(&world, &mut log, &["a", "b", "c"]);
    }
    let size = plain_batch(&["a", "b", "c"], world.now().0).header.size_bytes();
    let reader = log.reader();
    let read = |from: i64, max_bytes: usize, up_to: i64, at_least_one: bool| {
        let up_to = Offset(up_to);
        let from = Offset(from);
        run(reader.read(ReadRequest { from, max_bytes, up_to, at_least_one, verify_crc: true }))
            .map(|read| (split(&read.bytes).len(), read.next_offset.0))
    };
    assert_eq!(read(0, 1 << 20, 30, true).unwrap(), (10, 30));
    // In the middle of a batch, that batch comes whole.
    assert_eq!(read(4, 1 << 20, 30, true).unwrap(), (9, 30));
    assert_eq!(read(5, 3 * size, 30, true).unwrap(), (3, 12));
    assert_eq!(read(5, 3 * size - 1, 30, true).unwrap(), (2, 9));
    assert_eq!(read(6, 1, 30, true).unwrap(), (1, 9));
    assert_eq!(read(6, 1, 30, false).unwrap(), (0, 6));
    assert_eq!(read(0, 1 << 20, 6, true).unwrap(), (2, 6));
    assert_eq!(read(6, 1 << 20, 8, true).unwrap(), (0, 6));
    assert_eq!(read(30, 1 << 20, 30, true).unwrap(), (0, 30));
    assert!(matches!(read(31, 1, 99, true), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(read(-1, 1, 99, true), Err(ReadError::OutOfRange { .. })));
}

#[test]
fn every_offset_is_found_with_and_without_short_reads() {
    for short_io in [false, true] {
        let world = World::new(7);
        world.disk.set_short_io(short_io);
        let dir = world.open_dir();
        let mut log = world.open_log(&dir, "t-0", &small());
        for n in 0..60 {
            let values: Vec<String> = (0..=n % 4).map(|v| "y".repeat(v * 40 + 1)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            append(&world, &mut log, &values);
        }
        for reopened in [false, true] {
            if reopened {
                run(log.close()).unwrap();
                log = world.open_log(&dir, "t-0", &small());
            }
            for offset in 0..log.log_end().0 {
                let read = ReadRequest { max_bytes: 1, ..request(offset) };
                let batches = split(&run(log.reader().read(read)).unwrap().bytes);
                let [batch] = &batches[..] else { panic!("{} batches", batches.len()) };
                let held = batch.header.base_offset..=batch.header.last_offset();
                assert!(held.contains(&Offset(offset)));
            }
        }
    }
}

#[test]
fn durability_os_needs_no_sync() {
    let world = World::new(1);
    let dir = world.open_dir();
    let config = LogConfig { durability: Durability::Os, ..small() };
    let mut log = world.open_log(&dir, "t-0", &config);
    // The epoch of the leader is synced whatever the records are.
    append(&world, &mut log, &["some", "thing"]);
    let syncs = world.disk.syncs();
    for _ in 0..29 {
        append(&world, &mut log, &["some", "thing"]);
        assert_eq!(log.durable_end(), log.log_end());
        assert!(log.begin_sync().is_none());
    }
    assert_eq!(world.disk.syncs(), syncs);
    world.disk.kill_process();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &config);
    assert_eq!(log.log_end(), Offset(60), "a killed process loses nothing");
}

#[test]
fn flush_messages_forces_a_sync() {
    let world = World::new(1);
    let dir = world.open_dir();
    let durability = Durability::Os;
    let config = LogConfig { durability, flush_messages: 10, flush_ms: 500, ..small() };
    let mut log = world.open_log(&dir, "t-0", &config);
    for _ in 0..4 {
        append(&world, &mut log, &["a", "b"]);
        assert!(log.begin_sync().is_none());
    }
    append(&world, &mut log, &["a", "b"]);
    run(log.sync()).unwrap();
    append(&world, &mut log, &["a"]);
    assert!(log.begin_sync().is_none());
    world.clock.advance_ms(500);
    assert!(log.begin_sync().is_some());
}

#[test]
fn appends_go_on_during_a_sync_which_covers_what_came_before() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    append(&world, &mut log, &["a"]);
    let pending = log.begin_sync().unwrap();
    append(&world, &mut log, &["b"]);
    let done = run(pending);
    assert_eq!(log.finish_sync(done).unwrap(), Offset(1));
    assert_eq!(run(log.sync()).unwrap(), Offset(2));
    assert!(log.begin_sync().is_none());
}

#[test]
fn an_abandoned_sync_takes_the_log_offline() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    append(&world, &mut log, &["a"]);
    drop(log.begin_sync().unwrap());
    assert!(!log.is_offline(), "it never began");
    run(log.sync()).unwrap();
    assert_eq!(log.durable_end(), Offset(1));
}

#[test]
fn segments_roll_by_time() {
    let world = World::new(1);
    let dir = world.open_dir();
    let config = LogConfig { segment_ms: 1000, ..LogConfig::default() };
    let mut log = world.open_log(&dir, "t-0", &config);
    let logs = |world: &World| {
        let names = world.disk.names(&format!("{DIR}/t-0"));
        names.into_iter().filter(|name| name.ends_with(".log")).count()
    };
    append(&world, &mut log, &["a"]);
    world.clock.advance_ms(1000);
    append(&world, &mut log, &["b"]);
    assert_eq!(logs(&world), 1);
    world.clock.advance_ms(1);
    append(&world, &mut log, &["c"]);
    assert_eq!(logs(&world), 2);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let group = vec![plain_batch(&["a"], 1), sized_batch(3000, 2), plain_batch(&["b"], 3)];
    let outcomes = run(log.append(group, LeaderEpoch(0), world.now()));
    assert!(matches!(outcomes[0], AppendOutcome::Appended { .. }));
    assert!(matches!(
        outcomes[1],
        AppendOutcome::Rejected(storage::AppendError::BatchTooLarge { .. })
    ));
    assert!(matches!(outcomes[2], AppendOutcome::Appended { base_offset: Offset(1), .. }));
}

#[test]
fn one_log_and_one_directory_have_one_user() {
    let world = World::new(1);
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &small());
    assert!(matches!(world.try_open_log(&dir, "t-0", &small()), Err(storage::OpenError::InUse(_))));
    assert!(matches!(world.try_open_dir(), Err(storage::LogDirError::InUse { .. })));
    assert!(matches!(run(dir.delete_log(log.name())), Err(storage::LogDirError::LogOpen(_))));
}

#[test]
fn a_deleted_log_can_be_created_again() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    append(&world, &mut log, &["a", "b"]);
    run(log.sync()).unwrap();
    run(dir.checkpoint()).unwrap();
    let name = log.name().clone();
    drop(log);
    run(dir.delete_log(&name)).unwrap();
    let log = run(dir.create_log(&name, None, small())).unwrap();
    assert_eq!(log.log_end(), Offset(0));
    drop((log, dir));
    // The recovery point of the first log must not make the second one look lost.
    world.disk.lose_power();
    let dir = world.open_dir();
    run(dir.remove_deleted()).unwrap();
    assert!(world.disk.names(DIR).iter().all(|name| !name.ends_with("-delete")));
    let log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.log_end(), Offset(0));
}

#[test]
fn truncation_removes_the_end_for_good() {
    let world = World::new(3);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let filler = "x".repeat(300);
    for _ in 0..20 {
        append(&world, &mut log, &[&filler, &filler]);
    }
    run(log.sync()).unwrap();
    run(dir.checkpoint()).unwrap();
    let bytes = read_all(&log, 0);
    // In the middle of a batch: it goes whole.
    run(log.truncate_to(Offset(11))).unwrap();
    assert_eq!((log.log_end(), log.durable_end()), (Offset(10), Offset(10)));
    let left = read_all(&log, 0);
    assert_eq!(left, bytes.slice(..left.len()));
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.log_end(), Offset(10));
    assert_eq!(read_all(&log, 0), left);
    run(log.truncate_fully(Offset(500))).unwrap();
    assert_eq!((log.log_start(), log.log_end()), (Offset(500), Offset(500)));
    append(&world, &mut log, &["new"]);
    run(log.sync()).unwrap();
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &small());
    assert_eq!((log.log_start(), log.log_end()), (Offset(500), Offset(501)));
}

#[test]
fn leader_epochs_survive_and_answer() {
    let world = World::new(3);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    run(log.assign_leader_epoch(LeaderEpoch(4))).unwrap();
    append_at(&world, &mut log, 4);
    append_at(&world, &mut log, 4);
    append_at(&world, &mut log, 7);
    run(log.assign_leader_epoch(LeaderEpoch(9))).unwrap();
    run(log.sync()).unwrap();
    world.disk.lose_power();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &small());
    let end =
        |epoch: i32| log.end_offset_for(LeaderEpoch(epoch)).map(|e| (e.epoch.0, e.end_offset.0));
    assert_eq!(end(4), Some((4, 2)));
    assert_eq!(end(5), Some((4, 2)));
    assert_eq!(end(7), Some((7, 3)));
    assert_eq!(end(9), Some((9, 3)));
    assert_eq!(end(10), None);
    assert_eq!(log.reader().leader_epoch_of(Offset(2)), Some(LeaderEpoch(7)));
}

fn append_at(world: &World, log: &mut Log, epoch: i32) {
    run(log.append(vec![plain_batch(&["v"], 1)], LeaderEpoch(epoch), world.now()));
}

#[test]
fn a_truncation_after_a_reopening_lowers_the_recovery_point() {
    let world = World::new(3);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    append(&world, &mut log, &["a", "b"]);
    run(log.sync()).unwrap();
    run(dir.checkpoint()).unwrap();
    append(&world, &mut log, &["c"]);
    run(log.close()).unwrap();
    let mut log = world.open_log(&dir, "t-0", &small());
    run(log.truncate_to(Offset(0))).unwrap();
    world.disk.kill_process();
    drop((log, dir));
    let dir = world.open_dir();
    let log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.log_end(), Offset(0));
}
