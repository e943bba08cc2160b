//! What classic consumers and their groups carry as opaque bytes: subscriptions and assignments
//! (`ConsumerProtocol`).
//!
//! Both begin with a version. One that is newer than we know is read as the newest that we do, as
//! Kafka does: fields are only ever added at the end.

use bytes::Bytes;
use model::TopicId;
use protocol::messages as m;
use protocol::messages::consumer_protocol_assignment::TopicPartition;
use protocol::{Decode, Encode, EncodeError, Reader, Writer};

use crate::cluster::Cluster;

use super::partitions::{Owned, Partitions};

/// The protocol type of consumers.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

const VERSION_MAX: i16 = 3;

/// A subscription; nothing when the bytes are none.
pub(super) fn subscription(bytes: &Bytes) -> Option<m::ConsumerProtocolSubscription> {
    decode(bytes)
}

/// An assignment; nothing when the bytes are none. No bytes at all are an empty assignment.
pub(super) fn assignment(bytes: &Bytes) -> Option<m::ConsumerProtocolAssignment> {
    if bytes.is_empty() {
        return Some(m::ConsumerProtocolAssignment::default());
    }
    decode(bytes)
}

fn decode<T: Decode>(bytes: &Bytes) -> Option<T> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0)?;
    T::decode(&mut reader, version.min(VERSION_MAX)).ok()
}

/// The version of a subscription: that of the assignment it is answered with.
pub(super) fn version(subscription: &Bytes) -> i16 {
    let version = Reader::new(subscription.clone()).i16();
    version.map_or(0, |version| version.clamp(0, VERSION_MAX))
}

/// The bytes of an assignment. Topics that are gone are left out: they have no name.
///
/// # Errors
/// A list or a name is longer than its length field can say.
pub(super) fn encode_assignment<'a>(
    topics: impl Iterator<Item = (&'a TopicId, Vec<i32>)>,
    cluster: &dyn Cluster,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let named = topics.filter_map(|(topic, partitions)| {
        Some(TopicPartition { topic: cluster.topic_by_id(*topic)?.name, partitions })
    });
    let message = m::ConsumerProtocolAssignment {
        assigned_partitions: named.collect(),
        ..Default::default()
    };
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// What a member owns, as [`encode_assignment`] wants it.
pub(super) fn owned(owned: &Owned) -> impl Iterator<Item = (&TopicId, Vec<i32>)> {
    owned.iter().map(|(topic, partitions)| (topic, partitions.keys().copied().collect()))
}

/// What a member shall own, as [`encode_assignment`] wants it.
pub(super) fn targeted(target: &Partitions) -> impl Iterator<Item = (&TopicId, Vec<i32>)> {
    target.iter().map(|(topic, partitions)| (topic, partitions.iter().copied().collect()))
}
