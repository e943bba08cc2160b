//! The end of a process, and of the power.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::Rng;

use super::faults::{Fate, FaultKind};
use super::names::{InodeId, Place};
use super::profile::below;
use super::survival::Survival;
use super::tree::{Kind, Tree};
use super::work::{InFlight, Work};
use super::{SimDisk, State};
use crate::world::trace::digest;
use crate::world::{self, Process};

/// What the end of a process did to its operations in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How many there were that change something.
    pub in_flight: u64,
    /// How many of them happened.
    pub happened: u64,
    /// How many of them happened in part.
    pub torn: u64,
}

/// What a loss of power did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    /// What survived of unsynced bytes.
    pub survival: Survival,
    /// Operations in flight of all processes.
    pub in_flight: ProcessEnd,
    /// Bytes that are not as the cache had them, in files that still have a name or not.
    pub bytes_lost: u64,
    /// The files that they belong to.
    pub files: Vec<Arc<str>>,
    /// Changes of names that are gone.
    pub names_lost: u64,
    /// Whether a sync had said of anything that is gone that it would stay.
    pub was_lied_about: bool,
}

impl SimDisk {
    /// `process` was killed. The page cache survives; what was in flight happened, or in part, or
    /// not. Its files and locks are dead. To be called right before or after
    /// [`crate::world::World::end_process`]; a second call does nothing.
    pub fn process_ended(&self, process: Process) -> ProcessEnd {
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.mounts.values().any(|mounted| *mounted == process) {
            return ProcessEnd::default();
        }
        let ended = state.end_process(|mounted| mounted == process, self);
        if 0 < ended.in_flight {
            let now = self.world().now();
            let fault = state.faults.ask(FaultKind::ProcessEnd, now);
            state.faults.strike(fault, now, ended.in_flight, "operations in flight");
        }
        drop(guard);
        let words = [FaultKind::ProcessEnd.word(), ended.in_flight, ended.happened, ended.torn];
        self.record_fault(&words, || {
            let ProcessEnd { in_flight, happened, torn } = ended;
            format!("{in_flight} operations cut off, {happened} happened, {torn} in part")
        });
        ended
    }

    /// The power is gone, and with it the page cache: of what was not synced, a drawn part is kept.
    /// Ends all processes as [`SimDisk::process_ended`] does. What is drawn depends on the moment.
    pub fn power_lost(&self) -> PowerLoss {
        self.power_lost_by(self.world().now())
    }

    /// As [`SimDisk::power_lost`]; what is drawn depends on `key`, so that the same fault does the
    /// same whatever came before it.
    pub fn power_lost_by(&self, key: u64) -> PowerLoss {
        self.lose_power(None, key)
    }

    /// As [`SimDisk::power_lost`], with what survives given.
    pub fn power_lost_keeping(&self, survival: Survival) -> PowerLoss {
        self.lose_power(Some(survival), self.world().now())
    }

    fn lose_power(&self, survival: Option<Survival>, key: u64) -> PowerLoss {
        let mut guard = self.lock();
        let state = &mut *guard;
        let drawn = Survival::drawn(&mut self.draws("disk-power-loss", &[key]));
        let survival = survival.unwrap_or(drawn);
        let in_flight = state.end_process(|_| true, self);
        let mut loss = PowerLoss {
            survival,
            in_flight,
            bytes_lost: 0,
            files: Vec::new(),
            names_lost: 0,
            was_lied_about: false,
        };
        for inode in state.tree.inodes.values_mut() {
            let Kind::File(content) = &mut inode.kind else { continue };
            // A stream for each file: one more file leaves the others as they were.
            let mut draws =
                self.draws("disk-power-loss-file", &[key, digest(inode.path.as_bytes())]);
            let lost = content.lose_power(survival, &mut draws);
            loss.bytes_lost += lost.bytes;
            loss.was_lied_about |= lost.was_lied_about;
            if 0 < lost.bytes {
                loss.files.push(Arc::clone(&inode.path));
            }
        }
        state.lose_names(&mut loss, self, key);
        let now = self.world().now();
        let fault = state.faults.ask(FaultKind::PowerLoss, now);
        let strikes = loss.bytes_lost + loss.names_lost;
        state.faults.strike(fault, now, strikes, "what was not synced");
        drop(guard);
        let words = [FaultKind::PowerLoss.word(), loss.bytes_lost, loss.names_lost];
        self.record_fault(&words, || {
            let PowerLoss { bytes_lost, names_lost, survival, .. } = &loss;
            format!("power lost, keeping {survival:?}: {bytes_lost} bytes, {names_lost} names gone")
        });
        loss
    }

