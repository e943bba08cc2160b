//! What each operation does to the disk, at the moment it takes effect.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

use bytes::Bytes;
use runtime::{DiskSpace, OpenMode, RandomStream, Rng};

use super::State;
use super::content::{Content, PAGE};
use super::faults::{Fate, FaultId};
use super::inject::Damage;
use super::names::InodeId;
use super::profile::{DiskProfile, below, one_in};
use super::tree::{Kind, Tree};
use super::work::{Done, InFlight, Work, short};
use crate::world::Nanos;

/// Lost pages that the cache is going to forget, so many nanoseconds later.
pub(super) struct Eviction {
    pub(super) file: InodeId,
    pub(super) after: u64,
    pub(super) pages: Vec<u64>,
}

/// A page that a failed sync gave up is forgotten within so long, if at all.
const EVICTION_NANOS_MAX: u64 = 100_000_000;

/// What the device says when it can not. No other error has these words, so that whoever repeats them
/// can name a cause.
pub const IO_ERROR: &str = "input/output error (simulated)";

/// The error of a device that can not.
pub(super) fn broken() -> io::Error {
    io::Error::other(IO_ERROR)
}

impl State {
    /// Does `op`, or fails as was decided when it began.
    pub(super) fn execute(
        &mut self,
        op: &mut InFlight,
        profile: &DiskProfile,
        now: Nanos,
    ) -> io::Result<Done> {
        if self.tree.wants_sweep() {
            let in_use: BTreeSet<InodeId> =
                self.in_flight.values().filter_map(|op| op.work.file()).collect();
            self.tree.sweep(&in_use);
        }
        let error = match op.fate {
            Fate::Go | Fate::Misdirected(_) => return self.carry_out(op, profile, now),
            Fate::Broken => broken(),
            Fate::Refused(kind) => kind.into(),
        };
        self.break_down(&op.work, &mut op.draws);
        Err(error)
    }

    /// What a failing operation leaves behind.
    fn break_down(&mut self, work: &Work, draws: &mut RandomStream) {
        match work {
            Work::Write { file, position, bytes } if one_in(draws, 2) => {
                let written = below(draws, bytes.len() as u64) as usize;
                let written = bytes.slice(..written.min(self.room_at(*file, *position, written)));
                // The error is what is told, whatever was written.
                let _ = self.tree.change(*file, |content| content.write(*position, written));
            }
            Work::Sync { file, mark, .. } => {
                let lost = self.tree.change(*file, |content| content.fail_sync(*mark, draws));
                let lost = lost.unwrap_or_default();
                let evicted: Vec<u64> = lost.into_iter().filter(|_| one_in(draws, 2)).collect();
                if !evicted.is_empty() {
                    let after = below(draws, EVICTION_NANOS_MAX);
                    self.evictions.push(Eviction { file: *file, after, pages: evicted });
                }
            }
            Work::RemoveDir { path } => {
                // It has removed some of it. What is gone already is no mistake of this call.
                let _ = self.remove_dir(path, Some(draws.next_u64()));
            }
            _ => {}
        }
    }

    fn carry_out(
        &mut self,
        op: &mut InFlight,
        profile: &DiskProfile,
        now: Nanos,
    ) -> io::Result<Done> {
        let (fate, draws) = (op.fate, &mut op.draws);
        match &op.work {
            Work::Open { path, mode } => self.open(path, *mode, now, draws).map(Done::Opened),
            Work::Lock { path } => {
                let inode = self.open(path, OpenMode::Create, now, draws)?;
                match self.locks.contains_key(&inode) {
                    true => Err(ErrorKind::WouldBlock.into()),
                    false => Ok(Done::Locked(inode)),
                }
            }
            Work::CreateDir { path } => {
                if self.tree.find(path).is_err() {
                    self.check_room_for_name(path, now, draws)?;
                }
                self.tree.create_dir_all(path).map(|()| Done::Nothing)
            }
            Work::Rename { from, to } => self.tree.rename(from, to).map(|()| Done::Nothing),
            Work::RemoveFile { path } => self.remove_file(path),
            Work::RemoveDir { path } => self.remove_dir(path, None),
            Work::List { path } => self.tree.list(path).map(Done::Entries),
            Work::SyncDir { path, mark } => self.sync_dir(path, *mark, now, draws),
            Work::Space { path } => {
                self.tree.find(path)?;
                let total = profile.capacity_bytes;
                let free = self.room(profile.capacity_bytes).0;
                Ok(Done::Space(DiskSpace { total, free }))
            }
            Work::Read { file, position, len } => {
                let at = (*file, *position, *len);
                self.read(at, fate, profile, now, draws).map(Done::Bytes)
            }
            Work::Write { file, position, bytes } => {
                let bytes = bytes.clone();
                self.write((*file, *position, bytes), fate, profile, now, draws).map(Done::Count)
            }
            Work::Sync { file, mark, losses } => self.sync(*file, *mark, *losses, now, draws),
            Work::Len { file } => Ok(Done::Len(self.tree.content(*file)?.len())),
            Work::SetLen { file, len } => self.set_len(*file, *len, profile, now),
        }
    }

