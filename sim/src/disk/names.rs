//! Changes to directories that are not durable yet.
//!
//! A rename is one change, so it happens or does not. A change survives only together with the
//! earlier ones that it builds on: those of the same name or of the same file.

use std::collections::{BTreeMap, BTreeSet};

use runtime::{RandomStream, Rng};

use super::profile::below;
use super::survival::Survival;

/// A file or directory, for the life of the disk; never used twice.
pub(super) type InodeId = u64;

/// A change to one directory, or a move between two.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add { dir: InodeId, name: String, inode: InodeId },
    Remove { dir: InodeId, name: String, inode: InodeId },
    Move { from: (InodeId, String), to: (InodeId, String), inode: InodeId },
}

impl NameChange {
    pub(super) fn inode(&self) -> InodeId {
        match self {
            NameChange::Add { inode, .. }
            | NameChange::Remove { inode, .. }
            | NameChange::Move { inode, .. } => *inode,
        }
    }

    /// The places that it changes.
    fn places(&self) -> Vec<(InodeId, &str)> {
        match self {
            NameChange::Add { dir, name, .. } | NameChange::Remove { dir, name, .. } => {
                vec![(*dir, name)]
            }
            NameChange::Move { from, to, .. } => vec![(from.0, &from.1), (to.0, &to.1)],
        }
    }

    fn first_place(&self) -> (InodeId, &str) {
        match self {
            NameChange::Add { dir, name, .. } | NameChange::Remove { dir, name, .. } => {
                (*dir, name)
            }
            NameChange::Move { from, .. } => (from.0, &from.1),
        }
    }

    fn is_in(&self, wanted: InodeId) -> bool {
        self.places().iter().any(|(dir, _)| *dir == wanted)
    }
}

#[derive(Debug)]
struct Pending {
    number: u64,
    change: NameChange,
    /// A sync said that it was durable.
    was_lied_about: bool,
}

/// The changes since the last syncs, in order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pending: Vec<Pending>,
    next: u64,
}

/// What a stream decides about: a change more or less elsewhere leaves it as it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Everywhere,
    Dir(InodeId),
    Name(InodeId, &'a str),
}

/// What a loss of power leaves of the changes.
#[derive(Debug, Default)]
pub(super) struct Survivors {
    /// To be applied, in order.
    pub(super) changes: Vec<NameChange>,
    pub(super) lost: u64,
    pub(super) was_lied_about: bool,
}

/// Names and files that later changes may build on.
#[derive(Default)]
struct Touched {
    places: BTreeMap<InodeId, BTreeSet<String>>,
    inodes: BTreeSet<InodeId>,
}

impl Touched {
    fn add(&mut self, change: &NameChange) {
        for (dir, name) in change.places() {
            self.places.entry(dir).or_default().insert(name.to_owned());
        }
        self.inodes.insert(change.inode());
    }

    fn meets(&self, change: &NameChange) -> bool {
        let has = |(dir, name): (InodeId, &str)| {
            self.places.get(&dir).is_some_and(|names| names.contains(name))
        };
        self.inodes.contains(&change.inode()) || change.places().into_iter().any(has)
    }

    fn has_dir_of(&self, change: &NameChange) -> bool {
        change.places().iter().any(|(dir, _)| self.inodes.contains(dir))
    }
}

impl Journal {
    pub(super) fn push(&mut self, change: NameChange) {
        self.pending.push(Pending { number: self.next, change, was_lied_about: false });
        self.next += 1;
    }

    /// A sync that begins now covers the changes before this number.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether a sync said of any change that it was durable, and it is not.
    pub(super) fn is_lied_about(&self) -> bool {
        self.pending.iter().any(|pending| pending.was_lied_about)
    }

    pub(super) fn inodes(&self) -> impl Iterator<Item = InodeId> {
        self.pending.iter().map(|pending| pending.change.inode())
    }

    /// Which changes a sync of `dir` has to make durable: those in it, and what they build on.
    fn covered(&self, dir: InodeId, until: u64) -> Vec<bool> {
        let mut covered = vec![false; self.pending.len()];
        let mut touched = Touched::default();
        for (pending, is_covered) in self.pending.iter().zip(&mut covered).rev() {
            let is_asked_for = pending.number < until && pending.change.is_in(dir);
            if is_asked_for || touched.meets(&pending.change) {
                *is_covered = true;
                touched.add(&pending.change);
            }
        }
        covered
    }

