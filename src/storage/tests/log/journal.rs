//! The journal: one sync for many logs, its files in turns, what a start makes of them.

use model::{LeaderEpoch, Offset};
use storage::{AppendBatch, Durability, Log, LogConfig, LogDir, LogDirError, OpenError};

use crate::basics::read_all;
use crate::support::batches::sized_batch;
use crate::support::fault_disk::Operation;
use crate::support::{DIR, Fault, World, plain_batch, run};

const FILE_BYTES: u64 = 64 * 1024;
/// Bytes of a page, which a block is made of.
const PAGE: usize = 4096;

fn world(seed: u64) -> World {
    World::with_journal(seed, FILE_BYTES)
}

fn open(world: &World, dir: &LogDir, log: usize) -> Log {
    world.open_log(dir, &format!("t-{log}"), &LogConfig::default())
}

fn append(world: &World, log: &mut Log, batch: AppendBatch) {
    run(log.append(vec![batch], LeaderEpoch(0), world.now()));
}

/// One more record, durably.
fn add(world: &World, log: &mut Log) {
    append(world, log, plain_batch(&["a value"], 1));
    run(log.sync()).unwrap();
}

/// As many records as one file of the journal has blocks.
fn fill(world: &World, log: &mut Log) {
    for _ in 0..FILE_BYTES as usize / PAGE {
        add(world, log);
    }
}

/// Paths of the journal's files, oldest first.
fn files(world: &World) -> Vec<String> {
    let names = world.disk.names(DIR).into_iter();
    names.filter(|name| name.contains("journal")).map(|name| format!("{DIR}/{name}")).collect()
}

fn lose_power(world: &World, dir: LogDir, logs: impl IntoIterator<Item = Log>) -> LogDir {
    drop((logs.into_iter().collect::<Vec<_>>(), dir));
    world.disk.lose_power();
    world.open_dir()
}

#[test]
fn logs_that_sync_at_once_share_a_sync_and_survive() {
    const LOGS: usize = 20;
    let world = world(1);
    let dir = world.open_dir();
    let mut logs: Vec<Log> = (0..LOGS).map(|log| open(&world, &dir, log)).collect();
    // The file of the journal is there.
    add(&world, &mut logs[0]);
    for log in &mut logs {
        append(&world, log, plain_batch(&["a", "b"], 1));
    }
    let before = world.disk.syncs();
    let pending: Vec<_> = logs.iter_mut().map(|log| log.begin_sync().unwrap()).collect();
    for (log, pending) in logs.iter_mut().zip(pending) {
        let done = run(pending);
        let end = log.log_end();
        assert_eq!(log.finish_sync(done).unwrap(), end);
    }
    assert_eq!(world.disk.syncs() - before, 1);
    let dir = lose_power(&world, dir, logs);
    for log in 0..LOGS {
        let expected = if log == 0 { 3 } else { 2 };
        assert_eq!(open(&world, &dir, log).log_end(), Offset(expected), "log {log}");
    }
}

#[test]
fn much_goes_straight_to_its_segment() {
    let world = world(2);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    append(&world, &mut log, sized_batch(100_000, 1));
    run(log.sync()).unwrap();
    assert_eq!(files(&world), [""; 0]);
    add(&world, &mut log);
    assert_eq!(files(&world).len(), 1);
    let dir = lose_power(&world, dir, [log]);
    assert_eq!(open(&world, &dir, 0).log_end(), Offset(2));
}

#[test]
fn two_files_take_turns_and_take_no_more_room() {
    let world = world(3);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    let mut other = open(&world, &dir, 1);
    let mut sizes = Vec::new();
    for _ in 0..20 {
        fill(&world, &mut log);
        add(&world, &mut other);
        let files = files(&world);
        sizes.push(files.iter().map(|file| world.disk.content(file).unwrap().len()).sum::<usize>());
    }
    assert_eq!(files(&world).len(), 2);
    assert_eq!(sizes[3..], vec![sizes[3]; sizes.len() - 3], "{sizes:?}");
    let (ends, dir) = ((log.log_end(), other.log_end()), lose_power(&world, dir, [log, other]));
    assert_eq!((open(&world, &dir, 0).log_end(), open(&world, &dir, 1).log_end()), ends);
}

#[test]
fn a_journal_without_room_leaves_it_to_the_segments() {
    let world = world(4);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    append(&world, &mut log, plain_batch(&["a"], 1));
    world.disk.set_room(Some(world.disk.bytes_used()));
    run(log.sync()).unwrap();
    world.disk.set_room(None);
    let dir = lose_power(&world, dir, [log]);
    assert_eq!(open(&world, &dir, 0).log_end(), Offset(1));
}

