//! An open connection: the handshake, then requests out and responses in at the same time.
//!
//! Writing and reading go on side by side in one task, so that a broker that stops reading until
//! its responses are taken can not block both ends. A request that passes its time limit ends the
//! connection, as in Kafka's `NetworkClient`: responses come in order, so nothing behind it would
//! be answered in time either.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use model::Instant;
use protocol::frame::{FrameDecoder, FrameError};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, Decode, DecodeError, ErrorCode, StrBytes, frame};
use runtime::sync::{Notify, mpsc};
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};
use runtime::{Elapsed, ReadHalf, Runtime, WriteHalf};

use super::in_flight::InFlight;
use super::{Answer, Call, Reply};
use crate::config::ClientConfig;
use crate::error::RequestError;
use crate::versions::Versions;

/// A connection that is ready for requests.
pub(crate) struct Connection {
    runtime: Runtime,
    config: Arc<ClientConfig>,
    address: Arc<str>,
    versions: Versions,
    reader: FrameReader,
    writer: Box<dyn WriteHalf>,
    next_correlation_id: i32,
}

/// Connects to `address` and asks for the broker's versions, both within the connection time limit.
pub(crate) async fn open(
    runtime: &Runtime,
    config: &Arc<ClientConfig>,
    address: &Arc<str>,
) -> Result<Connection, RequestError> {
    let limit = config.connect_timeout;
    let opened = runtime::timeout(&*runtime.clock, limit, connect(runtime, config, address)).await;
    opened.unwrap_or_else(|Elapsed| Err(connect_error(address, io::ErrorKind::TimedOut.into())))
}

async fn connect(
    runtime: &Runtime,
    config: &Arc<ClientConfig>,
    address: &Arc<str>,
) -> Result<Connection, RequestError> {
    let stream = runtime.net.connect(address).await;
    let stream = stream.map_err(|error| connect_error(address, error))?;
    let (read, writer) = stream.split();
    let reader = FrameReader::new(read, config.response_bytes_max);
    let mut connection = Connection {
        runtime: runtime.clone(),
        config: Arc::clone(config),
        address: Arc::clone(address),
        versions: Versions::default(),
        reader,
        writer,
        next_correlation_id: 0,
    };
    connection.shake_hands().await?;
    Ok(connection)
}

fn connect_error(address: &Arc<str>, error: io::Error) -> RequestError {
    RequestError::Connect { address: Arc::clone(address), source: Arc::new(error) }
}

impl Connection {
    /// Learns the broker's versions (KIP-35), the client's newest ApiVersions first (KIP-511).
    async fn shake_hands(&mut self) -> Result<(), RequestError> {
        let mut version = ApiKey::ApiVersions.max_stable_version();
        for _ in 0..2 {
            let response = self.api_versions(version).await?;
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => {
                    self.versions = Versions::from_response(&response);
                    return Ok(());
                }
                ErrorCode::UnsupportedVersion => {
                    let known = Versions::from_response(&response);
                    version = match known.range(ApiKey::ApiVersions) {
                        Some((_, max)) if max < version => max.max(0),
                        _ => 0,
                    };
                }
                code => return Err(self.protocol_error(format!("ApiVersions answered {code}"))),
            }
        }
        Err(self.protocol_error("ApiVersions is refused in every version".to_owned()))
    }

    async fn api_versions(&mut self, version: i16) -> Result<ApiVersionsResponse, RequestError> {
        let request = ApiVersionsRequest {
            client_software_name: StrBytes::from_static("klamm"),
            client_software_version: StrBytes::from_static(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let correlation_id = self.next_correlation_id();
        let client_id = StrBytes::from(self.config.client_id.as_str());
        let chunks = frame::encode_request(&request, version, correlation_id, Some(&client_id));
        let chunks = chunks.map_err(|source| RequestError::Encode {
            api: ApiKey::ApiVersions,
            source: Arc::new(source),
        })?;
        let sent = write_chunks(&mut self.writer, chunks).await;
        sent.map_err(|error| connect_error(&self.address, error))?;
        let frame = match self.reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let closed = io::Error::from(io::ErrorKind::ConnectionReset);
                return Err(connect_error(&self.address, closed));
            }
            Err(ReadError::Io(error)) => return Err(connect_error(&self.address, error)),
            Err(error) => return Err(self.protocol_error(error.to_string())),
        };
        let decoded = decode_api_versions(frame, version);
        match decoded {
            Ok((answered, response)) if answered == correlation_id => Ok(response),
            Ok(_) => Err(self.protocol_error("ApiVersions answered out of turn".to_owned())),
            Err(source) => Err(RequestError::Decode {
                address: Arc::clone(&self.address),
                api: ApiKey::ApiVersions,
                source: Arc::new(source),
            }),
        }
    }

    fn next_correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(0);
        id
    }

    fn protocol_error(&self, reason: String) -> RequestError {
        RequestError::Protocol { address: Arc::clone(&self.address), reason }
    }

    /// Sends `first` and what comes after it, until the connection breaks, nobody can send any more
    /// or it was idle too long. Every request taken from `calls` has its outcome on return.
    pub(crate) async fn serve(self, first: Call, calls: &mut mpsc::Receiver<Call>) -> RequestError {
        let sent = SentCalls::default();
        let (runtime, address) = (self.runtime.clone(), Arc::clone(&self.address));
        let Connection { reader, writer, .. } = self;
        let mut outgoing = Outgoing {
            runtime: &runtime,
            config: &self.config,
            address: &address,
            versions: &self.versions,
            sent: &sent,
            writer,
            next_correlation_id: self.next_correlation_id,
        };
        let end = runtime::select! {
            end = read_responses(&runtime, &address, reader, &sent) => end,
            end = outgoing.run(first, calls) => end,
        };
        let now = runtime.clock.now();
        for lost in sent.lock().drain() {
            let error = match &end {
                RequestError::TimedOut { .. } if lost.deadline <= now => RequestError::TimedOut {
                    address: Arc::clone(&address),
                    api: lost.call.api,
                    limit: lost.call.limit,
                },
                RequestError::Protocol { .. } => end.clone(),
                _ => RequestError::Disconnected { address: Arc::clone(&address) },
            };
            lost.call.reply.finish(Err(error));
        }
        end
    }
}

