//! One file per Kafka API, and the table of what is served.

pub(crate) mod api_versions;
pub(crate) mod delete_records;
pub(crate) mod describe_producers;
pub(crate) mod fetch;
pub(crate) mod list_offsets;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;

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
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::DescribeProducers, 0..=0),
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
