//! One open file: what runs on the calling thread, and what leaves it.
//!
//! - A write goes to the page cache by pwritev(2) on the calling thread.
//! - A read first takes what is in the page cache, on the calling thread (preadv2 with RWF_NOWAIT);
//!   what is not, and anything large, is read by a thread of its lane.
//! - Syncs, durable writes and changes of length always leave the thread.
//!
//! Start at the implementation of [`File`].

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use runtime::{BoxFuture, File};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, pwritev, retry_on_intr};

use crate::buffers::Buffers;
use crate::direct::Direct;
use crate::lanes::Lanes;

/// Largest read that is tried on the calling thread: copying this much takes about 0.1 ms, against
/// which the way to another thread and back no longer counts.
const INLINE_READ_BYTES_MAX: usize = 1024 * 1024;

/// Buffers per pwritev; Linux's IOV_MAX.
const WRITE_BUFFERS_MAX: usize = 1024;
/// Buffers for which the list of slices fits on the stack.
const WRITE_BUFFERS_FEW: usize = 32;

/// Asking for more than this is cut by Linux (and refused by others).
const READ_BYTES_MAX: usize = 0x7fff_f000;

/// A regular file.
pub(crate) struct OsFile {
    file: Arc<fs::File>,
    lanes: Arc<Lanes>,
    buffers: Arc<Buffers>,
    direct: Arc<Direct>,
    writable: bool,
    /// Whether the file system can say "not in memory" instead of waiting; learnt by asking.
    nowait: AtomicBool,
}

impl AsFd for OsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What came of a read that must not wait.
enum Inline {
    /// The bytes that were there at once; none at the end of the file.
    Read(Bytes),
    /// The disk would have to be asked.
    WouldWait,
}

impl OsFile {
    pub(crate) fn new(
        file: fs::File,
        lanes: Arc<Lanes>,
        buffers: Arc<Buffers>,
        writable: bool,
    ) -> OsFile {
        OsFile {
            file: Arc::new(file),
            lanes,
            buffers,
            direct: Arc::default(),
            writable,
            nowait: AtomicBool::new(true),
        }
    }

    /// Brings `len` bytes from `position` into the page cache, unless they seem to be there.
    pub(crate) async fn warm(&self, position: u64, len: usize) -> io::Result<()> {
        let last = position + len.saturating_sub(1) as u64;
        if self.is_cached(position)? && self.is_cached(last)? {
            return Ok(());
        }
        self.read_elsewhere(position, len).await?;
        Ok(())
    }

    /// Whether the byte at `position` can be had without waiting (also when there is none).
    fn is_cached(&self, position: u64) -> io::Result<bool> {
        let mut byte = [0];
        Ok(self.read_now(&mut byte, position)?.is_some())
    }

    /// Reads what is in the page cache. `None`: not there, or the file system can not tell.
    fn read_now(&self, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        if !self.nowait.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let flags = ReadWriteFlags::NOWAIT;
        let mut buffers = [IoSliceMut::new(buffer)];
        match retry_on_intr(|| preadv2(&self.file, &mut buffers, position, flags)) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.nowait.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_inline(&self, position: u64, len: usize) -> io::Result<Inline> {
        if len > INLINE_READ_BYTES_MAX || !self.nowait.load(Ordering::Relaxed) {
            return Ok(Inline::WouldWait);
        }
        let mut buffer = self.buffers.take(len);
        let read = self.read_now(buffer.as_mut_slice(), position)?;
        Ok(read.map_or(Inline::WouldWait, |count| Inline::Read(buffer.freeze(count))))
    }

    /// Reads on a thread of the lane, which may wait for the disk.
    async fn read_elsewhere(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        self.lanes.reads.run(move || read_waiting(&file, position, len)).await?
    }

    fn refuse_unless_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        let text = "the file was opened for reading only";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}

fn read_waiting(file: &fs::File, position: u64, len: usize) -> io::Result<Bytes> {
    let mut buffer: Vec<u8> = Vec::new();
    buffer.try_reserve_exact(len)?;
    let count =
        retry_on_intr(|| pread(file, rustix::buffer::spare_capacity(&mut buffer), position))?;
    if count < len / 2 {
        return Ok(Bytes::copy_from_slice(&buffer));
    }
    Ok(Bytes::from(buffer))
}

impl File for OsFile {
    fn read_at(&self, position: u64, len: usize) -> BoxFuture<'_, io::Result<Bytes>> {
        Box::pin(async move {
            if len == 0 {
                return Ok(Bytes::new());
            }
            let len = len.min(READ_BYTES_MAX);
            match self.read_inline(position, len)? {
                Inline::Read(bytes) => Ok(bytes),
                Inline::WouldWait => self.read_elsewhere(position, len).await,
            }
        })
    }

