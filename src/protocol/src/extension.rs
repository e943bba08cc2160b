//! What klamm tells beyond Kafka's messages, in tagged fields that other clients pass over (KIP-482).
//!
//! Tags count from [`FIRST_TAG`], far beyond those that Kafka gives out one by one.

use bytes::{BufMut, BytesMut};
use model::Timestamp;

use crate::wire::{StrBytes, TaggedFields};

/// The first tag of klamm's own.
pub const FIRST_TAG: u32 = 10_000;

const LAST_REBALANCE: u32 = FIRST_TAG;

/// Why and when a group last began to rebalance: in the groups that DescribeGroups (from version 5)
/// and ConsumerGroupDescribe answer with, under tag 10000, as the milliseconds since 1970 in 8 bytes
/// and the reason in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRebalance {
    /// For people.
    pub reason: StrBytes,
    /// When it began.
    pub at: Timestamp,
}

impl LastRebalance {
    /// As the only tagged field of a struct.
    pub fn to_tagged(&self) -> TaggedFields {
        let mut content = BytesMut::with_capacity(8 + self.reason.len());
        content.put_i64(self.at.0);
        content.put_slice(self.reason.as_bytes());
        let mut fields = TaggedFields::EMPTY;
        fields.push(LAST_REBALANCE, content.freeze());
        fields
    }

    /// Finds it; nothing when it is not there, or is not what klamm writes.
    pub fn from_tagged(fields: &TaggedFields) -> Option<LastRebalance> {
        let (_, content) = fields.as_slice().iter().find(|(tag, _)| *tag == LAST_REBALANCE)?;
        let (at, reason) = content.split_first_chunk()?;
        let reason = StrBytes::from(str::from_utf8(reason).ok()?);
        Some(LastRebalance { reason, at: Timestamp(i64::from_be_bytes(*at)) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_last_rebalance_comes_back_from_its_tagged_field() {
        let told = LastRebalance { reason: StrBytes::from("größer"), at: Timestamp(17) };
        let mut fields = told.to_tagged();
        fields.push(3, Bytes::from_static(b"of another"));
        assert_eq!(LastRebalance::from_tagged(&fields), Some(told));
        assert_eq!(LastRebalance::from_tagged(&TaggedFields::EMPTY), None);
        for damaged in [&b"short"[..], b"\0\0\0\0\0\0\0\0\xff"] {
            let mut fields = TaggedFields::EMPTY;
            fields.push(LAST_REBALANCE, Bytes::from_static(damaged));
            assert_eq!(LastRebalance::from_tagged(&fields), None);
        }
    }
}