    fn open(
        &mut self,
        path: &str,
        mode: OpenMode,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<InodeId> {
        match (self.tree.find(path), mode) {
            (Ok(_), OpenMode::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) if self.tree.is_dir(inode) => Err(ErrorKind::IsADirectory.into()),
            (Ok(inode), _) => Ok(inode),
            (Err(error), OpenMode::Read | OpenMode::ReadWrite) => Err(error),
            (Err(_), OpenMode::Create | OpenMode::CreateNew) => {
                let (dir, name) = self.tree.find_parent(path)?;
                self.check_room_for_name(path, now, draws)?;
                Ok(self.tree.add(dir, name, Kind::File(Content::default())))
            }
        }
    }

    /// On a full disk a new name finds room in its directory, or does not.
    fn check_room_for_name(
        &mut self,
        path: &str,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<()> {
        let Some((limit, fault)) = self.faults.full() else { return Ok(()) };
        if self.tree.used() < limit || one_in(draws, 2) {
            return Ok(());
        }
        self.faults.strike(fault, now, 1, path);
        Err(ErrorKind::StorageFull.into())
    }

    fn remove_file(&mut self, path: &str) -> io::Result<Done> {
        let inode = self.tree.find(path)?;
        if self.tree.is_dir(inode) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (dir, name) = self.tree.find_parent(path)?;
        self.tree.remove(dir, name);
        Ok(Done::Nothing)
    }

    /// Removes a directory, or only the first so many things in it.
    pub(super) fn remove_dir(&mut self, path: &str, count: Option<u64>) -> io::Result<Done> {
        let removals = self.tree.removals(path)?;
        let count = count.map_or(removals.len(), |count| count as usize % (removals.len() + 1));
        for (dir, name) in removals.into_iter().take(count) {
            self.tree.remove(dir, &name);
        }
        Ok(Done::Nothing)
    }

    fn sync_dir(
        &mut self,
        path: &str,
        mark: u64,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<Done> {
        let dir = self.tree.find_dir(path)?;
        if let Some(fault) = self.faults.lying {
            let count = u64::from(self.tree.journal.lie(dir, mark));
            self.faults.strike(fault, now, count, path);
            return Ok(Done::Nothing);
        }
        // What happened during the sync is covered in part.
        let until = mark + below(draws, self.tree.journal.mark() - mark + 1);
        self.tree.sync_dir(dir, until);
        Ok(Done::Nothing)
    }

    fn sync(
        &mut self,
        file: InodeId,
        mark: u64,
        losses: u64,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<Done> {
        let lying = self.faults.lying;
        let synced = self.tree.change(file, |content| {
            if content.losses() != losses {
                // Another sync of the same bytes found out, while this one waited for them.
                return Err(broken());
            }
            if lying.is_some() {
                return Ok(content.lie(mark));
            }
            // What was written during the sync is covered in part.
            content.sync(mark + below(draws, content.mark() - mark + 1));
            Ok(false)
        })?;
        if let (true, Some(fault)) = (synced?, lying) {
            let path = self.tree.path(file);
            self.faults.strike(fault, now, 1, &path);
        }
        Ok(Done::Nothing)
    }

    fn read(
        &mut self,
        (file, position, len): (InodeId, u64, u64),
        fate: Fate,
        profile: &DiskProfile,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<Bytes> {
        let bytes = self.tree.content(file)?.read(position, len);
        let mut count = bytes.len() as u64;
        if 1 < count && one_in(draws, profile.short_reads_one_in) {
            count = 1 + below(draws, count - 1);
        }
        let bytes = bytes.slice(..count as usize);
        let Fate::Misdirected(fault) = fate else { return Ok(bytes) };
        let Some((other, at)) = self.elsewhere(file, position, draws) else { return Ok(bytes) };
        let mut wrong = self.tree.content(other)?.read(at, count).to_vec();
        wrong.resize(count as usize, 0);
        if wrong != bytes {
            let text = format!("read {} @{at} instead", short(&self.tree.path(other)));
            self.faults.strike(fault, now, 1, &text);
        }
        Ok(wrong.into())
    }

    fn write(
        &mut self,
        (file, position, mut bytes): (InodeId, u64, Bytes),
        fate: Fate,
        profile: &DiskProfile,
        now: Nanos,
        draws: &mut RandomStream,
    ) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        Tree::check_len(position.saturating_add(bytes.len() as u64))?;
        if 1 < bytes.len() && one_in(draws, profile.short_writes_one_in) {
            bytes.truncate(1 + below(draws, bytes.len() as u64 - 1) as usize);
        }
        let fits = self.fit(file, position, bytes.len(), profile.capacity_bytes, now)?;
        bytes.truncate(fits);
        let count = bytes.len();
        if let Fate::Misdirected(fault) = fate
            && let Some((other, at)) = self.elsewhere(file, position, draws)
        {
            let text = format!("wrote {} @{at} instead", short(&self.tree.path(other)));
            self.faults.strike(fault, now, 1, &text);
            for damaged in [file, other] {
                let path = self.tree.path(damaged);
                self.damages.push(Damage { at: now, path });
            }
            self.misdirect(file, position + count as u64, (other, at, bytes))?;
            return Ok(count);
        }
        self.tree.change(file, |content| content.write(position, bytes))?;
        Ok(count)
    }

    /// The file has its new length, and zeros or old bytes where the new ones were meant to be.
    fn misdirect(
        &mut self,
        file: InodeId,
        end: u64,
        (other, at, bytes): (InodeId, u64, Bytes),
    ) -> io::Result<()> {
        self.tree.change(file, |content| {
            if content.len() < end {
                content.set_len(end);
            }
        })?;
        self.tree.change(other, |content| content.write(at, bytes))
    }

    /// Another place, a whole count of pages away or at the same position in another file of the
    /// directory.
    fn elsewhere(
        &self,
        file: InodeId,
        position: u64,
        draws: &mut RandomStream,
    ) -> Option<(InodeId, u64)> {
        let path = self.tree.path(file);
        let dir = &path[..=path.rfind('/')?];
        let beside = |other: &str| {
            *other != *path && other.strip_prefix(dir).is_some_and(|name| !name.contains('/'))
        };
        let files = self.tree.files();
        let others: Vec<InodeId> =
            files.iter().filter(|(path, _)| beside(path)).map(|(_, id)| *id).collect();
        let other = others.get(below(draws, others.len() as u64) as usize).copied();
        if let Some(other) = other.filter(|_| one_in(draws, 2)) {
            let pages = self.tree.content(other).ok()?.len() / PAGE + 1;
            return Some((other, below(draws, pages) * PAGE + position % PAGE));
        }
        let pages = (self.tree.content(file).ok()?.len().max(position) / PAGE).max(1) + 1;
        let away = 1 + below(draws, pages - 1);
        Some((file, (position / PAGE + away) % pages * PAGE + position % PAGE))
    }

    fn set_len(
        &mut self,
        file: InodeId,
        len: u64,
        profile: &DiskProfile,
        now: Nanos,
    ) -> io::Result<Done> {
        Tree::check_len(len)?;
        let old = self.tree.content(file)?.len();
        let growth = len.saturating_sub(old);
        let fits = self.fit(file, old, growth as usize, profile.capacity_bytes, now)?;
        if (fits as u64) < growth {
            return Err(ErrorKind::StorageFull.into());
        }
        self.tree.change(file, |content| content.set_len(len))?;
        Ok(Done::Nothing)
    }

    /// Bytes that still fit on the disk, and the fault that says so.
    fn room(&self, capacity: u64) -> (u64, Option<FaultId>) {
        let used = self.tree.used();
        match self.faults.full() {
            Some((limit, fault)) if limit < capacity => (limit.saturating_sub(used), Some(fault)),
            _ => (capacity.saturating_sub(used), None),
        }
    }

    /// How many of `len` bytes at `position` fit under the limit of a full disk.
    fn room_at(&self, file: InodeId, position: u64, len: usize) -> usize {
        let Ok(content) = self.tree.content(file) else { return 0 };
        let end = position.saturating_add(len as u64);
        let growth = end.saturating_sub(content.len());
        let room = self.faults.full().map_or(u64::MAX, |_| self.room(u64::MAX).0);
        len.saturating_sub(usize::try_from(growth.saturating_sub(room)).unwrap_or(usize::MAX))
    }

    /// How many of `len` bytes at `position` fit; `StorageFull` when none does.
    fn fit(
        &mut self,
        file: InodeId,
        position: u64,
        len: usize,
        capacity: u64,
        now: Nanos,
    ) -> io::Result<usize> {
        let growth =
            position.saturating_add(len as u64).saturating_sub(self.tree.content(file)?.len());
        let (room, fault) = self.room(capacity);
        let missing = growth.saturating_sub(room);
        if missing == 0 {
            return Ok(len);
        }
        if let Some(fault) = fault {
            let path = self.tree.path(file);
            self.faults.strike(fault, now, 1, &path);
        }
        match len.saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX)) {
            0 => Err(ErrorKind::StorageFull.into()),
            fits => Ok(fits),
        }
    }
}
