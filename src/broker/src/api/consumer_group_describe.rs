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
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group_id in request.group_ids {
        let described =
            response_of!(shared, context, &group_id, DescribeConsumerGroup(group_id.clone()));
        let mut group = described.unwrap_or_else(|error| DescribedGroup {
            error_code: error.code(),
            group_id,
            ..Default::default()
        });
        group.authorized_operations = group_operations(request.include_authorized_operations);
        groups.push(group);
    }
    ConsumerGroupDescribeResponse { groups, ..Default::default() }
}
