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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::classic::ClassicState;
    use crate::config::Config;
    use crate::shard::Shard;

    // What Kafka 4.3.0 wrote for its own clients: a consumer without members, then two consumers of
    // the classic protocol, one of them static, until their group was deleted.
    const SIMPLE_COMMIT: (&str, &str) = (
        "0001000673696d706c6500066f726465727300000000",
        "0004000000000000002a00000003066dc3a97461000001a21fdb19e2010010e858664068e14273bb7c3398230ba36d",
    );
    const NEW_GROUP: (&str, &str) =
        ("000200076d656d62657273", "0003000000000000ffffffff000001a21fdb1b9f00000000");
    const STABLE_GROUP: (&str, &str) = (
        "000200076d656d62657273",
        "00030008636f6e73756d657200000001000572616e67650029696e73742d64663237343266612d623665642d343131322d626435662d626461623333316232373636000001a21fdb1d42000000020029696e73742d64663237343266612d623665642d343131322d626435662d6264616233333162323736360004696e7374000163000a2f3132372e302e302e31000493e00000afc80000001c00030000000100066f7264657273ffffffff00000000ffffffffffff0000001a00030000000100066f72646572730000000100000000ffffffff0026632d63346435313263662d343665312d346465622d393432612d633038663238636336366663ffff000163000a2f3132372e302e302e31000493e00000afc80000001c00030000000100066f7264657273ffffffff00000000ffffffffffff0000001a00030000000100066f72646572730000000100000001ffffffff",
    );
    const MEMBER_COMMIT: (&str, &str) = (
        "000100076d656d6265727300066f726465727300000001",
        "00040000000000000007ffffffff01000001a21fdb214d010010e858664068e14273bb7c3398230ba36d",
    );
    const EMPTY_GROUP: (&str, &str) = (
        "000200076d656d62657273",
        "00030008636f6e73756d657200000002ffffffff000001a21fdb24ed00000000",
    );
    const COMMIT_GONE: (&str, &str) = ("000100076d656d6265727300066f726465727300000000", "");
    const GROUP_GONE: (&str, &str) = ("000200076d656d62657273", "");

    const HISTORY: [(&str, &str); 7] = [
        SIMPLE_COMMIT,
        NEW_GROUP,
        STABLE_GROUP,
        MEMBER_COMMIT,
        EMPTY_GROUP,
        COMMIT_GONE,
        GROUP_GONE,
    ];

    fn bytes(hex: &str) -> Bytes {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn raw((key, value): (&str, &str)) -> (Bytes, Option<Bytes>) {
        (bytes(key), Some(bytes(value)).filter(|value| !value.is_empty()))
    }

    fn decode(pair: (&str, &str)) -> Record {
        let (key, value) = raw(pair);
        Record::decode(Some(key), value).unwrap().unwrap()
    }

    #[test]
    fn records_of_kafka_come_back_byte_for_byte() {
        for pair in HISTORY {
            assert_eq!(decode(pair).encode().unwrap(), raw(pair));
        }
    }

    #[test]
    fn a_history_of_kafka_is_replayed() {
        let mut shard = Shard::new(Arc::new(Config::default()));
        let mut told = Vec::new();
        for pair in HISTORY {
            shard.replay(decode(pair));
            let groups = shard.groups.keys().map(|id| {
                let group = shard.classic(id).unwrap();
                let members: Vec<_> = group.static_members.keys().map(|id| id.as_str()).collect();
                let topics = group.subscribed_topics.as_ref().map(|topics| topics.len());
                let state = group.state.name();
                let offsets = shard.offsets.of_group(id).count();
                let (generation, count) = (group.generation, group.members.len());
                format!("{id} {state} {generation} {count} {members:?} {topics:?} {offsets}")
            });
            told.push(groups.collect::<Vec<_>>().join("; "));
        }
        expect_test::expect![[r#"
            simple Empty 0 0 [] None 1
            members Empty 0 0 [] None 0; simple Empty 0 0 [] None 1
            members Stable 1 2 ["inst"] Some(1) 0; simple Empty 0 0 [] None 1
            members Stable 1 2 ["inst"] Some(1) 1; simple Empty 0 0 [] None 1
            members Empty 2 0 [] Some(0) 1; simple Empty 0 0 [] None 1
            members Empty 2 0 [] Some(0) 1; simple Empty 0 0 [] None 1
            simple Empty 0 0 [] None 1"#]]
        .assert_eq(&told.join("\n"));
        assert!(shard.classic("simple").is_some_and(|group| group.state == ClassicState::Empty));
    }

    #[test]
    fn an_offset_with_a_moment_to_expire_has_version_1() {
        let mut record = decode(SIMPLE_COMMIT);
        if let Record::OffsetCommit { value: Some(value), .. } = &mut record {
            value.expire_timestamp = 7;
            value.leader_epoch = -1;
            value.topic_id = model::TopicId::ZERO;
        }
        let (key, value) = record.encode().unwrap();
        assert_eq!(value.as_ref().unwrap()[..2], [0, 1]);
        assert_eq!(Record::decode(Some(key), value).unwrap(), Some(record));
    }

    #[test]
    fn kinds_from_elsewhere_are_let_be() {
        assert_eq!(Record::decode(Some(Bytes::from_static(&[0, 17])), None), Ok(None));
        assert_eq!(Record::decode(Some(Bytes::from_static(&[0, 14, 1, 2])), None), Ok(None));
    }

    #[test]
    fn offsets_have_two_kinds_of_keys() {
        let (key, value) = raw(SIMPLE_COMMIT);
        let mut old = key.to_vec();
        old[1] = 0;
        let record = Record::decode(Some(old.into()), value.clone()).unwrap();
        assert_eq!(record, Record::decode(Some(key), value).unwrap());
    }

    #[test]
    fn what_is_not_a_record_is_an_error() {
        assert_eq!(Record::decode(None, None), Err(RecordError::NoKey));
        let short = Record::decode(Some(Bytes::from_static(&[0])), None);
        assert!(matches!(short, Err(RecordError::Key { kind: "nameless", .. })));
        let (key, _) = raw(STABLE_GROUP);
        let cut = Record::decode(Some(key.slice(..5)), None);
        assert!(matches!(cut, Err(RecordError::Key { kind: "GroupMetadata", .. })));
        let version = Record::decode(Some(key), Some(Bytes::from_static(&[0, 99])));
        assert!(matches!(version, Err(RecordError::Value { kind: "GroupMetadata", .. })));
    }

    proptest! {
        /// Bytes from the disk are errors at worst, also in a shard that takes them in.
        #[test]
        fn damaged_records_do_no_harm(
            damage in proptest::collection::vec((0..HISTORY.len(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut shard = Shard::new(Arc::new(Config::default()));
            for (place, pair) in HISTORY.into_iter().enumerate() {
                let (key, value) = raw(pair);
                let mut value = value.map(|value| value.to_vec());
                for (_, at, byte) in damage.iter().filter(|(damaged, ..)| *damaged == place) {
                    if let Some(value) = &mut value {
                        let at = at.index(value.len());
                        value[at] = *byte;
                    }
                }
                if let Ok(Some(record)) = Record::decode(Some(key), value.map(Bytes::from)) {
                    shard.replay(record);
                    for id in shard.groups.keys() {
                        shard.classic(id).unwrap().assert_invariants();
                    }
                }
            }
        }
    }
}
