//! Asking for faults. Each call gives the [`FaultId`] under which [`SimDisk::effects`] tells what
//! came of it.

use std::sync::Arc;
use std::time::Duration;

use super::SimDisk;
use super::crash::ProcessEnd;
use super::faults::{Effect, FaultId, FaultKind};
use super::image::DiskImage;
use super::names::InodeId;
use super::op::{Op, PathFilter};
use super::profile::below;
use super::work::short;
use crate::world::trace::digest;
use crate::world::{Nanos, nanos};

/// A bit that turned over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotten {
    /// In which file.
    pub path: Arc<str>,
    /// Which byte.
    pub position: u64,
    /// Which bit of it.
    pub bit: u8,
}

/// Bytes that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Since when.
    pub at: Nanos,
    /// In which file.
    pub path: Arc<str>,
}

impl FaultKind {
    pub(super) fn word(self) -> u64 {
        digest(format!("{self:?}").as_bytes())
    }
}

impl SimDisk {
    /// The `nth` operation from now on of this kind on a matching path fails, counted from 1.
    ///
    /// A failing write may have written its first bytes. A failing sync loses the pages that it
    /// should have made durable: they stay readable until the cache forgets them, and the next sync
    /// succeeds without them.
    pub fn fail_next(&self, op: Op, filter: PathFilter, nth: u64) -> FaultId {
        self.plan(FaultKind::Fail(op), filter, nth)
    }

    /// As [`SimDisk::fail_next`], of the removals of files and of directories; of a directory some of
    /// what is in it may be gone.
    pub fn fail_next_removal(&self, filter: PathFilter, nth: u64) -> FaultId {
        self.plan(FaultKind::FailRemoval, filter, nth)
    }

    /// The next write to a matching file lands a count of pages away or in another file of the
    /// directory.
    pub fn misdirect_next_write(&self, filter: PathFilter) -> FaultId {
        self.plan(FaultKind::MisdirectWrite, filter, 1)
    }

    /// The next read from a matching file gives what is a count of pages away or in another file of
    /// the directory.
    pub fn misdirect_next_read(&self, filter: PathFilter) -> FaultId {
        self.plan(FaultKind::MisdirectRead, filter, 1)
    }

    fn plan(&self, kind: FaultKind, filter: PathFilter, nth: u64) -> FaultId {
        let now = self.world().now();
        self.lock().faults.plan(kind, filter, nth, now)
    }

    /// Only so many more bytes fit, until [`SimDisk::free_again`]. The least of several counts.
    pub fn full(&self, bytes_left: u64) -> FaultId {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.faults.fill(state.tree.used().saturating_add(bytes_left), now)
    }

    /// There is room again, as far as that fault goes.
    pub fn free_again(&self, fault: FaultId) {
        self.lock().faults.free_again(fault);
    }

    /// Nothing takes effect before `duration` has passed, neither what begins nor what is in
    /// flight.
    pub fn stall(&self, duration: Duration) -> FaultId {
        let (now, until) = self.until(duration);
        self.lock().faults.stall(until, now)
    }

    /// What begins before `duration` has passed takes `factor` times as long.
    pub fn slow(&self, factor: u64, duration: Duration) -> FaultId {
        let (now, until) = self.until(duration);
        self.lock().faults.slow(factor, until, now)
    }

    fn until(&self, duration: Duration) -> (Nanos, Nanos) {
        let now = self.world().now();
        (now, now.saturating_add(nanos(duration)))
    }

    /// From now on syncs of files and directories say that they have done their work and have not;
    /// or do it again, which then covers everything.
    pub fn lie_about_syncs(&self, is_lying: bool) -> FaultId {
        let now = self.world().now();
        let mut state = self.lock();
        let fault = state.faults.ask(FaultKind::Lie, now);
        state.faults.lying = is_lying.then_some(fault);
        fault
    }

    /// Turns over a drawn bit of a drawn matching file, in the cache and on the device, if there is
    /// one that is not empty. `key` names the fault: what is drawn depends on it.
    pub fn rot(&self, filter: &PathFilter, key: u64) -> FaultId {
        self.rot_somewhere(filter, None, key).0
    }

