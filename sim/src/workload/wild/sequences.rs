//! An idempotent producer by hand: batches that come again, that come with other records, that
//! leave a gap, that come from an older epoch (KIP-98, `ProducerAppendInfo`).
//!
//! Its own records are those of an idempotent producer of the history; what must be refused belongs
//! to another one, so that a broker that takes it for something it knows loses what it has
//! acknowledged.

use std::time::Duration;

use history::{Partition, Promise};
use model::{ProducerEpoch, ProducerId, Sequence};
use protocol::messages::describe_producers_request::TopicRequest;
use protocol::messages::{DescribeProducersRequest, InitProducerIdRequest, ProduceRequest};
use protocol::records::BatchOptions;
use protocol::{ErrorCode, StrBytes};

use super::wire::Wire;
use super::{Act, Lot, Order, Settled, answered};

/// How often a request is sent again until it is answered.
const ATTEMPTS_MAX: u32 = 30;

/// Kafka keeps so many batches of a producer, and so many are in flight at most.
const IN_FLIGHT: usize = 5;

/// Kafka has no DUPLICATE_SEQUENCE_NUMBER any more, and clients know it still.
const OUT_OF_ORDER: &[ErrorCode] =
    &[ErrorCode::OutOfOrderSequenceNumber, ErrorCode::DuplicateSequenceNumber];
const FENCED: &[ErrorCode] = &[ErrorCode::InvalidProducerEpoch, ErrorCode::ProducerFenced];

/// The producer.
struct Hand {
    wire: Option<Wire>,
    partition: Partition,
    /// Its number in the history.
    sender: u32,
    /// Records that it has made.
    records: u32,
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
}

impl Act {
    pub(super) async fn odd_sequence(&mut self) {
        // Where a loss of power takes batches, their producer is forgotten with them.
        let keeps = |act: &Act, at: &Partition| !act.rules(at).is_lost_with_power;
        let Some(partition) = self.partition(keeps) else { return };
        self.begin(format!("InitProducerId, for {partition}"));
        let Some(mut hand) = self.hand(partition).await else { return };
        let done = match self.seat.dice.range(0, 6) {
            0 => self.repeat(&mut hand).await,
            1 | 2 => self.same_sequence_other_count(&mut hand).await,
            3 => self.gap(&mut hand).await,
            4 => self.older_epoch(&mut hand).await,
            _ => self.all_in_flight_again(&mut hand).await,
        };
        if done.is_some() {
            self.describe(&mut hand).await;
        }
    }

    /// What the broker remembers of `hand`, all of whose batches it has answered (KIP-664).
    async fn describe(&mut self, hand: &mut Hand) -> Option<()> {
        self.begin(format!("DescribeProducers of {}", hand.partition));
        if hand.wire.is_none() {
            hand.wire = self.connected().await;
        }
        let name = StrBytes::from(&*hand.partition.topic);
        let partition_indexes = vec![hand.partition.index];
        let topic = TopicRequest { name, partition_indexes, ..Default::default() };
        let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
        let response = hand.wire.as_mut()?.call(&request, 0).await;
        let response = response.map_err(|missing| self.missed(&missing)).ok()?;
        let Some(partition) = response.topics.first().and_then(|topic| topic.partitions.first())
        else {
            self.unfit("without the partition");
            return None;
        };
        let code = ErrorCode::from_code(partition.error_code);
        if code.is_error() {
            if !self.seat.work.weather.explains(code) {
                self.unfit(code.to_string());
            }
            return None;
        }
        let found = partition.active_producers.iter().find(|it| it.producer_id == hand.id.0);
        let found = found.map(|it| (it.producer_epoch, it.last_sequence));
        let expected = (i32::from(hand.epoch.0), hand.next.0 - 1);
        if found != Some(expected) {
            self.unfit(format!("epoch and last sequence {found:?}, not {expected:?}"));
        }
        Some(())
    }

