//! Committed offsets on the wire: OffsetCommit to version 10, OffsetFetch to version 10. Pure.
//!
//! In: offsets by partition, and who commits. Out: requests in the form of the negotiated version
//! (one group or many from version 8 on, topics by id from version 10 on, KIP-848), and what their
//! responses say for each partition.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use protocol::{ErrorCode, StrBytes};

use super::member::MemberEpoch;
use crate::client::Client;
use crate::error::BrokerError;
use crate::metadata::TopicPartition;

/// The newest version that names topics.
const NAMED_VERSION_MAX: i16 = 9;

/// Where a group goes on in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: Offset,
    /// The epoch of the leader that wrote the record before it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What whoever committed it noted down.
    pub metadata: StrBytes,
}

impl From<Offset> for CommittedOffset {
    fn from(offset: Offset) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: None, metadata: StrBytes::new() }
    }
}

/// Who asks or commits.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) group_id: StrBytes,
    /// Empty for those that are no member.
    pub(crate) member_id: StrBytes,
    pub(crate) instance_id: Option<StrBytes>,
    pub(crate) epoch: MemberEpoch,
}

impl Identity {
    /// Somebody outside the group: an admin, or a group that nobody is a member of.
    pub(crate) fn outsider(group_id: StrBytes) -> Identity {
        let epoch = MemberEpoch::NONE;
        Identity { group_id, member_id: StrBytes::new(), instance_id: None, epoch }
    }
}

/// The ids of the topics in a request, and the way back.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicIds {
    ids: BTreeMap<StrBytes, TopicId>,
    names: BTreeMap<TopicId, StrBytes>,
    all_known: bool,
}

impl TopicIds {
    /// Of `topics`, as far as `client` knows them.
    pub(crate) fn known<'a>(
        client: &Client,
        topics: impl IntoIterator<Item = &'a StrBytes>,
    ) -> TopicIds {
        let view = client.view();
        let mut found = TopicIds { all_known: true, ..TopicIds::default() };
        for topic in topics {
            match view.topics.get(topic).map(|known| known.id).filter(|id| !id.is_zero()) {
                Some(id) => {
                    found.ids.insert(topic.clone(), id);
                    found.names.insert(id, topic.clone());
                }
                None => found.all_known = false,
            }
        }
        found
    }

    /// The newest version that can be spoken with these.
    pub(crate) fn version_max(&self) -> i16 {
        if self.all_known { i16::MAX } else { NAMED_VERSION_MAX }
    }

    fn id(&self, topic: &StrBytes, version: i16) -> TopicId {
        match version {
            ..=NAMED_VERSION_MAX => TopicId::ZERO,
            _ => self.ids.get(topic).copied().unwrap_or_default(),
        }
    }

    fn name(&self, name: &StrBytes, id: TopicId) -> Option<StrBytes> {
        if name.is_empty() { self.names.get(&id).cloned() } else { Some(name.detached()) }
    }
}

fn name_in(topic: &StrBytes, version: i16) -> StrBytes {
    if version <= NAMED_VERSION_MAX { topic.clone() } else { StrBytes::new() }
}

/// Partitions by topic, in order.
fn by_topic<'a, T>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a StrBytes, Vec<(PartitionIndex, T)>> {
    let mut topics: BTreeMap<&StrBytes, Vec<(PartitionIndex, T)>> = BTreeMap::new();
    for (at, value) in partitions {
        topics.entry(&at.topic).or_default().push((at.partition, value));
    }
    topics
}

/// The commit of `offsets` in one version.
pub(crate) fn commit_request(
    identity: &Identity,
    offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ids: &TopicIds,
    version: i16,
) -> OffsetCommitRequest {
    let topics = by_topic(offsets).into_iter().map(|(topic, partitions)| {
        let partition =
            |(index, offset): (PartitionIndex, &CommittedOffset)| OffsetCommitRequestPartition {
                partition_index: index.0,
                committed_offset: offset.offset.0,
                committed_leader_epoch: offset.leader_epoch.map_or(-1, |epoch| epoch.0),
                committed_metadata: Some(offset.metadata.clone()),
                ..Default::default()
            };
        OffsetCommitRequestTopic {
            name: name_in(topic, version),
            topic_id: ids.id(topic, version),
            partitions: partitions.into_iter().map(partition).collect(),
            ..Default::default()
        }
    });
    OffsetCommitRequest {
        group_id: identity.group_id.clone(),
        generation_id_or_member_epoch: identity.epoch.0,
        member_id: identity.member_id.clone(),
        group_instance_id: identity.instance_id.clone(),
        topics: topics.collect(),
        ..Default::default()
    }
}

