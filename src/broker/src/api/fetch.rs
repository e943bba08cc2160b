//! Fetch: records out of partitions, at once or as soon as there are enough (long poll).
//!
//! Rules: `DelayedFetch.tryComplete` for when a parked fetch is answered, KIP-227 for sessions,
//! KIP-516 for topic ids.

use std::sync::Arc;
use std::time::Duration;

use model::Uuid;
use protocol::StrBytes;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{FetchRequest, FetchResponse};

use crate::fetch::memory::Grant;
use crate::fetch::read::{self, Answered, Limits};
use crate::fetch::{TopicKey, Wanted};
use crate::partition::{FetchWaiter, Registration};
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that names topics by id only.
const TOPIC_IDS_FROM: i16 = 13;

/// `isolation_level` of clients that read committed data only.
const READ_COMMITTED: i8 = 1;

/// Answers when `min_bytes` are there, or something can not wait, or `max_wait_ms` are over; with
/// the memory that the answer takes until it is written.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: FetchRequest,
) -> (FetchResponse, Grant) {
    let clock = &*shared.runtime.clock;
    let uses_topic_ids = context.api_version >= TOPIC_IDS_FROM;
    let fetch = match shared.fetch_sessions.open(&request, uses_topic_ids, clock.now()) {
        Ok(fetch) => fetch,
        Err(error) => {
            let response = FetchResponse { error_code: error.code(), ..Default::default() };
            return (response, Grant::default());
        }
    };
    let limits = Limits {
        max_bytes: (request.max_bytes.max(0) as usize).min(shared.config.fetch_max_bytes),
        is_read_committed: request.isolation_level == READ_COMMITTED,
        version: context.api_version,
    };
    let answered = wait_and_read(shared, context, &request, &fetch.wanted, limits).await;
    let (session_id, told) = shared.fetch_sessions.close(fetch, answered.partitions, clock.now());
    let response = FetchResponse { session_id, responses: by_topic(told), ..Default::default() };
    (response, answered.memory)
}

/// Reads until there is enough to answer.
async fn wait_and_read(
    shared: &Shared,
    context: &RequestContext,
    request: &FetchRequest,
    wanted: &[Wanted],
    limits: Limits,
) -> Answered {
    let clock = &*shared.runtime.clock;
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let deadline = context.received + max_wait;
    // More than fits into an answer can not be waited for.
    let enough = (request.min_bytes.max(0) as usize).min(limits.max_bytes);
    let is_due = |answered: &Answered| answered.bytes >= enough || answered.is_urgent;

    let memory = &shared.fetch_memory;
    let answered = read::read(&shared.registry.borrow(), memory, wanted, limits).await;
    // Where nothing is read there is nothing to wait for.
    if wanted.is_empty() || is_due(&answered) || clock.now() >= deadline {
        return answered;
    }
    // Its memory is for others while this one waits.
    drop(answered);
    loop {
        runtime::sometimes!("a fetch waits for records");
        // Parked first, then read: a record that comes between the two wakes the waiter.
        let waiter = Arc::new(FetchWaiter::default());
        let registry = shared.registry.borrow();
        let parked: Vec<Registration> = wanted
            .iter()
            .filter_map(|wanted| read::find(&registry, wanted).ok())
            .map(|partition| partition.register(&waiter))
            .collect();
        let answered = read::read(&registry, memory, wanted, limits).await;
        if is_due(&answered) || clock.now() >= deadline || shared.stopping.is_raised() {
            return answered;
        }
        drop(answered);
        runtime::select! {
            () = waiter.wait() => {}
            () = shared.stopping.wait() => {}
            () = clock.sleep_until(deadline) => {}
        }
        drop(parked);
    }
}

/// Groups neighbours of one topic, as the response's form asks.
fn by_topic(told: Vec<(Wanted, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut last: Option<TopicKey> = None;
    for (wanted, data) in told {
        if last.as_ref() != Some(&wanted.topic) {
            let (topic, topic_id) = match &wanted.topic {
                TopicKey::Name(name) => (name.clone(), Uuid::ZERO),
                TopicKey::Id(id) => (StrBytes::default(), *id),
            };
            topics.push(FetchableTopicResponse { topic, topic_id, ..Default::default() });
            last = Some(wanted.topic);
        }
        let topic = topics.last_mut().expect("a topic was pushed for this partition");
        topic.partitions.push(data);
    }
    topics
}