    async fn hand(&mut self, partition: Partition) -> Option<Hand> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        for _ in 0..ATTEMPTS_MAX {
            let Some(mut wire) = self.connected().await else { continue };
            match wire.call(&request, 4).await {
                Ok(response) => match ErrorCode::from_code(response.error_code) {
                    ErrorCode::None => {
                        let sender = self.sender(Promise::Idempotent);
                        return Some(Hand {
                            wire: Some(wire),
                            partition,
                            sender,
                            records: 0,
                            id: ProducerId(response.producer_id),
                            epoch: ProducerEpoch(response.producer_epoch),
                            next: Sequence(0),
                        });
                    }
                    code if self.seat.work.weather.explains(code) => {}
                    code => {
                        self.unfit(code.to_string());
                        return None;
                    }
                },
                Err(missing) => self.missed(&missing),
            }
            self.seat.sleep(Duration::from_millis(100)).await;
        }
        None
    }

    /// A connection; a moment later `None` when there is none now.
    async fn connected(&mut self) -> Option<Wire> {
        let wire = Wire::connect(&mut self.seat).await;
        if wire.is_none() {
            self.seat.sleep(Duration::from_millis(100)).await;
        }
        wire
    }

    /// The same batch again, on this connection or another: the same offset, and nothing new.
    async fn repeat(&mut self, hand: &mut Hand) -> Option<()> {
        let count = self.seat.dice.range(1, 6) as u32;
        let (lot, offset) = self.store(hand, count).await?;
        for _ in 0..self.seat.dice.range(1, 4) {
            if self.seat.dice.one_in(2) {
                hand.wire = None;
            }
            self.begin(format!("Produce to {} of a batch that is at {offset}", hand.partition));
            self.expect_again(hand, &lot, offset).await?;
        }
        Some(())
    }

    /// The first sequence of a batch that is there, with more records or fewer: not the same batch.
    async fn same_sequence_other_count(&mut self, hand: &mut Hand) -> Option<()> {
        let count = self.seat.dice.range(1, 6) as u32;
        let first = hand.next;
        self.store(hand, count).await?;
        let other = match count {
            1 => 2,
            count if self.seat.dice.one_in(2) => count - 1,
            count => count + 1,
        };
        self.begin(format!("Produce of {other} records with the sequence of {count}"));
        self.refuse(hand, first, hand.epoch, other, OUT_OF_ORDER).await
    }

    async fn gap(&mut self, hand: &mut Hand) -> Option<()> {
        let count = self.seat.dice.range(1, 6) as u32;
        self.store(hand, count).await?;
        let gap = self.seat.dice.spread(1, 1000) as i32;
        self.begin(format!("Produce after a gap of {gap} sequences"));
        self.refuse(hand, hand.next.advance(gap), hand.epoch, 2, OUT_OF_ORDER).await?;
        self.store(hand, count).await?;
        Some(())
    }

    async fn older_epoch(&mut self, hand: &mut Hand) -> Option<()> {
        let before = hand.epoch;
        self.store(hand, 2).await?;
        let next = hand.next;
        hand.epoch = ProducerEpoch(before.0 + 1);
        hand.next = Sequence(0);
        self.store(hand, 2).await?;
        self.begin("Produce of an older epoch");
        // Where it left off, or from the start.
        let first = if self.seat.dice.one_in(2) { next } else { Sequence(0) };
        self.refuse(hand, first, before, 2, FENCED).await?;
        self.store(hand, 1).await?;
        Some(())
    }

    /// As many batches as may be in flight at once, then all of them again in their order.
    async fn all_in_flight_again(&mut self, hand: &mut Hand) -> Option<()> {
        // With a batch in the log it is known what the next one has to be.
        self.store(hand, 1).await?;
        let lots: Vec<Lot> = (0..IN_FLIGHT)
            .map(|_| {
                let count = self.seat.dice.range(1, 4) as u32;
                self.next_lot(hand, count)
            })
            .collect();
        self.begin(format!("Produce to {}, {IN_FLIGHT} in flight", hand.partition));
        let mut first_time = Vec::new();
        if let Some(wire) = &mut hand.wire {
            for lot in &lots {
                wire.ask(&lot.request(-1), 8).await;
            }
            while first_time.len() < IN_FLIGHT {
                match wire.answer::<ProduceRequest>(8).await {
                    Ok(response) => first_time.push(answered(&response).ok()),
                    Err(missing) => {
                        self.missed(&missing);
                        break;
                    }
                }
            }
        }
        hand.wire = None;
        self.begin(format!("Produce to {}, the same {IN_FLIGHT} again", hand.partition));
        for (at, lot) in lots.iter().enumerate() {
            let Some(offset) = self.until_stored(hand, lot).await else {
                // Those behind it may be there from the first time.
                let unknown = Settled::Unknown("gave up".to_owned());
                lots[at + 1..].iter().for_each(|lot| self.settle(lot, &unknown));
                return None;
            };
            if let Some(before) = first_time.get(at).copied().flatten()
                && before != offset
            {
                self.unfit(format!("with offset {offset}, and with {before} before"));
            }
        }
        Some(())
    }
}

