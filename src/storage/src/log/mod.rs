//! A log as its one owner sees it: append, sync, trim.
//!
//! The owner appends a group of batches, syncs once, then answers all of them. Between
//! [`Log::begin_sync`] and [`Log::finish_sync`] it may append the next group.
//!
//! Invariants:
//! - `log_start <= log_end`, `durable_end <= log_end`
//! - the last segment is the active one, its file is open, its size is the file's length
//! - an error of a write or a sync takes the log offline; only missing room does not
//!
//! Start at [`Log::append`].

mod append;
mod compacting;
mod open;
mod recovery;
mod retention;
mod roll;
mod staged;
mod sync;
mod truncate;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::{LeaderEpoch, Offset, Timestamp, Uuid};
use runtime::{File, Runtime};

pub use append::{AppendBatch, AppendOutcome};
pub use retention::Retained;
pub use sync::{PendingSync, SyncDone};

pub use crate::producer_state::AppendOrigin;

use crate::checkpoint;
use crate::config::{Durability, LogConfig};
use crate::error::{DiskError, StorageError};
use crate::file_name::{FileKind, LEADER_EPOCH_CHECKPOINT};
use crate::leader_epoch::{EpochEnd, LeaderEpochs};
use crate::log_dir::Registration;
use crate::name::LogName;
use crate::producer_state::{ProducerDescription, ProducerStates};
use crate::reader::LogReader;
use crate::segment::Segment;
use crate::shared::LogShared;
use staged::Staged;

pub(crate) use open::{Opening, open};

/// One partition's log. Not `Clone`: one task owns it.
pub struct Log {
    shared: Arc<LogShared>,
    registration: Registration,
    runtime: Runtime,
    config: LogConfig,
    topic_id: Option<Uuid>,
    producers: ProducerStates,
    active: Active,
    unsynced: Unsynced,
    staged: Staged,
    /// Producer snapshots on disk.
    snapshots: BTreeSet<Offset>,
    deleted: Vec<DeletedFile>,
    /// Alive while a compaction is under way.
    compaction: Weak<()>,
    /// Counts what makes the result of a compaction useless.
    generation: u64,
    /// An operation is under way; still set at the next one when its future was dropped.
    is_busy: bool,
    /// Nothing has happened since the log was closed in good order.
    is_as_closed: bool,
}

/// What the owner knows of the active segment.
struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    /// Largest timestamp of its first batch.
    first_timestamp: Option<Timestamp>,
    /// When it was created, for segments whose batches carry no time.
    created: Timestamp,
    /// `segment.ms` less this segment's jitter.
    roll_after_ms: i64,
    bytes_since_snapshot: u64,
}

/// What the next sync has to cover.
struct Unsynced {
    /// Segments closed since the last sync, with numbers that go up. Their files stay open until
    /// then, where the topic asks for syncs: another handle might not learn of an error.
    closed: Vec<(u64, Arc<Segment>)>,
    closed_count: u64,
    /// Changes of the directory, and how many of them are synced.
    dir_changes: u64,
    dir_synced: u64,
    /// Counts truncations: a sync that began before one says nothing about what came after.
    truncations: u64,
    /// Syncs that have begun and whose end was not taken into account.
    syncs: u32,
    /// When a topic without synced acknowledgements was synced last.
    last_flush: model::Instant,
}

impl Unsynced {
    /// Nothing, at this time.
    fn none(now: model::Instant) -> Unsynced {
        Unsynced {
            closed: Vec::new(),
            closed_count: 0,
            dir_changes: 0,
            dir_synced: 0,
            truncations: 0,
            syncs: 0,
            last_flush: now,
        }
    }
}

/// A file that waits for its removal.
struct DeletedFile {
    path: PathBuf,
    deleted_at: Timestamp,
}

impl Log {
    /// Topic and partition.
    pub fn name(&self) -> &LogName {
        &self.shared.name
    }

