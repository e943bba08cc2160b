//! HTTP endpoints for people and for what watches over the broker.
//!
//! `/metrics` (text for Prometheus), `/livez` and `/readyz` (200, or 503 with reasons as JSON), `/`
//! (what there is). What they say comes from closures and a trait in [`Facts`]; the broker is not
//! known here. Streams, time and tasks come from the runtime, so a simulated node has a console too.
//!
//! Invariants: at most [`ConsoleConfig::connections_max`] connections are served at once, each
//! carries one request and is gone after [`ConsoleConfig::exchange_limit`], whatever its client
//! does.
//!
//! Start at [`Console::start`].

mod pages;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::sync::watch;
use runtime::{BoxFuture, Runtime, Task};
use serde::Serialize;

/// Settings of a [`Console`].
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// Where to listen, as `host:port`.
    pub address: String,
    /// Connections served at once; others wait in the listener's queue.
    pub connections_max: u32,
    /// From the start of a connection to its end: the request's head, its body and the answer.
    pub exchange_limit: Duration,
    /// Largest head of a request, in bytes; at least 8 KiB.
    pub head_bytes_max: usize,
    /// Largest body of a request, in bytes. No endpoint wants one.
    pub body_bytes_max: usize,
}

impl ConsoleConfig {
    /// The defaults, listening on `address`.
    pub fn new(address: impl Into<String>) -> ConsoleConfig {
        ConsoleConfig {
            address: address.into(),
            connections_max: 64,
            exchange_limit: Duration::from_secs(10),
            head_bytes_max: 16 * 1024,
            body_bytes_max: 64 * 1024,
        }
    }
}

/// Which text format the metrics are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0, as `prometheus-client` writes it.
    OpenMetrics,
}

/// What the endpoints tell.
#[derive(Clone)]
pub struct Facts {
    /// Asks around for what the metrics are to tell; awaited at each scrape before they are written.
    pub gather_metrics: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// Writes all metrics down; called once per scrape, where it may take its time.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The format of that text.
    pub metrics_format: MetricsFormat,
    /// Judges the process.
    pub health: Arc<dyn Health>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("metrics_format", &self.metrics_format)
            .finish_non_exhaustive()
    }
}

/// Whether the process works. Both calls are quick: they look at what is known.
pub trait Health: Send + Sync + 'static {
    /// Why only a restart can help; empty while the process is sound.
    fn why_not_live(&self) -> Vec<Reason>;

    /// Why clients had better go elsewhere for now; empty when it can serve them.
    fn why_not_ready(&self) -> Vec<Reason>;
}

/// One cause of bad health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What it is about, such as `log-dir`.
    pub component: String,
    /// What is wrong, for people.
    pub message: String,
}

/// Why a console did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can not be listened on.
    #[error("listen for HTTP on {address}")]
    Listen {
        /// The address as configured.
        address: String,
        /// What the network says.
        source: io::Error,
    },
}

/// A running console. Dropping it stops it without grace.
#[derive(Debug)]
pub struct Console {
    local_addr: SocketAddr,
    stop: StopSwitch,
    accepting: Task,
}

/// Set to the time that connections are given to end.
struct StopSwitch(watch::Sender<Option<Duration>>);

impl fmt::Debug for StopSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopSwitch")
    }
}

impl Console {
    /// Listens and serves until stopped.
    pub async fn start(
        runtime: Runtime,
        config: ConsoleConfig,
        facts: Facts,
    ) -> Result<Console, StartError> {
        let failed = |source| StartError::Listen { address: config.address.clone(), source };
        let listener = runtime.net.listen(&config.address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(None);
        let pages = pages::router(&runtime, facts);
        let server = server::Server::new(runtime.clone(), config, pages, stopped);
        let accepting = runtime::spawn(&runtime, "console", server.run(listener));
        Ok(Console { local_addr, stop: StopSwitch(stop), accepting })
    }

    /// Where it listens, with the port that was taken for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Listens no more, lets requests under way end for `grace` at most, closes what is left.
    pub async fn stop(self, grace: Duration) {
        self.stop.0.send(Some(grace));
        // A panic in it was reported by its hook, and nothing of it runs on.
        let _ = self.accepting.join().await;
    }
}
