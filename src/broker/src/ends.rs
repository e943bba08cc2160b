//! The ends of every open partition, for whoever watches over them.
//!
//! Invariant that holds at every moment, and that the simulator checks after every step of an owner:
//! `log_start <= high_watermark <= durable_end <= log_end`, and none of them falls while the
//! partition is open.

use model::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use protocol::StrBytes;

use crate::shared::Shared;

/// Where one partition begins and ends, each as its owner last said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionEnds {
    /// The topic's name.
    pub topic: StrBytes,
    /// Its identity: another one may have had its name.
    pub topic_id: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
    /// The epoch in which this broker leads it.
    pub leader_epoch: LeaderEpoch,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Consumers read below this.
    pub high_watermark: Offset,
    /// What lies below may be acknowledged.
    pub durable_end: Offset,
    /// The offset behind the last record written.
    pub log_end: Offset,
    /// Whether an error of the disk ended all changes.
    pub is_offline: bool,
}

/// The ends of everything that is open.
pub(crate) fn all(shared: &Shared) -> Vec<PartitionEnds> {
    let registry = shared.registry.borrow();
    let mut all = Vec::new();
    for topic in registry.topics() {
        for (partition, index) in topic.partitions.iter().zip(0..) {
            let Some(partition) = partition else { continue };
            let reader = partition.reader();
            // What is never above is read first: the owner goes on meanwhile.
            all.push(PartitionEnds {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partition: PartitionIndex(index),
                leader_epoch: partition.leader_epoch(),
                log_start: reader.log_start(),
                high_watermark: partition.high_watermark(),
                durable_end: reader.durable_end(),
                log_end: reader.log_end(),
                is_offline: reader.is_offline(),
            });
        }
    }
    all
}
