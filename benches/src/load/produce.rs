//! Appends batches, each in a request of its own, on some connections with some requests in flight.
//!
//! In a closed loop a request goes out when an older one is answered. At a fixed rate requests are
//! due at fixed moments, and what one takes counts from then on: a broker that falls behind can not
//! hide it by holding up who asks (coordinated omission).

use std::collections::VecDeque;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use model::Timestamp;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::records::{BatchBuilder, BatchOptions, RecordParts};
use protocol::{ErrorCode, Records, StrBytes};

use super::wire::{Receiver, Sender, connect, frame_of, number};
use super::{Shape, Span, Tally, Topic};

const VERSION: i16 = 9;
const RECORD_BYTES: usize = 100;
/// More than `index.interval.bytes`, so often.
const TOUCH_BYTES: usize = 8192;
const TOUCHES: u32 = 3;

/// How to produce.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) shape: Shape,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 1)]
    depth: u32,
    /// Bytes of a batch, about; of one record if that is more.
    #[arg(long, default_value_t = 0)]
    batch_bytes: usize,
    /// Requests per second, all connections together; as fast as it goes without.
    #[arg(long)]
    rate: Option<f64>,
}

/// Produces.
///
/// # Errors
/// The broker can not be reached, or refuses a batch for good.
pub(super) fn run(options: &Options) -> Result<Tally> {
    let batch_bytes = batch(options.batch_bytes)?.len() as u64;
    let mut all = options.shape.run(|place, span| connection(options, place, span))?;
    all.bytes = all.nanos.len() as u64 * batch_bytes;
    Ok(all)
}

/// Appends to every partition until its indexes have an entry (`index.interval.bytes`). What comes
/// first is dear and not what is measured: both make files, and where Kafka first writes into an
/// index that is mapped to memory, Linux clears 2 MiB of it.
pub(super) fn touch(topic: &Topic) -> Result<()> {
    let (mut sender, mut receiver) = connect(&topic.address)?;
    let batch = batch(TOUCH_BYTES)?;
    for partition in (0..TOUCHES).flat_map(|_| 0..topic.partitions) {
        loop {
            sender.send(&request(topic, partition, &batch)?)?;
            if is_appended(&receiver.answer::<ProduceRequest>(VERSION)?)? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether a batch of one record is appended; an error also when nobody listens.
pub(super) fn append_once(topic: &Topic) -> Result<bool> {
    let (mut sender, mut receiver) = connect(&topic.address)?;
    sender.send(&request(topic, 0, &batch(0)?)?)?;
    is_appended(&receiver.answer::<ProduceRequest>(VERSION)?)
}

/// A request that appends a batch.
fn request(topic: &Topic, partition: u32, batch: &Records) -> Result<Vec<u8>> {
    let index = i32::try_from(partition)?;
    let data = PartitionProduceData { index, records: Some(batch.clone()), ..Default::default() };
    let topic = TopicProduceData {
        name: StrBytes::from(topic.topic.as_str()),
        partition_data: vec![data],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    frame_of(&request, VERSION)
}

fn connection(options: &Options, place: u32, span: Span) -> Result<Tally> {
    let (sender, receiver) = connect(&options.shape.topic.address)?;
    let held = sender.hold()?;
    let frames = Frames::new(options, place)?;
    let mut tally = match options.rate {
        None => closed_loop(frames, sender, receiver, options.depth, span),
        Some(rate) => {
            let connections = f64::from(options.shape.connections);
            let every = Duration::from_secs_f64(connections / rate);
            let first = span.begun + every.mul_f64(f64::from(place) / connections);
            fixed_rate(frames, sender, receiver, (first, every), span)
        }
    }?;
    tally.held.push(held);
    Ok(tally)
}

/// A request for each partition that a connection writes to, in turns.
struct Frames {
    frames: Vec<Vec<u8>>,
    sent: usize,
}

impl Frames {
    fn new(options: &Options, place: u32) -> Result<Frames> {
        let batch = batch(options.batch_bytes)?;
        // Connections share the partitions, each beginning elsewhere.
        let partitions = options.shape.topic.partitions;
        let own = partitions.div_ceil(options.shape.connections).max(partitions.min(8));
        let topic = &options.shape.topic;
        let frame = |step: u32| request(topic, (place * own + step) % partitions, &batch);
        Ok(Frames { frames: (0..own).map(frame).collect::<Result<_>>()?, sent: 0 })
    }

    fn send(&mut self, sender: &mut Sender) -> Result<()> {
        let place = self.sent % self.frames.len();
        self.sent += 1;
        number(&mut self.frames[place], self.sent as i32);
        sender.send(&self.frames[place])
    }
}

/// A batch of about so many bytes.
fn batch(bytes: usize) -> Result<Records> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value: Vec<u8> = (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = Timestamp(now.as_millis() as i64);
    loop {
        builder.append(now, &RecordParts { value: Some(&value), ..RecordParts::default() });
        if bytes < builder.size_bytes() + RECORD_BYTES {
            return Ok(Records::from(builder.finish()?.bytes));
        }
    }
}

fn closed_loop(
    mut frames: Frames,
    mut sender: Sender,
    mut receiver: Receiver,
    depth: u32,
    span: Span,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut sent = VecDeque::new();
    for _ in 0..depth {
        sent.push_back(Instant::now());
        frames.send(&mut sender)?;
    }
    while let Some(begun) = sent.pop_front() {
        let is_done = is_appended(&receiver.answer::<ProduceRequest>(VERSION)?)?;
        let now = Instant::now();
        tally.note(is_done, begun, now, span);
        if now < span.until {
            sent.push_back(now);
            frames.send(&mut sender)?;
        }
    }
    Ok(tally)
}

fn fixed_rate(
    mut frames: Frames,
    mut sender: Sender,
    mut receiver: Receiver,
    (first, every): (Instant, Duration),
    span: Span,
) -> Result<Tally> {
    let (due_times, times) = mpsc::channel();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut due = first;
            while due < span.until {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                frames.send(&mut sender)?;
                due_times.send(due).context("nobody receives")?;
                due += every;
            }
            anyhow::Ok(())
        });
        let mut tally = Tally::default();
        for due in times {
            let is_done = is_appended(&receiver.answer::<ProduceRequest>(VERSION)?)?;
            tally.note(is_done, due, Instant::now(), span);
        }
        sending.join().expect("the sender does not panic")?;
        Ok(tally)
    })
}

impl Tally {
    /// A request that was due at `due` is answered.
    fn note(&mut self, is_done: bool, due: Instant, now: Instant, span: Span) {
        if !is_done {
            self.refused += 1;
        } else if span.has(due) {
            self.nanos.push((now - due).as_nanos() as u64);
        }
    }
}

/// Whether the batch is there; what a broker says while it has lost its place is no end.
fn is_appended(response: &ProduceResponse) -> Result<bool> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    for partition in partitions {
        match ErrorCode::from_code(partition.error_code) {
            ErrorCode::None => {}
            error if error.is_retriable() => return Ok(false),
            error => bail!("partition {}: {error} {:?}", partition.index, partition.error_message),
        }
    }
    Ok(true)
}
