//! Accepting connections and serving one request on each.
//!
//! One request per connection, since a scrape or a probe comes every few seconds: then a single
//! limit of time bounds everything a client can do, slow heads and slow readers alike.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use runtime::sync::{OwnedSemaphorePermit, Semaphore, watch};
use runtime::{Listener, Runtime, Stream, Task, select, sleep, spawn, timeout};

use crate::ConsoleConfig;
use crate::pages::text;

/// After a failed accept (out of file descriptors, mostly) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers of a request.
const HEADERS_MAX: usize = 64;

pub(crate) struct Server {
    connection: Arc<Connection>,
    slots: Arc<Semaphore>,
    stopped: watch::Receiver<Option<Duration>>,
}

/// What every connection needs.
struct Connection {
    runtime: Runtime,
    config: ConsoleConfig,
    pages: TowerToHyperService<Router>,
}

impl Server {
    pub(crate) fn new(
        runtime: Runtime,
        config: ConsoleConfig,
        pages: Router,
        stopped: watch::Receiver<Option<Duration>>,
    ) -> Server {
        let slots = Arc::new(Semaphore::new(config.connections_max.max(1) as usize));
        let pages = TowerToHyperService::new(pages);
        Server { connection: Arc::new(Connection { runtime, config, pages }), slots, stopped }
    }

    /// Serves until told to stop, then ends what runs.
    pub(crate) async fn run(mut self, mut listener: Box<dyn Listener>) {
        let mut tasks: Vec<Task> = Vec::new();
        let mut stopped = self.stopped.clone();
        let grace = {
            let mut stop = pin!(stopped.wait_for(Option::is_some));
            loop {
                select! {
                    grace = &mut stop => break grace.ok().and_then(|grace| *grace),
                    accepted = self.accept(&mut *listener) => {
                        let Some((stream, slot)) = accepted else { continue };
                        tasks.retain(|task| !task.is_finished());
                        tasks.push(self.serve(stream, slot));
                    }
                }
            }
        };
        drop(listener);
        self.wind_up(tasks, grace.unwrap_or_default()).await;
    }

    /// The next connection, once there is room for it. Cancel-safe: nothing is accepted before.
    async fn accept(
        &self,
        listener: &mut dyn Listener,
    ) -> Option<(Box<dyn Stream>, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok(stream) => Some((stream, slot)),
            Err(error) => {
                tracing::warn!(%error, "accept an HTTP connection");
                sleep(&*self.connection.runtime.clock, ACCEPT_PAUSE).await;
                None
            }
        }
    }

    fn serve(&self, stream: Box<dyn Stream>, slot: OwnedSemaphorePermit) -> Task {
        let (connection, stopped) = (Arc::clone(&self.connection), self.stopped.clone());
        spawn(&self.connection.runtime, "console connection", async move {
            let _slot = slot;
            connection.run(stream, stopped).await;
        })
    }

    /// Waits for the connections as long as `grace` allows, and closes the others.
    async fn wind_up(&mut self, tasks: Vec<Task>, grace: Duration) {
        let all = self.connection.config.connections_max.max(1);
        let clock = &*self.connection.runtime.clock;
        let ended = timeout(clock, grace, self.slots.acquire_many(all)).await;
        if ended.is_err() {
            for task in tasks {
                task.abort();
                // Aborted or ended meanwhile: either is an end.
                let _ = task.join().await;
            }
        }
    }
}

impl Connection {
    /// Serves the one request of `stream`.
    async fn run(&self, stream: Box<dyn Stream>, mut stopped: watch::Receiver<Option<Duration>>) {
        let mut http = http1::Builder::new();
        http.keep_alive(false)
            .half_close(true)
            // Reads the machine's clock behind our back.
            .auto_date_header(false)
            .max_headers(HEADERS_MAX)
            .max_buf_size(self.config.head_bytes_max.max(8192));
        let answer = service_fn(|request| self.answer(request));
        let mut exchange = pin!(http.serve_connection(TokioIo::new(stream), answer));
        let work = async {
            select! {
                ended = &mut exchange => return ended,
                _ = stopped.wait_for(Option::is_some) => {}
            }
            // Answers the request that has begun, takes none that has not.
            exchange.as_mut().graceful_shutdown();
            exchange.await
        };
        match timeout(&*self.runtime.clock, self.config.exchange_limit, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "HTTP connection broke"),
            Err(_) => tracing::debug!("HTTP connection closed: it took too long"),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let (head, body) = request.into_parts();
        // Read to its end though nobody wants it: bytes left behind would reset the connection and
        // take the answer with them. A length that is announced as too large is not waited for.
        let body_bytes_max = self.config.body_bytes_max;
        let announced = body.size_hint().lower();
        let too_large = (body_bytes_max as u64) < announced
            || Limited::new(body, body_bytes_max).collect().await.is_err();
        if too_large {
            return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "no body is wanted here\n"));
        }
        self.pages.call(Request::from_parts(head, Body::empty())).await
    }
}
