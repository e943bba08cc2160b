//! A producer: a record every moment, to each partition in turn, until it is stopped; and what
//! becomes of each.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::producer::{Acks, Delivery};
use client::{Producer, ProducerConfig, ProducerRecord};
use history::{Promise, RecordId, value_of};
use model::PartitionIndex;
use protocol::StrBytes;
use protocol::records::Compression;
use runtime::sync::mpsc;

use super::Seat;
use crate::ledger::{FILLING_MAX, Ledger};

/// Between two records.
const PAUSE: Duration = Duration::from_millis(1);

/// Far longer than a broker is away: who retries gives nothing up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a producer that was stopped may take for what it has taken.
const END_LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(seat: Seat, number: u32, promise: Promise) {
    let producer = Producer::start(&seat.client, config(number, promise));
    let producer = producer.expect("the settings fit the promise");
    let partitions = seat.ledger.partitions().count() as u32;
    // Each record whose fate is open holds a sender.
    let (open, mut settled) = mpsc::channel::<()>(1);
    let mut sequence = 0;
    while !seat.is_stopped() {
        let id = RecordId { producer: number, sequence };
        let partition = ((number + sequence) % partitions) as i32;
        sequence += 1;
        seat.ledger.send(id, partition);
        match producer.send(record(seat.ledger.topic(), id, partition)).await {
            Ok(delivery) => {
                let (ledger, open) = (Arc::clone(&seat.ledger), open.clone());
                runtime::spawn(seat.client.runtime(), "delivery", async move {
                    note(&ledger, id, delivery).await;
                    drop(open);
                });
            }
            Err(error) => seat.ledger.given_up(id, &text_of(&error)),
        }
        seat.sleep(PAUSE).await;
    }
    producer.close(END_LIMIT).await;
    drop(open);
    // Nothing is ever sent: it ends when the last sender is gone.
    settled.recv().await;
}

fn config(number: u32, promise: Promise) -> ProducerConfig {
    let base = ProducerConfig {
        compression: Compression::ALL[number as usize % Compression::ALL.len()],
        linger: Duration::from_millis(2),
        buffer_bytes: 512 * 1024,
        delivery_timeout: PATIENCE,
        block_max: PATIENCE,
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

fn record(topic: &str, id: RecordId, partition: i32) -> ProducerRecord {
    ProducerRecord {
        topic: StrBytes::from(topic),
        partition: Some(PartitionIndex(partition)),
        key: Some(Bytes::from(id.producer.to_string())),
        value: Some(Bytes::from(value_of(id, FILLING_MAX))),
        ..ProducerRecord::default()
    }
}

async fn note(ledger: &Ledger, id: RecordId, delivery: Delivery) {
    match delivery.acknowledged().await {
        Ok(metadata) => ledger.acknowledged(id, metadata.offset.map(|offset| offset.0)),
        Err(error) => ledger.given_up(id, &text_of(&error)),
    }
}

/// The error with its causes.
fn text_of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
