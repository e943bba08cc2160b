//! OffsetDelete: an admin has a group forget how far it has read (KIP-496).

use model::PartitionIndex;
use protocol::messages as m;
use protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use protocol::{ErrorCode, StrBytes};

use super::tombstone;
use crate::call::Response;
use crate::group::Group;
use crate::shard::{Caller, Output, Shard};

impl Shard {
    pub(crate) fn delete_offsets(
        &mut self,
        from: Caller,
        request: m::OffsetDeleteRequest,
        out: &mut Output,
    ) {
        let mut response = m::OffsetDeleteResponse::default();
        match self.check_offset_delete(&request.group_id) {
            Err(error) => response.error_code = error.code(),
            Ok(()) => {
                for topic in request.topics {
                    let answer = self.delete_offsets_of_topic(&request.group_id, topic, out);
                    response.topics.push(answer);
                }
            }
        }
        out.answer(from.ticket, Response::OffsetDelete(response));
    }

    /// Of a group with members it must be known what they read.
    fn check_offset_delete(&self, id: &str) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.groups.get(id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(group @ Group::Classic(classic))
                if !group.is_empty() && !classic.is_of_consumers() =>
            {
                Err(ErrorCode::NonEmptyGroup)
            }
            Some(_) => Ok(()),
        }
    }

    fn delete_offsets_of_topic(
        &mut self,
        id: &StrBytes,
        topic: m::offset_delete_request::OffsetDeleteRequestTopic,
        out: &mut Output,
    ) -> OffsetDeleteResponseTopic {
        let is_read = self.groups.get(id).is_some_and(|group| group.is_subscribed_to(&topic.name));
        let error = if is_read { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let mut partitions = Vec::new();
        for partition in topic.partitions {
            let index = PartitionIndex(partition.partition_index);
            if !is_read && self.offsets.get(id, &topic.name, index).is_some() {
                self.write(tombstone(id, &topic.name, index), out);
            }
            partitions.push(OffsetDeleteResponsePartition {
                partition_index: index.0,
                error_code: error.code(),
            });
        }
        OffsetDeleteResponseTopic { name: topic.name, partitions }
    }
}
