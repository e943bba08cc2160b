//! One incremental fetch session (KIP-227): which partitions a client reads, from where on, and
//! what it was told about each last.

use indexmap::IndexMap;
use model::{FastHasher, Instant};
use protocol::messages::FetchRequest;
use protocol::messages::fetch_response::PartitionData;
use protocol::{ErrorCode, StrBytes};

use super::{TopicKey, Wanted};

/// What the client was told last; -1 is "nothing yet" or "an error", so that the next answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    told: Told,
}

type Key = (TopicKey, i32);

/// A session. The client numbers its requests by the epoch, so that none is taken twice.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: i32,
    pub(super) uses_topic_ids: bool,
    /// Sessions of followers are not evicted for those of consumers.
    pub(super) is_privileged: bool,
    pub(super) created: Instant,
    pub(super) last_used: Instant,
    partitions: IndexMap<Key, Cached, FastHasher>,
    /// Where the next answer begins: every partition is first in turn.
    next_start: usize,
}

impl Session {
    pub(super) fn new(uses_topic_ids: bool, is_privileged: bool, now: Instant) -> Session {
        Session {
            epoch: 1,
            uses_topic_ids,
            is_privileged,
            created: now,
            last_used: now,
            partitions: IndexMap::default(),
            next_start: 0,
        }
    }

    /// How many partitions it covers.
    pub(super) fn size(&self) -> usize {
        self.partitions.len()
    }

    /// Takes over what the request adds, changes and forgets.
    pub(super) fn update(&mut self, request: &FetchRequest, now: Instant) {
        self.last_used = now;
        self.epoch = next_epoch(self.epoch);
        for wanted in wanted(request, self.uses_topic_ids) {
            self.put(&wanted);
        }
        for topic in &request.forgotten_topics_data {
            let key = topic_key(&topic.topic, topic.topic_id, self.uses_topic_ids);
            for &partition in &topic.partitions {
                self.partitions.swap_remove(&(key.clone(), partition));
            }
        }
    }

    /// Adds a partition, or changes what is wanted of it.
    pub(super) fn put(&mut self, wanted: &Wanted) {
        // A key outlives the request: it must not keep the request's frame in memory.
        let topic = match &wanted.topic {
            TopicKey::Name(name) => TopicKey::Name(name.detached()),
            TopicKey::Id(id) => TopicKey::Id(*id),
        };
        let key = (topic.clone(), wanted.partition);
        let wanted = Wanted { topic, ..wanted.clone() };
        let told = Told { high_watermark: -1, log_start: -1 };
        self.partitions
            .entry(key)
            .and_modify(|cached| cached.wanted = wanted.clone())
            .or_insert(Cached { wanted, told });
    }

    /// All that the session covers, each time beginning with another one.
    pub(super) fn rotate(&mut self) -> Vec<Wanted> {
        let size = self.partitions.len();
        if size == 0 {
            return Vec::new();
        }
        let start = self.next_start % size;
        self.next_start = start + 1;
        let from = |at: usize| self.partitions[at % size].wanted.clone();
        (start..start + size).map(from).collect()
    }

    /// Notes what the client is about to be told; says whether it is worth telling in an
    /// incremental answer (`FetchSession.CachedPartition.maybeUpdateResponseData`).
    pub(super) fn tell(&mut self, wanted: &Wanted, data: &PartitionData) -> bool {
        let key = (wanted.topic.clone(), wanted.partition);
        // Forgotten by a later request of the same session: the client does not care any more.
        let Some(cached) = self.partitions.get_mut(&key) else { return true };
        let now = Told { high_watermark: data.high_watermark, log_start: data.log_start_offset };
        let is_error = data.error_code != ErrorCode::None.code();
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let is_news = cached.told != now
            || is_error
            || has_records
            || data.preferred_read_replica >= 0
            || data.diverging_epoch.epoch >= 0;
        cached.told = now;
        if is_error {
            cached.told.high_watermark = -1;
        }
        is_news
    }
}

/// The epoch behind `epoch`; 0 and below have meanings of their own.
pub(super) fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// The partitions that the request names.
pub(super) fn wanted(
    request: &FetchRequest,
    uses_topic_ids: bool,
) -> impl Iterator<Item = Wanted> + '_ {
    request.topics.iter().flat_map(move |topic| {
        let key = topic_key(&topic.topic, topic.topic_id, uses_topic_ids);
        topic.partitions.iter().map(move |partition| Wanted {
            topic: key.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        })
    })
}

fn topic_key(name: &StrBytes, id: model::Uuid, uses_topic_ids: bool) -> TopicKey {
    if uses_topic_ids { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) }
}
