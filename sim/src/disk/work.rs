//! One operation on its way: asked for, in flight, done.
//!
//! Whatever a process asks becomes an entry in the table of operations in flight and an event of
//! the world that does it; the caller waits for the answer on a channel of its own. So an operation
//! ends even when its caller stands still or is gone, and a crash finds everything that was in
//! flight in one place.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::{DirEntry, DiskLock, DiskSpace, File, OpenMode, RandomStream, Rng, sync::oneshot};

use super::execute::Eviction;
use super::faults::Fate;
use super::mount::{Held, Mount, Opened};
use super::names::InodeId;
use super::op::Op;
use super::tap::{DiskEvent, Phase, Verdict};
use super::{SimDisk, State};
use crate::world::film::Scene;
use crate::world::trace::digest;
use crate::world::{Kind, Nanos, NodeId, World};

/// After a stall not everything happens in one moment.
const STALL_SPREAD_NANOS: u64 = 200_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Open {
        path: Arc<str>,
        mode: OpenMode,
    },
    CreateDir {
        path: Arc<str>,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
    },
    RemoveFile {
        path: Arc<str>,
    },
    RemoveDir {
        path: Arc<str>,
    },
    List {
        path: Arc<str>,
    },
    /// Covers the changes of names before `mark`.
    SyncDir {
        path: Arc<str>,
        mark: u64,
    },
    Space {
        path: Arc<str>,
    },
    Lock {
        path: Arc<str>,
    },
    Read {
        file: InodeId,
        position: u64,
        len: u64,
    },
    Write {
        file: InodeId,
        position: u64,
        bytes: Bytes,
    },
    /// Covers the changes before `mark`; fails when another sync has lost some since.
    Sync {
        file: InodeId,
        mark: u64,
        losses: u64,
    },
    Len {
        file: InodeId,
    },
    SetLen {
        file: InodeId,
        len: u64,
    },
}

impl Work {
    pub(super) fn op(&self) -> Op {
        match self {
            Work::Open { .. } => Op::Open,
            Work::CreateDir { .. } => Op::CreateDir,
            Work::Rename { .. } => Op::Rename,
            Work::RemoveFile { .. } => Op::RemoveFile,
            Work::RemoveDir { .. } => Op::RemoveDir,
            Work::List { .. } => Op::List,
            Work::SyncDir { .. } => Op::SyncDir,
            Work::Space { .. } => Op::Space,
            Work::Lock { .. } => Op::Lock,
            Work::Read { .. } => Op::Read,
            Work::Write { .. } => Op::Write,
            Work::Sync { .. } => Op::Sync,
            Work::Len { .. } => Op::Len,
            Work::SetLen { .. } => Op::SetLen,
        }
    }

    /// The file that it needs to stay.
    pub(super) fn file(&self) -> Option<InodeId> {
        match self {
            Work::Read { file, .. }
            | Work::Write { file, .. }
            | Work::Sync { file, .. }
            | Work::Len { file }
            | Work::SetLen { file, .. } => Some(*file),
            _ => None,
        }
    }

    fn path(&self, state: &State) -> Arc<str> {
        match self {
            Work::Open { path, .. }
            | Work::CreateDir { path }
            | Work::Rename { from: path, .. }
            | Work::RemoveFile { path }
            | Work::RemoveDir { path }
            | Work::List { path }
            | Work::SyncDir { path, .. }
            | Work::Space { path }
            | Work::Lock { path } => Arc::clone(path),
            Work::Read { file, .. }
            | Work::Write { file, .. }
            | Work::Sync { file, .. }
            | Work::Len { file }
            | Work::SetLen { file, .. } => state.tree.path(*file),
        }
    }

    /// Position and length.
    fn extent(&self, state: &State) -> (u64, u64) {
        match self {
            Work::Read { position, len, .. } => (*position, *len),
            Work::Write { position, bytes, .. } => (*position, bytes.len() as u64),
            Work::Sync { file, .. } => {
                (0, state.tree.content(*file).map_or(0, |content| content.unsynced_bytes()))
            }
            Work::SetLen { len, .. } => (0, *len),
            _ => (0, 0),
        }
    }

    /// Notes what a sync that begins now has to cover.
    fn set_marks(&mut self, state: &State) {
        match self {
            Work::Sync { file, mark, losses } => {
                if let Ok(content) = state.tree.content(*file) {
                    (*mark, *losses) = (content.mark(), content.losses());
                }
            }
            Work::SyncDir { mark, .. } => *mark = state.tree.journal.mark(),
            _ => {}
        }
    }
}

/// What an operation gives, before its caller has it.
#[derive(Debug)]
pub(super) enum Done {
    Nothing,
    Opened(InodeId),
    Locked(InodeId),
    Entries(Vec<DirEntry>),
    Space(DiskSpace),
    Bytes(Bytes),
    Count(usize),
    Len(u64),
}

