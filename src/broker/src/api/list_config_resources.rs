//! ListConfigResources: what has configs of its own (KIP-1142; version 0 is KIP-714's list of client
//! metrics).

use std::collections::BTreeSet;

use metadata::{ConfigResource, Image};
use protocol::messages::list_config_resources_response::ConfigResource as Listed;
use protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use protocol::{ErrorCode, StrBytes};

use crate::request::RequestContext;
use crate::shared::Shared;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Lists resources of the types asked for, or of all.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let all = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let types: BTreeSet<i8> = match request.resource_types.as_slice() {
        _ if context.api_version == 0 => [CLIENT_METRICS].into(),
        [] => all.into(),
        asked => asked.iter().copied().collect(),
    };
    if types.iter().any(|asked| !all.contains(asked)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let image = shared.applied_image();
    let config_resources = types.iter().flat_map(|&resource_type| {
        names(&image, resource_type).into_iter().map(move |name| Listed {
            resource_name: StrBytes::from(name),
            // Version 0 has no types: the field is left at what the schema takes it to be.
            resource_type,
            ..Default::default()
        })
    });
    ListConfigResourcesResponse {
        config_resources: config_resources.collect(),
        ..Default::default()
    }
}

fn names(image: &Image, resource_type: i8) -> Vec<String> {
    match resource_type {
        TOPIC => image.topics().map(|topic| topic.name.to_string()).collect(),
        BROKER | BROKER_LOGGER => image.brokers().map(|broker| broker.id.to_string()).collect(),
        _ => image
            .configured_resources()
            .filter(|resource| resource.type_code() == resource_type)
            .map(ConfigResource::name)
            .collect(),
    }
}
