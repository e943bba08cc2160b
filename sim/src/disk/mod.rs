//! The disk of one machine: what is cached, what is durable, and how either goes wrong.
//!
//! A process sees it through [`SimDisk::mount`]. Every operation suspends; delays and every other
//! choice come from streams keyed by node, operation, path and count, those of a fault by the
//! fault. Writes reach the page cache
//! and survive [`SimDisk::process_ended`]; of what was not synced, [`SimDisk::power_lost`] keeps an
//! arbitrary part. Faults are asked for at any time and tell in [`SimDisk::effects`] what they did.
//!
//! Invariants:
//! - what a sync covered survives, unless the disk lies, rots or is misdirected
//! - a file has at most one name; a rename happens or does not
//! - no lock of this module is held while a waker, a tap or a drop of others' code runs
//!
//! Start at [`SimDisk`], then `work.rs` for the way of one operation.

mod content;
mod crash;
mod execute;
mod faults;
mod image;
mod inject;
mod mount;
mod names;
mod op;
mod profile;
mod survival;
mod tap;
mod tree;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::FastMap;
use runtime::{Disk, RandomStream};

pub use crash::{PowerLoss, ProcessEnd};
pub use execute::IO_ERROR;
pub use faults::{Effect, FaultId, FaultKind};
pub use image::DiskImage;
pub use inject::{Damage, Rotten};
pub use op::{Op, PathFilter};
pub use profile::DiskProfile;
pub use survival::Survival;
pub use tap::{DiskEvent, Phase, Tap, Verdict};

use crate::world::trace::digest;
use crate::world::{NodeId, Process, World};
use execute::Eviction;
use faults::Faults;
use mount::{Mount, Mounted};
use names::InodeId;
use tree::{Kind, Tree, normal};
pub(crate) use work::short;
use work::{InFlight, Told};

/// One machine's disk; outlives its processes. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

struct Inner {
    world: World,
    node: NodeId,
    profile: DiskProfile,
    state: Mutex<State>,
    tap: Mutex<Option<Tap>>,
    is_tapped: AtomicBool,
}

struct State {
    tree: Tree,
    /// Who uses the disk; what others hold is dead.
    mounts: BTreeMap<u64, Process>,
    /// Which mount holds the lock of a file.
    locks: BTreeMap<InodeId, u64>,
    in_flight: BTreeMap<u64, InFlight>,
    /// Operations that wait for the end of a stall, and who is told of them.
    stalled: BTreeMap<u64, Told>,
    /// How many operations of a kind a path has had.
    counts: FastMap<(Op, u64), u64>,
    faults: Faults,
    evictions: Vec<Eviction>,
    next_id: u64,
    /// What rot and misdirected writes have destroyed.
    damages: Vec<Damage>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(world: &World, node: NodeId, profile: DiskProfile) -> SimDisk {
        let state = State {
            tree: Tree::new(),
            mounts: BTreeMap::new(),
            locks: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            stalled: BTreeMap::new(),
            counts: FastMap::default(),
            faults: Faults::default(),
            evictions: Vec::new(),
            next_id: 0,
            damages: Vec::new(),
        };
        SimDisk(Arc::new(Inner {
            world: world.clone(),
            node,
            profile,
            state: Mutex::new(state),
            tap: Mutex::new(None),
            is_tapped: AtomicBool::new(false),
        }))
    }

    /// The disk as `process` sees it. Earlier processes of the same node are ended first, if nobody
    /// has said so.
    pub fn mount(&self, process: Process) -> Arc<dyn Disk> {
        let earlier: Vec<Process> = self.lock().mounts.values().copied().collect();
        for earlier in earlier {
            if earlier.node == process.node && earlier.incarnation < process.incarnation {
                self.process_ended(earlier);
            }
        }
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.mounts.insert(id, process);
        drop(state);
        Arc::new(Mounted { disk: self.clone(), mount: Mount { id, process } })
    }

    /// Whose disk it is.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Calls `tap` for every operation from now on, in place of an earlier one.
    pub fn on_operation(&self, tap: Tap) {
        let earlier = self.tap_slot().replace(tap);
        self.0.is_tapped.store(true, Ordering::Relaxed);
        drop(earlier);
    }

    /// Calls no tap any more.
    pub fn remove_tap(&self) {
        self.0.is_tapped.store(false, Ordering::Relaxed);
        let earlier = self.tap_slot().take();
        drop(earlier);
    }

    fn is_tapped(&self) -> bool {
        self.0.is_tapped.load(Ordering::Relaxed)
    }

