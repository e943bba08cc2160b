//! A reader: polls all partitions while the broker comes and goes, and jumps back at times; the
//! observer beside it; and the last reader, who reads everything.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use client::consumer::{ConsumerError, OffsetReset};
use client::{
    Admin, Client, ClientError, Consumer, ConsumerConfig, ConsumerRecord, OffsetSpec,
    TopicPartition,
};
use history::{Partition, Seen, Stored, What, read_value};
use model::Offset;

use super::{Seat, all_bounds, bounds, on_wire};
use crate::ledger::Ledger;

/// One poll in so many is followed by a jump of at most so many offsets.
const JUMP_ONE_IN: u64 = 50;
const JUMP_MAX: u64 = 1_000;

/// Between two looks at the bounds; one in so many is followed by a deletion.
const LOOK: Duration = Duration::from_millis(50);
const DELETE_ONE_IN: u64 = 20;

/// After an error.
const PAUSE: Duration = Duration::from_millis(20);

fn consumer(client: &Client, ledger: &Ledger) -> (Consumer, Names) {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Error,
        fetch_wait_max: Duration::from_millis(100),
        ..ConsumerConfig::default()
    };
    let names: Names =
        ledger.partitions().map(|partition| (on_wire(&partition), partition)).collect();
    let mut consumer = Consumer::new(client, config);
    consumer.assign(names.keys().cloned());
    (consumer, names)
}

/// Partitions by their names on the wire.
type Names = BTreeMap<TopicPartition, Partition>;

pub(super) async fn run(mut seat: Seat, reader: u32) {
    let (mut consumer, names) = consumer(&seat.client, &seat.ledger);
    for (at, partition) in &names {
        seat.seek(reader, &mut consumer, at, partition, 0);
    }
    while !seat.is_stopped() {
        match consumer.poll(Duration::from_millis(300)).await {
            Ok(polled) => {
                for (at, records) in by_partition(&polled) {
                    let partition = names[&at].clone();
                    seat.ledger.note(What::Poll { reader, partition, records });
                }
            }
            Err(error) => {
                seat.note_error(reader, &mut consumer, &names, &error);
                seat.sleep(PAUSE).await;
            }
        }
        if seat.draw(JUMP_ONE_IN) == 0 {
            let place = seat.draw(names.len() as u64) as usize;
            let Some((at, partition)) = names.iter().nth(place) else { continue };
            let Some(position) = consumer.position(at) else { continue };
            let back = seat.draw(JUMP_MAX) as i64;
            seat.seek(reader, &mut consumer, at, partition, (position.0 - back).max(0));
        }
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
        self.ledger.note(What::Seek { reader, partition: partition.clone(), offset });
    }

    /// A broker that is killed explains lost connections, and these the consumer keeps to itself.
    fn note_error(
        &self,
        reader: u32,
        consumer: &mut Consumer,
        names: &Names,
        error: &ConsumerError,
    ) {
        match error {
            ConsumerError::OffsetOutOfRange { at, offset, .. } => {
                let (partition, offset) = (names[at].clone(), offset.0);
                self.ledger.note(What::Reset { reader, partition, offset });
                consumer.seek_to_beginning(at).expect("the partition is assigned");
            }
            ConsumerError::Lookup { source: ClientError::TimedOut { .. }, .. } => {}
            ConsumerError::Lookup { source, .. } if source.is_retriable() => {}
            ConsumerError::Refused { at, .. }
            | ConsumerError::Corrupt { at, .. }
            | ConsumerError::Lookup { at, .. }
            | ConsumerError::NotAssigned { at } => {
                let request = format!("Fetch of {at} by reader {reader}");
                let error = format!("{error:?}");
                self.ledger.note(What::UnfitError { request, error });
            }
        }
    }
}

/// Asks for the bounds again and again, and deletes a part of partition 0 at times.
pub(super) async fn observe(mut seat: Seat, deletes: bool) {
    while !seat.is_stopped() {
        seat.sleep(LOOK).await;
        let asked = seat.ledger.now();
        let starts = bounds(&seat.client, &seat.ledger, OffsetSpec::Earliest).await;
        let ends = bounds(&seat.client, &seat.ledger, OffsetSpec::Latest).await;
        for partition in seat.ledger.partitions() {
            let at = on_wire(&partition);
            let (log_start, end) = (starts.get(&at).copied(), ends.get(&at).copied());
            if log_start.is_some() || end.is_some() {
                seat.ledger.note(What::Bounds { partition, asked, log_start, end });
            }
        }
        if deletes && seat.draw(DELETE_ONE_IN) == 0 {
            let partition = seat.ledger.partition(0);
            if let Some(end) = ends.get(&on_wire(&partition)) {
                delete(&seat, partition, end / 3).await;
            }
        }
    }
}

async fn delete(seat: &Seat, partition: Partition, before: i64) {
    let at = on_wire(&partition);
    let asked = seat.ledger.now();
    // Written down before it is asked: a request whose answer is lost may have its effect.
    seat.ledger.note(What::Trim { partition: partition.clone(), before });
    let wanted = BTreeMap::from([(at.clone(), Some(Offset(before)))]);
    let mut deleted = Admin::new(&seat.client).delete_records(&wanted).await;
    if let Some(Ok(start)) = deleted.remove(&at) {
        let log_start = Some(start.0);
        seat.ledger.note(What::Bounds { partition, asked, log_start, end: None });
    }
}

fn by_partition(records: &[ConsumerRecord]) -> BTreeMap<TopicPartition, Vec<Seen>> {
    let mut sorted: BTreeMap<TopicPartition, Vec<Seen>> = BTreeMap::new();
    for record in records {
        let content = read_value(record.value.as_deref().unwrap_or_default());
        let seen = Seen { offset: record.offset.0, content };
        sorted.entry(record.at.clone()).or_default().push(seen);
    }
    sorted
}

/// Reads every partition from its start to its end, while nobody writes.
pub(super) async fn read_all(
    client: &Client,
    ledger: &Ledger,
) -> Result<BTreeMap<Partition, Stored>> {
    let starts = all_bounds(client, ledger, OffsetSpec::Earliest).await;
    let ends = all_bounds(client, ledger, OffsetSpec::Latest).await;
    let (mut consumer, names) = consumer(client, ledger);
    let mut stored = BTreeMap::new();
    for at in names.keys() {
        let (log_start, end) = (starts[at], ends[at]);
        consumer.seek(at, Offset(log_start))?;
        stored.insert(at.clone(), Stored { log_start, end, records: vec![] });
    }
    let is_read = |consumer: &Consumer| {
        ends.iter().all(|(at, end)| consumer.position(at).is_some_and(|next| *end <= next.0))
    };
    while !is_read(&consumer) {
        let polled = consumer.poll(Duration::from_secs(20)).await?;
        ensure!(!polled.is_empty(), "nothing for 20 s: {consumer:?}");
        for (at, records) in by_partition(&polled) {
            stored.entry(at).or_default().records.extend(records);
        }
    }
    Ok(stored.into_iter().map(|(at, stored)| (names[&at].clone(), stored)).collect())
}
