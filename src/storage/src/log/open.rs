//! Opening a log: takes stock of its directory, recovers, and hands out the owner's handle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::{Offset, Timestamp, Uuid};
use runtime::{OpenMode, Runtime};

use super::recovery::{Recovered, Recovery};
use super::staged::Staged;
use super::{Active, Log, Unsynced};
use crate::config::{Durability, LogConfig};
use crate::error::{DiskError, OpenError};
use crate::file_name::{self, FileKind, Named};
use crate::journal::SegmentPosition;
use crate::log_dir::Registration;
use crate::name::LogName;
use crate::open_files::OpenFiles;
use crate::scan::Scanner;
use crate::segment::Home;
use crate::shared::{Ends, LogShared};

/// What a data directory knows of a log that is to be opened.
pub(crate) struct Opening {
    pub(crate) name: LogName,
    pub(crate) dir: PathBuf,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) config: LogConfig,
    /// Below it everything was synced.
    pub(crate) recovery_point: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    /// Below it compaction has been.
    pub(crate) cleaned_to: Option<Offset>,
    /// Whether the directory was left in good order.
    pub(crate) was_clean: bool,
    /// Where it ends at least, by what the journal held of it.
    pub(crate) journaled: Option<SegmentPosition>,
    /// Whether Kafka wrote it last, whose recovery points promise less.
    pub(crate) by_kafka: bool,
}

/// The files of a log's directory.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Bytes of each segment's file of batches.
    pub(crate) segments: BTreeMap<Offset, u64>,
    /// Bytes of the other files of segments.
    pub(crate) indexes: BTreeMap<(Offset, FileKind), u64>,
    pub(crate) snapshots: BTreeSet<Offset>,
    /// Files of segments that replace others, complete.
    swaps: BTreeSet<(Offset, FileKind)>,
    cleaned: Vec<(String, Option<Offset>)>,
    /// Whether names were changed, which has to be synced.
    pub(crate) changed: bool,
}

/// Opens and, where need be, recovers a log.
pub(crate) async fn open(
    runtime: &Runtime,
    open_files: &Arc<OpenFiles>,
    opening: Opening,
    registration: Registration,
) -> Result<Log, OpenError> {
    let home = Arc::new(Home {
        disk: Arc::clone(&runtime.disk),
        open_files: Arc::clone(open_files),
        dir: opening.dir.clone(),
        index_interval: AtomicU64::new(u64::from(opening.config.index_interval_bytes)),
    });
    let inventory = Inventory::take(&home).await?;
    let recovered = Recovery::new(&home, &opening, inventory).run().await?;
    assemble(runtime, opening, registration, home, recovered).await
}

async fn assemble(
    runtime: &Runtime,
    opening: Opening,
    registration: Registration,
    home: Arc<Home>,
    recovered: Recovered,
) -> Result<Log, OpenError> {
    let now = runtime.clock.wall();
    let segment = recovered.segments.last().expect("recovery leaves at least one segment");
    let path = segment.path(FileKind::Log);
    let file = runtime.disk.open(&path, OpenMode::ReadWrite).await;
    let file = file.map_err(DiskError::at("open", &path))?;
    segment.pin(Some(Arc::clone(&file)));
    let active = Active {
        segment: Arc::clone(segment),
        file,
        first_timestamp: recovered.first_timestamp,
        created: now,
        roll_after_ms: opening.config.segment_ms,
        bytes_since_snapshot: recovered.bytes_since_snapshot,
    };
    let is_durable = opening.config.durability == Durability::Fsync || opening.was_clean;
    let recovery_point = if is_durable {
        recovered.log_end
    } else {
        opening.recovery_point.unwrap_or_default().clamp(Offset::ZERO, recovered.log_end)
    };
    let ends = Ends {
        log_start: recovered.log_start,
        log_end: recovered.log_end,
        durable_end: recovered.log_end,
        recovery_point,
    };
    let shared = Arc::new(LogShared::new(
        opening.name.clone(),
        home,
        recovered.segments,
        recovered.epochs,
        ends,
    ));
    shared.set_cleaned_to(opening.cleaned_to.unwrap_or_default().min(recovered.log_end));
    registration.opened(&shared, is_durable);
    let is_synced = recovery_point == recovered.log_end;
    let staged = Staged::new(&registration, &shared.name, opening.topic_id, is_synced);
    let mut log = Log {
        staged,
        shared,
        registration,
        runtime: runtime.clone(),
        config: opening.config,
        topic_id: opening.topic_id,
        producers: recovered.producers,
        active,
        unsynced: Unsynced::none(runtime.clock.now()),
        snapshots: recovered.snapshots,
        deleted: Vec::new(),
        compaction: std::sync::Weak::new(),
        generation: 0,
        is_busy: false,
        is_as_closed: opening.was_clean && recovered.bytes_since_snapshot == 0,
    };
    if !is_durable {
        log.note_unsynced(recovery_point);
    }
    log.active.roll_after_ms = log.roll_after_ms(log.active.segment.base);
    log.expire_producers();
    log.assert_invariants();
    Ok(log)
}

