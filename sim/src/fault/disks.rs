//! Faults of disks: waiting for an operation, and striking.

use std::time::Duration;

use super::Faults;
use super::proof::Proof;
use crate::disk::{DiskEvent, Op, PathFilter, Phase as DiskPhase, Verdict};
use crate::plan::{Action, DiskOp, Fault, Phase, Trigger};

/// An operation that a trigger waits for.
struct DiskWatch {
    fault: usize,
    op: DiskOp,
    filter: PathFilter,
    phase: Phase,
    left: u32,
    /// The machine goes with it: whoever asked never hears of it.
    is_crash: bool,
}

impl Faults {
    pub(super) fn arm_disks(&self, plan: &[Fault]) {
        for id in 1..=self.work.scenario.cluster.brokers {
            let watches: Vec<DiskWatch> = plan
                .iter()
                .enumerate()
                .filter_map(|(at, fault)| DiskWatch::of(at, fault, id))
                .collect();
            if watches.is_empty() {
                continue;
            }
            let faults = self.clone();
            let mut watches = watches;
            let tap = move |event: &DiskEvent| faults.on_disk(&mut watches, event);
            self.machines.machine(self.cluster.node(id)).disk.on_operation(Box::new(tap));
        }
    }

    /// Counts an operation, and plans the faults that waited for it.
    fn on_disk(&self, watches: &mut Vec<DiskWatch>, event: &DiskEvent) -> Verdict {
        let mut verdict = Verdict::Go;
        watches.retain_mut(|watch| {
            if !watch.matches(event) {
                return true;
            }
            watch.left = watch.left.saturating_sub(1);
            if watch.left > 0 {
                return true;
            }
            if watch.is_crash && !self.lock().is_healed {
                verdict = Verdict::Hang;
            }
            self.strike_soon(watch.fault);
            false
        });
        verdict
    }

    pub(super) fn act_on_disk(&self, at: usize, action: &Action, key: u64) -> bool {
        let disk = |broker: u32| self.machines.machine(self.cluster.node(broker)).disk;
        let (disk, fault) = match action {
            Action::DiskError { broker, op, path, nth } => {
                let disk = disk(*broker);
                let (filter, nth) = (filter(path), u64::from(*nth));
                let fault = match op {
                    DiskOp::Remove => disk.fail_next_removal(filter, nth),
                    op => disk.fail_next(op_of(*op), filter, nth),
                };
                (disk, fault)
            }
            Action::DiskFull { broker, left, ms } => {
                let disk = disk(*broker);
                let fault = disk.full(*left);
                let freed = disk.clone();
                self.world.after(Duration::from_millis(*ms), move |_| freed.free_again(fault));
                (disk, fault)
            }
            Action::DiskSlow { broker, factor, ms } => {
                let disk = disk(*broker);
                let fault = disk.slow(u64::from(*factor), Duration::from_millis(*ms));
                (disk, fault)
            }
            Action::DiskStall { broker, ms } => {
                let disk = disk(*broker);
                let fault = disk.stall(Duration::from_millis(*ms));
                (disk, fault)
            }
            Action::Rot { broker, path } => {
                let disk = disk(*broker);
                let fault = disk.rot(&filter(path), key);
                (disk, fault)
            }
            Action::MisdirectWrite { broker, path } => {
                let disk = disk(*broker);
                let fault = disk.misdirect_next_write(filter(path));
                (disk, fault)
            }
            _ => return false,
        };
        self.prove(at, Proof::Disk(disk, fault));
        false
    }
}

impl DiskWatch {
    fn of(at: usize, fault: &Fault, id: u32) -> Option<DiskWatch> {
        let Trigger::Disk { broker, op, path, nth, phase } = &fault.when else { return None };
        if *broker != id {
            return None;
        }
        let is_crash = match &fault.what {
            Action::Kill { broker, .. }
            | Action::PowerLoss { broker, .. }
            | Action::CrashLoop { broker, .. } => *broker == id,
            _ => false,
        };
        let (op, phase) = (*op, *phase);
        Some(DiskWatch { fault: at, op, filter: filter(path), phase, left: *nth, is_crash })
    }

    fn matches(&self, event: &DiskEvent) -> bool {
        let phase = match self.phase {
            Phase::Begin => DiskPhase::Begin,
            Phase::Effect => DiskPhase::Effect,
        };
        let is_op =
            event.op == op_of(self.op) || (self.op == DiskOp::Remove && event.op == Op::RemoveDir);
        event.phase == phase && is_op && self.filter.matches(&event.path)
    }
}

fn op_of(op: DiskOp) -> Op {
    match op {
        DiskOp::Open => Op::Open,
        DiskOp::Read => Op::Read,
        DiskOp::Write => Op::Write,
        DiskOp::Sync => Op::Sync,
        DiskOp::SyncDir => Op::SyncDir,
        DiskOp::Rename => Op::Rename,
        DiskOp::Remove => Op::RemoveFile,
        DiskOp::SetLen => Op::SetLen,
        DiskOp::CreateDir => Op::CreateDir,
        DiskOp::List => Op::List,
        DiskOp::Len => Op::Len,
    }
}

fn filter(path: &str) -> PathFilter {
    match path.split_once('*') {
        Some((part, suffix)) => PathFilter::of(part, suffix),
        None if path.is_empty() => PathFilter::Any,
        None => PathFilter::Contains(path.to_owned()),
    }
}
