//! One client connection: requests in, answers out in the same order.
//!
//! In: a byte stream. Out: the same stream, answered; the connection ends when the client closes
//! it, breaks the protocol, stays idle too long, or the broker stops.
//!
//! One task does it all. Requests of a connection are worked on one after the other, as Kafka does,
//! except that a Produce request behind nothing but Produce requests is handed to its partitions at
//! once, so that pipelined producers meet in one group commit; its answer still waits its turn.
//!
//! Invariants: answers leave in request order; at most [`IN_FLIGHT_MAX`] requests wait; the memory
//! of a waiting request counts against the broker's budget.
//!
//! Start at [`serve`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use model::Instant;
use protocol::ApiKey;
use protocol::records::Scratch;
use runtime::sync::OwnedSemaphorePermit;
use runtime::tokio::io::AsyncWriteExt;
use runtime::{BoxFuture, Stream, WriteHalf};

use crate::dispatch::{self, Answer};
use crate::frame_reader::{Frame, FrameError, FrameReader};
use crate::request::ConnectionInfo;
use crate::shared::Shared;

/// How many requests of one connection may wait for their answers. Kafka's clients keep 5.
const IN_FLIGHT_MAX: usize = 64;

/// Answers are collected for one write up to so many bytes, and one more.
const READY_BYTES_MAX: usize = 1024 * 1024;

/// A request whose answer is on its way.
struct InFlight {
    answer: BoxFuture<'static, Answer>,
    api: ApiKey,
    received: Instant,
    permit: OwnedSemaphorePermit,
}

/// Why a connection ended, other than by the client's will.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("write response")]
    Write(#[source] io::Error),
    #[error("{0}")]
    Protocol(String),
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
}

struct Connection {
    shared: Arc<Shared>,
    info: Arc<ConnectionInfo>,
    frames: FrameReader,
    writer: Box<dyn WriteHalf>,
    in_flight: VecDeque<InFlight>,
    scratch: Scratch,
    last_active: Instant,
    draining: bool,
}

/// What woke the connection.
enum Event {
    Answers(Vec<Answer>),
    Frame(Option<Frame>),
    Idle,
    Stopping,
}

/// Serves `stream` until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: Box<dyn Stream>,
    info: Arc<ConnectionInfo>,
) -> Result<(), ConnectionError> {
    let (reader, writer) = stream.split();
    let frames = FrameReader::new(
        reader,
        shared.config.socket_request_max_bytes,
        Arc::clone(&shared.request_memory),
        shared.request_memory_units,
        Arc::clone(&shared.runtime.clock),
    );
    let last_active = shared.runtime.clock.now();
    let mut connection = Connection {
        shared,
        info,
        frames,
        writer,
        in_flight: VecDeque::new(),
        scratch: Scratch::new(),
        last_active,
        draining: false,
    };
    let result = connection.run().await;
    // Tells the client that nothing follows; its own close needs no answer.
    let _ = connection.writer.shutdown().await;
    result
}

impl Connection {
    async fn run(&mut self) -> Result<(), ConnectionError> {
        let shared = Arc::clone(&self.shared);
        let mut stopping = std::pin::pin!(shared.stopping.wait());
        let idle_max = shared.config.connections_max_idle;
        let mut idle = shared.runtime.clock.sleep_until(self.last_active + idle_max);
        loop {
            let may_read = !self.draining && self.in_flight.len() < IN_FLIGHT_MAX;
            if self.draining && self.in_flight.is_empty() {
                return Ok(());
            }
            let event = runtime::select! {
                answers = ready_answers(&mut self.in_flight, &shared), if !self.in_flight.is_empty() => {
                    Event::Answers(answers)
                }
                frame = self.frames.next(), if may_read => Event::Frame(frame?),
                () = &mut stopping, if !self.draining => Event::Stopping,
                () = &mut idle => Event::Idle,
            };
            match event {
                Event::Answers(answers) => {
                    if !self.write(answers).await? {
                        return Ok(());
                    }
                }
                Event::Frame(Some(frame)) => self.admit(frame).await?,
                Event::Frame(None) | Event::Stopping => self.draining = true,
                Event::Idle => {
                    let now = shared.runtime.clock.now();
                    if self.in_flight.is_empty() && now.since(self.last_active) >= idle_max {
                        return Err(ConnectionError::Idle);
                    }
                    let since = if self.in_flight.is_empty() { self.last_active } else { now };
                    idle = shared.runtime.clock.sleep_until(since + idle_max);
                }
            }
        }
    }

