//! The topics that are open on this broker.
//!
//! An immutable table, replaced as a whole when the cluster's metadata changes; a handler takes one
//! snapshot per request and sees the same topics throughout.

use std::sync::Arc;

use metadata::Image;
use model::{FastMap, TopicId};
use protocol::records::ProduceRules;
use protocol::{ErrorCode, StrBytes};

use crate::metrics::TopicStats;
use crate::partition::Partition;

/// One topic, with the partitions that this broker holds.
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: StrBytes,
    /// Its identity.
    pub(crate) id: TopicId,
    /// By partition index; `None` where this broker holds no replica.
    pub(crate) partitions: Vec<Option<Partition>>,
    /// What was written and read.
    pub(crate) stats: Arc<TopicStats>,
    /// What batches must obey; `produce_version` is the request's.
    pub(crate) rules: ProduceRules,
    /// Whether only the broker itself may write to it.
    pub(crate) is_internal: bool,
    /// Whether clients may delete records (`cleanup.policy` has `delete`).
    pub(crate) is_deletable: bool,
}

impl Topic {
    /// Why there is no open partition with this index: it does not exist, or its log could not be
    /// opened.
    pub(crate) fn missing(&self, index: i32) -> ErrorCode {
        match usize::try_from(index) {
            Ok(index) if index < self.partitions.len() => ErrorCode::KafkaStorageError,
            _ => ErrorCode::UnknownTopicOrPartition,
        }
    }

    /// The partition with this index, if it is open here.
    pub(crate) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)?.as_ref()
    }
}

/// All topics, by name and by id.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    /// The metadata that this table reflects: what handlers tell clients, so that nobody hears of a
    /// topic before it can be used.
    pub(crate) image: Image,
    by_name: FastMap<StrBytes, Arc<Topic>>,
    by_id: FastMap<TopicId, Arc<Topic>>,
}

impl Registry {
    /// All topics, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_id.values()
    }

    /// Adds a topic, or replaces the one of the same id.
    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(topic.name.detached(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    /// Takes a topic out.
    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        // A topic of the same name may have been created anew in the meantime.
        if self.by_name.get(&topic.name).is_some_and(|named| named.id == id) {
            self.by_name.remove(&topic.name);
        }
        Some(topic)
    }

    /// The topic of this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The partition of the topic with this name.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, or KAFKA_STORAGE_ERROR when its log could not be opened.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<&Partition, ErrorCode> {
        let topic = self.by_name(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic.partition(index).ok_or_else(|| topic.missing(index))
    }

    /// The topic with this id.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }
}
