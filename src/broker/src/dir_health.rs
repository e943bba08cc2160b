//! Whether the log directory can be trusted.
//!
//! A write or a sync that failed in one log speaks against the disk, and so against every log on it:
//! from then on nothing in the directory is acknowledged until the broker is restarted and recovery
//! has read what is really there. Reads go on. (`LogDirFailureChannel` does this in Apache Kafka.)

use std::sync::{Arc, OnceLock};

/// Shared by all partitions of a directory.
#[derive(Debug, Default)]
pub(crate) struct DirHealth {
    offline: OnceLock<Arc<str>>,
}

impl DirHealth {
    /// Takes the directory offline; the first reason stays. Whether this call did it.
    pub(crate) fn fail(&self, reason: &str) -> bool {
        self.offline.set(Arc::from(reason)).is_ok()
    }

    /// Why the directory is offline, if it is.
    pub(crate) fn offline(&self) -> Option<&Arc<str>> {
        self.offline.get()
    }
}
