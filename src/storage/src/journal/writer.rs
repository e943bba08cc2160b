//! The one task that writes a journal: all that waits goes into one block, one sync.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::{Offset, Uuid};
use runtime::sync::{mpsc, oneshot};
use runtime::{File, OpenMode};

use super::block::{self, BlockHeader, HEADER_BYTES, Sealing};
use super::{Entry, Journal, Refusal, Sealed, SegmentPosition, file_path};
use crate::error::DiskError;
use crate::name::LogName;

/// A block takes no more entries from here on.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// By how much a file grows: into zeros, so that a sync of what is written over them later has no
/// length and no place on the disk to write down. 4 KiB appends, then durable (ext4): 0.48 ms into a
/// file that grows each time, 0.2 ms into one that has grown before.
const GROW_BYTES: u64 = 1 << 20;
/// Room that is kept for voids when the disk is full: they are what deletion waits for.
const RESERVE_BYTES: u64 = 4 * block::ALIGN as u64;
/// A generation is full when it has so many bytes for each log in it, if not before: a checkpoint of
/// few logs is a short burst of writes, which appends hardly feel, and one of many logs pays each
/// sync with enough bytes.
const CHECKPOINT_BYTES_PER_LOG: u64 = 1 << 20;
/// But not before it has so many.
const CHECKPOINT_BYTES_MIN: u64 = 8 << 20;
/// Files that take turns.
const FILES: usize = 2;

/// What the journal is asked for.
pub(super) enum Order {
    /// Make these durable.
    Write { entries: Vec<Entry>, done: oneshot::Sender<Result<(), Refusal>> },
    /// A generation is void, and its file has another number now.
    Released { generation: u64, next: u64, file: Arc<dyn File>, allocated: u64 },
    /// Write no more.
    End { done: oneshot::Sender<()> },
}

/// The segments of a log with bytes in a generation: the first and the last of them.
type Spans = BTreeMap<LogName, (Offset, Offset)>;

/// The file that is written to.
struct Current {
    generation: u64,
    file: Arc<dyn File>,
    /// Where the next block goes.
    end: u64,
    /// Length of the file.
    allocated: u64,
    blocks: u32,
    logs: Spans,
}

pub(super) struct Writer {
    files: Files,
    directory: Uuid,
    current: Option<Current>,
    /// Released ones, in the order in which they are used.
    spares: VecDeque<Current>,
    /// How many files there are.
    count: usize,
    /// The generation before the current one.
    previous: Sealing,
    /// Generations that are not released yet, without the current one.
    sealed: BTreeMap<u64, Spans>,
    seal: mpsc::UnboundedSender<Sealed>,
    failed: Option<Arc<str>>,
}

/// A journal's parts without the way to its task, which ends when nobody else has that.
struct Files {
    disk: Arc<dyn runtime::Disk>,
    dir: Arc<std::path::PathBuf>,
    next: Arc<std::sync::atomic::AtomicU64>,
    generation_bytes: u64,
}

/// What shares a block.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    /// Whether they are for voids only, and who waits.
    answers: Vec<(bool, oneshot::Sender<Result<(), Refusal>>)>,
    bytes: usize,
}

impl Writer {
    pub(super) fn new(
        journal: &Journal,
        directory: Uuid,
        seal: mpsc::UnboundedSender<Sealed>,
    ) -> Writer {
        Writer {
            files: Files {
                disk: Arc::clone(&journal.disk),
                dir: Arc::clone(&journal.dir),
                next: Arc::clone(&journal.next),
                generation_bytes: journal.generation_bytes,
            },
            directory,
            current: None,
            spares: VecDeque::new(),
            count: 0,
            previous: Sealing::default(),
            sealed: BTreeMap::new(),
            seal,
            failed: None,
        }
    }

