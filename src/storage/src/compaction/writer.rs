//! Writes the replacement of a group of segments, under names that a restart removes.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use model::Offset;
use protocol::records::Batch;
use runtime::{File, OpenMode, write_all_at};

use super::{CompactionError, Replacement, Settings};
use crate::error::DiskError;
use crate::file_name::{CLEANED_SUFFIX, FileKind, file_name};
use crate::index::{OffsetEntry, TimeEntry, encode};
use crate::segment::{Home, Segment};

/// Batches are gathered to this many bytes for one write.
const WRITE_BYTES: usize = 1 << 20;

/// A new segment under construction.
pub(crate) struct CleanedWriter {
    home: Arc<Home>,
    base: Offset,
    settings: Settings,
    file: Arc<dyn File>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    /// Bytes that are written.
    written: u64,
    next_offset: Offset,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    max: Option<TimeEntry>,
    bytes_since_entry: u64,
}

impl CleanedWriter {
    pub(crate) async fn create(
        home: &Arc<Home>,
        base: Offset,
        settings: Settings,
    ) -> Result<CleanedWriter, CompactionError> {
        let path = cleaned_path(home, FileKind::Log, base);
        let file = home.disk.open(&path, OpenMode::Create).await;
        let file = file.map_err(DiskError::at("create", &path))?;
        file.set_len(0).await.map_err(DiskError::at("truncate", &path))?;
        Ok(CleanedWriter {
            home: Arc::clone(home),
            base,
            settings,
            file,
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: 0,
            next_offset: base,
            offsets: Vec::new(),
            times: Vec::new(),
            max: None,
            bytes_since_entry: 0,
        })
    }

    pub(crate) async fn append(&mut self, batch: &Batch) -> Result<(), CompactionError> {
        let header = &batch.header;
        let (last_offset, timestamp) = (header.last_offset(), header.max_timestamp);
        let position = self.written + self.waiting_bytes as u64;
        if timestamp.0 >= 0 && self.max.is_none_or(|max| timestamp > max.timestamp) {
            self.max = Some(TimeEntry { timestamp, offset: last_offset });
        }
        if self.bytes_since_entry > self.settings.index_interval {
            self.offsets.push(OffsetEntry { last_offset, position });
            self.push_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.bytes.len() as u64;
        self.next_offset = header.next_offset();
        self.waiting_bytes += batch.bytes.len();
        self.waiting.push(batch.bytes.clone());
        if self.waiting_bytes >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    fn push_time(&mut self) {
        let Some(max) = self.max else { return };
        if self.times.last().is_none_or(|last| max.timestamp > last.timestamp) {
            self.times.push(max);
        }
    }

    async fn flush(&mut self) -> Result<(), CompactionError> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let path = cleaned_path(&self.home, FileKind::Log, self.base);
        let written = write_all_at(&*self.file, self.written, &waiting).await;
        written.map_err(DiskError::at("write", &path))?;
        self.written += std::mem::take(&mut self.waiting_bytes) as u64;
        Ok(())
    }

    /// Makes the files durable.
    pub(crate) async fn finish(
        mut self,
        old: Vec<Arc<Segment>>,
    ) -> Result<Replacement, CompactionError> {
        self.flush().await?;
        self.push_time();
        let path = cleaned_path(&self.home, FileKind::Log, self.base);
        self.file.sync_data().await.map_err(DiskError::at("sync", &path))?;
        self.write_index(FileKind::Index, encode(self.base, &self.offsets)).await?;
        self.write_index(FileKind::TimeIndex, encode(self.base, &self.times)).await?;
        let dir = &self.home.dir;
        self.home.disk.sync_dir(dir).await.map_err(DiskError::at("sync", dir))?;
        let (size, next_offset, max) = (self.written, self.next_offset, self.max);
        Ok(Replacement { old, size, next_offset, max })
    }

    async fn write_index(&self, kind: FileKind, bytes: Bytes) -> Result<(), DiskError> {
        let path = cleaned_path(&self.home, kind, self.base);
        let file = self.home.disk.open(&path, OpenMode::Create).await;
        let file = file.map_err(DiskError::at("create", &path))?;
        file.set_len(0).await.map_err(DiskError::at("truncate", &path))?;
        if !bytes.is_empty() {
            let written = write_all_at(&*file, 0, &[bytes]).await;
            written.map_err(DiskError::at("write", &path))?;
        }
        file.sync_data().await.map_err(DiskError::at("sync", &path))
    }

    /// The segments stay as they are.
    pub(crate) async fn discard(self) -> Result<(), CompactionError> {
        let path = cleaned_path(&self.home, FileKind::Log, self.base);
        let removed = self.home.disk.remove_file(&path).await;
        Ok(removed.map_err(DiskError::at("remove", &path))?)
    }
}

pub(crate) fn cleaned_path(home: &Home, kind: FileKind, base: Offset) -> PathBuf {
    home.dir.join(file_name(kind, base) + CLEANED_SUFFIX)
}
