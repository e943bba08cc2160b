//! What a process asks of its disk, and which files a fault is about: plain data, for fault plans.

use serde::{Deserialize, Serialize};

/// An operation of [`runtime::Disk`] or [`runtime::File`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Op {
    /// Opening a file, creating it perhaps.
    Open = 1,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file's bytes durable.
    Sync,
    /// Asking a file's length.
    Len,
    /// Cutting or extending a file.
    SetLen,
    /// Creating directories.
    CreateDir,
    /// Renaming a file or directory; its path is the old one.
    Rename,
    /// Removing a file.
    RemoveFile,
    /// Removing a directory with all that is in it.
    RemoveDir,
    /// Listing a directory.
    List,
    /// Making a directory's names durable.
    SyncDir,
    /// Asking for free space.
    Space,
    /// Taking a lock.
    Lock,
}

impl Op {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Op::Open => "open",
            Op::Read => "read",
            Op::Write => "write",
            Op::Sync => "sync",
            Op::Len => "len",
            Op::SetLen => "set-len",
            Op::CreateDir => "create-dir",
            Op::Rename => "rename",
            Op::RemoveFile => "remove-file",
            Op::RemoveDir => "remove-dir",
            Op::List => "list",
            Op::SyncDir => "sync-dir",
            Op::Space => "space",
            Op::Lock => "lock",
        }
    }

    /// Whether a dropped call is as if it had never been made, but for what it did until then.
    pub(super) fn ends_when_dropped(self) -> bool {
        matches!(self, Op::Read | Op::Write | Op::Len | Op::List | Op::Space)
    }
}

/// Which paths a fault or trigger is about. Paths are absolute: `/data/orders-0/0.log`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathFilter {
    /// Every path.
    #[default]
    Any,
    /// This path.
    Is(String),
    /// Paths that end so: `.log`.
    Suffix(String),
    /// Paths that contain this: `/orders-0/`.
    Contains(String),
    /// Paths that all of these match.
    All(Vec<PathFilter>),
}

impl PathFilter {
    /// Paths that contain `part` and end in `suffix`: those of one kind in one partition.
    pub fn of(part: &str, suffix: &str) -> PathFilter {
        PathFilter::All(vec![
            PathFilter::Contains(part.to_owned()),
            PathFilter::Suffix(suffix.to_owned()),
        ])
    }

    /// Whether `path` is one of them.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            PathFilter::Any => true,
            PathFilter::Is(whole) => path == whole,
            PathFilter::Suffix(suffix) => path.ends_with(suffix.as_str()),
            PathFilter::Contains(part) => path.contains(part.as_str()),
            PathFilter::All(filters) => filters.iter().all(|filter| filter.matches(path)),
        }
    }
}
