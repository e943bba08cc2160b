//! Compaction: of every key only the last record stays (`LogCleaner`).
//!
//! [`Log::begin_compaction`](crate::Log::begin_compaction) takes a snapshot of closed segments;
//! [`Compaction::run`] copies what stays into new files, on any task, while the log goes on;
//! [`Log::finish_compaction`](crate::Log::finish_compaction) swaps them in.
//!
//! Invariants:
//! - nothing at or past the limit is looked at: high watermark, last stable offset, recovery
//!   point, active segment
//! - offsets never change; the last batch of every producer and of the round stays, empty if need
//!   be
//! - a tombstone goes only after the delete horizon that its batch's header carries (KIP-534)

mod filter;
mod key_map;
pub(crate) mod swap;
mod transactions;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Offset, ProducerEpoch, ProducerId, Timestamp};
use protocol::records::{Batch, Scratch};

use crate::error::{BadBatch, DiskError};
use crate::file_name::FileKind;
use crate::index::TimeEntry;
use crate::scan::{ScanError, Scanner};
use crate::segment::{Home, Segment};
use filter::{Filter, Kept};
use key_map::KeyMap;
use transactions::Transactions;
use writer::CleanedWriter;

/// Records of one batch may take this much when they are decompressed.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// A compaction that may run on any task. Dropping it gives it up.
pub struct Compaction {
    pub(crate) home: Arc<Home>,
    /// All segments up to the limit, from the start of the log.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Everything below was compacted by earlier rounds.
    pub(crate) first_dirty: Offset,
    /// What the log knew of its producers.
    pub(crate) producers: BTreeMap<ProducerId, LastOfProducer>,
    pub(crate) settings: Settings,
    /// While it lives, nobody else takes segments away.
    pub(crate) token: Arc<()>,
    pub(crate) generation: u64,
}

/// Settings of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) now: Timestamp,
    pub(crate) delete_retention_ms: i64,
    pub(crate) segment_bytes: u64,
    pub(crate) index_interval: u64,
    pub(crate) memory_bytes: usize,
}

/// The batch that has to stay for a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastOfProducer {
    /// Its last batch of data, if it is known.
    pub(crate) last_offset: Option<Offset>,
    /// Otherwise its last marker counts, which has its epoch.
    pub(crate) epoch: ProducerEpoch,
}

/// What a run made, for [`Log::finish_compaction`](crate::Log::finish_compaction).
#[must_use = "the new segments are of no use until they are swapped in"]
pub struct CompactionDone {
    pub(crate) replacements: Vec<Replacement>,
    pub(crate) cleaned_to: Offset,
    pub(crate) generation: u64,
    /// Keeps others away from the segments until the swap.
    pub(crate) _token: Arc<()>,
    /// What was read and what is left.
    pub stats: CompactionStats,
}

/// New files for a run of segments.
pub(crate) struct Replacement {
    pub(crate) old: Vec<Arc<Segment>>,
    pub(crate) size: u64,
    pub(crate) next_offset: Offset,
    pub(crate) max: Option<TimeEntry>,
}

/// Counts of one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Bytes of batches read.
    pub bytes_read: u64,
    /// Bytes of batches that stay.
    pub bytes_kept: u64,
    /// Records read.
    pub records_read: u64,
    /// Records that stay.
    pub records_kept: u64,
}

