//! A disk in memory that tells what is cached from what is durable, per file and per name.
//!
//! A loss of power keeps an arbitrary part of what was not synced: of a file's writes each may be
//! kept, dropped or torn at a sector; of a directory's changes each may be kept or dropped. A
//! crash of the process keeps everything. Any operation can be made to fail, a sync too: what it
//! should have covered is then lost without a further sign. After a given count of operations the
//! disk stands still, as at the moment of a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use runtime::{
    BoxFuture, DirEntry, Disk, DiskLock, DiskSpace, EntryKind, File, OpenMode, RandomStream, Rng,
    split_seed, write_and_sync,
};

const SECTOR: usize = 512;
const ROOT: usize = 0;

/// What an operation does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A write takes some bytes, then finds no room.
    Full,
    /// The device says no.
    Io,
}

/// Which operations a planned fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Sync,
    /// Of a directory.
    SyncDir,
    Change,
}

#[derive(Clone, Debug)]
enum FileOp {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug)]
enum DirOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

#[derive(Clone, Debug)]
enum Node {
    File { cached: Vec<u8>, durable: Vec<u8>, pending: Vec<FileOp> },
    Dir { cached: BTreeMap<String, usize>, durable: BTreeMap<String, usize>, pending: Vec<DirOp> },
}

struct State {
    nodes: Vec<Node>,
    random: RandomStream,
    /// Counts restarts: files opened before one are dead.
    boot: u64,
    operations: u64,
    halt_after: Option<u64>,
    /// The operation of this kind, counted down from now, that fails.
    planned: Vec<(Operation, u64, Fault)>,
    locks: Vec<usize>,
    bytes_max: Option<usize>,
    short_io: bool,
    /// A sync covers nothing that an earlier one failed to cover.
    gives_up: bool,
    syncs: u64,
}

/// The disk. Clones share it.
#[derive(Clone)]
pub(crate) struct FaultDisk {
    state: Arc<Mutex<State>>,
}

impl FaultDisk {
    pub(crate) fn new(seed: u64) -> FaultDisk {
        let root =
            Node::Dir { cached: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() };
        let state = State {
            nodes: vec![root],
            random: split_seed(seed, "disk", 0),
            boot: 0,
            operations: 0,
            halt_after: None,
            planned: Vec::new(),
            locks: Vec::new(),
            bytes_max: None,
            short_io: false,
            gives_up: false,
            syncs: 0,
        };
        FaultDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Reads and writes take less than they could now and then.
    /// From now on what a failed sync should have covered is not written by a later one.
    pub(crate) fn give_up_after_errors(&self) {
        self.lock().gives_up = true;
    }

    pub(crate) fn set_short_io(&self, short_io: bool) {
        self.lock().short_io = short_io;
    }

    /// The operation number `nth` (from 0) of this kind from now on fails.
    pub(crate) fn plan(&self, operation: Operation, nth: u64, fault: Fault) {
        self.lock().planned.push((operation, nth, fault));
    }

    /// No more room than this for the bytes of all files.
    pub(crate) fn set_room(&self, bytes: Option<usize>) {
        self.lock().bytes_max = bytes;
    }

    pub(crate) fn bytes_used(&self) -> usize {
        self.lock().used()
    }

    /// Stands still after so many more operations that change something.
    pub(crate) fn halt_after(&self, operations: u64) {
        let mut state = self.lock();
        state.halt_after = Some(state.operations + operations);
    }

    /// Whether a planned fault has not struck yet.
    pub(crate) fn is_about_to_fail(&self) -> bool {
        !self.lock().planned.is_empty()
    }

    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The process is gone; everything it wrote is still there.
    pub(crate) fn kill_process(&self) {
        let mut state = self.lock();
        state.boot += 1;
        state.locks.clear();
        state.halt_after = None;
        state.planned.clear();
    }

    /// The machine lost power; some of what was not synced is gone.
    pub(crate) fn lose_power(&self) {
        self.kill_process();
        let state = &mut *self.lock();
        for node in &mut state.nodes {
            node.lose_power(&mut state.random);
        }
    }

    /// The bytes of a file as a reader sees them.
    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        match &state.nodes[state.find(Path::new(path)).ok()?] {
            Node::File { cached, .. } => Some(cached.clone()),
            Node::Dir { .. } => None,
        }
    }

