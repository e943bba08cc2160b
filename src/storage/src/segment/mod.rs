//! One segment: a file of batches, its indexes, and how to find an offset in it.
//!
//! Shared by the owner of the log, who appends to the active one, and its readers. A segment that
//! was truncated or compacted is replaced by a new value of this type, never changed, so that a
//! reader's positions stay true to the bytes it reads.
//!
//! Start at [`Segment::locate`] and [`Segment::note_batch`]; `times.rs` has what concerns timestamps.

mod indexes;
mod times;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Offset, Timestamp};
use protocol::records::BatchHeader;
use runtime::{Disk, File, OpenMode, write_all_at};

use crate::error::DiskError;
use crate::file_name::{FileKind, file_name};
use crate::index::{Entry, OffsetEntry, TimeEntry, count_below, count_entries, encode, entry_at};
use crate::open_files::OpenFiles;
use crate::scan::{ScanError, Scanner};
use indexes::{IndexFile, Indexes};

/// Unsaved index entries that are worth a write.
const TAIL_ENTRIES_SAVED: usize = 512;
/// Exact positions remembered for readers that go on where they stopped.
const WARM_POSITIONS: usize = 16;

/// What all segments of a log share.
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) open_files: Arc<OpenFiles>,
    pub(crate) dir: PathBuf,
    /// `index.interval.bytes`.
    pub(crate) index_interval: AtomicU64,
}

impl Home {
    pub(crate) fn path(&self, kind: FileKind, base: Offset) -> PathBuf {
        self.dir.join(file_name(kind, base))
    }
}

/// Where to start looking for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) position: u64,
    /// What the index says of the batch there, to be checked.
    pub(crate) last_offset: Option<Offset>,
    /// The batch there is the one that holds the offset.
    pub(crate) is_exact: bool,
}

impl Start {
    /// The start of the segment, which is right for every offset.
    pub(crate) const BASE: Start = Start { position: 0, last_offset: None, is_exact: false };
}

/// A segment of a log.
pub(crate) struct Segment {
    pub(crate) home: Arc<Home>,
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) base: Offset,
    size: AtomicU64,
    next_offset: AtomicI64,
    /// The open file of the active segment.
    pinned: Mutex<Option<Arc<dyn File>>>,
    indexes: Mutex<Indexes>,
    /// Offsets at which a batch starts, and where.
    warm: Mutex<[(Offset, u64); WARM_POSITIONS]>,
    warm_at: AtomicU64,
}

impl Drop for Segment {
    /// Nobody reads it any more. Files that were removed meanwhile take room until they are closed.
    fn drop(&mut self) {
        self.home.open_files.forget(self.id);
    }
}

impl Segment {
    /// A segment whose file is there, `size` bytes long; its indexes are read when needed.
    pub(crate) fn existing(home: &Arc<Home>, base: Offset, size: u64, next: Offset) -> Segment {
        let indexes = Indexes::unread();
        Segment::with_indexes(home, base, size, next, indexes)
    }

    /// A new, empty segment.
    pub(crate) fn empty(home: &Arc<Home>, base: Offset) -> Segment {
        let indexes = Indexes::empty();
        Segment::with_indexes(home, base, 0, base, indexes)
    }

    fn with_indexes(
        home: &Arc<Home>,
        base: Offset,
        size: u64,
        next: Offset,
        indexes: Indexes,
    ) -> Segment {
        Segment {
            home: Arc::clone(home),
            id: home.open_files.next_segment(),
            base,
            size: AtomicU64::new(size),
            next_offset: AtomicI64::new(next.0),
            pinned: Mutex::new(None),
            indexes: Mutex::new(indexes),
            warm: Mutex::new([(Offset(-1), 0); WARM_POSITIONS]),
            warm_at: AtomicU64::new(0),
        }
    }

