//! Which versions of which API a broker speaks, and the one to use.
//!
//! In: an ApiVersions response. Out: per API the highest version that both sides know. When a
//! broker does not know the ApiVersions version itself, it answers in version 0 with error 35, and
//! the request is sent again in its highest version (KIP-511).

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ApiKey;
use protocol::messages::ApiVersionsResponse;

use crate::error::RequestError;

/// What one broker serves.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    ranges: BTreeMap<i16, (i16, i16)>,
    finalized_features: BTreeMap<String, i16>,
}

impl Versions {
    /// Takes the ranges and finalized features out of a response.
    pub fn from_response(response: &ApiVersionsResponse) -> Versions {
        let ranges = response.api_keys.iter().map(|k| (k.api_key, (k.min_version, k.max_version)));
        let features = response
            .finalized_features
            .iter()
            .map(|feature| (feature.name.to_string(), feature.max_version_level));
        Versions { ranges: ranges.collect(), finalized_features: features.collect() }
    }

    /// The versions of `api` that the broker serves.
    pub fn range(&self, api: ApiKey) -> Option<(i16, i16)> {
        self.ranges.get(&api.code()).copied()
    }

    /// The level at which the cluster has finalized `feature`; 0 when it has not.
    pub fn feature(&self, feature: &str) -> i16 {
        self.finalized_features.get(feature).copied().unwrap_or(0)
    }

    /// The highest version of `api` in common, at most `client_max`.
    pub fn pick(
        &self,
        api: ApiKey,
        client_max: i16,
        address: &Arc<str>,
    ) -> Result<i16, RequestError> {
        let client_min = api.min_version();
        let client_max = client_max.min(api.max_stable_version());
        let (broker_min, broker_max) = self.range(api).unwrap_or((-1, -1));
        let version = client_max.min(broker_max);
        if version >= client_min && version >= broker_min {
            return Ok(version);
        }
        let address = Arc::clone(address);
        Err(RequestError::UnsupportedVersion {
            address,
            api,
            broker_min,
            broker_max,
            client_min,
            client_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::api_versions_response::ApiVersion;

    use super::*;

    fn versions(api: ApiKey, min_version: i16, max_version: i16) -> Versions {
        let key =
            ApiVersion { api_key: api.code(), min_version, max_version, ..Default::default() };
        let response = ApiVersionsResponse { api_keys: vec![key], ..Default::default() };
        Versions::from_response(&response)
    }

    #[test]
    fn highest_common_version_wins() {
        let address: Arc<str> = "b:1".into();
        let api = ApiKey::Metadata;
        let pick = |min, max, ours| versions(api, min, max).pick(api, ours, &address);
        assert_eq!(pick(0, 5, i16::MAX).ok(), Some(5));
        assert_eq!(pick(0, 99, i16::MAX).ok(), Some(api.max_stable_version()));
        assert_eq!(pick(0, 99, 7).ok(), Some(7));
        let error = pick(50, 99, i16::MAX).expect_err("the broker is too new");
        assert!(!error.is_retriable());
        let other = versions(api, 0, 9).pick(ApiKey::Produce, i16::MAX, &address);
        assert!(matches!(other, Err(RequestError::UnsupportedVersion { broker_max: -1, .. })));
    }

    #[test]
    fn two_phase_commit_is_not_asked_for() {
        let api = ApiKey::InitProducerId;
        let picked = versions(api, 0, 6).pick(api, i16::MAX, &"b:1".into());
        assert_eq!(picked.ok(), Some(5));
    }
}
