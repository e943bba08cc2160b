//! Keeps the open partitions in step with the cluster's metadata.
//!
//! In: images that the controller publishes. Out: logs created, opened, configured, led, deleted, and
//! a new [`Registry`] for the handlers. One task applies images one after the other; each image
//! names the outcome, so that a missed one is made up for by the next.
//!
//! Start at [`Topics::apply`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use metadata::{ConfigResource, Image, TopicChange};
use model::{LeaderEpoch, PartitionIndex, TopicId};
use protocol::StrBytes;
use runtime::sync::mpsc;
use storage::{Log, LogConfig, LogDir, LogName, OpenError};

use crate::error_chain::Chain;
use crate::metrics::TopicStats;
use crate::partition::{Context, Partition};
use crate::registry::{Registry, Topic};
use crate::shared::Shared;
use crate::topic_settings::{log_config, produce_rules};

/// Applies images to this broker.
pub(crate) struct Topics {
    shared: Arc<Shared>,
    applied: Image,
}

/// A partition to open.
struct Opening {
    topic: Arc<metadata::Topic>,
    index: PartitionIndex,
    leader_epoch: LeaderEpoch,
    config: LogConfig,
    stats: Arc<TopicStats>,
}

/// Partitions that were opened, by topic and index.
type Opened = BTreeMap<(TopicId, PartitionIndex), Partition>;

