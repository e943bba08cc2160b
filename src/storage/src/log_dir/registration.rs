//! The tie between an open log and its directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use model::Offset;

use super::Inner;
use crate::error::DiskError;
use crate::journal::Journal;
use crate::name::LogName;
use crate::shared::LogShared;

/// An open log as its directory sees it.
pub(super) struct Slot {
    /// `None` while it is being opened.
    pub(super) shared: Option<Arc<LogShared>>,
    /// Its recovery point in the checkpoint file.
    pub(super) checkpointed: Arc<AtomicI64>,
    /// Where it is about to start: checkpoints written meanwhile say so already.
    pub(super) next_log_start: Arc<AtomicI64>,
}

/// Held by an open log. Dropping it gives the name free.
pub(crate) struct Registration {
    inner: Arc<Inner>,
    name: LogName,
    checkpointed: Arc<AtomicI64>,
    next_log_start: Arc<AtomicI64>,
    is_open: AtomicBool,
    is_clean: AtomicBool,
}

impl Registration {
    /// `None` when a log of this name is open or being opened.
    pub(super) fn new(inner: &Arc<Inner>, name: &LogName) -> Option<Registration> {
        let mut state = inner.lock();
        if state.open.contains_key(name) {
            return None;
        }
        let known = state.written_recovery_points.get(name).copied().unwrap_or_default();
        let checkpointed = Arc::new(AtomicI64::new(known.0));
        let next_log_start = Arc::new(AtomicI64::new(0));
        let slot = Slot {
            shared: None,
            checkpointed: Arc::clone(&checkpointed),
            next_log_start: Arc::clone(&next_log_start),
        };
        state.open.insert(name.clone(), slot);
        drop(state);
        Some(Registration {
            inner: Arc::clone(inner),
            name: name.clone(),
            checkpointed,
            next_log_start,
            is_open: AtomicBool::new(false),
            is_clean: AtomicBool::new(false),
        })
    }

    /// The log is open; all of it is synced or not.
    pub(crate) fn opened(&self, shared: &Arc<LogShared>, is_synced: bool) {
        let mut state = self.inner.lock();
        if let Some(slot) = state.open.get_mut(&self.name) {
            slot.shared = Some(Arc::clone(shared));
        }
        state.untouched.remove(&self.name);
        state.journaled.remove(&self.name);
        if is_synced {
            state.unsynced.remove(&self.name);
        }
        self.is_open.store(true, Ordering::Release);
    }

    /// The log was closed in good order.
    pub(crate) fn closed_cleanly(&self) {
        self.is_clean.store(true, Ordering::Release);
    }

    /// The journal of the directory, if it has one.
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.inner.journal.as_ref()
    }

    /// The recovery point that a recovery would find on disk.
    pub(crate) fn checkpointed_recovery_point(&self) -> Offset {
        Offset(self.checkpointed.load(Ordering::Acquire))
    }

    /// Writes down that the log starts at `log_start` and is synced up to `recovery_point` only,
    /// before files that say otherwise are touched.
    pub(crate) async fn set_ends(
        &self,
        log_start: Offset,
        recovery_point: Offset,
    ) -> Result<(), DiskError> {
        self.next_log_start.store(log_start.0, Ordering::Release);
        self.inner.write_ends(&self.name, log_start, recovery_point).await
    }

    /// Writes down that the log starts at `log_start` from now on, before anybody is told: a start
    /// that clients have seen never falls. After an error nothing has changed.
    pub(crate) async fn raise_log_start(&self, log_start: Offset) -> Result<(), DiskError> {
        let before = self.next_log_start.fetch_max(log_start.0, Ordering::AcqRel);
        let written = self.inner.write_current().await;
        if written.is_err() {
            self.next_log_start.store(before, Ordering::Release);
        }
        written
    }
}

impl Registration {
    /// Writes down the present ends of the log.
    pub(crate) async fn persist(&self) -> Result<(), DiskError> {
        self.inner.write_current().await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        let Some(slot) = state.open.remove(&self.name) else { return };
        let Some(shared) = slot.shared else { return };
        if !self.is_clean.load(Ordering::Acquire) {
            state.unclean.insert(self.name.clone());
            state.unsynced.insert(self.name.clone());
        }
        // Segments that were not synced yet bound what the next recovery may trust.
        let recovery_point = match shared.unsynced().first() {
            Some(segment) => shared.recovery_point().min(segment.base),
            None => shared.recovery_point(),
        };
        state.recovery_points.insert(self.name.clone(), recovery_point);
        state.log_starts.insert(self.name.clone(), shared.log_start());
        state.cleaned.insert(self.name.clone(), shared.cleaned_to());
    }
}
