//! A real disk whose syncs begin to fail when told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use runtime::{BoxFuture, DirEntry, Disk, DiskLock, DiskSpace, File, OpenMode, write_and_sync};

/// The disk.
pub(super) struct FailingDisk {
    /// What really stores.
    pub(super) disk: Arc<dyn Disk>,
    /// Whether syncs of files fail.
    pub(super) is_broken: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn File>,
    is_broken: Arc<AtomicBool>,
}

impl Disk for FailingDisk {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        Box::pin(async move {
            let file = self.disk.open(path, mode).await?;
            let is_broken = Arc::clone(&self.is_broken);
            Ok(Arc::new(FailingFile { file, is_broken }) as Arc<dyn File>)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.create_dir_all(path)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.remove_file(path)
    }

    fn remove_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.remove_dir_all(path)
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        self.disk.list(path)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.disk.sync_dir(path)
    }

    fn space<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>> {
        self.disk.space(path)
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>> {
        self.disk.lock(path)
    }
}

impl File for FailingFile {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        self.file.read_at(position, len)
    }

    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<usize>> {
        self.file.write_at(position, buffers)
    }

    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(write_and_sync(self, position, buffers))
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        if self.is_broken.load(Ordering::Acquire) {
            return Box::pin(async { Err(io::Error::other("the disk is broken")) });
        }
        self.file.sync_data()
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        self.file.set_len(len)
    }
}
