//! What a start does with a journal: writes what is in it where it belongs, durably.
//!
//! It comes before anything else touches the logs, and doing it twice is doing it once: entries only
//! say what stands where, the last one that speaks of a place is right, and what is voided is not
//! written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use model::{Offset, Uuid};
use runtime::{Disk, EntryKind, File, OpenMode, join_all, read_full_at, write_all_at};

use super::block::{self, ALIGN, BlockHeader, FoundWhat};
use super::{FILE_PREFIX, SegmentPosition};
use crate::error::{DiskError, LogDirError};
use crate::file_name::{FileKind, file_name};
use crate::name::LogName;

/// Files that are synced at once.
const SYNCS: usize = 64;
/// How much of a file is looked through at once for a block behind a damaged one.
const LOOK_BYTES: usize = 1 << 20;

/// What a replay did.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// Where each log ends at least, as far as its bytes were in the journal.
    pub(crate) ends: BTreeMap<LogName, SegmentPosition>,
    /// The last generation that there was.
    pub(crate) last: u64,
}

/// What the journal holds of one log, in order.
#[derive(Default)]
struct Pieces {
    topic_id: Uuid,
    pieces: Vec<(SegmentPosition, Bytes)>,
}

/// What the journal in `dir` holds.
pub(crate) struct Contents {
    files: Vec<(u64, PathBuf)>,
    logs: BTreeMap<LogName, Pieces>,
}

/// Reads the journal in `dir`.
pub(crate) async fn read(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    directory: Uuid,
) -> Result<Contents, LogDirError> {
    let files = files(disk, dir).await?;
    let logs = read_all(disk, &files, directory).await?;
    Ok(Contents { files, logs })
}

impl Contents {
    /// The logs it speaks of.
    pub(crate) fn logs(&self) -> impl Iterator<Item = &LogName> {
        self.logs.keys()
    }

    /// Writes everything into the segments, syncs them, and empties the journal. `there` has the logs
    /// that are there, with the topics they belong to as far as that is known.
    pub(crate) async fn apply(
        self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        there: &BTreeMap<LogName, Option<Uuid>>,
    ) -> Result<Replayed, LogDirError> {
        let last = self.files.last().map_or(0, |(number, _)| *number);
        let mut replayed = Replayed { last, ..Replayed::default() };
        let mut written = Written::default();
        for (name, log) in self.logs {
            // One that is not there was deleted.
            let Some(topic_id) = there.get(&name) else { continue };
            if !log.topic_id.is_zero() && topic_id.is_some_and(|found| found != log.topic_id) {
                tracing::warn!(log = %name, "the journal holds records of an earlier topic");
                continue;
            }
            let home = dir.join(name.to_string());
            if let Some(end) = log.write(disk, &home, &mut written).await? {
                runtime::sometimes!("a start writes out of the journal");
                replayed.ends.insert(name, end);
            }
            if written.files.len() >= SYNCS {
                std::mem::take(&mut written).sync(disk).await?;
            }
        }
        written.sync(disk).await?;
        if !replayed.ends.is_empty() {
            let logs = replayed.ends.len();
            tracing::info!(logs, "wrote what was in the journal into its logs");
        }
        remove(disk, dir, &self.files).await?;
        Ok(replayed)
    }
}

/// Removes the journal in `dir`, whatever is in it, and returns the last generation there was.
pub(crate) async fn discard(disk: &Arc<dyn Disk>, dir: &Path) -> Result<u64, LogDirError> {
    let files = files(disk, dir).await?;
    remove(disk, dir, &files).await?;
    Ok(files.last().map_or(0, |(number, _)| *number))
}

/// The generations that there are, oldest first.
async fn files(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogDirError> {
    let entries = disk.list(dir).await.map_err(DiskError::at("list", dir))?;
    let mut files = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let number = entry.name.strip_prefix(FILE_PREFIX).and_then(|digits| digits.parse().ok());
        files.extend(number.map(|number| (number, dir.join(&entry.name))));
    }
    files.sort();
    Ok(files)
}

