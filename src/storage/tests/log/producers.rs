//! Idempotent producers: repeated batches, gaps, epochs, transactions; across restarts.

use model::{LeaderEpoch, Offset, Sequence};
use storage::{AppendBatch, AppendError, AppendOutcome, Log};

use crate::basics::{append, small};
use crate::support::{Producer, World, run};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// One letter and an offset for each outcome.
fn outcomes(world: &World, log: &mut Log, batches: Vec<AppendBatch>) -> Vec<String> {
    let outcomes = run(log.append(batches, LeaderEpoch(0), world.now()));
    let text = |outcome: AppendOutcome| match outcome {
        AppendOutcome::Appended { base_offset, .. } => format!("appended {base_offset}"),
        AppendOutcome::Duplicate { base_offset, last_offset, .. } => {
            format!("duplicate {base_offset}-{last_offset}")
        }
        AppendOutcome::Rejected(AppendError::OutOfOrderSequence {
            last: Sequence(last), ..
        }) => {
            format!("gap after {last}")
        }
        AppendOutcome::Rejected(AppendError::InvalidProducerEpoch { .. }) => "old epoch".into(),
        AppendOutcome::Rejected(AppendError::InvalidTxnState { .. }) => "not in txn".into(),
        AppendOutcome::Rejected(AppendError::CoordinatorFenced { .. }) => "fenced".into(),
        AppendOutcome::Rejected(other) => other.to_string(),
    };
    outcomes.into_iter().map(text).collect()
}

#[test]
fn five_batches_are_recognised_even_after_a_restart() {
    let world = World::new(1);
    let mut dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let p = Producer::new(7);
    for n in 0..7 {
        assert_eq!(
            outcomes(&world, &mut log, vec![p.batch(n * 2, 2, world.now().0)]),
            [format!("appended {}", n * 2)]
        );
    }
    run(log.sync()).unwrap();
    for restart in 0..3 {
        match restart {
            0 => {}
            1 => {
                run(log.close()).unwrap();
                assert!(run(dir.close()).unwrap());
                drop(dir);
                dir = world.open_dir();
                log = world.open_log(&dir, "t-0", &small());
            }
            _ => {
                world.disk.kill_process();
                drop((log, dir));
                dir = world.open_dir();
                log = world.open_log(&dir, "t-0", &small());
            }
        }
        let again: Vec<_> = (2..7).map(|n| p.batch(n * 2, 2, world.now().0)).collect();
        let expected: Vec<_> =
            (2..7).map(|n| format!("duplicate {}-{}", n * 2, n * 2 + 1)).collect();
        assert_eq!(outcomes(&world, &mut log, again), expected);
        assert_eq!(outcomes(&world, &mut log, vec![p.batch(2, 2, 1)]), ["gap after 13"]);
        assert_eq!(outcomes(&world, &mut log, vec![p.batch(12, 1, 1)]), ["gap after 13"]);
    }
}

#[test]
fn a_group_sees_its_own_earlier_batches() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let p = Producer::new(7);
    let group = vec![
        p.batch(0, 1, 1),
        p.batch(1, 2, 1),
        p.batch(1, 2, 1),
        p.batch(4, 1, 1),
        p.batch(3, 1, 1),
    ];
    let expected = ["appended 0", "appended 1", "duplicate 1-2", "gap after 2", "appended 3"];
    assert_eq!(outcomes(&world, &mut log, group), expected);
}

