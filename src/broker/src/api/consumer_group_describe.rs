//! ConsumerGroupDescribe: consumer groups, their members and who reads what (KIP-848).

use protocol::ErrorCode;
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
        if let Err(error) = check(shared, &group_id) {
            return DescribedGroup { error_code: error.code(), group_id, ..Default::default() };
        }
        let described =
            response_of!(shared, context, &group_id, DescribeConsumerGroup(group_id.clone()));
        let mut group = described.unwrap_or_else(|error| DescribedGroup {
            error_code: error.code(),
            group_id,
            ..Default::default()
        });
        let may_tell = request.include_authorized_operations && group.error_code == 0;
        group.authorized_operations = group_operations(may_tell);
        group
    });
    ConsumerGroupDescribeResponse { groups: runtime::join_all(groups).await, ..Default::default() }
}

fn check(shared: &Shared, group_id: &str) -> Result<(), ErrorCode> {
    if !shared.config.groups.is_consumer_protocol_enabled {
        return Err(ErrorCode::UnsupportedVersion);
    }
    if group_id.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}
