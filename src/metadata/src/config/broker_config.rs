//! What holds for a broker, as plain typed values.
//!
//! In: properties ([`crate::config::parse_properties`]) or the broker's layers. Out: a
//! [`BrokerConfig`]. The values that are topics' defaults are in [`TopicConfig`], which
//! [`BrokerConfig::topic_config`] makes.
//!
//! Start at [`BrokerConfig::from_properties`].

use std::path::PathBuf;
use std::time::Duration;

use model::BrokerId;

use crate::config::groups_config::{ConsumerGroupConfig, GroupsConfig};
use crate::config::layers::Layers;
use crate::config::listener::{AdvertisedListener, Listener};
use crate::config::topic_config::TopicConfig;
use crate::image::{Image, Overrides};
use crate::record::ConfigResource;

/// What a node is for (`process.roles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    /// It serves clients.
    Broker,
    /// It takes part in the metadata quorum.
    Controller,
}

/// The settings of a broker. Names and units are those of its configs.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`, or `broker.id`.
    pub node_id: BrokerId,
    /// `process.roles`.
    pub process_roles: Vec<ProcessRole>,
    /// `listeners`, without the controller's.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`, or what follows from `listeners`.
    pub advertised_listeners: Vec<AdvertisedListener>,
    /// `controller.listener.names`.
    pub controller_listener_names: Vec<String>,
    /// `log.dirs`, or `log.dir`: exactly one so far.
    pub log_dir: PathBuf,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `klamm.http.listener`: HOST:PORT for metrics and health.
    pub http_listener: Option<String>,

    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,

    /// `socket.request.max.bytes`: the largest request.
    pub socket_request_max_bytes: usize,
    /// `queued.max.request.bytes`: what all requests that wait may take; `None` for Kafka's -1.
    pub queued_max_request_bytes: Option<usize>,
    /// `queued.max.requests`.
    pub queued_max_requests: usize,
    /// `connections.max.idle.ms`.
    pub connections_max_idle: Duration,
    /// `max.connections`.
    pub max_connections: u64,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: u64,
    /// `max.connections.per.ip.overrides`: host or address, and the limit for it.
    pub max_connections_per_ip_overrides: Vec<(String, u64)>,
    /// `socket.send.buffer.bytes`; `None` for the operating system's choice.
    pub socket_send_buffer_bytes: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` for the operating system's choice.
    pub socket_receive_buffer_bytes: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub socket_listen_backlog_size: u32,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,

    /// `fetch.max.bytes`: the largest answer to a Fetch, whatever the client asks for.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub max_incremental_fetch_session_cache_slots: usize,
    /// `max.request.partition.size.limit`: partitions in an answer to DescribeTopicPartitions.
    pub max_request_partition_size_limit: usize,

    /// What group coordinators obey.
    pub groups: GroupsConfig,

    /// `producer.id.expiration.ms`.
    pub producer_id_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_id_expiration_check_interval: Duration,
    /// `transaction.max.timeout.ms`.
    pub transaction_max_timeout: Duration,

    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval: Duration,
    /// `log.initial.task.delay.ms`.
    pub log_initial_task_delay: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub log_flush_offset_checkpoint_interval: Duration,
    /// `klamm.journal.bytes`: of both files together; 0 without a journal.
    pub journal_bytes: u64,
    /// `log.cleaner.enable`: compaction.
    pub log_cleaner_enable: bool,
    /// `log.cleaner.threads`: how many compactions run at once.
    pub log_cleaner_threads: usize,
    /// `log.cleaner.backoff.ms`: how long compaction waits when there is nothing to do.
    pub log_cleaner_backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`: memory for the keys of all compactions.
    pub log_cleaner_dedupe_buffer_size: usize,
    /// `num.recovery.threads.per.data.dir`: how many logs are opened at once.
    pub num_recovery_threads_per_data_dir: usize,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub metadata_log_max_record_bytes_between_snapshots: u64,

    /// What was given, by Kafka's names: the layer under everything that is set later.
    pub given: Overrides,
}

impl BrokerConfig {
    /// Where the values of this broker come from.
    pub fn layers<'a>(&'a self, image: &'a Image) -> Layers<'a> {
        Layers::new(image, self.node_id, &self.given)
    }

    /// What holds for the topic of that name on this broker; for a name that is no topic's, what
    /// would hold for it.
    pub fn topic_config(&self, image: &Image, topic: &str) -> TopicConfig {
        let overrides = image.overrides(&ConfigResource::Topic(topic.to_owned()));
        TopicConfig::resolve(overrides, &self.layers(image))
    }
    /// What holds for the consumer group of that id on this broker.
    pub fn consumer_group_config(&self, image: &Image, group: &str) -> ConsumerGroupConfig {
        let overrides = image.overrides(&ConfigResource::Group(group.to_owned()));
        ConsumerGroupConfig::resolve(overrides, &self.layers(image))
    }
}
