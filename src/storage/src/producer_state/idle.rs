//! Which producers have been silent for so long that they can be forgotten.
//!
//! A record's timestamp is its client's idea of the time, and a wall clock may jump. Who goes by
//! them forgets producers that are at work, and takes their retries for new batches (Apache Kafka
//! does). So silence is counted by this process' own clock, from the first look at what the
//! producer wrote last. A process that ends sooner than that forgets nobody: that costs some bytes
//! for each producer, a retry taken for a new batch costs the promise.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Instant, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::ProducerEntry;

/// What a producer wrote last.
type Mark = (ProducerEpoch, Option<Offset>, Timestamp);

/// When the present last batch of each producer was first looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Idleness {
    looked: BTreeMap<ProducerId, (Mark, Instant)>,
}

impl Idleness {
    /// Drops what is known of producers that are not there any more.
    pub(super) fn forget_all_but(&mut self, entries: &BTreeMap<ProducerId, ProducerEntry>) {
        self.looked.retain(|id, _| entries.contains_key(id));
    }

    /// Whether the producer has written nothing for `expiration_ms`.
    pub(super) fn is_idle(
        &mut self,
        id: ProducerId,
        entry: &ProducerEntry,
        now: Instant,
        expiration: Duration,
    ) -> bool {
        let last_offset = entry.last_batch().map(|batch| batch.last_offset);
        let mark = (entry.epoch, last_offset, entry.last_timestamp);
        let looked = self.looked.entry(id).or_insert((mark, now));
        if looked.0 != mark {
            *looked = (mark, now);
        }
        now.since(looked.1) >= expiration
    }
}