    /// Overwrites bytes of a file, durably, behind everybody's back.
    pub(crate) fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let at = state.find(Path::new(path)).unwrap();
        let Node::File { cached, durable, pending } = &mut state.nodes[at] else { panic!() };
        change(cached);
        durable.clone_from(cached);
        pending.clear();
    }

    /// Names in a directory.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let state = self.lock();
        match &state.nodes[state.find(Path::new(path)).unwrap()] {
            Node::Dir { cached, .. } => cached.keys().cloned().collect(),
            Node::File { .. } => panic!("not a directory"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Node {
    fn lose_power(&mut self, random: &mut RandomStream) {
        match self {
            Node::File { cached, durable, pending } => {
                survive(std::mem::take(pending), durable, random);
                cached.clone_from(durable);
            }
            Node::Dir { cached, durable, pending } => {
                for op in std::mem::take(pending) {
                    if !random.next_u32().is_multiple_of(2) {
                        apply_dir(durable, &op);
                    }
                }
                cached.clone_from(durable);
            }
        }
    }
}

/// Applies a random part of what was not synced: every sector is as it was after some of the
/// writes to it, as the page cache writes it back at some moment, and so is the length after some
/// of the cuts.
fn survive(ops: Vec<FileOp>, durable: &mut Vec<u8>, random: &mut RandomStream) {
    let count = ops.len() as u32;
    let mut moment = || match random.next_u32() % 3 {
        0 => 0,
        1 => count,
        _ => random.next_u32() % (count + 1),
    };
    let cuts_until = moment();
    let mut written_until: BTreeMap<usize, u32> = BTreeMap::new();
    for (op, number) in ops.iter().zip(0..) {
        match op {
            FileOp::SetLen(_) if number < cuts_until => apply_file(durable, op),
            FileOp::SetLen(_) => {}
            FileOp::Write { position, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    let sector = (position + at) / SECTOR;
                    let end = ((sector + 1) * SECTOR - position).min(bytes.len());
                    if number < *written_until.entry(sector).or_insert_with(&mut moment) {
                        let bytes = bytes[at..end].to_vec();
                        apply_file(durable, &FileOp::Write { position: position + at, bytes });
                    }
                    at = end;
                }
            }
        }
    }
}

fn apply_file(content: &mut Vec<u8>, op: &FileOp) {
    match op {
        FileOp::SetLen(len) => content.resize(*len, 0),
        FileOp::Write { position, bytes } => {
            let end = position + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*position..end].copy_from_slice(bytes);
        }
    }
}

fn apply_dir(entries: &mut BTreeMap<String, usize>, op: &DirOp) {
    match op {
        DirOp::Link(name, node) => {
            entries.insert(name.clone(), *node);
        }
        DirOp::Unlink(name) => {
            entries.remove(name);
        }
        DirOp::Rename(from, to) => {
            if let Some(node) = entries.remove(from) {
                entries.insert(to.clone(), node);
            }
        }
    }
}

impl State {
    fn used(&self) -> usize {
        let sizes = self.nodes.iter().map(|node| match node {
            Node::File { cached, .. } => cached.len(),
            Node::Dir { .. } => 0,
        });
        sizes.sum()
    }

