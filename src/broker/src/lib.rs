//! The broker: what a Kafka client talks to.
//!
//! Under construction: connections, partitions with group commit, ApiVersions and Produce are here;
//! nothing opens topics yet but the tests.
//!
//! Start at [`Broker::start`], `connection` and `partition`.

// What the APIs still to come need (reads, settings, closing) has no caller but the tests.
#![allow(dead_code)]

mod api;
mod connection;
mod controller;
mod dispatch;
mod frame_reader;
mod open_connections;
mod partition;
mod producer_ids;
mod registry;
mod request;
mod server;
mod settings;
mod shared;
mod stopping;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::Runtime;

pub use settings::Settings;
use shared::Shared;

/// How long a stop waits for connections to get their last answers.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, foreign or malformed.
    #[error("listen on {address} (listener {name})")]
    Listen {
        /// The listener's name.
        name: Arc<str>,
        /// What `listeners` says.
        address: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A running broker.
pub struct Broker {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

impl Broker {
    /// Opens the listeners and serves.
    pub async fn start(runtime: Runtime, settings: Settings) -> Result<Broker, StartError> {
        let shared = Arc::new(Shared::new(runtime, settings));
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for (name, address) in &shared.settings.listeners {
            let refused = |source| StartError::Listen {
                name: Arc::clone(name),
                address: address.clone(),
                source,
            };
            let listener = shared.runtime.net.listen(address).await.map_err(refused)?;
            addresses.push(listener.local_addr().map_err(refused)?);
            listeners.push((listener, Arc::clone(name)));
        }
        // Only when all of them are open: a broker serves everywhere or nowhere.
        for (listener, name) in listeners {
            let server = server::run(Arc::clone(&shared), listener, name);
            runtime::spawn(&shared.runtime, "listener", server);
        }
        Ok(Broker { shared, addresses })
    }

    /// The addresses in use, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts and reads no more, gives what is in flight its answers, and ends.
    pub async fn stop(self) {
        self.shared.stopping.raise();
        let drained = async {
            loop {
                let mut gone = std::pin::pin!(self.shared.connections_gone.notified());
                gone.as_mut().enable();
                if self.shared.connections.count() == 0 {
                    return;
                }
                gone.await;
            }
        };
        let clock = &*self.shared.runtime.clock;
        if runtime::timeout(clock, DRAIN_LIMIT, drained).await.is_err() {
            let open = self.shared.connections.count();
            tracing::warn!(open, "stopping with connections open");
        }
    }
}
