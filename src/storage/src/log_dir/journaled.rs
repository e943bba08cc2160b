//! The journal of a directory, seen from its logs: what a start does with it, what makes room in it,
//! what ends it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use model::Offset;
use runtime::sync::mpsc;
use runtime::{OpenMode, Runtime, join_all};

use super::identity::Identity;
use super::{CLEAN_MARK, Inner, exists, partition_metadata};
use crate::error::{DiskError, LogDirError};
use crate::file_name::FileKind;
use crate::journal::{self, Author, Refusal, Replayed, Sealed, SegmentPosition};
use crate::name::LogName;
use crate::shared::{LogShared, SyncPoint};

/// Logs that a checkpoint syncs at once: appends sync the journal meanwhile.
const SYNCS: usize = 4;

/// Brings what a journal holds into the logs, before anything else looks at them.
///
/// After a stop in good order there is none, unless something else used the directory since, which
/// knows nothing of it: then it speaks of logs that are no more. So it does where Kafka wrote.
pub(super) async fn settle(
    runtime: &Runtime,
    path: &Path,
    identity: &Identity,
    by_kafka: bool,
) -> Result<Replayed, LogDirError> {
    let disk = &runtime.disk;
    let mark = path.join(CLEAN_MARK);
    let is_marked = match disk.open(&mark, OpenMode::Read).await {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(DiskError::at("open", &mark)(error).into()),
    };
    if is_marked || by_kafka {
        let last = journal::discard(disk, path).await?;
        if last > 0 {
            tracing::warn!(path = %path.display(),
                "the logs were closed by something that does not know of their journal; it is left out");
        }
        return Ok(Replayed { last, ..Replayed::default() });
    }
    let contents = journal::read(disk, path, identity.directory_id).await?;
    let mut there = BTreeMap::new();
    for name in contents.logs() {
        let dir = path.join(name.to_string());
        if exists(runtime, &dir).await? {
            // A file that does not parse is told when its log is opened.
            let topic_id = partition_metadata::read(runtime, &dir).await.ok().flatten();
            there.insert(name.clone(), topic_id);
        }
    }
    contents.apply(disk, path, &there).await
}

/// Makes room in the journal whenever a generation of it is full.
pub(super) async fn checkpoint_sealed(
    inner: Weak<Inner>,
    mut sealed: mpsc::UnboundedReceiver<Sealed>,
) {
    while let Some(sealed) = sealed.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        inner.unreleased().push_back(sealed);
        inner.release_sealed().await;
    }
}

impl Inner {
    fn unreleased(&self) -> MutexGuard<'_, VecDeque<Sealed>> {
        // Every change under the lock is complete before anything could panic.
        self.unreleased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases what is sealed, in its order, as far as that goes; the rest waits for the next call.
    /// Appends sync their own segments when there is no room meanwhile.
    pub(super) async fn release_sealed(&self) {
        let _releasing = self.releasing.lock().await;
        loop {
            let Some(mut sealed) = self.unreleased().pop_front() else { return };
            if let Err(reason) = self.release(&mut sealed).await {
                tracing::warn!(%reason, "room in the journal has to wait");
                self.unreleased().push_front(sealed);
                return;
            }
        }
    }

    /// Syncs the logs with bytes in a generation, and gives its room free.
    async fn release(&self, sealed: &mut Sealed) -> Result<(), String> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let mut logs = Vec::new();
        {
            let state = self.lock();
            for name in &sealed.logs {
                if state.unsynced.contains(name) {
                    return Err(format!("log {name} went away without being synced"));
                }
                // Those that were closed in good order are synced, and deleted ones are not missed.
                logs.extend(state.open.get(name).and_then(|slot| slot.shared.clone()));
            }
        }
        for some in logs.chunks(SYNCS) {
            let secured = join_all(some.iter().map(|log| self.secure(log))).await;
            secured.into_iter().collect::<Result<(), String>>()?;
        }
        runtime::sometimes!("a checkpoint makes room in the journal");
        journal.release(sealed).await.map_err(|error| error.to_string())
    }

    /// Syncs a log, and takes it offline when that fails before anyone else syncs it.
    async fn secure(&self, log: &Arc<LogShared>) -> Result<(), String> {
        let _turn = log.sync_turn.lock().await;
        // Where a sync failed before, another one that succeeds says nothing.
        let check = || log.offline_reason().map_or(Ok(()), |reason| Err(reason.to_string()));
        check()?;
        let point = log.sync_point();
        self.judge(log, sync_segments(log, point).await)?;
        check()?;
        log.raise_recovery_point(point);
        Ok(())
    }

    /// What it means for the generation, and for the log, that its segments were synced or not.
    fn judge(&self, log: &Arc<LogShared>, synced: Result<(), DiskError>) -> Result<(), String> {
        let Err(error) = synced else { return Ok(()) };
        let state = self.lock();
        let is_open = state.open.get(&log.name).is_some_and(|slot| {
            slot.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, log))
        });
        let closed_well = !is_open && !state.unsynced.contains(&log.name);
        drop(state);
        if is_open {
            log.take_offline(&error.to_string());
        }
        if closed_well { Ok(()) } else { Err(error.to_string()) }
    }

    /// Makes sure that nothing in the journal speaks of a log that is to be created.
    pub(super) async fn forget_journaled(&self, name: &LogName) -> Result<(), DiskError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let author = Arc::new(Author::new(name, None));
        let voided = journal.void(&author, SegmentPosition::START, Offset(i64::MAX)).await;
        voided.map_err(|refusal| refused(&refusal, &self.path))
    }

    /// Ends the journal and removes its files: all that they hold is synced where it belongs.
    pub(super) async fn end_journal(&self) -> Result<(), LogDirError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let _releasing = self.releasing.lock().await;
        journal.end().await;
        journal::discard(&self.runtime.disk, &self.path).await.map(drop)
    }
}

/// A refusal of the journal in `dir`, as an error of the disk.
pub(crate) fn refused(refusal: &Refusal, dir: &Path) -> DiskError {
    let error = match refusal {
        Refusal::NoRoom => std::io::ErrorKind::StorageFull.into(),
        Refusal::Failed(reason) => std::io::Error::other(reason.to_string()),
    };
    DiskError::at("write the journal in", dir)(error)
}

/// Syncs everything that a log wrote into its segments up to `point`.
async fn sync_segments(log: &LogShared, point: SyncPoint) -> Result<(), DiskError> {
    // The active one first: if it is closed meanwhile it is synced here all the same. One that was
    // closed before is among the closed ones: a roll puts it there first.
    let active = log.segments().last().cloned();
    let closed = log.unsynced();
    for segment in &closed {
        let synced = async {
            let file = segment.file().await?;
            file.sync_data().await.map_err(DiskError::at("sync", segment.path(FileKind::Log)))
        };
        match synced.await {
            // Deleted meanwhile.
            Err(_) if !log.is_unsynced(segment) => {}
            synced => synced?,
        }
    }
    if !closed.is_empty() {
        let dir = &log.home.dir;
        log.home.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
    }
    if let Some(active) = active {
        let synced = async {
            let file = active.file().await?;
            file.sync_data().await.map_err(DiskError::at("sync", active.path(FileKind::Log)))
        };
        let is_there = || log.segments().iter().any(|segment| segment.id == active.id);
        match synced.await {
            // Cut off or deleted meanwhile, and what is left was synced by whoever did that.
            Err(_) if !log.is_at(point) || !is_there() => {}
            synced => synced?,
        }
    }
    Ok(())
}
