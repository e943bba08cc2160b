//! Files and directories, with an honest account of what survives.
//!
//! A write reaches the page cache: it survives the process, not the machine. [`File::sync_data`]
//! makes a file's bytes and length durable, [`Disk::sync_dir`] the names in a directory: files
//! created, renamed and removed. After a failed sync the state of the unsynced bytes is unknown,
//! and a second sync that succeeds proves nothing about them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{AsAny, BoxFuture};

/// Of what [`File::write_durably`] wants multiples, to be quick: a page, and no disk's sector is
/// larger.
pub const DURABLE_ALIGN: usize = 4096;

/// How [`Disk::open`] treats a file that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only.
    Read,
    /// Must exist; reads and writes.
    ReadWrite,
    /// Is created when missing; reads and writes.
    Create,
    /// Must not exist: [`io::ErrorKind::AlreadyExists`] otherwise.
    CreateNew,
}

/// What a directory entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Neither (a socket, a device); klamm leaves it alone.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// What it names.
    pub kind: EntryKind,
    /// Length in bytes; 0 for directories.
    pub len: u64,
}

/// A node's file system.
///
/// Errors carry the [`io::ErrorKind`]s a caller tells apart: `NotFound` for a missing path or
/// parent, `AlreadyExists`, `IsADirectory`, `NotADirectory`, `DirectoryNotEmpty`,
/// `PermissionDenied`, `StorageFull`. Paths of one process name the same files for all its tasks.
///
/// Work behind a future that was polled once runs to its end even when the future is dropped, then
/// perhaps after later calls.
pub trait Disk: Send + Sync + 'static {
    /// Opens the file at `path`; `NotFound`, `AlreadyExists` or `IsADirectory` when it is not as
    /// `mode` wants it. The parent directory is never created.
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>>;

    /// Creates a directory and its missing parents; content with one that exists. `AlreadyExists`
    /// or `NotADirectory` when a file is in the way.
    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Renames a file or directory in one step, replacing a file at `to`: whoever looks sees the
    /// old or the new. Open [`File`]s stay open. A directory only replaces an empty directory
    /// (`DirectoryNotEmpty`).
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a file (not a directory). An open [`File`] of it stays readable and writable.
    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a directory and everything in it. Not in one step: a crash may leave a part.
    fn remove_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// The entries of a directory, sorted by name. Names that are not UTF-8 are left out.
    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>>;

    /// Makes the names in a directory durable.
    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Total and free bytes of the file system that holds `path`, which exists.
    fn space<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>>;

    /// Takes the exclusive lock of the file at `path`, created when missing; held until dropped,
    /// freed by the end of the process, however it ends. [`io::ErrorKind::WouldBlock`] at once when
    /// another holds it, in this process or in another.
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>>;
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size.
    pub total: u64,
    /// What an ordinary process may still use.
    pub free: u64,
}

/// An exclusive lock; dropping it frees it.
pub type DiskLock = Box<dyn Send + Sync>;

/// An open file. Calls take `&self`: positions are explicit, so many tasks can share one file.
#[allow(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait File: AsAny + Send + Sync + 'static {
    /// Up to `len` bytes from `position`; fewer when the file ends there or the disk feels like it,
    /// none only at or past the end of the file (or for `len` 0). Sees every write that completed.
    ///
    /// `len` bytes are set aside before the read: a caller bounds a length it got from outside.
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>>;

    /// Writes the buffers one behind the other at `position` into the page cache, as far as the
    /// disk takes them; returns the count of bytes written, at least 1 unless all are empty. A gap
    /// between the end of the file and `position` reads as zeros.
    ///
    /// `PermissionDenied` on a file opened with [`OpenMode::Read`]; `StorageFull` when nothing at
    /// all fits. Dropping the future leaves it unknown which bytes were written, but none is
    /// written after the drop.
    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<usize>>;

    /// Makes durable the bytes and the length of every write and [`File::set_len`] that completed
    /// before this call. Once polled, the sync runs to its end even when the future is dropped.
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;

    /// Writes all buffers one behind the other at `position`, durably: these bytes, and a length
    /// that reaches their end. It says nothing about other writes.
    ///
    /// Implementations that can write past the page cache do, when `position` and the count of bytes
    /// are multiples of [`DURABLE_ALIGN`]; all others do what [`write_and_sync`] does. Quick where the
    /// file has been written before.
    ///
    /// `PermissionDenied` on a file opened with [`OpenMode::Read`]. After an error, or when the future
    /// was dropped, it is unknown which of the bytes are there.
    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<()>>;

    /// Length in bytes.
    fn len(&self) -> BoxFuture<'_, io::Result<u64>>;

    /// Cuts the file at `len`, or extends it with zeros. `PermissionDenied` on a file opened with
    /// [`OpenMode::Read`]. Once polled, it runs to its end even when the future is dropped.
    fn set_len(&self, len: u64) -> BoxFuture<'_, io::Result<()>>;
}

