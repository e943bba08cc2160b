//! A connection of a client that builds its frames by hand.
//!
//! In: bytes of any kind. Out: whole frames, an end, or silence.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::{FrameDecoder, decode_response_header, encode_request};
use protocol::{Decode, Request, StrBytes};
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};
use runtime::{Clock, Stream, timeout};

use super::Seat;

/// Within so much a broker answers that nothing holds up.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(8);

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const WRITE_LIMIT: Duration = Duration::from_secs(1);
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A frame, without its length.
    Frame(Bytes),
    /// The end of the connection.
    Closed,
    /// Nothing, for as long as was waited.
    Silent,
}

/// No answer that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The connection ended.
    Closed,
    /// Nothing came in [`ANSWER_LIMIT`].
    Silent,
    /// Something came that the schema does not know.
    Garbled(String),
}

/// The connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    frames: FrameDecoder,
    clock: Arc<dyn Clock>,
    correlation_id: i32,
}

impl Wire {
    /// Connects to one of the brokers; `None` when none takes it now.
    pub(super) async fn connect(seat: &mut Seat) -> Option<Wire> {
        let broker = seat.dice.pick(&seat.work.brokers).clone();
        let clock = Arc::clone(&seat.runtime.clock);
        let connected = timeout(&*clock, CONNECT_LIMIT, seat.runtime.net.connect(&broker)).await;
        let stream = connected.ok()?.ok()?;
        let frames = FrameDecoder::new(FRAME_BYTES_MAX);
        Some(Wire { stream, frames, clock, correlation_id: 0 })
    }

    /// Whether all of `bytes` went out.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        let write = self.stream.write_all(bytes);
        matches!(timeout(&*self.clock, WRITE_LIMIT, write).await, Ok(Ok(())))
    }

    /// What comes within `limit`.
    pub(super) async fn reply(&mut self, limit: Duration) -> Reply {
        let clock = Arc::clone(&self.clock);
        match timeout(&*clock, limit, self.next()).await {
            Ok(Ok(Some(frame))) => Reply::Frame(frame),
            Ok(Ok(None) | Err(_)) => Reply::Closed,
            Err(runtime::Elapsed) => Reply::Silent,
        }
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.frames.next_frame().map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(self.frames.buffer()).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Sends `request`, and reads its answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, NoAnswer> {
        self.ask(request, version).await;
        self.answer::<R>(version).await
    }

    /// Sends `request`; a connection that is gone is noticed by who waits for the answer.
    pub(super) async fn ask<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let bytes = frame_of(request, version, self.correlation_id);
        self.send(&bytes).await;
    }

    /// The answer to the request that is next in turn.
    pub(super) async fn answer<R: Request>(
        &mut self,
        version: i16,
    ) -> Result<R::Response, NoAnswer> {
        match self.reply(ANSWER_LIMIT).await {
            Reply::Frame(frame) => decode::<R>(frame, version).map_err(NoAnswer::Garbled),
            Reply::Closed => Err(NoAnswer::Closed),
            Reply::Silent => Err(NoAnswer::Silent),
        }
    }
}

/// `request` as a frame, in one piece.
pub(super) fn frame_of<R: Request>(request: &R, version: i16, correlation_id: i32) -> Vec<u8> {
    let client_id = StrBytes::from("wild");
    let chunks = encode_request(request, version, correlation_id, Some(&client_id));
    chunks.expect("the version carries what the request holds").concat()
}

/// The answer in `frame`, every byte of it.
pub(super) fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, String> {
    let (_, mut body) = decode_response_header(frame, R::KEY, version, FRAME_BYTES_MAX)
        .map_err(|error| format!("{error}"))?;
    let response = R::Response::decode(&mut body, version).map_err(|error| format!("{error}"))?;
    body.finish().map_err(|error| format!("{error}"))?;
    Ok(response)
}
