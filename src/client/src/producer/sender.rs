//! The task that carries out what [`Core`] decides.
//!
//! It is the only one that sends: requests to one broker leave in the order of the decisions. Waits
//! for responses, metadata and producer ids in tasks of their own, which report back as [`Event`]s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{BrokerId, Instant, ProducerEpoch, ProducerId};
use protocol::StrBytes;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};
use runtime::sync::mpsc;

use super::Shared;
use super::batch::Identity;
use super::config::ProducerConfig;
use super::core::Action;
use super::encode::encode_batch;
use super::partition_queue::Outgoing;
use super::response::{SentBatch, all_failed, all_sent, hints, results};
use crate::client::{Client, TopicSet};
use crate::error::{BrokerError, ClientError, RequestError};
use crate::link::{Pending, SendOptions};
use crate::metadata::TopicPartition;

/// What the waiting tasks report.
pub(super) enum Event {
    Responded {
        broker: BrokerId,
        sent: Vec<SentBatch>,
        response: Result<Option<ProduceResponse>, RequestError>,
    },
    Identity(Result<Identity, ClientError>),
    Refreshed,
}

/// How many reports may wait; a task with one more waits itself.
pub(super) const EVENTS_MAX: usize = 256;

/// See the module.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) config: ProducerConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) report: mpsc::Sender<Event>,
    pub(super) progress: Progress,
}

/// What the sender remembers between events.
#[derive(Default)]
pub(super) struct Progress {
    /// Topics to ask for once the refresh under way is done.
    stale: BTreeSet<StrBytes>,
    refreshing: bool,
    /// Refreshes since the last acknowledged batch: the pause between them grows.
    refreshes: u32,
    identity_failures: u32,
    last_refresh: Instant,
}

impl Sender {
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            self.send_what_is_ready();
            self.refresh_if_old();
            let wake_at = {
                let core = self.shared.lock();
                if core.is_closing() && core.is_idle() {
                    break;
                }
                core.next_wake(self.client.now())
            };
            let clock = Arc::clone(&self.client.runtime().clock);
            let sleep = async move {
                match wake_at {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            runtime::select! {
                event = events.recv() => self.on_event(event.expect("the sender holds one end")),
                () = self.shared.wake.notified() => {}
                () = sleep => {}
            }
            while let Ok(event) = events.try_recv() {
                self.on_event(event);
            }
        }
        self.shared.finished.finish();
    }

    fn send_what_is_ready(&mut self) {
        loop {
            let (view, now) = (self.client.view(), self.client.now());
            let actions = self.shared.lock().poll(now, &view);
            let mut sent = false;
            for action in actions {
                match action {
                    Action::Send { broker, batches } => {
                        sent = true;
                        self.send(broker, batches);
                    }
                    Action::InitProducerId => self.init_producer_id(),
                    Action::Refresh(topics) => self.refresh(topics),
                }
            }
            if !sent {
                break;
            }
        }
        // Only when there is more room than before: who waits in vain would wake this task again.
        if self.shared.lock().take_freed() {
            self.shared.memory.notify_waiters();
        }
    }

    fn send(&mut self, broker: BrokerId, batches: Vec<(TopicPartition, Outgoing)>) {
        let sent: Vec<SentBatch> = batches
            .iter()
            .map(|(at, batch)| SentBatch { at: at.clone(), batch_id: batch.batch_id })
            .collect();
        let submitted = self.request(batches).and_then(|(request, options)| {
            self.client.submit::<ProduceRequest>(broker, request, options)
        });
        let report = self.report.clone();
        match submitted {
            Ok(pending) => {
                runtime::spawn(self.client.runtime(), "produce response", async move {
                    let response = Pending::response(pending).await;
                    // The sender is gone when the producer was closed in haste.
                    let _ = report.send(Event::Responded { broker, sent, response }).await;
                });
            }
            Err(error) => self.on_response(broker, &sent, Err(error)),
        }
    }

