//! IncrementalAlterConfigs: changes single configs (KIP-339).

use metadata::controller::{Alteration, ConfigOp, ControllerError, config_resource};
use protocol::StrBytes;
use protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::api::item::{Refusal, decide_valid};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Changes the configs of each resource, and answers when they hold.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let alterations = request.resources.iter().map(alteration);
    let validate_only = request.validate_only;
    let controller = &shared.controller;
    let outcomes = decide_valid(shared, alterations, |valid| {
        controller.incremental_alter_configs(valid, validate_only)
    })
    .await;
    let responses = request.resources.into_iter().zip(outcomes).map(|(asked, outcome)| {
        let (error, text) = Refusal::split(outcome);
        AlterConfigsResourceResponse {
            error_code: error.code(),
            error_message: text,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
            ..Default::default()
        }
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

fn alteration(asked: &AlterConfigsResource) -> Result<Alteration, ControllerError> {
    let resource = config_resource(asked.resource_type, &asked.resource_name)?;
    let value = |value: &Option<StrBytes>| value.as_ref().map(ToString::to_string);
    let changes = asked.configs.iter().map(|config| {
        let op = ConfigOp::from_code(config.config_operation, value(&config.value))?;
        Ok((config.name.to_string(), op))
    });
    Ok(Alteration { resource, changes: changes.collect::<Result<_, ControllerError>>()? })
}
