//! Settings of a consumer. Names and defaults are Kafka's.

use std::time::Duration;

use crate::offsets::IsolationLevel;

/// Where to go on when the position is not in the log (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record there is.
    Earliest,
    /// Behind the last one.
    Latest,
    /// Nowhere: tell the caller.
    Error,
}

/// How a consumer fetches.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// `isolation.level`.
    pub isolation: IsolationLevel,
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `fetch.min.bytes`: a broker answers as soon as it has this much.
    pub fetch_bytes_min: i32,
    /// `fetch.max.bytes`: of one response; one batch is returned however large.
    pub fetch_bytes_max: i32,
    /// `max.partition.fetch.bytes`: of one partition in one response.
    pub partition_fetch_bytes_max: i32,
    /// `fetch.max.wait.ms`: how long a broker may wait for `fetch.min.bytes`.
    pub fetch_wait_max: Duration,
    /// `max.poll.records`: at most this many come out of one poll.
    pub poll_records_max: usize,
    /// `check.crcs`.
    pub check_crcs: bool,
    /// `client.rack`.
    pub rack: String,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            isolation: IsolationLevel::ReadUncommitted,
            offset_reset: OffsetReset::Latest,
            fetch_bytes_min: 1,
            fetch_bytes_max: 50 * 1024 * 1024,
            partition_fetch_bytes_max: 1024 * 1024,
            fetch_wait_max: Duration::from_millis(500),
            poll_records_max: 500,
            check_crcs: true,
            rack: String::new(),
        }
    }
}