    fn request(
        &self,
        batches: Vec<(TopicPartition, Outgoing)>,
    ) -> Result<(ProduceRequest, SendOptions), RequestError> {
        let view = self.client.view();
        let mut options = SendOptions::within(self.client.config().request_timeout);
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        for (at, batch) in batches {
            let (compression, level) = (self.config.compression, self.config.compression_level);
            let records = encode_batch(&batch.records, batch.numbering, compression, level)?;
            let topic_id = view.topics.get(&at.topic).map(|topic| topic.id).unwrap_or_default();
            if topic_id.is_zero() {
                // Version 13 names topics by their ids alone (KIP-516).
                options.version_max = 12;
            }
            let partition = PartitionProduceData {
                index: at.partition.0,
                records: Some(records),
                ..Default::default()
            };
            match topic_data.iter_mut().find(|topic| topic.name == at.topic) {
                Some(topic) => topic.partition_data.push(partition),
                None => topic_data.push(TopicProduceData {
                    name: at.topic,
                    topic_id,
                    partition_data: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let acks = self.config.acks.wire();
        options.answered = acks != 0;
        let timeout_ms = millis(self.client.config().request_timeout);
        let request = ProduceRequest { acks, timeout_ms, topic_data, ..Default::default() };
        Ok((request, options))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Responded { broker, sent, response } => {
                self.on_response(broker, &sent, response);
            }
            Event::Identity(Ok(identity)) => {
                self.progress.identity_failures = 0;
                self.shared.lock().on_identity(Some(identity));
            }
            Event::Identity(Err(error)) => {
                self.progress.identity_failures += 1;
                tracing::warn!(%error, "obtain a producer id");
                let mut core = self.shared.lock();
                core.on_identity(None);
                if let (false, Some(reason)) = (error.is_retriable(), final_reason(&error)) {
                    core.fail_all(&reason);
                }
            }
            Event::Refreshed => {
                self.progress.refreshing = false;
                self.progress.last_refresh = self.client.now();
                let stale = std::mem::take(&mut self.progress.stale);
                if !stale.is_empty() {
                    self.refresh(stale.into_iter().collect());
                }
            }
        }
    }

    fn on_response(
        &mut self,
        broker: BrokerId,
        sent: &[SentBatch],
        response: Result<Option<ProduceResponse>, RequestError>,
    ) {
        let now = self.client.now();
        let mut throttled_until = Instant::default();
        let results = match &response {
            Ok(Some(response)) => {
                let view = self.client.view();
                let throttle = u64::try_from(response.throttle_time_ms).unwrap_or(0);
                throttled_until = now + Duration::from_millis(throttle);
                for hint in hints(response, &view) {
                    self.client.update_view(|view| {
                        view.with_leader(&hint.at, hint.leader, hint.epoch, hint.node)
                    });
                }
                self.progress.refreshes = 0;
                results(sent, response, &view, &format!("broker {broker}"))
            }
            Ok(None) => all_sent(sent),
            Err(error) => all_failed(sent, error),
        };
        self.shared.lock().on_response(now, broker, throttled_until, results);
    }

    fn refresh_if_old(&mut self) {
        let due = self.progress.last_refresh + self.client.config().metadata_max_age;
        if !self.progress.refreshing && due <= self.client.now() {
            let topics: Vec<StrBytes> = self.shared.lock().topics().into_iter().collect();
            if topics.is_empty() {
                self.progress.last_refresh = self.client.now();
            } else {
                self.refresh(topics);
            }
        }
    }

    fn refresh(&mut self, topics: Vec<StrBytes>) {
        if self.progress.refreshing {
            self.progress.stale.extend(topics);
            return;
        }
        self.progress.refreshing = true;
        let pause = self.client.retry_pause(self.progress.refreshes);
        self.progress.refreshes += 1;
        let (client, report) = (self.client.clone(), self.report.clone());
        runtime::spawn(self.client.runtime(), "producer metadata", async move {
            runtime::sleep(&*client.runtime().clock, pause).await;
            if let Err(error) = client.refresh(TopicSet::Named(topics), false).await {
                tracing::debug!(%error, "refresh metadata");
            }
            let _ = report.send(Event::Refreshed).await;
        });
    }

    fn init_producer_id(&mut self) {
        let pause = self.client.retry_pause(self.progress.identity_failures);
        let (client, report) = (self.client.clone(), self.report.clone());
        runtime::spawn(self.client.runtime(), "producer id", async move {
            runtime::sleep(&*client.runtime().clock, pause).await;
            let _ = report.send(Event::Identity(new_identity(&client).await)).await;
        });
    }
}

async fn new_identity(client: &Client) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        // The schema's default is the empty text, which brokers refuse.
        transactional_id: None,
        // Without a transactional id the time limit means nothing.
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let response: InitProducerIdResponse = client.send_any(request).await?;
    BrokerError::check(response.error_code, None)?;
    let producer_id = ProducerId(response.producer_id);
    Ok(Identity { producer_id, epoch: ProducerEpoch(response.producer_epoch) })
}

/// Why no producer id can be had, in the words of a record's outcome.
fn final_reason(error: &ClientError) -> Option<super::error::DeliveryError> {
    match error {
        ClientError::Request(error) => Some(error.clone().into()),
        ClientError::Broker(error) => Some(error.clone().into()),
        ClientError::UnknownTopic { .. }
        | ClientError::UnknownPartition { .. }
        | ClientError::TimedOut { .. } => None,
    }
}

/// A duration as a wire field carries it.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