impl Log {
    /// Recovery leaves the segments past the recovery point to the next sync when the topic does
    /// not ask for more.
    fn note_unsynced(&mut self, recovery_point: Offset) {
        let segments = self.shared.segments();
        let (_, closed) = segments.split_last().expect("a log has an active segment");
        for segment in closed.iter().filter(|segment| segment.next_offset() > recovery_point) {
            self.shared.add_unsynced(Arc::clone(segment));
            self.unsynced.closed_count += 1;
            self.unsynced.closed.push((self.unsynced.closed_count, Arc::clone(segment)));
        }
        self.unsynced.dir_changes += 1;
    }
}

impl Inventory {
    /// Lists the directory, removes what an interrupted operation left, and completes a swap of
    /// compacted segments (`LogLoader`).
    async fn take(home: &Arc<Home>) -> Result<Inventory, OpenError> {
        let mut inventory = Inventory::default();
        let entries = home.disk.list(&home.dir).await;
        for entry in entries.map_err(DiskError::at("list", &home.dir))? {
            match file_name::parse(&entry.name) {
                Named::Live(FileKind::Log, base) => {
                    inventory.segments.insert(base, entry.len);
                }
                Named::Live(FileKind::Snapshot, offset) => {
                    inventory.snapshots.insert(offset);
                }
                Named::Live(kind, base) => {
                    inventory.indexes.insert((base, kind), entry.len);
                }
                Named::Swap(kind, base) => {
                    inventory.swaps.insert((base, kind));
                }
                Named::Cleaned => {
                    let base = entry.name.get(..20).and_then(|digits| digits.parse().ok());
                    inventory.cleaned.push((entry.name, base.map(Offset)));
                }
                Named::Leftover => inventory.remove(home, &entry.name).await?,
                Named::Other => {}
            }
        }
        inventory.settle_swaps(home).await?;
        inventory.remove_orphans(home).await?;
        Ok(inventory)
    }

    /// A set of replacements is complete when none of it is `.cleaned` any more: they are renamed
    /// from the last to the first.
    async fn settle_swaps(&mut self, home: &Arc<Home>) -> Result<(), OpenError> {
        let first_cleaned = self.cleaned.iter().filter_map(|(_, base)| *base).min();
        let swaps = std::mem::take(&mut self.swaps);
        let is_complete = |base: Offset| first_cleaned.is_none_or(|first| base < first);
        let (complete, partial): (Vec<_>, Vec<_>) =
            swaps.into_iter().partition(|(base, _)| is_complete(*base));
        if !partial.is_empty() {
            runtime::sometimes!("a start throws half a compaction away");
            for (base, kind) in partial {
                self.remove(home, &swap_name(kind, base)).await?;
            }
            // Without a `.cleaned` beside it, half a set would pass for a whole one.
            sync_dir(home).await?;
        }
        for (name, _) in std::mem::take(&mut self.cleaned) {
            self.remove(home, &name).await?;
        }
        let mut replaced: Option<(Offset, Offset)> = None;
        for &(base, _) in complete.iter().filter(|(_, kind)| *kind == FileKind::Log) {
            let end = swap_end(home, base).await?;
            let (first, last) = replaced.unwrap_or((base, end));
            replaced = Some((first.min(base), last.max(end)));
        }
        if let Some((first, end)) = replaced {
            self.remove_replaced(home, first, end).await?;
        }
        for (base, kind) in complete {
            let (from, to) = (home.dir.join(swap_name(kind, base)), home.path(kind, base));
            let renamed = home.disk.rename(&from, &to).await;
            renamed.map_err(DiskError::at("rename", &from))?;
            runtime::sometimes!("a start completes the swap of a compaction");
            tracing::info!(file = %to.display(), "completed the swap of a compacted segment");
            self.changed = true;
            let len = file_len(home, &to).await?;
            match kind {
                FileKind::Log => self.segments.insert(base, len),
                _ => self.indexes.insert((base, kind), len),
            };
        }
        Ok(())
    }

