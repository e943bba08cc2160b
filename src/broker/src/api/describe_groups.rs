//! DescribeGroups: groups and their members, as classic groups see them.

use protocol::messages::describe_groups_response::DescribedGroup;
use protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::api::{group_operations, response_of};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Describes each group by itself.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(async |group_id| {
        let described = response_of!(shared, context, &group_id, DescribeGroup(group_id.clone()));
        let mut group = described.unwrap_or_else(|error| DescribedGroup {
            error_code: error.code(),
            group_id,
            ..Default::default()
        });
        let may_tell = request.include_authorized_operations && group.error_code == 0;
        group.authorized_operations = group_operations(may_tell);
        group
    });
    DescribeGroupsResponse { groups: runtime::join_all(groups).await, ..Default::default() }
}
