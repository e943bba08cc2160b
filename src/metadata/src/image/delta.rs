//! What changed from one image to a later one.
//!
//! In: two images. Out: the topics, brokers and configs that differ. What the images share is
//! skipped without a look, so this takes time in proportion to the change; both need not be neighbours.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use model::BrokerId;

use super::{Broker, Image, Topic};
use crate::record::ConfigResource;

/// The difference between two images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Topics, by name. A topic that was deleted and created anew is listed twice, the end first.
    pub topics: Vec<TopicChange>,
    /// Brokers, by id.
    pub brokers: Vec<BrokerChange>,
    /// Resources on which other values are set now, by type and name.
    pub configs: Vec<ConfigResource>,
}

/// What became of a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicChange {
    /// It is new.
    Created(Arc<Topic>),
    /// It is the same topic with other partitions, or with partitions in another state.
    Changed {
        /// As it was.
        before: Arc<Topic>,
        /// As it is.
        after: Arc<Topic>,
    },
    /// It is gone.
    Deleted(Arc<Topic>),
}

/// What became of a broker.
#[derive(Clone, Debug, PartialEq)]
pub enum BrokerChange {
    /// It registered, anew or for the first time, or was fenced or unfenced.
    Changed(Arc<Broker>),
    /// It is gone.
    Removed(BrokerId),
}

impl Delta {
    /// Whether nothing differs that is listed here.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.brokers.is_empty() && self.configs.is_empty()
    }
}

impl Image {
    /// What changed from `before` to here.
    pub fn delta_since(&self, before: &Image) -> Delta {
        let mut delta = Delta::default();
        for item in before.topics.diff(&self.topics) {
            match item {
                DiffItem::Add(_, topic) => delta.topics.push(TopicChange::Created(topic.clone())),
                DiffItem::Remove(_, topic) => {
                    delta.topics.push(TopicChange::Deleted(topic.clone()));
                }
                DiffItem::Update { old: (_, before), new: (_, after) } if before.id == after.id => {
                    let (before, after) = (Arc::clone(before), Arc::clone(after));
                    delta.topics.push(TopicChange::Changed { before, after });
                }
                DiffItem::Update { old: (_, before), new: (_, after) } => {
                    delta.topics.push(TopicChange::Deleted(Arc::clone(before)));
                    delta.topics.push(TopicChange::Created(Arc::clone(after)));
                }
            }
        }
        for item in before.brokers.diff(&self.brokers) {
            delta.brokers.push(match item {
                DiffItem::Add(_, broker) | DiffItem::Update { new: (_, broker), .. } => {
                    BrokerChange::Changed(Arc::clone(broker))
                }
                DiffItem::Remove(id, _) => BrokerChange::Removed(*id),
            });
        }
        for item in before.configs.diff(&self.configs) {
            delta.configs.push(match item {
                DiffItem::Add(resource, _)
                | DiffItem::Update { new: (resource, _), .. }
                | DiffItem::Remove(resource, _) => resource.clone(),
            });
        }
        delta
    }
}
