//! Logs found in the directory that the cluster's metadata does not know.
//!
//! At the broker's first start with its directory, such as one of Apache Kafka, they become topics;
//! that this was done is a record of the metadata. Later they are left over: of a topic whose
//! deletion a crash interrupted, or copied in. They are moved out of the way of topics to come, and
//! kept, as Kafka does with stray logs.

use std::collections::BTreeMap;

use metadata::Image;
use metadata::config::BrokerConfig;
use metadata::controller::{FoundTopic, OFFSETS_TOPIC, partition_count};
use model::{LeaderEpoch, TopicId};
use storage::{FoundLog, LogConfig, LogDir};

use crate::controller::{ControllerHandle, ControllerUnavailable};

/// Where Apache Kafka and klamm keep their metadata: no topics.
const METADATA_LOGS: [&str; 2] = ["__cluster_metadata", "__klamm_metadata"];

/// Makes topics of the logs found, or says what is left over.
///
/// # Errors
/// The controller can not write.
pub(crate) async fn adopt(
    log_dir: &LogDir,
    image: &Image,
    config: &BrokerConfig,
    controller: &ControllerHandle,
) -> Result<(), ControllerUnavailable> {
    for log in log_dir.found() {
        if let Some(reason) = &log.bad_metadata {
            tracing::error!(log = %log.name, reason, "a log is left alone, since nobody can tell whose \
                it is: write the topic's id into its partition.metadata, or move it away");
        }
    }
    let unknown = log_dir.found().iter().filter(|log| {
        let is_metadata = METADATA_LOGS.contains(&log.name.topic());
        !is_metadata && log.bad_metadata.is_none() && !is_known(image, log)
    });
    let partition_count = |topic: &str| {
        let logs = log_dir.found().iter().filter(|log| log.name.topic() == topic);
        logs.map(|log| log.name.partition().0 + 1).max().unwrap_or(0)
    };
    if image.has_adopted(config.node_id) {
        for log in unknown {
            set_aside(log_dir, log).await;
        }
        return Ok(());
    }
    let mut topics: BTreeMap<String, FoundTopic> = BTreeMap::new();
    for log in unknown {
        let Some(epoch) = last_leader_epoch(log_dir, log).await else { continue };
        let name = log.name.topic().to_owned();
        let topic = topics.entry(name.clone()).or_insert_with(|| FoundTopic {
            partition_count: partition_count(&name),
            name,
            id: log.topic_id,
            partitions: BTreeMap::new(),
        });
        topic.partitions.insert(log.name.partition(), epoch);
    }
    let topics: Vec<FoundTopic> = topics.into_values().collect();
    for topic in &topics {
        tell_missing(topic, config);
    }
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let adopted = controller.adopt_topics(topics, config.node_id).await?;
    for (name, outcome) in names.iter().zip(adopted.outcome) {
        match outcome {
            Ok(id) => tracing::warn!(topic = %name, %id, "took in a topic found on disk"),
            Err(error) => tracing::error!(topic = %name, %error, "take in a topic found on disk"),
        }
    }
    Ok(())
}

/// Groups whose partition is not here have lost their offsets, if it held any.
fn tell_missing(topic: &FoundTopic, config: &BrokerConfig) {
    let partition_count = partition_count(topic, config);
    let missing = topic.missing(partition_count);
    if topic.name == OFFSETS_TOPIC && !missing.is_empty() {
        tracing::error!(topic = %topic.name, partition_count, ?missing, "partitions with offsets of \
            groups are not there or can not be read, and begin empty: to have them, add them to a \
            fresh copy of the directory and start with that, and with offsets.topic.num.partitions \
            as the cluster had it; this one keeps what is taken in now");
    }
}

async fn set_aside(log_dir: &LogDir, log: &FoundLog) {
    runtime::sometimes!("a stray log is moved aside");
    let (name, topic_id) = (&log.name, log.topic_id);
    match log_dir.set_aside(name).await {
        Ok(kept) => tracing::warn!(log = %name, ?topic_id, kept = %kept.display(),
            "the metadata does not know this log: it is moved aside, remove it when it is not missed"),
        Err(error) => tracing::error!(log = %name, ?topic_id, %error, "move a stray log aside"),
    }
}

fn is_known(image: &Image, log: &FoundLog) -> bool {
    let by_id = |id: TopicId| image.topic_by_id(id);
    let topic = log.topic_id.map_or_else(|| image.topic(log.name.topic()), by_id);
    topic.is_some_and(|topic| {
        &*topic.name == log.name.topic() && topic.partition(log.name.partition()).is_some()
    })
}

/// The epoch of the last leader that wrote to the log; `None` when it can not be opened.
async fn last_leader_epoch(log_dir: &LogDir, found: &FoundLog) -> Option<LeaderEpoch> {
    let log = match log_dir.open_log(&found.name, LogConfig::default()).await {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(log = %found.name, %error, "open a log found on disk");
            return None;
        }
    };
    let epoch = log.latest_leader_epoch().unwrap_or(LeaderEpoch::NONE);
    if let Err(error) = log.close().await {
        tracing::error!(log = %found.name, %error, "close a log found on disk");
    }
    Some(epoch)
}
