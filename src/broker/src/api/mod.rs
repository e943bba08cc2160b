//! One file per Kafka API, and the table of what is served.

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
mod item;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;

use std::ops::RangeInclusive;

use protocol::{ApiKey, ErrorCode};
use storage::StorageError;

/// The APIs served, with their versions; what ApiVersions tells clients.
pub(crate) const SERVED: &[(ApiKey, RangeInclusive<i16>)] = &[
    // Versions 0 to 2 carry message formats that nobody writes any more, but old clients look for
    // them in the table before they pick a newer one (KAFKA-18659).
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=11),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::OffsetCommit, 2..=10),
    (ApiKey::OffsetFetch, 1..=10),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::DescribeGroups, 0..=6),
    (ApiKey::ListGroups, 0..=5),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 0..=7),
    (ApiKey::DeleteTopics, 0..=6),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::DescribeConfigs, 0..=4),
    (ApiKey::AlterConfigs, 0..=2),
    (ApiKey::DescribeLogDirs, 1..=5),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::DeleteGroups, 0..=2),
    (ApiKey::IncrementalAlterConfigs, 0..=1),
    (ApiKey::OffsetDelete, 0..=0),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeProducers, 0..=0),
    (ApiKey::ConsumerGroupHeartbeat, 0..=1),
    (ApiKey::ConsumerGroupDescribe, 0..=1),
    (ApiKey::ListConfigResources, 0..=1),
    (ApiKey::DescribeTopicPartitions, 0..=0),
];

/// The versions of `api` that are served, if any.
pub(crate) fn served(api: ApiKey) -> Option<&'static RangeInclusive<i16>> {
    SERVED.iter().find(|(key, _)| *key == api).map(|(_, versions)| versions)
}

/// What a client is told when a log takes no change.
pub(crate) fn storage_error_code(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::Offline { .. }
        | StorageError::DiskFull { .. }
        | StorageError::Corrupt { .. } => ErrorCode::KafkaStorageError,
    }
}

/// The response of a shard to one kind of request.
macro_rules! response_of {
    ($shared:expr, $context:expr, $group:expr, $kind:ident($request:expr)) => {{
        let image = $shared.applied_image();
        let request = coordinator::Request::$kind($request);
        match $shared.groups.call(&image, $context, $group, request).await {
            Ok(coordinator::Response::$kind(response)) => Ok(response),
            Ok(other) => unreachable!("a shard answers what it was asked, not {other:?}"),
            Err(error) => Err(error),
        }
    }};
}
use response_of;

/// What stands for "not asked for" where a response lists operations (KIP-430).
pub(crate) const NO_OPERATIONS: i32 = i32::MIN;

/// What a client may do with a topic, as a bit per `AclOperation`; without an authorizer, everything
/// that makes sense: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) fn topic_operations(asked: bool) -> i32 {
    if asked { bits(&[3, 4, 5, 6, 7, 8, 10, 11]) } else { NO_OPERATIONS }
}

/// The same for the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS,
/// IDEMPOTENT_WRITE.
pub(crate) fn cluster_operations(asked: bool) -> i32 {
    if asked { bits(&[5, 7, 8, 9, 10, 11, 12]) } else { NO_OPERATIONS }
}

/// The same for a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) fn group_operations(asked: bool) -> i32 {
    if asked { bits(&[3, 6, 8, 10, 11]) } else { NO_OPERATIONS }
}

fn bits(operations: &[u8]) -> i32 {
    operations.iter().fold(0, |bits, operation| bits | 1 << operation)
}
