//! What a handler knows about the request it answers, besides its body.

use std::net::SocketAddr;
use std::sync::Arc;

use model::Instant;
use protocol::{ApiKey, StrBytes};

/// One client connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    /// Counts connections since the start of the broker.
    pub(crate) id: u64,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The name of the listener that accepted it (`PLAINTEXT`, ...): answers that name brokers
    /// give the addresses of the same listener.
    pub(crate) listener: Arc<str>,
}

/// The circumstances of one request.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// Which API is called.
    pub(crate) api_key: ApiKey,
    /// In which version; within the range that is served.
    pub(crate) api_version: i16,
    /// Comes back in the response.
    pub(crate) correlation_id: i32,
    /// The name the client gives itself, for people to read.
    pub(crate) client_id: Option<StrBytes>,
    /// Where it came in.
    pub(crate) connection: Arc<ConnectionInfo>,
    /// When its frame was complete.
    pub(crate) received: Instant,
}