#[test]
fn after_an_error_of_the_journal_nothing_is_acknowledged() {
    for operation in [Operation::Write, Operation::Sync] {
        let world = world(5);
        let dir = world.open_dir();
        let mut logs = [open(&world, &dir, 0), open(&world, &dir, 1)];
        add(&world, &mut logs[0]);
        append(&world, &mut logs[0], plain_batch(&["a"], 1));
        append(&world, &mut logs[1], plain_batch(&["a"], 1));
        world.disk.plan(operation, 0, Fault::Io);
        run(logs[0].sync()).unwrap_err();
        run(logs[1].sync()).unwrap_err();
        assert_eq!((logs[0].durable_end(), logs[1].durable_end()), (Offset(1), Offset(0)));
        assert_eq!(dir.offline_logs().len(), 2);
        let dir = lose_power(&world, dir, logs);
        assert!(open(&world, &dir, 0).log_end() >= Offset(1));
    }
}

#[test]
fn a_stop_in_good_order_leaves_no_journal() {
    let world = world(6);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    add(&world, &mut log);
    assert_eq!(files(&world).len(), 1);
    run(log.close()).unwrap();
    assert!(run(dir.close()).unwrap());
    drop(dir);
    assert_eq!(files(&world), [""; 0]);
    world.disk.lose_power();
    let dir = world.open_dir();
    assert_eq!(open(&world, &dir, 0).log_end(), Offset(1));
}

/// Whatever closed the logs knew nothing of the journal, so that this one speaks of old logs.
#[test]
fn a_journal_beside_the_mark_of_a_clean_stop_is_left_out() {
    let world = world(7);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    add(&world, &mut log);
    world.disk.kill_process();
    drop((log, dir));
    let disk = world.runtime().disk;
    let mark = format!("{DIR}/.kafka_cleanshutdown");
    run(runtime::write_file_durably(&*disk, mark.as_ref(), bytes::Bytes::new())).unwrap();
    let segment = format!("{DIR}/t-0/00000000000000000000.log");
    let file = run(disk.open(segment.as_ref(), runtime::OpenMode::ReadWrite)).unwrap();
    run(file.set_len(0)).unwrap();
    let dir = world.open_dir();
    assert_eq!(files(&world), [""; 0]);
    assert_eq!(open(&world, &dir, 0).log_end(), Offset(0));
}

