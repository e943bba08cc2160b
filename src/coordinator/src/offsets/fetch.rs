//! OffsetFetch: how far a group has read.
//!
//! What is not known is -1, not an error. Every offset is stable: no transaction commits offsets yet.

use model::{PartitionIndex, TopicId};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use protocol::{ErrorCode, StrBytes};

use super::Committed;
use crate::call::Response;
use crate::group::Group;
use crate::shard::{Caller, Env, Output, Shard};

impl Shard {
    pub(crate) fn fetch_offsets(
        &mut self,
        from: Caller,
        request: OffsetFetchRequestGroup,
        _require_stable: bool,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        let check = match self.groups.get(&request.group_id) {
            Some(Group::Consumer(group)) => {
                group.check_offset_fetch(request.member_id.as_deref(), request.member_epoch)
            }
            Some(Group::Classic(_)) | None => Ok(()),
        };
        let id = &request.group_id;
        let topics = match (&check, &request.topics) {
            (Err(_), _) => Vec::new(),
            (Ok(()), Some(topics)) => {
                topics.iter().map(|topic| self.committed(id, topic, env)).collect()
            }
            (Ok(()), None) => self.all_committed(id, from.api_version, env),
        };
        let group = OffsetFetchResponseGroup {
            group_id: request.group_id,
            topics,
            error_code: check.err().map_or(0, ErrorCode::code),
            ..Default::default()
        };
        out.answer(from.ticket, Response::OffsetFetch(group));
    }

    /// What is known of a topic: nothing of what was committed for another one of its name, whether
    /// the caller says by an id which one is meant or it is the one that there is now.
    fn committed(
        &self,
        id: &str,
        topic: &OffsetFetchRequestTopics,
        env: &Env<'_>,
    ) -> OffsetFetchResponseTopics {
        let present = env.cluster.topic(&topic.name).map_or(TopicId::ZERO, |topic| topic.id);
        let is_of_it = |known: &&Committed| {
            !known.is_of_another(present) && !known.is_of_another(topic.topic_id)
        };
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let partition = PartitionIndex(*partition);
            let known = self.offsets.get(id, &topic.name, partition);
            answer(partition, known.filter(is_of_it))
        });
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
            ..Default::default()
        }
    }

    /// From version 10 on, topics have no names: who has no id can not be told of.
    fn all_committed(
        &self,
        id: &str,
        api_version: i16,
        env: &Env<'_>,
    ) -> Vec<OffsetFetchResponseTopics> {
        let mut answers = Vec::new();
        for (name, partitions) in self.offsets.of_group(id) {
            let topic_id = env.cluster.topic(name).map_or(TopicId::ZERO, |topic| topic.id);
            if topic_id.is_zero() && api_version >= 10 {
                continue;
            }
            let partitions = partitions.iter().filter(|(_, known)| !known.is_of_another(topic_id));
            let partitions: Vec<_> =
                partitions.map(|(partition, known)| answer(*partition, Some(known))).collect();
            if partitions.is_empty() {
                continue;
            }
            answers.push(OffsetFetchResponseTopics {
                name: name.clone(),
                topic_id,
                partitions,
                ..Default::default()
            });
        }
        answers
    }
}

fn answer(partition: PartitionIndex, known: Option<&Committed>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition.0,
        committed_offset: known.map_or(-1, |known| known.offset.0),
        committed_leader_epoch: known.map_or(-1, |known| known.leader_epoch.0),
        metadata: Some(known.map_or_else(StrBytes::new, |known| known.metadata.clone())),
        ..Default::default()
    }
}
