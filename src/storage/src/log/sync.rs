//! Making appends durable: one sync for a group, while the next one is being written.
//!
//! This is the whole of how a write becomes durable: in the journal, which syncs it together with
//! the appends of other logs, or by a sync of the segments, when there is much of it, when the
//! journal has no room, or when something is not synced that the journal does not hold.
//!
//! Invariants:
//! - the durable end only passes what a sync covered that began after it was written and that did
//!   not fail; a failed sync is never tried again
//! - the recovery point only passes what a sync of the segments covered

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use model::Offset;
use runtime::{BoxFuture, Disk};

use super::Log;
use crate::config::Durability;
use crate::error::{DiskError, StorageError};
use crate::file_name::FileKind;
use crate::journal::Refusal;
use crate::segment::Segment;
use crate::shared::LogShared;

/// A sync under way; to be awaited on any task, while the owner appends on.
///
/// Dropping it after its first poll takes the log offline: nobody would learn whether it failed.
#[must_use = "a sync does nothing unless it is awaited"]
pub struct PendingSync {
    work: BoxFuture<'static, SyncDone>,
}

impl Future for PendingSync {
    type Output = SyncDone;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<SyncDone> {
        self.work.as_mut().poll(context)
    }
}

/// How a sync ended, for [`Log::finish_sync`].
#[derive(Debug)]
#[must_use = "the durable end moves when the owner is told"]
pub struct SyncDone {
    /// It is in the journal, and in the page cache of its segments.
    is_journaled: bool,
    end: Offset,
    closed_count: u64,
    dir_changes: u64,
    truncations: u64,
}

/// What a sync of the segments has to do.
struct Work {
    shared: Arc<LogShared>,
    disk: Arc<dyn Disk>,
    /// Closed ones first.
    segments: Vec<Arc<Segment>>,
    sync_dir: bool,
    done: SyncDone,
}

impl Log {
    /// Makes everything written durable and returns the new durable end.
    ///
    /// With [`Durability::Os`] there is nothing to do unless `flush.messages` or `flush.ms` say so.
    pub async fn sync(&mut self) -> Result<Offset, StorageError> {
        self.shared.check_online()?;
        match self.begin_sync() {
            Some(pending) => {
                let done = pending.await;
                self.finish_sync(done)
            }
            None => Ok(self.durable_end()),
        }
    }

    /// Begins to make durable what was appended so far; `None` when all of it is, when the topic
    /// does not ask for it, or when the log is offline.
    pub fn begin_sync(&mut self) -> Option<PendingSync> {
        let needed = match self.config.durability {
            Durability::Fsync => self.durable_end() < self.log_end(),
            Durability::Os => self.flush_is_due(),
        };
        (needed && !self.is_offline()).then(|| self.start_sync(false))
    }

    fn flush_is_due(&self) -> bool {
        let unflushed = self.log_end() - self.shared.recovery_point();
        let waited = self.runtime.clock.now().since(self.unsynced.last_flush);
        let waited_ms = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
        unflushed > 0
            && (unflushed >= self.config.flush_messages || waited_ms >= self.config.flush_ms)
    }

    /// Begins a sync, `of_segments` if the journal is not enough.
    fn start_sync(&mut self, of_segments: bool) -> PendingSync {
        let staged = self.staged.take();
        // A sync that is under way may fail: what comes behind it has to cover what it covers.
        let staged = staged.filter(|_| !of_segments && self.unsynced.syncs == 0);
        let journaled = staged.map(|(journal, entries)| journal.write(entries));
        self.unsynced.syncs += 1;
        let unsynced = &self.unsynced;
        let closed = unsynced.closed.iter().map(|(_, segment)| Arc::clone(segment));
        let segments = closed.chain([Arc::clone(&self.active.segment)]).collect();
        let work = Work {
            shared: Arc::clone(&self.shared),
            disk: Arc::clone(&self.runtime.disk),
            segments,
            sync_dir: unsynced.dir_synced < unsynced.dir_changes,
            done: SyncDone {
                is_journaled: false,
                end: self.log_end(),
                closed_count: unsynced.closed_count,
                dir_changes: unsynced.dir_changes,
                truncations: unsynced.truncations,
            },
        };
        PendingSync { work: Box::pin(work.run(journaled)) }
    }

    /// Takes the end of a sync into account and returns the durable end.
    ///
    /// # Errors
    /// [`StorageError::Offline`] when the sync failed: what it should have covered is not
    /// acknowledged, now or later.
    pub fn finish_sync(&mut self, done: SyncDone) -> Result<Offset, StorageError> {
        self.shared.check_online()?;
        self.unsynced.syncs = self.unsynced.syncs.saturating_sub(1);
        if done.truncations == self.unsynced.truncations {
            if !done.is_journaled {
                self.note_segments_synced(&done);
            }
            self.unsynced.last_flush = self.runtime.clock.now();
            self.shared.set_durable_end(self.durable_end().max(done.end));
        }
        self.assert_invariants();
        Ok(self.durable_end())
    }

    fn note_segments_synced(&mut self, done: &SyncDone) {
        let unsynced = &mut self.unsynced;
        for (_, synced) in unsynced.closed.extract_if(.., |(at, _)| *at <= done.closed_count) {
            synced.pin(None);
        }
        unsynced.dir_synced = unsynced.dir_synced.max(done.dir_changes);
        self.shared.set_recovery_point(self.shared.recovery_point().max(done.end));
    }

    /// Syncs whatever the durability of the topic is.
    pub(super) async fn sync_everything(&mut self) -> Result<(), StorageError> {
        self.shared.check_online()?;
        let is_synced = self.shared.recovery_point() == self.log_end();
        if is_synced && self.unsynced.dir_synced == self.unsynced.dir_changes {
            return Ok(());
        }
        let done = self.start_sync(true).await;
        self.finish_sync(done).map(|_| ())
    }
}

impl Work {
    /// `journaled` is under way already.
    async fn run(self, journaled: Option<impl Future<Output = Result<(), Refusal>>>) -> SyncDone {
        let guard = Abandoned { shared: &self.shared };
        if let Some(journaled) = journaled {
            match journaled.await {
                Ok(()) => {
                    std::mem::forget(guard);
                    return SyncDone { is_journaled: true, ..self.done };
                }
                Err(Refusal::NoRoom) => {}
                Err(Refusal::Failed(reason)) => {
                    std::mem::forget(guard);
                    self.shared.take_offline(&reason);
                    return self.done;
                }
            }
        }
        let _turn = self.shared.sync_turn.lock().await;
        // Nothing is acknowledged that an earlier sync failed to cover.
        let result = match self.shared.offline_reason() {
            None => self.sync().await,
            Some(_) => Ok(()),
        };
        std::mem::forget(guard);
        if let Err(error) = result {
            self.shared.take_offline(&error.to_string());
        }
        self.done
    }

    async fn sync(&self) -> Result<(), DiskError> {
        for segment in &self.segments {
            let synced = async {
                let file = segment.file().await?;
                file.sync_data().await.map_err(DiskError::at("sync", segment.path(FileKind::Log)))
            };
            match synced.await {
                // Cut off, replaced or removed while this waited for its turn.
                Err(_) if !self.shared.segments().iter().any(|there| there.id == segment.id) => {}
                synced => synced?,
            }
        }
        if self.sync_dir {
            let dir = &self.shared.home.dir;
            self.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
        }
        Ok(())
    }
}

/// Dropped only when the sync it watches was.
struct Abandoned<'a> {
    shared: &'a LogShared,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.shared.take_offline("a sync was abandoned half-way");
    }
}
