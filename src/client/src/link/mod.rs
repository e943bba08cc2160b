//! One broker's address: connects when there is something to send, pipelines requests, hands each
//! its response.
//!
//! In: requests, in the order they shall go out. Out: responses or [`RequestError`]s. One task owns
//! the connection; when it breaks, all requests that were sent on it fail, and the next request
//! connects again after a growing pause (`reconnect.backoff.ms`).
//!
//! Invariants:
//! - requests reach the broker in the order of [`Link::submit`]
//! - every request gets exactly one outcome, at the latest when its time limit passes
//!
//! Start at [`Link::submit`], then `connection.rs`.

mod connection;
mod in_flight;

#[cfg(test)]
mod tests;

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::Instant;
use protocol::{ApiKey, Decode, EncodeError, Reader, Request, StrBytes, frame};
use runtime::sync::{mpsc, oneshot};
use runtime::{RandomStream, Runtime};

use crate::config::ClientConfig;
use crate::error::RequestError;

/// How many requests may wait for one broker.
const QUEUE_MAX: usize = 4096;

/// A request on its way to a link's task.
pub(crate) struct Call {
    encode: EncodeCall,
    api: ApiKey,
    /// Caps the version below the client's newest.
    version_max: i16,
    /// False for Produce with acks=0: the broker sends nothing back.
    answered: bool,
    limit: Duration,
    deadline: Instant,
    reply: Reply,
}

/// Encodes for (version, correlation id) the frame's buffers.
type EncodeCall = Box<dyn FnOnce(i16, i32) -> Result<Vec<Bytes>, EncodeError> + Send>;

/// Where a request's outcome goes.
struct Reply(oneshot::Sender<Result<Answer, RequestError>>);

impl Reply {
    fn finish(self, outcome: Result<Answer, RequestError>) {
        // Nobody listens when the caller gave up, and then nobody misses the outcome.
        let _ = self.0.send(outcome);
    }
}

/// The body of a response and the version it is written in.
#[derive(Debug)]
pub(crate) struct Answer {
    version: i16,
    /// `None` for a request that has no response.
    body: Option<Reader>,
}

/// How a request shall be sent.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// The time limit, counted from submission.
    pub limit: Duration,
    /// The newest version to use.
    pub version_max: i16,
    /// Whether the broker answers; only Produce with acks=0 has no response.
    pub answered: bool,
}

impl SendOptions {
    /// The newest common version, answered within `limit`.
    pub fn within(limit: Duration) -> SendOptions {
        SendOptions { limit, version_max: i16::MAX, answered: true }
    }
}

/// The way to one broker.
#[derive(Clone)]
pub struct Link {
    queue: mpsc::Sender<Call>,
    shared: Arc<Shared>,
    runtime: Runtime,
}

/// What a link's task shares with its handles.
#[derive(Debug)]
pub(crate) struct Shared {
    address: Arc<str>,
    connected: AtomicBool,
    /// Requests submitted and not finished.
    open: AtomicUsize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Link {
    /// A link to `address` (`host:port`); nothing is sent before the first request.
    pub fn start(
        runtime: &Runtime,
        config: &Arc<ClientConfig>,
        address: &str,
        random: RandomStream,
    ) -> Link {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            address: Arc::from(address),
            connected: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let task = LinkTask {
            runtime: runtime.clone(),
            config: Arc::clone(config),
            shared: Arc::clone(&shared),
            random,
            failures: 0,
        };
        runtime::spawn(runtime, "client link", task.run(calls));
        Link { queue, shared, runtime: runtime.clone() }
    }

    /// The address it leads to.
    pub fn address(&self) -> &Arc<str> {
        &self.shared.address
    }

    /// Whether a connection is open now.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// How many requests are submitted and not finished.
    pub fn open_requests(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Queues `request`; its place among the other requests is fixed when this returns.
    pub fn submit<R: Request + Send + Sync + 'static>(
        &self,
        request: R,
        client_id: StrBytes,
        options: SendOptions,
    ) -> Result<Pending<R>, RequestError> {
        self.submit_versioned(move |_| request, client_id, options)
    }

    /// As [`Link::submit`], for requests whose fields depend on the negotiated version: `build` is
    /// called with it.
    pub fn submit_versioned<R: Request + Send + Sync + 'static>(
        &self,
        build: impl FnOnce(i16) -> R + Send + 'static,
        client_id: StrBytes,
        options: SendOptions,
    ) -> Result<Pending<R>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let encode: EncodeCall = Box::new(move |version, correlation_id| {
            frame::encode_request(&build(version), version, correlation_id, Some(&client_id))
        });
        let call = Call {
            encode,
            api: R::KEY,
            version_max: options.version_max,
            answered: options.answered,
            limit: options.limit,
            deadline: self.runtime.clock.now() + options.limit,
            reply: Reply(reply),
        };
        self.queue.try_send(call).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                RequestError::QueueFull { address: Arc::clone(&self.shared.address) }
            }
            mpsc::error::TrySendError::Closed(_) => self.disconnected(),
        })?;
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        Ok(Pending { answer, link: self.clone(), request: PhantomData })
    }

    fn disconnected(&self) -> RequestError {
        RequestError::Disconnected { address: Arc::clone(&self.shared.address) }
    }
}

/// A request that was submitted. Dropping it gives up the response, not the request.
pub struct Pending<R> {
    answer: oneshot::Receiver<Result<Answer, RequestError>>,
    link: Link,
    request: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending<{}> of {}", type_name::<R>(), self.link.shared.address)
    }
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        self.link.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<R: Request> Pending<R> {
    /// Waits for the response and decodes it. `None` when the request has none (acks=0).
    pub async fn response(mut self) -> Result<Option<R::Response>, RequestError> {
        let answer = match (&mut self.answer).await {
            Ok(outcome) => outcome?,
            // The link's task ended: the client is being dropped.
            Err(_) => return Err(self.link.disconnected()),
        };
        let Some(mut reader) = answer.body else { return Ok(None) };
        match R::Response::decode(&mut reader, answer.version) {
            Ok(response) => Ok(Some(response)),
            Err(source) => Err(RequestError::Decode {
                address: Arc::clone(&self.link.shared.address),
                api: R::KEY,
                source: Arc::new(source),
            }),
        }
    }
}

/// Owns the connection.
struct LinkTask {
    runtime: Runtime,
    config: Arc<ClientConfig>,
    shared: Arc<Shared>,
    random: RandomStream,
    /// Connection attempts that failed in a row.
    failures: u32,
}

impl LinkTask {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        while let Some(first) = calls.recv().await {
            match self.connect().await {
                Ok(connection) => {
                    self.failures = 0;
                    self.shared.connected.store(true, Ordering::Relaxed);
                    let end = connection.serve(first, &mut calls).await;
                    self.shared.connected.store(false, Ordering::Relaxed);
                    tracing::debug!(address = %self.shared.address, %end, "connection ended");
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    tracing::debug!(address = %self.shared.address, %error, "connect");
                    first.reply.finish(Err(error.clone()));
                    while let Ok(call) = calls.try_recv() {
                        call.reply.finish(Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<connection::Connection, RequestError> {
        let pause = self.config.reconnect_backoff.pause(self.failures, &mut self.random);
        runtime::sleep(&*self.runtime.clock, pause).await;
        connection::open(&self.runtime, &self.config, &self.shared.address).await
    }
}
