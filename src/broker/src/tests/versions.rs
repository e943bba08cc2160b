//! Every API answers in every version that the table of ApiVersions names.

use bytes::Bytes;
use protocol::messages as m;
use protocol::{ApiKey, Decode, Message, Request, StrBytes, frame};
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};
use runtime::{Runtime, Stream};

use super::start;
use crate::api;

/// Sends `request` in every version that is served and reads an answer to each.
async fn check<R: Request>(runtime: &Runtime, address: &str, request: impl Fn(i16) -> R) {
    let versions = api::served(R::KEY).expect("the API is served").clone();
    for version in versions.filter(|version| R::VERSIONS.contains(version)) {
        let mut stream = runtime.net.connect(address).await.unwrap();
        let response = call(&mut *stream, version, &request(version)).await;
        assert!(response.is_some(), "{:?} version {version} is not answered", R::KEY);
    }
}

/// Sends one request; nothing when the connection ends instead of an answer.
pub(super) async fn call<R: Request>(
    stream: &mut dyn Stream,
    version: i16,
    request: &R,
) -> Option<R::Response> {
    let bytes = frame::encode_request(request, version, 1, None).unwrap().concat();
    stream.write_all(&bytes).await.unwrap();
    let len = stream.read_u32().await.ok()? as usize;
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    let (_, mut body) =
        frame::decode_response_header(Bytes::from(bytes), R::KEY, version, 1 << 24).unwrap();
    Some(R::Response::decode(&mut body, version).unwrap())
}

const TOPIC: StrBytes = StrBytes::from_static("orders");

fn metadata(version: i16) -> m::MetadataRequest {
    use m::metadata_request::MetadataRequestTopic;
    let topic = MetadataRequestTopic { name: Some(TOPIC), ..Default::default() };
    let allow_auto_topic_creation = true;
    let include_topic_authorized_operations = version >= 8;
    m::MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation,
        include_topic_authorized_operations,
        ..Default::default()
    }
}

fn list_offsets(_: i16) -> m::ListOffsetsRequest {
    use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let partitions = vec![partition];
    let topic = ListOffsetsTopic { name: TOPIC, partitions, ..Default::default() };
    m::ListOffsetsRequest { topics: vec![topic], ..Default::default() }
}

fn fetch(_: i16) -> m::FetchRequest {
    m::FetchRequest { max_wait_ms: 1, session_epoch: -1, ..Default::default() }
}

fn describe_configs(_: i16) -> m::DescribeConfigsRequest {
    use m::describe_configs_request::DescribeConfigsResource;
    let resource = |resource_type, name| DescribeConfigsResource {
        resource_type,
        resource_name: StrBytes::from_static(name),
        configuration_keys: None,
        ..Default::default()
    };
    let resources = vec![resource(2, "orders"), resource(4, "1")];
    m::DescribeConfigsRequest { resources, ..Default::default() }
}

fn create_topics(version: i16) -> m::CreateTopicsRequest {
    use m::create_topics_request::CreatableTopic;
    let topic = CreatableTopic {
        name: StrBytes::from(format!("new-{version}")),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    m::CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }
}

fn delete_topics(version: i16) -> m::DeleteTopicsRequest {
    use m::delete_topics_request::DeleteTopicState;
    let name = StrBytes::from(format!("new-{version}"));
    let by_state = version >= 6;
    let state = DeleteTopicState { name: Some(name.clone()), ..Default::default() };
    m::DeleteTopicsRequest {
        topics: if by_state { vec![state] } else { Vec::new() },
        topic_names: if by_state { Vec::new() } else { vec![name] },
        timeout_ms: 1000,
        ..Default::default()
    }
}

fn init_producer_id(_: i16) -> m::InitProducerIdRequest {
    m::InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}

fn describe_log_dirs(_: i16) -> m::DescribeLogDirsRequest {
    m::DescribeLogDirsRequest { topics: None, ..Default::default() }
}

fn describe_cluster(_: i16) -> m::DescribeClusterRequest {
    m::DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() }
}

fn default<R: Message>(_: i16) -> R {
    R::default()
}

/// The APIs of groups, before and after there is a coordinator.
async fn check_groups(r: &Runtime, a: &str) {
    check::<m::HeartbeatRequest>(r, a, default).await;
    check::<m::FindCoordinatorRequest>(r, a, default).await;
    check::<m::JoinGroupRequest>(r, a, default).await;
    check::<m::SyncGroupRequest>(r, a, default).await;
    check::<m::LeaveGroupRequest>(r, a, default).await;
    check::<m::OffsetCommitRequest>(r, a, default).await;
    check::<m::OffsetFetchRequest>(r, a, default).await;
    check::<m::OffsetDeleteRequest>(r, a, default).await;
    check::<m::DescribeGroupsRequest>(r, a, default).await;
    check::<m::ListGroupsRequest>(r, a, default).await;
    check::<m::DeleteGroupsRequest>(r, a, default).await;
    check::<m::ConsumerGroupHeartbeatRequest>(r, a, default).await;
    check::<m::ConsumerGroupDescribeRequest>(r, a, default).await;
}

#[test]
fn every_version_of_every_api_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        let (r, a) = (&runtime, address.as_str());
        check(r, a, metadata).await;
        check(r, a, list_offsets).await;
        check(r, a, fetch).await;
        check(r, a, describe_configs).await;
        check(r, a, create_topics).await;
        check(r, a, delete_topics).await;
        check(r, a, init_producer_id).await;
        check(r, a, describe_log_dirs).await;
        check(r, a, describe_cluster).await;
        check::<m::DeleteRecordsRequest>(r, a, default).await;
        check::<m::OffsetForLeaderEpochRequest>(r, a, default).await;
        check::<m::AlterConfigsRequest>(r, a, default).await;
        check::<m::CreatePartitionsRequest>(r, a, default).await;
        check::<m::IncrementalAlterConfigsRequest>(r, a, default).await;
        check::<m::DescribeProducersRequest>(r, a, default).await;
        check::<m::ListConfigResourcesRequest>(r, a, default).await;
        check::<m::DescribeTopicPartitionsRequest>(r, a, default).await;
        let produce = |_| m::ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 1000,
            ..Default::default()
        };
        check(r, a, produce).await;
        check_groups(r, a).await;
        // Whoever adds an API adds it here.
        assert_eq!(api::SERVED.len(), 32, "31 above, and ApiVersions, which has tests of its own");
        assert!(api::served(ApiKey::ApiVersions).is_some());
        broker.stop().await;
    })
    .unwrap();
}
