//! A producer: bursts of records to drawn partitions, and what becomes of each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::producer::{Acks, Delivery, DeliveryError};
use client::{Producer, ProducerConfig, ProducerRecord};
use history::{Outcome, Partition, Promise, RecordId, What, value_of};
use model::PartitionIndex;
use protocol::{ErrorCode, StrBytes, records::Compression};

use super::looks::Looks;
use super::{Seat, Work, text_of};
use crate::world::NodeId;

/// Most records of one burst.
const BURST_MAX: u64 = 24;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

pub(super) async fn run(mut seat: Seat, promise: Promise) {
    let recorder = seat.work.recorder.clone();
    let client = seat.client();
    let config = config(&mut seat, promise);
    let number = recorder.producer(promise, config.in_flight_max);
    let producer = Producer::start(&client, config).expect("the settings fit the promise");
    let mut sequence = 0;
    let mut deliveries = Vec::new();
    loop {
        let burst = seat.dice.range(1, BURST_MAX) as u32;
        let burst = seat.work.take(seat.client, burst);
        if burst == 0 {
            break;
        }
        let partitions = seat.work.partitions();
        for _ in 0..burst {
            let partition = seat.dice.pick(&partitions).clone();
            let id = RecordId { producer: number, sequence };
            sequence += 1;
            let record = record(&mut seat, id, &partition);
            let work = Arc::clone(&seat.work);
            let sender = Sender { work, node: seat.node, id, partition };
            match producer.send(record).await {
                Ok(delivery) => deliveries.push(seat.spawn_delivery(sender, delivery)),
                Err(error) => sender.unknown(&error.to_string()),
            }
        }
        seat.pause().await;
    }
    for delivery in deliveries {
        // The task never panics; if it was aborted, so is this one.
        let _ = delivery.join().await;
    }
}

impl Seat {
    fn spawn_delivery(&self, sender: Sender, delivery: Delivery) -> runtime::Task {
        runtime::spawn(&self.runtime, "delivery", async move {
            match delivery.acknowledged().await {
                Ok(metadata) => sender.acknowledged(metadata.offset.map(|offset| offset.0)),
                Err(error) => sender.failed(&error),
            }
        })
    }

    /// So long that the records are spread over half the time there is.
    async fn pause(&mut self) {
        let work = &self.work.scenario.workload;
        let producers = (work.idempotent + work.at_least_once + work.at_most_once).max(1);
        let bursts = u64::from(work.records / producers) / (BURST_MAX / 2) + 1;
        let millis = u64::from(self.work.scenario.seconds) * 1000 / 2 / bursts;
        let pause = self.dice.range(0, millis * 2);
        self.sleep(Duration::from_millis(pause)).await;
    }
}

fn config(seat: &mut Seat, promise: Promise) -> ProducerConfig {
    let patience = Duration::from_secs(u64::from(seat.work.scenario.seconds));
    let base = ProducerConfig {
        compression: *seat.dice.pick(&CODECS),
        linger: Duration::from_millis(seat.dice.range(0, 20)),
        batch_bytes: seat.dice.spread(200, 16 * 1024) as usize,
        in_flight_max: seat.dice.range(1, 6) as usize,
        delivery_timeout: patience,
        block_max: patience,
        create_topics: false,
        ..ProducerConfig::default()
    };
    match promise {
        Promise::Idempotent => base,
        Promise::AtLeastOnce => ProducerConfig { idempotence: false, ..base },
        Promise::AtMostOnce => {
            ProducerConfig { acks: Acks::None, idempotence: false, retries: 0, ..base }
        }
    }
}

fn record(seat: &mut Seat, id: RecordId, partition: &Partition) -> ProducerRecord {
    let work = Arc::clone(&seat.work);
    let keys = u64::from(work.scenario.workload.keys.max(1));
    let key = seat.dice.range(0, keys) as u32;
    let is_compacted = work.rules(&partition.topic).is_compacted;
    let key = is_compacted.then_some(key);
    let tombstones = u64::from(work.scenario.workload.tombstone_one_in);
    let is_tombstone = is_compacted && tombstones > 0 && seat.dice.one_in(tombstones);
    let looks = Looks::of(id, key, seat.runtime.clock.wall(), is_tombstone);
    work.recorder.looks(id, &looks);
    work.recorder.send(seat.node, id, partition, key);
    let filling = work.scenario.workload.value_bytes_max;
    ProducerRecord {
        topic: StrBytes::from(&*partition.topic),
        partition: Some(PartitionIndex(partition.index)),
        key: looks.key,
        value: (!is_tombstone).then(|| Bytes::from(value_of(id, filling))),
        headers: looks.headers,
        timestamp: Some(looks.timestamp),
    }
}

/// Tells what became of one record.
struct Sender {
    work: Arc<Work>,
    node: NodeId,
    id: RecordId,
    partition: Partition,
}

impl Sender {
    fn acknowledged(&self, offset: Option<i64>) {
        if let Some(offset) = offset {
            self.work.on_ack(self.id, &self.partition, offset);
        }
        self.work.recorder.sent(self.node, self.id, Outcome::Acknowledged { offset });
    }

    fn unknown(&self, error: &str) {
        let outcome = Outcome::Unknown { error: error.to_owned() };
        self.work.recorder.sent(self.node, self.id, outcome);
    }

    fn failed(&self, error: &DeliveryError) {
        if let DeliveryError::Refused(refused) = error
            && (is_unfit(refused.code) || self.is_unexplained(refused.code))
        {
            let request = format!("Produce of {}", self.id);
            let error = refused.to_string();
            self.work.recorder.note(self.node, What::UnfitError { request, error });
        }
        // Refused for what it is, whatever attempt it was: no attempt can have been taken.
        match error {
            DeliveryError::Refused(refused) if is_about_the_record(refused.code) => {
                let error = refused.to_string();
                self.work.recorder.sent(self.node, self.id, Outcome::Refused { error });
            }
            _ => self.unknown(&text_of(error)),
        }
    }

    /// Whether the broker blames a disk that never failed.
    fn is_unexplained(&self, code: ErrorCode) -> bool {
        code == ErrorCode::KafkaStorageError && !self.work.weather.explains(code)
    }
}

fn is_about_the_record(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidRecord
    )
}

/// Nothing that is done to a cluster explains these. INVALID_TIMESTAMP is not among them: a broker's
/// clock may jump.
fn is_unfit(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownServerError
            | ErrorCode::CorruptMessage
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidRecord
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidProducerEpoch
    )
}
