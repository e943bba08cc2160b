//! One data directory: its lock, its identity, its checkpoints, and the logs in it.
//!
//! Invariants:
//! - one process at a time uses the directory
//! - the clean mark is gone, durably, before anything else is written, and comes back only when
//!   every log was closed in good order
//! - what the journal holds is in the logs before anything looks at them
//! - a recovery point on disk never passes what was synced, nor survives its log
//!
//! Start at [`LogDir::open`].

mod checkpoints;
mod identity;
mod journaled;
mod partition_metadata;
mod registration;

pub(crate) use journaled::refused;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{BrokerId, Offset, Uuid};
use runtime::sync::mpsc;
use runtime::{DirEntry, DiskLock, DiskSpace, EntryKind, Rng, Runtime, spawn};

pub(crate) use registration::Registration;

use crate::checkpoint::{self, CheckpointError, OffsetsByLog};
use crate::config::LogConfig;
use crate::error::{DiskError, LogDirError, OpenError};
use crate::file_name::{CREATING_DIR_SUFFIX, DELETED_DIR_SUFFIX, STRAY_DIR_SUFFIX};
use crate::journal::{Journal, Sealed, SegmentPosition};
use crate::log::{self, Log, Opening};
use crate::name::LogName;
use crate::open_files::OpenFiles;
use checkpoints::Written;
use identity::Identity;
use registration::Slot;

const LOCK_FILE: &str = ".lock";
const CLEAN_MARK: &str = ".kafka_cleanshutdown";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";

/// From this many logs on their directories are looked into side by side, by this many tasks.
const SIDE_BY_SIDE_MIN: usize = 256;
const READERS: usize = 16;

/// Longest name of a directory on common file systems.
const DIR_NAME_LEN_MAX: usize = 255;

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct LogDirOptions {
    /// The directory; created when missing.
    pub path: PathBuf,
    /// Must be the one that the directory belongs to, if it belongs to one.
    pub node_id: BrokerId,
    /// Must be the one that the directory belongs to, if it belongs to one; `None` takes that, or
    /// a new random one.
    pub cluster_id: Option<String>,
    /// Files held open beside those of active segments.
    pub open_files_max: usize,
    /// Size of each of the two files of the journal that small appends of all logs share a sync in;
    /// 0 has each log sync its own.
    pub journal_file_bytes: u64,
}

/// A log that was there when the directory was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// Its name.
    pub name: LogName,
    /// Its topic, when the directory says.
    pub topic_id: Option<Uuid>,
    /// Why its `partition.metadata` can not be understood: then nobody knows whose it is, and it can
    /// not be opened.
    pub bad_metadata: Option<String>,
}

/// A data directory in use. Cheap to clone; open logs keep it locked.
#[derive(Clone)]
pub struct LogDir {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    runtime: Runtime,
    path: PathBuf,
    identity: Identity,
    was_clean: bool,
    by_kafka: bool,
    /// Whether a directory of Kafka has been noted to be klamm's now.
    is_marked: std::sync::atomic::AtomicBool,
    found: Vec<FoundLog>,
    open_files: Arc<OpenFiles>,
    pub(crate) journal: Option<Journal>,
    /// Generations of it that wait for their release, oldest first.
    unreleased: Mutex<VecDeque<Sealed>>,
    /// Held while its files are renamed or removed.
    releasing: runtime::sync::Mutex<()>,
    state: Mutex<State>,
    /// Held while the checkpoint files are written, or while an offset in them has to go back.
    writing: runtime::sync::Mutex<Written>,
    /// Kept until the last user is gone.
    _lock: DiskLock,
}

/// What changes.
#[derive(Default)]
struct State {
    open: BTreeMap<LogName, Slot>,
    /// How many directories were renamed: each gets a name of its own.
    renamed: u64,
    /// Of logs that are not open.
    recovery_points: OffsetsByLog,
    log_starts: OffsetsByLog,
    cleaned: OffsetsByLog,
    /// What the checkpoint file says.
    written_recovery_points: OffsetsByLog,
    /// Found and not opened yet.
    untouched: BTreeSet<LogName>,
    /// Logs that went away without being closed, and were not deleted since.
    unclean: BTreeSet<LogName>,
    /// Those of them that were not recovered since: the journal may hold what they did not sync.
    unsynced: BTreeSet<LogName>,
    /// Where logs that were not opened yet end at least, by what the journal held of them.
    journaled: BTreeMap<LogName, SegmentPosition>,
}