impl Topics {
    /// Nothing is open yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Topics {
        Topics { shared, applied: Image::default() }
    }

    /// Applies every image from now on, until the controller is gone.
    pub(crate) async fn run(mut self) {
        let mut images = self.shared.image.clone();
        loop {
            let image = images.borrow();
            if image.offset() != self.applied.offset() {
                self.apply(&image).await;
            }
            if images.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes what is open what `image` says.
    pub(crate) async fn apply(&mut self, image: &Image) {
        let delta = image.delta_since(&self.applied);
        let mut registry = (*self.shared.registry.borrow()).clone();
        let mut openings = Vec::new();
        let mut touched: BTreeMap<TopicId, Arc<metadata::Topic>> = BTreeMap::new();
        for change in &delta.topics {
            match change {
                TopicChange::Deleted(topic) => self.delete(&mut registry, topic).await,
                TopicChange::Created(topic) => {
                    touched.insert(topic.id, Arc::clone(topic));
                    openings.extend(self.openings(image, topic, &registry));
                }
                TopicChange::Changed { after, .. } => {
                    touched.insert(after.id, Arc::clone(after));
                    lead(&registry, after).await;
                    openings.extend(self.openings(image, after, &registry));
                }
            }
        }
        let opened = self.open_all(openings).await;
        for topic in self.reconfigured(image, &delta.configs) {
            touched.insert(topic.id, topic);
        }
        for topic in touched.values() {
            let entry = self.entry(image, topic, &registry, &opened).await;
            registry.insert(Arc::new(entry));
        }
        registry.image = image.clone();
        self.applied = image.clone();
        self.shared.registry.send(registry);
    }

    /// The partitions of `topic` that this broker holds and has not opened.
    fn openings(
        &self,
        image: &Image,
        topic: &Arc<metadata::Topic>,
        registry: &Registry,
    ) -> Vec<Opening> {
        let config = self.log_config(image, &topic.name);
        let known = registry.by_id(topic.id);
        let stats = known.map_or_else(Arc::default, |known| Arc::clone(&known.stats));
        topic
            .indexed_partitions()
            .filter(|(_, partition)| partition.replicas.contains(&self.shared.config.node_id))
            .filter(|(index, _)| known.is_none_or(|known| known.partition(index.0).is_none()))
            .map(|(index, partition)| Opening {
                topic: Arc::clone(topic),
                index,
                leader_epoch: partition.leader_epoch,
                config: config.clone(),
                stats: Arc::clone(&stats),
            })
            .collect()
    }

    fn log_config(&self, image: &Image, topic: &str) -> LogConfig {
        let config = &self.shared.config;
        let expiration = i64::try_from(config.producer_id_expiration.as_millis());
        log_config(&config.topic_config(image, topic), expiration.unwrap_or(i64::MAX))
    }

    /// Opens logs, several at once: most of the time goes into waiting for the disk.
    async fn open_all(&self, openings: Vec<Opening>) -> Opened {
        /// Opening is cheap when a log stopped cleanly, so a few at once fill the disk's queue.
        const AT_ONCE_MIN: usize = 8;
        let at_once = self.shared.config.num_recovery_threads_per_data_dir.max(AT_ONCE_MIN);
        let at_once = at_once.min(openings.len());
        let queue = Arc::new(Mutex::new(VecDeque::from(openings)));
        let (results, mut opened) = mpsc::channel(64);
        for _ in 0..at_once {
            let (shared, queue) = (Arc::clone(&self.shared), Arc::clone(&queue));
            let results = results.clone();
            runtime::spawn(&self.shared.runtime, "open-logs", async move {
                while let Some(opening) = pop(&queue) {
                    if let Some(partition) = open(&shared, &opening).await {
                        let key = (opening.topic.id, opening.index);
                        if results.send((key, partition)).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(results);
        let mut all = Opened::new();
        while let Some((key, partition)) = opened.recv().await {
            all.insert(key, partition);
        }
        all
    }

    /// Topics whose effective settings may have changed though they themselves did not.
    fn reconfigured(&self, image: &Image, configs: &[ConfigResource]) -> Vec<Arc<metadata::Topic>> {
        let is_of_topic = |config: &&ConfigResource| matches!(config, ConfigResource::Topic(_));
        if configs.iter().any(|config| !is_of_topic(&config)) {
            // A broker's defaults are every topic's.
            return image.topics().map(Arc::clone).collect();
        }
        let named = configs.iter().filter_map(|config| match config {
            ConfigResource::Topic(name) => image.topic(name).map(Arc::clone),
            _ => None,
        });
        named.collect()
    }

    /// The table's row for a topic; its open partitions get their settings.
    async fn entry(
        &self,
        image: &Image,
        topic: &metadata::Topic,
        registry: &Registry,
        opened: &Opened,
    ) -> Topic {
        let known = registry.by_id(topic.id);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, _) in topic.indexed_partitions() {
            let old = known.and_then(|known| known.partition(index.0));
            let new = opened.get(&(topic.id, index));
            if let Some(old) = old {
                old.configure(self.log_config(image, &topic.name)).await;
            }
            partitions.push(old.or(new).cloned());
        }
        let config = self.shared.config.topic_config(image, &topic.name);
        // The partitions of one topic count together.
        let first = partitions.iter().flatten().next();
        let stats = first.map_or_else(Arc::default, Partition::shared_stats);
        Topic {
            stats,
            name: StrBytes::from(&*topic.name),
            id: topic.id,
            partitions,
            rules: produce_rules(&config),
            is_internal: metadata::controller::is_internal_topic(&topic.name),
            is_deletable: config.cleanup_policy.delete,
        }
    }

    /// Closes and deletes the logs of a topic.
    async fn delete(&self, registry: &mut Registry, topic: &metadata::Topic) {
        let Some(known) = registry.remove(topic.id) else { return };
        // No handler finds the topic from here on.
        self.shared.registry.send(registry.clone());
        let node_id = self.shared.config.node_id;
        for (index, partition) in topic.indexed_partitions() {
            if !partition.replicas.contains(&node_id) {
                continue;
            }
            if let Some(open) = known.partition(index.0)
                && let Err(error) = open.close().await
            {
                tracing::warn!(topic = %topic.name, %index, %error, "close deleted log");
            }
            // A log that did not open goes too: its name may be taken anew.
            let Ok(name) = LogName::new(&topic.name, index) else { continue };
            if let Err(error) = self.shared.log_dir.delete_log(&name).await {
                tracing::error!(log = %name, %error, "delete log");
            }
        }
    }
}

fn pop(queue: &Mutex<VecDeque<Opening>>) -> Option<Opening> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Opens or creates one log and starts its owner; the log tells what went wrong.
async fn open(shared: &Shared, opening: &Opening) -> Option<Partition> {
    match try_open(shared, opening).await {
        Ok(partition) => Some(partition),
        Err(error) => {
            let (topic, partition) = (&opening.topic.name, opening.index.0);
            tracing::error!(%topic, partition, error = %Chain(&*error), "open log");
            None
        }
    }
}

async fn try_open(
    shared: &Shared,
    opening: &Opening,
) -> Result<Partition, Box<dyn std::error::Error + Send + Sync>> {
    let name = LogName::new(&opening.topic.name, opening.index)?;
    let log_dir = &shared.log_dir;
    let config = opening.config.clone();
    let id = opening.topic.id;
    let created = log_dir.create_log(&name, Some(id), config.clone()).await;
    let log = match created {
        Err(OpenError::AlreadyExists(_)) => {
            match open_existing(log_dir, &name, id, config.clone()).await {
                // Left over from a topic of this name whose files could not be deleted.
                Err(OpenError::OtherTopic { found, .. }) => {
                    runtime::sometimes!("a topic's name had files of another one");
                    let kept = log_dir.set_aside(&name).await?;
                    tracing::warn!(log = %name, %found, kept = %kept.display(),
                        "the log of a former topic is moved aside");
                    log_dir.create_log(&name, Some(id), config).await?
                }
                other => other?,
            }
        }
        other => other?,
    };
    let context = Context {
        stats: Arc::clone(&opening.stats),
        metrics: Arc::clone(&shared.metrics),
        health: Arc::clone(&shared.dir_health),
    };
    Ok(Partition::open(&shared.runtime, log, opening.leader_epoch, context).await?)
}

/// Opens a log that is there, unless it is of another topic.
async fn open_existing(
    log_dir: &LogDir,
    name: &LogName,
    wanted: TopicId,
    config: LogConfig,
) -> Result<Log, OpenError> {
    let log = log_dir.open_log(name, config).await?;
    match log.topic_id() {
        Some(found) if found != wanted => {
            // Nothing was written to it since it was opened: what the close says changes nothing.
            drop(log.close().await);
            Err(OpenError::OtherTopic { log: name.clone(), found, wanted })
        }
        _ => Ok(log),
    }
}

/// Gives open partitions the leader epochs of `topic`.
async fn lead(registry: &Registry, topic: &metadata::Topic) {
    let Some(known) = registry.by_id(topic.id) else { return };
    for (index, state) in topic.indexed_partitions() {
        let Some(partition) = known.partition(index.0) else { continue };
        if partition.leader_epoch() == state.leader_epoch {
            continue;
        }
        if let Some(Err(error)) = partition.lead(state.leader_epoch).await {
            tracing::error!(topic = %topic.name, index = index.0, %error, "begin leader epoch");
        }
    }
}
