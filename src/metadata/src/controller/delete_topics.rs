//! Topics that go.
//!
//! In: names or ids. Out: a record for each that is there. Checks and errors are those of
//! `ControllerApis.deleteTopics`.

use model::TopicId;

use crate::config::BrokerConfig;
use crate::controller::{ControllerError, Decision, Draft, Named};
use crate::image::Image;
use crate::record::Record;

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By its name.
    Name(String),
    /// By its id.
    Id(TopicId),
    /// By both or by nothing.
    Neither,
}

/// A topic that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: TopicId,
}

/// Decides on the deletion of topics; the answers are in the order of the request.
pub fn delete_topics(
    image: &Image,
    config: &BrokerConfig,
    topics: &[TopicRef],
) -> Decision<Vec<Result<DeletedTopic, ControllerError>>> {
    let named = Named::new(topics.iter());
    let mut draft = Draft::new(image, config);
    let outcome = topics
        .iter()
        .map(|topic| {
            let deleted = delete(&draft.image, config, topic, named.is_repeated(&topic))?;
            draft.accept(vec![Record::RemoveTopic { id: deleted.id }]);
            Ok(deleted)
        })
        .collect();
    draft.decide(outcome)
}

fn delete(
    image: &Image,
    config: &BrokerConfig,
    topic: &TopicRef,
    is_repeated: bool,
) -> Result<DeletedTopic, ControllerError> {
    if !config.delete_topic_enable {
        return Err(ControllerError::DeletionDisabled);
    }
    let found = match topic {
        TopicRef::Neither => return Err(ControllerError::UnnamedTopic),
        TopicRef::Id(id) if id.is_zero() => return Err(ControllerError::UnnamedTopic),
        TopicRef::Name(name) if is_repeated => {
            return Err(ControllerError::Duplicate { what: format!("topic `{name}`") });
        }
        TopicRef::Id(id) if is_repeated => {
            return Err(ControllerError::Duplicate { what: format!("topic id {id}") });
        }
        TopicRef::Name(name) => {
            image.topic(name).ok_or_else(|| ControllerError::UnknownTopic { name: name.clone() })?
        }
        TopicRef::Id(id) => {
            image.topic_by_id(*id).ok_or(ControllerError::UnknownTopicId { id: *id })?
        }
    };
    Ok(DeletedTopic { name: found.name.to_string(), id: found.id })
}
