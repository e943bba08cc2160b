//! Raw load: pre-encoded requests over plain sockets, so that the broker is what is measured and
//! the load costs next to nothing.
//!
//! In: a broker's address, a topic that exists. Out: bytes and requests per second, latencies.
//!
//! Requests are of versions without flexible fields (Produce 8, Fetch 4) and built by hand; only
//! the batch itself comes from the `protocol` crate. Start at [`produce`] and [`fetch`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use model::Timestamp;
use protocol::records::{BatchBuilder, BatchOptions, RecordParts};

use crate::record::noise;

/// How to produce.
#[derive(Clone, Copy, Debug)]
pub struct ProduceLoad<'a> {
    /// To which topic; its partitions are used in turns.
    pub topic: &'a str,
    /// Number of its partitions.
    pub partitions: u32,
    /// Bytes of one batch, about.
    pub batch_bytes: usize,
    /// Bytes of a record's value.
    pub value_bytes: usize,
    /// Sockets, each with a thread of its own.
    pub connections: u32,
    /// Requests that a socket has under way.
    pub in_flight: usize,
    /// For how long.
    pub duration: Duration,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Bytes of batches.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Records in them.
    pub records: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Of every request, sorted.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Megabytes (10^6) per second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// The latency that `permille` of the requests did not exceed, in milliseconds.
    pub fn latency_ms(&self, permille: usize) -> f64 {
        let place = self.latencies.len() * permille / 1_000;
        let latency = self.latencies.get(place.min(self.latencies.len().saturating_sub(1)));
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    fn add(&mut self, other: Outcome) {
        self.bytes += other.bytes;
        self.requests += other.requests;
        self.records += other.records;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latencies.extend(other.latencies);
    }
}

fn all_threads(count: u32, body: impl Fn(u32) -> Result<Outcome> + Sync) -> Result<Outcome> {
    let body = &body;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || body(i))).collect();
        let mut total = Outcome::default();
        for thread in threads {
            total.add(thread.join().map_err(|_| anyhow!("a thread of the load panicked"))??);
        }
        total.latencies.sort_unstable();
        Ok(total)
    })
}

/// Produces for a while with acks=all.
///
/// # Errors
/// A connection breaks, or the broker answers an error.
pub fn produce(address: &str, load: &ProduceLoad<'_>) -> Result<Outcome> {
    let (batch, records) = batch(load.batch_bytes, load.value_bytes)?;
    let frames = (0..load.partitions)
        .map(|partition| produce_frame(load.topic, partition, &batch))
        .collect::<Result<Vec<_>>>()?;
    let mut outcome = all_threads(load.connections, |connection| {
        produce_on_one(address, load, &frames, connection as usize)
    })?;
    outcome.records = outcome.requests * records;
    outcome.bytes = outcome.requests * u64::try_from(batch.len())?;
    Ok(outcome)
}

fn produce_on_one(
    address: &str,
    load: &ProduceLoad<'_>,
    frames: &[Vec<u8>],
    connection: usize,
) -> Result<Outcome> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut outcome = Outcome::default();
    let mut under_way = VecDeque::new();
    let start = Instant::now();
    for frame in frames.iter().cycle().skip(connection) {
        let is_over = start.elapsed() > load.duration;
        if is_over && under_way.is_empty() {
            break;
        }
        if !is_over {
            under_way.push_back(Instant::now());
            stream.write_all(frame)?;
        }
        if is_over || under_way.len() >= load.in_flight {
            let answer = read_frame(&mut stream)?;
            // Behind the correlation id and the topic's name: one partition's index and error.
            let place = 4 + 4 + 2 + load.topic.len() + 4 + 4;
            let error = i16::from_be_bytes(answer[place..place + 2].try_into()?);
            ensure!(error == 0, "produce: error {error}");
            let sent = under_way.pop_front().context("an answer to no request")?;
            outcome.latencies.push(sent.elapsed());
            outcome.requests += 1;
        }
    }
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

/// A batch of records that do not compress, and how many.
fn batch(bytes: usize, value_bytes: usize) -> Result<(Vec<u8>, u64)> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let now = Timestamp(i64::try_from(now.as_millis())?);
    let mut count = 0;
    while count == 0 || builder.size_bytes() + value_bytes < bytes {
        let value = noise(count, value_bytes);
        builder.append(now, &RecordParts { key: None, value: Some(&value), headers: &[] });
        count += 1;
    }
    Ok((builder.finish()?.bytes.to_vec(), count))
}

