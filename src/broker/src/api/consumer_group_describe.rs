//! ConsumerGroupDescribe: consumer groups, their members and who reads what (KIP-848).

use protocol::messages::consumer_group_describe_response::DescribedGroup;
use protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use crate::api::{group_operations, response_of};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Describes each group by itself.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.into_iter().map(async |group_id| {
        let described =
            response_of!(shared, context, &group_id, DescribeConsumerGroup(group_id.clone()));
        let mut group = described.unwrap_or_else(|error| DescribedGroup {
            error_code: error.code(),
            group_id,
            ..Default::default()
        });
        group.authorized_operations = group_operations(request.include_authorized_operations);
        group
    });
    ConsumerGroupDescribeResponse { groups: runtime::join_all(groups).await, ..Default::default() }
}
