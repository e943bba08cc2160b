//! OffsetDelete: offsets of topics that nobody in the group reads are forgotten (KIP-496).

use protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::api::response_of;
use crate::request::RequestContext;
use crate::shared::Shared;

/// Answers when that is durable.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    match response_of!(shared, context, &group, OffsetDelete(request)) {
        Ok(response) => response,
        Err(error) => OffsetDeleteResponse { error_code: error.code(), ..Default::default() },
    }
}