fn request(key: i16, version: i16) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(1i32.to_be_bytes());
    frame.extend(4i16.to_be_bytes());
    frame.extend(b"load");
    frame
}

fn string(frame: &mut Vec<u8>, text: &str) -> Result<()> {
    frame.extend(i16::try_from(text.len())?.to_be_bytes());
    frame.extend(text.as_bytes());
    Ok(())
}

fn sized(mut frame: Vec<u8>) -> Result<Vec<u8>> {
    let size = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}

fn produce_frame(topic: &str, partition: u32, batch: &[u8]) -> Result<Vec<u8>> {
    let mut frame = request(0, 8);
    frame.extend((-1i16).to_be_bytes()); // no transaction
    frame.extend((-1i16).to_be_bytes()); // acks=all
    frame.extend(30_000i32.to_be_bytes());
    frame.extend(1i32.to_be_bytes());
    string(&mut frame, topic)?;
    frame.extend(1i32.to_be_bytes());
    frame.extend(partition.to_be_bytes());
    frame.extend(i32::try_from(batch.len())?.to_be_bytes());
    frame.extend(batch);
    sized(frame)
}

fn fetch_frame(topic: &str, partition: u32, offset: i64, bytes_max: i32) -> Result<Vec<u8>> {
    let mut frame = request(1, 4);
    frame.extend((-1i32).to_be_bytes()); // no replica
    frame.extend(500i32.to_be_bytes());
    frame.extend(1i32.to_be_bytes());
    frame.extend(i32::MAX.to_be_bytes());
    frame.push(0);
    frame.extend(1i32.to_be_bytes());
    string(&mut frame, topic)?;
    frame.extend(1i32.to_be_bytes());
    frame.extend(partition.to_be_bytes());
    frame.extend(offset.to_be_bytes());
    frame.extend(bytes_max.to_be_bytes());
    sized(frame)
}

fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Reads all partitions from their first offset to their end, over and over, 1 MiB a request and
/// one thread a partition.
///
/// # Errors
/// A connection breaks, or the broker answers an error.
pub fn fetch(address: &str, topic: &str, partitions: u32, duration: Duration) -> Result<Outcome> {
    all_threads(partitions, |partition| fetch_one(address, topic, partition, duration))
}

fn fetch_one(address: &str, topic: &str, partition: u32, duration: Duration) -> Result<Outcome> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut outcome = Outcome::default();
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < duration {
        let sent = Instant::now();
        stream.write_all(&fetch_frame(topic, partition, offset, 1 << 20)?)?;
        let answer = read_frame(&mut stream)?;
        outcome.latencies.push(sent.elapsed());
        outcome.requests += 1;
        // Behind the correlation id, the throttle time and the topic's name.
        let place = 4 + 4 + 4 + 2 + topic.len() + 4 + 4;
        let error = i16::from_be_bytes(answer[place..place + 2].try_into()?);
        ensure!(error == 0, "fetch: error {error}");
        let end = i64::from_be_bytes(answer[place + 2..place + 10].try_into()?);
        // Behind the last stable offset, and no aborted transactions.
        let records = &answer[place + 2 + 8 + 8 + 4 + 4..];
        outcome.bytes += u64::try_from(records.len())?;
        offset = next_offset(records)?.unwrap_or(0);
        if offset >= end {
            offset = 0;
        }
    }
    outcome.elapsed = start.elapsed();
    Ok(outcome)
}

/// The offset behind the last whole batch.
fn next_offset(mut records: &[u8]) -> Result<Option<i64>> {
    let mut next = None;
    while records.len() >= 61 {
        let base = i64::from_be_bytes(records[..8].try_into()?);
        let length = i32::from_be_bytes(records[8..12].try_into()?);
        let last_delta = i32::from_be_bytes(records[23..27].try_into()?);
        let Some(rest) = records.get(12 + usize::try_from(length)?..) else { break };
        next = Some(base + i64::from(last_delta) + 1);
        records = rest;
    }
    Ok(next)
}