    /// Bytes of whole batches.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The offset behind the last batch; of a closed segment at most its successor's base.
    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.next_offset.load(Ordering::Acquire))
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        self.home.path(kind, self.base)
    }

    /// Holds the file open, as long as this is the active segment.
    pub(crate) fn pin(&self, file: Option<Arc<dyn File>>) {
        *lock(&self.pinned) = file;
    }

    /// The file of batches.
    pub(crate) async fn file(&self) -> Result<Arc<dyn File>, DiskError> {
        if let Some(file) = lock(&self.pinned).clone() {
            return Ok(file);
        }
        self.cached(FileKind::Log, OpenMode::Read).await
    }

    async fn cached(&self, kind: FileKind, mode: OpenMode) -> Result<Arc<dyn File>, DiskError> {
        let (home, path) = (&self.home, self.path(kind));
        home.open_files.get(&*home.disk, self.id, kind, &path, mode).await
    }

    /// Takes the next batch into account, which lies at the end of the segment.
    pub(crate) fn note_batch(&self, header: &BatchHeader, position: u64) {
        let size = header.size_bytes() as u64;
        let interval = self.home.index_interval.load(Ordering::Relaxed);
        let indexes = &mut *lock(&self.indexes);
        indexes.note(header, position, interval);
        self.next_offset.store(header.next_offset().0, Ordering::Release);
        self.size.store(position + size, Ordering::Release);
    }

    /// Remembers that a batch starts at `position` that holds `offset` or, at the end of the
    /// segment, will.
    pub(crate) fn note_position(&self, offset: Offset, position: u64) {
        let mut warm = lock(&self.warm);
        if warm.contains(&(offset, position)) {
            return;
        }
        let at = self.warm_at.fetch_add(1, Ordering::Relaxed) as usize % WARM_POSITIONS;
        warm[at] = (offset, position);
    }

    /// Where to start looking for `offset`: at its batch or before.
    pub(crate) async fn locate(&self, offset: Offset) -> Result<Start, ScanError> {
        self.settle_doubts().await?;
        let warm = lock(&self.warm).iter().find(|(known, _)| *known == offset).copied();
        if let Some((_, position)) = warm {
            return Ok(Start { position, last_offset: None, is_exact: true });
        }
        let in_tail = lock(&self.indexes).offsets.floor_in_tail(offset);
        let entry = match in_tail {
            Some(entry) => Some(entry),
            None => self
                .floor_in_file::<OffsetEntry>(FileKind::Index, offset)
                .await
                .map_err(into_scan)?,
        };
        // A position past the end is a lie that the check of the batch there would not see.
        let entry = entry.filter(|entry| entry.position < self.size());
        Ok(match entry {
            Some(entry) => Start {
                position: entry.position,
                last_offset: Some(entry.last_offset),
                is_exact: false,
            },
            None => Start::BASE,
        })
    }

    /// The last entry in the file with a key of at most `key`.
    async fn floor_in_file<E: IndexFile>(
        &self,
        kind: FileKind,
        key: E::Key,
    ) -> Result<Option<E>, DiskError> {
        let Some(count) = self.saved_entries::<E>(kind).await? else { return Ok(None) };
        if count == 0 {
            return Ok(None);
        }
        let path = self.path(kind);
        let file = match self.cached(kind, OpenMode::Read).await {
            Ok(file) => file,
            // Its segment is being replaced.
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = count_below::<E>(&*file, self.base, count, |found| found <= key).await;
        let at = at.map_err(DiskError::at("read", &path))?;
        let Some(at) = at.checked_sub(1) else { return Ok(None) };
        entry_at(&*file, self.base, at).await.map_err(DiskError::at("read", &path))
    }

    /// How many entries the file has; `None` when there is no file.
    async fn saved_entries<E: IndexFile>(&self, kind: FileKind) -> Result<Option<u32>, DiskError> {
        if let Some(saved) = E::index(&mut lock(&self.indexes)).saved {
            return Ok(Some(saved));
        }
        let generation = lock(&self.indexes).generation;
        let file = match self.cached(kind, OpenMode::Read).await {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let count = count_entries::<E>(&*file).await;
        let count = count.map_err(DiskError::at("read", self.path(kind)))?;
        let mut indexes = lock(&self.indexes);
        if indexes.generation == generation {
            E::index(&mut indexes).saved = Some(count);
        }
        Ok(Some(count))
    }

    /// The index files are not there or cut short; whoever needs them first makes them anew.
    pub(crate) fn doubt_indexes(&self) {
        lock(&self.indexes).is_doubted = true;
    }

    async fn settle_doubts(&self) -> Result<(), ScanError> {
        let is_doubted = lock(&self.indexes).is_doubted;
        if is_doubted { self.rebuild_indexes().await } else { Ok(()) }
    }

    /// Sets the largest timestamp, of a segment that was just written.
    pub(crate) fn know_max(&self, max: Option<TimeEntry>) {
        lock(&self.indexes).max = Some(max);
    }

    /// Whether index entries are only in memory.
    pub(crate) fn has_unsaved_entries(&self) -> bool {
        let indexes = lock(&self.indexes);
        !indexes.offsets.tail.is_empty() || !indexes.times.tail.is_empty()
    }

    /// Makes the indexes anew out of the batches: what the files say is not to be believed.
    pub(crate) async fn rebuild_indexes(&self) -> Result<(), ScanError> {
        let file = self.file().await.map_err(into_scan)?;
        let interval = self.home.index_interval.load(Ordering::Relaxed);
        let mut fresh = Indexes::anew(lock(&self.indexes).generation + 1);
        let scanned = self.size();
        let mut scanner = Scanner::new(&file, self.base, 0, self.base, scanned);
        while let Some(batch) = scanner.next_header().await? {
            fresh.note(&batch.header, batch.position, interval);
        }
        let mut indexes = lock(&self.indexes);
        // Entries that were appended meanwhile follow what was scanned.
        let newer = indexes.offsets.tail.iter().filter(|entry| entry.position >= scanned);
        fresh.offsets.tail.extend(newer.copied());
        let last_time = fresh.last_time.map_or(Timestamp(i64::MIN), |last| last.timestamp);
        let newer = indexes.times.tail.iter().filter(|entry| entry.timestamp > last_time);
        fresh.times.tail.extend(newer.copied());
        fresh.last_time = fresh.times.tail.last().copied();
        if self.size() > scanned {
            let known = fresh.max.flatten().into_iter().chain(indexes.max.flatten());
            fresh.max = Some(known.max_by_key(|max| max.timestamp));
        }
        *indexes = fresh;
        drop(indexes);
        // Handles that were only opened to read are of no use for the coming write.
        self.home.open_files.forget(self.id);
        runtime::sometimes!("indexes are rebuilt");
        tracing::warn!(segment = %self.path(FileKind::Log).display(), "rebuilt indexes");
        Ok(())
    }

    /// Whether so many index entries are only in memory that they are worth a write.
    pub(crate) fn wants_index_save(&self) -> bool {
        lock(&self.indexes).offsets.tail.len() >= TAIL_ENTRIES_SAVED
    }

    /// Writes index entries that are only in memory into the page cache.
    ///
    /// An index is a hint, so the caller may go on when this goes wrong.
    pub(crate) async fn save_indexes(&self) -> Result<(), DiskError> {
        self.save::<OffsetEntry>(FileKind::Index).await?;
        self.save::<TimeEntry>(FileKind::TimeIndex).await
    }

    /// Adds the entries that end the indexes of a segment that is closed, and writes them.
    pub(crate) async fn finish_indexes(&self) -> Result<(), DiskError> {
        lock(&self.indexes).push_time();
        self.save_indexes().await
    }

    async fn save<E: IndexFile>(&self, kind: FileKind) -> Result<(), DiskError> {
        let path = self.path(kind);
        let file = self.cached(kind, OpenMode::Create).await?;
        let (generation, saved, cut, bytes, count) = {
            let mut indexes = lock(&self.indexes);
            let generation = indexes.generation;
            let index = E::index(&mut indexes);
            // Unread, the file is complete: nothing is ever added to it.
            let Some(saved) = index.saved else { return Ok(()) };
            let bytes = encode(self.base, &index.tail);
            (generation, u64::from(saved), index.cut_first, bytes, index.tail.len())
        };
        let position = saved * E::LEN as u64;
        if cut {
            file.set_len(position).await.map_err(DiskError::at("truncate", &path))?;
        }
        if count > 0 {
            let written = write_all_at(&*file, position, &[bytes]).await;
            written.map_err(DiskError::at("write", &path))?;
        }
        let mut indexes = lock(&self.indexes);
        if indexes.generation == generation {
            let index = E::index(&mut indexes);
            index.saved = index.saved.map(|saved| saved + count as u32);
            index.tail.drain(..count);
            index.cut_first = false;
        }
        Ok(())
    }

    /// Makes what [`Segment::save_indexes`] wrote durable.
    pub(crate) async fn sync_indexes(&self) -> Result<(), DiskError> {
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            let file = self.cached(kind, OpenMode::Create).await?;
            file.sync_data().await.map_err(DiskError::at("sync", self.path(kind)))?;
        }
        Ok(())
    }

    /// Whether an index is as large as `segment.index.bytes` lets it be; one entry of the time
    /// index is kept for the end of the segment.
    pub(crate) fn indexes_are_full(&self, index_bytes_max: u32) -> bool {
        let indexes = lock(&self.indexes);
        let entries_max = |len: usize| index_bytes_max as usize / len;
        indexes.offsets.len() >= entries_max(OffsetEntry::LEN)
            || indexes.times.len() + 1 >= entries_max(TimeEntry::LEN)
    }

    /// Entries of an unread index that recovery may rely on: those of batches below `end`, which
    /// starts at `position`. Returns the last of them. Everything behind is dropped, in memory now
    /// and in the file at the next save.
    pub(crate) async fn trust_indexes(
        &self,
        end: Offset,
        position: u64,
        max: Option<TimeEntry>,
    ) -> Result<Option<OffsetEntry>, DiskError> {
        let below = |last: Offset| last < end;
        let offsets = self.trusted::<OffsetEntry>(FileKind::Index, below).await?;
        let max_timestamp = max.map_or(Timestamp(i64::MIN), |max| max.timestamp);
        let below = |timestamp: Timestamp| timestamp <= max_timestamp;
        let times = self.trusted::<TimeEntry>(FileKind::TimeIndex, below).await?;
        let mut last = None;
        if let Some(at) = offsets.checked_sub(1) {
            let file = self.cached(FileKind::Index, OpenMode::Create).await?;
            last = entry_at::<OffsetEntry>(&*file, self.base, at)
                .await
                .map_err(DiskError::at("read", self.path(FileKind::Index)))?;
        }
        let usable = last.is_none_or(|last| last.position < position);
        let mut indexes = lock(&self.indexes);
        indexes.offsets.saved = Some(if usable { offsets } else { 0 });
        indexes.offsets.cut_first = true;
        indexes.times.saved = Some(times);
        indexes.times.cut_first = true;
        indexes.max = Some(max);
        indexes.last_time = max.filter(|_| times > 0);
        indexes.bytes_since_entry = position - last.map_or(0, |last| last.position.min(position));
        Ok(last.filter(|_| usable))
    }

    async fn trusted<E: IndexFile>(
        &self,
        kind: FileKind,
        below: impl Fn(E::Key) -> bool,
    ) -> Result<u32, DiskError> {
        let Some(count) = self.saved_entries::<E>(kind).await? else { return Ok(0) };
        // Read and written from now on.
        self.home.open_files.forget(self.id);
        let file = self.cached(kind, OpenMode::Create).await?;
        let count = count_below::<E>(&*file, self.base, count, below).await;
        count.map_err(DiskError::at("read", self.path(kind)))
    }

    /// Begins the indexes anew: nothing in the files is believed.
    pub(crate) fn distrust_indexes(&self) {
        let mut indexes = lock(&self.indexes);
        *indexes = Indexes::anew(indexes.generation + 1);
    }

    /// Sets how far the segment reaches, when recovery has found out.
    pub(crate) fn set_end(&self, size: u64, next: Offset) {
        self.next_offset.store(next.0, Ordering::Release);
        self.size.store(size, Ordering::Release);
    }

    /// The largest timestamp so far, of a segment whose batches were all noted.
    pub(crate) fn max_so_far(&self) -> Option<TimeEntry> {
        lock(&self.indexes).max.flatten()
    }
}

fn into_scan(error: DiskError) -> ScanError {
    ScanError::Disk(std::io::Error::new(error.source.kind(), error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is complete before anything could panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
