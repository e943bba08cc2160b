//! A group of any type.

use model::Timestamp;
use protocol::{LastRebalance, StrBytes, TaggedFields};

use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;

/// The longest reason that is kept, in characters; clients cut theirs there too (KIP-800).
const REASON_CHARS_MAX: usize = 255;

/// One group.
#[derive(Debug)]
pub(crate) enum Group {
    /// Its members agree among themselves who reads what.
    Classic(ClassicGroup),
    /// The coordinator says who reads what (KIP-848).
    Consumer(ConsumerGroup),
}

/// Why a group began its last rebalance, or a consumer group got its epoch; not in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// For people; KIP-800 has clients give reasons.
    pub reason: String,
    /// When it began.
    pub at: Timestamp,
}

impl Rebalance {
    /// What has just begun; a long reason is cut.
    pub(crate) fn new(reason: &str, at: Timestamp) -> Rebalance {
        Rebalance { reason: reason.chars().take(REASON_CHARS_MAX).collect(), at }
    }

    /// As a described group carries it.
    pub(crate) fn to_tagged(&self) -> TaggedFields {
        let reason = StrBytes::from(self.reason.as_str());
        LastRebalance { reason, at: self.at }.to_tagged()
    }
}

#[cfg(test)]
impl Group {
    /// Why it last began to rebalance; nothing when that was before this coordinator took over.
    pub(crate) fn last_rebalance(&self) -> Option<&Rebalance> {
        match self {
            Group::Classic(group) => group.last_rebalance.as_ref(),
            Group::Consumer(group) => group.last_rebalance.as_ref(),
        }
    }
}
