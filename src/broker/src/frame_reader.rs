//! Takes whole request frames off a byte stream.
//!
//! In: bytes as the network delivers them. Out: one `Bytes` per frame, without its length prefix,
//! not copied unless a frame straddles two reads of small buffers.
//!
//! Invariants: a frame's announced length is checked against the limit before anything else. Room in
//! the broker's memory budget is granted to a large frame when its first [`SMALL_BYTES`] have come
//! (one read may bring up to [`READ_BYTES_MAX`]), to a small one when it is there: who only announces
//! takes nothing from others. When the budget is used up every connection may still have one small
//! request at work. [`FrameReader::next`] is cancel-safe: bytes already read stay in the
//! buffer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use model::Instant;
use runtime::sync::{OwnedSemaphorePermit, Semaphore};
use runtime::tokio::io::AsyncReadExt;
use runtime::{Clock, ReadHalf};

/// How much is read at once while frames are small.
const READ_BYTES_MIN: usize = 64 * 1024;

/// How much is read at once at most while frames are large, unless one frame needs more.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// A frame of up to so many bytes needs no room of its own before it is there.
const SMALL_BYTES: usize = READ_BYTES_MIN;

/// A client that has begun a frame sends [`PROGRESS_BYTES`] of it, or its end, in this time.
const PROGRESS_LIMIT: Duration = Duration::from_secs(10);

/// Less than this is no progress: a byte now and then would hold the room of a frame for ever.
const PROGRESS_BYTES: usize = 4 * 1024;

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
    /// The client began a request and does not go on with it.
    #[error("a request has begun and its rest does not come: {received} bytes are there")]
    Stalled {
        /// Bytes of it that came.
        received: usize,
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
    /// One small request of this connection when the budget is used up.
    pass: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    /// Since when no progress was made with the frame at the front, and how much of it was there.
    waiting: Option<(Instant, usize)>,
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
        clock: Arc<dyn Clock>,
    ) -> FrameReader {
        let buffer = BytesMut::new();
        FrameReader {
            stream,
            buffer,
            frame_bytes_max,
            budget,
            budget_units,
            granted: None,
            pass: Arc::new(Semaphore::new(1)),
            clock,
            waiting: None,
            read_bytes: READ_BYTES_MIN,
        }
    }

    /// The next frame; `None` when the client closed the connection between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let missing = match self.announced()? {
                Some(length) if self.buffer.len() >= 4 + length => {
                    let permit = self.grant(length).await;
                    return Ok(Some(self.take(length, permit)));
                }
                // Enough of a large frame is there to believe in the rest.
                Some(length) if length > SMALL_BYTES && self.buffer.len() >= SMALL_BYTES => {
                    let permit = self.grant(length).await;
                    self.granted = Some(permit);
                    // Waiting for room was not the client's delay.
                    self.waiting = None;
                    4 + length - self.buffer.len()
                }
                Some(_) | None => 0,
            };
            self.buffer.reserve(missing.max(self.read_bytes));
            if self.read().await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Reads more into the buffer. Between two frames a client may take its time; within one it may
    /// not.
    async fn read(&mut self) -> Result<usize, FrameError> {
        if self.buffer.is_empty() {
            self.waiting = None;
            return Ok(self.stream.read_buf(&mut self.buffer).await?);
        }
        let now = self.clock.now();
        let received = self.buffer.len();
        let (since, _) = match self.waiting {
            Some((since, before)) if received < before + PROGRESS_BYTES => (since, before),
            _ => *self.waiting.insert((now, received)),
        };
        let left = (since + PROGRESS_LIMIT).since(now);
        let read = self.stream.read_buf(&mut self.buffer);
        match runtime::timeout(&*self.clock, left, read).await {
            Ok(read) => Ok(read?),
            Err(runtime::Elapsed) => Err(FrameError::Stalled { received }),
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

    /// Waits for room in the budget, once per frame. A frame above the whole budget gets all of it;
    /// a small one need not wait when it is the connection's only one.
    async fn grant(&mut self, length: usize) -> OwnedSemaphorePermit {
        if let Some(permit) = self.granted.take() {
            return permit;
        }
        let units = u32::try_from(length / BUDGET_UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let units = units.min(self.budget_units);
        if let Ok(permit) = Arc::clone(&self.budget).try_acquire_many_owned(units) {
            return permit;
        }
        let budget = Arc::clone(&self.budget).acquire_many_owned(units);
        let permit = match length <= SMALL_BYTES {
            true => runtime::select! {
                permit = budget => permit,
                permit = Arc::clone(&self.pass).acquire_owned() => permit,
            },
            false => budget.await,
        };
        permit.expect("no semaphore is ever closed")
    }

    fn take(&mut self, length: usize, permit: OwnedSemaphorePermit) -> Frame {
        self.read_bytes = (2 * length).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.waiting = None;
        self.buffer.advance(4);
        Frame { bytes: self.buffer.split_to(length).freeze(), permit }
    }
}