    /// Asks the tap. It is taken out meanwhile, so it may use the disk; an operation that it causes
    /// at once is not told to it.
    fn tap(&self, event: &DiskEvent) -> Verdict {
        if !self.is_tapped() {
            return Verdict::Go;
        }
        let taken = self.tap_slot().take();
        let Some(mut tap) = taken else { return Verdict::Go };
        let verdict = tap(event);
        if self.is_tapped() {
            self.tap_slot().get_or_insert(tap);
        }
        verdict
    }

    fn tap_slot(&self) -> MutexGuard<'_, Option<Tap>> {
        self.0.tap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> &World {
        &self.0.world
    }

    fn profile(&self) -> &DiskProfile {
        &self.0.profile
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // One thread: a panic in between is caught and fails the run.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream for what `words` say, on this node.
    fn draws(&self, concern: &str, words: &[u64]) -> RandomStream {
        let mut pair = [0; 16];
        let key = words.iter().fold(u64::from(self.0.node.0), |key, word| {
            pair[..8].copy_from_slice(&key.to_le_bytes());
            pair[8..].copy_from_slice(&word.to_le_bytes());
            digest(&pair)
        });
        self.0.world.rng(concern, key)
    }

    fn close(&self, mount: Mount, inode: InodeId) {
        let mut state = self.lock();
        if state.mounts.contains_key(&mount.id) {
            state.tree.closed(inode);
        }
    }

    fn unlock(&self, mount: Mount, inode: InodeId) {
        let mut state = self.lock();
        if state.locks.get(&inode) == Some(&mount.id) {
            state.locks.remove(&inode);
        }
    }
}

/// For checks: nothing suspends, nothing is traced.
impl SimDisk {
    /// What a process would read from the file at `path`.
    pub fn cached(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let path = normal(path.as_ref()).ok()?;
        let state = self.lock();
        let inode = state.tree.find(&path).ok()?;
        Some(state.tree.content(inode).ok()?.cached().to_vec())
    }

    /// What would be in the file at `path` after a loss of power that keeps only what was synced;
    /// `None` when there would be no such file.
    pub fn durable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with_durable(path, <[u8]>::to_vec)
    }

    /// As [`SimDisk::durable`], without a copy: `look` must not use the disk.
    pub fn with_durable<T>(
        &self,
        path: impl AsRef<Path>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let path = normal(path.as_ref()).ok()?;
        let state = self.lock();
        let inode = state.tree.find_durable(&path)?;
        Some(look(state.tree.content(inode).ok()?.durable()))
    }

    /// Of the names in a directory, as a process sees it, the one that ranks highest.
    pub fn highest_name<T: Ord>(
        &self,
        dir: impl AsRef<Path>,
        rank: impl Fn(&str) -> Option<T>,
    ) -> Option<String> {
        let dir = normal(dir.as_ref()).ok()?;
        let state = self.lock();
        let names = state.tree.names(&dir)?;
        let ranked = names.filter_map(|name| Some((rank(name)?, name)));
        ranked.max().map(|(_, name)| name.to_owned())
    }

    /// All files with their lengths, by path.
    pub fn files(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.lock();
        let len = |inode| state.tree.content(inode).map_or(0, |content| content.len());
        state.tree.files().into_iter().map(|(path, inode)| (path, len(inode))).collect()
    }

    /// The last paths of files that are open and have no name any more.
    pub fn nameless_open_files(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        let inodes = state.tree.inodes.values();
        let nameless = inodes.filter(|inode| !inode.is_linked && 0 < inode.opens);
        nameless.map(|inode| Arc::clone(&inode.path)).collect()
    }

    /// What rot and misdirected writes have destroyed, in the order it happened.
    pub fn damages(&self) -> Vec<Damage> {
        self.lock().damages.clone()
    }

    /// Bytes that were written to files and wait for a sync.
    pub fn unsynced_bytes(&self) -> u64 {
        let state = self.lock();
        let unsynced = state.tree.inodes.values().map(|inode| match &inode.kind {
            Kind::File(content) => content.unsynced_bytes(),
            Kind::Dir { .. } => 0,
        });
        unsynced.sum()
    }

    /// Changes of names that wait for a sync of their directory.
    pub fn unsynced_names(&self) -> usize {
        self.lock().tree.journal.len()
    }

    /// Bytes of all files that have a name or are open.
    pub fn used_bytes(&self) -> u64 {
        self.lock().tree.used()
    }

    /// Operations that were asked for and have not taken effect.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight.len()
    }

    /// Makes everything durable, for a machine that is set up before its first boot.
    pub fn settle(&self) {
        self.lock().tree.settle();
    }

    /// The content of the disk as a process sees it.
    pub fn snapshot(&self) -> DiskImage {
        DiskImage::of(&self.lock().tree)
    }
}
