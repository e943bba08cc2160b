//! LeaveGroup: members of a classic group go (KIP-345 for many at once).

use protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers when the group knows.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, LeaveGroup(request)) {
        Ok(response) => response,
        Err(error) => LeaveGroupResponse { error_code: error.code(), ..Default::default() },
    }
}
