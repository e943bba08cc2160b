//! What a shard must know of the cluster it is part of.

use std::collections::BTreeSet;
use std::time::Duration;

use model::TopicId;
use protocol::StrBytes;

/// A topic as groups see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: StrBytes,
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partition_count: u32,
}

/// What became of topics since a shard was last told, by their names. One that was deleted and created
/// again is both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChanges {
    /// Those that are new.
    pub created: BTreeSet<StrBytes>,
    /// Those that are gone.
    pub deleted: BTreeSet<StrBytes>,
    /// Those with another number of partitions than before.
    pub resized: BTreeSet<StrBytes>,
}

impl TopicChanges {
    /// The topics that something became of.
    pub fn names(&self) -> impl Iterator<Item = &StrBytes> {
        self.created.iter().chain(&self.deleted).chain(&self.resized)
    }

    /// Whether nothing changed that groups could see.
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.deleted.is_empty() && self.resized.is_empty()
    }
}

/// The settings of one consumer group: its own configs over the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `consumer.assignment.interval.ms`: the shortest time between two assignments.
    pub assignment_interval: Duration,
}

/// The cluster's metadata, as this broker knows it now.
pub trait Cluster {
    /// The topic of this name.
    fn topic(&self, name: &str) -> Option<Topic>;
    /// The topic with this id.
    fn topic_by_id(&self, id: TopicId) -> Option<Topic>;
    /// The names of all topics, sorted.
    fn topic_names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
    /// What holds for this consumer group.
    fn consumer_group_settings(&self, group: &str) -> ConsumerGroupSettings;
}
