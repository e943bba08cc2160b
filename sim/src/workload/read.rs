//! A reader: polls all partitions, jumps back now and then, asks for the bounds; and the last
//! reader, who reads everything when all is healed.

use std::collections::BTreeMap;
use std::time::Duration;

use client::consumer::ConsumerError;
use client::consumer::OffsetReset;
use client::{
    Client, ClientError, Consumer, ConsumerConfig, ConsumerRecord, IsolationLevel, OffsetSpec,
    TopicPartition,
};
use history::{Partition, Seen, Stored, What};
use model::Offset;

use super::looks::Read;
use super::lookups::Times;
use super::{Recorder, Seat, by_wire_name};

/// One poll in so many is followed by a jump of the reader, or a look at the bounds, or by time.
const JUMP_ONE_IN: u64 = 200;
const BOUNDS_ONE_IN: u64 = 20;
const LOOK_UP_ONE_IN: u64 = 40;

/// How a reader goes about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Polls at once.
    Quick,
    /// Polls now and then, with little room: what it does not take waits at the broker.
    Slow,
    /// Has room for nothing: a broker returns one batch all the same (KIP-74).
    Tiny,
}

/// A slow reader pauses so long at most, in milliseconds.
const PAUSE_MAX: u64 = 3_000;

pub(super) async fn run(mut seat: Seat, reader: u32) {
    let client = seat.client();
    let mut partitions = by_wire_name(&seat.work.partitions());
    let habit = *seat.dice.pick(&[Habit::Quick, Habit::Quick, Habit::Slow, Habit::Tiny]);
    let config = config(&mut seat, habit);
    let mut times = Times::default();
    let mut consumer = Consumer::new(&client, config);
    consumer.assign(partitions.keys().cloned());
    for (at, partition) in &partitions {
        seat.seek(reader, &mut consumer, at, partition, 0);
    }
    loop {
        let all = by_wire_name(&seat.work.partitions());
        if all.len() != partitions.len() {
            consumer.assign(all.keys().cloned());
            for (at, partition) in all.iter().filter(|(at, _)| !partitions.contains_key(*at)) {
                seat.seek(reader, &mut consumer, at, partition, 0);
            }
            partitions = all;
        }
        match consumer.poll(Duration::from_millis(300)).await {
            Ok(records) => {
                seat.note_records(reader, &partitions, &records);
                times.learn(&records, |at| seat.is_lasting(&at.topic));
            }
            Err(error) => seat.note_error(reader, &mut consumer, &partitions, &error).await,
        }
        // When nothing is sent any more, everybody hurries to the end.
        let is_closing = seat.work.is_closing();
        if seat.dice.one_in(JUMP_ONE_IN) && !is_closing {
            let all: Vec<_> = partitions.keys().cloned().collect();
            let at = seat.dice.pick(&all).clone();
            seat.jump(reader, &mut consumer, &at, &partitions[&at]);
        }
        if seat.dice.one_in(BOUNDS_ONE_IN) {
            seat.note_bounds(&client, &partitions).await;
        }
        if seat.dice.one_in(LOOK_UP_ONE_IN) {
            seat.look_up(&client, &times, &partitions).await;
        }
        if habit == Habit::Slow && !is_closing {
            let pause = seat.dice.spread(1, PAUSE_MAX);
            seat.sleep(Duration::from_millis(pause)).await;
        }
    }
}

fn config(seat: &mut Seat, habit: Habit) -> ConsumerConfig {
    let base = ConsumerConfig {
        offset_reset: OffsetReset::Error,
        fetch_wait_max: Duration::from_millis(seat.dice.range(1, 500)),
        partition_fetch_bytes_max: seat.dice.spread(1, 100_000) as i32,
        poll_records_max: seat.dice.spread(1, 500) as usize,
        ..ConsumerConfig::default()
    };
    match habit {
        Habit::Quick => base,
        Habit::Slow => {
            ConsumerConfig { fetch_bytes_max: seat.dice.spread(1, 4_000) as i32, ..base }
        }
        Habit::Tiny => ConsumerConfig {
            fetch_bytes_max: seat.dice.spread(1, 200) as i32,
            partition_fetch_bytes_max: 1,
            ..base
        },
    }
}

impl Seat {
    fn seek(
        &self,
        reader: u32,
        consumer: &mut Consumer,
        at: &TopicPartition,
        partition: &Partition,
        offset: i64,
    ) {
        consumer.seek(at, Offset(offset)).expect("the partition is assigned");
        let partition = partition.clone();
        self.work.recorder.note(self.node, What::Seek { reader, partition, offset });
    }

    /// Back to a drawn offset that was read before.
    fn jump(
        &mut self,
        reader: u32,
        consumer: &mut Consumer,
        at: &TopicPartition,
        partition: &Partition,
    ) {
        let Some(position) = consumer.position(at) else { return };
        let offset = self.dice.range(0, position.0.max(0) as u64 + 1) as i64;
        self.seek(reader, consumer, at, partition, offset);
    }

    fn note_records(
        &self,
        reader: u32,
        partitions: &BTreeMap<TopicPartition, Partition>,
        records: &[ConsumerRecord],
    ) {
        for (at, seen) in by_partition(&self.work.recorder, records) {
            self.work.recorder.poll(self.node, reader, &partitions[&at], seen);
        }
    }

