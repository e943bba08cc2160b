//! DescribeCluster: the brokers and the controller (KIP-700).

use protocol::messages::describe_cluster_response::DescribeClusterBroker;
use protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use protocol::{ErrorCode, StrBytes};

use crate::api::cluster_operations;
use crate::request::RequestContext;
use crate::shared::Shared;

/// The endpoints of brokers, and those of controllers (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Describes the cluster as clients of this listener reach it.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    // Version 0 does not ask, and means brokers.
    let endpoint_type = if context.api_version == 0 { BROKERS } else { request.endpoint_type };
    match endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let text = "this is a broker's listener: it knows brokers, not controllers";
            return failed(endpoint_type, ErrorCode::MismatchedEndpointType, text.to_owned());
        }
        other => {
            let text = format!("endpoint type {other} is neither brokers (1) nor controllers (2)");
            return failed(endpoint_type, ErrorCode::UnsupportedEndpointType, text);
        }
    }
    let image = shared.applied_image();
    let brokers = image.brokers().filter(|broker| request.include_fenced_brokers || !broker.fenced);
    let brokers = brokers.filter_map(|broker| {
        let endpoint = broker.endpoint(&context.connection.listener)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id.0,
            host: StrBytes::from(&*endpoint.host),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().map(StrBytes::from),
            is_fenced: broker.fenced,
            ..Default::default()
        })
    });
    DescribeClusterResponse {
        endpoint_type,
        cluster_id: image.cluster_id().map(StrBytes::from).unwrap_or_default(),
        controller_id: shared.config.node_id.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: cluster_operations(
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    }
}

fn failed(endpoint_type: i8, error: ErrorCode, text: String) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(StrBytes::from(text)),
        endpoint_type,
        ..Default::default()
    }
}