/// A log with so many records, one block each; then the power goes and the journal is changed.
fn damaged(
    records: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> (World, Result<LogDir, LogDirError>) {
    let world = world(8);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    for _ in 0..records {
        add(&world, &mut log);
    }
    drop((log, dir));
    world.disk.lose_power();
    let file = files(&world).pop().unwrap();
    world.disk.damage(&file, change);
    let dir = world.try_open_dir();
    (world, dir)
}

#[test]
fn a_block_that_was_written_in_part_ends_the_journal() {
    let (world, dir) = damaged(5, |bytes| bytes[4 * PAGE + 60] ^= 1);
    assert_eq!(open(&world, &dir.unwrap(), 0).log_end(), Offset(4));
}

#[test]
fn a_damaged_block_in_the_middle_is_told() {
    for at in [0, 1, 3] {
        let (_world, dir) = damaged(5, |bytes| bytes[at * PAGE + 60] ^= 1);
        let Err(error) = dir else { panic!("block {at} was not missed") };
        assert!(matches!(error, LogDirError::BadJournal { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("block {at}, at position {}", at * PAGE)), "{text}");
        assert!(text.contains("move"), "{text}");
    }
}

#[test]
fn the_last_block_of_a_full_file_is_missed() {
    let world = world(9);
    let dir = world.open_dir();
    // A log that goes away without being closed: what the journal has of it is still needed.
    let mut gone = open(&world, &dir, 1);
    add(&world, &mut gone);
    drop(gone);
    let mut log = open(&world, &dir, 0);
    let blocks = FILE_BYTES as usize / PAGE;
    for _ in 0..blocks {
        add(&world, &mut log);
    }
    let found = files(&world);
    assert_eq!(found.len(), 2);
    drop((log, dir));
    world.disk.lose_power();
    world.disk.damage(&found[0], |bytes| bytes[(blocks - 1) * PAGE + 60] ^= 1);
    let Err(error) = world.try_open_dir() else { panic!("the block was not missed") };
    assert!(error.to_string().contains("blocks are readable"), "{error}");
}

#[test]
fn a_journal_of_another_directory_is_refused() {
    let other = World::with_journal(77, FILE_BYTES);
    let dir = other.open_dir();
    let mut log = open(&other, &dir, 0);
    add(&other, &mut log);
    let file = files(&other).pop().unwrap();
    let foreign = other.disk.content(&file).unwrap();
    drop((log, dir));
    let (_world, dir) = damaged(1, |bytes| *bytes = foreign);
    let Err(error) = dir else { panic!("it was taken") };
    assert!(error.to_string().contains("belongs to the data directory"), "{error}");
}

/// Entries of a log that was deleted do not come back in one of the same name.
#[test]
fn a_log_made_anew_has_nothing_of_the_old_one() {
    let world = world(10);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    for _ in 0..3 {
        add(&world, &mut log);
    }
    run(log.close()).unwrap();
    run(dir.delete_log(&"t-0".parse().unwrap())).unwrap();
    let mut log = open(&world, &dir, 0);
    add(&world, &mut log);
    let dir = lose_power(&world, dir, [log]);
    assert_eq!(open(&world, &dir, 0).log_end(), Offset(1));
}

/// What the journal put into a log is not cut off again without a word.
#[test]
fn a_log_that_lost_what_the_journal_gave_it_is_told() {
    let world = world(11);
    let dir = world.open_dir();
    let config = LogConfig { durability: Durability::Fsync, ..LogConfig::default() };
    let mut log = world.open_log(&dir, "t-0", &config);
    append(&world, &mut log, sized_batch(100_000, 1));
    run(log.sync()).unwrap();
    add(&world, &mut log);
    drop((log, dir));
    world.disk.lose_power();
    // Past the recovery point, so that nothing else would say so.
    world.disk.damage(&format!("{DIR}/t-0/00000000000000000000.log"), |bytes| bytes[200] ^= 1);
    let dir = world.open_dir();
    let opened = world.try_open_log(&dir, "t-0", &config);
    let Err(error) = opened else { panic!("it lost a record in silence") };
    assert!(matches!(error, OpenError::Shorter { log_end: Offset(0), .. }), "{error}");
}

#[test]
fn what_was_truncated_does_not_come_back() {
    let world = world(12);
    let dir = world.open_dir();
    let mut log = open(&world, &dir, 0);
    for _ in 0..5 {
        add(&world, &mut log);
    }
    run(log.truncate_to(Offset(2))).unwrap();
    append(&world, &mut log, plain_batch(&["another", "one"], 1));
    run(log.sync()).unwrap();
    let (before, dir) = (read_all(&log, 0), lose_power(&world, dir, [log]));
    assert_eq!(read_all(&open(&world, &dir, 0), 0), before);
}

/// A sync of its segment failed: that another one succeeds does not bring back what the first took.
#[test]
fn what_an_offline_log_has_in_the_journal_stays_there() {
    for seed in 0..20 {
        leave_with_the_journal(seed);
    }
}

fn leave_with_the_journal(seed: u64) {
    let world = world(seed);
    world.disk.give_up_after_errors();
    let dir = world.open_dir();
    let (mut log, mut other) = (open(&world, &dir, 0), open(&world, &dir, 1));
    add(&world, &mut log);
    append(&world, &mut log, sized_batch(100_000, 1));
    world.disk.plan(Operation::Sync, 0, Fault::Io);
    run(log.sync()).unwrap_err();
    fill(&world, &mut other);
    fill(&world, &mut other);
    run(dir.checkpoint()).unwrap();
    let (end, dir) = (other.log_end(), lose_power(&world, dir, [log, other]));
    assert!(open(&world, &dir, 0).log_end() >= Offset(1));
    assert_eq!(open(&world, &dir, 1).log_end(), end);
}

#[test]
fn a_release_that_fails_is_tried_again() {
    for operation in [Operation::Change, Operation::SyncDir] {
        let world = world(14);
        let dir = world.open_dir();
        let mut log = open(&world, &dir, 0);
        fill(&world, &mut log);
        // The second file is there; the one after it is the first again.
        add(&world, &mut log);
        for _ in 0..FILE_BYTES as usize / PAGE - 1 {
            add(&world, &mut log);
        }
        world.disk.plan(operation, 0, Fault::Io);
        add(&world, &mut log);
        run(dir.checkpoint()).ok();
        run(dir.checkpoint()).unwrap();
        for _ in 0..4 {
            fill(&world, &mut log);
        }
        assert!(!log.is_offline());
        let found = files(&world);
        let newest: u64 = found.last().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
        assert!(newest > 5, "{operation:?}: {found:?}");
        let (end, dir) = (log.log_end(), lose_power(&world, dir, [log]));
        assert_eq!(open(&world, &dir, 0).log_end(), end);
    }
}

#[test]
fn a_full_journal_still_voids() {
    let world = world(15);
    let dir = world.open_dir();
    let mut gone = open(&world, &dir, 1);
    add(&world, &mut gone);
    drop(gone);
    let (mut log, mut other) = (open(&world, &dir, 0), open(&world, &dir, 2));
    for _ in 0..3 {
        fill(&world, &mut log);
    }
    // Both wait: one can go to its segment, the other can not.
    append(&world, &mut other, plain_batch(&["a"], 1));
    let pending = other.begin_sync().unwrap();
    run(log.truncate_to(Offset(3))).unwrap();
    let done = run(pending);
    assert_eq!(other.finish_sync(done).unwrap(), Offset(1));
    append(&world, &mut log, plain_batch(&["another", "one"], 1));
    run(log.sync()).unwrap();
    let before = read_all(&log, 0);
    let dir = lose_power(&world, dir, [log, other]);
    assert_eq!(read_all(&open(&world, &dir, 0), 0), before);
    assert_eq!(open(&world, &dir, 2).log_end(), Offset(1));
}
