//! DeleteGroups: groups without members, and their offsets (KIP-229).

use protocol::messages::delete_groups_response::DeletableGroupResult;
use protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Deletes each group by itself.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let deleted = response_of!(shared, context, &group_id, DeleteGroup(group_id.clone()));
        let error = deleted.unwrap_or_else(|error| error);
        let error_code = error.code();
        results.push(DeletableGroupResult { group_id, error_code, ..Default::default() });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}
