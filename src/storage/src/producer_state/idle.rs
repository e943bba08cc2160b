//! Which producers have been silent for so long that they can be forgotten.
//!
//! A record's timestamp is its client's idea of the time, and a wall clock may jump. Who goes by
//! them forgets producers that are at work, and takes their retries for new batches (Apache Kafka
//! does). So silence is counted by this process' own clock, from the first look at what the
//! producer wrote last; the timestamps only count when they say many times that long.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Instant, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::ProducerEntry;

/// So many times `producer.id.expiration.ms` by the timestamps is silence enough, too: a broker
/// that is restarted every day forgets producers in the end.
const TIMES_BY_TIMESTAMP: i64 = 7;

/// The time by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Never goes back, starts with the process.
    pub(crate) running: Instant,
    /// As timestamps count.
    pub(crate) wall: Timestamp,
}

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
        now: Now,
        expiration_ms: i64,
    ) -> bool {
        let last_offset = entry.last_batch().map(|batch| batch.last_offset);
        let mark = (entry.epoch, last_offset, entry.last_timestamp);
        let looked = self.looked.entry(id).or_insert((mark, now.running));
        if looked.0 != mark {
            *looked = (mark, now.running);
        }
        let expiration = Duration::from_millis(u64::try_from(expiration_ms).unwrap_or(0));
        let by_timestamp = now.wall.millis_since(entry.last_timestamp);
        now.running.since(looked.1) >= expiration
            || by_timestamp >= expiration_ms.saturating_mul(TIMES_BY_TIMESTAMP)
    }
}
