//! A rude client: frames that are none, requests that stop half way, batches that no log may take,
//! an idempotent producer that repeats, jumps and comes back from an older epoch; old versions; and
//! strangers in groups.
//!
//! Each act draws from a stream of its own and runs beside the others. Whatever it does, the broker
//! answers or closes, and the answer fits the act: what does is said in one table for each kind of
//! act. Its records are in the history, so that what was refused must never be seen.
//!
//! Start at [`run`].

mod batches;
mod frames;
mod groups;
mod hang;
mod old;
mod sequences;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use history::{Outcome, Partition, Promise, RecordId, What, value_of};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::records::{BatchBuilder, BatchOptions, RecordParts};
use protocol::{ErrorCode, Records, StrBytes};

use super::Seat;
use super::looks::Looks;
use crate::world::Kind;
use wire::NoAnswer;

/// By name since version 3, by id from 13 on.
const PRODUCE_VERSIONS: (i16, i16) = (3, 12);

pub(super) async fn run(mut seat: Seat) {
    let all = seat.work.scenario.workload.wild;
    let pause = u64::from(seat.work.scenario.seconds) * 1000 / 2 / u64::from(all.max(1));
    let mut acts = Vec::new();
    loop {
        let pause = seat.dice.range(0, pause * 2 + 1);
        seat.sleep(Duration::from_millis(pause)).await;
        let number = all - seat.work.left(seat.client);
        if seat.work.take(seat.client, 1) == 0 {
            break;
        }
        let act = Act::new(&seat, number);
        acts.push(runtime::spawn(&seat.runtime, "wild", act.play()));
    }
    for act in acts {
        // The task never panics; if it was aborted, so is this one.
        let _ = act.join().await;
    }
}

/// One act, with dice of its own.
struct Act {
    seat: Seat,
    number: u32,
    name: String,
}

impl Act {
    fn new(seat: &Seat, number: u32) -> Act {
        let seat = seat.beside("wild", u64::from(number));
        Act { seat, number, name: String::new() }
    }

    async fn play(mut self) {
        let acts = if self.seat.work.scenario.groups.is_empty() { 10 } else { 14 };
        match self.seat.dice.range(0, acts) {
            0..4 => self.rude_frame().await,
            4..7 => self.odd_batch().await,
            7..9 => self.odd_sequence().await,
            9 => self.old_version().await,
            _ => self.odd_group().await,
        }
    }

    /// Says in the trace what is done.
    fn begin(&mut self, name: impl Into<String>) {
        self.name = name.into();
        let words = [5, u64::from(self.number)];
        let (number, name) = (self.number, &self.name);
        let node = Some(self.seat.node);
        let text = || format!("wild act {number}: {name}");
        self.seat.work.world.record(Kind::Client, node, &words, text);
    }

    /// The broker did what no rule lets it do.
    fn unfit(&self, error: impl Into<String>) {
        let what = What::UnfitError { request: self.name.clone(), error: error.into() };
        self.seat.work.recorder.note(self.seat.node, what);
    }

    /// An answer that did not come is unfit when nothing of the plan lets it get lost.
    fn missed(&self, answer: &NoAnswer) {
        match answer {
            // A broker that is killed or stops closes its connections.
            NoAnswer::Closed => {}
            NoAnswer::Silent if self.seat.work.weather.is_calm => {
                self.unfit(format!("nothing within {:?}", wire::ANSWER_LIMIT));
            }
            NoAnswer::Silent => {}
            NoAnswer::Garbled(why) => self.unfit(format!("bytes that are no answer: {why}")),
        }
    }

    /// A partition of the scenario that `may_be` allows.
    fn partition(&mut self, may_be: impl Fn(&Act, &Partition) -> bool) -> Option<Partition> {
        let mut all = self.seat.work.partitions();
        all.retain(|partition| may_be(self, partition));
        (!all.is_empty()).then(|| self.seat.dice.pick(&all).clone())
    }

    fn rules(&self, partition: &Partition) -> history::Rules {
        self.seat.work.rules(&partition.topic)
    }

