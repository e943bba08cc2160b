//! Watching a disk's operations as they happen, to make something of the right one.

use std::io;
use std::sync::Arc;

use super::op::Op;
use crate::world::Process;

/// When a tap is told of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was asked for.
    Begin,
    /// It took effect, or failed; its caller does not know yet.
    Effect,
}

/// An operation, as a tap sees it.
#[derive(Clone, Debug)]
pub struct DiskEvent {
    /// How far it is.
    pub phase: Phase,
    /// Who asked.
    pub process: Process,
    /// For what.
    pub op: Op,
    /// Of which file or directory; of a rename, the old path.
    pub path: Arc<str>,
    /// Where in the file; 0 where that means nothing.
    pub position: u64,
    /// Bytes to read, to write, to sync; the new length of [`Op::SetLen`].
    pub len: u64,
    /// Which of its kind on this path, counted from 1 since the disk was new.
    pub nth: u64,
    /// How it failed. Always `None` when it begins.
    pub error: Option<io::ErrorKind>,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// Its caller is told this error. At its beginning it does nothing else; at its effect it has
    /// been done.
    Fail(io::ErrorKind),
    /// Its caller never hears of it; as of its beginning, it stays in flight.
    Hang,
}

/// Told of each operation, at both phases. May call the disk, also to end it.
pub type Tap = Box<dyn FnMut(&DiskEvent) -> Verdict + Send>;