#[test]
fn epochs_and_wrapping_sequences() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let p = Producer::new(7);
    // Nothing is known of the producer: any sequence will do.
    assert_eq!(outcomes(&world, &mut log, vec![p.batch(i32::MAX - 1, 2, 1)]), ["appended 0"]);
    assert_eq!(outcomes(&world, &mut log, vec![p.batch(0, 1, 1)]), ["appended 2"]);
    let next = Producer { epoch: 1, ..p };
    assert_eq!(outcomes(&world, &mut log, vec![next.batch(1, 1, 1)]), ["gap after -1"]);
    assert_eq!(outcomes(&world, &mut log, vec![next.batch(0, 1, 1)]), ["appended 3"]);
    assert_eq!(outcomes(&world, &mut log, vec![p.batch(0, 1, 1)]), ["old epoch"]);
    // A batch that wraps within itself is recognised when it is repeated.
    let q = Producer::new(8);
    assert_eq!(outcomes(&world, &mut log, vec![q.batch(i32::MAX, 3, 1)]), ["appended 4"]);
    assert_eq!(outcomes(&world, &mut log, vec![q.batch(i32::MAX, 3, 1)]), ["duplicate 4-6"]);
    assert_eq!(outcomes(&world, &mut log, vec![q.batch(2, 1, 1)]), ["appended 7"]);
}

#[test]
fn transactions_hold_the_stable_offset_back() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let (p, q) = (Producer::new(7), Producer::new(8));
    append(&world, &mut log, &["plain"]);
    let now = world.now().0;
    outcomes(&world, &mut log, vec![p.txn_batch(0, 2, now), q.txn_batch(0, 1, now)]);
    assert_eq!(log.first_unstable_offset(Offset(4)), Some(Offset(1)));
    assert_eq!(outcomes(&world, &mut log, vec![p.batch(2, 1, 1)]), ["not in txn"]);
    assert_eq!(outcomes(&world, &mut log, vec![p.marker(true, 3, now)]), ["appended 4"]);
    // The marker is not replicated yet.
    assert_eq!(log.first_unstable_offset(Offset(4)), Some(Offset(1)));
    assert_eq!(log.first_unstable_offset(Offset(5)), Some(Offset(3)));
    assert_eq!(outcomes(&world, &mut log, vec![p.marker(true, 2, 9)]), ["fenced"]);
    run(log.sync()).unwrap();
    world.disk.kill_process();
    drop((log, dir));
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    assert_eq!(log.first_unstable_offset(Offset(5)), Some(Offset(3)));
    assert_eq!(outcomes(&world, &mut log, vec![q.marker(false, 0, 9)]), ["appended 5"]);
    assert_eq!(log.first_unstable_offset(Offset(6)), None);
    let known = log.producers();
    assert_eq!(known[0].coordinator_epoch, 3);
    assert_eq!(known[0].last_timestamp.0, now);
}

#[test]
fn idle_producers_are_forgotten_and_open_transactions_are_not() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    let (p, q) = (Producer::new(7), Producer::new(8));
    let now = world.now().0;
    outcomes(&world, &mut log, vec![p.batch(0, 1, now), q.txn_batch(0, 1, now)]);
    log.expire_producers();
    world.clock.advance_ms(DAY_MS - 1);
    log.expire_producers();
    assert_eq!(log.producers().len(), 2);
    world.clock.advance_ms(1);
    log.expire_producers();
    let left: Vec<i64> = log.producers().iter().map(|p| p.producer_id.0).collect();
    assert_eq!(left, [8]);
}

#[test]
fn a_producer_at_work_is_not_forgotten_whatever_its_timestamps_say() {
    let world = World::new(1);
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    // It copies the records of last year.
    let (p, then) = (Producer::new(7), world.now().0 - 365 * DAY_MS);
    outcomes(&world, &mut log, vec![p.batch(0, 1, then)]);
    log.expire_producers();
    world.clock.advance_ms(DAY_MS - 1);
    outcomes(&world, &mut log, vec![p.batch(1, 1, then)]);
    log.expire_producers();
    world.clock.advance_ms(DAY_MS - 1);
    log.expire_producers();
    assert_eq!(log.producers().len(), 1);
    run(log.sync()).unwrap();
    world.disk.kill_process();
    drop((log, dir));
    let dir = world.open_dir();
    let mut log = world.open_log(&dir, "t-0", &small());
    log.expire_producers();
    assert_eq!(log.producers().len(), 1, "a restart is not silence");
}
