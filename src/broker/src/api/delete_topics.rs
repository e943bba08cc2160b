//! DeleteTopics, by name or by id (KIP-516).

use metadata::controller::TopicRef;
use model::Uuid;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::request::RequestContext;
use crate::shared::Shared;

/// The first version that lists topics with ids.
const TOPIC_IDS_FROM: i16 = 6;

/// Deletes topics, and answers when no client can use them any more.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<(Option<StrBytes>, Uuid)> = if context.api_version >= TOPIC_IDS_FROM {
        request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO)).collect()
    };
    let refs = asked.iter().map(|(name, id)| match (name, id.is_zero()) {
        (Some(name), true) => TopicRef::Name(name.to_string()),
        (None, false) => TopicRef::Id(*id),
        _ => TopicRef::Neither,
    });
    let deleted = shared.controller.delete_topics(refs.collect()).await;
    let responses = match deleted {
        Ok(deleted) => {
            shared.wait_applied(deleted.offset).await;
            let outcomes = asked.into_iter().zip(deleted.outcome);
            outcomes
                .map(|((name, topic_id), outcome)| match outcome {
                    Ok(topic) => DeletableTopicResult {
                        name: Some(StrBytes::from(topic.name)),
                        topic_id: topic.id,
                        ..Default::default()
                    },
                    Err(error) => failed(name, topic_id, error.code(), error.to_string()),
                })
                .collect()
        }
        Err(error) => asked
            .into_iter()
            .map(|(name, topic_id)| failed(name, topic_id, error.code(), error.to_string()))
            .collect(),
    };
    DeleteTopicsResponse { responses, ..Default::default() }
}

fn failed(
    name: Option<StrBytes>,
    topic_id: Uuid,
    error: ErrorCode,
    text: String,
) -> DeletableTopicResult {
    DeletableTopicResult {
        name,
        topic_id,
        error_code: error.code(),
        error_message: Some(StrBytes::from(text)),
        ..Default::default()
    }
}
