//! Random work, a crash at a random point, recovery: everything that was acknowledged is there
//! byte for byte, the log is a prefix of what was written, producers and indexes follow from it.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset, Sequence};
use proptest::prelude::*;
use storage::{
    AppendBatch, AppendError, AppendOutcome, Durability, Log, LogConfig, LogDir, ReadRequest,
    StorageError,
};

use crate::basics::request;
use crate::support::batches::{sized_batch, split};
use crate::support::fault_disk::Operation;
use crate::support::model::{ModelLog, ModelProducer, Verdict};
use crate::support::{DIR, Fault, Producer, World, run};

#[derive(Clone, Debug)]
enum Batch {
    Plain { bytes: usize },
    Next { producer: i64, count: usize },
    Repeat { producer: i64, back: usize },
    Gap { producer: i64 },
    NewEpoch { producer: i64 },
    Txn { producer: i64 },
    Marker { producer: i64 },
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Batch>),
    Sync,
    SyncBehind(Batch),
    Checkpoint,
    LeaderEpoch,
    Truncate {
        permille: i64,
    },
    Reopen,
    /// So many more bytes fit on the disk, for the next appends; then there is room again.
    AppendWithRoom {
        bytes: usize,
        batches: Vec<Batch>,
    },
    /// Everything below is deleted.
    DeleteRecords {
        permille: i64,
    },
    /// Keeps so many bytes of whole segments.
    Retain {
        bytes: i64,
    },
    /// The write, read or sync that comes this much later fails.
    PlanError {
        operation: Operation,
        later: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Kill,
    Power,
}

/// From a start to a stop or crash.
#[derive(Clone, Debug)]
struct Life {
    steps: Vec<Step>,
    end: End,
    /// The disk stands still after so many operations.
    halt_after: Option<u64>,
    /// So does it in the recovery that follows, which is then tried again.
    halt_recovery_after: Option<u64>,
}

fn batch() -> impl Strategy<Value = Batch> {
    let producer = 1..4i64;
    prop_oneof![
        3 => (1usize..900).prop_map(|bytes| Batch::Plain { bytes }),
        4 => (producer.clone(), 1..4usize)
            .prop_map(|(producer, count)| Batch::Next { producer, count }),
        2 => (producer.clone(), 0..7usize)
            .prop_map(|(producer, back)| Batch::Repeat { producer, back }),
        1 => producer.clone().prop_map(|producer| Batch::Gap { producer }),
        1 => producer.clone().prop_map(|producer| Batch::NewEpoch { producer }),
        1 => producer.clone().prop_map(|producer| Batch::Txn { producer }),
        1 => producer.prop_map(|producer| Batch::Marker { producer }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::SyncDir),
        Just(Operation::Change),
    ];
    prop_oneof![
        8 => prop::collection::vec(batch(), 1..5).prop_map(Step::Append),
        4 => Just(Step::Sync),
        1 => batch().prop_map(Step::SyncBehind),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::LeaderEpoch),
        1 => (0..1000i64).prop_map(|permille| Step::Truncate { permille }),
        1 => Just(Step::Reopen),
        1 => (0..1500usize, prop::collection::vec(batch(), 1..5))
            .prop_map(|(bytes, batches)| Step::AppendWithRoom { bytes, batches }),
        1 => (0..1100i64).prop_map(|permille| Step::DeleteRecords { permille }),
        1 => (0..9000i64).prop_map(|bytes| Step::Retain { bytes }),
        1 => (operation, 0..6u64)
            .prop_map(|(operation, later)| Step::PlanError { operation, later }),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    let end = prop_oneof![1 => Just(End::Clean), 1 => Just(End::Kill), 3 => Just(End::Power)];
    let steps = prop::collection::vec(step(), 1..25);
    let halt = prop::option::weighted(0.6, 1..120u64);
    let recovery = prop::option::weighted(0.3, 0..20u64);
    (steps, end, halt, recovery).prop_map(|(steps, end, halt_after, halt_recovery_after)| Life {
        steps,
        end,
        halt_after,
        halt_recovery_after,
    })
}

/// Size of the journal's files: none, a few blocks, many.
fn journal() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 2 => Just(16 * 1024), 1 => Just(1024 * 1024)]
}

