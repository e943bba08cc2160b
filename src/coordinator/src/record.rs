//! The records of `__consumer_offsets`, byte-compatible with Kafka 4.3.
//!
//! In: key and value of a log record. Out: a typed [`Record`], and back. The first two bytes of a key
//! say its kind, the first two of a value its version (`CoordinatorRecordSerde`). A record without a
//! value takes away what the key names.
//!
//! Kinds that this klamm does not know (share and streams groups) are not errors: they stay in the log,
//! compaction keeps them by their keys.

use bytes::Bytes;
use protocol::messages as m;
use protocol::{Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// Why the bytes of a record could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A record of this topic always has a key.
    #[error("a record without a key")]
    NoKey,
    /// The key is not what its kind says.
    #[error("decode the key of a {kind} record")]
    Key {
        /// The record's kind.
        kind: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The value is not what the key says.
    #[error("decode the value of a {kind} record")]
    Value {
        /// The record's kind.
        kind: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
}

macro_rules! records {
    ($($(#[$doc:meta])* $kind:ident($key:ident, $value:ident): key $key_version:literal $(| $old:literal)?, value $value_version:expr;)*) => {
        /// One record of `__consumer_offsets`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Record {
            $(
                $(#[$doc])*
                $kind {
                    /// What it is about.
                    key: m::$key,
                    /// What holds from here on; none when the key's thing ends.
                    value: Option<m::$value>,
                },
            )*
        }

        impl Record {
            /// Reads a record; `None` for kinds that this klamm does not know.
            ///
            /// # Errors
            /// The bytes are not a record of a known kind.
            pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Option<Record>, RecordError> {
                let mut reader = Reader::new(key.ok_or(RecordError::NoKey)?);
                let kind = reader.i16().map_err(|source| RecordError::Key { kind: "nameless", source })?;
                match kind {
                    $(
                        $key_version $(| $old)? => {
                            let name = stringify!($kind);
                            let key = m::$key::decode(&mut reader, kind)
                                .map_err(|source| RecordError::Key { kind: name, source })?;
                            let value = value
                                .map(|bytes| decode_value::<m::$value>(bytes))
                                .transpose()
                                .map_err(|source| RecordError::Value { kind: name, source })?;
                            Ok(Some(Record::$kind { key, value }))
                        }
                    )*
                    _ => Ok(None),
                }
            }

            /// Key and value as they stand in the log.
            ///
            /// # Errors
            /// A text or a list is longer than its length field can say.
            pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
                match self {
                    $(
                        Record::$kind { key, value } => {
                            let version: fn(&m::$value) -> i16 = $value_version;
                            let value = value.as_ref().map(|value| encode(value, version(value)));
                            Ok((encode(key, $key_version)?, value.transpose()?))
                        }
                    )*
                }
            }
        }
    };
}

records! {
    /// A committed offset of a group, classic or not.
    OffsetCommit(OffsetCommitKey, OffsetCommitValue): key 1 | 0, value offset_commit_version;
    /// A classic group with all its members.
    GroupMetadata(GroupMetadataKey, GroupMetadataValue): key 2, value |_| 3;
    /// The epoch of a consumer group (KIP-848).
    ConsumerGroupMetadata(ConsumerGroupMetadataKey, ConsumerGroupMetadataValue): key 3, value |_| 0;
    /// What the topics of a consumer group looked like; since Kafka 4.1 only taken away.
    ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue): key 4, value |_| 0;
    /// A member of a consumer group.
    ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue): key 5, value |_| 0;
    /// The epoch of a consumer group's target assignment.
    ConsumerGroupTargetAssignmentMetadata(ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue): key 6, value |_| 0;
    /// What a member of a consumer group shall own.
    ConsumerGroupTargetAssignmentMember(ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue): key 7, value |_| 0;
    /// What a member of a consumer group owns now.
    ConsumerGroupCurrentMemberAssignment(ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue): key 8, value |_| 0;
    /// What a pattern of a consumer group matched last.
    ConsumerGroupRegularExpression(ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue): key 16, value |_| 0;
}

/// Version 1 alone has a time of its own to expire at (`GroupCoordinatorRecordHelpers`).
fn offset_commit_version(value: &m::OffsetCommitValue) -> i16 {
    if value.expire_timestamp >= 0 { 1 } else { 4 }
}

fn decode_value<T: Decode>(bytes: Bytes) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    T::decode(&mut reader, version)
}

fn encode(message: &impl Encode, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}