/// The correlation id of an ApiVersions response to a request of `version`, and its body.
fn decode_api_versions(
    frame: Bytes,
    version: i16,
) -> Result<(i32, ApiVersionsResponse), DecodeError> {
    let budget = budget_bytes(frame.len());
    // A refusal is always written in version 0, whatever was asked for.
    let refused = frame.get(4..6).is_some_and(|code| code != [0, 0]);
    let body_version = if refused { 0 } else { version };
    let (answered, mut reader) =
        frame::decode_response_header(frame, ApiKey::ApiVersions, version, budget)?;
    Ok((answered, ApiVersionsResponse::decode(&mut reader, body_version)?))
}

/// How much memory a response of `frame_bytes` bytes may take once decoded: a list element may take
/// many times its bytes on the wire.
fn budget_bytes(frame_bytes: usize) -> usize {
    const FACTOR: usize = 64;
    const BASE_BYTES: usize = 1024 * 1024;
    frame_bytes.saturating_mul(FACTOR).saturating_add(BASE_BYTES)
}

/// A sent request, with the version its response will be in.
struct SentCall {
    api: ApiKey,
    version: i16,
    limit: Duration,
    reply: Reply,
}

/// What writer and reader share.
#[derive(Default)]
struct SentCalls {
    in_flight: Mutex<InFlight<SentCall>>,
    /// Told when a request is added or answered.
    changed: Notify,
}

impl SentCalls {
    fn lock(&self) -> std::sync::MutexGuard<'_, InFlight<SentCall>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side.
struct Outgoing<'a> {
    runtime: &'a Runtime,
    config: &'a ClientConfig,
    address: &'a Arc<str>,
    versions: &'a Versions,
    sent: &'a SentCalls,
    writer: Box<dyn WriteHalf>,
    next_correlation_id: i32,
}

impl Outgoing<'_> {
    async fn run(&mut self, first: Call, calls: &mut mpsc::Receiver<Call>) -> RequestError {
        let mut next = Some(first);
        while let Some(call) = next {
            if let Err(error) = self.send(call).await {
                tracing::debug!(address = %self.address, %error, "write request");
                return self.disconnected();
            }
            next = self.next_call(calls).await;
        }
        self.disconnected()
    }

    /// The next request; `None` when no more can come and all are answered, or after a long pause.
    async fn next_call(&self, calls: &mut mpsc::Receiver<Call>) -> Option<Call> {
        loop {
            let idle_end = self.runtime.clock.now() + self.config.connection_idle_max;
            runtime::select! {
                call = calls.recv() => match call {
                    Some(call) => return Some(call),
                    None => {
                        self.all_answered().await;
                        return None;
                    }
                },
                () = self.runtime.clock.sleep_until(idle_end) => {
                    if self.sent.lock().is_empty() {
                        return None;
                    }
                }
            }
        }
    }

    async fn all_answered(&self) {
        loop {
            let mut changed = std::pin::pin!(self.sent.changed.notified());
            changed.as_mut().enable();
            if self.sent.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    async fn send(&mut self, call: Call) -> io::Result<()> {
        let Call { encode, api, version_max, answered, limit, deadline, reply } = call;
        if deadline <= self.runtime.clock.now() {
            let address = Arc::clone(self.address);
            reply.finish(Err(RequestError::TimedOut { address, api, limit }));
            return Ok(());
        }
        let correlation_id = self.next_correlation_id;
        let encoded = self.versions.pick(api, version_max, self.address).and_then(|version| {
            let chunks = encode(version, correlation_id)
                .map_err(|source| RequestError::Encode { api, source: Arc::new(source) })?;
            Ok((version, chunks))
        });
        let (version, chunks) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                reply.finish(Err(error));
                return Ok(());
            }
        };
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(0);
        if answered {
            let call = SentCall { api, version, limit, reply };
            self.sent.lock().push(correlation_id, deadline, call);
            self.sent.changed.notify_waiters();
            return write_chunks(&mut self.writer, chunks).await;
        }
        let written = write_chunks(&mut self.writer, chunks).await;
        reply.finish(match &written {
            Ok(()) => Ok(Answer { version, body: None }),
            Err(_) => Err(self.disconnected()),
        });
        written
    }

    fn disconnected(&self) -> RequestError {
        RequestError::Disconnected { address: Arc::clone(self.address) }
    }
}

