//! ConsumerGroupHeartbeat: a member of a consumer group joins, is alive, leaves (KIP-848).

use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers with what the member shall own, when that changed.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, ConsumerGroupHeartbeat(request)) {
        Ok(response) => response,
        Err(error) => {
            ConsumerGroupHeartbeatResponse { error_code: error.code(), ..Default::default() }
        }
    }
}
