//! What a topic's settings allow, and what excuses a loss.

use std::fmt;

/// So long an answer may be under way, in nanoseconds: clients of a history give up on a request
/// earlier, so that what an answer says was true at most so long before the client told of it.
pub const ANSWER_NANOS_MAX: u64 = 5_000_000_000;

/// The settings of a topic that bear on what may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `cleanup.policy` has `compact`: only the last record of each key must stay.
    pub is_compacted: bool,
    /// `retention.ms`, where `cleanup.policy` has `delete`; `None` keeps records for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`, where `cleanup.policy` has `delete`; `None` for no bound.
    pub retention_bytes: Option<u64>,
    /// The most that one record takes in the log, in a batch of its own; 0 when nobody knows, and
    /// then `retention_bytes` excuses everything.
    pub record_bytes_max: u64,
    /// `klamm.durability=os` on one replica: a loss of power takes what was not synced yet.
    pub is_lost_with_power: bool,
}

impl Rules {
    /// Whether age or size lets anything be deleted.
    pub fn is_retained(&self) -> bool {
        self.retention_ms.is_some() || self.retention_bytes.is_some()
    }
}

/// Why something that is missing may be missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// Retention, or a client's DeleteRecords, moved the log's start past it.
    Deleted,
    /// A later record has its key.
    Compacted,
    /// `klamm.durability=os`, and the machine lost power after the acknowledgement.
    PowerLoss {
        /// When, in nanoseconds.
        at: u64,
        /// Which machine.
        node: String,
    },
    /// A client asked for the topic to be deleted.
    TopicDeleted,
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excuse::Deleted => f.write_str("retention or DeleteRecords deleted it"),
            Excuse::Compacted => f.write_str("a later record has its key"),
            Excuse::PowerLoss { node, .. } => {
                write!(f, "klamm.durability=os, and {node} lost power")
            }
            Excuse::TopicDeleted => f.write_str("its topic was deleted"),
        }
    }
}