    /// Takes the changes that a sync of `dir` makes durable.
    pub(super) fn take_synced(&mut self, dir: InodeId, until: u64) -> Vec<NameChange> {
        let covered = self.covered(dir, until);
        let mut synced = Vec::new();
        let mut kept = Vec::new();
        for (pending, is_covered) in self.pending.drain(..).zip(covered) {
            if is_covered {
                synced.push(pending.change);
            } else {
                kept.push(pending);
            }
        }
        self.pending = kept;
        synced
    }

    /// Says that the changes are durable; whether there were any.
    pub(super) fn lie(&mut self, dir: InodeId, until: u64) -> bool {
        let covered = self.covered(dir, until);
        for (pending, is_covered) in self.pending.iter_mut().zip(&covered) {
            pending.was_lied_about |= is_covered;
        }
        covered.contains(&true)
    }

    /// Takes all, in order, or the older half.
    pub(super) fn take_oldest(&mut self, count: usize) -> Vec<NameChange> {
        self.pending.drain(..count).map(|pending| pending.change).collect()
    }

    /// Power is lost: takes what survives, forgets the rest.
    pub(super) fn take_survivors(
        &mut self,
        survival: Survival,
        draws: impl Fn(Place<'_>) -> RandomStream,
    ) -> Survivors {
        let wanted = self.wanted(survival, draws);
        let mut dropped = Touched::default();
        let mut survivors = Survivors::default();
        for (pending, is_wanted) in self.pending.drain(..).zip(wanted) {
            let change = pending.change;
            if is_wanted && !dropped.meets(&change) && !dropped.has_dir_of(&change) {
                survivors.changes.push(change);
            } else {
                dropped.add(&change);
                survivors.lost += 1;
                survivors.was_lied_about |= pending.was_lied_about;
            }
        }
        survivors
    }

    /// Which changes survive if they can.
    fn wanted(&self, survival: Survival, draws: impl Fn(Place<'_>) -> RandomStream) -> Vec<bool> {
        let count = self.pending.len();
        let mut everywhere = draws(Place::Everywhere);
        let drawn = match survival {
            Survival::Nothing => 0,
            Survival::Everything => 1,
            _ => below(&mut everywhere, 5),
        };
        match drawn {
            0 => vec![false; count],
            1 => vec![true; count],
            // A journal of the whole file system, replayed up to some transaction.
            2 => {
                let kept = below(&mut everywhere, count as u64 + 1);
                (0..count as u64).map(|number| number < kept).collect()
            }
            3 => self.prefixes(draws),
            _ => self.each_by_itself(draws),
        }
    }

    fn each_by_itself(&self, draws: impl Fn(Place<'_>) -> RandomStream) -> Vec<bool> {
        let mut of_name: BTreeMap<(InodeId, &str), RandomStream> = BTreeMap::new();
        let mut wanted = Vec::with_capacity(self.pending.len());
        for pending in &self.pending {
            let (dir, name) = pending.change.first_place();
            let stream = of_name.entry((dir, name));
            let stream = stream.or_insert_with(|| draws(Place::Name(dir, name)));
            wanted.push(stream.next_u64() >> 63 == 0);
        }
        wanted
    }

    /// Of each directory the first changes.
    fn prefixes(&self, draws: impl Fn(Place<'_>) -> RandomStream) -> Vec<bool> {
        let mut of_dir: BTreeMap<InodeId, u64> = BTreeMap::new();
        for pending in &self.pending {
            *of_dir.entry(pending.change.first_place().0).or_default() += 1;
        }
        for (dir, count) in &mut of_dir {
            *count = below(&mut draws(Place::Dir(*dir)), *count + 1);
        }
        let mut is_kept = |pending: &Pending| {
            let left = of_dir.entry(pending.change.first_place().0).or_default();
            let is_kept = 0 < *left;
            *left = left.saturating_sub(1);
            is_kept
        };
        self.pending.iter().map(&mut is_kept).collect()
    }
}
