//! From a frame to the handler of its API, and from the handler's response to a frame.
//!
//! In: one request frame. Out: an [`Answer`]. This is the one place that knows which module of
//! [`crate::api`] serves which API key.
//!
//! Rules (Kafka's `RequestContext`, `ApiVersionsRequest`): an unknown API or version ends the
//! connection, except that ApiVersions in an unknown version is answered in version 0 with error 35
//! (KIP-511); Produce with acks=0 has no answer, and an error there ends the connection.

use std::sync::Arc;

use bytes::Bytes;
use model::Instant;
use protocol::records::Scratch;
use protocol::{ApiKey, Decode, Reader, frame, messages as m};
use runtime::BoxFuture;

use crate::api;
use crate::fetch::memory::Grant;
use crate::request::{ConnectionInfo, RequestContext};
use crate::shared::Shared;

/// What goes back to the client.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A response frame, length prefix included, in chunks; with the memory that it takes.
    Frame(Vec<Bytes>, Grant),
    /// Nothing: acks=0.
    None,
    /// Nothing, and the connection ends, for the reason given.
    Close(String),
}

/// A request whose header has been read.
pub(crate) struct OpenRequest {
    pub(crate) context: RequestContext,
    body: Reader,
    /// ApiVersions in a version from the future.
    unknown_api_versions: bool,
}

/// A frame that is no request this broker serves.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Header(#[from] frame::HeaderError),
    #[error("{api:?} version {version} is not served: {min} to {max} are")]
    Version { api: ApiKey, version: i16, min: i16, max: i16 },
    #[error("{0:?} is not served")]
    NotServed(ApiKey),
}

/// Reads the header of the request in `bytes`.
pub(crate) fn open(
    connection: &Arc<ConnectionInfo>,
    bytes: Bytes,
    received: Instant,
) -> Result<OpenRequest, OpenError> {
    let frame = frame::decode_request_header(bytes)?;
    let (api, version) = (frame.api_key, frame.api_version);
    let range = api::served(api).ok_or(OpenError::NotServed(api))?;
    let served = range.contains(&version);
    if !served && api != ApiKey::ApiVersions {
        let (min, max) = (*range.start(), *range.end());
        return Err(OpenError::Version { api, version, min, max });
    }
    let context = RequestContext {
        api_key: api,
        api_version: if served { version } else { 0 },
        correlation_id: frame.correlation_id,
        client_id: frame.client_id,
        connection: Arc::clone(connection),
        received,
    };
    Ok(OpenRequest { context, body: frame.body, unknown_api_versions: !served })
}

/// Hands a Produce request to its partitions; the future returned waits for what they say.
pub(crate) async fn submit_produce(
    shared: Arc<Shared>,
    mut request: OpenRequest,
    scratch: &mut Scratch,
) -> BoxFuture<'static, Answer> {
    let context = request.context;
    let body = match m::ProduceRequest::decode(&mut request.body, context.api_version) {
        Ok(body) => body,
        Err(error) => {
            let reason = malformed(&context, &error);
            return Box::pin(async move { Answer::Close(reason) });
        }
    };
    let submitted = api::produce::submit(&shared, &context, body, scratch).await;
    Box::pin(async move {
        let is_unacknowledged = submitted.is_unacknowledged();
        let response = submitted.finish(&*shared.runtime.clock).await;
        if !is_unacknowledged {
            return encode(&context, &response);
        }
        match api::produce::first_error(&response) {
            None => Answer::None,
            Some(error) => Answer::Close(format!("Produce with acks=0: {error}")),
        }
    })
}