    /// Takes a request in; Produce behind Produce starts at once.
    async fn admit(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        let now = self.shared.runtime.clock.now();
        self.last_active = now;
        let request = dispatch::open(&self.info, frame.bytes, now)
            .map_err(|error| ConnectionError::Protocol(error.to_string()))?;
        let api = request.context.api_key;
        let is_produce = api == ApiKey::Produce;
        let at_once =
            is_produce && self.in_flight.iter().all(|before| before.api == ApiKey::Produce);
        let shared = Arc::clone(&self.shared);
        let answer = if at_once {
            dispatch::submit_produce(shared, request, &mut self.scratch).await
        } else {
            dispatch::answer(shared, request)
        };
        self.in_flight.push_back(InFlight { answer, api, received: now, permit: frame.permit });
        Ok(())
    }

    /// Sends answers; `false` when one of them says that the connection must end.
    async fn write(&mut self, answers: Vec<Answer>) -> Result<bool, ConnectionError> {
        let mut chunks: Vec<Bytes> = Vec::new();
        let mut held = Vec::new();
        let mut go_on = true;
        for answer in answers {
            match answer {
                Answer::Frame(frame, memory) => {
                    chunks.extend(frame);
                    held.push(memory);
                }
                Answer::None => {}
                Answer::Close(reason) => {
                    tracing::debug!(connection = self.info.id, reason, "closing connection");
                    go_on = false;
                    break;
                }
            }
        }
        let shared = &self.shared;
        write_all(&mut *self.writer, chunks, shared).await?;
        drop(held);
        self.last_active = self.shared.runtime.clock.now();
        Ok(go_on)
    }
}

/// Waits for the first answer, and takes with it those behind it that are ready too, as long as they
/// are small: what a client does not read should not be made.
async fn ready_answers(in_flight: &mut VecDeque<InFlight>, shared: &Shared) -> Vec<Answer> {
    let mut ready = Vec::new();
    poll_fn(|context| {
        let mut bytes = 0;
        while let Some(first) = in_flight.front_mut()
            && bytes < READY_BYTES_MAX
        {
            let Poll::Ready(answer) = Pin::new(&mut first.answer).poll(context) else { break };
            if let Answer::Frame(chunks, _) = &answer {
                bytes += chunks.iter().map(Bytes::len).sum::<usize>();
            }
            ready.push(answer);
            let done = in_flight.pop_front().expect("the front was just polled");
            let now = shared.runtime.clock.now();
            shared.metrics.answered(done.api, now.since(done.received));
            drop(done.permit);
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    ready
}

/// One write; only one that has to wait pays for a timer.
async fn write_some(
    writer: &mut dyn WriteHalf,
    slices: &[io::IoSlice<'_>],
    shared: &Shared,
) -> Result<usize, ConnectionError> {
    let mut write = std::pin::pin!(writer.write_vectored(slices));
    let at_once = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
    let written = match at_once {
        Poll::Ready(written) => written,
        Poll::Pending => {
            let (clock, limit) = (&*shared.runtime.clock, shared.config.connections_max_idle);
            let waited = runtime::timeout(clock, limit, write).await;
            waited.map_err(|_| ConnectionError::Idle)?
        }
    };
    written.map_err(ConnectionError::Write)
}

/// Writes all chunks with vectored writes; gives up on a client that takes nothing for as long as a
/// connection may be idle.
async fn write_all(
    writer: &mut dyn WriteHalf,
    chunks: Vec<Bytes>,
    shared: &Shared,
) -> Result<(), ConnectionError> {
    /// Slices per call; the kernel takes 1,024 at most.
    const SLICES_MAX: usize = 64;
    let mut chunks: VecDeque<Bytes> = chunks.into_iter().filter(|c| !c.is_empty()).collect();
    while !chunks.is_empty() {
        let slices: Vec<io::IoSlice<'_>> =
            chunks.iter().take(SLICES_MAX).map(|chunk| io::IoSlice::new(chunk)).collect();
        let mut written = write_some(writer, &slices, shared).await?;
        if written == 0 {
            return Err(ConnectionError::Write(io::ErrorKind::WriteZero.into()));
        }
        while written > 0 {
            let first = chunks.front_mut().expect("no more was written than was there");
            let cut = written.min(first.len());
            written -= cut;
            if cut == first.len() {
                chunks.pop_front();
            } else {
                let _ = first.split_to(cut);
            }
        }
    }
    writer.flush().await.map_err(ConnectionError::Write)
}