/// Why a compaction gave up. The log is as it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompactionError {
    /// A batch is damaged.
    #[error("{file} is corrupt at position {position}: {reason}", file = file.display())]
    Corrupt {
        /// The segment's file.
        file: std::path::PathBuf,
        /// Where the bad batch starts.
        position: u64,
        /// What is wrong with it.
        reason: BadBatch,
    },
    /// The disk, or no room on it.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Compaction {
    /// Reads the segments and writes what stays beside them.
    pub async fn run(self) -> Result<CompactionDone, CompactionError> {
        let mut keys = KeyMap::new(self.settings.memory_bytes);
        let mut transactions = Transactions::default();
        for segment in &self.segments {
            transactions.find_aborted(segment).await?;
        }
        self.map_keys(&mut keys, &mut transactions).await?;
        transactions.start_over();
        let mut stats = CompactionStats::default();
        let mut replacements = Vec::new();
        let cleaned_to = keys.end();
        let filter = Filter {
            keys: &keys,
            settings: self.settings,
            producers: &self.producers,
            round_end: self.segments.last().map_or(cleaned_to, |last| last.next_offset()),
        };
        for group in self.groups(cleaned_to) {
            let made = self.clean(group, &filter, &mut transactions, &mut stats).await?;
            replacements.extend(made);
        }
        let (generation, token) = (self.generation, self.token);
        Ok(CompactionDone { replacements, cleaned_to, generation, _token: token, stats })
    }

    /// Notes the last offset of every key in the dirty part, as far as the memory goes.
    async fn map_keys(
        &self,
        keys: &mut KeyMap,
        transactions: &mut Transactions,
    ) -> Result<(), CompactionError> {
        let mut scratch = Scratch::new();
        keys.start_at(self.first_dirty);
        for segment in &self.segments {
            let mut batches = Batches::of(segment).await?;
            while let Some(batch) = batches.next().await? {
                let is_aborted = transactions.on_batch(&batch);
                let header = &batch.header;
                if header.base_offset < self.first_dirty {
                    continue;
                }
                if !header.attributes.is_control() && !is_aborted {
                    let records = batch.records(DECOMPRESSED_BYTES_MAX, &mut scratch);
                    let records = records.map_err(|_| batches.unreadable())?;
                    for record in &records {
                        let record = record.map_err(|_| batches.unreadable())?;
                        let Some(key) = record.key else { continue };
                        if !keys.insert(key, record.offset) {
                            return Ok(());
                        }
                    }
                }
                keys.mapped_to(header.next_offset());
            }
        }
        Ok(())
    }

    /// Runs of neighbours that fit into one segment together, as far as they are mapped.
    fn groups(&self, cleaned_to: Offset) -> Vec<Vec<Arc<Segment>>> {
        let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
        let mut bytes = 0;
        for segment in self.segments.iter().filter(|segment| segment.base < cleaned_to) {
            let fits = groups.last().is_some_and(|group| {
                let span = segment.next_offset() - group[0].base;
                bytes + segment.size() <= self.settings.segment_bytes && span <= i64::from(i32::MAX)
            });
            if !fits {
                groups.push(Vec::new());
                bytes = 0;
            }
            bytes += segment.size();
            let group = groups.last_mut().expect("one was just pushed when there was none");
            group.push(Arc::clone(segment));
        }
        groups
    }

    /// The replacement of a group; `None` when it would hold the same.
    async fn clean(
        &self,
        group: Vec<Arc<Segment>>,
        filter: &Filter<'_>,
        transactions: &mut Transactions,
        stats: &mut CompactionStats,
    ) -> Result<Option<Replacement>, CompactionError> {
        let mut writer = CleanedWriter::create(&self.home, group[0].base, self.settings).await?;
        let mut is_changed = group.len() > 1;
        let mut scratch = Scratch::new();
        for segment in &group {
            let mut batches = Batches::of(segment).await?;
            while let Some(batch) = batches.next().await? {
                stats.bytes_read += batch.bytes.len() as u64;
                stats.records_read += batch.header.record_count as u64;
                let can_go = transactions.on_batch(&batch);
                let kept = filter.apply(&batch, can_go, &mut scratch);
                let kept = match kept.map_err(|_| batches.unreadable())? {
                    Kept::Whole => batch,
                    Kept::Changed(batch) => {
                        is_changed = true;
                        batch
                    }
                    Kept::Nothing => {
                        is_changed = true;
                        continue;
                    }
                };
                stats.bytes_kept += kept.bytes.len() as u64;
                stats.records_kept += kept.header.record_count as u64;
                writer.append(&kept).await?;
            }
        }
        if !is_changed {
            writer.discard().await?;
            return Ok(None);
        }
        writer.finish(group).await.map(Some)
    }
}

/// The batches of a closed segment, each verified.
pub(crate) struct Batches {
    segment: Arc<Segment>,
    scanner: Scanner,
}

impl Batches {
    pub(crate) async fn of(segment: &Arc<Segment>) -> Result<Batches, CompactionError> {
        let file = segment.file().await?;
        let scanner = Scanner::new(&file, segment.base, 0, segment.base, segment.size());
        Ok(Batches { segment: Arc::clone(segment), scanner })
    }

    async fn next(&mut self) -> Result<Option<Batch>, CompactionError> {
        let batch = self.scanner.next_batch().await;
        let batch = batch.map_err(|error| into_compaction(&self.segment, error))?;
        Ok(batch.map(|batch| Batch { header: batch.header, bytes: batch.bytes }))
    }

    /// The last batch does not parse.
    fn unreadable(&self) -> CompactionError {
        let file = self.segment.path(FileKind::Log);
        let position = self.scanner.position();
        CompactionError::Corrupt { file, position, reason: BadBatch::Records }
    }
}

pub(crate) fn into_compaction(segment: &Segment, error: ScanError) -> CompactionError {
    let file = segment.path(FileKind::Log);
    match error {
        ScanError::Disk(error) => CompactionError::Disk(DiskError::at("read", file)(error)),
        ScanError::Bad { position, reason } => CompactionError::Corrupt { file, position, reason },
    }
}
