//! Heartbeat: a member of a classic group is alive, and hears of a rebalance.

use protocol::ErrorCode;
use protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers at once.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, Heartbeat(request)) {
        Ok(response) => response,
        // Java's classic consumer knows no answer to a heartbeat for this, and it is alive anyway
        // (`GroupCoordinatorService.heartbeat`).
        Err(ErrorCode::CoordinatorLoadInProgress) => HeartbeatResponse::default(),
        Err(error) => HeartbeatResponse { error_code: error.code(), ..Default::default() },
    }
}
