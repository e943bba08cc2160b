//! What a topic's settings allow, and what excuses a loss.

use std::fmt;

/// The settings of a topic that bear on what may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `cleanup.policy` has `compact`: only the last record of each key must stay.
    pub is_compacted: bool,
    /// `retention.ms` or `retention.bytes` may delete from the front.
    pub is_retained: bool,
    /// `klamm.durability=os` on one replica: a loss of power takes what was not synced yet.
    pub is_lost_with_power: bool,
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
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excuse::Deleted => f.write_str("retention or DeleteRecords deleted it"),
            Excuse::Compacted => f.write_str("a later record has its key"),
            Excuse::PowerLoss { node, .. } => {
                write!(f, "klamm.durability=os, and {node} lost power")
            }
        }
    }
}