    /// As [`SimDisk::rot`], but a given bit of a given byte. The result says where it struck.
    pub fn rot_at(&self, filter: &PathFilter, position: u64, bit: u8) -> (FaultId, Option<Rotten>) {
        self.rot_somewhere(filter, Some((position, bit % 8)), position)
    }

    fn rot_somewhere(
        &self,
        filter: &PathFilter,
        place: Option<(u64, u8)>,
        key: u64,
    ) -> (FaultId, Option<Rotten>) {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut draws = self.draws("disk-rot", &[key]);
        let fault = state.faults.ask(FaultKind::Rot, now);
        let min_len = place.map_or(1, |(position, _)| position.saturating_add(1));
        let is_long = |inode: InodeId| {
            state.tree.content(inode).is_ok_and(|content| min_len <= content.len())
        };
        let mut files: Vec<(Arc<str>, InodeId)> = state.tree.files().into_iter().collect();
        files.retain(|(path, inode)| filter.matches(path) && is_long(*inode));
        let drawn = below(&mut draws, files.len() as u64) as usize;
        let Some((path, inode)) = files.into_iter().nth(drawn) else { return (fault, None) };
        let len = state.tree.content(inode).map_or(0, |content| content.len());
        let drawn = (below(&mut draws, len), below(&mut draws, 8) as u8);
        let (position, bit) = place.unwrap_or(drawn);
        // The file was found above.
        let _ = state.tree.change(inode, |content| content.flip(position, bit));
        state.faults.strike(fault, now, 1, &path);
        state.damages.push(Damage { at: now, path: Arc::clone(&path) });
        drop(guard);
        let words = [FaultKind::Rot.word(), digest(path.as_bytes()), position, u64::from(bit)];
        self.record_fault(&words, || format!("bit {bit} of {} @{position} flipped", short(&path)));
        (fault, Some(Rotten { path, position, bit }))
    }

    /// The disk is replaced by an empty one. Whoever used it has lost it.
    pub fn wipe(&self) -> FaultId {
        self.replace(FaultKind::Wipe, &DiskImage::default())
    }

    /// The disk has the content of `image` again, all of it durable. Whoever used it has lost it.
    pub fn restore(&self, image: &DiskImage) -> FaultId {
        self.replace(FaultKind::Restore, image)
    }

    fn replace(&self, kind: FaultKind, image: &DiskImage) -> FaultId {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let fault = state.faults.ask(kind, now);
        let is_changed = DiskImage::of(&state.tree) != *image;
        state.faults.strike(fault, now, u64::from(is_changed), "the whole disk");
        state.in_flight.clear();
        state.mounts.clear();
        state.locks.clear();
        state.evictions.clear();
        state.tree.wipe();
        image.fill(&mut state.tree);
        drop(guard);
        self.record_fault(&[kind.word()], || format!("{kind:?}"));
        fault
    }

    /// Ends all faults that last or wait: room, speed and honesty return, nothing fails any more.
    /// What a stall held goes on at once. What is damaged stays damaged.
    pub fn heal(&self) {
        let stalled: Vec<u64> = {
            let mut state = self.lock();
            state.faults.heal();
            state.stalled.keys().copied().collect()
        };
        for id in stalled {
            let disk = self.clone();
            self.world().after(Duration::ZERO, move |_| disk.go_on(id));
        }
    }

    /// What each fault did so far, in the order they were asked for.
    pub fn effects(&self) -> Vec<Effect> {
        self.lock().faults.effects()
    }

    /// How often a fault struck.
    pub fn strikes(&self, fault: FaultId) -> u64 {
        let effects = self.effects();
        effects.iter().find(|effect| effect.fault == fault).map_or(0, |effect| effect.strikes)
    }
}

impl ProcessEnd {
    /// Whether it made a difference.
    pub fn had_effect(&self) -> bool {
        0 < self.in_flight
    }
}
