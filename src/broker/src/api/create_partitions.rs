//! CreatePartitions: more partitions for a topic, never fewer (KIP-195).

use metadata::controller::MorePartitions;
use model::BrokerId;
use protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::api::item::{Refusal, decide_valid};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Adds partitions, and answers when clients can use them.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let topics = request.topics.iter().map(|asked| {
        let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        let assignments = asked.assignments.as_ref();
        Ok(MorePartitions {
            topic: asked.name.to_string(),
            count: asked.count,
            assignments: assignments
                .map(|all| all.iter().map(|a| brokers(&a.broker_ids)).collect()),
        })
    });
    let validate_only = request.validate_only;
    let controller = &shared.controller;
    let outcomes =
        decide_valid(shared, topics, |valid| controller.create_partitions(valid, validate_only))
            .await;
    let results = request.topics.into_iter().zip(outcomes).map(|(asked, outcome)| {
        let (error, text) = Refusal::split(outcome);
        CreatePartitionsTopicResult {
            name: asked.name,
            error_code: error.code(),
            error_message: text,
            ..Default::default()
        }
    });
    CreatePartitionsResponse { results: results.collect(), ..Default::default() }
}
