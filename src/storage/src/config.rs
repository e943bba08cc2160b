//! What a log has to know about its topic's configuration.

/// When an append counts as durable (`klamm.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its bytes were synced to the disk.
    Fsync,
    /// Once its bytes are in the page cache, as Apache Kafka has it: a machine that loses power
    /// may lose what was acknowledged.
    Os,
}

/// What becomes of old records (`cleanup.policy`). Both may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by time and size.
    pub delete: bool,
    /// Only the last record of each key is kept.
    pub compact: bool,
}

/// Settings of one log. Names and units are those of Kafka's topic configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it grows past this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is closed when a record comes this much later than its first one.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: up to this much is taken off `segment_ms`, so that the segments of many
    /// partitions are not closed at one moment.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is closed when an index has grown to this.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: one index entry for about this many bytes of log.
    pub index_interval_bytes: u32,
    /// `retention.ms`; -1 keeps records for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 sets no bound.
    pub retention_bytes: i64,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `delete.retention.ms`: how long tombstones and markers outlive their first compaction.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older records are compacted, however few they are.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, in thousandths: no float takes part in a decision.
    pub min_cleanable_dirty_permille: u32,
    /// `file.delete.delay.ms`: how long a deleted segment's files stay under another name.
    pub file_delete_delay_ms: i64,
    /// `klamm.durability`.
    pub durability: Durability,
    /// `producer.id.expiration.ms`: how long an idle producer's state is kept.
    pub producer_id_expiration_ms: i64,
    /// `flush.messages`: with [`Durability::Os`], so many records force a sync.
    pub flush_messages: i64,
    /// `flush.ms`: with [`Durability::Os`], a sync happens at least this often.
    pub flush_ms: i64,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * DAY_MS,
            retention_bytes: -1,
            cleanup: CleanupPolicy { delete: true, compact: false },
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_permille: 500,
            file_delete_delay_ms: 60_000,
            durability: Durability::Fsync,
            producer_id_expiration_ms: DAY_MS,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
        }
    }
}