    async fn note_error(
        &mut self,
        reader: u32,
        consumer: &mut Consumer,
        partitions: &BTreeMap<TopicPartition, Partition>,
        error: &ConsumerError,
    ) {
        match error {
            ConsumerError::OffsetOutOfRange { at, offset, .. } => {
                let (partition, offset) = (partitions[at].clone(), offset.0);
                let what = What::Reset { reader, partition, offset };
                self.work.recorder.note(self.node, what);
                // Wherever that is by now.
                consumer.seek_to_beginning(at).expect("the partition is assigned");
            }
            ConsumerError::Corrupt { at, offset, source } => {
                // Also of a damaged partition: a broker says that it can not read, and serves nothing.
                let request = format!("Fetch of {at} at {}", offset.0);
                let error = source.to_string();
                if !self.work.weather.has_bit_flips_to_clients {
                    self.work.recorder.note(self.node, What::UnfitError { request, error });
                }
                self.sleep(Duration::from_millis(100)).await;
            }
            ConsumerError::Refused { at, source } => {
                let error = ClientError::Broker(source.clone());
                self.note_failure(&format!("Fetch of {at}"), &error, &[]);
                self.sleep(Duration::from_millis(50)).await;
            }
            ConsumerError::Lookup { at, source } => {
                self.note_failure(&format!("ListOffsets of {at}"), source, &[]);
                self.sleep(Duration::from_millis(50)).await;
            }
            ConsumerError::NotAssigned { at } => unreachable!("{at} is assigned"),
        }
    }

    async fn note_bounds(&self, client: &Client, partitions: &BTreeMap<TopicPartition, Partition>) {
        let asked = self.work.world.now();
        // A damaged one has no answer, and the others would wait for it.
        let damaged = self.work.damaged();
        let whole = partitions.iter().filter(|(_, partition)| !damaged.contains_key(*partition));
        let partitions = &whole.map(|(at, partition)| (at.clone(), partition.clone())).collect();
        let starts = bounds(client, partitions, OffsetSpec::Earliest).await;
        let ends = bounds(client, partitions, OffsetSpec::Latest).await;
        for (at, partition) in partitions {
            let (log_start, end) = (starts.get(at).copied(), ends.get(at).copied());
            if log_start.is_some() || end.is_some() {
                let partition = partition.clone();
                let what = What::Bounds { partition, asked, log_start, end };
                self.work.recorder.note(self.node, what);
            }
        }
    }
}

async fn bounds(
    client: &Client,
    partitions: &BTreeMap<TopicPartition, Partition>,
    spec: OffsetSpec,
) -> BTreeMap<TopicPartition, i64> {
    let specs = partitions.keys().map(|at| (at.clone(), spec)).collect();
    let listed = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    let known = listed.into_iter().filter_map(|(at, found)| Some((at, found.ok()?.offset?.0)));
    known.collect()
}

pub(super) fn by_partition(
    recorder: &Recorder,
    records: &[ConsumerRecord],
) -> BTreeMap<TopicPartition, Vec<Seen>> {
    let mut sorted: BTreeMap<TopicPartition, Vec<Seen>> = BTreeMap::new();
    for record in records {
        let content = recorder.content(&record.at.topic, &Read::of(record));
        let seen = Seen { offset: record.offset.0, content };
        sorted.entry(record.at.clone()).or_default().push(seen);
    }
    sorted
}

/// Reads every partition from its start to its end and returns what is there. Goes on for ever when
/// the cluster does not answer: the caller has the clock.
pub async fn read_all(
    recorder: &Recorder,
    client: &Client,
    partitions: &[Partition],
) -> BTreeMap<Partition, Stored> {
    let (world, names) = (recorder.world(), by_wire_name(partitions));
    let mut stored = BTreeMap::new();
    let (starts, ends) = loop {
        let starts = bounds(client, &names, OffsetSpec::Earliest).await;
        let ends = bounds(client, &names, OffsetSpec::Latest).await;
        if starts.len() == names.len() && ends.len() == names.len() {
            break (starts, ends);
        }
        world.sleep(Duration::from_millis(100)).await;
    };
    let config = ConsumerConfig { offset_reset: OffsetReset::Error, ..ConsumerConfig::default() };
    let mut consumer = Consumer::new(client, config);
    consumer.assign(names.keys().cloned());
    for (at, partition) in &names {
        consumer.seek(at, Offset(starts[at])).expect("the partition is assigned");
        let (log_start, end) = (starts[at], ends[at]);
        stored.insert(partition.clone(), Stored { log_start, end, records: Vec::new() });
    }
    let is_read = |consumer: &Consumer| {
        names.keys().all(|at| consumer.position(at).is_some_and(|next| ends[at] <= next.0))
    };
    while !is_read(&consumer) {
        match consumer.poll(Duration::from_millis(500)).await {
            Ok(records) => {
                for (at, seen) in by_partition(recorder, &records) {
                    let below = seen.into_iter().filter(|seen| seen.offset < ends[&at]);
                    if let Some(stored) = stored.get_mut(&names[&at]) {
                        stored.records.extend(below);
                    }
                }
            }
            Err(ConsumerError::OffsetOutOfRange { at, log_start, .. }) => {
                // Retention went on meanwhile.
                let start = log_start.unwrap_or(Offset(ends[&at]));
                let _ = consumer.seek(&at, start);
                if let Some(stored) = stored.get_mut(&names[&at]) {
                    stored.log_start = start.0;
                    stored.records.retain(|seen| start.0 <= seen.offset);
                }
            }
            Err(_) => world.sleep(Duration::from_millis(50)).await,
        }
    }
    stored
}
