//! ApiVersions: which APIs this broker serves, in which versions (KIP-511, KIP-584).

use protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ErrorCode, StrBytes};

use super::SERVED;
use crate::controller::FEATURES;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers with the table, or INVALID_REQUEST when the client's name for itself is malformed.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let named = context.api_version >= 3;
    let names = [&request.client_software_name, &request.client_software_version];
    if named && !names.iter().all(|name| is_software_name(name)) {
        let error_code = ErrorCode::InvalidRequest.code();
        return ApiVersionsResponse { error_code, ..Default::default() };
    }
    let image = shared.applied_image();
    ApiVersionsResponse {
        api_keys: table(),
        supported_features: supported_features(context.api_version),
        finalized_features_epoch: image.features_epoch(),
        finalized_features: image
            .features()
            .iter()
            .map(|(name, level)| finalized(name, *level))
            .collect(),
        ..Default::default()
    }
}

/// The first version in which a feature may have the lowest level 0: clients of older ones refuse it, so
/// that the feature is left out for them (KAFKA-17011).
const LEVEL_ZERO_FROM: i16 = 4;

fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    let known = FEATURES.iter().filter(|_| version >= LEVEL_ZERO_FROM);
    known
        .map(|&(name, level)| SupportedFeatureKey {
            name: StrBytes::from_static(name),
            min_version: 0,
            max_version: wire_level(level),
            ..Default::default()
        })
        .collect()
}

fn finalized(name: &str, level: u16) -> FinalizedFeatureKey {
    FinalizedFeatureKey {
        name: StrBytes::from(name),
        min_version_level: wire_level(level),
        max_version_level: wire_level(level),
        ..Default::default()
    }
}

fn wire_level(level: u16) -> i16 {
    i16::try_from(level).unwrap_or(i16::MAX)
}

/// The answer, in version 0, to a version from the future: the client retries with one it finds.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let error_code = ErrorCode::UnsupportedVersion.code();
    ApiVersionsResponse { error_code, api_keys: table(), ..Default::default() }
}

fn table() -> Vec<ApiVersion> {
    let entry = |(key, versions): &(protocol::ApiKey, std::ops::RangeInclusive<i16>)| ApiVersion {
        api_key: key.code(),
        min_version: *versions.start(),
        max_version: *versions.end(),
        ..Default::default()
    };
    SERVED.iter().map(entry).collect()
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_software_name(name: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn software_names_follow_the_rule() {
        for good in ["a", "apache-kafka-java", "4.3.0", "librdkafka"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "."] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