/// From the oldest on: without a newer one, what it voids would be written.
async fn remove(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    files: &[(u64, PathBuf)],
) -> Result<(), LogDirError> {
    for (_, path) in files {
        disk.remove_file(path).await.map_err(DiskError::at("remove", path))?;
        disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
    }
    Ok(())
}

async fn read_all(
    disk: &Arc<dyn Disk>,
    files: &[(u64, PathBuf)],
    directory: Uuid,
) -> Result<BTreeMap<LogName, Pieces>, LogDirError> {
    let mut logs = BTreeMap::<LogName, Pieces>::new();
    let mut before = BTreeMap::<u64, (&PathBuf, u32)>::new();
    for (generation, path) in files {
        let file = disk.open(path, OpenMode::Read).await.map_err(DiskError::at("open", path))?;
        let len = file.len().await.map_err(DiskError::at("read", path))?;
        let mut reading = Reading { path, file, len, generation: *generation, directory };
        let mut blocks = 0;
        let mut position = 0;
        while let Some((header, block)) = reading.block_at(position, blocks).await? {
            let sealed = header.previous;
            if sealed.generation >= *generation {
                let reason = format!("it says that it follows generation {}", sealed.generation);
                return Err(damaged(path, reason));
            }
            // One that is not there was released.
            if let Some((path, found)) = before.get(&sealed.generation)
                && *found < sealed.blocks
            {
                let reason = format!("{found} blocks are readable, {} were synced", sealed.blocks);
                return Err(damaged(path, reason));
            }
            position += block::padded(block.len()) as u64;
            blocks += 1;
            let Some(entries) = block::decode(&block) else {
                let reason = format!("block {} makes no sense", header.ordinal);
                return Err(damaged(path, reason));
            };
            for entry in entries {
                let log = logs.entry(entry.log).or_default();
                match entry.what {
                    FoundWhat::Bytes { at, bytes } => {
                        log.topic_id = entry.topic_id;
                        log.pieces.push((at, bytes));
                    }
                    FoundWhat::Void { from, to } => log.void(from, to),
                }
            }
        }
        reading.check_end(position, blocks).await?;
        before.insert(*generation, (path, blocks));
    }
    Ok(logs)
}

fn damaged(file: &Path, reason: String) -> LogDirError {
    LogDirError::BadJournal { file: file.to_owned(), reason }
}

/// One file on its way through.
struct Reading<'a> {
    path: &'a PathBuf,
    file: Arc<dyn File>,
    len: u64,
    generation: u64,
    directory: Uuid,
}

impl Reading<'_> {
    async fn read(&self, position: u64, len: usize) -> Result<Bytes, DiskError> {
        let read = read_full_at(&*self.file, position, len).await;
        read.map_err(DiskError::at("read", self.path))
    }

    /// The block at `position`, if it is whole, of this generation, and the one that is due.
    async fn block_at(
        &mut self,
        position: u64,
        ordinal: u32,
    ) -> Result<Option<(BlockHeader, Bytes)>, LogDirError> {
        let Some((header, block)) = self.whole_block_at(position).await? else { return Ok(None) };
        if header.directory != self.directory {
            let reason = format!(
                "it belongs to the data directory {}, this is {}",
                header.directory, self.directory
            );
            return Err(damaged(self.path, reason));
        }
        Ok((header.ordinal == ordinal).then_some((header, block)))
    }

    /// A block at `position` of this generation whose checksum is right.
    async fn whole_block_at(
        &mut self,
        position: u64,
    ) -> Result<Option<(BlockHeader, Bytes)>, LogDirError> {
        let first = self.read(position, ALIGN).await?;
        let Some((header, length)) = block::peek(&first) else { return Ok(None) };
        if header.generation != self.generation || length as u64 > self.len - position {
            return Ok(None);
        }
        let block = match first.len() >= length {
            true => first.slice(..length),
            false => self.read(position, length).await?,
        };
        let is_whole = block.len() == length && block::is_right(&block);
        Ok(is_whole.then_some((header, block)))
    }

    fn is_later(&self, header: &BlockHeader, blocks: u32) -> bool {
        let is_of_it = header.generation == self.generation && header.directory == self.directory;
        is_of_it && header.ordinal > blocks
    }

    /// Behind the last block there is none of this generation: one that is there was written after
    /// those before it were synced.
    async fn check_end(&mut self, end: u64, blocks: u32) -> Result<(), LogDirError> {
        let mut position = end;
        while position < self.len {
            let look = self.read(position, LOOK_BYTES).await?;
            for at in (0..look.len()).step_by(ALIGN) {
                let is_of_it = block::peek(&look[at..])
                    .is_some_and(|(header, _)| self.is_later(&header, blocks));
                if is_of_it && self.whole_block_at(position + at as u64).await?.is_some() {
                    let reason = format!("block {blocks}, at position {end}, is not readable");
                    return Err(damaged(self.path, reason));
                }
            }
            if look.is_empty() {
                break;
            }
            position += look.len() as u64;
        }
        Ok(())
    }
}

