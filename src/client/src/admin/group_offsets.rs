//! What groups have committed: reading, setting, deleting.

use std::collections::{BTreeMap, BTreeSet};

use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::{
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchResponse,
};
use protocol::{ErrorCode, StrBytes};

use super::{Admin, PerItem};
use crate::error::{BrokerError, ClientError};
use crate::group::Offsets;
use crate::group::offsets::{
    CommittedOffset, Identity, TopicIds, commit_answers, commit_request, fetch_answers,
    fetch_request,
};
use crate::metadata::TopicPartition;

/// The newest version of OffsetFetch that answers with names, which all offsets of a group need.
const NAMED_VERSION_MAX: i16 = 9;

impl Admin {
    /// The committed offsets of `partitions`, of all that there are when `None`. Partitions without
    /// one are left out.
    ///
    /// `require_stable` waits for open transactions that commit offsets of the group.
    pub async fn list_group_offsets(
        &self,
        group: &StrBytes,
        partitions: Option<&BTreeSet<TopicPartition>>,
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let identity = Identity::outsider(group.clone());
        let wanted: Option<Vec<TopicPartition>> =
            partitions.map(|partitions| partitions.iter().cloned().collect());
        let ids = TopicIds::default();
        let build = move |version| {
            fetch_request(&identity, wanted.as_deref(), &ids, require_stable, version)
        };
        let judge = |response: OffsetFetchResponse| {
            let mut offsets = BTreeMap::new();
            for (at, offset) in fetch_answers(group, response, &TopicIds::default())? {
                if let Some(offset) = offset? {
                    offsets.insert(at, offset);
                }
            }
            Ok(offsets)
        };
        self.client.ask_coordinator(group, NAMED_VERSION_MAX, build, judge).await
    }

    /// Sets the committed offsets of a group that has no members.
    ///
    /// # Errors
    /// The request as a whole failed. Each partition has a result of its own: `UNKNOWN_MEMBER_ID`
    /// when the group has members.
    pub async fn alter_group_offsets(
        &self,
        group: &StrBytes,
        offsets: &Offsets,
    ) -> Result<PerItem<TopicPartition, ()>, ClientError> {
        let identity = Identity::outsider(group.clone());
        let (ids, wanted) = (TopicIds::default(), offsets.clone());
        let build = move |version| commit_request(&identity, &wanted, &ids, version);
        let judge = |response: OffsetCommitResponse| {
            let answers = commit_answers(response, &TopicIds::default());
            match answers.values().find(|code| is_of_the_group(**code)) {
                Some(&code) => Err(BrokerError { code, message: None }),
                None => Ok(answers),
            }
        };
        let answers = self.client.ask_coordinator(group, NAMED_VERSION_MAX, build, judge).await?;
        let result = |(at, code): (TopicPartition, ErrorCode)| {
            (at, BrokerError::check(code.code(), None).map_err(ClientError::from))
        };
        Ok(answers.into_iter().map(result).collect())
    }

    /// Deletes committed offsets of partitions that no member of the group subscribes to.
    ///
    /// # Errors
    /// The request as a whole failed. Each partition has a result of its own:
    /// `GROUP_SUBSCRIBED_TO_TOPIC` when a member reads it.
    pub async fn delete_group_offsets(
        &self,
        group: &StrBytes,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<PerItem<TopicPartition, ()>, ClientError> {
        let mut topics: Vec<OffsetDeleteRequestTopic> = Vec::new();
        for at in partitions {
            let partition = OffsetDeleteRequestPartition { partition_index: at.partition.0 };
            match topics.last_mut().filter(|topic| topic.name == at.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetDeleteRequestTopic {
                    name: at.topic.clone(),
                    partitions: vec![partition],
                }),
            }
        }
        let request = OffsetDeleteRequest { group_id: group.clone(), topics };
        let build = move |_| request.clone();
        let judge = |response: OffsetDeleteResponse| {
            BrokerError::check(response.error_code, None)?;
            Ok(response.topics)
        };
        let topics = self.client.ask_coordinator(group, i16::MAX, build, judge).await?;
        let mut results = PerItem::new();
        for topic in topics {
            for partition in topic.partitions {
                let at = TopicPartition::new(topic.name.clone(), partition.partition_index);
                let result = BrokerError::check(partition.error_code, None);
                results.insert(at, result.map_err(ClientError::from));
            }
        }
        Ok(results)
    }
}

/// Codes that OffsetCommit has no place for but in its partitions.
fn is_of_the_group(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::InvalidGroupId
            | ErrorCode::GroupIdNotFound
    )
}
