//! Looking up offsets: the ends of a partition, or the first record from some time on.

use model::{LeaderEpoch, Offset, Timestamp};
use protocol::messages::ListOffsetsRequest;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;

use std::collections::BTreeMap;

use crate::client::Client;
use crate::error::BrokerError;
use crate::leaders::{Asked, PerPartition};
use crate::metadata::TopicPartition;

/// Which records of transactions a reader sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All of them (`read_uncommitted`).
    #[default]
    ReadUncommitted,
    /// Those of committed transactions (`read_committed`).
    ReadCommitted,
}

impl IsolationLevel {
    /// As requests carry it.
    pub fn wire(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

/// What to look for in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset there is.
    Earliest,
    /// Behind the last record a reader may see.
    Latest,
    /// The record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record that is not older than this.
    At(Timestamp),
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::At(timestamp) => timestamp.0,
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` when no record is that young.
    pub offset: Option<Offset>,
    /// The timestamp of the record at the offset, for the lookups that look at records.
    pub timestamp: Option<Timestamp>,
    /// The epoch of the leader that wrote the record.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Client {
    /// Looks up one offset in each partition.
    pub async fn list_offsets(
        &self,
        specs: &BTreeMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> PerPartition<ListedOffset> {
        let timeout_ms = crate::producer::millis(self.config().request_timeout);
        let request = |asked: &Asked| {
            let mut topics: Vec<ListOffsetsTopic> = Vec::new();
            for (at, epoch) in asked {
                let partition = ListOffsetsPartition {
                    partition_index: at.partition.0,
                    current_leader_epoch: epoch.0,
                    timestamp: specs.get(at).copied().unwrap_or(OffsetSpec::Latest).wire(),
                    ..Default::default()
                };
                match topics.last_mut().filter(|topic| topic.name == at.topic) {
                    Some(topic) => topic.partitions.push(partition),
                    None => topics.push(ListOffsetsTopic {
                        name: at.topic.clone(),
                        partitions: vec![partition],
                        ..Default::default()
                    }),
                }
            }
            let isolation_level = isolation.wire();
            let replica_id = -1;
            ListOffsetsRequest {
                replica_id,
                isolation_level,
                topics,
                timeout_ms,
                ..Default::default()
            }
        };
        let answers = |response: protocol::messages::ListOffsetsResponse| {
            let mut results = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let at = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    results.push((at, listed(&partition)));
                }
            }
            results
        };
        self.ask_leaders(specs.keys().cloned(), request, answers).await
    }
}

fn listed(answer: &ListOffsetsPartitionResponse) -> Result<ListedOffset, BrokerError> {
    BrokerError::check(answer.error_code, None)?;
    Ok(ListedOffset {
        offset: (answer.offset >= 0).then_some(Offset(answer.offset)),
        timestamp: (answer.timestamp >= 0).then_some(Timestamp(answer.timestamp)),
        leader_epoch: (answer.leader_epoch >= 0).then_some(LeaderEpoch(answer.leader_epoch)),
    })
}
