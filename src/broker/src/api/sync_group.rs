//! SyncGroup: the leader of a classic group says who reads what, every member hears it.

use protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers when the assignment is durable.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, SyncGroup(request)) {
        Ok(response) => response,
        Err(error) => SyncGroupResponse { error_code: error.code(), ..Default::default() },
    }
}
