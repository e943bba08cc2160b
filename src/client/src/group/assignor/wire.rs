//! What members of a classic group tell their leader, and what it tells them: `ConsumerProtocol`.
//!
//! In and out: bytes with a version in front, `ConsumerProtocolSubscription` and
//! `ConsumerProtocolAssignment`. Written in version 3 as kafka-clients writes them (sorted topics,
//! owned partitions and their generation, KIP-429 and KIP-792), read in any version; a newer one is
//! read as version 3. What other members wrote is an error at worst.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use protocol::{Decode, DecodeError, Encode, Message, Reader, StrBytes, Writer};

use super::{Assignor, GroupMember};
use crate::metadata::TopicPartition;

/// The version that is written, and the newest that is read.
const VERSION: i16 = 3;

/// What a member says of itself when it joins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<StrBytes>,
    /// What it has when it joins: nothing for eager protocols.
    pub(crate) owned: BTreeSet<TopicPartition>,
    /// What it was given last, for the eager sticky assignor.
    pub(crate) previous: BTreeSet<TopicPartition>,
    /// The generation of that; -1 before the first.
    pub(crate) generation: i32,
    pub(crate) rack: Option<StrBytes>,
}

impl Subscription {
    /// The metadata of a JoinGroup request, for one assignor.
    pub(crate) fn encode(&self, assignor: Assignor) -> Bytes {
        let message = ConsumerProtocolSubscription {
            topics: self.topics.iter().cloned().collect(),
            user_data: self.user_data(assignor),
            owned_partitions: by_topic(&self.owned)
                .map(|(topic, partitions)| OwnedTopic { topic, partitions })
                .collect(),
            generation_id: self.generation,
            rack_id: self.rack.clone(),
        };
        prefixed(&message)
    }

    fn user_data(&self, assignor: Assignor) -> Option<Bytes> {
        match assignor {
            Assignor::Range | Assignor::RoundRobin => None,
            // `StickyAssignor` version 1.
            Assignor::Sticky if self.generation < 0 => None,
            Assignor::Sticky => {
                let mut writer = Writer::new();
                let topics: Vec<(StrBytes, Vec<i32>)> = by_topic(&self.previous).collect();
                let written = writer.array(&topics, false, |writer, (topic, partitions)| {
                    writer.string(topic, false)?;
                    writer.array(partitions, false, |writer, partition| {
                        writer.i32(*partition);
                        Ok(())
                    })
                });
                written.expect("topics came from metadata, so their names fit");
                writer.i32(self.generation);
                Some(writer.into_bytes())
            }
            Assignor::CooperativeSticky => {
                Some(Bytes::copy_from_slice(&self.generation.to_be_bytes()))
            }
        }
    }
}

fn by_topic(
    partitions: &BTreeSet<TopicPartition>,
) -> impl Iterator<Item = (StrBytes, Vec<i32>)> + use<> {
    let mut topics: BTreeMap<StrBytes, Vec<i32>> = BTreeMap::new();
    for at in partitions {
        topics.entry(at.topic.clone()).or_default().push(at.partition.0);
    }
    topics.into_iter()
}

fn prefixed(message: &impl Encode) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(VERSION);
    message
        .encode(&mut writer, VERSION)
        .expect("topic names and lists that came over the wire fit");
    writer.into_bytes()
}

/// The version in front of `bytes`, as far as it is understood here, and the rest.
fn versioned(bytes: &Bytes) -> Result<(Reader, i16), DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    Ok((reader, version.min(VERSION)))
}

/// A member as JoinGroup's response shows it to the leader. `metadata` is for `assignor`.
pub(crate) fn decode_member(
    member_id: StrBytes,
    instance_id: Option<StrBytes>,
    metadata: &Bytes,
    assignor: Assignor,
) -> Result<GroupMember, DecodeError> {
    let (mut reader, version) = versioned(metadata)?;
    let message = ConsumerProtocolSubscription::decode(&mut reader, version)?;
    let listed = message.owned_partitions.iter();
    let mut owned = partitions(listed.map(|topic| (&topic.topic, &topic.partitions)));
    let mut generation = message.generation_id;
    let user_data = message.user_data.unwrap_or_default();
    match assignor {
        // What the user data does not tell, nobody knows: the assignor's rule for bad bytes too.
        Assignor::Sticky => {
            (owned, generation) = previous_assignment(user_data).unwrap_or_default();
        }
        Assignor::CooperativeSticky if generation < 0 && user_data.len() >= 4 => {
            generation = Reader::new(user_data).i32()?;
        }
        Assignor::Range | Assignor::RoundRobin | Assignor::CooperativeSticky => {}
    }
    Ok(GroupMember {
        member_id: member_id.detached(),
        instance_id: instance_id.as_ref().map(StrBytes::detached),
        topics: message.topics.iter().map(StrBytes::detached).collect(),
        owned,
        generation,
    })
}

/// The user data of the sticky assignor; before version 1 without a generation.
fn previous_assignment(bytes: Bytes) -> Option<(BTreeSet<TopicPartition>, i32)> {
    let mut reader = Reader::new(bytes);
    let topics: Vec<(StrBytes, Vec<i32>)> = reader
        .array(false, |reader| Ok((reader.string(false)?, reader.array(false, Reader::i32)?)))
        .ok()?;
    let generation = reader.i32().unwrap_or(-1);
    Some((partitions(topics.iter().map(|(topic, list)| (topic, list))), generation))
}

fn partitions<'a>(
    topics: impl Iterator<Item = (&'a StrBytes, &'a Vec<i32>)>,
) -> BTreeSet<TopicPartition> {
    let mut all = BTreeSet::new();
    for (topic, list) in topics {
        let topic = topic.detached();
        all.extend(list.iter().map(|partition| TopicPartition::new(topic.clone(), *partition)));
    }
    all
}

/// What a leader writes for one member into SyncGroup.
pub(crate) fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let all: BTreeSet<TopicPartition> = partitions.iter().cloned().collect();
    let assigned_partitions =
        by_topic(&all).map(|(topic, partitions)| AssignedTopic { topic, partitions }).collect();
    prefixed(&ConsumerProtocolAssignment { assigned_partitions, user_data: None })
}

/// What a member gets out of SyncGroup. No bytes at all are no partitions: the leader did not know
/// this member.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (mut reader, version) = versioned(bytes)?;
    let message = ConsumerProtocolAssignment::decode(&mut reader, version)?;
    let topics = message.assigned_partitions.iter();
    Ok(partitions(topics.map(|topic| (&topic.topic, &topic.partitions))))
}

/// The topics that a member's metadata names.
pub(crate) fn decode_topics(metadata: &Bytes) -> Result<BTreeSet<StrBytes>, DecodeError> {
    let (mut reader, version) = versioned(metadata)?;
    debug_assert!(version <= *ConsumerProtocolSubscription::VERSIONS.end());
    let message = ConsumerProtocolSubscription::decode(&mut reader, version)?;
    Ok(message.topics.iter().map(StrBytes::detached).collect())
}