/// What became of each partition.
pub(crate) fn commit_answers(
    response: OffsetCommitResponse,
    ids: &TopicIds,
) -> BTreeMap<TopicPartition, ErrorCode> {
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        let Some(name) = ids.name(&topic.name, topic.topic_id) else { continue };
        for partition in topic.partitions {
            let at = TopicPartition::new(name.clone(), partition.partition_index);
            answers.insert(at, ErrorCode::from_code(partition.error_code));
        }
    }
    answers
}

/// The question for the offsets of `partitions`, of all there are when `None`.
///
/// `require_stable`: offsets of open transactions are waited for (KIP-447, version 7).
pub(crate) fn fetch_request(
    identity: &Identity,
    partitions: Option<&[TopicPartition]>,
    ids: &TopicIds,
    require_stable: bool,
    version: i16,
) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| by_topic(partitions.iter().map(|at| (at, ()))));
    let indexes = |partitions: Vec<(PartitionIndex, ())>| {
        partitions.into_iter().map(|(index, ())| index.0).collect()
    };
    let require_stable = require_stable && version >= 7;
    if version < 8 {
        let topic = |(topic, partitions): (&StrBytes, Vec<_>)| OffsetFetchRequestTopic {
            name: topic.clone(),
            partition_indexes: indexes(partitions),
            ..Default::default()
        };
        return OffsetFetchRequest {
            group_id: identity.group_id.clone(),
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
            require_stable,
            ..Default::default()
        };
    }
    let topic = |(topic, partitions): (&StrBytes, Vec<_>)| OffsetFetchRequestTopics {
        name: name_in(topic, version),
        topic_id: ids.id(topic, version),
        partition_indexes: indexes(partitions),
        ..Default::default()
    };
    let is_member = !identity.member_id.is_empty();
    let group = OffsetFetchRequestGroup {
        group_id: identity.group_id.clone(),
        member_id: Some(identity.member_id.clone()).filter(|_| is_member),
        member_epoch: identity.epoch.0,
        topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
        ..Default::default()
    };
    let groups = vec![group];
    OffsetFetchRequest { topics: Some(Vec::new()), groups, require_stable, ..Default::default() }
}

/// The offset of each partition that the response names, `None` where nothing was committed.
pub(crate) type Fetched = BTreeMap<TopicPartition, Result<Option<CommittedOffset>, BrokerError>>;

/// What the coordinator says of `group`; its refusal of the whole group is an error.
pub(crate) fn fetch_answers(
    group: &StrBytes,
    response: OffsetFetchResponse,
    ids: &TopicIds,
) -> Result<Fetched, BrokerError> {
    let mut fetched = Fetched::new();
    let mut note = |topic: &StrBytes, index, (offset, epoch, metadata, code)| {
        let at = TopicPartition::new(topic.clone(), index);
        fetched.insert(at, committed(offset, epoch, metadata, code));
    };
    if let Some(answer) = response.groups.into_iter().find(|answer| answer.group_id == *group) {
        BrokerError::check(answer.error_code, None)?;
        for topic in answer.topics {
            let Some(name) = ids.name(&topic.name, topic.topic_id) else { continue };
            for p in topic.partitions {
                let told = (p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code);
                note(&name, p.partition_index, told);
            }
        }
        return Ok(fetched);
    }
    BrokerError::check(response.error_code, None)?;
    for topic in response.topics {
        let name = topic.name.detached();
        for p in topic.partitions {
            let told = (p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code);
            note(&name, p.partition_index, told);
        }
    }
    Ok(fetched)
}

fn committed(
    offset: i64,
    leader_epoch: i32,
    metadata: Option<StrBytes>,
    code: i16,
) -> Result<Option<CommittedOffset>, BrokerError> {
    BrokerError::check(code, None)?;
    Ok((offset >= 0).then(|| CommittedOffset {
        offset: Offset(offset),
        leader_epoch: (leader_epoch >= 0).then_some(LeaderEpoch(leader_epoch)),
        metadata: metadata.map(|text| text.detached()).unwrap_or_default(),
    }))
}
