//! One file per Kafka API, and the table of what is served.

pub(crate) mod api_versions;
pub(crate) mod produce;

use std::ops::RangeInclusive;

use protocol::ApiKey;

/// The APIs served, with their versions; what ApiVersions tells clients.
pub(crate) const SERVED: &[(ApiKey, RangeInclusive<i16>)] = &[
    // Versions 0 to 2 carry message formats that nobody writes any more, but old clients look for
    // them in the table before they pick a newer one (KAFKA-18659).
    (ApiKey::Produce, 0..=13),
    (ApiKey::ApiVersions, 0..=4),
];

/// The versions of `api` that are served, if any.
pub(crate) fn served(api: ApiKey) -> Option<&'static RangeInclusive<i16>> {
    SERVED.iter().find(|(key, _)| *key == api).map(|(_, versions)| versions)
}
