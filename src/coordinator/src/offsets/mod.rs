//! Committed offsets of all groups of a shard.
//!
//! In: commits and questions, records. Out: records and answers. An offset belongs to a topic's
//! identity: when another topic takes the name, it is worth nothing.
//!
//! Invariant: a group that has offsets is in the shard's table. One that only ever had offsets is a
//! classic group without protocol type, a "simple" one, and is not in the log by itself.
//!
//! Start at [`Offsets`]; every API has its own file.

mod commit;
mod delete;
mod expiry;
mod fetch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use protocol::StrBytes;
use protocol::messages as m;

use crate::classic::ClassicGroup;
use crate::cluster::TopicChanges;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Env, Output, Shard};

/// What a group committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next record to read.
    pub(crate) offset: Offset,
    /// Of the last record that was read; -1 when the client did not say.
    pub(crate) leader_epoch: LeaderEpoch,
    /// The client's own words.
    pub(crate) metadata: StrBytes,
    /// When it was committed.
    pub(crate) committed_at: Timestamp,
    /// When the client wants it forgotten; only OffsetCommit 2 to 4 can say so.
    pub(crate) expires_at: Option<Timestamp>,
    /// The topic; zero when it was not known, or the value is of a version before 4.
    pub(crate) topic_id: TopicId,
}

type ByPartition = BTreeMap<PartitionIndex, Committed>;
type ByTopic = BTreeMap<StrBytes, ByPartition>;

/// All committed offsets of a shard; nothing in it is empty.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: BTreeMap<StrBytes, ByTopic>,
}

impl Offsets {
    /// All of one group.
    pub(crate) fn of_group(&self, group: &str) -> impl Iterator<Item = (&StrBytes, &ByPartition)> {
        self.groups.get(group).into_iter().flatten()
    }

    /// One of one group.
    pub(crate) fn get(
        &self,
        group: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&Committed> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// Every group, topic, partition and what is committed for it.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (&StrBytes, &StrBytes, PartitionIndex, &Committed)> {
        self.groups.iter().flat_map(|(group, topics)| {
            topics.iter().flat_map(move |(topic, partitions)| {
                let partitions = partitions.iter();
                partitions.map(move |(partition, known)| (group, topic, *partition, known))
            })
        })
    }

    fn put(&mut self, key: &m::OffsetCommitKey, committed: Committed) {
        // Names are copied when they are new, and then shared by all partitions.
        if !self.groups.contains_key(&key.group) {
            self.groups.insert(key.group.detached(), ByTopic::new());
        }
        let topics = self.groups.get_mut(&key.group).expect("it was just put there");
        if !topics.contains_key(&key.topic) {
            topics.insert(key.topic.detached(), ByPartition::new());
        }
        let partitions = topics.get_mut(&key.topic).expect("it was just put there");
        partitions.insert(PartitionIndex(key.partition), committed);
    }

    fn remove(&mut self, key: &m::OffsetCommitKey) {
        let Some(topics) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = topics.get_mut(&key.topic) else { return };
        partitions.remove(&PartitionIndex(key.partition));
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
        }
    }
}

impl Committed {
    fn from_record(value: &m::OffsetCommitValue) -> Committed {
        Committed {
            offset: Offset(value.offset),
            leader_epoch: LeaderEpoch(value.leader_epoch),
            metadata: value.metadata.detached(),
            committed_at: Timestamp(value.commit_timestamp),
            expires_at: (value.expire_timestamp >= 0).then_some(Timestamp(value.expire_timestamp)),
            topic_id: value.topic_id,
        }
    }

    /// Whether it was committed for another topic than the one of this id; with a zero on either side
    /// nobody knows.
    fn is_of_another(&self, topic: TopicId) -> bool {
        !self.topic_id.is_zero() && !topic.is_zero() && self.topic_id != topic
    }
}

/// What became of a topic, for those who committed offsets of it.
struct Fate {
    /// Who has the name now; zero when nobody is known to.
    present: TopicId,
    was_deleted: bool,
}

impl Fate {
    fn of(topic: &str, was_deleted: bool, env: &Env<'_>) -> Fate {
        let present = env.cluster.topic(topic).map_or(TopicId::ZERO, |topic| topic.id);
        Fate { present, was_deleted }
    }

    /// Whether the offset is worth nothing any more. One of a topic that was deleted has to be known to
    /// be of its present self; any other has to be known not to be.
    fn takes(&self, committed: &Committed) -> bool {
        if self.was_deleted {
            self.present.is_zero() || committed.topic_id != self.present
        } else {
            committed.is_of_another(self.present)
        }
    }
}

/// Takes an offset away.
fn tombstone(group: &StrBytes, topic: &StrBytes, partition: PartitionIndex) -> Record {
    let key =
        m::OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition: partition.0 };
    Record::OffsetCommit { key, value: None }
}

impl Shard {
    pub(crate) fn replay_offset_commit(
        &mut self,
        key: m::OffsetCommitKey,
        value: Option<m::OffsetCommitValue>,
    ) {
        let Some(value) = value else { return self.offsets.remove(&key) };
        self.offsets.put(&key, Committed::from_record(&value));
        self.add_simple_group(&key.group);
    }

    fn add_simple_group(&mut self, id: &StrBytes) {
        if !self.groups.contains_key(id) {
            self.groups.insert(id.detached(), Group::Classic(ClassicGroup::new(None)));
        }
    }

    /// Offsets of topics that were deleted and created again while nobody looked are forgotten. Those
    /// of topics that are not known stay: perhaps it is the metadata that is late.
    pub(crate) fn on_offsets_loaded(&mut self, env: &mut Env<'_>, out: &mut Output) {
        // A group's tombstone may be in the log without those of its offsets.
        let without_group: Vec<_> = self
            .offsets
            .groups
            .keys()
            .filter(|id| !self.groups.contains_key(*id))
            .cloned()
            .collect();
        for id in &without_group {
            self.add_simple_group(id);
        }
        self.forget_offsets(|topic| Some(Fate::of(topic, false, env)), out);
    }

    /// Topics were deleted or created: what is committed for their present selves stays.
    pub(crate) fn forget_offsets_of_changed_topics(
        &mut self,
        changes: &TopicChanges,
        env: &Env<'_>,
        out: &mut Output,
    ) {
        if changes.deleted.is_empty() && changes.created.is_empty() {
            return;
        }
        let fate_of = |topic: &StrBytes| {
            let was_deleted = changes.deleted.contains(topic);
            let is_affected = was_deleted || changes.created.contains(topic);
            is_affected.then(|| Fate::of(topic, was_deleted, env))
        };
        self.forget_offsets(fate_of, out);
    }

    /// Takes away what is worth nothing, of the topics that have a fate.
    fn forget_offsets(&mut self, fate_of: impl Fn(&StrBytes) -> Option<Fate>, out: &mut Output) {
        let mut lost = Vec::new();
        for (group, topics) in &self.offsets.groups {
            for (topic, partitions) in topics {
                let Some(fate) = fate_of(topic) else { continue };
                let partitions = partitions.iter().filter(|(_, known)| fate.takes(known));
                lost.extend(partitions.map(|(partition, _)| tombstone(group, topic, *partition)));
            }
        }
        for record in lost {
            self.write(record, out);
        }
    }

    /// Everything that a group committed.
    pub(crate) fn delete_all_offsets(&mut self, id: &StrBytes, out: &mut Output) {
        let mut records = Vec::new();
        for (topic, partitions) in self.offsets.of_group(id) {
            records.extend(partitions.keys().map(|partition| tombstone(id, topic, *partition)));
        }
        for record in records {
            self.write(record, out);
        }
    }
}
