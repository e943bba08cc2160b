//! The producer's decisions: which batches go to which broker when, and what follows from results.
//!
//! In: records, the cluster's view, results, time. Out: [`Action`]s for the sender task. No I/O, no
//! clock, no encoding.
//!
//! Invariants:
//! - at most `max.in.flight` requests per broker, at most one batch per partition and request
//! - memory of records is given back exactly once
//!
//! Start at [`Core::append`] and [`Core::poll`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{BrokerId, Instant, ProducerEpoch};
use protocol::StrBytes;
use runtime::RandomStream;

use super::batch::{BatchRecord, Completion, Identity};
use super::config::ProducerConfig;
use super::error::DeliveryError;
use super::partition_queue::{Outgoing, PartitionQueue, Readiness, ResultContext};
use super::verdict::BatchResult;
use crate::backoff::Backoff;
use crate::metadata::{TopicPartition, View};

/// What the sender task has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send these batches to this broker, and report every batch's result.
    Send { broker: BrokerId, batches: Vec<(TopicPartition, Outgoing)> },
    /// Ask for a producer id.
    InitProducerId,
    /// Ask for the leaders of these topics.
    Refresh(Vec<StrBytes>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    config: ProducerConfig,
    retry_backoff: Backoff,
    random: RandomStream,
    queues: BTreeMap<TopicPartition, PartitionQueue>,
    /// The queues that hold something.
    active: BTreeSet<TopicPartition>,
    brokers: BTreeMap<BrokerId, BrokerState>,
    identity: Option<Identity>,
    identity_requested: bool,
    buffered_bytes: usize,
    /// Memory was given back since somebody asked.
    freed: bool,
    next_batch_id: u64,
    flush_below: u64,
    /// Senders that wait for buffer memory.
    pub(crate) waiting_for_memory: usize,
    closing: bool,
    /// Topics whose leaders have to be asked for.
    stale: BTreeSet<StrBytes>,
    /// Where the last poll began, so that no partition is always last.
    rotation: Option<TopicPartition>,
}

#[derive(Debug, Default)]
struct BrokerState {
    in_flight: usize,
    /// The broker asked for a pause (KIP-219).
    throttled_until: Instant,
}

/// A record that found its place.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) completion: Arc<Completion>,
    pub(crate) index: usize,
    /// The sender task should look again.
    pub(crate) wake: bool,
}

impl Core {
    pub(crate) fn new(config: ProducerConfig, backoff: Backoff, random: RandomStream) -> Core {
        Core {
            config,
            retry_backoff: backoff,
            random,
            queues: BTreeMap::new(),
            active: BTreeSet::new(),
            brokers: BTreeMap::new(),
            identity: None,
            identity_requested: false,
            buffered_bytes: 0,
            freed: false,
            next_batch_id: 1,
            flush_below: 0,
            waiting_for_memory: 0,
            closing: false,
            stale: BTreeSet::new(),
            rotation: None,
        }
    }

    /// Takes a record; gives it back when the buffer is full.
    pub(crate) fn append(
        &mut self,
        now: Instant,
        at: &TopicPartition,
        record: BatchRecord,
    ) -> Result<Appended, BatchRecord> {
        let size_bytes = record.size_bytes_max();
        // One record is taken however large, or it could never be sent at all.
        if self.buffered_bytes > 0 && self.buffered_bytes + size_bytes > self.config.buffer_bytes {
            return Err(record);
        }
        if !self.active.contains(at) {
            self.active.insert(at.clone());
        }
        if !self.queues.contains_key(at) {
            self.queues.insert(at.clone(), PartitionQueue::default());
        }
        let queue = self.queues.get_mut(at).expect("it was just inserted");
        let before = self.next_batch_id;
        let (completion, index, wake) =
            queue.append(record, now, self.config.batch_bytes, self.next_batch_id);
        if index == 0 {
            self.next_batch_id = before + 1;
            self.buffered_bytes += super::batch::BATCH_HEADER_BYTES;
        }
        self.buffered_bytes += size_bytes;
        Ok(Appended { completion, index, wake })
    }

    /// All that can be done now. Call it again after carrying the actions out, until it is empty.
    pub(crate) fn poll(&mut self, now: Instant, view: &View) -> Vec<Action> {
        self.expire(now);
        let mut actions = Vec::new();
        self.renew_identity(&mut actions);
        let readiness = self.readiness();
        let mut requests: BTreeMap<BrokerId, (usize, Vec<(TopicPartition, Outgoing)>)> =
            BTreeMap::new();
        for at in self.in_turn() {
            let queue = self.queues.get_mut(&at).expect("active queues exist");
            let idempotent = self.config.idempotence;
            let Some(size) = queue.sendable(now, &readiness, idempotent, self.identity) else {
                continue;
            };
            let Some((leader, _)) = view.leader(&at) else {
                self.stale.insert(at.topic.clone());
                continue;
            };
            let broker = self.brokers.entry(leader).or_default();
            if broker.in_flight >= self.config.in_flight_max || broker.throttled_until > now {
                continue;
            }
            let (bytes, batches) = requests.entry(leader).or_default();
            if *bytes > 0 && *bytes + size > self.config.request_bytes_max {
                continue;
            }
            *bytes += size;
            batches.push((at, queue.take(self.identity)));
        }
        for (broker, (_, batches)) in requests {
            self.brokers.entry(broker).or_default().in_flight += 1;
            actions.push(Action::Send { broker, batches });
        }
        if !self.stale.is_empty() {
            let topics = std::mem::take(&mut self.stale);
            actions.push(Action::Refresh(topics.into_iter().collect()));
        }
        actions
    }

