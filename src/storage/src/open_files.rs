//! Open files of closed segments and indexes, bounded for the whole data directory.
//!
//! The file of an active segment is held by its log; everything else is opened when it is needed
//! and closed when others were needed since. Whoever holds a file keeps it open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::FastMap;
use runtime::{Disk, File, OpenMode};

use crate::error::DiskError;
use crate::file_name::FileKind;

/// A file of a segment: the segment's number in this process, and which of its files.
type Key = (u64, FileKind);

/// Closes what was not used for longest.
pub(crate) struct OpenFiles {
    open_max: usize,
    next_segment: AtomicU64,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    by_key: FastMap<Key, (Arc<dyn File>, u64)>,
    by_age: BTreeMap<u64, Key>,
    uses: u64,
}

impl OpenFiles {
    pub(crate) fn new(open_max: usize) -> OpenFiles {
        let next_segment = AtomicU64::new(0);
        OpenFiles { open_max: open_max.max(1), next_segment, files: Mutex::default() }
    }

    /// A number for a new segment; files are never confused, even under equal names.
    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// The file at `path`, from the cache or opened as `mode` says.
    pub(crate) async fn get(
        &self,
        disk: &dyn Disk,
        segment: u64,
        kind: FileKind,
        path: &Path,
        mode: OpenMode,
    ) -> Result<Arc<dyn File>, DiskError> {
        let key = (segment, kind);
        if let Some(file) = self.lock().touch(key) {
            return Ok(file);
        }
        let file = disk.open(path, mode).await.map_err(DiskError::at("open", path))?;
        // Dropped behind the lock: closing may take time.
        let _evicted = self.lock().insert(key, Arc::clone(&file), self.open_max);
        Ok(file)
    }

    /// Lets go of a segment's files: it is gone, or its files were replaced.
    pub(crate) fn forget(&self, segment: u64) {
        let mut forgotten = Vec::new();
        let mut files = self.lock();
        for kind in FileKind::OF_SEGMENT {
            if let Some((file, age)) = files.by_key.remove(&(segment, kind)) {
                files.by_age.remove(&age);
                forgotten.push(file);
            }
        }
        // Behind the lock: closing may take time.
        drop(files);
        drop(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        // Every change below is complete before anything could panic.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn touch(&mut self, key: Key) -> Option<Arc<dyn File>> {
        self.uses += 1;
        let (file, age) = self.by_key.get_mut(&key)?;
        self.by_age.remove(age);
        *age = self.uses;
        self.by_age.insert(self.uses, key);
        Some(Arc::clone(file))
    }

    fn insert(&mut self, key: Key, file: Arc<dyn File>, open_max: usize) -> Vec<Arc<dyn File>> {
        self.uses += 1;
        let mut evicted = Vec::new();
        if let Some((replaced, age)) = self.by_key.insert(key, (file, self.uses)) {
            self.by_age.remove(&age);
            evicted.push(replaced);
        }
        self.by_age.insert(self.uses, key);
        while self.by_key.len() > open_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            evicted.extend(self.by_key.remove(&oldest).map(|(file, _)| file));
        }
        evicted
    }
}
