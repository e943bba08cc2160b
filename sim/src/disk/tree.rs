//! Files, directories and their names, as a process sees them and as a loss of power would.
//!
//! Paths are absolute and normal: they begin with `/`, have no `.` and no `..`; the root is `/`.
//!
//! Invariants:
//! - an inode has at most one name, in the cache and on the device alike
//! - `used` is the sum of the lengths of the files that have a name or are open

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::Arc;

use runtime::{DirEntry, EntryKind};

use super::content::Content;
use super::names::{InodeId, Journal, NameChange};

/// Longer files are refused: a position beyond is a mistake of who writes.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// More changes of names than these do not wait for a sync.
const NAMES_MAX: usize = 8_192;
/// Files without a name are looked for when there are so many more than the last time.
const SWEEP_EVERY: usize = 512;

pub(super) type Entries = BTreeMap<String, InodeId>;

pub(super) enum Kind {
    File(Content),
    Dir { cached: Entries, durable: Entries },
}

impl Kind {
    pub(super) fn empty_dir() -> Kind {
        Kind::Dir { cached: Entries::new(), durable: Entries::new() }
    }
}

pub(super) struct Inode {
    /// The last path it had.
    pub(super) path: Arc<str>,
    pub(super) kind: Kind,
    pub(super) is_linked: bool,
    pub(super) opens: u32,
}

impl Inode {
    fn used(&self) -> u64 {
        match &self.kind {
            Kind::File(content) if self.is_linked || 0 < self.opens => content.len(),
            _ => 0,
        }
    }
}

pub(super) struct Tree {
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) root: InodeId,
    next: InodeId,
    pub(super) journal: Journal,
    used: u64,
    sweep_at: usize,
}

/// `path` as text from the root on.
pub(super) fn normal(path: &Path) -> io::Result<Arc<str>> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().ok_or(ErrorKind::InvalidInput)?),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    Ok(format!("/{}", parts.join("/")).into())
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

fn joined(dir: &str, name: &str) -> Arc<str> {
    format!("{}/{name}", dir.trim_end_matches('/')).into()
}

/// Looking.
impl Tree {
    pub(super) fn new() -> Tree {
        let mut tree = Tree {
            inodes: BTreeMap::new(),
            root: 0,
            next: 0,
            journal: Journal::default(),
            used: 0,
            sweep_at: SWEEP_EVERY,
        };
        tree.root = tree.insert("/".into(), Kind::empty_dir());
        tree.linked(tree.root, true);
        tree
    }

