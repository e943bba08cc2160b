//! A number that changes when the topics of a group change.
//!
//! In: the topics that a group subscribes to. Out: 64 bits over their names, ids and partition
//! counts; 0 for none. Kafka keeps such a number in the same place and computes it another way, so a
//! group that moves from Kafka gets one new assignment.

use std::collections::BTreeMap;

use protocol::StrBytes;

use crate::cluster::Topic;

/// FNV-1a: of fixed order and width, so that every broker computes the same.
pub(super) fn metadata_hash(topics: &BTreeMap<StrBytes, Topic>) -> i64 {
    if topics.is_empty() {
        return 0;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for topic in topics.values() {
        add(topic.name.as_bytes());
        // No topic name has this byte, so two names never run into each other.
        add(&[0]);
        add(&topic.id.0);
        add(&topic.partition_count.to_be_bytes());
    }
    hash as i64
}
