//! What was appended since the last sync began, as the journal takes it; and what has to be voided
//! there before it is cut or removed.

use std::sync::Arc;

use bytes::Bytes;
use model::{Offset, Uuid};

use super::Log;
use crate::error::DiskError;
use crate::journal::{Author, Entry, Journal, SegmentPosition};
use crate::log_dir::{Registration, refused};
use crate::name::LogName;

/// As much goes through the journal at once. More is synced in its segment: to write it twice would
/// cost more than the sync that is saved.
const JOURNALED_BYTES_MAX: u64 = 32 * 1024;

/// See the module.
pub(super) struct Staged {
    author: Arc<Author>,
    journal: Option<Journal>,
    entries: Vec<Entry>,
    bytes: u64,
    /// Everything that is neither synced nor in the journal is here.
    is_complete: bool,
}

impl Staged {
    /// Of a log that was opened just now; `is_synced` says whether everything in it is synced.
    pub(super) fn new(
        registration: &Registration,
        name: &LogName,
        topic_id: Option<Uuid>,
        is_synced: bool,
    ) -> Staged {
        Staged {
            author: Arc::new(Author::new(name, topic_id)),
            journal: registration.journal().cloned(),
            entries: Vec::new(),
            bytes: 0,
            is_complete: is_synced,
        }
    }

    /// These bytes were written there.
    pub(super) fn add(&mut self, segment: Offset, position: u64, buffers: Vec<Bytes>, bytes: u64) {
        let Some(journal) = &self.journal else { return };
        self.bytes += bytes;
        self.is_complete &= self.bytes <= JOURNALED_BYTES_MAX && journal.takes(self.bytes);
        if !self.is_complete {
            self.entries.clear();
            return;
        }
        let (log, at) = (Arc::clone(&self.author), SegmentPosition { segment, position });
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.entries.push(Entry::Bytes { log, at, bytes: buffers, len });
    }

    /// Some of what is not synced is not here, or not as it stands: the next sync is one of the
    /// segments.
    pub(super) fn give_up(&mut self) {
        self.entries.clear();
        self.is_complete = false;
    }

    /// What the journal may take now, and the journal; a sync of the segments has to do otherwise.
    /// From here on what is appended is staged anew.
    pub(super) fn take(&mut self) -> Option<(Journal, Vec<Entry>)> {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        let was_complete = std::mem::replace(&mut self.is_complete, true);
        let journal = self.journal.clone().filter(|_| was_complete && !entries.is_empty());
        journal.map(|journal| (journal, entries))
    }
}

impl Log {
    /// The places from `from` on, up to the segment at `to`, are about to be cut, removed or written
    /// anew: after this no start brings back what the journal says of them. Durable when it returns.
    pub(crate) async fn void(
        &mut self,
        from: SegmentPosition,
        to: Offset,
    ) -> Result<(), DiskError> {
        let Some(journal) = self.staged.journal.clone() else { return Ok(()) };
        let author = Arc::clone(&self.staged.author);
        let voided = journal.void(&author, from, to).await;
        voided.map_err(|refusal| refused(&refusal, &self.shared.home.dir))
    }
}
