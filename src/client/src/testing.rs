//! A runtime for tests: time that jumps when nothing is left to do, and a network of scripted
//! brokers in memory. The same in every run.
//!
//! Start at [`run`] and [`FakeBroker`].

// Why the bans do not hold here: this file is a runtime, and its brokers are no part of the client.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use model::{Instant, Timestamp};
use protocol::frame::{self, FrameDecoder, RequestFrame};
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::{ApiVersionsResponse, MetadataResponse};
use protocol::{ApiKey, Message};
use runtime::sync::mpsc;
use runtime::tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf,
};
use runtime::{
    BoxFuture, Clock, DirEntry, Disk, DiskLock, DiskSpace, File, JoinError, Listener, Net,
    OpenMode, Random, RandomStream, ReadHalf, Runtime, Stream, Task, TaskControl, Tasks, WriteHalf,
    copy_file, split_seed,
};

/// Runs a test to its end in virtual time.
pub(crate) fn run<F: Future>(test: impl FnOnce(Runtime, Arc<FakeNet>) -> F) -> F::Output {
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("an executor");
    executor.block_on(async {
        let net = Arc::new(FakeNet::default());
        let runtime = Runtime {
            clock: Arc::new(VirtualClock(tokio::time::Instant::now())),
            net: Arc::clone(&net) as Arc<dyn Net>,
            disk: Arc::new(NoDisk),
            tasks: Arc::new(LocalTasks),
            random: Arc::new(Seeded),
        };
        test(runtime, net).await
    })
}

struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        // Not zero at the start, which would pass for "never".
        Instant(1_000_000_000 + self.0.elapsed().as_nanos() as u64)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.0.elapsed().as_millis() as i64)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let wait = deadline.since(self.now());
        // Timers have a resolution of a millisecond.
        let at = tokio::time::Instant::now() + wait + Duration::from_micros(999);
        Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep_until(at).await;
            }
        })
    }
}

struct Seeded;

impl Random for Seeded {
    fn stream(&self, concern: &str, key: u64) -> RandomStream {
        split_seed(7, concern, key)
    }
}

struct LocalTasks;

impl Tasks for LocalTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        Task::new(LocalTask(tokio::spawn(future)))
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

struct LocalTask(tokio::task::JoinHandle<()>);

impl TaskControl for LocalTask {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn join(self: Box<Self>) -> BoxFuture<'static, Result<(), JoinError>> {
        Box::pin(async move {
            self.0.await.map_err(|error| match error.is_cancelled() {
                true => JoinError::Aborted,
                false => JoinError::Panicked,
            })
        })
    }
}

/// Addresses that brokers listen at.
#[derive(Default)]
pub(crate) struct FakeNet {
    listening: Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>,
}

impl FakeNet {
    /// Connections to `address` come out of the returned channel.
    pub(crate) fn serve(&self, address: &str) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.insert(address.to_owned(), sender);
        receiver
    }

    /// Connections to `address` are refused from now on.
    pub(crate) fn refuse(&self, address: &str) {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

impl Net for FakeNet {
    fn listen<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = listening.get(address).and_then(|broker| {
            let (ours, theirs) = runtime::tokio::io::duplex(64 * 1024);
            broker.send(theirs).ok()?;
            Some(Box::new(FakeStream(ours)) as Box<dyn Stream>)
        });
        let refused = || io::ErrorKind::ConnectionRefused.into();
        Box::pin(std::future::ready(connected.ok_or_else(refused)))
    }
}

struct FakeStream(DuplexStream);

impl Stream for FakeStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn split(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = runtime::tokio::io::split(self.0);
        (Box::new(FakeRead(read)), Box::new(FakeWrite(write)))
    }
}

impl AsyncRead for FakeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FakeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct FakeRead(runtime::tokio::io::ReadHalf<DuplexStream>);

impl ReadHalf for FakeRead {}

impl AsyncRead for FakeRead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

struct FakeWrite(runtime::tokio::io::WriteHalf<DuplexStream>);

impl WriteHalf for FakeWrite {
    fn send_file<'a>(
        &'a mut self,
        file: &'a dyn File,
        position: u64,
        len: u64,
    ) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(copy_file(&mut self.0, file, position, len))
    }
}

