//! InitProducerId: a new id for an idempotent producer (KIP-98).

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::request::RequestContext;
use crate::shared::Shared;

/// Gives out an id that nobody had before, with epoch 0.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return failed(ErrorCode::InvalidRequest),
        // There is no transaction coordinator yet; clients give up instead of waiting for one.
        Some(_) => return failed(ErrorCode::TransactionalIdAuthorizationFailed),
    }
    match shared.producer_ids.next().await {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: 0,
            ongoing_txn_producer_id: -1,
            ongoing_txn_producer_epoch: -1,
            ..Default::default()
        },
        Err(error) => failed(error.code()),
    }
}

fn failed(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ongoing_txn_producer_id: -1,
        ongoing_txn_producer_epoch: -1,
        ..Default::default()
    }
}