    fn write_at<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            self.refuse_unless_writable()?;
            write_inline(&self.file, position, buffers)
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let file = Arc::clone(&self.file);
            // The error of the one call that hit it is the only one there will be: the kernel
            // reports a failed write-back once per open file.
            let sync = move || retry_on_intr(|| rustix::fs::fdatasync(&file));
            Ok(self.lanes.syncs.run(sync).await??)
        })
    }

    fn write_durably<'a>(
        &'a self,
        position: u64,
        buffers: &'a [Bytes],
    ) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.refuse_unless_writable()?;
            let (file, direct) = (Arc::clone(&self.file), Arc::clone(&self.direct));
            let buffers = buffers.to_vec();
            self.lanes.syncs.run(move || direct.write(&file, position, &buffers)).await?
        })
    }

    fn len(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { Ok(self.file.metadata()?.len()) })
    }

    fn set_len(&self, len: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.refuse_unless_writable()?;
            let file = Arc::clone(&self.file);
            // Freeing the blocks of a large file takes milliseconds.
            let cut = move || retry_on_intr(|| rustix::fs::ftruncate(&file, len));
            Ok(self.lanes.names.run(cut).await??)
        })
    }
}

/// Writes as much as one call takes.
fn write_inline(file: &fs::File, position: u64, buffers: &[Bytes]) -> io::Result<usize> {
    let full = buffers.iter().filter(|buffer| !buffer.is_empty()).take(WRITE_BUFFERS_MAX);
    let mut few = [IoSlice::new(&[]); WRITE_BUFFERS_FEW];
    let many: Vec<IoSlice<'_>>;
    let slices = if buffers.len() <= WRITE_BUFFERS_FEW {
        let mut count = 0;
        for buffer in full {
            few[count] = IoSlice::new(buffer);
            count += 1;
        }
        &few[..count]
    } else {
        many = full.map(|buffer| IoSlice::new(buffer)).collect();
        &many[..]
    };
    if slices.is_empty() {
        return Ok(0);
    }
    Ok(retry_on_intr(|| pwritev(file, slices, position))?)
}