/// Answers one request from beginning to end.
pub(crate) fn answer(shared: Arc<Shared>, mut request: OpenRequest) -> BoxFuture<'static, Answer> {
    macro_rules! serve {
        ($module:ident, $request:ident) => {
            Box::pin(async move {
                let context = request.context;
                match m::$request::decode(&mut request.body, context.api_version) {
                    Ok(body) => {
                        let response = api::$module::handle(&shared, &context, body).await;
                        encode(&context, &response)
                    }
                    Err(error) => Answer::Close(malformed(&context, &error)),
                }
            })
        };
    }
    match request.context.api_key {
        ApiKey::Produce => Box::pin(async move {
            let mut scratch = Scratch::new();
            submit_produce(shared, request, &mut scratch).await.await
        }),
        ApiKey::ApiVersions if request.unknown_api_versions => Box::pin(async move {
            let response = api::api_versions::unsupported_version();
            encode(&request.context, &response)
        }),
        ApiKey::ApiVersions => serve!(api_versions, ApiVersionsRequest),
        ApiKey::Fetch => fetch(shared, request),
        ApiKey::ListOffsets => serve!(list_offsets, ListOffsetsRequest),
        ApiKey::Metadata => serve!(metadata, MetadataRequest),
        ApiKey::CreateTopics => serve!(create_topics, CreateTopicsRequest),
        ApiKey::DeleteTopics => serve!(delete_topics, DeleteTopicsRequest),
        ApiKey::DeleteRecords => serve!(delete_records, DeleteRecordsRequest),
        ApiKey::InitProducerId => serve!(init_producer_id, InitProducerIdRequest),
        ApiKey::OffsetForLeaderEpoch => {
            serve!(offset_for_leader_epoch, OffsetForLeaderEpochRequest)
        }
        ApiKey::FindCoordinator => serve!(find_coordinator, FindCoordinatorRequest),
        ApiKey::JoinGroup => serve!(join_group, JoinGroupRequest),
        ApiKey::SyncGroup => serve!(sync_group, SyncGroupRequest),
        ApiKey::Heartbeat => serve!(heartbeat, HeartbeatRequest),
        ApiKey::LeaveGroup => serve!(leave_group, LeaveGroupRequest),
        ApiKey::OffsetCommit => serve!(offset_commit, OffsetCommitRequest),
        ApiKey::OffsetFetch => serve!(offset_fetch, OffsetFetchRequest),
        ApiKey::OffsetDelete => serve!(offset_delete, OffsetDeleteRequest),
        ApiKey::DescribeGroups => serve!(describe_groups, DescribeGroupsRequest),
        ApiKey::ListGroups => serve!(list_groups, ListGroupsRequest),
        ApiKey::DeleteGroups => serve!(delete_groups, DeleteGroupsRequest),
        ApiKey::ConsumerGroupHeartbeat => {
            serve!(consumer_group_heartbeat, ConsumerGroupHeartbeatRequest)
        }
        ApiKey::ConsumerGroupDescribe => {
            serve!(consumer_group_describe, ConsumerGroupDescribeRequest)
        }
        ApiKey::DescribeConfigs => serve!(describe_configs, DescribeConfigsRequest),
        ApiKey::AlterConfigs => serve!(alter_configs, AlterConfigsRequest),
        ApiKey::DescribeLogDirs => serve!(describe_log_dirs, DescribeLogDirsRequest),
        ApiKey::CreatePartitions => serve!(create_partitions, CreatePartitionsRequest),
        ApiKey::IncrementalAlterConfigs => {
            serve!(incremental_alter_configs, IncrementalAlterConfigsRequest)
        }
        ApiKey::DescribeCluster => serve!(describe_cluster, DescribeClusterRequest),
        ApiKey::DescribeProducers => serve!(describe_producers, DescribeProducersRequest),
        ApiKey::ListConfigResources => serve!(list_config_resources, ListConfigResourcesRequest),
        ApiKey::DescribeTopicPartitions => {
            serve!(describe_topic_partitions, DescribeTopicPartitionsRequest)
        }
        // `open` lets through only what `api::served` lists.
        other => Box::pin(async move { Answer::Close(format!("{other:?} is not served")) }),
    }
}

fn fetch(shared: Arc<Shared>, mut request: OpenRequest) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let context = request.context;
        let body = match m::FetchRequest::decode(&mut request.body, context.api_version) {
            Ok(body) => body,
            Err(error) => return Answer::Close(malformed(&context, &error)),
        };
        let (response, memory) = api::fetch::handle(&shared, &context, body).await;
        match encode(&context, &response) {
            Answer::Frame(chunks, _) => Answer::Frame(chunks, memory),
            other => other,
        }
    })
}

fn encode(context: &RequestContext, response: &impl protocol::Message) -> Answer {
    let (key, version) = (context.api_key, context.api_version);
    match frame::encode_response(response, key, version, context.correlation_id) {
        Ok(chunks) => Answer::Frame(chunks, Grant::default()),
        Err(error) => {
            // A response that its version can not carry is our own bug; the client must not wait.
            tracing::error!(?key, version, %error, "encode response");
            Answer::Close(format!("{key:?} response: {error}"))
        }
    }
}

fn malformed(context: &RequestContext, error: &protocol::DecodeError) -> String {
    let (key, version) = (context.api_key, context.api_version);
    tracing::warn!(
        peer = %context.connection.peer,
        client_id = context.client_id.as_deref(),
        ?key,
        version,
        %error,
        "malformed request"
    );
    format!("malformed {key:?} request: {error}")
}