    /// Removes the segments whose compacted replacement is complete.
    async fn remove_replaced(
        &mut self,
        home: &Arc<Home>,
        first: Offset,
        end: Offset,
    ) -> Result<(), OpenError> {
        // The replacement of the first one takes its name, in one step.
        let segments: Vec<_> = self.segments.range(first.next()..end.max(first.next())).collect();
        let segments: Vec<Offset> = segments.into_iter().map(|(base, _)| *base).collect();
        if segments.is_empty() {
            return Ok(());
        }
        for base in segments {
            self.segments.remove(&base);
            self.remove(home, &file_name::file_name(FileKind::Log, base)).await?;
        }
        // A segment that came back would lie across its replacement, once that has its name.
        sync_dir(home).await
    }

    /// Indexes without batches.
    async fn remove_orphans(&mut self, home: &Arc<Home>) -> Result<(), OpenError> {
        let orphans = self.indexes.keys().filter(|(base, _)| !self.segments.contains_key(base));
        for (base, kind) in orphans.copied().collect::<Vec<_>>() {
            self.indexes.remove(&(base, kind));
            self.remove(home, &file_name::file_name(kind, base)).await?;
        }
        Ok(())
    }

    pub(crate) async fn remove(&mut self, home: &Home, name: &str) -> Result<(), OpenError> {
        let path = home.dir.join(name);
        home.disk.remove_file(&path).await.map_err(DiskError::at("remove", &path))?;
        tracing::info!(file = %path.display(), "removed a leftover");
        self.changed = true;
        Ok(())
    }
}

async fn sync_dir(home: &Home) -> Result<(), OpenError> {
    let synced = home.disk.sync_dir(&home.dir).await;
    Ok(synced.map_err(DiskError::at("sync", &home.dir))?)
}

fn swap_name(kind: FileKind, base: Offset) -> String {
    file_name::file_name(kind, base) + file_name::SWAP_SUFFIX
}

/// The offset behind the last batch of a replacement.
async fn swap_end(home: &Home, base: Offset) -> Result<Offset, OpenError> {
    let path = home.dir.join(swap_name(FileKind::Log, base));
    let file = home.disk.open(&path, OpenMode::Read).await.map_err(DiskError::at("open", &path))?;
    let len = file.len().await.map_err(DiskError::at("read", &path))?;
    let mut scanner = Scanner::new(&file, base, 0, base, len);
    loop {
        match scanner.next_header().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(scanner.next_offset()),
            Err(error) => return Err(super::recovery::scan_error(&path, error, &scanner)),
        }
    }
}

async fn file_len(home: &Home, path: &std::path::Path) -> Result<u64, OpenError> {
    let file = home.disk.open(path, OpenMode::Read).await.map_err(DiskError::at("open", path))?;
    Ok(file.len().await.map_err(DiskError::at("read", path))?)
}

/// No time: of a segment without batches.
pub(super) fn known_time(timestamp: Timestamp) -> Option<Timestamp> {
    (timestamp >= Timestamp(0)).then_some(timestamp)
}
