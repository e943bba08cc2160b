//! What a compaction needs of the log that it works for.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Offset, ProducerId, Timestamp};

use super::Log;
use crate::error::{DiskError, StorageError};
use crate::producer_state::ProducerEntry;
use crate::segment::{Home, Segment};
use crate::shared::Segments;

impl Log {
    pub(crate) fn check_online(&self) -> Result<(), StorageError> {
        self.shared.check_online()
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.shared.home
    }

    pub(crate) fn segments(&self) -> Segments {
        self.shared.segments()
    }

    /// Up to where a recovery would believe what it finds.
    pub(crate) fn recovery_point(&self) -> Offset {
        self.registration.checkpointed_recovery_point().min(self.shared.recovery_point())
    }

    /// Whether a checkpoint still has to sync `segment`, and is perhaps about to.
    pub(crate) fn is_unsynced(&self, segment: &Segment) -> bool {
        self.shared.is_unsynced(segment)
    }

    pub(crate) fn cleaned_to(&self) -> Offset {
        self.shared.cleaned_to()
    }

    pub(crate) fn set_cleaned_to(&self, offset: Offset) {
        self.shared.set_cleaned_to(offset);
    }

    pub(crate) fn producer_entries(&self) -> &BTreeMap<ProducerId, ProducerEntry> {
        self.producers.entries()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.runtime.clock.wall()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn new_compaction_token(&mut self) -> Arc<()> {
        let token = Arc::new(());
        self.compaction = Arc::downgrade(&token);
        token
    }

    pub(crate) fn begin(&mut self) -> Result<(), StorageError> {
        self.begin_operation()
    }

    pub(crate) fn end(&mut self) {
        self.is_busy = false;
        self.assert_invariants();
    }

    /// Half-way through a swap the names on disk and the list in memory differ: only a restart
    /// sorts that out.
    pub(crate) fn swap_failed(&mut self, error: &DiskError) -> StorageError {
        self.shared.take_offline(&error.to_string());
        self.fail(error)
    }

    /// Puts one segment where several were.
    pub(crate) fn replace_segments(&mut self, old: &[Arc<Segment>], new: Arc<Segment>) {
        let segments = self.shared.segments();
        let is_old = |segment: &Arc<Segment>| old.iter().any(|old| old.id == segment.id);
        self.unsynced.closed.retain(|(_, segment)| !is_old(segment));
        let mut replaced: Vec<Arc<Segment>> =
            segments.iter().filter(|segment| !is_old(segment)).cloned().collect();
        let at = replaced.partition_point(|segment| segment.base < new.base);
        replaced.insert(at, new);
        self.shared.set_segments(replaced);
    }
}
