//! OffsetCommit: a group remembers how far it has read.
//!
//! The rules are those of `OffsetMetadataManager.commitOffset`.

use protocol::messages as m;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::{ErrorCode, StrBytes};

use crate::call::Response;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Caller, Env, Output, Shard};

/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

impl Shard {
    pub(crate) fn commit_offsets(
        &mut self,
        from: Caller,
        request: m::OffsetCommitRequest,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let check = self.check_commit(&request, from.api_version);
        let check = check.and_then(|()| check_size(&request));
        if check.is_ok() {
            // A commit is a sign of life too.
            self.renew_session(&request.group_id, &request.member_id, env);
        }
        let mut topics = Vec::new();
        for topic in &request.topics {
            let topic_check = check.and_then(|()| check_topic(topic, from.api_version, env));
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                let result = topic_check
                    .and_then(|()| self.check_assignment(&request, topic.topic_id, partition))
                    .and_then(|()| self.check_metadata(partition));
                if result.is_ok() {
                    let record = commit_record(&request, topic, partition, env);
                    self.write(record, out);
                    self.activity.offset_commits += 1;
                }
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: result.err().map_or(0, ErrorCode::code),
                    ..Default::default()
                });
            }
            topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
                ..Default::default()
            });
        }
        let response = m::OffsetCommitResponse { topics, ..Default::default() };
        out.answer(from.ticket, Response::OffsetCommit(response));
    }

    /// Whoever is in no generation may commit for a group that nobody is in, and so make it.
    fn check_commit(
        &self,
        request: &m::OffsetCommitRequest,
        api_version: i16,
    ) -> Result<(), ErrorCode> {
        let member = &request.member_id;
        let instance = request.group_instance_id.as_deref();
        let generation = request.generation_id_or_member_epoch;
        match self.groups.get(&request.group_id) {
            None if generation < 0 => Ok(()),
            // Clients before KIP-848 do not know the other error here.
            None if api_version < 9 => Err(ErrorCode::IllegalGeneration),
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Group::Classic(group)) => group.check_offset_commit(member, instance, generation),
            Some(Group::Consumer(group)) => {
                group.check_offset_commit(member, instance, generation, api_version)
            }
        }
    }

    /// A member of a consumer group may be an epoch behind for what it still has (KIP-1251).
    fn check_assignment(
        &self,
        request: &m::OffsetCommitRequest,
        topic: model::TopicId,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<(), ErrorCode> {
        let Some(Group::Consumer(group)) = self.groups.get(&request.group_id) else {
            return Ok(());
        };
        let epoch = request.generation_id_or_member_epoch;
        let partition = partition.partition_index;
        group.check_commit_of_partition(&request.member_id, epoch, topic, partition)
    }

    /// Kafka counts the code units of Java's text.
    fn check_metadata(&self, partition: &OffsetCommitRequestPartition) -> Result<(), ErrorCode> {
        let max = self.config.offset_metadata_max_bytes;
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        // Never more units than bytes.
        if metadata.len() <= max || metadata.encode_utf16().count() <= max {
            Ok(())
        } else {
            Err(ErrorCode::OffsetMetadataTooLarge)
        }
    }
}

/// The most that one commit may write; Apache Kafka's limit is `message.max.bytes`, 1 MiB.
const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// More than what the record of an offset has beside its texts.
const OFFSET_RECORD_BYTES: usize = 64;

/// Every record names the group and the topic, so a small request can ask for gigabytes.
fn check_size(request: &m::OffsetCommitRequest) -> Result<(), ErrorCode> {
    let topics = request.topics.iter().map(|topic| {
        let names = request.group_id.len() + topic.name.len() + OFFSET_RECORD_BYTES;
        let metadata = topic.partitions.iter().filter_map(|one| one.committed_metadata.as_ref());
        names * topic.partitions.len() + metadata.map(|text| text.len()).sum::<usize>()
    });
    if topics.sum::<usize>() <= COMMIT_BYTES_MAX {
        Ok(())
    } else {
        Err(ErrorCode::InvalidCommitOffsetSize)
    }
}

/// A topic may have been deleted, or made anew, since the caller looked up its id.
fn check_topic(
    topic: &OffsetCommitRequestTopic,
    api_version: i16,
    env: &Env<'_>,
) -> Result<(), ErrorCode> {
    let present = env.cluster.topic(&topic.name).map(|topic| topic.id);
    if topic.topic_id.is_zero() || present == Some(topic.topic_id) {
        Ok(())
    } else if api_version >= TOPIC_IDS_FROM {
        Err(ErrorCode::UnknownTopicId)
    } else {
        Err(ErrorCode::UnknownTopicOrPartition)
    }
}

fn commit_record(
    request: &m::OffsetCommitRequest,
    topic: &OffsetCommitRequestTopic,
    partition: &OffsetCommitRequestPartition,
    env: &Env<'_>,
) -> Record {
    let mut value = m::OffsetCommitValue {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_ref().map_or_else(StrBytes::new, Clone::clone),
        commit_timestamp: env.wall.0,
        topic_id: topic.topic_id,
        ..Default::default()
    };
    if request.retention_time_ms != -1 {
        // The one version that has a place for the moment has none for these.
        value.expire_timestamp = env.wall.0.saturating_add(request.retention_time_ms).max(0);
        value.leader_epoch = -1;
        value.topic_id = model::TopicId::ZERO;
    }
    let key = m::OffsetCommitKey {
        group: request.group_id.clone(),
        topic: topic.name.clone(),
        partition: partition.partition_index,
    };
    Record::OffsetCommit { key, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use protocol::messages::offset_commit_request::OffsetCommitRequestTopic;

    use super::*;

    #[test]
    fn a_small_request_can_not_ask_for_gigabytes() {
        let commit = |name_bytes: usize, count: usize| {
            let partitions = vec![OffsetCommitRequestPartition::default(); count];
            let topic = OffsetCommitRequestTopic { partitions, ..Default::default() };
            check_size(&m::OffsetCommitRequest {
                group_id: StrBytes::from("g".repeat(name_bytes)),
                topics: vec![topic],
                ..Default::default()
            })
        };
        assert_eq!(commit(32_000, 66_000), Err(ErrorCode::InvalidCommitOffsetSize));
        assert_eq!(commit(32_000, 500), Ok(()));
        assert_eq!(commit(20, 100_000), Ok(()));
    }
}