    /// Serves orders until the last handle is gone, or one says to end.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut group = Group::default();
        while let Some(first) = orders.recv().await {
            let mut next = Some(first);
            while let Some(order) = next {
                match order {
                    Order::Write { entries, done } => self.take(&mut group, entries, done),
                    Order::Released { generation, next, file, allocated } => {
                        self.sealed.remove(&generation);
                        self.spares.push_back(Current {
                            generation: next,
                            file,
                            end: 0,
                            allocated,
                            blocks: 0,
                            logs: Spans::new(),
                        });
                    }
                    Order::End { done } => {
                        self.commit(&mut group).await;
                        // Who asked waits for it.
                        let _ = done.send(());
                        return;
                    }
                }
                if group.bytes >= BLOCK_BYTES_MAX {
                    self.commit(&mut group).await;
                }
                next = orders.try_recv().ok();
            }
            self.commit(&mut group).await;
        }
    }

    fn take(
        &mut self,
        group: &mut Group,
        entries: Vec<Entry>,
        done: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let needed = |entry: &Entry| match entry {
            Entry::Bytes { .. } => true,
            Entry::Void { log, from, to } => {
                self.is_live(&log.name, *from, *to)
                    || group.entries.iter().any(|e| !e.is_void() && *e.log() == log.name)
            }
        };
        if !entries.iter().any(needed) {
            // Who asked may be gone.
            let _ = done.send(Ok(()));
            return;
        }
        group.bytes += entries.iter().map(block::entry_bytes).sum::<usize>();
        group.answers.push((entries.iter().all(Entry::is_void), done));
        group.entries.extend(entries);
    }

    /// Whether a generation that is not released has bytes of these places.
    fn is_live(&self, log: &LogName, from: SegmentPosition, to: Offset) -> bool {
        let current = self.current.iter().map(|current| &current.logs);
        let mut spans = current.chain(self.sealed.values()).filter_map(|logs| logs.get(log));
        spans.any(|(first, last)| *first < to && from.segment <= *last)
    }

    /// Writes a block, syncs it, and answers everybody in it.
    async fn commit(&mut self, group: &mut Group) {
        let Group { mut entries, answers, .. } = std::mem::take(group);
        if answers.is_empty() {
            return;
        }
        if answers.len() > 1 {
            runtime::sometimes!("logs share a sync of the journal");
        }
        let outcome = self.write(&entries).await;
        // Segments can be synced instead of written here, voids can not.
        let mut of_voids = outcome.clone();
        if matches!(outcome, Err(Refusal::NoRoom)) && answers.iter().any(|(is_void, _)| *is_void) {
            entries.retain(Entry::is_void);
            of_voids = self.write(&entries).await;
        }
        for (is_void, answer) in answers {
            // Who asked may be gone; the block is there all the same.
            let _ = answer.send(if is_void { of_voids.clone() } else { outcome.clone() });
        }
    }

    async fn write(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
        if let Some(reason) = &self.failed {
            return Err(Refusal::Failed(Arc::clone(reason)));
        }
        let content = HEADER_BYTES + entries.iter().map(block::entry_bytes).sum::<usize>();
        let bytes = block::padded(content) as u64;
        let only_voids = entries.iter().all(Entry::is_void);
        self.make_room(bytes, only_voids).await?;
        let (directory, previous) = (self.directory, self.previous);
        let current = self.current.as_mut().expect("there is room in it");
        let (generation, ordinal) = (current.generation, current.blocks);
        let header = BlockHeader { generation, ordinal, previous, directory };
        for entry in entries {
            note(&mut current.logs, entry);
        }
        let buffers = block::encode(header, entries);
        if let Err(error) = current.file.write_durably(current.end, &buffers).await {
            let path = file_path(&self.files.dir, generation);
            return Err(self.fail(DiskError::at("write", path)(error)));
        }
        current.end += bytes;
        current.blocks += 1;
        Ok(())
    }

    /// Sees to it that the next block fits into the current file, which exists.
    async fn make_room(&mut self, bytes: u64, only_voids: bool) -> Result<(), Refusal> {
        let limit = self.files.generation_bytes;
        let Some(current) = &self.current else {
            // Numbers follow the order of use: what is sealed gets its next one when it is released.
            let next = match self.spares.pop_front() {
                Some(spare) => spare,
                None if self.sealed.is_empty() => self.create().await?,
                None => return Err(Refusal::NoRoom),
            };
            self.current = Some(next);
            return self.grow(bytes, only_voids).await;
        };
        let end = current.end + bytes;
        let is_too_large = current.blocks == 0 && end > limit;
        if end > limit && !only_voids && (is_too_large || self.is_without_successor()) {
            // Voids go beyond its size, rather than not in.
            runtime::sometimes!("the journal is full");
            return Err(Refusal::NoRoom);
        }
        let is_full = end > limit.min(checkpoint_bytes(current.logs.len()));
        if is_full && current.blocks > 0 && !self.is_without_successor() {
            let next = match self.spares.pop_front() {
                Some(spare) => spare,
                None => self.create().await?,
            };
            self.seal();
            self.current = Some(next);
        }
        self.grow(bytes, only_voids).await
    }

    fn is_without_successor(&self) -> bool {
        self.spares.is_empty() && self.count >= FILES
    }

    fn seal(&mut self) {
        let Some(current) = self.current.take() else { return };
        runtime::sometimes!("a generation of the journal is full");
        self.previous = Sealing { generation: current.generation, blocks: current.blocks };
        let sealed = Sealed {
            logs: current.logs.keys().cloned().collect(),
            generation: current.generation,
            file: current.file,
            allocated: current.allocated,
            renamed: None,
        };
        self.sealed.insert(current.generation, current.logs);
        // Nobody checkpoints any more when the directory is being closed.
        let _ = self.seal.send(sealed);
    }

    async fn create(&mut self) -> Result<Current, Refusal> {
        let generation = self.files.next.fetch_add(1, Ordering::AcqRel);
        let path = file_path(&self.files.dir, generation);
        let created = async {
            let file = self.files.disk.open(&path, OpenMode::Create).await;
            let file = file.map_err(DiskError::at("create", &path))?;
            file.set_len(0).await.map_err(DiskError::at("truncate", &path))?;
            let dir = &*self.files.dir;
            self.files.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
            Ok(file)
        };
        let file = created.await.map_err(|error| self.fail(error))?;
        self.count += 1;
        Ok(Current { generation, file, end: 0, allocated: 0, blocks: 0, logs: Spans::new() })
    }

    /// Writes zeros ahead.
    async fn grow(&mut self, bytes: u64, only_voids: bool) -> Result<(), Refusal> {
        let step = GROW_BYTES.min(self.files.generation_bytes);
        let current = self.current.as_mut().expect("the caller made it");
        let needed = current.end + bytes;
        let wanted = needed + if only_voids { 0 } else { RESERVE_BYTES };
        if wanted <= current.allocated {
            return Ok(());
        }
        let target = if only_voids { wanted } else { wanted.next_multiple_of(step) };
        let zeros = vec![0; usize::try_from(target - current.allocated).unwrap_or(usize::MAX)];
        match current.file.write_durably(current.allocated, &[Bytes::from(zeros)]).await {
            Ok(()) => {
                current.allocated = target;
                Ok(())
            }
            Err(error) => {
                let path = file_path(&self.files.dir, current.generation);
                Err(self.fail(DiskError::at("write", path)(error)))
            }
        }
    }

    /// What `error` means: without room the segments can be synced instead, otherwise it is over.
    fn fail(&mut self, error: DiskError) -> Refusal {
        if error.is_full() || error.source.kind() == io::ErrorKind::FileTooLarge {
            runtime::sometimes!("there is no room for the journal");
            // What is in it can be released, and its room used again.
            let holds_some = self.current.as_ref().is_some_and(|current| current.blocks > 0);
            if holds_some && !self.is_without_successor() {
                self.seal();
            }
            return Refusal::NoRoom;
        }
        let reason: Arc<str> = Arc::from(error.to_string());
        tracing::error!(%error, "the journal takes no more entries");
        self.failed = Some(Arc::clone(&reason));
        Refusal::Failed(reason)
    }
}

/// How full a generation with so many logs gets.
fn checkpoint_bytes(logs: usize) -> u64 {
    (logs as u64 * CHECKPOINT_BYTES_PER_LOG).max(CHECKPOINT_BYTES_MIN)
}

fn note(logs: &mut Spans, entry: &Entry) {
    let Entry::Bytes { log, at, .. } = entry else { return };
    match logs.get_mut(&log.name) {
        Some((first, last)) => {
            *first = (*first).min(at.segment);
            *last = (*last).max(at.segment);
        }
        None => {
            logs.insert(log.name.clone(), (at.segment, at.segment));
        }
    }
}
