//! Consumer that is told its partitions (`assign`): positions, fetching ahead, reading.
//!
//! In: partitions and where to start. Out: records, partition by partition in offset order. One
//! fetch is in flight per broker; answers wait in at most two chunks per partition, so the next
//! records come while the last are being read.
//!
//! A fetch waits at the broker only if it asks for every partition there: one that leaves out
//! partitions whose chunks are still being read would keep them waiting too, once they are
//! (KAFKA-17182).
//!
//! `assigned.rs` holds a partition's state, `session.rs` a broker's fetch session, `chunk.rs` opens
//! the record data, `fetch.rs` turns requests and responses.
//!
//! Start at [`Consumer::assign`] and [`Consumer::poll`].

mod assigned;
mod chunk;
mod config;
mod error;
mod fetch;
mod session;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{BrokerId, Instant, Offset, Timestamp};
use protocol::records::Scratch;
use protocol::{ErrorCode, StrBytes};
use runtime::sync::mpsc;

pub use chunk::{ConsumerRecord, TimestampType};
pub use config::{ConsumerConfig, OffsetReset};
pub use error::ConsumerError;

use self::assigned::{Assigned, Position};
use self::chunk::ReadRules;
use self::fetch::{Asked, fetch_request, partition_answers};
use self::session::{FetchSession, Wanted};
use crate::client::{Client, TopicSet};
use crate::error::{BrokerError, RequestError};
use crate::leaders::PerPartition;
use crate::link::SendOptions;
use crate::metadata::TopicPartition;
use crate::offsets::{ListedOffset, OffsetSpec};

/// How many answers may wait to be looked at.
const EVENTS_MAX: usize = 256;

/// The most that one batch may take once decompressed.
const BATCH_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What the waiting tasks report.
enum Event {
    Fetched {
        broker: BrokerId,
        asked: Asked,
        response: Result<Option<protocol::messages::FetchResponse>, RequestError>,
    },
    Listed {
        asked: BTreeMap<TopicPartition, u64>,
        found: PerPartition<ListedOffset>,
    },
    Refreshed,
}

#[derive(Debug, Default)]
struct Broker {
    session: FetchSession,
    in_flight: bool,
    /// The fetch in flight leaves out partitions that are full.
    is_partial: bool,
    /// It asked for a pause (KIP-219), or did not answer.
    not_before: Instant,
    /// The last partial fetch found nothing: no other one before this moment.
    no_partial_before: Instant,
    failures: u32,
}

/// What to fetch from one broker now.
#[derive(Debug, Default)]
struct Round {
    wanted: BTreeMap<TopicPartition, Wanted>,
    /// Others are full.
    is_partial: bool,
}

