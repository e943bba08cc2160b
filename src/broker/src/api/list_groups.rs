//! ListGroups: all groups whose coordinator is this broker (KIP-518, KIP-848).

use coordinator::{Request, Response};
use protocol::ErrorCode;
use protocol::messages::list_groups_response::ListedGroup;
use protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::groups::OFFSETS_TOPIC;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Asks every shard; one that is still loading makes the list incomplete, which is an error.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    match list(shared, context, &request).await {
        Ok(groups) => ListGroupsResponse { groups, ..Default::default() },
        Err(error) => ListGroupsResponse { error_code: error.code(), ..Default::default() },
    }
}

async fn list(
    shared: &Shared,
    context: &RequestContext,
    request: &ListGroupsRequest,
) -> Result<Vec<ListedGroup>, ErrorCode> {
    let image = shared.applied_image();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else { return Ok(Vec::new()) };
    let here = shared.config.node_id;
    let led = topic.indexed_partitions().filter(|(_, partition)| partition.leader == here);
    let lists = led.map(async |(index, _)| {
        let states = request.states_filter.clone();
        let types = request.types_filter.clone();
        let asked = Request::ListGroups { states, types };
        match shared.groups.call_shard(index, context, asked).await {
            Ok(Response::ListGroups(listed)) => Ok(listed),
            // Its groups are another broker's to list.
            Err(ErrorCode::NotCoordinator) => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(other) => unreachable!("a shard answers what it was asked, not {other:?}"),
        }
    });
    let lists: Result<Vec<_>, _> = runtime::join_all(lists).await.into_iter().collect();
    Ok(lists?.concat())
}
