//! Directories, names and locks of the machine's file systems.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::{BoxFuture, DirEntry, Disk, DiskLock, DiskSpace, EntryKind, File, OpenMode};
use rustix::fs::{FlockOperation, flock, fsync, statvfs};
use rustix::io::retry_on_intr;

use crate::buffers::Buffers;
use crate::file::OsFile;
use crate::lanes::Lanes;

pub(crate) struct OsDisk {
    lanes: Arc<Lanes>,
    buffers: Arc<Buffers>,
}

impl OsDisk {
    pub(crate) fn new(lanes: Arc<Lanes>) -> OsDisk {
        OsDisk { lanes, buffers: Arc::default() }
    }

    /// Runs `work` on `path` in the lane of names.
    fn on_path<'a, T: Send + 'static>(
        &'a self,
        path: &'a Path,
        work: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'a, io::Result<T>> {
        Box::pin(async move {
            let path = path.to_path_buf();
            self.lanes.names.run(move || work(path)).await?
        })
    }
}

impl Disk for OsDisk {
    fn open<'a>(
        &'a self,
        path: &'a Path,
        mode: OpenMode,
    ) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        let (lanes, buffers) = (Arc::clone(&self.lanes), Arc::clone(&self.buffers));
        self.on_path(path, move |path| {
            let file = open_options(mode).open(path)?;
            // Opening a directory for reading works, and every later call on it would not.
            if file.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let writable = mode != OpenMode::Read;
            let file: Arc<dyn File> = Arc::new(OsFile::new(file, lanes, buffers, writable));
            Ok(file)
        })
    }

    fn create_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(path, fs::create_dir_all)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let to = to.to_path_buf();
        self.on_path(from, move |from| fs::rename(from, to))
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(path, fs::remove_file)
    }

    fn remove_dir_all<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.on_path(path, fs::remove_dir_all)
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        self.on_path(path, list)
    }

    fn sync_dir<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let path = path.to_path_buf();
            let sync = move || {
                let directory = fs::File::open(path)?;
                Ok(retry_on_intr(|| fsync(&directory))?)
            };
            self.lanes.syncs.run(sync).await?
        })
    }

    fn space<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>> {
        self.on_path(path, |path| {
            let found = retry_on_intr(|| statvfs(&path))?;
            Ok(DiskSpace {
                total: found.f_blocks.saturating_mul(found.f_frsize),
                free: found.f_bavail.saturating_mul(found.f_frsize),
            })
        })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>> {
        self.on_path(path, |path| {
            let file = open_options(OpenMode::Create).open(path)?;
            // Belongs to this open file, not to the process: a second one here is refused too, and
            // the kernel frees it when the file closes.
            retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive))?;
            let lock: DiskLock = Box::new(file);
            Ok(lock)
        })
    }
}

fn open_options(mode: OpenMode) -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::ReadWrite => options.write(true),
        OpenMode::Create => options.write(true).create(true).truncate(false),
        OpenMode::CreateNew => options.write(true).create_new(true),
    };
    options
}

fn list(path: PathBuf) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        let (kind, len) = if kind.is_dir() {
            (EntryKind::Directory, 0)
        } else if kind.is_file() {
            match entry.metadata() {
                Ok(metadata) => (EntryKind::File, metadata.len()),
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
        } else {
            (EntryKind::Other, 0)
        };
        entries.push(DirEntry { name, kind, len });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