    /// The active partitions, from another one on each time.
    fn in_turn(&mut self) -> Vec<TopicPartition> {
        let mut order: Vec<TopicPartition> = self.active.iter().cloned().collect();
        if let Some(last) = &self.rotation {
            let first = order.partition_point(|at| at <= last);
            let length = order.len().max(1);
            order.rotate_left(first % length);
        }
        self.rotation = order.first().cloned();
        order
    }

    /// Asks for an identity when one is needed, and gives a new one to those that wait for it.
    fn renew_identity(&mut self, actions: &mut Vec<Action>) {
        if !self.config.idempotence || self.active.is_empty() {
            return;
        }
        let wanted = self.active.iter().any(|at| self.queues[at].wants_new_identity(self.identity));
        if wanted {
            // As in Kafka's clients, an idempotent producer counts its epoch up by itself; the last
            // epoch is not used, the producer takes a new id instead.
            self.identity = self.identity.and_then(|identity| {
                let epoch = identity.epoch.0.checked_add(1).filter(|epoch| *epoch < i16::MAX)?;
                Some(Identity { epoch: ProducerEpoch(epoch), ..identity })
            });
        }
        let Some(identity) = self.identity else {
            if !self.identity_requested {
                self.identity_requested = true;
                actions.push(Action::InitProducerId);
            }
            return;
        };
        for at in &self.active {
            let queue = self.queues.get_mut(at).expect("active queues exist");
            queue.restart(identity);
        }
    }

    fn readiness(&self) -> Readiness {
        Readiness {
            linger: self.config.linger,
            batch_bytes: self.config.batch_bytes,
            flush_below: self.flush_below,
            hurry: self.closing || self.waiting_for_memory > 0,
        }
    }

    fn expire(&mut self, now: Instant) {
        let limit = self.config.delivery_timeout;
        for at in &self.active {
            let queue = self.queues.get_mut(at).expect("active queues exist");
            let freed_bytes = queue.expire(now, limit);
            self.buffered_bytes -= freed_bytes;
            self.freed |= freed_bytes > 0;
        }
        self.retire();
    }

    /// Takes emptied queues off the active list. They keep their numbers.
    fn retire(&mut self) {
        let queues = &self.queues;
        self.active.retain(|at| !queues[at].is_empty());
    }

    /// The answer to [`Action::InitProducerId`]: `None` when it failed and shall be asked again.
    pub(crate) fn on_identity(&mut self, identity: Option<Identity>) {
        self.identity_requested = false;
        self.identity = identity;
    }

    /// A request to `broker` is over, with a result for each of its batches.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        broker: BrokerId,
        throttled_until: Instant,
        results: Vec<(TopicPartition, u64, BatchResult)>,
    ) {
        let state = self.brokers.entry(broker).or_default();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.throttled_until = state.throttled_until.max(throttled_until);
        for (at, batch_id, result) in results {
            let Some(queue) = self.queues.get_mut(&at) else { continue };
            let attempts = queue.batches().find(|b| b.id == batch_id).map_or(1, |b| b.attempts);
            let pause = self.retry_backoff.pause(attempts, &mut self.random);
            let split_id = self.next_batch_id;
            self.next_batch_id += 2;
            let retries = self.config.retries;
            let context = ResultContext { now, pause, split_id, retries };
            let settled = queue.on_result(batch_id, result, context);
            self.buffered_bytes -= settled.freed_bytes;
            self.freed |= settled.freed_bytes > 0;
            if settled.refresh {
                self.stale.insert(at.topic);
            }
        }
        self.retire();
    }

    /// When time alone changes something.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let readiness = self.readiness();
        let timeout = self.config.delivery_timeout;
        let queues = self.active.iter().map(|at| &self.queues[at]);
        let queues = queues.filter_map(|queue| queue.next_wake(now, &readiness, timeout));
        let brokers = self.brokers.values().map(|broker| broker.throttled_until);
        queues.chain(brokers.filter(|until| *until > now)).min()
    }

    /// Makes everything that waits ready, and returns the promises to wait for.
    pub(crate) fn flush(&mut self) -> Vec<Arc<Completion>> {
        self.flush_below = self.next_batch_id;
        let queues = self.active.iter().map(|at| &self.queues[at]);
        queues
            .flat_map(|queue| queue.batches().map(|batch| Arc::clone(&batch.completion)))
            .collect()
    }

    /// No more records will come.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether nothing waits and no fate is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Fails everything that is left because the producer closes.
    pub(crate) fn abort(&mut self) {
        self.fail_all(&DeliveryError::Closed);
    }

    /// Fails everything that is left.
    pub(crate) fn fail_all(&mut self, reason: &DeliveryError) {
        for at in &self.active {
            let queue = self.queues.get_mut(at).expect("active queues exist");
            let freed_bytes = queue.fail_all(reason);
            self.buffered_bytes -= freed_bytes;
            self.freed |= freed_bytes > 0;
        }
        self.retire();
    }

    /// The topics with records under way.
    pub(crate) fn topics(&self) -> BTreeSet<StrBytes> {
        self.active.iter().map(|at| at.topic.clone()).collect()
    }

    /// Whether memory was given back since the last call.
    pub(crate) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }

    /// Bytes of records whose fate is open.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }
}
