//! ApiVersions: which APIs this broker serves, in which versions (KIP-511, KIP-584).

use protocol::ErrorCode;
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::SERVED;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers with the table, or INVALID_REQUEST when the client's name for itself is malformed.
pub(crate) async fn handle(
    _shared: &Shared,
    context: &RequestContext,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let named = context.api_version >= 3;
    let names = [&request.client_software_name, &request.client_software_version];
    if named && !names.iter().all(|name| is_software_name(name)) {
        let error_code = ErrorCode::InvalidRequest.code();
        return ApiVersionsResponse { error_code, ..Default::default() };
    }
    ApiVersionsResponse { api_keys: table(), ..Default::default() }
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