    /// Records, told to the history, as one batch.
    fn lot(&mut self, partition: &Partition, order: &Order) -> Lot {
        let (work, node) = (Arc::clone(&self.seat.work), self.seat.node);
        let now = self.seat.runtime.clock.wall();
        let is_keyed = order.is_keyed && self.rules(partition).is_compacted;
        let mut builder = BatchBuilder::new(order.options);
        let mut ids = Vec::new();
        for sequence in order.sequence..order.sequence + order.count {
            let id = RecordId { producer: order.sender, sequence };
            let keys = u64::from(work.scenario.workload.keys.max(1));
            let key = is_keyed.then(|| self.seat.dice.range(0, keys) as u32);
            let looks = Looks::of(id, key, now, false);
            work.recorder.looks(id, &looks);
            work.recorder.send(node, id, partition, key);
            let value = value_of(id, work.scenario.workload.value_bytes_max.min(200));
            let (key, headers) = (looks.key.as_deref(), &*looks.raw_headers());
            builder.append(looks.timestamp, &RecordParts { key, value: Some(&value), headers });
            ids.push(id);
        }
        let batch = builder.finish().expect("no codec is asked for its level");
        Lot { ids, partition: partition.clone(), bytes: batch.bytes.to_vec() }
    }

    /// A producer of the history that sends everything once.
    fn sender(&self, promise: Promise) -> u32 {
        // Its frames say in which order they come, and mean it.
        const IN_FLIGHT: usize = 5;
        self.seat.work.recorder.producer(promise, IN_FLIGHT)
    }

    /// What an answer says of the one lot that was sent.
    fn settled(&self, response: Result<&ProduceResponse, &NoAnswer>) -> Settled {
        match response.map(answered) {
            Ok(Ok(offset)) => Settled::Stored(offset),
            Ok(Err(code)) if self.seat.work.weather.explains(code) => {
                Settled::Unknown(code.to_string())
            }
            Ok(Err(code)) => Settled::Refused(code),
            Err(missing) => {
                self.missed(missing);
                Settled::Unknown(format!("{missing:?}"))
            }
        }
    }

    /// Tells what became of all records of `lot`.
    fn settle(&self, lot: &Lot, outcome: &Settled) {
        let (work, node) = (&self.seat.work, self.seat.node);
        for (&id, delta) in lot.ids.iter().zip(0..) {
            let outcome = match outcome {
                Settled::Stored(base) => {
                    work.on_ack(id, &lot.partition, base + delta);
                    Outcome::Acknowledged { offset: Some(base + delta) }
                }
                Settled::Refused(code) => Outcome::Refused { error: code.to_string() },
                Settled::Unknown(why) => Outcome::Unknown { error: why.clone() },
            };
            work.recorder.sent(node, id, outcome);
        }
    }
}

/// What a batch is to hold.
struct Order {
    /// A producer of the history.
    sender: u32,
    /// Its first record, by its own count.
    sequence: u32,
    count: u32,
    /// Whether records have keys where the topic wants them.
    is_keyed: bool,
    options: BatchOptions,
}

impl Order {
    fn of(sender: u32) -> Order {
        Order { sender, sequence: 0, count: 1, is_keyed: true, options: BatchOptions::default() }
    }
}

/// Records in a batch of their own.
struct Lot {
    ids: Vec<RecordId>,
    partition: Partition,
    bytes: Vec<u8>,
}

impl Lot {
    /// The request that carries it.
    fn request(&self, acks: i16) -> ProduceRequest {
        let data = PartitionProduceData {
            index: self.partition.index,
            records: Some(Records::from(Bytes::from(self.bytes.clone()))),
            ..PartitionProduceData::default()
        };
        let topic = TopicProduceData {
            name: StrBytes::from(&*self.partition.topic),
            partition_data: vec![data],
            ..TopicProduceData::default()
        };
        ProduceRequest { acks, timeout_ms: 2_000, topic_data: vec![topic], ..Default::default() }
    }
}

/// What a broker says of a lot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Settled {
    /// It is in the log, from this offset on.
    Stored(i64),
    /// It is not, and never will be.
    Refused(ErrorCode),
    /// Nobody can tell.
    Unknown(String),
}

/// What the answer says of the one batch that was sent.
fn answered(response: &ProduceResponse) -> Result<i64, ErrorCode> {
    let topics = response.responses.iter();
    let Some(partition) = topics.flat_map(|topic| &topic.partition_responses).next() else {
        return Err(ErrorCode::UnknownServerError);
    };
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(partition.base_offset),
        code => Err(code),
    }
}