/// What a caller is told.
pub(super) enum Answer {
    Nothing,
    File(Arc<dyn File>),
    Lock(DiskLock),
    Entries(Vec<DirEntry>),
    Space(DiskSpace),
    Bytes(Bytes),
    Count(usize),
    Len(u64),
}

pub(super) type Told = oneshot::Sender<io::Result<Answer>>;

/// An operation between its beginning and its effect.
pub(super) struct InFlight {
    pub(super) mount: Mount,
    pub(super) work: Work,
    pub(super) path: Arc<str>,
    pub(super) extent: (u64, u64),
    pub(super) nth: u64,
    pub(super) fate: Fate,
    pub(super) draws: RandomStream,
    pub(super) begun: Nanos,
}

impl InFlight {
    fn event(&self, phase: Phase, error: Option<io::ErrorKind>) -> DiskEvent {
        DiskEvent {
            phase,
            process: self.mount.process,
            op: self.work.op(),
            path: Arc::clone(&self.path),
            position: self.extent.0,
            len: self.extent.1,
            nth: self.nth,
            error,
        }
    }

    /// What goes into the trace besides the outcome.
    fn bytes_digest(&self) -> u64 {
        match &self.work {
            Work::Write { bytes, .. } => digest(bytes),
            Work::Rename { to, .. } => digest(to.as_bytes()),
            _ => 0,
        }
    }

    /// What a report needs of it, if it needs anything.
    fn scene(&self, node: NodeId, result: &io::Result<Done>) -> Option<Scene> {
        let path = Arc::clone(&self.path);
        match (&self.work, result) {
            (Work::Write { position, bytes, .. }, Ok(Done::Count(count))) => {
                Some(Scene::Wrote { node, path, position: *position, bytes: bytes.slice(..*count) })
            }
            (Work::Sync { .. }, result) => {
                Some(Scene::Synced { node, path, begun: self.begun, is_done: result.is_ok() })
            }
            _ => None,
        }
    }

    fn text(&self, result: &io::Result<Done>) -> String {
        let (position, len) = self.extent;
        let mut text = format!("{} {}", self.work.op().name(), short(&self.path));
        match &self.work {
            Work::Read { .. } | Work::Write { .. } => text += &format!(" @{position} +{len}"),
            Work::Sync { .. } => text += &format!(" {len} bytes"),
            Work::SetLen { .. } => text += &format!(" to {len}"),
            Work::Rename { to, .. } => text += &format!(" to {}", short(to)),
            _ => {}
        }
        match result {
            Ok(Done::Count(count)) if *count as u64 != len => text += &format!(": {count} only"),
            Ok(Done::Bytes(bytes)) if bytes.len() as u64 != len => {
                text += &format!(": {} only", bytes.len());
            }
            Ok(_) => {}
            Err(error) => text += &format!(": {error}"),
        }
        text
    }
}

/// The last two names of a path.
pub(crate) fn short(path: &str) -> &str {
    let mut slashes = path.rmatch_indices('/').map(|(at, _)| at + 1);
    let last = slashes.next();
    &path[slashes.next().or(last).unwrap_or(0)..]
}

fn outcome_word(result: &io::Result<Done>) -> u64 {
    match result {
        Ok(Done::Bytes(bytes)) => digest(bytes),
        Ok(Done::Count(count)) => *count as u64,
        Ok(Done::Len(len)) => *len,
        Ok(Done::Entries(entries)) => entries.len() as u64,
        Ok(_) => 1,
        Err(error) => digest(error.to_string().as_bytes()),
    }
}

/// Takes an operation back when its caller goes, if it is one that can be taken back.
struct Waiting<'a> {
    disk: &'a SimDisk,
    mount: Mount,
    id: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // What an ended process had in flight is for `SimDisk::process_ended` to judge.
        if self.disk.world().is_alive(self.mount.process) {
            let taken_back = self.disk.lock().in_flight.remove(&id);
            drop(taken_back);
        }
    }
}

impl SimDisk {
    /// Does `work` for a process; nothing before the first poll.
    pub(super) async fn perform(&self, mount: Mount, work: Work) -> io::Result<Answer> {
        let ends_when_dropped = work.op().ends_when_dropped();
        let (id, latency) = self.begin(mount, work)?;
        let mut waiting = Waiting { disk: self, mount, id: ends_when_dropped.then_some(id) };
        let (told, answer) = oneshot::channel();
        if self.tap_begin(id) {
            let disk = self.clone();
            let act = move |_: &World| disk.finish(id, told);
            self.world().after(Duration::from_nanos(latency), act);
        }
        match answer.await {
            Ok(answer) => {
                waiting.id = None;
                answer
            }
            // Nobody will answer any more: the process is about to end.
            Err(_) => pending().await,
        }
    }

