//! The journal of a data directory: one sync makes appends of many logs durable.
//!
//! In: bytes that were written into segments through the page cache, and where. Out: word that they
//! are on stable storage; a start after a loss of power writes them into their segments again. Two
//! files take turns: a full generation is sealed, a checkpoint syncs the segments of its logs, and it
//! is released: renamed to be a later generation, so that its room is used again.
//!
//! Invariants:
//! - one block is on its way at a time: a block that is there proves that those before it were synced
//! - every byte below a log's durable end is synced in its segment or stands in a generation that is
//!   not released; that happens, durably, after the segments were synced
//! - places of a log that are cut, removed or written anew are voided first, durably
//!
//! Start at [`Journal::write`]; `writer.rs` has the one task that writes, `replay.rs` what a start does.

mod block;
mod replay;
mod writer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::{Offset, Uuid};
use runtime::sync::{mpsc, oneshot};
use runtime::{Disk, File, Runtime};

use crate::error::DiskError;
use crate::name::LogName;
pub(crate) use replay::{Replayed, discard, read};
use writer::{Order, Writer};

/// Names of its files: this and the generation, in 20 digits.
const FILE_PREFIX: &str = ".klamm-journal-";

/// A log, as entries name it.
#[derive(Debug)]
pub(crate) struct Author {
    name: LogName,
    encoded: Bytes,
}

/// A byte in a log: in the segment that starts at an offset, so many bytes behind its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentPosition {
    pub(crate) segment: Offset,
    pub(crate) position: u64,
}

impl SegmentPosition {
    /// Before everything.
    pub(crate) const START: SegmentPosition =
        SegmentPosition { segment: Offset::ZERO, position: 0 };
}

/// One thing to know after a loss of power.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// These bytes stand there: whole batches.
    Bytes { log: Arc<Author>, at: SegmentPosition, bytes: Vec<Bytes>, len: usize },
    /// What was said before of the places from `from` on, up to the segment at `to`, counts no more.
    Void { log: Arc<Author>, from: SegmentPosition, to: Offset },
}

impl Entry {
    /// Bytes of log.
    fn len(&self) -> usize {
        match self {
            Entry::Bytes { len, .. } => *len,
            Entry::Void { .. } => 0,
        }
    }

    fn is_void(&self) -> bool {
        matches!(self, Entry::Void { .. })
    }

    fn log(&self) -> &LogName {
        match self {
            Entry::Bytes { log, .. } | Entry::Void { log, .. } => &log.name,
        }
    }
}

/// Why something is not in the journal.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// There is no room in it, or on the disk. The segments can be synced instead.
    NoRoom,
    /// A write or a sync of it went wrong: what it holds of the last blocks is not known.
    Failed(Arc<str>),
}

/// A generation that takes no more entries.
pub(crate) struct Sealed {
    /// The logs with bytes in it.
    pub(crate) logs: Vec<LogName>,
    generation: u64,
    file: Arc<dyn File>,
    allocated: u64,
    /// The number that its file has by now, if it was renamed.
    renamed: Option<u64>,
}

/// The journal of an open directory. Cheap to clone; the last one that goes ends its task.
#[derive(Clone)]
pub(crate) struct Journal {
    orders: mpsc::UnboundedSender<Order>,
    /// The number of the next generation.
    next: Arc<AtomicU64>,
    disk: Arc<dyn Disk>,
    dir: Arc<PathBuf>,
    generation_bytes: u64,
}

impl Journal {
    /// A journal without entries, in files of `generation_bytes`, that continues behind generation
    /// `last`. What it seals is sent to the receiver, to be checkpointed and released.
    pub(crate) fn start(
        runtime: &Runtime,
        dir: &Path,
        directory: Uuid,
        last: u64,
        generation_bytes: u64,
    ) -> (Journal, mpsc::UnboundedReceiver<Sealed>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let (seal, sealed) = mpsc::unbounded_channel();
        let journal = Journal {
            orders,
            next: Arc::new(AtomicU64::new(last + 1)),
            disk: Arc::clone(&runtime.disk),
            dir: Arc::new(dir.to_owned()),
            generation_bytes,
        };
        let writer = Writer::new(&journal, directory, seal);
        runtime::spawn(runtime, "journal", writer.run(receiver));
        (journal, sealed)
    }

    /// Whether so many bytes of one log are taken at all.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        bytes <= self.generation_bytes / 2
    }

    /// Puts `entries` behind those of all earlier calls, at once; the future says when they are
    /// durable, or that they are not. They are written whether or not it is awaited.
    pub(crate) fn write(
        &self,
        entries: Vec<Entry>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        let ended = || Refusal::Failed(Arc::from("the journal has ended"));
        let sent = self.orders.send(Order::Write { entries, done });
        async move {
            sent.map_err(|_| ended())?;
            outcome.await.map_err(|_| ended())?
        }
    }

    /// Voids places of a log, durably; nothing to do when no entry speaks of them.
    pub(crate) async fn void(
        &self,
        log: &Arc<Author>,
        from: SegmentPosition,
        to: Offset,
    ) -> Result<(), Refusal> {
        self.write(vec![Entry::Void { log: Arc::clone(log), from, to }]).await
    }

    /// Lets the room of a generation be used again, durably: everything in it is synced where it
    /// belongs.
    pub(crate) async fn release(&self, sealed: &mut Sealed) -> Result<(), DiskError> {
        let next = match sealed.renamed {
            // An earlier attempt got so far.
            Some(next) => next,
            None => {
                let next = self.next.fetch_add(1, Ordering::AcqRel);
                let from = file_path(&self.dir, sealed.generation);
                let renamed = self.disk.rename(&from, &file_path(&self.dir, next)).await;
                renamed.map_err(DiskError::at("rename", &from))?;
                next
            }
        };
        sealed.renamed = Some(next);
        self.disk.sync_dir(&self.dir).await.map_err(DiskError::at("sync", &*self.dir))?;
        let (generation, allocated) = (sealed.generation, sealed.allocated);
        let file = Arc::clone(&sealed.file);
        // Nobody writes any more when the directory is being closed.
        let _ = self.orders.send(Order::Released { generation, next, file, allocated });
        Ok(())
    }

    /// Ends the journal. Its files are the caller's to discard, when everything is synced where it
    /// belongs.
    pub(crate) async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.orders.send(Order::End { done }).is_ok() {
            // An error says that it ended before.
            let _ = ended.await;
        }
    }
}

fn file_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("{FILE_PREFIX}{generation:020}"))
}