/// A log, its world, and what it must hold.
struct Trial {
    world: World,
    config: LogConfig,
    model: ModelLog,
    /// Batches that may or may not be there after `model`: the crash came while they were written.
    maybe: ModelLog,
    /// The recovered log reaches at least to here.
    must_have: i64,
    /// And to here after a loss of power, whatever the topic asks for.
    closed_at: i64,
    /// Where the log may start after a crash.
    earliest_start: i64,
    latest_start: i64,
    epoch: i32,
    /// There will be a loss of power, and nothing asks for syncs.
    loses_writes: bool,
}

impl Trial {
    fn new(seed: u64, durability: Durability, short_io: bool, journal_file_bytes: u64) -> Trial {
        let world = World::with_journal(seed, journal_file_bytes);
        world.disk.set_short_io(short_io);
        let config = LogConfig {
            segment_bytes: 3000,
            index_interval_bytes: 200,
            durability,
            ..LogConfig::default()
        };
        let (model, maybe) = (ModelLog::default(), ModelLog::default());
        Trial {
            world,
            config,
            model,
            maybe,
            must_have: 0,
            closed_at: 0,
            earliest_start: 0,
            latest_start: 0,
            epoch: 0,
            loses_writes: false,
        }
    }

    fn live(&mut self, life: &Life) {
        let dir = self.world.open_dir();
        let mut log = self.world.open_log(&dir, "t-0", &self.config);
        self.check(&mut log);
        self.maybe = self.model.clone();
        if let Some(operations) = life.halt_after {
            self.world.disk.halt_after(operations);
        }
        for step in &life.steps {
            match self.step(&dir, log, step, life.halt_after.is_some()) {
                Some(open) => log = open,
                None => return self.crash(life),
            }
        }
        if life.end == End::Clean {
            if run(log.close()).is_ok() && matches!(run(dir.close()), Ok(true)) {
                self.note_closed();
                drop(dir);
                // Cleanly stopped, then the power goes: nothing may change.
                self.world.disk.lose_power();
                return self.recover(End::Power, life.halt_recovery_after);
            }
        } else {
            drop((log, dir));
        }
        self.crash(life);
    }

    fn crash(&mut self, life: &Life) {
        if life.end == End::Power {
            if self.config.durability == Durability::Os {
                self.must_have = self.closed_at;
            }
            self.world.disk.lose_power();
        } else {
            self.must_have = self.must_have.max(self.model.end());
            self.world.disk.kill_process();
        }
        self.recover(life.end, life.halt_recovery_after);
    }

    /// One step; `None` when the disk stood still.
    fn step(&mut self, dir: &LogDir, mut log: Log, step: &Step, halts: bool) -> Option<Log> {
        match step {
            Step::Append(batches) => self.append(&mut log, batches)?,
            Step::Sync => {
                run(log.sync()).ok()?;
                assert_eq!(log.durable_end(), log.log_end());
                self.note_durable(&log);
            }
            Step::SyncBehind(batch) => {
                let pending = log.begin_sync();
                let covered = log.log_end();
                let appended = self.append(&mut log, std::slice::from_ref(batch));
                if let Some(pending) = pending {
                    let done = run(pending);
                    run(async { log.finish_sync(done) }).ok()?;
                    assert!(log.durable_end() >= covered);
                    self.note_durable(&log);
                }
                appended?;
            }
            Step::Checkpoint => run(dir.checkpoint()).ok()?,
            Step::LeaderEpoch => {
                self.epoch += 1;
                run(log.assign_leader_epoch(LeaderEpoch(self.epoch))).ok()?;
            }
            // Where nothing asks for syncs, a later loss of power may undo a truncation that a crash
            // interrupted.
            Step::Truncate { .. }
                if self.loses_writes || halts && self.config.durability == Durability::Os => {}
            Step::Truncate { permille } => self.truncate(&mut log, *permille)?,
            Step::Reopen => {
                run(log.close()).ok()?;
                self.note_closed();
                log = self.world.try_open_log(dir, "t-0", &self.config).ok()?;
                if !halts && !self.world.disk.is_about_to_fail() {
                    self.check(&mut log);
                }
            }
            // Nor is a write that did not fit sure to stay undone there.
            Step::AppendWithRoom { .. } if self.loses_writes => {}
            Step::AppendWithRoom { bytes, batches } => {
                self.world.disk.set_room(Some(self.world.disk.bytes_used() + bytes));
                let appended = self.append(&mut log, batches);
                self.world.disk.set_room(None);
                appended?;
            }
            // Below the high watermark, which only covers what is durable; where nothing is, a loss of
            // power takes records that a later start had left.
            Step::DeleteRecords { .. } | Step::Retain { .. } if self.loses_writes => {}
            Step::DeleteRecords { permille } => self.delete_records(&mut log, *permille)?,
            Step::Retain { bytes } => self.retain(&mut log, *bytes)?,
            Step::PlanError { operation, later } => {
                self.world.disk.plan(*operation, *later, Fault::Io);
            }
        }
        Some(log)
    }

