//! What a recorded run keeps for reports besides its lines: the bytes that left and arrived, and what
//! was written to disks. None of it counts into the hash.

use std::sync::Arc;

use bytes::Bytes;

use super::{Nanos, NodeId};

/// Something that happened, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scene {
    /// An application wrote to a connection.
    Left {
        /// Which connection.
        connection: u64,
        /// Whether the end that connected wrote, or the other one.
        is_from_client: bool,
        /// Who wrote.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        bytes: Bytes,
    },
    /// So many of these bytes reached the other end.
    Arrived {
        /// Which connection.
        connection: u64,
        /// Whether the end that connected had written them.
        is_from_client: bool,
        /// How many.
        count: usize,
    },
    /// Bytes reached the page cache.
    Wrote {
        /// Whose disk.
        node: NodeId,
        /// Which file.
        path: Arc<str>,
        /// Where in it.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// A file was synced: what had been written when the sync began is durable, or, when it failed,
    /// is not and no later sync makes it so.
    Synced {
        /// Whose disk.
        node: NodeId,
        /// Which file.
        path: Arc<str>,
        /// When the sync began.
        begun: Nanos,
        /// Whether it did not fail.
        is_done: bool,
    },
}

/// A scene and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// When.
    pub at: Nanos,
    /// What.
    pub scene: Scene,
}
