//! The configs of topics.
//!
//! Kafka's are those of its `LogConfig`; the broker's configs that stand in for them are those of its
//! `ServerTopicConfigSynonyms`. In the order of their names.

use crate::config::definition::{Definition, Valid, boolean, double, int, list, long, string};

/// The compression types of topics and brokers.
pub(crate) const COMPRESSION_TYPES: Valid =
    Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

/// The cleanup policies of topics and brokers.
pub(crate) const CLEANUP_POLICIES: Valid = Valid::SomeOf(&["compact", "delete"]);

/// The timestamp types of topics and brokers.
pub(crate) const TIMESTAMP_TYPES: Valid = Valid::OneOf(&["CreateTime", "LogAppendTime"]);

/// When an append counts as durable.
pub(crate) const DURABILITIES: Valid = Valid::OneOf(&["fsync", "os"]);

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

const NO_TIERS: &str = "klamm has no tiered storage yet";
const NO_THROTTLE: &str = "klamm does not throttle replication yet";

static TOPIC: [Definition; 34] = [
    list(
        "cleanup.policy",
        "delete",
        "What becomes of old records: `delete` drops whole segments by age and size, `compact` keeps \
         the last record of each key; both may be given, and with neither everything is kept.",
    )
    .valid(CLEANUP_POLICIES)
    .or(&[("log.cleanup.policy", 1)]),
    int("compression.gzip.level", "-1", "How hard gzip tries when the broker compresses; -1 is gzip's own choice.")
        .valid(Valid::BetweenOrMinusOne(1, 9))
        .or(&[("compression.gzip.level", 1)]),
    int("compression.lz4.level", "9", "How hard lz4 tries when the broker compresses.")
        .between(1, 17)
        .or(&[("compression.lz4.level", 1)]),
    string(
        "compression.type",
        "producer",
        "How batches are compressed in the log: `producer` keeps them as they come, any other value \
         makes the broker compress anew what comes otherwise.",
    )
    .valid(COMPRESSION_TYPES)
    .or(&[("compression.type", 1)]),
    int("compression.zstd.level", "3", "How hard zstd tries when the broker compresses.")
        .between(-131_072, 22)
        .or(&[("compression.zstd.level", 1)]),
    long(
        "delete.retention.ms",
        "86400000",
        "How long a compacted topic keeps the marks of deleted keys, so that a consumer that reads \
         from the beginning within this time learns of the deletions.",
    )
    .at_least(0)
    .or(&[("log.cleaner.delete.retention.ms", 1)]),
    long("file.delete.delay.ms", "60000", "How long the files of a deleted segment stay on the disk.")
        .at_least(0)
        .or(&[("log.segment.delete.delay.ms", 1)]),
    long(
        "flush.messages",
        "9223372036854775807",
        "After so many records the log is synced. Only for `klamm.durability=os`: otherwise every \
         append is synced before it is acknowledged.",
    )
    .at_least(1)
    .or(&[("log.flush.interval.messages", 1)]),
    long(
        "flush.ms",
        "9223372036854775807",
        "After so much time the log is synced. Only for `klamm.durability=os`.",
    )
    .at_least(0)
    .or(&[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    list(
        "follower.replication.throttled.replicas",
        "",
        "The replicas whose fetching is held to the follower rate, as PARTITION:BROKER, or `*`.",
    )
    .valid(Valid::ThrottledReplicas)
    .not_yet(NO_THROTTLE),
    int(
        "index.interval.bytes",
        "4096",
        "For about so many bytes of log there is one entry in its index: smaller finds faster, larger \
         takes less space.",
    )
    .at_least(0)
    .or(&[("log.index.interval.bytes", 1)]),
    string(
        "klamm.durability",
        "fsync",
        "When an append counts as durable: `fsync` once it is on the disk, `os` once the operating \
         system has it, as in Apache Kafka, where a power cut may lose what was acknowledged.",
    )
    .valid(DURABILITIES)
    .or(&[("klamm.durability", 1)]),
    list(
        "leader.replication.throttled.replicas",
        "",
        "The replicas that are served at no more than the leader rate, as PARTITION:BROKER, or `*`.",
    )
    .valid(Valid::ThrottledReplicas)
    .not_yet(NO_THROTTLE),
    long(
        "local.retention.bytes",
        "-2",
        "How many bytes of a tiered partition stay on the broker's disk; -2 means `retention.bytes`.",
    )
    .at_least(-2)
    .or(&[("log.local.retention.bytes", 1)])
    .not_yet(NO_TIERS),
    long(
        "local.retention.ms",
        "-2",
        "How long records of a tiered partition stay on the broker's disk; -2 means `retention.ms`.",
    )
    .at_least(-2)
    .or(&[("log.local.retention.ms", 1)])
    .not_yet(NO_TIERS),
    long(
        "max.compaction.lag.ms",
        "9223372036854775807",
        "At the latest after this time a record of a compacted topic is looked at by compaction.",
    )
    .at_least(1)
    .or(&[("log.cleaner.max.compaction.lag.ms", 1)]),
    int(
        "max.message.bytes",
        "1048588",
        "The largest batch that is accepted, after compression.",
    )
    .at_least(0)
    .or(&[("message.max.bytes", 1)]),
    long(
        "message.timestamp.after.max.ms",
        "3600000",
        "How far ahead of the broker's clock a record's timestamp may be. Only for `CreateTime`.",
    )
    .at_least(0)
    .or(&[("log.message.timestamp.after.max.ms", 1)]),
    long(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        "How far behind the broker's clock a record's timestamp may be. Only for `CreateTime`.",
    )
    .at_least(0)
    .or(&[("log.message.timestamp.before.max.ms", 1)]),
    string(
        "message.timestamp.type",
        "CreateTime",
        "Whose time a record carries: the producer's (`CreateTime`) or that of its arrival \
         (`LogAppendTime`).",
    )
    .valid(TIMESTAMP_TYPES)
    .or(&[("log.message.timestamp.type", 1)]),
    double(
        "min.cleanable.dirty.ratio",
        "0.5",
        "The share of a log that has to be new since the last compaction before it is compacted again.",
    )
    .valid(Valid::Permille(0, 1000))
    .or(&[("log.cleaner.min.cleanable.ratio", 1)]),
    long("min.compaction.lag.ms", "0", "For this time a record is safe from compaction.")
        .at_least(0)
        .or(&[("log.cleaner.min.compaction.lag.ms", 1)]),
    int(
        "min.insync.replicas",
        "1",
        "How many replicas must be in sync for a write with acks=all to be accepted.",
    )
    .at_least(1)
    .or(&[("min.insync.replicas", 1)]),
    boolean("preallocate", "false", "Whether the file of a new segment gets its full size at once.")
        .or(&[("log.preallocate", 1)])
        .not_needed("klamm lets the file system find the room as a segment grows"),
    boolean(
        "remote.log.copy.disable",
        "false",
        "Whether a tiered topic stops copying segments to remote storage.",
    )
    .not_yet(NO_TIERS),
    boolean(
        "remote.log.delete.on.disable",
        "false",
        "Whether switching tiering off deletes what is in remote storage.",
    )
    .not_yet(NO_TIERS),
    boolean("remote.storage.enable", "false", "Whether old segments move to remote storage.")
        .not_yet(NO_TIERS),
    long(
        "retention.bytes",
        "-1",
        "How large a partition may grow before its oldest segments are deleted; -1 sets no bound.",
    )
    .or(&[("log.retention.bytes", 1)]),
    long(
        "retention.ms",
        "604800000",
        "How long records are kept before their segment may be deleted; -1 keeps them for ever.",
    )
    .at_least(-1)
    .or(&[
        ("log.retention.ms", 1),
        ("log.retention.minutes", MINUTE_MS),
        ("log.retention.hours", HOUR_MS),
    ]),
    int(
        "segment.bytes",
        "1073741824",
        "How large a segment's file grows. Records are deleted by whole segments.",
    )
    .at_least(1 << 20)
    .or(&[("log.segment.bytes", 1)]),
    int("segment.index.bytes", "10485760", "How large the index of a segment may grow.")
        .at_least(4)
        .or(&[("log.index.size.max.bytes", 1)]),
    long(
        "segment.jitter.ms",
        "0",
        "Up to this much is taken off `segment.ms` at random, so that not all segments end at once.",
    )
    .at_least(0)
    .or(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)]),
    long(
        "segment.ms",
        "604800000",
        "After this time a segment ends though it is not full, so that it can be deleted or compacted.",
    )
    .at_least(1)
    .or(&[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)]),
    boolean(
        "unclean.leader.election.enable",
        "false",
        "Whether a replica that is not in sync may lead when no other is left, which loses records.",
    )
    .or(&[("unclean.leader.election.enable", 1)]),
];

/// All configs of topics, by name.
pub fn topic_definitions() -> &'static [Definition] {
    &TOPIC
}

/// The topic config of that name.
pub fn topic_definition(name: &str) -> Option<&'static Definition> {
    let at = TOPIC.binary_search_by(|definition| definition.name.cmp(name)).ok()?;
    Some(&TOPIC[at])
}