    fn truncate(&mut self, log: &mut Log, permille: i64) -> Option<()> {
        let offset = (self.model.end() * permille / 1000).max(self.model.start);
        let mut shorter = self.model.clone();
        shorter.truncate(offset);
        self.must_have = self.must_have.min(shorter.end());
        self.closed_at = self.closed_at.min(shorter.end());
        // A batch that holds the start goes whole.
        self.earliest_start = self.earliest_start.min(shorter.end());
        let whole = std::mem::replace(&mut self.model, shorter);
        self.maybe = whole.clone();
        if run(log.truncate_to(Offset(offset))).is_err() {
            return None;
        }
        self.model.start = self.model.start.min(self.model.end());
        self.maybe = self.model.clone();
        Some(())
    }

    fn delete_records(&mut self, log: &mut Log, permille: i64) -> Option<()> {
        let to = self.model.end() * permille / 1000;
        let to = to.min(log.durable_end().0).max(self.model.start);
        self.latest_start = self.latest_start.max(to);
        let moved = run(log.delete_records(Offset(to))).ok()?;
        assert_eq!(moved, Offset(to));
        self.model.start = to;
        self.earliest_start = to;
        Some(())
    }

    fn retain(&mut self, log: &mut Log, bytes: i64) -> Option<()> {
        let config = LogConfig { retention_bytes: bytes, ..self.config.clone() };
        log.set_config(config);
        let end = log.durable_end();
        self.latest_start = self.latest_start.max(end.0);
        run(log.apply_retention(end, self.world.now())).ok()?;
        log.set_config(self.config.clone());
        self.model.start = log.log_start().0;
        self.latest_start = self.model.start;
        run(log.remove_deleted_files(self.world.now()));
        Some(())
    }

    fn note_closed(&mut self) {
        self.closed_at = self.model.end();
        self.must_have = self.closed_at;
    }

    fn note_durable(&mut self, log: &Log) {
        if self.config.durability == Durability::Fsync {
            self.must_have = self.must_have.max(log.durable_end().0);
        }
    }

    /// Appends a group and compares every outcome with the model's; `None` when the disk stood
    /// still.
    fn append(&mut self, log: &mut Log, batches: &[Batch]) -> Option<()> {
        let before = self.model.clone();
        let mut group = Vec::new();
        let mut verdicts = Vec::new();
        for batch in batches {
            let batch = self.make(batch);
            let is_marker = batch.header.attributes.is_control();
            let verdict = self.model.judge(&batch.header, is_marker);
            if let Verdict::Appended(_) = verdict {
                self.model.push(&batch, self.epoch);
            }
            verdicts.push(verdict);
            group.push(batch);
        }
        let now = self.world.now();
        let outcomes = run(log.append(group, LeaderEpoch(self.epoch), now));
        let mut end = before.end();
        // Full disks reject the rest of the group and leave nothing; other errors end the log and
        // may leave what they did write.
        let (mut stood_still, mut is_full) = (false, false);
        for (outcome, verdict) in outcomes.iter().zip(&verdicts) {
            let Some(found) = verdict_of(outcome) else {
                stood_still = true;
                is_full |= is_disk_full(outcome);
                continue;
            };
            if let AppendOutcome::Appended { last_offset, .. } = outcome {
                assert!(!stood_still, "nothing behind a failed part is written: {outcomes:?}");
                end = last_offset.0 + 1;
            }
            assert!(stood_still || found == *verdict, "{outcomes:?}, expected {verdict:?}");
        }
        self.maybe = self.model.clone();
        self.model.truncate(end);
        assert_eq!(is_full, stood_still && !log.is_offline());
        if is_full {
            self.maybe = self.model.clone();
            assert_eq!(log.log_end().0, end);
        }
        (!log.is_offline()).then_some(())
    }

