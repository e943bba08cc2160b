//! Takes whole request frames off a byte stream.
//!
//! In: bytes as the network delivers them. Out: one `Bytes` per frame, without its length prefix,
//! not copied unless a frame straddles two reads of small buffers.
//!
//! Invariants: a frame's announced length is checked against the limit, and room for it in the
//! broker's memory budget is granted, before anything is allocated for it. [`FrameReader::next`] is
//! cancel-safe: bytes already read stay in the buffer.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use runtime::ReadHalf;
use runtime::sync::{OwnedSemaphorePermit, Semaphore};
use runtime::tokio::io::AsyncReadExt;

/// How much is read at once while frames are small.
const READ_BYTES_MIN: usize = 64 * 1024;

/// How much is read at once at most while frames are large, unless one frame needs more.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// The unit of the memory budget: permits are counted in KiB.
pub(crate) const BUDGET_UNIT_BYTES: usize = 1024;

/// One frame and its share of the memory budget.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The frame behind its length prefix.
    pub(crate) bytes: Bytes,
    /// Give it back when the request is answered.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Why no frame comes any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The client closed the connection inside a frame, or the network broke.
    #[error("read request")]
    Io(#[from] io::Error),
    /// The length prefix makes no sense or is over the limit.
    #[error(
        "request announces {announced} bytes; allowed are 0 to {limit} (socket.request.max.bytes)"
    )]
    Size {
        /// The length prefix.
        announced: i32,
        /// `socket.request.max.bytes`.
        limit: usize,
    },
}

/// The reading end of a connection.
pub(crate) struct FrameReader {
    stream: Box<dyn ReadHalf>,
    buffer: BytesMut,
    frame_bytes_max: usize,
    budget: Arc<Semaphore>,
    budget_units: u32,
    granted: Option<OwnedSemaphorePermit>,
    /// Twice the size of the last frame, within the bounds: then most frames lie whole in one
    /// buffer, and none of their bytes moves.
    read_bytes: usize,
}

impl FrameReader {
    /// Reads frames of up to `frame_bytes_max` bytes; `budget` holds `budget_units` permits of
    /// [`BUDGET_UNIT_BYTES`] for all connections together.
    pub(crate) fn new(
        stream: Box<dyn ReadHalf>,
        frame_bytes_max: usize,
        budget: Arc<Semaphore>,
        budget_units: u32,
    ) -> FrameReader {
        let buffer = BytesMut::new();
        FrameReader {
            stream,
            buffer,
            frame_bytes_max,
            budget,
            budget_units,
            granted: None,
            read_bytes: READ_BYTES_MIN,
        }
    }

    /// The next frame; `None` when the client closed the connection between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let missing = match self.announced()? {
                Some(length) => {
                    let permit = self.grant(length).await;
                    if self.buffer.len() >= 4 + length {
                        return Ok(Some(self.take(length, permit)));
                    }
                    self.granted = Some(permit);
                    4 + length - self.buffer.len()
                }
                None => 0,
            };
            self.buffer.reserve(missing.max(self.read_bytes));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// The length of the frame at the front, once its prefix is there.
    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        match usize::try_from(announced) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length)),
            _ => Err(FrameError::Size { announced, limit: self.frame_bytes_max }),
        }
    }

    /// Waits for room in the budget, once per frame. A frame above the whole budget gets all of it.
    async fn grant(&mut self, length: usize) -> OwnedSemaphorePermit {
        if let Some(permit) = self.granted.take() {
            return permit;
        }
        let units = u32::try_from(length / BUDGET_UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let units = units.min(self.budget_units);
        let permit = Arc::clone(&self.budget).acquire_many_owned(units).await;
        permit.expect("the budget's semaphore is never closed")
    }

    fn take(&mut self, length: usize, permit: OwnedSemaphorePermit) -> Frame {
        self.read_bytes = (2 * length).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.buffer.advance(4);
        Frame { bytes: self.buffer.split_to(length).freeze(), permit }
    }
}
