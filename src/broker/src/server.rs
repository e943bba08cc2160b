//! Accepts connections on one listener.
//!
//! Limits: `max.connections` for the broker, `max.connections.per.ip` for one address. A connection
//! over a limit is closed at once, as Kafka does, and the log says so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::{Listener, Stream};

use crate::connection::{self, ConnectionError};
use crate::error_chain::Chain;
use crate::request::ConnectionInfo;
use crate::shared::Shared;

/// How long to wait after a failed accept: descriptors that ran out do not come back at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Accepts on `listener`, named `name`, until the broker stops.
pub(crate) async fn run(shared: Arc<Shared>, mut listener: Box<dyn Listener>, name: Arc<str>) {
    let stop = Arc::clone(&shared);
    let mut stopping = std::pin::pin!(stop.stopping.wait());
    loop {
        let accepted = runtime::select! {
            () = &mut stopping => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => start(&shared, stream, &name),
            Err(error) => {
                tracing::warn!(listener = %name, %error, "accept connection");
                runtime::sleep(&*shared.runtime.clock, ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Spawns the connection's task.
fn start(shared: &Arc<Shared>, stream: Box<dyn Stream>, listener: &Arc<str>) {
    // A client that is gone already has no address.
    let Ok(peer) = stream.peer_addr() else { return };
    let id = shared.connections.next_id();
    let info = Arc::new(ConnectionInfo { id, peer, listener: Arc::clone(listener) });
    let task = Arc::clone(shared);
    runtime::spawn(&shared.runtime, "connection", async move {
        let config = &task.config;
        let limits = (config.max_connections, config.max_connections_per_ip);
        let counted = match task.connections.admit(peer.ip(), limits.0, limits.1) {
            Ok(counted) => counted,
            Err(reason) => {
                tracing::warn!(%peer, reason, "refusing connection");
                return;
            }
        };
        tracing::debug!(%peer, connection = id, "connected");
        let ended = connection::serve(Arc::clone(&task), stream, info).await;
        log_end(id, peer, ended);
        drop(counted);
        if task.connections.count() == 0 {
            task.connections_gone.notify_waiters();
        }
    });
}

fn log_end(connection: u64, peer: SocketAddr, ended: Result<(), ConnectionError>) {
    match ended {
        Ok(()) => tracing::debug!(connection, "disconnected"),
        Err(ConnectionError::Write(error)) if is_hangup(&error) => {
            tracing::debug!(connection, "client went away");
        }
        Err(ConnectionError::Frame(crate::frame_reader::FrameError::Io(error)))
            if is_hangup(&error) =>
        {
            tracing::debug!(connection, "client went away");
        }
        Err(ConnectionError::Idle) => tracing::debug!(connection, "closed an idle connection"),
        Err(error) => {
            tracing::warn!(connection, %peer, error = %Chain(&error), "connection ended");
        }
    }
}

/// Whether the error only says that the client is gone.
fn is_hangup(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
    )
}
