//! Decompressed bytes that come a window at a time.
//!
//! Invariant: `start <= end <= window.len()`; memory stays at one window however much comes through.

use std::io::{ErrorKind, Read};

use crate::records::compression::codec_error;
use crate::records::walk::{SourceError, Window};
use crate::records::{BatchError, Compression};
use crate::wire::DecodeError;

/// Records up to this size are looked at in one piece.
const WINDOW_BYTES: usize = 64 * 1024;

/// A decompressing reader and its window.
pub(super) struct Stream<'a> {
    compression: Compression,
    reader: Box<dyn Read + 'a>,
    window: &'a mut Vec<u8>,
    start: usize,
    end: usize,
    has_ended: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        compression: Compression,
        reader: Box<dyn Read + 'a>,
        window: &'a mut Vec<u8>,
    ) -> Stream<'a> {
        window.resize(WINDOW_BYTES, 0);
        Stream { compression, reader, window, start: 0, end: 0, has_ended: false }
    }

    /// Moves what is left to the front and reads until `want` bytes are there.
    #[cold]
    fn fill(&mut self, want: usize) -> Result<(), BatchError> {
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let want = want.min(self.window.len());
        while self.end < want && !self.has_ended {
            match self.reader.read(&mut self.window[self.end..]) {
                // Not asked again: a codec may take what follows for another frame.
                Ok(0) => self.has_ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(codec_error(self.compression, &error)),
            }
        }
        Ok(())
    }
}

impl Window for Stream<'_> {
    fn peek(&mut self, want: usize) -> Result<&[u8], BatchError> {
        if self.end - self.start < want && !self.has_ended {
            self.fill(want)?;
        }
        Ok(&self.window[self.start..self.end])
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    fn skip(&mut self, bytes: usize) -> Result<(), SourceError> {
        let mut left = bytes;
        while left > 0 {
            let there = self.peek(1)?.len();
            if there == 0 {
                return Err(DecodeError::Truncated { needed: left, remaining: 0 }.into());
            }
            let passed = there.min(left);
            self.consume(passed);
            left -= passed;
        }
        Ok(())
    }
}