    /// The id of its topic.
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    /// A handle that any task may read with.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// The first offset that is there.
    pub fn log_start(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset behind the last record written.
    pub fn log_end(&self) -> Offset {
        self.shared.log_end()
    }

    /// The offset behind the last record that may be acknowledged.
    pub fn durable_end(&self) -> Offset {
        self.shared.durable_end()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.shared.size_bytes()
    }

    /// Whether an error of the disk ended all changes.
    pub fn is_offline(&self) -> bool {
        self.shared.offline_reason().is_some()
    }

    /// The settings.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings from now on.
    pub fn set_config(&mut self, config: LogConfig) {
        let interval = u64::from(config.index_interval_bytes);
        self.shared.home.index_interval.store(interval, Ordering::Relaxed);
        self.active.roll_after_ms += config.segment_ms.saturating_sub(self.config.segment_ms);
        if config.durability != self.config.durability {
            self.staged.give_up();
        }
        if config.durability == Durability::Os {
            // What is written may be acknowledged from now on.
            self.shared.set_durable_end(self.shared.log_end());
        }
        self.config = config;
    }

    /// Producers and their open transactions, as DescribeProducers shows them.
    pub fn producers(&self) -> Vec<ProducerDescription> {
        self.producers.describe()
    }

    /// Forgets producers that have been idle for `producer.id.expiration.ms` of this process' time,
    /// as far as calls of this see it.
    pub fn expire_producers(&mut self) {
        let expiration = u64::try_from(self.config.producer_id_expiration_ms).unwrap_or(0);
        self.producers.expire(self.runtime.clock.now(), Duration::from_millis(expiration));
    }

    /// The first offset that read_committed consumers have to wait at, if any.
    pub fn first_unstable_offset(&mut self, high_watermark: Offset) -> Option<Offset> {
        self.producers.first_unstable_offset(high_watermark)
    }

    /// The newest leader epoch.
    pub fn latest_leader_epoch(&self) -> Option<LeaderEpoch> {
        self.shared.epochs().latest()
    }

    /// Where the records of `epoch` end; `None` when nothing is known of it.
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.shared.end_offset_for(epoch)
    }

    /// Notes that `epoch` starts at the log end. A new leader does this before its first append,
    /// so that followers can tell where the old epoch ended (KAFKA-7415). Durable when it returns.
    pub async fn assign_leader_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        self.shared.check_online()?;
        let known = self.shared.epochs();
        if known.latest() == Some(epoch) {
            return Ok(());
        }
        let mut epochs = LeaderEpochs::clone(&known);
        if !epochs.assign(epoch, self.shared.log_end()) {
            return Ok(());
        }
        self.write_epochs(&epochs).await?;
        self.shared.set_epochs(epochs);
        Ok(())
    }

    async fn write_epochs(&self, epochs: &LeaderEpochs) -> Result<(), StorageError> {
        let path = self.shared.home.dir.join(LEADER_EPOCH_CHECKPOINT);
        let written = checkpoint::write_epochs(&*self.runtime.disk, &path, epochs.entries()).await;
        written.map_err(|error| self.fail(&error))
    }

    /// Ends the use of the log in good order: everything is durable, and a start after the clean
    /// mark was written reads nothing but the ends. An offline log is only let go.
    pub async fn close(mut self) -> Result<(), StorageError> {
        if self.is_as_closed && !self.is_offline() {
            self.registration.closed_cleanly();
            return Ok(());
        }
        self.begin_operation()?;
        self.sync_everything().await?;
        self.take_snapshot().await;
        let segment = Arc::clone(&self.active.segment);
        let saved = async {
            // Those of the active segment may still be lost with the power: they are found out, as
            // after any unclean stop, and it goes on growing anyway.
            segment.finish_indexes().await?;
            for closed in self.shared.unsynced() {
                closed.sync_indexes().await?;
            }
            Ok(())
        };
        saved.await.map_err(|error: DiskError| self.fail(&error))?;
        self.shared.retain_unsynced(|_| false);
        self.registration.closed_cleanly();
        self.is_busy = false;
        Ok(())
    }

    /// What `error` means for the log: without room it goes on, otherwise it is over.
    pub(crate) fn fail(&self, error: &DiskError) -> StorageError {
        let log = self.shared.name.clone();
        if error.is_full() {
            return StorageError::DiskFull { log };
        }
        let reason = error.to_string();
        self.shared.take_offline(&reason);
        StorageError::Offline { log, reason: Arc::from(reason) }
    }

    /// Refuses to go on after an operation that was dropped half-way, which may have left the
    /// memory and the disk apart.
    fn begin_operation(&mut self) -> Result<(), StorageError> {
        if self.is_busy {
            self.shared.take_offline("an operation was abandoned half-way");
        }
        self.shared.check_online()?;
        self.is_busy = true;
        self.is_as_closed = false;
        Ok(())
    }

    /// Whether segments are being compacted, which nobody else may take away meanwhile.
    pub(crate) fn is_compacting(&self) -> bool {
        self.compaction.strong_count() > 0
    }

    fn path(&self, kind: FileKind, base: Offset) -> PathBuf {
        self.shared.home.path(kind, base)
    }

    fn assert_invariants(&self) {
        debug_assert!(self.log_start() <= self.log_end());
        debug_assert!(self.durable_end() <= self.log_end());
        debug_assert_eq!(self.active.segment.next_offset().max(self.log_end()), self.log_end());
        debug_assert!(self.shared.recovery_point() <= self.log_end());
    }
}