    fn make(&self, batch: &Batch) -> AppendBatch {
        let producers = self.model.producers();
        let known = |id: i64| producers.get(&id).cloned().unwrap_or_default();
        let at = self.world.now().0;
        let of = |id: i64| Producer { id, epoch: known(id).epoch };
        let next = |id: i64| known(id).next_sequence();
        match *batch {
            Batch::Plain { bytes } => sized_batch(bytes, at),
            Batch::Next { producer: id, count } => {
                if known(id).txn_start.is_some() {
                    of(id).txn_batch(next(id), count, at)
                } else {
                    of(id).batch(next(id), count, at)
                }
            }
            Batch::Repeat { producer: id, back } => {
                let batches = known(id).batches;
                match batches.iter().rev().nth(back) {
                    Some(&(first, last, ..)) => {
                        of(id).batch(first, (last - first) as usize + 1, at)
                    }
                    None => of(id).batch(next(id), 1, at),
                }
            }
            Batch::Gap { producer: id } => of(id).batch(next(id).wrapping_add(2), 1, at),
            Batch::NewEpoch { producer: id } => {
                Producer { id, epoch: known(id).epoch + 1 }.txn_batch(0, 1, at)
            }
            Batch::Txn { producer: id } => of(id).txn_batch(next(id), 2, at),
            Batch::Marker { producer: id } => of(id).marker(next(id) % 2 == 0, 1, at),
        }
    }

    /// Opens after a crash, perhaps crashing on the way, and takes over what is there.
    fn recover(&mut self, end: End, halt_after: Option<u64>) {
        if let Some(operations) = halt_after {
            self.world.disk.halt_after(operations);
            if let Ok(dir) = self.world.try_open_dir() {
                let _ = self.world.try_open_log(&dir, "t-0", &self.config);
            }
            match end {
                End::Power => self.world.disk.lose_power(),
                End::Clean | End::Kill => self.world.disk.kill_process(),
            }
        }
        let dir = self.world.open_dir();
        let mut log = self.world.open_log(&dir, "t-0", &self.config);
        let end = log.log_end().0;
        assert!(end >= self.must_have, "acknowledged up to {}, found {end}", self.must_have);
        let limit = self.maybe.end().max(self.model.end());
        assert!(end <= limit, "wrote up to {limit}, found {end}");
        if end > self.model.end() || self.maybe.entries.len() > self.model.entries.len() {
            self.model = self.maybe.clone();
        }
        self.model.truncate(end);
        assert_eq!(self.model.end(), end, "the log ends with a whole batch");
        let start = log.log_start().0;
        assert!((self.earliest_start..=self.latest_start).contains(&start), "starts at {start}");
        self.model.start = start;
        self.latest_start = start;
        self.check(&mut log);
        let first = self.image(&log);
        self.world.disk.kill_process();
        drop((log, dir));
        let dir = self.world.open_dir();
        let log = self.world.open_log(&dir, "t-0", &self.config);
        assert_eq!(self.image(&log), first, "recovering twice gives what once gave");
        if self.config.durability == Durability::Fsync {
            // What was found is durable, so that it may be acknowledged now.
            self.must_have = end;
        }
        self.world.disk.kill_process();
    }

    /// Ends and bytes.
    fn image(&self, log: &Log) -> (i64, i64, BTreeMap<String, Vec<u8>>, String) {
        let dir = format!("{DIR}/t-0");
        let files = self.world.disk.names(&dir).into_iter().filter(|name| name.ends_with(".log"));
        let files = files.map(|name| {
            let content = self.world.disk.content(&format!("{dir}/{name}")).unwrap();
            (name, content)
        });
        let producers = format!("{:?}", log.producers());
        (log.log_start().0, log.log_end().0, files.collect(), producers)
    }

