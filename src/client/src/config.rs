//! Settings that producer, consumer and admin share. Names and defaults are Kafka's.

use std::time::Duration;

use crate::backoff::Backoff;

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `bootstrap.servers`: `host:port` of brokers to ask first.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`: the name that brokers log.
    pub client_id: String,
    /// Tells the clients of one node apart, so that each draws its own random numbers.
    pub instance: u64,
    /// `request.timeout.ms`: how long one request may take.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: how long connecting may take, handshake included.
    pub connect_timeout: Duration,
    /// `default.api.timeout.ms`: how long one operation may take with all its retries.
    pub api_timeout: Duration,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect_backoff: Backoff,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `metadata.max.age.ms`: how old metadata may get before it is asked for again.
    pub metadata_max_age: Duration,
    /// `connections.max.idle.ms`: how long an unused connection stays open.
    pub connection_idle_max: Duration,
    /// The largest response that is accepted, in bytes.
    pub response_bytes_max: usize,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            bootstrap_servers: vec!["127.0.0.1:9092".to_owned()],
            client_id: "klamm-client".to_owned(),
            instance: 0,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            api_timeout: Duration::from_secs(60),
            reconnect_backoff: Backoff {
                initial: Duration::from_millis(50),
                max: Duration::from_secs(1),
            },
            retry_backoff: Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(1),
            },
            metadata_max_age: Duration::from_secs(300),
            connection_idle_max: Duration::from_secs(540),
            // A fetch response may exceed fetch.max.bytes (50 MiB) by one batch.
            response_bytes_max: 256 * 1024 * 1024,
        }
    }
}
