//! Memory that large reads use again.
//!
//! A fetch reads a megabyte, sends it and forgets it. Fresh memory would be cleared for each: by us,
//! because a safe read wants bytes that are there, or by the kernel. What is used again is cleared
//! once, and is still in the processor's cache.
//!
//! Start at [`Buffers::take`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller ones come from the allocator: to clear them costs next to nothing.
const BYTES_MIN: usize = 128 * 1024;
/// Sizes that are kept; none is more than twice what was asked for.
const SIZES: [usize; 3] = [256 * 1024, 512 * 1024, 1024 * 1024];
/// Bytes that are kept of all sizes together.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Buffers that wait to be used again.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// One list for each of [`SIZES`]; the last one back is the first one out.
    lists: [Vec<Vec<u8>>; SIZES.len()],
    bytes: usize,
}

/// A buffer in use. Its bytes are anything at first.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    len: usize,
    home: Option<Arc<Buffers>>,
}

impl Buffers {
    /// A buffer of `len` bytes, of whatever value.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let size = SIZES.iter().position(|size| len <= *size).filter(|_| len >= BYTES_MIN);
        let Some(size) = size else { return Buffer { memory: vec![0; len], len, home: None } };
        let kept = {
            let mut kept = self.lock();
            let memory = kept.lists[size].pop();
            kept.bytes -= memory.as_ref().map_or(0, Vec::len);
            memory
        };
        let memory = kept.unwrap_or_else(|| vec![0; SIZES[size]]);
        Buffer { memory, len, home: Some(Arc::clone(self)) }
    }

    fn give_back(&self, memory: Vec<u8>) {
        let mut kept = self.lock();
        let size = SIZES.iter().position(|size| memory.len() == *size);
        if let Some(size) = size.filter(|_| kept.bytes + memory.len() <= KEPT_BYTES_MAX) {
            kept.bytes += memory.len();
            kept.lists[size].push(memory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No code that could panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// All of it, to be written over.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    /// Its first `count` bytes; the memory is used again when the last view of them is gone. Of a
    /// buffer that is hardly used there is a copy, so that a view holds at most twice its length.
    pub(crate) fn freeze(mut self, count: usize) -> Bytes {
        if count < self.len / 2 {
            return Bytes::copy_from_slice(&self.memory[..count]);
        }
        self.len = count;
        if self.home.is_some() {
            return Bytes::from_owner(self);
        }
        self.memory.truncate(count);
        Bytes::from(std::mem::take(&mut self.memory))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_view_is_gone() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(300_000);
        first.as_mut_slice().fill(7);
        let at = first.as_ref().as_ptr();
        let view = first.freeze(200_000);
        let part = view.slice(100..200);
        drop(view);
        assert_ne!(buffers.take(300_000).as_ref().as_ptr(), at, "it is in use");
        assert!(part.iter().all(|byte| *byte == 7));
        drop(part);
        let again = buffers.take(500_000);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (at, 500_000));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<Buffer> = (0..40).map(|_| buffers.take(1024 * 1024)).collect();
        drop(many);
        assert_eq!(buffers.lock().bytes, KEPT_BYTES_MAX);
        let taken: Vec<Buffer> = (0..40).map(|_| buffers.take(1024 * 1024)).collect();
        assert_eq!(buffers.lock().bytes, 0);
        drop(taken);
    }

    #[test]
    fn small_and_huge_ones_come_from_the_allocator() {
        let buffers = Arc::new(Buffers::default());
        for len in [0, 1, BYTES_MIN - 1, SIZES[2] + 1] {
            let mut buffer = buffers.take(len);
            buffer.as_mut_slice().fill(3);
            assert_eq!(buffer.freeze(len), vec![3; len]);
        }
        assert_eq!(buffers.lock().bytes, 0);
    }

    #[test]
    fn little_in_a_large_buffer_is_copied() {
        let buffers = Arc::new(Buffers::default());
        let view = buffers.take(1024 * 1024).freeze(1000);
        assert_eq!(view.len(), 1000);
        assert_eq!(buffers.lock().bytes, SIZES[2], "the buffer went home");
    }
}
