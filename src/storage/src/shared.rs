//! What the owner of a log and its readers share: the list of segments, the ends, the epochs.
//!
//! The owner publishes, readers take snapshots; no lock is held while anything waits.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{LeaderEpoch, Offset};

use crate::error::StorageError;
use crate::leader_epoch::{EpochEnd, LeaderEpochs};
use crate::name::LogName;
use crate::segment::{Home, Segment};

/// All segments of a log, oldest first; the last one is active.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// The shared part of one open log.
pub(crate) struct LogShared {
    pub(crate) name: LogName,
    pub(crate) home: Arc<Home>,
    segments: Mutex<Segments>,
    epochs: Mutex<Arc<LeaderEpochs>>,
    log_start: AtomicI64,
    log_end: AtomicI64,
    durable_end: AtomicI64,
    recovery: Mutex<SyncPoint>,
    cleaned_to: AtomicI64,
    /// Closed segments that have to be synced before the recovery point may pass them.
    unsynced: Mutex<Vec<Arc<Segment>>>,
    /// Held while segments are synced, until it is known whether that failed: an error is told to one
    /// of those who sync a file, and the others may be told that all is well.
    pub(crate) sync_turn: runtime::sync::Mutex<()>,
    offline: Mutex<Option<Arc<str>>>,
}

impl LogShared {
    pub(crate) fn new(
        name: LogName,
        home: Arc<Home>,
        segments: Vec<Arc<Segment>>,
        epochs: LeaderEpochs,
        ends: Ends,
    ) -> LogShared {
        LogShared {
            name,
            home,
            segments: Mutex::new(Arc::new(segments)),
            epochs: Mutex::new(Arc::new(epochs)),
            log_start: AtomicI64::new(ends.log_start.0),
            log_end: AtomicI64::new(ends.log_end.0),
            durable_end: AtomicI64::new(ends.durable_end.0),
            recovery: Mutex::new(SyncPoint { end: ends.recovery_point, truncations: 0 }),
            cleaned_to: AtomicI64::new(0),
            unsynced: Mutex::new(Vec::new()),
            sync_turn: runtime::sync::Mutex::new(()),
            offline: Mutex::new(None),
        }
    }

    pub(crate) fn segments(&self) -> Segments {
        Arc::clone(&lock(&self.segments))
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        *lock(&self.segments) = Arc::new(segments);
    }

    pub(crate) fn epochs(&self) -> Arc<LeaderEpochs> {
        Arc::clone(&lock(&self.epochs))
    }

    pub(crate) fn set_epochs(&self, epochs: LeaderEpochs) {
        *lock(&self.epochs) = Arc::new(epochs);
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn set_log_start(&self, offset: Offset) {
        self.log_start.store(offset.0, Ordering::Release);
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    pub(crate) fn set_log_end(&self, offset: Offset) {
        self.log_end.store(offset.0, Ordering::Release);
    }

    pub(crate) fn durable_end(&self) -> Offset {
        Offset(self.durable_end.load(Ordering::Acquire))
    }

    pub(crate) fn set_durable_end(&self, offset: Offset) {
        self.durable_end.store(offset.0, Ordering::Release);
    }

    /// Everything below was synced once.
    pub(crate) fn recovery_point(&self) -> Offset {
        lock(&self.recovery).end
    }

    pub(crate) fn set_recovery_point(&self, offset: Offset) {
        lock(&self.recovery).end = offset;
    }

    /// The end of the log is being cut, and the durable end is lowered: a sync that began before says
    /// nothing about what is left.
    pub(crate) fn note_truncation(&self) {
        lock(&self.recovery).truncations += 1;
    }

    /// What a sync of all segments that begins now covers at least.
    pub(crate) fn sync_point(&self) -> SyncPoint {
        // The counter first: it rises after the end was lowered.
        let truncations = lock(&self.recovery).truncations;
        SyncPoint { end: self.durable_end(), truncations }
    }

    /// Whether nothing was cut since `point`.
    pub(crate) fn is_at(&self, point: SyncPoint) -> bool {
        lock(&self.recovery).truncations == point.truncations
    }

    /// All segments were synced since `point`.
    pub(crate) fn raise_recovery_point(&self, point: SyncPoint) {
        let mut recovery = lock(&self.recovery);
        if recovery.truncations == point.truncations {
            recovery.end = recovery.end.max(point.end);
        }
    }

    /// Compaction has been through everything below.
    pub(crate) fn cleaned_to(&self) -> Offset {
        Offset(self.cleaned_to.load(Ordering::Acquire))
    }

    pub(crate) fn set_cleaned_to(&self, offset: Offset) {
        self.cleaned_to.store(offset.0, Ordering::Release);
    }

    pub(crate) fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.epochs().end_offset_for(epoch, self.log_end())
    }

    /// A segment was closed; the next checkpoint syncs it.
    pub(crate) fn add_unsynced(&self, segment: Arc<Segment>) {
        lock(&self.unsynced).push(segment);
    }

    pub(crate) fn unsynced(&self) -> Vec<Arc<Segment>> {
        lock(&self.unsynced).clone()
    }

    pub(crate) fn is_unsynced(&self, segment: &Segment) -> bool {
        lock(&self.unsynced).iter().any(|unsynced| unsynced.id == segment.id)
    }

    pub(crate) fn retain_unsynced(&self, keep: impl Fn(&Segment) -> bool) {
        lock(&self.unsynced).retain(|segment| keep(segment));
    }

    /// Ends all changes of the log; the first reason stays. Says so in the log of the process.
    pub(crate) fn take_offline(&self, reason: &str) {
        let mut offline = lock(&self.offline);
        if offline.is_none() {
            tracing::error!(log = %self.name, reason, "log is offline");
            *offline = Some(Arc::from(reason));
        }
    }

    pub(crate) fn offline_reason(&self) -> Option<Arc<str>> {
        lock(&self.offline).clone()
    }

    pub(crate) fn check_online(&self) -> Result<(), StorageError> {
        match self.offline_reason() {
            Some(reason) => Err(StorageError::Offline { log: self.name.clone(), reason }),
            None => Ok(()),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.size()).sum()
    }
}

/// How far a log is synced, between two truncations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncPoint {
    pub(crate) end: Offset,
    pub(crate) truncations: u64,
}

/// The ends of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) durable_end: Offset,
    pub(crate) recovery_point: Offset,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is complete before anything could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
