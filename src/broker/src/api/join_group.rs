//! JoinGroup: a member of a classic group joins, and waits for the others.

use protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers when the join phase is over.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, JoinGroup(request)) {
        Ok(response) => response,
        Err(error) => {
            JoinGroupResponse { error_code: error.code(), generation_id: -1, ..Default::default() }
        }
    }
}