/// Reads assigned partitions.
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    assigned: BTreeMap<TopicPartition, Assigned>,
    brokers: BTreeMap<BrokerId, Broker>,
    report: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    scratch: Scratch,
    /// Topics whose leaders are unknown or doubtful.
    stale: BTreeSet<StrBytes>,
    refreshing: bool,
    refreshes: u32,
    last_refresh: Instant,
    listing: bool,
    next_generation: u64,
    /// Which partition the last poll began with.
    turn: Option<TopicPartition>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("assigned", &self.assigned)
            .field("brokers", &self.brokers)
            .field("listing", &self.listing)
            .field("stale", &self.stale)
            .field("refreshing", &self.refreshing)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer without partitions.
    pub fn new(client: &Client, config: ConsumerConfig) -> Consumer {
        let (report, events) = mpsc::channel(EVENTS_MAX);
        Consumer {
            client: client.clone(),
            config,
            assigned: BTreeMap::new(),
            brokers: BTreeMap::new(),
            report,
            events,
            scratch: Scratch::new(),
            stale: BTreeSet::new(),
            refreshing: false,
            refreshes: 0,
            last_refresh: client.now(),
            listing: false,
            next_generation: 0,
            turn: None,
        }
    }

    /// Reads `partitions` from now on and nothing else. Those that were assigned already keep their
    /// positions; new ones start where `auto.offset.reset` says, at the end when it says nothing.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let start = match self.config.offset_reset {
            OffsetReset::Earliest => OffsetSpec::Earliest,
            OffsetReset::Latest | OffsetReset::Error => OffsetSpec::Latest,
        };
        let mut old = std::mem::take(&mut self.assigned);
        for at in partitions {
            let kept = old.remove(&at);
            let assigned = kept.unwrap_or_else(|| {
                let mut fresh = Assigned::new(Position::Unknown(start));
                // Unlike any an earlier assignment of the same partition had.
                self.next_generation += 1 << 32;
                fresh.generation = self.next_generation;
                fresh
            });
            self.assigned.insert(at, assigned);
        }
    }

    /// The assigned partitions.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys()
    }

    fn assigned(&mut self, at: &TopicPartition) -> Result<&mut Assigned, ConsumerError> {
        self.assigned.get_mut(at).ok_or_else(|| ConsumerError::NotAssigned { at: at.clone() })
    }

    /// Goes on at `offset`.
    pub fn seek(&mut self, at: &TopicPartition, offset: Offset) -> Result<(), ConsumerError> {
        self.assigned(at)?.seek(Position::At(offset));
        Ok(())
    }

    /// Goes on at the first record there is.
    pub fn seek_to_beginning(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.assigned(at)?.seek(Position::Unknown(OffsetSpec::Earliest));
        Ok(())
    }

    /// Goes on behind the last record there is when the lookup is made.
    pub fn seek_to_end(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.assigned(at)?.seek(Position::Unknown(OffsetSpec::Latest));
        Ok(())
    }

    /// Goes on at the first record that is not older than `time`; at the end when all are.
    pub fn seek_to_time(
        &mut self,
        at: &TopicPartition,
        time: Timestamp,
    ) -> Result<(), ConsumerError> {
        self.assigned(at)?.seek(Position::Unknown(OffsetSpec::At(time)));
        Ok(())
    }

    /// The offset of the next record of `at`; `None` while it is not looked up yet.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        match self.assigned.get(at)?.position {
            Position::At(offset) => Some(offset),
            Position::Unknown(_) => None,
        }
    }

    /// The end of `at` for this consumer's isolation level, as the last fetch showed it.
    pub fn end(&self, at: &TopicPartition) -> Option<Offset> {
        let assigned = self.assigned.get(at)?;
        match self.config.isolation {
            crate::offsets::IsolationLevel::ReadUncommitted => assigned.high_watermark,
            crate::offsets::IsolationLevel::ReadCommitted => assigned.last_stable_offset,
        }
    }

    /// The beginning of `at`, as the last fetch showed it.
    pub fn log_start(&self, at: &TopicPartition) -> Option<Offset> {
        self.assigned.get(at)?.log_start
    }

    /// Hands out nothing of `at` until [`Consumer::resume`].
    pub fn pause(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.assigned(at)?.paused = true;
        Ok(())
    }

    /// Undoes [`Consumer::pause`].
    pub fn resume(&mut self, at: &TopicPartition) -> Result<(), ConsumerError> {
        self.assigned(at)?.paused = false;
        Ok(())
    }

    /// The next records, at most `max.poll.records`; none when `limit` passes without any.
    ///
    /// After an error the other partitions can be read on; the failed one is tried again.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        let deadline = self.client.now() + limit;
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.on_event(event);
            }
            let records = self.take_records()?;
            self.ask();
            if !records.is_empty() {
                return Ok(records);
            }
            let now = self.client.now();
            if now >= deadline {
                return Ok(records);
            }
            let wake = self.next_wake(now).map_or(deadline, |wake| wake.min(deadline));
            let clock = Arc::clone(&self.client.runtime().clock);
            runtime::select! {
                event = self.events.recv() => {
                    self.on_event(event.expect("the consumer holds a sender itself"));
                }
                () = clock.sleep_until(wake) => {}
            }
        }
    }

    /// What was fetched, from another partition on each time.
    fn take_records(&mut self) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        let has_news = self.assigned.iter().filter(|(_, assigned)| assigned.has_news());
        let mut order: Vec<TopicPartition> = has_news.map(|(at, _)| at.clone()).collect();
        if let Some(last) = &self.turn {
            let first = order.partition_point(|at| at <= last);
            let length = order.len().max(1);
            order.rotate_left(first % length);
        }
        let rules =
            ReadRules { check_crcs: self.config.check_crcs, batch_bytes_max: BATCH_BYTES_MAX };
        let mut records = Vec::new();
        for at in order {
            let room = self.config.poll_records_max - records.len();
            if room == 0 {
                break;
            }
            let assigned = self.assigned.get_mut(&at).expect("it was just listed");
            let before = records.len();
            let read = read_partition(assigned, &at, room, rules, &mut self.scratch, &mut records);
            if records.len() > before {
                self.turn = Some(at);
            }
            match read {
                Ok(()) => {}
                // What was read before comes first; the error is still there at the next poll.
                Err(error) if !records.is_empty() => {
                    assigned.error = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Starts all lookups and fetches that can be started now.
    fn ask(&mut self) {
        let now = self.client.now();
        self.look_up(now);
        self.fetch(now);
        let due = self.last_refresh + self.client.config().metadata_max_age;
        if due <= now {
            self.stale.extend(self.assigned.keys().map(|at| at.topic.clone()));
        }
        self.refresh();
    }

    fn look_up(&mut self, now: Instant) {
        if self.listing {
            return;
        }
        let wanted = self.assigned.iter().filter_map(|(at, assigned)| {
            Some((at.clone(), (assigned.wants_lookup(now)?, assigned.generation)))
        });
        let wanted: BTreeMap<_, _> = wanted.collect();
        if wanted.is_empty() {
            return;
        }
        self.listing = true;
        let asked = wanted.iter().map(|(at, (_, generation))| (at.clone(), *generation)).collect();
        let specs = wanted.into_iter().map(|(at, (spec, _))| (at, spec)).collect();
        let (client, report) = (self.client.clone(), self.report.clone());
        let isolation = self.config.isolation;
        runtime::spawn(self.client.runtime(), "consumer positions", async move {
            let found = client.list_offsets(&specs, isolation).await;
            // The consumer is gone when nobody listens.
            let _ = report.send(Event::Listed { asked, found }).await;
        });
    }

    fn fetch(&mut self, now: Instant) {
        let view = self.client.view();
        let is_free = |id| {
            self.brokers.get(id).is_none_or(|broker| !broker.in_flight && broker.not_before <= now)
        };
        // Most polls find a fetch on its way to every broker there is.
        if !view.brokers.is_empty() && !view.brokers.keys().any(is_free) {
            return;
        }
        let mut by_broker: BTreeMap<BrokerId, Round> = BTreeMap::new();
        for (at, assigned) in &self.assigned {
            let wanted = assigned.wants_fetch(now);
            if wanted.is_none() && !assigned.is_full() {
                continue;
            }
            let Some((leader, leader_epoch)) = view.leader(at) else {
                self.stale.insert(at.topic.clone());
                continue;
            };
            let replica = assigned.read_replica.filter(|id| view.brokers.contains_key(id));
            let round = by_broker.entry(replica.unwrap_or(leader)).or_default();
            let Some(offset) = wanted else {
                round.is_partial = true;
                continue;
            };
            let topic_id = view.topics.get(&at.topic).map(|topic| topic.id).unwrap_or_default();
            let bytes_max = self.config.partition_fetch_bytes_max;
            let wanted = Wanted { topic_id, offset, leader_epoch, bytes_max };
            round.wanted.insert(at.clone(), wanted);
        }
        for (id, round) in by_broker {
            let broker = self.brokers.entry(id).or_default();
            let is_early = round.is_partial && broker.no_partial_before > now;
            if broker.in_flight || broker.not_before > now || is_early || round.wanted.is_empty() {
                continue;
            }
            broker.in_flight = true;
            broker.is_partial = round.is_partial;
            self.send_fetch(id, round);
        }
    }

    fn send_fetch(&mut self, id: BrokerId, round: Round) {
        let mut asked = Asked::new();
        for (at, wanted) in &round.wanted {
            asked.insert(at.clone(), (self.assigned[at].generation, *wanted));
        }
        let broker = self.brokers.entry(id).or_default();
        let session = broker.session.build(round.wanted);
        let wait_max = if round.is_partial { Duration::ZERO } else { self.config.fetch_wait_max };
        let limit = self.client.config().request_timeout + self.config.fetch_wait_max;
        let mut options = SendOptions::within(limit);
        if asked.values().any(|(_, wanted)| wanted.topic_id.is_zero()) {
            // Version 13 names topics by their ids alone (KIP-516).
            options.version_max = 12;
        }
        let request = fetch_request(&self.config, session, wait_max);
        match self.client.submit(id, request, options) {
            Ok(pending) => {
                let report = self.report.clone();
                runtime::spawn(self.client.runtime(), "fetch response", async move {
                    let response = pending.response().await;
                    let _ = report.send(Event::Fetched { broker: id, asked, response }).await;
                });
            }
            Err(error) => self.on_fetched(id, &asked, Err(error)),
        }
    }

    fn refresh(&mut self) {
        if self.refreshing || self.stale.is_empty() {
            return;
        }
        self.refreshing = true;
        let topics = std::mem::take(&mut self.stale).into_iter().collect();
        let pause = self.client.retry_pause(self.refreshes);
        self.refreshes = self.refreshes.saturating_add(1);
        let (client, report) = (self.client.clone(), self.report.clone());
        runtime::spawn(self.client.runtime(), "consumer metadata", async move {
            runtime::sleep(&*client.runtime().clock, pause).await;
            if let Err(error) = client.refresh(TopicSet::Named(topics), false).await {
                tracing::debug!(%error, "refresh metadata");
            }
            let _ = report.send(Event::Refreshed).await;
        });
    }

    /// When time alone changes something.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let partitions = self.assigned.values().map(|assigned| assigned.not_before);
        let brokers = self.brokers.values();
        let brokers = brokers.flat_map(|broker| [broker.not_before, broker.no_partial_before]);
        partitions.chain(brokers).filter(|wake| *wake > now).min()
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Fetched { broker, asked, response } => {
                self.on_fetched(broker, &asked, response);
            }
            Event::Listed { asked, found } => self.on_listed(&asked, found),
            Event::Refreshed => {
                self.refreshing = false;
                self.last_refresh = self.client.now();
            }
        }
    }

    fn on_listed(
        &mut self,
        asked: &BTreeMap<TopicPartition, u64>,
        found: PerPartition<ListedOffset>,
    ) {
        self.listing = false;
        for (at, result) in found {
            let Some(assigned) = self.assigned.get_mut(&at) else { continue };
            if asked.get(&at) != Some(&assigned.generation) {
                continue;
            }
            match result {
                Ok(ListedOffset { offset: Some(offset), .. }) => {
                    assigned.seek(Position::At(offset));
                }
                // No record is that young: what comes next is.
                Ok(ListedOffset { offset: None, .. }) => {
                    assigned.seek(Position::Unknown(OffsetSpec::Latest));
                }
                Err(source) => assigned.error = Some(ConsumerError::Lookup { at, source }),
            }
        }
    }

    fn on_fetched(
        &mut self,
        id: BrokerId,
        asked: &Asked,
        response: Result<Option<protocol::messages::FetchResponse>, RequestError>,
    ) {
        let now = self.client.now();
        let broker = self.brokers.entry(id).or_default();
        broker.in_flight = false;
        let response = match response {
            Ok(Some(response)) => response,
            Ok(None) => return broker.session.on_failure(),
            Err(error) => {
                tracing::debug!(broker = %id, %error, "fetch");
                broker.session.on_failure();
                broker.failures = broker.failures.saturating_add(1);
                broker.not_before = now + self.client.retry_pause(broker.failures);
                self.on_lost_fetch(asked, error);
                return;
            }
        };
        let code = ErrorCode::from_code(response.error_code);
        broker.session.on_response(code, response.session_id);
        broker.failures = 0;
        let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
        broker.not_before = now + Duration::from_millis(throttle);
        if code.is_error() {
            tracing::debug!(broker = %id, error = %code, "fetch");
            // The session is dropped; the next request names everything.
            broker.failures = 1;
            broker.not_before = now + self.client.retry_pause(1);
            if code.invalidates_metadata() || code == ErrorCode::FetchSessionTopicIdError {
                self.stale.extend(asked.keys().map(|at| at.topic.clone()));
            }
            return;
        }
        self.refreshes = 0;
        let answers = partition_answers(asked, response, self.config.isolation);
        if broker.is_partial && answers.iter().all(|answer| answer.chunk.is_none()) {
            broker.no_partial_before = now + self.config.fetch_wait_max;
        }
        for answer in answers {
            self.on_partition(asked, answer, now);
        }
    }

    fn on_lost_fetch(&mut self, asked: &Asked, error: RequestError) {
        for (at, (generation, _)) in asked {
            self.stale.insert(at.topic.clone());
            let Some(assigned) = self.assigned.get_mut(at) else { continue };
            assigned.read_replica = None;
            if !error.is_retriable() && assigned.generation == *generation {
                let source = error.clone().into();
                assigned.error = Some(ConsumerError::Lookup { at: at.clone(), source });
            }
        }
    }

    fn on_partition(&mut self, asked: &Asked, answer: fetch::PartitionAnswer, now: Instant) {
        let at = answer.at.clone();
        let (Some((generation, wanted)), Some(assigned)) =
            (asked.get(&at), self.assigned.get_mut(&at))
        else {
            return;
        };
        if let Some((leader, epoch, node)) = answer.leader {
            self.client.update_view(|view| view.with_leader(&at, leader, epoch, node));
        }
        if assigned.generation != *generation || assigned.fetch_offset != wanted.offset {
            return;
        }
        if let Some(replica) = answer.read_replica {
            assigned.read_replica = Some(replica);
            return;
        }
        match answer.error {
            ErrorCode::None => {
                assigned.high_watermark = answer.high_watermark.or(assigned.high_watermark);
                assigned.last_stable_offset =
                    answer.last_stable_offset.or(assigned.last_stable_offset);
                assigned.log_start = answer.log_start.or(assigned.log_start);
                if let Some(chunk) = answer.chunk {
                    assigned.on_chunk(chunk);
                }
            }
            ErrorCode::OffsetOutOfRange => {
                self.on_out_of_range(&at, wanted.offset, answer.log_start, now);
            }
            code if code.is_retriable() && code != ErrorCode::CorruptMessage => {
                assigned.hold_off(now + self.client.retry_pause(assigned.failures + 1));
                if code.invalidates_metadata() || code == ErrorCode::UnknownLeaderEpoch {
                    self.stale.insert(at.topic);
                }
            }
            code => {
                let source = BrokerError { code, message: None };
                assigned.hold_off(now + self.client.retry_pause(assigned.failures + 1));
                assigned.error = Some(ConsumerError::Refused { at, source });
            }
        }
    }

    fn on_out_of_range(
        &mut self,
        at: &TopicPartition,
        offset: Offset,
        log_start: Option<Offset>,
        now: Instant,
    ) {
        let assigned = self.assigned.get_mut(at).expect("the caller looked it up");
        // A follower may not have it yet; the leader decides.
        let from_follower = assigned.read_replica.take().is_some();
        if from_follower || !assigned.chunks.is_empty() {
            return assigned.hold_off(now + self.client.retry_pause(1));
        }
        match self.config.offset_reset {
            OffsetReset::Earliest => assigned.seek(Position::Unknown(OffsetSpec::Earliest)),
            OffsetReset::Latest => assigned.seek(Position::Unknown(OffsetSpec::Latest)),
            OffsetReset::Error => {
                let at = at.clone();
                assigned.hold_off(now + self.client.retry_pause(1));
                assigned.error = Some(ConsumerError::OffsetOutOfRange { at, offset, log_start });
            }
        }
    }
}

/// Moves up to `room` records of one partition into `records`.
fn read_partition(
    assigned: &mut Assigned,
    at: &TopicPartition,
    room: usize,
    rules: ReadRules,
    scratch: &mut Scratch,
    records: &mut Vec<ConsumerRecord>,
) -> Result<(), ConsumerError> {
    if let Some(error) = assigned.error.take() {
        return Err(error);
    }
    let end = records.len() + room;
    while records.len() < end {
        let Some(chunk) = assigned.chunks.front_mut() else { break };
        match chunk.next(rules, scratch) {
            Ok(Some(record)) => {
                assigned.position = Position::At(record.offset.next());
                records.push(record);
            }
            Ok(None) => {
                assigned.position = Position::At(chunk.next_offset());
                assigned.chunks.pop_front();
            }
            Err(source) => {
                let Position::At(offset) = assigned.position else {
                    unreachable!("chunks are only fetched for known positions");
                };
                assigned.seek(Position::At(offset));
                return Err(ConsumerError::Corrupt { at: at.clone(), offset, source });
            }
        }
    }
    Ok(())
}