impl Drop for OsFile {
    fn drop(&mut self) {
        // Closing the last descriptor of a removed file frees its blocks, which takes milliseconds
        // for a large one: not on a worker thread.
        let removed = rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0);
        if removed && tokio::runtime::Handle::try_current().is_ok() {
            let file = Arc::clone(&self.file);
            self.lanes.names.submit(Box::new(move || drop(file)));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use runtime::write_all_at;
    use rustix::fs::{Advice, fadvise};

    use super::*;

    /// A file of `content` on the disk of the build directory: a temporary one may be in memory,
    /// where nothing is ever evicted.
    async fn file_of(content: &Bytes) -> OsFile {
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let lanes = Arc::new(Lanes::new(&tokio::runtime::Handle::current()));
        let file = OsFile::new(file, lanes, Arc::default(), true);
        write_all_at(&file, 0, std::slice::from_ref(content)).await.unwrap();
        file
    }

    /// Empties the page cache of what the file has in it.
    async fn evict(file: &OsFile) {
        file.sync_data().await.unwrap();
        fadvise(&file.file, 0, None, Advice::DontNeed).unwrap();
    }

    /// Whether the file system can say that bytes are not in memory and forget them when asked.
    /// ext4, XFS and btrfs can; tmpfs and some overlays can not, and have nothing to test here.
    async fn can_tell() -> bool {
        let file = file_of(&content(10_000)).await;
        evict(&file).await;
        let mut byte = [0];
        let buffers = &mut [IoSliceMut::new(&mut byte)];
        // Asked without the code that is tested.
        preadv2(&file.file, buffers, 0, ReadWriteFlags::NOWAIT) == Err(Errno::AGAIN)
    }

    fn content(len: usize) -> Bytes {
        (0..len).map(|index| (index % 251) as u8).collect::<Vec<u8>>().into()
    }

    #[test]
    fn cached_bytes_are_read_on_the_thread_and_others_elsewhere() {
        let test = |_| async {
            if !can_tell().await {
                return;
            }
            let all = content(300_000);
            let file = file_of(&all).await;
            assert!(
                matches!(file.read_inline(0, 1000).unwrap(), Inline::Read(part) if part == all[..1000])
            );
            assert!(file.is_cached(0).unwrap());
            evict(&file).await;
            assert!(matches!(file.read_inline(0, 1000).unwrap(), Inline::WouldWait));
            assert!(!file.is_cached(0).unwrap());
            assert_eq!(file.read_at(5, 1000).await.unwrap(), all[5..1005]);
            // That read brought the pages in.
            assert!(matches!(file.read_inline(5, 1000).unwrap(), Inline::Read(_)));
        };
        crate::run(test).unwrap();
    }

    #[test]
    fn bytes_cached_in_part_are_read_in_part() {
        let test = |_| async {
            // Small enough for the calling thread.
            let all = content(900_000);
            let file = file_of(&all).await;
            evict(&file).await;
            // The beginning comes in by being written anew.
            write_all_at(&file, 0, &[all.slice(..400_000)]).await.unwrap();
            let part = file.read_at(0, 900_000).await.unwrap();
            assert!(!part.is_empty() && part == all[..part.len()]);
            let whole = runtime::read_full_at(&file, 0, 900_001).await.unwrap();
            assert!(whole == all, "{} bytes", whole.len());
        };
        crate::run(test).unwrap();
    }

    #[test]
    fn warm_brings_bytes_into_memory() {
        let test = |_| async {
            if !can_tell().await {
                return;
            }
            let all = content(600_000);
            let file = file_of(&all).await;
            evict(&file).await;
            file.warm(100_000, 300_000).await.unwrap();
            assert!(
                matches!(file.read_inline(100_000, 300_000).unwrap(), Inline::Read(part) if part == all[100_000..400_000])
            );
            file.warm(599_999, 10_000).await.unwrap();
            file.warm(10_000_000, 10_000).await.unwrap();
        };
        crate::run(test).unwrap();
    }

    #[test]
    fn a_file_system_that_can_not_tell_is_read_elsewhere() {
        let test = |_| async {
            let all = content(10_000);
            let file = file_of(&all).await;
            file.nowait.store(false, Ordering::Relaxed);
            assert!(matches!(file.read_inline(0, 10).unwrap(), Inline::WouldWait));
            assert_eq!(file.read_at(10, 5000).await.unwrap(), all[10..5010]);
            assert_eq!(file.read_at(9_990, 5000).await.unwrap(), all[9_990..]);
            assert_eq!(file.read_at(10_000, 5000).await.unwrap(), "");
        };
        crate::run(test).unwrap();
    }

    #[test]
    fn a_short_read_does_not_keep_a_large_buffer() {
        let test = |_| async {
            let file = file_of(&content(100)).await;
            for nowait in [true, false] {
                file.nowait.store(nowait, Ordering::Relaxed);
                let bytes = file.read_at(0, 1_000_000).await.unwrap();
                let bytes: BytesMut = bytes.try_into_mut().unwrap();
                assert!(bytes.capacity() < 1000, "{} bytes held for 100", bytes.capacity());
            }
        };
        crate::run(test).unwrap();
    }

    #[test]
    fn a_removed_file_is_freed_when_it_is_dropped() {
        let test = |_| async {
            let file = file_of(&content(100)).await;
            let seen = Arc::downgrade(&file.file);
            drop(file);
            while seen.upgrade().is_some() {
                tokio::task::yield_now().await;
            }
        };
        crate::run(test).unwrap();
    }
}