impl LogDir {
    /// Locks the directory, reads who it belongs to and how it was left, and removes the clean
    /// mark.
    pub async fn open(runtime: Runtime, options: LogDirOptions) -> Result<LogDir, LogDirError> {
        let LogDirOptions { path, node_id, cluster_id, open_files_max, journal_file_bytes } =
            options;
        create_durably(&runtime, &path).await?;
        let lock = take_lock(&runtime, &path).await?;
        let (identity, by_kafka) = identity::settle(&runtime, &path, node_id, cluster_id).await?;
        let replayed = journaled::settle(&runtime, &path, &identity, by_kafka).await?;
        let was_clean = take_clean_mark(&runtime, &path).await?;
        remove_dirs(&runtime, &path, CREATING_DIR_SUFFIX).await?;
        let found = find_logs(&runtime, &path).await?;
        let mut recovery_points = read_offsets(&runtime, &path.join(RECOVERY_POINTS)).await?;
        let mut log_starts = read_offsets(&runtime, &path.join(LOG_STARTS)).await?;
        let mut cleaned = read_offsets(&runtime, &path.join(CLEANED)).await?;
        let written = Written {
            recovery_points: recovery_points.clone(),
            log_starts: log_starts.clone(),
            cleaned: cleaned.clone(),
        };
        let untouched: BTreeSet<LogName> = found.iter().map(|log| log.name.clone()).collect();
        recovery_points.retain(|name, _| untouched.contains(name));
        log_starts.retain(|name, _| untouched.contains(name));
        cleaned.retain(|name, _| untouched.contains(name));
        let written_recovery_points = written.recovery_points.clone();
        let state = State {
            recovery_points,
            log_starts,
            cleaned,
            written_recovery_points,
            untouched,
            journaled: replayed.ends,
            ..State::default()
        };
        let directory = identity.directory_id;
        // Until the directory is noted to be klamm's, a start takes what a journal holds for void.
        let started = (journal_file_bytes > 0 && !by_kafka)
            .then(|| Journal::start(&runtime, &path, directory, replayed.last, journal_file_bytes));
        let (journal, sealed) = started.unzip();
        let inner = Inner {
            runtime,
            path,
            identity,
            was_clean,
            by_kafka,
            is_marked: false.into(),
            found,
            open_files: Arc::new(OpenFiles::new(open_files_max)),
            journal,
            unreleased: Mutex::new(VecDeque::new()),
            releasing: runtime::sync::Mutex::new(()),
            state: Mutex::new(state),
            writing: runtime::sync::Mutex::new(written),
            _lock: lock,
        };
        let inner = Arc::new(inner);
        if let Some(sealed) = sealed {
            let checkpoints = journaled::checkpoint_sealed(Arc::downgrade(&inner), sealed);
            spawn(&inner.runtime, "journal checkpoints", checkpoints);
        }
        Ok(LogDir { inner })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The cluster it belongs to.
    pub fn cluster_id(&self) -> &str {
        &self.inner.identity.cluster_id
    }

    /// The node it belongs to.
    pub fn node_id(&self) -> BrokerId {
        self.inner.identity.node_id
    }

    /// Its own id (KIP-858).
    pub fn directory_id(&self) -> Uuid {
        self.inner.identity.directory_id
    }

    /// Whether it was left in good order, so that nothing that was written may be missing.
    pub fn was_clean(&self) -> bool {
        self.inner.was_clean
    }

    /// The logs that were there, sorted by name.
    pub fn found(&self) -> &[FoundLog] {
        &self.inner.found
    }

    /// Open logs that an error of the disk took offline. One of them speaks against the disk, and
    /// so against all logs of the directory.
    pub fn offline_logs(&self) -> Vec<LogName> {
        let state = self.inner.lock();
        let open = state.open.values().filter_map(|slot| slot.shared.as_ref());
        open.filter(|log| log.offline_reason().is_some()).map(|log| log.name.clone()).collect()
    }

    /// Room on its disk.
    pub async fn space(&self) -> Result<DiskSpace, DiskError> {
        let path = &self.inner.path;
        self.inner.runtime.disk.space(path).await.map_err(DiskError::at("space", path))
    }

    /// Creates a log and opens it. Its name is durable when this returns.
    pub async fn create_log(
        &self,
        name: &LogName,
        topic_id: Option<Uuid>,
        config: LogConfig,
    ) -> Result<Log, OpenError> {
        let inner = &self.inner;
        let disk = &inner.runtime.disk;
        let dir = inner.path.join(name.to_string());
        let registration = self.register(name)?;
        if exists(&inner.runtime, &dir).await? {
            return Err(OpenError::AlreadyExists(name.clone()));
        }
        // A log of this name may have been deleted since the checkpoints were written; what they
        // say of that one must not meet this one.
        inner.forget_written(name).await?;
        inner.forget_journaled(name).await?;
        // Under another name first: a crash leaves either the whole log or nothing.
        let beside = inner.path.join(format!("{name}{CREATING_DIR_SUFFIX}"));
        disk.create_dir_all(&beside).await.map_err(DiskError::at("create", &beside))?;
        if let Some(topic_id) = topic_id {
            partition_metadata::write(&inner.runtime, &beside, topic_id).await?;
        }
        disk.rename(&beside, &dir).await.map_err(DiskError::at("rename", &beside))?;
        disk.sync_dir(&inner.path).await.map_err(DiskError::at("sync", &inner.path))?;
        self.open_registered(name, topic_id, config, registration, None).await
    }

    /// Opens a log that is there, after recovering it if it was not closed in good order.
    pub async fn open_log(&self, name: &LogName, config: LogConfig) -> Result<Log, OpenError> {
        let inner = &self.inner;
        let dir = inner.path.join(name.to_string());
        let registration = self.register(name)?;
        if !exists(&inner.runtime, &dir).await? {
            return Err(OpenError::NotFound(name.clone()));
        }
        let topic_id = partition_metadata::read(&inner.runtime, &dir).await?;
        let known = inner.known(name);
        self.open_registered(name, topic_id, config, registration, Some(known)).await
    }

    fn register(&self, name: &LogName) -> Result<Registration, OpenError> {
        Registration::new(&self.inner, name).ok_or_else(|| OpenError::InUse(name.clone()))
    }

    async fn open_registered(
        &self,
        name: &LogName,
        topic_id: Option<Uuid>,
        config: LogConfig,
        registration: Registration,
        known: Option<Known>,
    ) -> Result<Log, OpenError> {
        let inner = &self.inner;
        let known = known.unwrap_or_default();
        let opening = Opening {
            name: name.clone(),
            dir: inner.path.join(name.to_string()),
            topic_id,
            config,
            recovery_point: known.recovery_point,
            log_start: known.log_start,
            cleaned_to: known.cleaned_to,
            was_clean: known.was_clean,
            journaled: known.journaled,
            by_kafka: inner.by_kafka,
        };
        log::open(&inner.runtime, &inner.open_files, opening, registration).await
    }

    /// Deletes a log that is not open: its directory is renamed, durably; its files go with
    /// [`LogDir::remove_deleted`].
    pub async fn delete_log(&self, name: &LogName) -> Result<(), LogDirError> {
        match self.rename_away(name, DELETED_DIR_SUFFIX).await {
            // It could not even be created, or an earlier attempt renamed it and failed to sync that:
            // what was asked for holds, once it is durable.
            Err(LogDirError::Disk(error)) if error.is_missing() => {
                let dir = &self.inner.path;
                let synced = self.inner.runtime.disk.sync_dir(dir).await;
                synced.map_err(DiskError::at("sync", dir))?;
                self.forget(name);
                Ok(())
            }
            renamed => renamed.map(drop),
        }
    }

    /// Moves a log that is not open, and that no topic claims, out of the way: its directory is
    /// renamed, durably, and kept. Its new path.
    pub async fn set_aside(&self, name: &LogName) -> Result<PathBuf, LogDirError> {
        self.rename_away(name, STRAY_DIR_SUFFIX).await
    }

    async fn rename_away(&self, name: &LogName, suffix: &str) -> Result<PathBuf, LogDirError> {
        let inner = &self.inner;
        let disk = &inner.runtime.disk;
        let nth = {
            let mut state = inner.lock();
            if state.open.contains_key(name) {
                return Err(LogDirError::LogOpen(name.clone()));
            }
            state.renamed += 1;
            state.renamed
        };
        let from = inner.path.join(name.to_string());
        let unique = random_uuid(&inner.runtime, "delete", nth);
        let to = inner.path.join(renamed_dir_name(name, unique, suffix));
        disk.rename(&from, &to).await.map_err(DiskError::at("rename", &from))?;
        disk.sync_dir(&inner.path).await.map_err(DiskError::at("sync", &inner.path))?;
        self.forget(name);
        Ok(to)
    }

    /// What was known of a log that is gone.
    fn forget(&self, name: &LogName) {
        let mut state = self.inner.lock();
        state.recovery_points.remove(name);
        state.log_starts.remove(name);
        state.cleaned.remove(name);
        state.untouched.remove(name);
        state.unclean.remove(name);
        state.unsynced.remove(name);
        state.journaled.remove(name);
    }

    /// Removes the directories of deleted logs for good. To be called when nobody reads them any
    /// more, and after a start.
    pub async fn remove_deleted(&self) -> Result<(), LogDirError> {
        remove_dirs(&self.inner.runtime, &self.inner.path, DELETED_DIR_SUFFIX).await
    }

    /// Writes down how far every log is synced and where it starts, so that recovery after a crash
    /// has little to read. To be called every few seconds.
    pub async fn checkpoint(&self) -> Result<(), LogDirError> {
        self.inner.release_sealed().await;
        self.inner.checkpoint().await.map_err(LogDirError::from)
    }

    /// Ends the use of the directory. When every log was closed in good order, says so on disk:
    /// the next start then reads nothing but ends. Whether it did.
    pub async fn close(&self) -> Result<bool, LogDirError> {
        let inner = &self.inner;
        inner.checkpoint().await?;
        let is_clean = {
            let state = inner.lock();
            let unrecovered = !inner.was_clean && !state.untouched.is_empty();
            state.open.is_empty() && state.unclean.is_empty() && !unrecovered
        };
        if is_clean {
            // What it holds is synced where it belongs.
            inner.end_journal().await?;
            let path = inner.path.join(CLEAN_MARK);
            // The epoch is of use to a controller that trusts it (KIP-966); -1 says nothing.
            let content = bytes::Bytes::from_static(br#"{"version":0,"brokerEpoch":-1}"#);
            let written = runtime::write_file_durably(&*inner.runtime.disk, &path, content).await;
            written.map_err(DiskError::at("write", &path))?;
        }
        Ok(is_clean)
    }
}

/// Removes the directories in `path` whose names end with `suffix`.
async fn remove_dirs(runtime: &Runtime, path: &Path, suffix: &str) -> Result<(), LogDirError> {
    let disk = &runtime.disk;
    let entries = disk.list(path).await.map_err(DiskError::at("list", path))?;
    for entry in entries {
        if entry.kind == EntryKind::Directory && entry.name.ends_with(suffix) {
            let path = path.join(&entry.name);
            disk.remove_dir_all(&path).await.map_err(DiskError::at("remove", &path))?;
        }
    }
    Ok(())
}

/// What a directory knows of a log before it is opened.
#[derive(Default)]
struct Known {
    recovery_point: Option<Offset>,
    log_start: Option<Offset>,
    cleaned_to: Option<Offset>,
    was_clean: bool,
    journaled: Option<SegmentPosition>,
}

impl Inner {
    fn known(&self, name: &LogName) -> Known {
        let state = self.lock();
        Known {
            recovery_point: state.recovery_points.get(name).copied(),
            log_start: state.log_starts.get(name).copied(),
            cleaned_to: state.cleaned.get(name).copied(),
            // The mark speaks of the log as it was found, not as it was used since.
            was_clean: self.was_clean && state.untouched.contains(name),
            journaled: state.journaled.get(name).copied(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the directory and its missing parents so that a loss of power leaves them there.
async fn create_durably(runtime: &Runtime, path: &Path) -> Result<(), DiskError> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if exists(runtime, ancestor).await? {
            break;
        }
        missing.push(ancestor);
    }
    runtime.disk.create_dir_all(path).await.map_err(DiskError::at("create", path))?;
    for created in missing.iter().rev() {
        let holder = match created.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        runtime.disk.sync_dir(holder).await.map_err(DiskError::at("sync", holder))?;
    }
    Ok(())
}

async fn take_lock(runtime: &Runtime, path: &Path) -> Result<DiskLock, LogDirError> {
    let file = path.join(LOCK_FILE);
    match runtime.disk.lock(&file).await {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(LogDirError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(DiskError::at("lock", &file)(error).into()),
    }
}

/// Whether there is a clean mark; there is none afterwards, also after a loss of power.
async fn take_clean_mark(runtime: &Runtime, path: &Path) -> Result<bool, LogDirError> {
    let mark = path.join(CLEAN_MARK);
    let was_clean = match runtime.disk.remove_file(&mark).await {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(DiskError::at("remove", &mark)(error).into()),
    };
    runtime.disk.sync_dir(path).await.map_err(DiskError::at("sync", path))?;
    Ok(was_clean)
}

/// Lists the logs and reads whose they are, side by side, because there may be very many.
async fn find_logs(runtime: &Runtime, path: &Path) -> Result<Vec<FoundLog>, LogDirError> {
    let entries = runtime.disk.list(path).await.map_err(DiskError::at("list", path))?;
    let is_dir = |entry: &DirEntry| entry.kind == EntryKind::Directory;
    // Directories of other names are deleted logs, or none of ours.
    let names: Vec<LogName> =
        entries.into_iter().filter(is_dir).filter_map(|entry| entry.name.parse().ok()).collect();
    let mut found = Vec::with_capacity(names.len());
    if names.len() < SIDE_BY_SIDE_MIN {
        find(runtime, path, names, &mut found).await?;
    } else {
        let (sender, mut receiver) = mpsc::channel(READERS);
        let share = names.len().div_ceil(READERS);
        for share in names.chunks(share) {
            let (runtime, path) = (runtime.clone(), path.to_owned());
            let (share, sender) = (share.to_vec(), sender.clone());
            spawn(&runtime.clone(), "find logs", async move {
                let mut found = Vec::with_capacity(share.len());
                let result = find(&runtime, &path, share, &mut found).await.map(|()| found);
                // Nobody waits any more after a first error.
                let _ = sender.send(result).await;
            });
        }
        drop(sender);
        while let Some(share) = receiver.recv().await {
            found.extend(share?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

async fn find(
    runtime: &Runtime,
    path: &Path,
    names: Vec<LogName>,
    found: &mut Vec<FoundLog>,
) -> Result<(), LogDirError> {
    for name in names {
        let dir = path.join(name.to_string());
        let (topic_id, bad_metadata) = match partition_metadata::read(runtime, &dir).await {
            Ok(topic_id) => (topic_id, None),
            Err(OpenError::Disk(error)) => return Err(LogDirError::Disk(error)),
            // One damaged file must not keep all the others from being served.
            Err(error) => (None, Some(error.to_string())),
        };
        found.push(FoundLog { name, topic_id, bad_metadata });
    }
    Ok(())
}

async fn read_offsets(runtime: &Runtime, path: &Path) -> Result<OffsetsByLog, LogDirError> {
    let read = checkpoint::read_offsets(&*runtime.disk, path).await;
    read.map_err(|error| match error {
        CheckpointError::Disk(error) => LogDirError::Disk(error),
        CheckpointError::Bad(bad) => LogDirError::BadFile { file: path.to_owned(), reason: bad.0 },
    })
}

async fn exists(runtime: &Runtime, dir: &Path) -> Result<bool, DiskError> {
    match runtime.disk.list(dir).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DiskError::at("list", dir)(error)),
    }
}

/// A random id whose text does not start with `-`, which command lines would take for an option.
fn random_uuid(runtime: &Runtime, concern: &str, key: u64) -> Uuid {
    let mut random = runtime.random.stream(concern, key);
    loop {
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        let id = Uuid::from_random(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// Kafka's form: name, a unique part, the suffix; the name gives way when it is too long.
fn renamed_dir_name(name: &LogName, id: Uuid, suffix: &str) -> String {
    let unique: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stem = name.to_string();
    stem.truncate(DIR_NAME_LEN_MAX - unique.len() - 1 - suffix.len());
    format!("{stem}.{unique}{suffix}")
}
