//! What a topic's configuration means for its logs and for batches that come in.

use metadata::config::{CompressionType, Durability, TimestampType, TopicConfig};
use protocol::records::{self, Compression, CompressionLevel, ProduceRules};
use storage::LogConfig;

/// The settings of the topic's logs.
pub(crate) fn log_config(topic: &TopicConfig, producer_id_expiration_ms: i64) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes,
        segment_ms: topic.segment_ms,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_index_bytes: topic.segment_index_bytes,
        index_interval_bytes: topic.index_interval_bytes,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        cleanup: storage::CleanupPolicy {
            delete: topic.cleanup_policy.delete,
            compact: topic.cleanup_policy.compact,
        },
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        min_cleanable_dirty_permille: topic.min_cleanable_dirty_permille,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        durability: match topic.durability {
            Durability::Fsync => storage::Durability::Fsync,
            Durability::Os => storage::Durability::Os,
        },
        producer_id_expiration_ms,
        flush_messages: topic.flush_messages,
        flush_ms: topic.flush_ms,
    }
}

/// What batches for the topic must obey.
pub(crate) fn produce_rules(topic: &TopicConfig) -> ProduceRules {
    let (compression, level) = compression(topic);
    ProduceRules {
        max_message_bytes: topic.max_message_bytes as usize,
        segment_bytes: topic.segment_bytes as usize,
        is_compacted: topic.cleanup_policy.compact,
        timestamp_type: match topic.message_timestamp_type {
            TimestampType::CreateTime => records::TimestampType::CreateTime,
            TimestampType::LogAppendTime => records::TimestampType::LogAppendTime,
        },
        timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        compression,
        level: CompressionLevel(level),
        ..ProduceRules::default()
    }
}

/// How batches are compressed in the log: `None` as the producer did.
fn compression(topic: &TopicConfig) -> (Option<Compression>, Option<i32>) {
    match topic.compression_type {
        CompressionType::Producer => (None, None),
        CompressionType::Uncompressed => (Some(Compression::None), None),
        // -1 is gzip's own choice.
        CompressionType::Gzip => {
            let level = topic.compression_gzip_level;
            (Some(Compression::Gzip), (level >= 0).then_some(level))
        }
        CompressionType::Snappy => (Some(Compression::Snappy), None),
        CompressionType::Lz4 => (Some(Compression::Lz4), Some(topic.compression_lz4_level)),
        CompressionType::Zstd => (Some(Compression::Zstd), Some(topic.compression_zstd_level)),
    }
}