    fn parts(path: &Path) -> Vec<String> {
        path.components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_str().unwrap().to_owned()),
                _ => None,
            })
            .collect()
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = ROOT;
        for name in State::parts(path) {
            match &self.nodes[at] {
                Node::Dir { cached, .. } => {
                    at = *cached.get(&name).ok_or(io::ErrorKind::NotFound)?;
                }
                Node::File { .. } => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let mut parts = State::parts(path);
        let name = parts.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent: std::path::PathBuf = parts.iter().collect();
        Ok((self.find(&parent)?, name))
    }

    fn change_dir(&mut self, dir: usize, op: DirOp) {
        let Node::Dir { cached, pending, .. } = &mut self.nodes[dir] else { panic!() };
        apply_dir(cached, &op);
        pending.push(op);
    }

    /// Counts an operation; an error when it is to fail.
    fn begin(&mut self, operation: Operation, boot: u64) -> Result<(), (Fault, io::Error)> {
        let gone = || (Fault::Io, io::Error::other("the machine stands still"));
        if boot != self.boot {
            return Err(gone());
        }
        if operation != Operation::Read {
            self.operations += 1;
        }
        if self.halt_after.is_some_and(|limit| self.operations > limit) {
            return Err(gone());
        }
        let mut struck = None;
        self.planned.retain_mut(|(kind, left, fault)| {
            if *kind != operation {
                return true;
            }
            if *left == 0 {
                struck = Some(*fault);
                return false;
            }
            *left -= 1;
            true
        });
        match struck {
            Some(Fault::Full) => Err((Fault::Full, io::ErrorKind::StorageFull.into())),
            Some(Fault::Io) => Err((Fault::Io, io::Error::other("planned"))),
            None => Ok(()),
        }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl FaultDisk {
    fn change<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        let boot = state.boot;
        state.begin(Operation::Change, boot).map_err(|(_, error)| error)?;
        work(&mut state)
    }

    fn open_now(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let exists = self.lock().find(path);
        let node = match (exists, mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(node), _) => node,
            (Err(error), OpenMode::Read | OpenMode::ReadWrite) => return Err(error),
            (Err(_), OpenMode::Create | OpenMode::CreateNew) => self.change(|state| {
                let (parent, name) = state.parent(path)?;
                let node = state.nodes.len();
                let (cached, durable, pending) = Default::default();
                state.nodes.push(Node::File { cached, durable, pending });
                state.change_dir(parent, DirOp::Link(name, node));
                Ok(node)
            })?,
        };
        let state = self.lock();
        if matches!(state.nodes[node], Node::Dir { .. }) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let can_write = mode != OpenMode::Read;
        Ok(Arc::new(Opened { disk: self.clone(), node, boot: state.boot, can_write }))
    }

    fn remove_dir_now(&self, path: &Path) -> io::Result<()> {
        for name in self.names(path.to_str().unwrap()) {
            let inner = path.join(&name);
            let node = self.lock().find(&inner)?;
            let is_dir = matches!(self.lock().nodes[node], Node::Dir { .. });
            if is_dir {
                self.remove_dir_now(&inner)?;
            } else {
                self.unlink(&inner)?;
            }
        }
        self.unlink(path)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.find(path)?;
            let (parent, name) = state.parent(path)?;
            state.change_dir(parent, DirOp::Unlink(name));
            Ok(())
        })
    }
}

impl Disk for FaultDisk {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        ready(self.open_now(path, mode))
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let mut so_far = std::path::PathBuf::new();
        for part in State::parts(path) {
            so_far.push(part);
            if self.lock().find(&so_far).is_ok() {
                continue;
            }
            let made = self.change(|state| {
                let (parent, name) = state.parent(&so_far)?;
                let node = state.nodes.len();
                let (cached, durable, pending) = Default::default();
                state.nodes.push(Node::Dir { cached, durable, pending });
                state.change_dir(parent, DirOp::Link(name, node));
                Ok(())
            });
            if made.is_err() {
                return ready(made);
            }
        }
        ready(Ok(()))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        ready(self.change(|state| {
            state.find(from)?;
            let (from_dir, from_name) = state.parent(from)?;
            let (to_dir, to_name) = state.parent(to)?;
            assert_eq!(from_dir, to_dir, "logs rename within a directory");
            if let Ok(there) = state.find(to)
                && let Node::Dir { cached, .. } = &state.nodes[there]
                && !cached.is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.change_dir(from_dir, DirOp::Rename(from_name, to_name));
            Ok(())
        }))
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        ready(self.unlink(path))
    }

    fn remove_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let found = self.lock().find(path).map(|_| ());
        ready(found.and_then(|()| self.remove_dir_now(path)))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        let state = self.lock();
        let list = || {
            let Node::Dir { cached, .. } = &state.nodes[state.find(path)?] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            let entry = |(name, node): (&String, &usize)| match &state.nodes[*node] {
                Node::File { cached, .. } => {
                    let len = cached.len() as u64;
                    DirEntry { name: name.clone(), kind: EntryKind::File, len }
                }
                Node::Dir { .. } => {
                    DirEntry { name: name.clone(), kind: EntryKind::Directory, len: 0 }
                }
            };
            Ok(cached.iter().map(entry).collect())
        };
        ready(list())
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let state = &mut *self.lock();
        let boot = state.boot;
        let begun = state.begin(Operation::SyncDir, boot).map_err(|(_, error)| error);
        let done = begun.and_then(|()| {
            let at = state.find(path)?;
            let Node::Dir { cached, durable, pending } = &mut state.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            durable.clone_from(cached);
            pending.clear();
            Ok(())
        });
        ready(done)
    }

    fn space<'a>(&'a self, _path: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>> {
        ready(Ok(DiskSpace { total: 1 << 40, free: 1 << 40 }))
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>> {
        let lock = || -> io::Result<DiskLock> {
            self.open_now(path, OpenMode::Create)?;
            let mut state = self.state.lock().unwrap();
            let node = state.find(path)?;
            if state.locks.contains(&node) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.locks.push(node);
            Ok(Box::new(Held { disk: self.clone(), node, boot: state.boot }))
        };
        ready(lock())
    }
}