/// `len` bytes from `position`, fewer only where the file ends.
pub async fn read_full_at(file: &dyn File, position: u64, len: usize) -> io::Result<Bytes> {
    let first = file.read_at(position, len).await?;
    if first.len() == len || first.is_empty() {
        return Ok(first);
    }
    let mut all = BytesMut::with_capacity(len);
    all.extend_from_slice(&first);
    while all.len() < len {
        let more = file.read_at(position + all.len() as u64, len - all.len()).await?;
        if more.is_empty() {
            break;
        }
        all.extend_from_slice(&more);
    }
    Ok(all.freeze())
}

/// Exactly `len` bytes from `position`; [`io::ErrorKind::UnexpectedEof`] when the file is shorter.
pub async fn read_exact_at(file: &dyn File, position: u64, len: usize) -> io::Result<Bytes> {
    let bytes = read_full_at(file, position, len).await?;
    if bytes.len() < len {
        let found = bytes.len();
        let text = format!("expected {len} bytes at position {position}, found {found}");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(bytes)
}

/// Writes all buffers at `position`, in as many calls as the disk needs.
pub async fn write_all_at(file: &dyn File, position: u64, buffers: &[Bytes]) -> io::Result<()> {
    let total: usize = buffers.iter().map(Bytes::len).sum();
    let mut written = file.write_at(position, buffers).await?;
    if written == total {
        return Ok(());
    }
    let mut rest = buffers.to_vec();
    let mut position = position;
    let mut remaining = total;
    loop {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        remaining -= written;
        if remaining == 0 {
            return Ok(());
        }
        skip(&mut rest, written);
        written = file.write_at(position, &rest).await?;
    }
}

/// [`File::write_durably`] for files that have nothing better: writes and syncs.
pub async fn write_and_sync(file: &dyn File, position: u64, buffers: &[Bytes]) -> io::Result<()> {
    write_all_at(file, position, buffers).await?;
    file.sync_data().await
}

/// Drops the first `count` bytes of `buffers`.
fn skip(buffers: &mut Vec<Bytes>, mut count: usize) {
    buffers.retain_mut(|buffer| {
        let cut = count.min(buffer.len());
        count -= cut;
        *buffer = buffer.slice(cut..);
        !buffer.is_empty()
    });
}

/// The whole content of the file at `path`.
pub async fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read).await?;
    let len = file.len().await?;
    read_full_at(&*file, 0, usize::try_from(len).map_err(io::Error::other)?).await
}

/// Replaces the file at `path` so that a crash leaves the old content or the new, never a mixture:
/// writes beside it, syncs, renames, syncs the directory.
pub async fn write_file_durably(disk: &dyn Disk, path: &Path, content: Bytes) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let beside: PathBuf = parent.join(name);
    let file = disk.open(&beside, OpenMode::Create).await?;
    file.set_len(0).await?;
    write_all_at(&*file, 0, &[content]).await?;
    file.sync_data().await?;
    disk.rename(&beside, path).await?;
    disk.sync_dir(parent).await
}
