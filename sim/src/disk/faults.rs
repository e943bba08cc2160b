//! Faults that wait for their operation, and the account of what each fault did.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::op::{Op, PathFilter};
use crate::world::Nanos;

/// A fault of one disk, counted from 1 in the order they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub u64);

/// What a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An operation fails.
    Fail(Op),
    /// A file or directory is not removed.
    FailRemoval,
    /// There is no room.
    Full,
    /// Everything waits.
    Stall,
    /// Everything takes longer.
    Slow,
    /// Syncs do nothing.
    Lie,
    /// A bit turns over.
    Rot,
    /// A write lands elsewhere.
    MisdirectWrite,
    /// A read comes from elsewhere.
    MisdirectRead,
    /// The disk is replaced.
    Wipe,
    /// An old content comes back.
    Restore,
    /// A process ended in the middle of operations.
    ProcessEnd,
    /// The page cache is gone.
    PowerLoss,
}

/// What a fault did so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Which fault.
    pub fault: FaultId,
    /// What it is.
    pub kind: FaultKind,
    /// When it was asked for.
    pub asked_at: Nanos,
    /// How many operations or bytes felt it; 0: it had no effect.
    pub strikes: u64,
    /// When it first struck.
    pub first_at: Option<Nanos>,
    /// What it struck first.
    pub first: String,
}

/// Waits for the `left`-th matching operation.
struct Planned {
    fault: FaultId,
    kind: FaultKind,
    filter: PathFilter,
    left: u64,
}

/// What was decided about an operation when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Go,
    /// The device says no.
    Broken,
    /// A tap says no.
    Refused(io::ErrorKind),
    /// It lands, or comes from, elsewhere.
    Misdirected(FaultId),
}

#[derive(Default)]
pub(super) struct Faults {
    planned: Vec<Planned>,
    effects: BTreeMap<FaultId, Effect>,
    asked: u64,
    /// Until when, and by which faults: one that ends leaves the others as they were.
    stalls: Vec<(Nanos, FaultId)>,
    slow: Vec<(Nanos, u64, FaultId)>,
    pub(super) lying: Option<FaultId>,
    /// More bytes than these do not fit, by each of these faults.
    full: Vec<(u64, FaultId)>,
}

impl Faults {
    pub(super) fn ask(&mut self, kind: FaultKind, now: Nanos) -> FaultId {
        self.asked += 1;
        let fault = FaultId(self.asked);
        let (first_at, first) = (None, String::new());
        let effect = Effect { fault, kind, asked_at: now, strikes: 0, first_at, first };
        self.effects.insert(fault, effect);
        fault
    }

    pub(super) fn plan(
        &mut self,
        kind: FaultKind,
        filter: PathFilter,
        nth: u64,
        now: Nanos,
    ) -> FaultId {
        let fault = self.ask(kind, now);
        self.planned.push(Planned { fault, kind, filter, left: nth.max(1) });
        fault
    }

    /// Notes that a fault struck; whether for the first time.
    pub(super) fn strike(&mut self, fault: FaultId, now: Nanos, count: u64, what: &str) -> bool {
        let Some(effect) = self.effects.get_mut(&fault) else { return false };
        if count == 0 {
            return false;
        }
        effect.strikes += count;
        let is_first = effect.first_at.is_none();
        if is_first {
            effect.first_at = Some(now);
            what.clone_into(&mut effect.first);
        }
        is_first
    }

    /// Forgets what waits or lasts, not what it did.
    pub(super) fn heal(&mut self) {
        let (effects, asked) = (std::mem::take(&mut self.effects), self.asked);
        *self = Faults { effects, asked, ..Faults::default() };
    }

    pub(super) fn effects(&self) -> Vec<Effect> {
        self.effects.values().cloned().collect()
    }

    /// Counts an operation that begins: the planned fault that it meets.
    pub(super) fn meet(&mut self, op: Op, path: &str, now: Nanos) -> Fate {
        let mut fate = Fate::Go;
        let mut struck = None;
        self.planned.retain_mut(|planned| {
            let is_of_kind = match planned.kind {
                FaultKind::Fail(wanted) => wanted == op,
                FaultKind::FailRemoval => matches!(op, Op::RemoveFile | Op::RemoveDir),
                FaultKind::MisdirectWrite => op == Op::Write,
                FaultKind::MisdirectRead => op == Op::Read,
                _ => false,
            };
            if !is_of_kind || !planned.filter.matches(path) {
                return true;
            }
            if 1 < planned.left || struck.is_some() {
                planned.left = planned.left.saturating_sub(1).max(1);
                return true;
            }
            struck = Some((planned.fault, planned.kind));
            false
        });
        if let Some((fault, kind)) = struck {
            fate = match kind {
                FaultKind::Fail(_) | FaultKind::FailRemoval => {
                    self.strike(fault, now, 1, path);
                    Fate::Broken
                }
                // Strikes when there is an elsewhere.
                _ => Fate::Misdirected(fault),
            };
        }
        fate
    }

    pub(super) fn stall(&mut self, until: Nanos, now: Nanos) -> FaultId {
        let fault = self.ask(FaultKind::Stall, now);
        self.stalls.push((until, fault));
        fault
    }

    /// Until when an operation has to wait.
    pub(super) fn stalled(&mut self, now: Nanos, what: &str) -> Option<Nanos> {
        self.stalls.retain(|(until, _)| now < *until);
        let until = self.stalls.iter().map(|(until, _)| *until).max()?;
        for at in 0..self.stalls.len() {
            self.strike(self.stalls[at].1, now, 1, what);
        }
        Some(until)
    }

    pub(super) fn slow(&mut self, factor: u64, until: Nanos, now: Nanos) -> FaultId {
        let fault = self.ask(FaultKind::Slow, now);
        self.slow.push((until, factor.max(1), fault));
        fault
    }

    /// How many times longer an operation takes.
    pub(super) fn slowness(&mut self, now: Nanos, what: &str) -> u64 {
        self.slow.retain(|(until, ..)| now < *until);
        let worst = self.slow.iter().map(|(_, factor, fault)| (*factor, *fault)).max();
        let Some((factor, fault)) = worst else { return 1 };
        self.strike(fault, now, 1, what);
        factor
    }

    pub(super) fn fill(&mut self, limit: u64, now: Nanos) -> FaultId {
        let fault = self.ask(FaultKind::Full, now);
        self.full.push((limit, fault));
        fault
    }

    pub(super) fn free_again(&mut self, fault: FaultId) {
        self.full.retain(|(_, other)| *other != fault);
    }

    /// The least that may be used, and the fault that says so.
    pub(super) fn full(&self) -> Option<(u64, FaultId)> {
        self.full.iter().min().copied()
    }
}
