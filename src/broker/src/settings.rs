//! What the broker needs to know before it serves.

use std::sync::Arc;
use std::time::Duration;

/// Limits and addresses. Names in the docstrings are those of `server.properties`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `listeners`: name and `host:port` of each.
    pub listeners: Vec<(Arc<str>, String)>,
    /// `socket.request.max.bytes`: the largest request.
    pub socket_request_max_bytes: usize,
    /// `queued.max.request.bytes`: memory for all requests that wait for their answers.
    pub request_memory_bytes: usize,
    /// `connections.max.idle.ms`.
    pub connections_max_idle: Duration,
    /// `max.connections`.
    pub max_connections: u64,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listeners: vec![(Arc::from("PLAINTEXT"), "127.0.0.1:9092".to_owned())],
            socket_request_max_bytes: 100 * 1024 * 1024,
            request_memory_bytes: 512 * 1024 * 1024,
            connections_max_idle: Duration::from_secs(600),
            max_connections: u64::MAX,
            max_connections_per_ip: u64::MAX,
        }
    }
}