struct Held {
    disk: FaultDisk,
    node: usize,
    boot: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.boot == self.boot {
            let node = self.node;
            state.locks.retain(|held| *held != node);
        }
    }
}

struct Opened {
    disk: FaultDisk,
    node: usize,
    boot: u64,
    can_write: bool,
}

impl Opened {
    fn write_now(&self, position: u64, buffers: &[Bytes]) -> io::Result<usize> {
        if !self.can_write {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let state = &mut *self.disk.lock();
        let mut bytes: Vec<u8> = buffers.iter().flatten().copied().collect();
        let position = position as usize;
        let fault = state.begin(Operation::Write, self.boot);
        let room = state.bytes_max.map(|max| max.saturating_sub(state.used()));
        let Node::File { cached, pending, .. } = &mut state.nodes[self.node] else { panic!() };
        if let Err((fault, error)) = fault {
            if fault == Fault::Io || bytes.len() < 2 {
                return Err(error);
            }
            bytes.truncate(bytes.len() / 2);
            // The write is short; the next one, which is sure to come, finds no room at all.
            state.planned.push((Operation::Write, 0, Fault::Full));
            if bytes.len() < 32 {
                return Err(error);
            }
        } else if state.short_io && bytes.len() > 1 && state.random.next_u32().is_multiple_of(3) {
            let len = 1 + state.random.next_u32() as usize % bytes.len();
            bytes.truncate(len);
        }
        if let Some(room) = room {
            let growth = (position + bytes.len()).saturating_sub(cached.len());
            if growth > room {
                bytes.truncate(bytes.len().saturating_sub(growth - room));
                if bytes.is_empty() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
        }
        let count = bytes.len();
        let op = FileOp::Write { position, bytes };
        apply_file(cached, &op);
        pending.push(op);
        Ok(count)
    }

    fn sync_now(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        let fault = state.begin(Operation::Sync, self.boot);
        state.syncs += 1;
        let Node::File { cached, durable, pending } = &mut state.nodes[self.node] else { panic!() };
        if let Err((_, error)) = fault {
            if error.to_string() == "planned" {
                // The kernel forgets what it could not write: a later sync does not try again.
                survive(std::mem::take(pending), durable, &mut state.random);
            }
            return Err(error);
        }
        for op in std::mem::take(pending) {
            apply_file(durable, &op);
        }
        if !state.gives_up {
            durable.clone_from(cached);
        }
        Ok(())
    }
}

impl File for Opened {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let state = &mut *self.disk.lock();
        if let Err((_, error)) = state.begin(Operation::Read, self.boot) {
            return ready(Err(error));
        }
        let Node::File { cached, .. } = &state.nodes[self.node] else { panic!() };
        let start = (position as usize).min(cached.len());
        let mut end = (start + len).min(cached.len());
        if state.short_io && end > start + 1 && state.random.next_u32().is_multiple_of(3) {
            end = start + 1 + state.random.next_u32() as usize % (end - start);
        }
        ready(Ok(Bytes::copy_from_slice(&cached[start..end])))
    }

    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<usize>> {
        ready(self.write_now(position, buffers))
    }

    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(write_and_sync(self, position, buffers))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        ready(self.sync_now())
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        let state = self.disk.lock();
        let Node::File { cached, .. } = &state.nodes[self.node] else { panic!() };
        ready(Ok(cached.len() as u64))
    }

    fn set_len(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        let state = &mut *self.disk.lock();
        if let Err((_, error)) = state.begin(Operation::Change, self.boot) {
            return ready(Err(error));
        }
        let Node::File { cached, pending, .. } = &mut state.nodes[self.node] else { panic!() };
        let op = FileOp::SetLen(len as usize);
        apply_file(cached, &op);
        pending.push(op);
        ready(Ok(()))
    }
}