impl AsyncWrite for FakeWrite {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A client keeps nothing on disk.
struct NoDisk;

fn no_disk<T: Send + 'static>() -> BoxFuture<'static, io::Result<T>> {
    Box::pin(std::future::ready(Err(io::ErrorKind::Unsupported.into())))
}

impl Disk for NoDisk {
    fn open<'a>(&'a self, _: &'a Path, _: OpenMode) -> BoxFuture<'a, io::Result<Arc<dyn File>>> {
        no_disk()
    }

    fn create_dir_all<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        no_disk()
    }

    fn rename<'a>(&'a self, _: &'a Path, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        no_disk()
    }

    fn remove_file<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        no_disk()
    }

    fn remove_dir_all<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        no_disk()
    }

    fn list<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<Vec<DirEntry>>> {
        no_disk()
    }

    fn sync_dir<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        no_disk()
    }

    fn space<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<DiskSpace>> {
        no_disk()
    }

    fn lock<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, io::Result<DiskLock>> {
        no_disk()
    }
}

/// What a scripted broker does with a request.
pub(crate) enum Reaction {
    /// Sends this frame.
    Answer(Vec<u8>),
    /// Sends this frame a while later.
    AnswerAfter(Duration, Vec<u8>),
    /// Nothing: the request has no response.
    Nothing,
    /// Answers nothing on this connection any more, though it reads on.
    Silence,
    /// Closes the connection.
    HangUp,
}

/// A frame that answers `request` with `response`.
pub(crate) fn answer<M: Message>(request: &RequestFrame, response: &M) -> Reaction {
    let (key, version) = (request.api_key, request.api_version);
    let chunks = frame::encode_response(response, key, version, request.correlation_id);
    Reaction::Answer(chunks.expect("a response its version can carry").concat())
}

/// The answer to ApiVersions of a broker that serves everything there is.
pub(crate) fn all_versions() -> ApiVersionsResponse {
    let range = |key: ApiKey| ApiVersion {
        api_key: key.code(),
        min_version: key.min_version(),
        max_version: key.max_version(),
        ..Default::default()
    };
    let keys = (0..=92).filter_map(|code| ApiKey::try_from(code).ok());
    ApiVersionsResponse { api_keys: keys.map(range).collect(), ..Default::default() }
}

/// Reads requests and asks `script` what to do, one at a time and in order.
pub(crate) struct FakeBroker;

impl FakeBroker {
    /// Serves `address` until the test ends. ApiVersions and, with a view, Metadata are answered
    /// without asking the script.
    pub(crate) fn start(
        net: &FakeNet,
        address: &str,
        metadata: Arc<Mutex<MetadataResponse>>,
        script: impl FnMut(RequestFrame) -> Reaction + Send + 'static,
    ) {
        let mut connections = net.serve(address);
        let script = Arc::new(Mutex::new(script));
        tokio::spawn(async move {
            while let Some(stream) = connections.recv().await {
                let (metadata, script) = (Arc::clone(&metadata), Arc::clone(&script));
                tokio::spawn(async move {
                    // The client went away; the test looks at what it saw.
                    let _ = FakeBroker::serve(stream, metadata, script).await;
                });
            }
        });
    }

    async fn serve(
        mut stream: DuplexStream,
        metadata: Arc<Mutex<MetadataResponse>>,
        script: Arc<Mutex<impl FnMut(RequestFrame) -> Reaction>>,
    ) -> io::Result<()> {
        let mut decoder = FrameDecoder::new(64 * 1024 * 1024);
        let mut silent = false;
        loop {
            let frame = decoder.next_frame().map_err(io::Error::other)?;
            let Some(frame) = frame else {
                if stream.read_buf(decoder.buffer()).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let request = frame::decode_request_header(frame).map_err(io::Error::other)?;
            let reaction = match request.api_key {
                ApiKey::ApiVersions => answer(&request, &all_versions()),
                ApiKey::Metadata => {
                    let metadata = metadata.lock().unwrap_or_else(PoisonError::into_inner);
                    answer(&request, &*metadata)
                }
                _ => script.lock().unwrap_or_else(PoisonError::into_inner)(request),
            };
            match reaction {
                Reaction::Answer(bytes) if !silent => stream.write_all(&bytes).await?,
                Reaction::AnswerAfter(pause, bytes) if !silent => {
                    tokio::time::sleep(pause).await;
                    stream.write_all(&bytes).await?;
                }
                Reaction::Answer(_) | Reaction::AnswerAfter(..) | Reaction::Nothing => {}
                Reaction::Silence => silent = true,
                Reaction::HangUp => return Ok(()),
            }
        }
    }
}
