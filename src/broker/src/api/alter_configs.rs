//! AlterConfigs: replaces all configs of a resource (KIP-133; IncrementalAlterConfigs is better).

use metadata::controller::{Replacement, config_resource};
use protocol::StrBytes;
use protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::api::item::{Refusal, decide_valid};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Replaces the configs of each resource, and answers when they hold.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let replacements = request.resources.iter().map(|asked| {
        let resource = config_resource(asked.resource_type, &asked.resource_name)?;
        let value = |value: &Option<StrBytes>| value.as_ref().map(ToString::to_string);
        let values = asked.configs.iter().map(|c| (c.name.to_string(), value(&c.value)));
        Ok(Replacement { resource, values: values.collect() })
    });
    let validate_only = request.validate_only;
    let controller = &shared.controller;
    let outcomes =
        decide_valid(shared, replacements, |valid| controller.alter_configs(valid, validate_only))
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
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
