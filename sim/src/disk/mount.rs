//! A disk as one process sees it: [`runtime::Disk`] and [`runtime::File`].

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use runtime::{BoxFuture, DirEntry, Disk, DiskLock, DiskSpace, File, OpenMode, write_and_sync};

use super::SimDisk;
use super::names::InodeId;
use super::tree::normal;
use super::work::{Answer, Work};
use crate::world::Process;

/// The hold of one process on a disk; ends with the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) process: Process,
}

/// What [`SimDisk::mount`] gives.
pub(super) struct Mounted {
    pub(super) disk: SimDisk,
    pub(super) mount: Mount,
}

/// Says that an answer is of another kind than its question, which is a mistake of this module.
fn unexpected<T>() -> io::Result<T> {
    unreachable!("an operation answers in its own kind")
}

impl Mounted {
    async fn on_path(
        &self,
        path: &Path,
        work: impl FnOnce(Arc<str>) -> Work,
    ) -> io::Result<Answer> {
        let work = work(normal(path)?);
        self.disk.perform(self.mount, work).await
    }

    async fn change(&self, path: &Path, work: impl FnOnce(Arc<str>) -> Work) -> io::Result<()> {
        self.on_path(path, work).await.map(drop)
    }
}

impl Disk for Mounted {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            match self.on_path(path, |path| Work::Open { path, mode }).await? {
                Answer::File(file) if mode == OpenMode::Read => Ok(Arc::new(ReadOnly(file)) as _),
                Answer::File(file) => Ok(file),
                _ => unexpected(),
            }
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(path, |path| Work::CreateDir { path }))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let to = normal(to)?;
            self.change(from, |from| Work::Rename { from, to }).await
        })
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(path, |path| Work::RemoveFile { path }))
    }

    fn remove_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(path, |path| Work::RemoveDir { path }))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        Box::pin(async move {
            match self.on_path(path, |path| Work::List { path }).await? {
                Answer::Entries(entries) => Ok(entries),
                _ => unexpected(),
            }
        })
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(path, |path| Work::SyncDir { path, mark: 0 }))
    }

    fn space<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>> {
        Box::pin(async move {
            match self.on_path(path, |path| Work::Space { path }).await? {
                Answer::Space(space) => Ok(space),
                _ => unexpected(),
            }
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>> {
        Box::pin(async move {
            match self.on_path(path, |path| Work::Lock { path }).await? {
                Answer::Lock(lock) => Ok(lock),
                _ => unexpected(),
            }
        })
    }
}

/// An open file that can be written.
pub(super) struct Opened {
    disk: SimDisk,
    mount: Mount,
    inode: InodeId,
}

impl Opened {
    pub(super) fn new(disk: SimDisk, mount: Mount, inode: InodeId) -> Opened {
        Opened { disk, mount, inode }
    }

    async fn perform(&self, work: Work) -> io::Result<Answer> {
        self.disk.perform(self.mount, work).await
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.disk.close(self.mount, self.inode);
    }
}

impl File for Opened {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        let work = Work::Read { file: self.inode, position, len: len as u64 };
        Box::pin(async move {
            match self.perform(work).await? {
                Answer::Bytes(bytes) => Ok(bytes),
                _ => unexpected(),
            }
        })
    }

    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            let work = Work::Write { file: self.inode, position, bytes: joined(buffers) };
            match self.perform(work).await? {
                Answer::Count(count) => Ok(count),
                _ => unexpected(),
            }
        })
    }

    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(write_and_sync(self, position, buffers))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        let work = Work::Sync { file: self.inode, mark: 0, losses: 0 };
        Box::pin(async move { self.perform(work).await.map(drop) })
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            match self.perform(Work::Len { file: self.inode }).await? {
                Answer::Len(len) => Ok(len),
                _ => unexpected(),
            }
        })
    }

    fn set_len(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        let work = Work::SetLen { file: self.inode, len };
        Box::pin(async move { self.perform(work).await.map(drop) })
    }
}

/// The buffers one behind the other; without a copy when it is one.
fn joined(buffers: &[Bytes]) -> Bytes {
    let mut full = buffers.iter().filter(|buffer| !buffer.is_empty());
    match (full.next(), full.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only.clone(),
        _ => {
            let mut all = BytesMut::with_capacity(buffers.iter().map(Bytes::len).sum());
            for buffer in buffers {
                all.extend_from_slice(buffer);
            }
            all.freeze()
        }
    }
}

/// An open file that can not be written.
struct ReadOnly(Arc<dyn File>);

impl File for ReadOnly {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.0.read_at(position, len)
    }

    fn write_at<'a>(&'a self, _: u64, _: &'a [Bytes]) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async { Err(ErrorKind::PermissionDenied.into()) })
    }

    fn write_durably<'a>(&'a self, _: u64, _: &'a [Bytes]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Err(ErrorKind::PermissionDenied.into()) })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        self.0.sync_data()
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.0.len()
    }

    fn set_len(&self, _: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Err(ErrorKind::PermissionDenied.into()) })
    }
}

/// A lock that is held.
pub(super) struct Held {
    disk: SimDisk,
    mount: Mount,
    inode: InodeId,
}

impl Held {
    pub(super) fn new(disk: SimDisk, mount: Mount, inode: InodeId) -> Held {
        Held { disk, mount, inode }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.unlock(self.mount, self.inode);
    }
}
