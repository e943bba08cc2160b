//! What the broker counts while it works. What it can look up at a scrape is in [`crate::scrape`].
//!
//! Names follow those under which Kafka's JMX beans usually reach Prometheus, so that dashboards
//! and people find them; what only klamm has begins with `klamm_`.
//!
//! Invariant: counting takes atomics on the hot path, and no lock per record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use protocol::ApiKey;

/// Counts of one topic. Shared by its partitions, kept while the topic lives.
#[derive(Debug, Default)]
pub(crate) struct TopicStats {
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    failed_produce: AtomicU64,
    failed_fetch: AtomicU64,
}

impl TopicStats {
    /// A batch was appended.
    pub(crate) fn appended(&self, messages: u64, bytes: u64) {
        self.messages_in.fetch_add(messages, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A batch was refused.
    pub(crate) fn refused(&self) {
        self.failed_produce.fetch_add(1, Ordering::Relaxed);
    }

    /// Records were read for a client.
    pub(crate) fn fetched(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A read was refused.
    pub(crate) fn fetch_refused(&self) {
        self.failed_fetch.fetch_add(1, Ordering::Relaxed);
    }

    /// Name, help and value of each count.
    pub(crate) fn counts(&self) -> [(&'static str, &'static str, u64); 5] {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            (
                "kafka_server_brokertopicmetrics_messagesin",
                "Records appended by producers",
                load(&self.messages_in),
            ),
            (
                "kafka_server_brokertopicmetrics_bytesin",
                "Bytes appended by producers",
                load(&self.bytes_in),
            ),
            (
                "kafka_server_brokertopicmetrics_bytesout",
                "Bytes of records sent to consumers",
                load(&self.bytes_out),
            ),
            (
                "kafka_server_brokertopicmetrics_failedproducerequests",
                "Batches that were not acknowledged",
                load(&self.failed_produce),
            ),
            (
                "kafka_server_brokertopicmetrics_failedfetchrequests",
                "Reads of a partition that were answered with an error",
                load(&self.failed_fetch),
            ),
        ]
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    request: &'static str,
}

/// Counts and times of requests, and of group commits.
pub(crate) struct Metrics {
    requests: Vec<RequestMetrics>,
    request_families: (Family<RequestLabels, Counter>, Family<RequestLabels, Histogram>),
    /// How long a group's write and sync took, in seconds.
    commit_seconds: Histogram,
    /// How many batches shared a write and a sync.
    commit_batches: Histogram,
}

/// One API's; looked up without a lock.
struct RequestMetrics {
    api: ApiKey,
    count: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// Counts for the given APIs.
    pub(crate) fn new(apis: impl Iterator<Item = ApiKey>) -> Metrics {
        let counts = Family::<RequestLabels, Counter>::default();
        let times = Family::<RequestLabels, Histogram>::new_with_constructor(latencies);
        let requests = apis.map(|api| {
            let labels = RequestLabels { request: api.name() };
            let count = counts.get_or_create(&labels).clone();
            let seconds = times.get_or_create(&labels).clone();
            RequestMetrics { api, count, seconds }
        });
        Metrics {
            requests: requests.collect(),
            request_families: (counts, times),
            commit_seconds: latencies(),
            commit_batches: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
        }
    }

    /// Makes everything known to `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let (counts, times) = self.request_families.clone();
        registry.register("kafka_network_requestmetrics_requests", "Requests answered", counts);
        registry.register(
            "kafka_network_requestmetrics_totaltime_seconds",
            "From a request's last byte to its answer",
            times,
        );
        registry.register(
            "klamm_log_commit_seconds",
            "Write and sync of a group of batches",
            self.commit_seconds.clone(),
        );
        registry.register(
            "klamm_log_commit_batches",
            "Batches that shared a write and a sync",
            self.commit_batches.clone(),
        );
    }

    /// A request was answered.
    pub(crate) fn answered(&self, api: ApiKey, took: Duration) {
        if let Some(request) = self.requests.iter().find(|request| request.api == api) {
            request.count.inc();
            request.seconds.observe(took.as_secs_f64());
        }
    }

    /// A group of batches was made durable.
    pub(crate) fn committed(&self, batches: usize, took: Duration) {
        self.commit_batches.observe(batches as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }
}

/// From 50 microseconds to 26 seconds.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 3.0, 13))
}