    /// Compares all that a log shows with the model.
    fn check(&self, log: &mut Log) {
        assert_eq!(log.log_end().0, self.model.end());
        assert_eq!(log.durable_end(), log.log_end());
        let reader = log.reader();
        assert_eq!(log.log_start().0, self.model.start);
        let there = self.model.entries.iter().filter(|entry| entry.end() > self.model.start);
        for entry in there.clone() {
            for offset in [entry.base().max(self.model.start), entry.end() - 1] {
                let read = ReadRequest { max_bytes: 1, ..request(offset) };
                let read = run(reader.read(read)).unwrap();
                assert_eq!(read.bytes, entry.bytes, "offset {offset}");
            }
            let epoch = reader.leader_epoch_of(Offset(entry.end() - 1));
            assert_eq!(epoch, Some(entry.header.leader_epoch));
        }
        let mut at = self.model.start;
        let mut all = Vec::new();
        while at < log.log_end().0 {
            let read = run(reader.read(request(at))).unwrap();
            all.extend(split(&read.bytes).into_iter().map(|batch| batch.bytes));
            at = read.next_offset.0;
        }
        let expected: Vec<_> = there.map(|entry| entry.bytes.clone()).collect();
        assert_eq!(all, expected);
        self.check_producers(log);
    }

    fn check_producers(&self, log: &mut Log) {
        let known = self.model.producers();
        let described = log.producers();
        let ids: Vec<i64> = described.iter().map(|p| p.producer_id.0).collect();
        assert_eq!(ids, known.keys().copied().collect::<Vec<_>>());
        for (found, (id, expected)) in described.iter().zip(&known) {
            assert_eq!(found.epoch.0, expected.epoch);
            let last = expected.batches.last().map_or(-1, |batch| batch.1);
            assert_eq!(found.last_sequence, Sequence(last));
            assert_eq!(found.current_txn_start, expected.txn_start.map(Offset));
            self.check_window(log, *id, expected);
        }
    }

    /// All of the last five batches are recognised, each at its offsets; nothing is written.
    fn check_window(&self, log: &mut Log, id: i64, expected: &ModelProducer) {
        let producer = Producer { id, epoch: expected.epoch };
        let now = self.world.now();
        for &(first, last, base, end) in &expected.batches {
            let batch = producer.batch(first, (last - first) as usize + 1, now.0);
            let outcomes = run(log.append(vec![batch], LeaderEpoch(self.epoch), now));
            assert_eq!(verdict_of(&outcomes[0]), Some(Verdict::Duplicate(base, end)));
        }
    }
}

fn is_disk_full(outcome: &AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Rejected(AppendError::Storage(StorageError::DiskFull { .. })))
}

/// In the model's words; `None` when the log is offline.
fn verdict_of(outcome: &AppendOutcome) -> Option<Verdict> {
    Some(match outcome {
        AppendOutcome::Appended { base_offset, .. } => Verdict::Appended(base_offset.0),
        AppendOutcome::Duplicate { base_offset, last_offset, .. } => {
            Verdict::Duplicate(base_offset.0, last_offset.0)
        }
        AppendOutcome::Rejected(AppendError::OutOfOrderSequence { .. }) => Verdict::Gap,
        AppendOutcome::Rejected(AppendError::InvalidProducerEpoch { .. }) => Verdict::OldEpoch,
        AppendOutcome::Rejected(AppendError::InvalidTxnState { .. }) => Verdict::NotInTxn,
        AppendOutcome::Rejected(AppendError::Storage(_)) => return None,
        AppendOutcome::Rejected(other) => panic!("{other}"),
    })
}

proptest! {
    #[test]
    fn what_was_synced_survives_any_crash(
        seed in any::<u64>(),
        short_io in any::<bool>(),
        lives in prop::collection::vec(life(), 1..4),
        journal in journal(),
    ) {
        let mut trial = Trial::new(seed, Durability::Fsync, short_io, journal);
        for life in &lives {
            trial.live(life);
        }
    }

    #[test]
    fn what_was_written_survives_a_killed_process_without_syncs(
        seed in any::<u64>(),
        short_io in any::<bool>(),
        lives in prop::collection::vec(life(), 1..4),
        journal in journal(),
    ) {
        let mut trial = Trial::new(seed, Durability::Os, short_io, journal);
        trial.loses_writes = lives.iter().any(|life| life.end == End::Power);
        for life in &lives {
            trial.live(life);
        }
    }
}
