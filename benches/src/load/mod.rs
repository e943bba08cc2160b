//! Raw load: frames that are encoded beforehand, over plain sockets, so that the broker is what is
//! measured.
//!
//! It runs as a process of its own (`measure load …`), so that its processor time is not the
//! benchmark's, and prints one line of JSON, a [`Report`].
//!
//! Start at [`produce::run`] and [`fetch::run`].

mod fetch;
mod own;
mod produce;
pub mod wire;

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Load {
    /// Create a topic, with some batches in each partition.
    Create {
        #[command(flatten)]
        topic: Topic,
        /// `name=value`, for the topic.
        #[arg(long)]
        config: Vec<String>,
    },
    /// Delete a topic.
    Delete {
        #[command(flatten)]
        topic: Topic,
    },
    /// Append batches.
    Produce(produce::Options),
    /// Read batches.
    Fetch(fetch::Options),
    /// Append or read records with our own client; a request is a record then.
    Client(own::Options),
}

/// A topic on the only broker of a cluster.
#[derive(Clone, Debug, Args)]
pub struct Topic {
    /// host:port.
    #[arg(long)]
    address: String,
    /// Its name.
    #[arg(long)]
    topic: String,
    /// How many partitions it has.
    #[arg(long)]
    partitions: u32,
}

/// How a load is put on.
#[derive(Clone, Debug, Args)]
pub struct Shape {
    #[command(flatten)]
    topic: Topic,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// When it is measured.
#[derive(Clone, Copy)]
struct Span {
    begun: Instant,
    from: Instant,
    until: Instant,
}

impl Span {
    fn has(&self, moment: Instant) -> bool {
        self.from <= moment && moment < self.until
    }
}

impl Shape {
    /// It begins now.
    fn span(&self) -> Span {
        let begun = Instant::now();
        let from = begun + Duration::from_secs_f64(self.warm_up);
        Span { begun, from, until: from + Duration::from_secs_f64(self.seconds) }
    }

    /// Lets every connection, by its number, do its part on a thread of its own.
    fn run(&self, connection: impl Fn(u32, Span) -> Result<Tally> + Sync) -> Result<Tally> {
        let span = self.span();
        let connection = &connection;
        let mut all = Tally::default();
        thread::scope(|scope| {
            let parts =
                (0..self.connections).map(|place| scope.spawn(move || connection(place, span)));
            for part in parts.collect::<Vec<_>>() {
                all.add(part.join().expect("a connection does not panic")?);
            }
            anyhow::Ok(())
        })?;
        Ok(all)
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Requests that were answered in the measured time.
    pub requests: u64,
    /// Requests that the broker refused for a while, and which count as nothing else.
    pub refused: u64,
    /// Bytes of batches.
    pub bytes: u64,
    /// How long it was measured.
    pub seconds: f64,
    /// How long it ran before.
    pub warm_up: f64,
    /// Processor time of the load itself, warm-up included.
    pub load_cpu_seconds: f64,
    /// Milliseconds that the middle request took, from when it was due.
    pub p50: f64,
    /// And 99 of 100.
    pub p99: f64,
    /// And 999 of 1,000.
    pub p999: f64,
    /// And the slowest.
    pub max: f64,
}

impl Report {
    /// MB/s of batches.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// Requests in a second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Runs a load and prints its report. Connections stay open until standard input ends, so that who
/// measures can look at the threads that serve them.
///
/// # Errors
/// The broker can not be reached, or answers what it should not.
pub fn run(load: &Load) -> Result<()> {
    let (mut tally, shape) = match load {
        Load::Create { topic, config } => {
            wire::create(topic, config)?;
            return produce::touch(topic);
        }
        Load::Delete { topic } => return wire::delete(topic),
        Load::Produce(options) => (produce::run(options)?, &options.shape),
        Load::Fetch(options) => (fetch::run(options)?, &options.shape),
        Load::Client(options) => (own::run(options)?, &options.shape),
    };
    let report = tally.report(shape)?;
    println!("{}", serde_json::to_string(&report)?);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Whether the broker at `address` appends a batch to the first partition of `topic` now.
pub fn takes_a_batch(address: &str, topic: &str) -> bool {
    let (address, topic) = (address.to_owned(), topic.to_owned());
    produce::append_once(&Topic { address, topic, partitions: 1 }).unwrap_or(false)
}

/// What the requests of one connection, or of all, took.
#[derive(Debug, Default)]
struct Tally {
    /// Connections, to keep open.
    held: Vec<TcpStream>,
    refused: u64,
    bytes: u64,
    nanos: Vec<u64>,
    /// Requests of which nobody took the time.
    counted: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.held.extend(other.held);
        self.refused += other.refused;
        self.bytes += other.bytes;
        self.nanos.extend(other.nanos);
    }

    fn report(&mut self, shape: &Shape) -> Result<Report> {
        self.nanos.sort_unstable();
        let nanos = &self.nanos;
        let count = nanos.len();
        let at = |share: f64| {
            let place = ((count as f64 * share) as usize).min(count.saturating_sub(1));
            nanos.get(place).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        Ok(Report {
            requests: count as u64 + self.counted,
            refused: self.refused,
            bytes: self.bytes,
            seconds: shape.seconds,
            warm_up: shape.warm_up,
            load_cpu_seconds: tests::server::cpu_seconds_of(std::process::id())?,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        })
    }
}
