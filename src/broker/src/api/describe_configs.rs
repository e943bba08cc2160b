//! DescribeConfigs: effective values with their sources and synonyms (KIP-133, KIP-226).

use metadata::config::{
    Entry, Source, describe_broker, describe_client_metrics, describe_default_broker,
    describe_group, describe_topic,
};
use metadata::controller::config_resource;
use metadata::{ConfigResource, Image};
use protocol::messages::describe_configs_request::DescribeConfigsResource;
use protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::request::RequestContext;
use crate::shared::Shared;

/// Which extras the client wants.
#[derive(Clone, Copy)]
struct Extras {
    synonyms: bool,
    documentation: bool,
    /// Only version 0 says whether a value is the default; later ones say where it comes from.
    is_default: bool,
}

/// A config as several responses tell it.
pub(crate) struct EntryFacts {
    pub(crate) name: StrBytes,
    pub(crate) value: Option<StrBytes>,
    pub(crate) read_only: bool,
    pub(crate) source: i8,
    pub(crate) is_sensitive: bool,
}

/// What every response tells of a config.
pub(crate) fn entry_facts(entry: &Entry) -> EntryFacts {
    EntryFacts {
        name: StrBytes::from(&*entry.name),
        value: entry.value.as_deref().map(StrBytes::from),
        read_only: entry.is_read_only,
        source: entry.source.code(),
        is_sensitive: entry.is_sensitive,
    }
}

/// Describes each resource, in the order of the request.
pub(crate) async fn handle(
    shared: &Shared,
    context: &RequestContext,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let image = shared.applied_image();
    let extras = Extras {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
        is_default: context.api_version == 0,
    };
    let results = request.resources.into_iter().map(|asked| {
        let (configs, error, text) = match entries(shared, &image, &asked) {
            Ok(entries) => (select(&entries, &asked, extras), ErrorCode::None, None),
            Err((error, text)) => (Vec::new(), error, Some(StrBytes::from(text))),
        };
        DescribeConfigsResult {
            error_code: error.code(),
            error_message: text,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
            configs,
            ..Default::default()
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

/// All configs of the resource.
fn entries(
    shared: &Shared,
    image: &Image,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let resource = config_resource(asked.resource_type, &asked.resource_name)
        .map_err(|error| (error.code(), error.to_string()))?;
    let layers = shared.config.layers(image);
    match &resource {
        ConfigResource::Topic(name) if image.topic(name).is_none() => {
            Err((ErrorCode::UnknownTopicOrPartition, format!("there is no topic `{name}`")))
        }
        ConfigResource::Topic(_) => Ok(describe_topic(image.overrides(&resource), &layers)),
        ConfigResource::Broker(id) if *id != shared.config.node_id => {
            let here = shared.config.node_id;
            let text = format!("this is broker {here}: ask broker {id} for its configs");
            Err((ErrorCode::InvalidRequest, text))
        }
        ConfigResource::Broker(_) => Ok(describe_broker(&layers)),
        ConfigResource::DefaultBroker => Ok(describe_default_broker(&layers)),
        ConfigResource::Group(_) => Ok(describe_group(image.overrides(&resource), &layers)),
        ConfigResource::ClientMetrics(_) => Ok(describe_client_metrics(image.overrides(&resource))),
    }
}

/// The entries asked for: all where no key is named.
fn select(
    entries: &[Entry],
    asked: &DescribeConfigsResource,
    extras: Extras,
) -> Vec<DescribeConfigsResourceResult> {
    let keys = asked.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    let is_wanted =
        |entry: &&Entry| keys.is_none_or(|keys| keys.iter().any(|key| **key == *entry.name));
    entries.iter().filter(is_wanted).map(|entry| result(entry, extras)).collect()
}

fn result(entry: &Entry, extras: Extras) -> DescribeConfigsResourceResult {
    let synonyms =
        entry.synonyms.iter().filter(|_| extras.synonyms).map(|synonym| DescribeConfigsSynonym {
            name: StrBytes::from(&*synonym.name),
            value: synonym.value.as_deref().map(StrBytes::from),
            source: synonym.source.code(),
            ..Default::default()
        });
    let documentation = entry.definition.filter(|_| extras.documentation);
    let facts = entry_facts(entry);
    DescribeConfigsResourceResult {
        name: facts.name,
        value: facts.value,
        read_only: facts.read_only,
        is_default: extras.is_default && entry.source == Source::Default,
        config_source: facts.source,
        is_sensitive: facts.is_sensitive,
        synonyms: synonyms.collect(),
        config_type: entry.definition.map_or(0, |definition| definition.kind.code()),
        documentation: documentation.map(|d| StrBytes::from_static(d.documentation)),
        ..Default::default()
    }
}
