//! What is known of an API without looking into its messages.
//!
//! The enum and its table are generated from the schemas (`messages/api_key.rs`).

use std::fmt;

pub use crate::messages::api_key::ApiKey;

/// One line of the generated table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiInfo {
    pub(crate) name: &'static str,
    pub(crate) min_version: i16,
    pub(crate) max_version: i16,
    /// The last version is not yet final (`latestVersionUnstable`).
    pub(crate) is_latest_unstable: bool,
    pub(crate) request_flexible_from: i16,
    pub(crate) response_flexible_from: i16,
}

impl ApiKey {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name, as in `ListOffsets`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The first version of its schemas.
    pub fn min_version(self) -> i16 {
        self.info().min_version
    }

    /// The last version of its schemas, final or not.
    pub fn max_version(self) -> i16 {
        self.info().max_version
    }

    /// The last version that is final (`latestVersionUnstable` of the schema).
    pub fn max_stable_version(self) -> i16 {
        let info = self.info();
        info.max_version - i16::from(info.is_latest_unstable)
    }

    /// Whether the schemas have this version.
    pub fn has_version(self, version: i16) -> bool {
        (self.min_version()..=self.max_version()).contains(&version)
    }

    /// Whether requests of this version have compact lengths and tagged fields (KIP-482).
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.info().request_flexible_from
    }

    /// The version of [`crate::messages::RequestHeader`] in front of a request.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of [`crate::messages::ResponseHeader`] in front of a response.
    ///
    /// ApiVersions always has the old one, because a client reads it before it knows which versions
    /// the broker speaks (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        let flexible = version >= self.info().response_flexible_from;
        if flexible && self != ApiKey::ApiVersions { 1 } else { 0 }
    }
}

/// A number that is no API of the schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no known API key")]
pub struct UnknownApiKey(pub i16);

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(code: i16) -> Result<ApiKey, UnknownApiKey> {
        ApiKey::from_code(code).ok_or(UnknownApiKey(code))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_versions_are_kafkas() {
        assert_eq!(ApiKey::Produce.request_header_version(8), 1);
        assert_eq!(ApiKey::Produce.request_header_version(9), 2);
        assert_eq!(ApiKey::Produce.response_header_version(9), 1);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    }

    #[test]
    fn unstable_versions_are_told_apart() {
        assert_eq!(ApiKey::InitProducerId.max_version(), 6);
        assert_eq!(ApiKey::InitProducerId.max_stable_version(), 5);
        assert_eq!(ApiKey::Fetch.max_stable_version(), 18);
    }

    #[test]
    fn keys_come_back() {
        for &key in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(key.code()), Ok(key));
        }
        assert_eq!(ApiKey::try_from(4), Err(UnknownApiKey(4)), "ZooKeeper's time is over");
    }
}