    fn begin(&self, mount: Mount, mut work: Work) -> io::Result<(u64, Nanos)> {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.mounts.contains_key(&mount.id) {
            return Err(io::Error::other("the disk was taken away from this process"));
        }
        work.set_marks(state);
        let (op, path, extent) = (work.op(), work.path(state), work.extent(state));
        let path_word = digest(path.as_bytes());
        let count = state.counts.entry((op, path_word)).or_default();
        *count += 1;
        let nth = *count;
        let mut draws = self.draws("disk", &[op as u64, path_word, nth]);
        let fate = state.faults.meet(op, &path, now);
        let slowness = state.faults.slowness(now, &path);
        let latency = self.profile().latency(op, extent.1, &mut draws).saturating_mul(slowness);
        let id = state.next_id;
        state.next_id += 1;
        state
            .in_flight
            .insert(id, InFlight { mount, work, path, extent, nth, fate, draws, begun: now });
        Ok((id, latency))
    }

    /// Tells the tap that an operation begins; whether it is to go on.
    fn tap_begin(&self, id: u64) -> bool {
        if !self.is_tapped() {
            return true;
        }
        let event = self.lock().in_flight.get(&id).map(|op| op.event(Phase::Begin, None));
        let Some(event) = event else { return false };
        match self.tap(&event) {
            Verdict::Go => true,
            Verdict::Hang => false,
            Verdict::Fail(kind) => {
                if let Some(op) = self.lock().in_flight.get_mut(&id) {
                    op.fate = Fate::Refused(kind);
                }
                true
            }
        }
    }

    /// Does the operation, if it has not been taken back, and tells its caller.
    fn finish(&self, id: u64, told: Told) {
        if let Some(until) = self.stalled_until(id) {
            let disk = self.clone();
            self.lock().stalled.insert(id, told);
            self.world().at(until, move |_: &World| disk.go_on(id));
            return;
        }
        let Some((op, result)) = self.do_now(id) else { return };
        let event = op.event(Phase::Effect, result.as_ref().err().map(io::Error::kind));
        let answer = result.map(|done| self.answer(op.mount, done));
        match self.tap(&event) {
            // A caller that is gone needs no answer.
            Verdict::Go => drop(told.send(answer)),
            Verdict::Fail(kind) => drop(told.send(Err(kind.into()))),
            Verdict::Hang => {}
        }
    }

    /// Goes on with an operation after a stall, if nothing else has let it.
    pub(super) fn go_on(&self, id: u64) {
        let told = self.lock().stalled.remove(&id);
        if let Some(told) = told {
            self.finish(id, told);
        }
    }

    fn stalled_until(&self, id: u64) -> Option<Nanos> {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let op = state.in_flight.get(&id)?;
        let until = state.faults.stalled(now, &op.path)?;
        // What the operation itself draws does not depend on a stall.
        let words = [op.work.op() as u64, digest(op.path.as_bytes()), op.nth, until];
        Some(until + self.draws("disk-stall", &words).next_u64() % STALL_SPREAD_NANOS)
    }

    fn do_now(&self, id: u64) -> Option<(InFlight, io::Result<Done>)> {
        let now = self.world().now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut op = state.in_flight.remove(&id)?;
        let result = state.execute(&mut op, self.profile(), now);
        match &result {
            Ok(Done::Opened(inode)) => state.tree.opened(*inode),
            Ok(Done::Locked(inode)) => drop(state.locks.insert(*inode, op.mount.id)),
            _ => {}
        }
        let evictions = std::mem::take(&mut state.evictions);
        drop(guard);
        let (position, len) = op.extent;
        let words = [
            op.work.op() as u64,
            digest(op.path.as_bytes()),
            position,
            len,
            op.bytes_digest(),
            outcome_word(&result),
        ];
        self.world().record(Kind::Disk, Some(self.node()), &words, || op.text(&result));
        if self.world().is_recording()
            && let Some(scene) = op.scene(self.node(), &result)
        {
            self.world().film(|| scene);
        }
        for Eviction { file, after, pages } in evictions {
            let disk = self.clone();
            let act = move |_: &World| disk.evict(file, &pages);
            self.world().after(Duration::from_nanos(after), act);
        }
        Some((op, result))
    }

    /// Makes what was done something to hold.
    fn answer(&self, mount: Mount, done: Done) -> Answer {
        match done {
            Done::Nothing => Answer::Nothing,
            Done::Opened(inode) => Answer::File(Arc::new(Opened::new(self.clone(), mount, inode))),
            Done::Locked(inode) => Answer::Lock(Box::new(Held::new(self.clone(), mount, inode))),
            Done::Entries(entries) => Answer::Entries(entries),
            Done::Space(space) => Answer::Space(space),
            Done::Bytes(bytes) => Answer::Bytes(bytes),
            Done::Count(count) => Answer::Count(count),
            Done::Len(len) => Answer::Len(len),
        }
    }
}
