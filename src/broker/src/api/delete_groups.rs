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
    let results = request.groups_names.into_iter().map(async |group_id| {
        let deleted = response_of!(shared, context, &group_id, DeleteGroup(group_id.clone()));
        let error_code = deleted.unwrap_or_else(|error| error).code();
        DeletableGroupResult { group_id, error_code, ..Default::default() }
    });
    DeleteGroupsResponse { results: runtime::join_all(results).await, ..Default::default() }
}
