//! What the controller decides.
//!
//! In: the image, a request, and random bytes where ids or places are drawn. Out: a [`Decision`]: records
//! to append, and an answer for each item of the request. The answers hold once the records are durable;
//! appended as one batch they take effect all or none.
//!
//! A request's items see the items before them: two topics of one request can not collide. One bad item
//! does not harm the others, except where the request as a whole is refused.
//!
//! Start at [`create_topics`]; the references are Kafka's `ReplicationControlManager`,
//! `ConfigurationControlManager` and `ClusterControlManager`.

mod adopt;
mod alter_configs;
mod brokers;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod error;
mod placement;
mod producer_ids;
#[cfg(test)]
mod tests;
mod topic_name;

use crate::config::BrokerConfig;
use crate::image::Image;
use crate::record::Record;

pub use adopt::{FoundTopic, adopt_topics, partition_count};
pub use alter_configs::{
    Alteration, ConfigOp, Replacement, alter_configs, config_resource, incremental_alter_configs,
};
pub use brokers::{Registration, bootstrap, fence_broker, register_broker, unfence_broker};
pub use create_partitions::{MorePartitions, create_partitions};
pub use create_topics::{Assignment, CreatedTopic, NewTopic, create_topics};
pub use delete_topics::{DeletedTopic, TopicRef, delete_topics};
pub use error::ControllerError;
pub use producer_ids::{PRODUCER_ID_BLOCK, ProducerIdBlock, allocate_producer_ids};
pub use topic_name::{InvalidTopicName, OFFSETS_TOPIC, check_topic_name, is_internal_topic};

/// More partitions than this are not created by one request (KAFKA-17870): their records are one batch.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// What to append, and what to answer once that is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// The records, in their order; none when nothing changes.
    pub records: Vec<Record>,
    /// The answer.
    pub outcome: T,
}

impl<T> Decision<T> {
    /// An answer without a change.
    fn answer(outcome: T) -> Decision<T> {
        Decision { records: Vec::new(), outcome }
    }

    /// The same answer, and no change when the request only asks what would be.
    fn unless(self, validate_only: bool) -> Decision<T> {
        if validate_only { Decision::answer(self.outcome) } else { self }
    }
}

/// A source of random bytes; every call gives others.
pub type Random<'a> = &'a mut dyn FnMut() -> [u8; 16];

/// The image as it becomes while the items of a request are decided one after the other.
struct Draft<'a> {
    image: Image,
    config: &'a BrokerConfig,
    records: Vec<Record>,
}

impl<'a> Draft<'a> {
    fn new(image: &Image, config: &'a BrokerConfig) -> Draft<'a> {
        Draft { image: image.clone(), config, records: Vec::new() }
    }

    /// Takes the records of an item that was accepted.
    fn accept(&mut self, records: Vec<Record>) {
        self.image
            .advance(&records)
            .expect("records are decided by the image that they are applied to");
        self.records.extend(records);
    }

    fn decide<T>(self, outcome: T) -> Decision<T> {
        Decision { records: self.records, outcome }
    }
}

/// What a request names, to find what it names twice.
struct Named<T>(Vec<T>);

impl<T: Ord> Named<T> {
    fn new(items: impl Iterator<Item = T>) -> Named<T> {
        let mut items: Vec<T> = items.collect();
        items.sort_unstable();
        Named(items)
    }

    fn is_repeated(&self, item: &T) -> bool {
        let first = self.0.partition_point(|other| other < item);
        self.0.get(first + 1).is_some_and(|other| other == item)
    }
}