impl Pieces {
    /// What was said of these places counts no more.
    fn void(&mut self, from: SegmentPosition, to: Offset) {
        self.pieces.retain_mut(|(at, bytes)| {
            if at.segment < from.segment || at.segment >= to {
                return true;
            }
            if at.segment > from.segment {
                return false;
            }
            let kept = from.position.saturating_sub(at.position).min(bytes.len() as u64);
            bytes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            !bytes.is_empty()
        });
    }

    /// Writes everything, and returns where the log ends at least.
    async fn write(
        mut self,
        disk: &Arc<dyn Disk>,
        home: &Path,
        written: &mut Written,
    ) -> Result<Option<SegmentPosition>, DiskError> {
        // Pieces of one segment in the order in which they were said; later ones are right.
        self.pieces.sort_by_key(|(at, _)| at.segment);
        let Some((last, _)) = self.pieces.last() else { return Ok(None) };
        let mut end = SegmentPosition { segment: last.segment, position: 0 };
        for pieces in self.pieces.chunk_by(|(a, _), (b, _)| a.segment == b.segment) {
            let segment = pieces[0].0.segment;
            let path = home.join(file_name(FileKind::Log, segment));
            let file = disk.open(&path, OpenMode::Create).await;
            let file = file.map_err(DiskError::at("create", &path))?;
            for run in runs(pieces) {
                let buffers: Vec<Bytes> = run.iter().map(|(_, bytes)| bytes.clone()).collect();
                let write = write_all_at(&*file, run[0].0.position, &buffers).await;
                write.map_err(DiskError::at("write", &path))?;
            }
            if segment == end.segment {
                let ends = pieces.iter().map(|(at, bytes)| at.position + bytes.len() as u64);
                end.position = ends.max().unwrap_or_default();
            }
            written.files.push((path, file));
        }
        written.dirs.push(home.to_owned());
        Ok(Some(end))
    }
}

/// What has to be synced.
#[derive(Default)]
struct Written {
    files: Vec<(PathBuf, Arc<dyn File>)>,
    dirs: Vec<PathBuf>,
}

impl Written {
    async fn sync(self, disk: &Arc<dyn Disk>) -> Result<(), DiskError> {
        let synced = join_all(self.files.iter().map(|(_, file)| file.sync_data())).await;
        for (synced, (path, _)) in synced.into_iter().zip(&self.files) {
            synced.map_err(DiskError::at("sync", path))?;
        }
        let synced = join_all(self.dirs.iter().map(|dir| disk.sync_dir(dir))).await;
        for (synced, dir) in synced.into_iter().zip(&self.dirs) {
            synced.map_err(DiskError::at("sync", dir))?;
        }
        Ok(())
    }
}

/// Pieces that follow one another without a gap.
fn runs(pieces: &[(SegmentPosition, Bytes)]) -> impl Iterator<Item = &[(SegmentPosition, Bytes)]> {
    pieces.chunk_by(|(a, bytes), (b, _)| a.position + bytes.len() as u64 == b.position)
}