    /// Forgets everything; inodes are not used again.
    pub(super) fn wipe(&mut self) {
        let next = self.next;
        *self = Tree::new();
        self.inodes = BTreeMap::new();
        self.next = next;
        self.root = self.insert("/".into(), Kind::empty_dir());
        self.linked(self.root, true);
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    fn entries(&self, dir: InodeId) -> io::Result<&Entries> {
        match self.inodes.get(&dir).map(|inode| &inode.kind) {
            Some(Kind::Dir { cached, .. }) => Ok(cached),
            Some(Kind::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn is_dir(&self, inode: InodeId) -> bool {
        self.entries(inode).is_ok()
    }

    pub(super) fn find(&self, path: &str) -> io::Result<InodeId> {
        let mut at = self.root;
        for name in parts(path) {
            at = *self.entries(at)?.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// Where the device has `path`.
    pub(super) fn find_durable(&self, path: &str) -> Option<InodeId> {
        let mut at = self.root;
        for name in parts(path) {
            match &self.inodes.get(&at)?.kind {
                Kind::Dir { durable, .. } => at = *durable.get(name)?,
                Kind::File(_) => return None,
            }
        }
        Some(at)
    }

    /// The directory of `path`, which exists, and the name in it.
    pub(super) fn find_parent<'a>(&self, path: &'a str) -> io::Result<(InodeId, &'a str)> {
        let (dir, name) = path.rsplit_once('/').ok_or(ErrorKind::InvalidInput)?;
        if name.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let dir = self.find(dir)?;
        self.entries(dir)?;
        Ok((dir, name))
    }

    pub(super) fn content(&self, inode: InodeId) -> io::Result<&Content> {
        match self.inodes.get(&inode).map(|inode| &inode.kind) {
            Some(Kind::File(content)) => Ok(content),
            Some(Kind::Dir { .. }) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn path(&self, inode: InodeId) -> Arc<str> {
        self.inodes.get(&inode).map_or_else(|| "?".into(), |inode| Arc::clone(&inode.path))
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let entry = |(name, inode): (&String, &InodeId)| {
            let (kind, len) = match self.content(*inode) {
                Ok(content) => (EntryKind::File, content.len()),
                Err(_) => (EntryKind::Directory, 0),
            };
            DirEntry { name: name.clone(), kind, len }
        };
        Ok(self.entries(self.find(path)?)?.iter().map(entry).collect())
    }

    /// The names in the directory at `path`.
    pub(super) fn names(&self, path: &str) -> Option<impl Iterator<Item = &str>> {
        Some(self.entries(self.find(path).ok()?).ok()?.keys().map(String::as_str))
    }

    /// All files that have a name, by path.
    pub(super) fn files(&self) -> BTreeMap<Arc<str>, InodeId> {
        let is_file = |inode: &Inode| inode.is_linked && matches!(inode.kind, Kind::File(_));
        let named = self.inodes.iter().filter(|(_, inode)| is_file(inode));
        named.map(|(id, inode)| (Arc::clone(&inode.path), *id)).collect()
    }
}

/// Changing.
impl Tree {
    fn insert(&mut self, path: Arc<str>, kind: Kind) -> InodeId {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, Inode { path, kind, is_linked: false, opens: 0 });
        id
    }

    /// Changes something about an inode and keeps the account of bytes.
    fn update<T>(&mut self, inode: InodeId, act: impl FnOnce(&mut Inode) -> T) -> Option<T> {
        let found = self.inodes.get_mut(&inode)?;
        let before = found.used();
        let done = act(found);
        self.used = self.used + found.used() - before;
        Some(done)
    }

    pub(super) fn linked(&mut self, inode: InodeId, is_linked: bool) {
        self.update(inode, |inode| inode.is_linked = is_linked);
    }

    pub(super) fn opened(&mut self, inode: InodeId) {
        self.update(inode, |inode| inode.opens += 1);
    }

    pub(super) fn closed(&mut self, inode: InodeId) {
        self.update(inode, |inode| inode.opens = inode.opens.saturating_sub(1));
    }

    /// No process has anything open.
    pub(super) fn close_all(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.opens = 0;
        }
        self.used = self.inodes.values().map(Inode::used).sum();
    }

    pub(super) fn change<T>(
        &mut self,
        inode: InodeId,
        act: impl FnOnce(&mut Content) -> T,
    ) -> io::Result<T> {
        let changed = self.update(inode, |inode| match &mut inode.kind {
            Kind::File(content) => Ok(act(content)),
            Kind::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        });
        changed.unwrap_or_else(|| Err(ErrorKind::NotFound.into()))
    }

    /// Whether a file may become so long.
    pub(super) fn check_len(len: u64) -> io::Result<()> {
        if FILE_BYTES_MAX < len {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(())
    }

    pub(super) fn add(&mut self, dir: InodeId, name: &str, kind: Kind) -> InodeId {
        let path = joined(&self.path(dir), name);
        let inode = self.insert(path, kind);
        self.linked(inode, true);
        self.record(NameChange::Add { dir, name: name.to_owned(), inode });
        inode
    }

    fn record(&mut self, change: NameChange) {
        self.apply(&change, false);
        self.journal.push(change);
        if NAMES_MAX < self.journal.len() && !self.journal.is_lied_about() {
            for change in self.journal.take_oldest(NAMES_MAX / 2) {
                self.apply(&change, true);
            }
        }
    }

    fn apply(&mut self, change: &NameChange, is_durable: bool) {
        match change {
            NameChange::Add { dir, name, inode } => self.set(*dir, name, Some(*inode), is_durable),
            NameChange::Remove { dir, name, .. } => self.set(*dir, name, None, is_durable),
            NameChange::Move { from, to, inode } => {
                self.set(from.0, &from.1, None, is_durable);
                self.set(to.0, &to.1, Some(*inode), is_durable);
            }
        }
    }

    fn set(&mut self, dir: InodeId, name: &str, inode: Option<InodeId>, is_durable: bool) {
        let Some(Kind::Dir { cached, durable }) =
            self.inodes.get_mut(&dir).map(|inode| &mut inode.kind)
        else {
            return;
        };
        let entries = if is_durable { durable } else { cached };
        match inode {
            Some(inode) => drop(entries.insert(name.to_owned(), inode)),
            None => drop(entries.remove(name)),
        }
    }

    pub(super) fn remove(&mut self, dir: InodeId, name: &str) {
        let Some(inode) = self.entries(dir).ok().and_then(|names| names.get(name)).copied() else {
            return;
        };
        self.linked(inode, false);
        self.record(NameChange::Remove { dir, name: name.to_owned(), inode });
    }

    pub(super) fn create_dir_all(&mut self, path: &str) -> io::Result<()> {
        let mut at = self.root;
        let count = parts(path).count();
        for (name, number) in parts(path).zip(1..) {
            at = match self.entries(at)?.get(name).copied() {
                Some(found) if self.is_dir(found) => found,
                Some(_) if number == count => return Err(ErrorKind::AlreadyExists.into()),
                Some(_) => return Err(ErrorKind::NotADirectory.into()),
                None => self.add(at, name, Kind::empty_dir()),
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from)?;
        let (from_dir, from_name) = self.find_parent(from)?;
        let (to_dir, to_name) = self.find_parent(to)?;
        let replaced = self.entries(to_dir)?.get(to_name).copied();
        if replaced == Some(inode) {
            return Ok(());
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(replaced) = replaced {
            match (self.is_dir(inode), self.is_dir(replaced)) {
                (true, false) => return Err(ErrorKind::NotADirectory.into()),
                (false, true) => return Err(ErrorKind::IsADirectory.into()),
                (true, true) if !self.entries(replaced)?.is_empty() => {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                _ => self.linked(replaced, false),
            }
        }
        let from = (from_dir, from_name.to_owned());
        let path = joined(&self.path(to_dir), to_name);
        self.record(NameChange::Move { from, to: (to_dir, to_name.to_owned()), inode });
        self.set_paths(inode, path);
        Ok(())
    }

    /// Gives `inode` and everything below it its path.
    fn set_paths(&mut self, inode: InodeId, path: Arc<str>) {
        let mut rest = vec![(inode, path)];
        while let Some((inode, path)) = rest.pop() {
            if let Ok(entries) = self.entries(inode) {
                rest.extend(entries.iter().map(|(name, below)| (*below, joined(&path, name))));
            }
            self.update(inode, |inode| {
                inode.path = path;
                inode.is_linked = true;
            });
        }
    }

    /// What has to be removed for `path` to be gone, in order.
    pub(super) fn removals(&self, path: &str) -> io::Result<Vec<(InodeId, String)>> {
        let top = self.find(path)?;
        self.entries(top)?;
        let (dir, name) = self.find_parent(path)?;
        let mut rest = vec![(dir, name.to_owned(), top)];
        let mut found = Vec::new();
        while let Some((dir, name, inode)) = rest.pop() {
            if let Ok(entries) = self.entries(inode) {
                rest.extend(entries.iter().map(|(name, below)| (inode, name.clone(), *below)));
            }
            found.push((dir, name));
        }
        // Found from the top down.
        found.reverse();
        Ok(found)
    }

    /// The directory at `path`, to be synced.
    pub(super) fn find_dir(&self, path: &str) -> io::Result<InodeId> {
        let dir = self.find(path)?;
        self.entries(dir)?;
        Ok(dir)
    }

    pub(super) fn sync_dir(&mut self, dir: InodeId, until: u64) {
        for change in self.journal.take_synced(dir, until) {
            self.apply(&change, true);
        }
    }

    /// Applies changes to the device.
    pub(super) fn apply_durably(&mut self, changes: &[NameChange]) {
        for change in changes {
            self.apply(change, true);
        }
    }

    /// The cache is gone: every directory is as the device has it.
    pub(super) fn forget_cached_names(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.is_linked = false;
            if let Kind::Dir { cached, durable } = &mut inode.kind {
                cached.clone_from(durable);
            }
        }
        self.set_paths(self.root, "/".into());
        self.close_all();
        self.sweep(&BTreeSet::new());
    }

    /// Everything is durable.
    pub(super) fn settle(&mut self) {
        let all = self.journal.take_oldest(self.journal.len());
        self.apply_durably(&all);
        for inode in self.inodes.values_mut() {
            if let Kind::File(content) = &mut inode.kind {
                content.settle();
            }
        }
    }

    pub(super) fn wants_sweep(&self) -> bool {
        self.sweep_at < self.inodes.len()
    }

    /// Drops what nobody can reach any more, now or after a loss of power.
    pub(super) fn sweep(&mut self, in_use: &BTreeSet<InodeId>) {
        let mut reached = BTreeSet::new();
        let mut rest: Vec<InodeId> = vec![self.root];
        rest.extend(in_use);
        rest.extend(self.journal.inodes());
        rest.extend(self.inodes.iter().filter(|(_, inode)| 0 < inode.opens).map(|(id, _)| *id));
        while let Some(inode) = rest.pop() {
            if !reached.insert(inode) {
                continue;
            }
            if let Some(Kind::Dir { cached, durable }) =
                self.inodes.get(&inode).map(|inode| &inode.kind)
            {
                rest.extend(cached.values().chain(durable.values()));
            }
        }
        self.inodes.retain(|id, _| reached.contains(id));
        self.sweep_at = self.inodes.len() * 2 + SWEEP_EVERY;
    }
}