impl Act {
    /// The next records of `hand`, told to the history.
    fn next_lot(&mut self, hand: &mut Hand, count: u32) -> Lot {
        let options = BatchOptions {
            producer_id: hand.id,
            producer_epoch: hand.epoch,
            base_sequence: hand.next,
            ..BatchOptions::default()
        };
        let order = Order { sequence: hand.records, count, options, ..Order::of(hand.sender) };
        let lot = self.lot(&hand.partition, &order);
        hand.records += count;
        hand.next = hand.next.advance(count as i32);
        lot
    }

    /// Sends the next records until they are in the log; where.
    async fn store(&mut self, hand: &mut Hand, count: u32) -> Option<(Lot, i64)> {
        let lot = self.next_lot(hand, count);
        self.begin(format!("Produce to {} of the next sequence", hand.partition));
        let offset = self.until_stored(hand, &lot).await?;
        Some((lot, offset))
    }

    async fn until_stored(&mut self, hand: &mut Hand, lot: &Lot) -> Option<i64> {
        let settled = self.deliver(hand, lot).await;
        self.settle(lot, &settled);
        match settled {
            Settled::Stored(offset) => return Some(offset),
            Settled::Refused(code) => self.unfit(code.to_string()),
            Settled::Unknown(_) => {}
        }
        None
    }

    /// A lot that is in the log already.
    async fn expect_again(&mut self, hand: &mut Hand, lot: &Lot, offset: i64) -> Option<()> {
        match self.deliver(hand, lot).await {
            Settled::Stored(again) if again == offset => return Some(()),
            Settled::Stored(again) => self.unfit(format!("with offset {again}")),
            Settled::Refused(code) => self.unfit(code.to_string()),
            Settled::Unknown(_) => {}
        }
        None
    }

    /// Records of somebody else under the name of `hand`, which have to be refused.
    async fn refuse(
        &mut self,
        hand: &mut Hand,
        base_sequence: Sequence,
        producer_epoch: ProducerEpoch,
        count: u32,
        fits: &[ErrorCode],
    ) -> Option<()> {
        let stray = self.sender(Promise::AtMostOnce);
        let producer_id = hand.id;
        let options =
            BatchOptions { producer_id, producer_epoch, base_sequence, ..BatchOptions::default() };
        let lot = self.lot(&hand.partition, &Order { count, options, ..Order::of(stray) });
        let settled = self.deliver(hand, &lot).await;
        self.settle(&lot, &settled);
        match settled {
            Settled::Refused(code) if fits.contains(&code) => return Some(()),
            Settled::Refused(code) => self.unfit(code.to_string()),
            Settled::Stored(offset) => self.unfit(format!("with offset {offset}")),
            Settled::Unknown(_) => {}
        }
        None
    }

    /// Sends `lot` until the broker has an opinion of it.
    async fn deliver(&mut self, hand: &mut Hand, lot: &Lot) -> Settled {
        let mut last = Settled::Unknown("no connection".to_owned());
        for _ in 0..ATTEMPTS_MAX {
            if hand.wire.is_none() {
                hand.wire = self.connected().await;
            }
            let Some(wire) = &mut hand.wire else { continue };
            let response = wire.call(&lot.request(-1), 8).await;
            if response.is_err() {
                hand.wire = None;
            }
            last = self.settled(response.as_ref());
            if !matches!(last, Settled::Unknown(_)) {
                break;
            }
            self.seat.sleep(Duration::from_millis(100)).await;
        }
        last
    }
}