    pub(super) fn record_fault(&self, words: &[u64], text: impl Fn() -> String) {
        self.world().record(world::Kind::Fault, Some(self.node()), words, text);
    }

    /// The cache forgets pages that a failed sync gave up.
    pub(super) fn evict(&self, file: InodeId, pages: &[u64]) {
        let evicted = self.lock().tree.change(file, |content| content.evict(pages)).unwrap_or(0);
        if 0 < evicted {
            let words = [u64::from(u8::MAX), evicted as u64];
            self.record_fault(&words, || format!("{evicted} lost pages left the cache"));
        }
    }
}

impl State {
    fn end_process(&mut self, is_ending: impl Fn(Process) -> bool, disk: &SimDisk) -> ProcessEnd {
        let ending = |op: &InFlight| is_ending(op.mount.process);
        let ids: Vec<u64> =
            self.in_flight.iter().filter(|(_, op)| ending(op)).map(|(id, _)| *id).collect();
        let mut ended = ProcessEnd::default();
        for id in ids {
            if let Some(op) = self.in_flight.remove(&id) {
                self.cut_off(op, disk, &mut ended);
            }
        }
        self.mounts.retain(|_, process| !is_ending(*process));
        let mounts: BTreeMap<u64, Process> = self.mounts.clone();
        self.locks.retain(|_, mount| mounts.contains_key(mount));
        if self.mounts.is_empty() {
            self.tree.close_all();
        }
        ended
    }

    /// An operation whose process is gone: it happens, or in part, or not.
    fn cut_off(&mut self, mut op: InFlight, disk: &SimDisk, ended: &mut ProcessEnd) {
        let drawn = op.draws.next_u64();
        match &mut op.work {
            Work::Read { .. } | Work::Len { .. } | Work::List { .. } | Work::Space { .. } => return,
            Work::Write { bytes, .. } if drawn % 3 == 1 => {
                bytes.truncate(below(&mut op.draws, bytes.len() as u64) as usize);
                ended.torn += 1;
            }
            Work::RemoveDir { path } if drawn % 3 == 1 => {
                // What is gone by then is no mistake: another call removed it.
                let _ = self.remove_dir(path, Some(op.draws.next_u64()));
                ended.in_flight += 1;
                ended.torn += 1;
                return;
            }
            _ => {}
        }
        ended.in_flight += 1;
        if drawn.is_multiple_of(3) || op.fate != Fate::Go {
            return;
        }
        ended.happened += 1;
        // Nobody is left to be told whether it went well.
        let _ = self.execute(&mut op, disk.profile(), disk.world().now());
    }

    fn lose_names(&mut self, loss: &mut PowerLoss, disk: &SimDisk, key: u64) {
        let Tree { journal, inodes, .. } = &mut self.tree;
        let path_word =
            |dir: InodeId| inodes.get(&dir).map_or(u64::MAX, |inode| digest(inode.path.as_bytes()));
        let survivors = journal.take_survivors(loss.survival, |place| match place {
            Place::Everywhere => disk.draws("disk-power-loss-names", &[key]),
            Place::Dir(dir) => disk.draws("disk-power-loss-dir", &[key, path_word(dir)]),
            Place::Name(dir, name) => {
                let words = [key, path_word(dir), digest(name.as_bytes())];
                disk.draws("disk-power-loss-name", &words)
            }
        });
        loss.names_lost = survivors.lost;
        loss.was_lied_about |= survivors.was_lied_about;
        self.tree.apply_durably(&survivors.changes);
        self.tree.forget_cached_names();
        self.evictions.clear();
    }
}
