//! What holds for one topic, as plain typed values.
//!
//! In: what is set on the topic, and the broker's layers. Out: a [`TopicConfig`]. A value that can not
//! be read (it was checked when it was set) is passed over for the next layer's.

use crate::config::definition::{parts, permille};
use crate::config::layers::Layers;
use crate::config::{ConfigError, topic_definition};
use crate::image::Overrides;

/// When an append counts as durable (`klamm.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once its bytes were synced to the disk.
    Fsync,
    /// Once the operating system has them.
    Os,
}

/// What becomes of old records (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Segments are deleted by age and size.
    pub delete: bool,
    /// The last record of each key is kept.
    pub compact: bool,
}

/// How batches are compressed in the log (`compression.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer did.
    Producer,
    /// Not at all.
    Uncompressed,
    /// With gzip.
    Gzip,
    /// With snappy.
    Snappy,
    /// With lz4.
    Lz4,
    /// With zstd.
    Zstd,
}

/// Whose time a record carries (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// That of its arrival.
    LogAppendTime,
}

/// The settings of a topic. Names and units are those of its configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`.
    pub compression_type: CompressionType,
    /// `compression.gzip.level`; -1 for gzip's own choice.
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`.
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`.
    pub compression_zstd_level: i32,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `klamm.durability`.
    pub durability: Durability,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`.
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`, in thousandths.
    pub min_cleanable_dirty_permille: u32,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`; -1 for no bound.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// What holds for a topic with these `overrides` on a broker with these `layers`.
    pub fn resolve(overrides: &Overrides, layers: &Layers<'_>) -> TopicConfig {
        let values = Values { overrides, layers };
        TopicConfig {
            cleanup_policy: values.cleanup_policy(),
            compression_type: values.compression_type(),
            compression_gzip_level: values.int("compression.gzip.level"),
            compression_lz4_level: values.int("compression.lz4.level"),
            compression_zstd_level: values.int("compression.zstd.level"),
            delete_retention_ms: values.long("delete.retention.ms"),
            file_delete_delay_ms: values.long("file.delete.delay.ms"),
            flush_messages: values.long("flush.messages"),
            flush_ms: values.long("flush.ms"),
            index_interval_bytes: values.size("index.interval.bytes"),
            durability: values.durability(),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            max_message_bytes: values.size("max.message.bytes"),
            message_timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            message_timestamp_type: values.timestamp_type(),
            min_cleanable_dirty_permille: values.permille("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            min_insync_replicas: values.size("min.insync.replicas"),
            preallocate: values.boolean("preallocate"),
            retention_bytes: values.long("retention.bytes"),
            retention_ms: values.long("retention.ms"),
            segment_bytes: values.size("segment.bytes"),
            segment_index_bytes: values.size("segment.index.bytes"),
            segment_jitter_ms: values.long("segment.jitter.ms"),
            segment_ms: values.long("segment.ms"),
            unclean_leader_election_enable: values.boolean("unclean.leader.election.enable"),
        }
    }

    /// Checks what must hold between the values (`LogConfig.validateTopicLogConfigValues`).
    pub(crate) fn check(overrides: &Overrides, layers: &Layers<'_>) -> Result<(), ConfigError> {
        let config = TopicConfig::resolve(overrides, layers);
        if config.min_compaction_lag_ms > config.max_compaction_lag_ms {
            return Err(ConfigError::Conflict {
                name: "min.compaction.lag.ms",
                value: config.min_compaction_lag_ms.to_string(),
                relation: "above",
                other: "max.compaction.lag.ms",
                limit: config.max_compaction_lag_ms.to_string(),
            });
        }
        let values = Values { overrides, layers };
        if values.boolean("remote.storage.enable") {
            return Err(ConfigError::Unsupported {
                name: "remote.storage.enable",
                value: "true".to_owned(),
                missing: "this broker has no tiered storage",
            });
        }
        Ok(())
    }
}

/// The values of one topic, by name.
struct Values<'a> {
    overrides: &'a Overrides,
    layers: &'a Layers<'a>,
}

impl Values<'_> {
    /// The text of a config's value: the topic's if it can be read, else what it inherits.
    fn text(&self, name: &str) -> String {
        let definition = topic_definition(name).expect("only configs of the table are asked for");
        match self.overrides.get(name) {
            Some(value) if definition.check(value).is_ok() => definition.normalized(value),
            _ => self.layers.inherited(definition).0.expect("every config of topics has a default"),
        }
    }

    fn long(&self, name: &str) -> i64 {
        self.text(name).parse().expect("the value was checked, or is a default")
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).expect("the value was checked, or is a default")
    }

    /// A number that is not negative.
    fn size(&self, name: &str) -> u32 {
        u32::try_from(self.long(name)).expect("the value was checked, or is a default")
    }

    fn boolean(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    fn permille(&self, name: &str) -> u32 {
        let number = permille(&self.text(name)).expect("the value was checked, or is a default");
        u32::try_from(number).expect("the value was checked, or is a default")
    }

    fn durability(&self) -> Durability {
        if self.text("klamm.durability") == "os" { Durability::Os } else { Durability::Fsync }
    }

    fn cleanup_policy(&self) -> CleanupPolicy {
        let text = self.text("cleanup.policy");
        CleanupPolicy {
            delete: parts(&text).any(|part| part == "delete"),
            compact: parts(&text).any(|part| part == "compact"),
        }
    }

    fn compression_type(&self) -> CompressionType {
        match self.text("compression.type").as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => CompressionType::Producer,
        }
    }

    fn timestamp_type(&self) -> TimestampType {
        if self.text("message.timestamp.type") == "LogAppendTime" {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }
}