/// The reading side: ends with the reason why no more responses will come.
async fn read_responses(
    runtime: &Runtime,
    address: &Arc<str>,
    mut reader: FrameReader,
    sent: &SentCalls,
) -> RequestError {
    loop {
        let mut changed = std::pin::pin!(sent.changed.notified());
        changed.as_mut().enable();
        let deadline = sent.lock().next_deadline();
        let frame = runtime::select! {
            frame = reader.next() => frame,
            () = sleep_until(runtime, deadline) => return timed_out(runtime, address, sent),
            () = changed => continue,
        };
        let error = match frame {
            Ok(Some(frame)) => match take_response(frame, address, sent) {
                Ok(()) => {
                    sent.changed.notify_waiters();
                    continue;
                }
                Err(reason) => RequestError::Protocol { address: Arc::clone(address), reason },
            },
            Ok(None) | Err(ReadError::Io(_)) => {
                RequestError::Disconnected { address: Arc::clone(address) }
            }
            Err(ReadError::Frame(error)) => {
                let reason = error.to_string();
                RequestError::Protocol { address: Arc::clone(address), reason }
            }
        };
        return error;
    }
}

async fn sleep_until(runtime: &Runtime, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => runtime.clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn timed_out(runtime: &Runtime, address: &Arc<str>, sent: &SentCalls) -> RequestError {
    let now = runtime.clock.now();
    let mut sent = sent.lock();
    let lost: Vec<_> = sent.drain().collect();
    let mut end = RequestError::Disconnected { address: Arc::clone(address) };
    for request in lost {
        if request.deadline <= now {
            let (api, limit) = (request.call.api, request.call.limit);
            end = RequestError::TimedOut { address: Arc::clone(address), api, limit };
        }
        sent.push(request.correlation_id, request.deadline, request.call);
    }
    end
}

/// Hands a response to its request; the reason when it belongs to none.
fn take_response(frame: Bytes, address: &Arc<str>, sent: &SentCalls) -> Result<(), String> {
    let Some(id) = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id)) else {
        return Err(format!("a response of {} bytes has no header", frame.len()));
    };
    let call = sent.lock().answer(id).map_err(|due| match due {
        Some(due) => format!("response {id} came, {due} was due"),
        None => format!("response {id} came, none was due"),
    })?;
    let (version, budget) = (call.version, budget_bytes(frame.len()));
    let header = frame::decode_response_header(frame, call.api, version, budget);
    let outcome = header.map(|(_, body)| Answer { version, body: Some(body) });
    let failure = outcome.as_ref().err().map(|error| format!("response header: {error}"));
    let address = Arc::clone(address);
    call.reply.finish(outcome.map_err(|source| RequestError::Decode {
        address,
        api: call.api,
        source: Arc::new(source),
    }));
    failure.map_or(Ok(()), Err)
}

/// Why no frame comes any more.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("read response")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Takes whole response frames off the stream. Cancel-safe.
struct FrameReader {
    stream: Box<dyn ReadHalf>,
    decoder: FrameDecoder,
}

impl FrameReader {
    fn new(stream: Box<dyn ReadHalf>, limit: usize) -> FrameReader {
        FrameReader { stream, decoder: FrameDecoder::new(limit) }
    }

    /// The next frame without its length; `None` when the stream ended between two frames.
    async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(self.decoder.buffer()).await? == 0 {
                if self.decoder.buffered_bytes() == 0 {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// Writes the buffers one behind the other.
async fn write_chunks(writer: &mut Box<dyn WriteHalf>, mut chunks: Vec<Bytes>) -> io::Result<()> {
    chunks.retain(|chunk| !chunk.is_empty());
    let mut chunks = Chunks { chunks, first: 0 };
    writer.write_all_buf(&mut chunks).await?;
    writer.flush().await
}

/// A list of buffers as one.
struct Chunks {
    chunks: Vec<Bytes>,
    first: usize,
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.chunks[self.first..].iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.get(self.first).map_or(&[], |chunk| &chunk[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = &self.chunks[self.first..];
        for (slice, chunk) in slices.iter_mut().zip(rest) {
            *slice = IoSlice::new(chunk);
        }
        rest.len().min(slices.len())
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let chunk = &mut self.chunks[self.first];
            let step = count.min(chunk.len());
            chunk.advance(step);
            count -= step;
            if chunk.is_empty() {
                self.first += 1;
            }
        }
    }
}
