//! FindCoordinator: which broker has a group (KIP-699 for many at once).
//!
//! The topic that groups are kept in is created when the first one is looked for.

use metadata::Image;
use metadata::controller::{ControllerError, NewTopic};
use protocol::messages::find_coordinator_response::Coordinator;
use protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::{ErrorCode, StrBytes};

use crate::groups::{OFFSETS_TOPIC, partition_of};
use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that asks for many keys.
const KEYS_FROM: i16 = 4;

/// What a key is (`FindCoordinatorRequest.CoordinatorType`).
mod key_type {
    pub(super) const GROUP: i8 = 0;
    pub(super) const TRANSACTION: i8 = 1;
}

/// Why there is no coordinator.
type Missing = (ErrorCode, String);

/// Finds the coordinator of each key.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let is_batch = context.api_version >= KEYS_FROM;
    let keys = if is_batch { request.coordinator_keys } else { vec![request.key] };
    let topic = match request.key_type {
        key_type::GROUP => ensure_topic(shared).await,
        key_type::TRANSACTION => Err((
            ErrorCode::TransactionalIdAuthorizationFailed,
            "klamm has no transactions yet".to_owned(),
        )),
        other => {
            Err((ErrorCode::InvalidRequest, format!("there are no coordinators of type {other}")))
        }
    };
    let image = shared.applied_image();
    let found = |key: StrBytes| {
        let place = topic.clone().and_then(|()| find(&image, context, &key));
        answer(key, place)
    };
    let coordinators: Vec<Coordinator> = keys.into_iter().map(found).collect();
    if is_batch {
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let only = coordinators.into_iter().next().expect("there is one key");
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    }
}

/// Node id, host and port.
type Place = (i32, StrBytes, i32);

fn find(image: &Image, context: &RequestContext, group: &str) -> Result<Place, Missing> {
    let missing = |text: &str| (ErrorCode::CoordinatorNotAvailable, text.to_owned());
    let partition = partition_of(image, group)
        .and_then(|index| image.topic(OFFSETS_TOPIC)?.partition(index))
        .ok_or_else(|| missing("the offsets topic is not there yet"))?;
    let leader = image.broker(partition.leader).filter(|broker| image.is_live(broker.id));
    let leader = leader.ok_or_else(|| missing("the group's partition has no leader now"))?;
    let endpoint = leader
        .endpoint(&context.connection.listener)
        .ok_or_else(|| missing("the coordinator can not be reached by this listener"))?;
    Ok((leader.id.0, StrBytes::from(&*endpoint.host), i32::from(endpoint.port)))
}

fn answer(key: StrBytes, place: Result<Place, Missing>) -> Coordinator {
    match place {
        Ok((node_id, host, port)) => Coordinator { key, node_id, host, port, ..Default::default() },
        Err((error, text)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: Some(StrBytes::from(text)),
            ..Default::default()
        },
    }
}

/// Creates the offsets topic if it is not there.
async fn ensure_topic(shared: &Shared) -> Result<(), Missing> {
    let image = shared.applied_image();
    if image.topic(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    let created = shared.controller.create_topics(vec![offsets_topic(shared, &image)], false).await;
    let created =
        created.map_err(|error| (ErrorCode::CoordinatorNotAvailable, error.to_string()))?;
    shared.wait_applied(created.offset).await;
    match created.outcome.into_iter().next() {
        // Another client was first.
        Some(Ok(_) | Err(ControllerError::TopicExists { .. })) => Ok(()),
        Some(Err(error)) => {
            tracing::warn!(%error, "create {OFFSETS_TOPIC}");
            let text = format!("{OFFSETS_TOPIC} can not be created: {error}");
            Err((ErrorCode::CoordinatorNotAvailable, text))
        }
        None => unreachable!("the controller answers every topic"),
    }
}

/// As Kafka makes it (`GroupCoordinatorService.groupMetadataTopicConfigs`), except that a cluster of
/// fewer brokers than the default replication factor gets as many replicas as it has brokers, unless
/// the factor was given.
fn offsets_topic(shared: &Shared, image: &Image) -> NewTopic {
    const REPLICATION_FACTOR: usize = 3;
    let groups = &shared.config.groups;
    let live = image.live_brokers().count().clamp(1, REPLICATION_FACTOR);
    let factor = groups.offsets_topic_replication_factor;
    let config = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partition_count: groups.offsets_topic_num_partitions,
        replication_factor: factor
            .unwrap_or_else(|| i16::try_from(live).expect("it is three at most")),
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact"),
            config("compression.type", "producer"),
            config("segment.bytes", &groups.offsets_topic_segment_bytes.to_string()),
        ],
    }
}
