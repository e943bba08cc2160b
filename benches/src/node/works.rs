//! What is measured of one broker.

use super::contestant::{Contestant, Use};
use super::{Subject, Who};
use crate::load::Report;

/// One piece of work, and what of it is told.
pub(super) struct Work {
    pub(super) subject: Subject,
    pub(super) what: &'static str,
    /// The name of its topic.
    pub(super) topic: &'static str,
    pub(super) partitions: u32,
    pub(super) tool: Tool,
    /// Of that.
    pub(super) arguments: &'static [&'static str],
    /// For so many seconds the topic is written before it is read.
    pub(super) fill_seconds: Option<f64>,
    pub(super) figures: &'static [Figure],
}

/// What puts the load on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// `measure load`.
    Raw,
    /// `measure load client`.
    Own,
    /// The program `franzload`.
    FranzGo,
}

/// One figure of a measurement.
#[derive(Clone, Copy)]
pub(super) enum Figure {
    MegabytesPerSecond,
    RequestsPerSecond,
    /// Where a request is a record.
    RecordsPerSecond,
    CpuPerGigabyte,
    SwitchesPerRequest,
    P50,
    P99,
    P999,
}

impl Figure {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Figure::MegabytesPerSecond => "MB/s",
            Figure::RequestsPerSecond => "requests/s",
            Figure::RecordsPerSecond => "records/s",
            Figure::CpuPerGigabyte => "s of its processor for a GB",
            Figure::SwitchesPerRequest => "context switches for a request",
            Figure::P50 => "p50 ms",
            Figure::P99 => "p99 ms",
            Figure::P999 => "p99.9 ms",
        }
    }

    pub(super) fn of(self, report: &Report, used: &Use) -> f64 {
        // The warm-up is used, too, and not counted in the report.
        let share = report.seconds / (report.seconds + report.warm_up);
        match self {
            Figure::MegabytesPerSecond => report.megabytes_per_second(),
            Figure::RequestsPerSecond | Figure::RecordsPerSecond => report.requests_per_second(),
            Figure::CpuPerGigabyte => used.cpu_seconds * share / (report.bytes as f64 / 1e9),
            Figure::SwitchesPerRequest => used.context_switches * share / report.requests as f64,
            Figure::P50 => report.p50,
            Figure::P99 => report.p99,
            Figure::P999 => report.p999,
        }
    }
}

impl Work {
    /// The limit program only writes, and knows no client; reading is the same for both kinds of
    /// acknowledgement.
    pub(super) fn is_for(&self, contestant: Contestant) -> bool {
        let is_limit = contestant.who == Who::Limit;
        let is_read = self.fill_seconds.is_some();
        !(is_limit && (is_read || self.tool != Tool::Raw)) && !(is_read && contestant.is_synced)
    }
}

const THROUGHPUT: &[Figure] =
    &[Figure::MegabytesPerSecond, Figure::CpuPerGigabyte, Figure::SwitchesPerRequest];
const REQUESTS: &[Figure] =
    &[Figure::MegabytesPerSecond, Figure::RequestsPerSecond, Figure::SwitchesPerRequest];
const RECORDS: &[Figure] = &[Figure::RecordsPerSecond, Figure::CpuPerGigabyte];
const LATENCY: &[Figure] = &[Figure::P50, Figure::P99, Figure::P999];

pub(super) const WORKS: &[Work] = &[
    Work {
        subject: Subject::Throughput,
        what: "produce, batches of 64 KiB, 4 connections × 5 in flight",
        topic: "large",
        partitions: 6,
        tool: Tool::Raw,
        arguments: &["produce", "--connections", "4", "--depth", "5", "--batch-bytes", "65536"],
        fill_seconds: None,
        figures: THROUGHPUT,
    },
    Work {
        subject: Subject::Throughput,
        what: "produce, batches of 4 KiB, 16 connections × 1 in flight",
        topic: "small",
        partitions: 6,
        tool: Tool::Raw,
        arguments: &["produce", "--connections", "16", "--depth", "1", "--batch-bytes", "4096"],
        fill_seconds: None,
        figures: REQUESTS,
    },
    Work {
        subject: Subject::Throughput,
        what: "produce, batches of 4 KiB over 1,000 partitions, 16 connections × 5 in flight",
        topic: "many",
        partitions: 1_000,
        tool: Tool::Raw,
        arguments: &["produce", "--connections", "16", "--depth", "5", "--batch-bytes", "4096"],
        fill_seconds: None,
        figures: REQUESTS,
    },
    Work {
        subject: Subject::Throughput,
        what: "fetch from the page cache, 1 MiB of a partition, 4 connections",
        topic: "read",
        partitions: 6,
        tool: Tool::Raw,
        arguments: &["fetch", "--connections", "4"],
        fill_seconds: Some(3.0),
        figures: THROUGHPUT,
    },
    Work {
        subject: Subject::Clients,
        what: "franz-go producing, idempotent",
        topic: "franz-write",
        partitions: 6,
        tool: Tool::FranzGo,
        arguments: &["produce"],
        fill_seconds: None,
        figures: RECORDS,
    },
    Work {
        subject: Subject::Clients,
        what: "franz-go consuming",
        topic: "franz-read",
        partitions: 6,
        tool: Tool::FranzGo,
        arguments: &["consume"],
        fill_seconds: Some(3.0),
        figures: RECORDS,
    },
    Work {
        subject: Subject::Clients,
        what: "our own client producing, idempotent",
        topic: "own-write",
        partitions: 6,
        tool: Tool::Own,
        arguments: &["produce"],
        fill_seconds: None,
        figures: RECORDS,
    },
    Work {
        subject: Subject::Clients,
        what: "our own client consuming",
        topic: "own-read",
        partitions: 6,
        tool: Tool::Own,
        arguments: &["consume"],
        fill_seconds: Some(3.0),
        figures: RECORDS,
    },
    Work {
        subject: Subject::Latency,
        what: "one connection, one record in flight",
        topic: "single",
        partitions: 1,
        tool: Tool::Raw,
        arguments: &["produce", "--connections", "1"],
        fill_seconds: None,
        figures: LATENCY,
    },
    Work {
        subject: Subject::Latency,
        what: "2,000 requests of one record a second over 16 connections",
        topic: "rate",
        partitions: 6,
        tool: Tool::Raw,
        arguments: &["produce", "--connections", "16", "--rate", "2000"],
        fill_seconds: None,
        figures: LATENCY,
    },
];
