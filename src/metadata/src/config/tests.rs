//! Configs: names and defaults as Apache Kafka has them, layers, properties, and what is said of errors.

use expect_test::{Expect, expect};

use super::*;
use crate::image::{Image, Overrides};
use crate::record::{ConfigResource, Record};

/// Topic configs of Apache Kafka 4.3 with their defaults (`LogConfig`, `TopicConfig`).
const TOPIC_CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.type", "producer"),
    ("compression.zstd.level", "3"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("follower.replication.throttled.replicas", ""),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("index.interval.bytes", "4096"),
    ("leader.replication.throttled.replicas", ""),
    ("local.retention.bytes", "-2"),
    ("local.retention.ms", "-2"),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.after.max.ms", "3600000"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("remote.log.copy.disable", "false"),
    ("remote.log.delete.on.disable", "false"),
    ("remote.storage.enable", "false"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

fn resolve(text: &str) -> Result<BrokerConfig, String> {
    let properties = parse_properties(text).map_err(|error| error.to_string())?;
    let resolved = BrokerConfig::from_properties(&properties);
    resolved.map(|resolved| resolved.config).map_err(|errors| errors.to_string())
}

/// What a broker needs at least.
const LEAST: &str = "node.id=1\nlisteners=PLAINTEXT://:9092\nlog.dirs=data\n";

fn check(settings: &str, due: Expect) {
    let error = resolve(&format!("{LEAST}{settings}")).expect_err("the settings are wrong");
    due.assert_eq(&error);
}

#[test]
fn topic_configs_are_those_of_kafka() {
    for (name, default) in TOPIC_CONFIGS {
        let definition = topic_definition(name).unwrap_or_else(|| panic!("{name} is unknown"));
        assert_eq!(definition.default, Some(*default), "{name}");
        assert!(definition.check(default).is_ok(), "{name}");
    }
    let own = topic_definitions().iter().filter(|d| d.name.starts_with("klamm.")).count();
    assert_eq!(topic_definitions().len(), TOPIC_CONFIGS.len() + own, "and no others");
}

#[test]
fn wrong_settings_are_named_with_their_line_and_the_nearest_name() {
    check(
        "num.partitons=3",
        expect!["line 4: unknown broker config `num.partitons`; did you mean `num.partitions`?"],
    );
    for wrong in [
        "num.partitions=many",
        "num.partitions=0",
        "log.cleanup.policy=keep",
        "klamm.durability=no",
    ] {
        let error = resolve(&format!("{LEAST}{wrong}")).unwrap_err();
        let (name, value) = wrong.split_once('=').unwrap();
        assert!(error.starts_with("line 4: "), "{error}");
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
    for wrong in ["listeners=9092", "listeners=A://h:1,A://h:2", "listeners=PLAINTEXT://h:99999"] {
        assert!(resolve(&format!("node.id=1\nlog.dirs=data\n{wrong}\n")).is_err(), "{wrong}");
    }
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let text = "# comment\n! another\n\n a = b c \\\n   d\nk\\:e\\=y : v\\u0041\\n\nbare\n";
    let read = parse_properties(text).unwrap();
    let read: Vec<(&str, &str)> = read.iter().map(|p| (&*p.key, &*p.value)).collect();
    assert_eq!(read, [("a", "b c d"), ("k:e=y", "vA\n"), ("bare", "")]);
}

#[test]
fn a_topic_takes_the_strongest_value_that_is_set() {
    let config = resolve(&format!("{LEAST}log.retention.hours=2\n")).unwrap();
    let mut image = Image::default();
    let hour = 3_600_000;
    assert_eq!(config.topic_config(&image, "t").retention_ms, 2 * hour);
    let config = resolve(&format!("{LEAST}log.retention.hours=2\nlog.retention.ms=7\n")).unwrap();
    assert_eq!(config.topic_config(&image, "t").retention_ms, 7, "the finer unit is stronger");

    let mut set = |resource: ConfigResource, value: &str| {
        let record = Record::Config {
            resource,
            name: "log.retention.ms".to_owned(),
            value: Some(value.to_owned()),
        };
        image = image.replay(image.next_offset(), &[record]).unwrap();
        config.topic_config(&image, "t").retention_ms
    };
    assert_eq!(set(ConfigResource::DefaultBroker, "8"), 8);
    assert_eq!(set(ConfigResource::Broker(model::BrokerId(1)), "9"), 9);
    let own: Overrides = [("retention.ms".to_owned(), "10".to_owned())].into_iter().collect();
    let layers = config.layers(&image);
    assert_eq!(TopicConfig::resolve(&own, &layers).retention_ms, 10);
    let entries = describe_topic(&own, &layers);
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    let synonyms: Vec<&str> =
        entry.synonyms.iter().filter_map(|synonym| synonym.value.as_deref()).collect();
    assert_eq!(&synonyms[..4], ["10", "9", "8", "7"], "the strongest first");
    assert_eq!(entry.source, Source::Topic);
}

#[test]
fn secrets_are_hidden() {
    let config = resolve(&format!("{LEAST}ssl.keystore.password=hush\n")).unwrap();
    let image = Image::default();
    let entries = describe_broker(&config.layers(&image));
    let entry = entries.iter().find(|entry| entry.name == "ssl.keystore.password").unwrap();
    assert!(entry.is_sensitive);
    assert_eq!(entry.value, None);
    assert!(entry.synonyms.iter().all(|synonym| synonym.value.is_none()));
}
