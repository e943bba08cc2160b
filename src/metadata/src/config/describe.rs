//! Effective values with their sources, as DescribeConfigs wants them (KIP-226).
//!
//! In: what is set on a resource, and the broker's layers. Out: one [`Entry`] per config, all of them,
//! with what stands in for it in the order of precedence. Kafka's `ConfigHelper` is the reference; unlike
//! it, a value that comes from `log.retention.hours` is shown with that source, not as a default.

use crate::config::broker::{broker_definition, broker_definitions};
use crate::config::definition::{Definition, Update};
use crate::config::group::{client_metrics_definitions, group_definitions};
use crate::config::layers::{Layers, Source};
use crate::config::topic::topic_definitions;
use crate::image::Overrides;

/// A config as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What is known about it; `None` for a name that nobody knows.
    pub definition: Option<&'static Definition>,
    /// Its name.
    pub name: String,
    /// Its value; `None` when there is none, and when it is hidden.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: Source,
    /// Whether it is hidden.
    pub is_sensitive: bool,
    /// Whether it can not change while the broker runs.
    pub is_read_only: bool,
    /// All values that were set for it, the strongest first, then the default.
    pub synonyms: Vec<SynonymValue>,
}

/// One of the values that were set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    /// The config that it was set as.
    pub name: String,
    /// The value, unless it is hidden.
    pub value: Option<String>,
    /// Where it was set.
    pub source: Source,
}

/// What holds for a topic.
pub fn describe_topic(overrides: &Overrides, layers: &Layers<'_>) -> Vec<Entry> {
    topic_definitions()
        .iter()
        .map(|definition| inheriting(definition, Source::Topic, overrides, layers))
        .collect()
}

/// What holds for a group.
pub fn describe_group(overrides: &Overrides, layers: &Layers<'_>) -> Vec<Entry> {
    group_definitions()
        .iter()
        .map(|definition| inheriting(definition, Source::Group, overrides, layers))
        .collect()
}

/// What was set on a subscription of client metrics.
pub fn describe_client_metrics(overrides: &Overrides) -> Vec<Entry> {
    client_metrics_definitions()
        .iter()
        .filter(|definition| overrides.contains_key(definition.name))
        .map(|definition| {
            let value = overrides.get(definition.name).map(|value| definition.normalized(value));
            let source = Source::ClientMetrics;
            Entry { synonyms: Vec::new(), ..entry(definition, value, source, Vec::new()) }
        })
        .collect()
}

/// What holds for a broker.
pub fn describe_broker(layers: &Layers<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = broker_definitions()
        .filter(|definition| !definition.is_internal || layers.set_value(definition.name).is_some())
        .map(|definition| {
            let synonyms = set_values(&own_names(definition.name), layers);
            let (value, source) = match layers.set_value(definition.name) {
                Some((value, source)) => (Some(definition.normalized(value)), source),
                None => (definition.default.map(str::to_owned), Source::Default),
            };
            let read_only = definition.update == Update::ReadOnly;
            Entry { is_read_only: read_only, ..entry(definition, value, source, synonyms) }
        })
        .collect();
    // What only plug-ins know may be a secret (`KafkaConfig.maybeSensitive`).
    let unknown = layers.given.keys().filter(|name| broker_definition(name).is_none());
    entries.extend(unknown.map(|name| Entry {
        definition: None,
        name: name.clone(),
        value: None,
        source: Source::StaticBroker,
        is_sensitive: true,
        is_read_only: true,
        synonyms: vec![SynonymValue {
            name: name.clone(),
            value: None,
            source: Source::StaticBroker,
        }],
    }));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// What was set on all brokers.
pub fn describe_default_broker(layers: &Layers<'_>) -> Vec<Entry> {
    let set = layers.default_broker;
    set.iter()
        .filter_map(|(name, value)| {
            let definition = broker_definition(name)?;
            let source = Source::DynamicDefaultBroker;
            let value = Some(definition.normalized(value));
            let synonym = SynonymValue { name: name.clone(), value: value.clone(), source };
            Some(entry(definition, value, source, vec![synonym]))
        })
        .collect()
}

/// A config that takes its value from the broker's where none is set.
fn inheriting(
    definition: &'static Definition,
    own: Source,
    overrides: &Overrides,
    layers: &Layers<'_>,
) -> Entry {
    let set = overrides.get(definition.name).filter(|value| definition.check(value).is_ok());
    let set = set.map(|value| definition.normalized(value));
    let mut synonyms: Vec<SynonymValue> = set
        .iter()
        .map(|value| SynonymValue {
            name: definition.name.to_owned(),
            value: Some(value.clone()),
            source: own,
        })
        .collect();
    let names: Vec<&'static str> = definition.synonyms.iter().map(|(name, _)| *name).collect();
    synonyms.extend(set_values(&names, layers));
    let (value, source) = match set {
        Some(value) => (Some(value), own),
        None => layers.inherited(definition),
    };
    entry(definition, value, source, synonyms)
}

fn entry(
    definition: &'static Definition,
    value: Option<String>,
    source: Source,
    mut synonyms: Vec<SynonymValue>,
) -> Entry {
    let is_sensitive = definition.is_sensitive();
    if is_sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    Entry {
        definition: Some(definition),
        name: definition.name.to_owned(),
        value: value.filter(|_| !is_sensitive),
        source,
        is_sensitive,
        is_read_only: false,
        synonyms,
    }
}

/// The broker's configs that say the same in other units, the strongest first
/// (`DynamicBrokerConfig.brokerConfigSynonyms`).
fn own_names(name: &'static str) -> Vec<&'static str> {
    let topic = topic_definitions()
        .iter()
        .find(|definition| definition.synonyms.iter().any(|(synonym, _)| *synonym == name));
    match topic {
        Some(topic) => {
            let names = topic.synonyms.iter().map(|(synonym, _)| *synonym);
            names.skip_while(|synonym| *synonym != name).collect()
        }
        None if name == "log.dirs" => vec!["log.dirs", "log.dir"],
        None => vec![name],
    }
}

/// Every value that was set under one of the names, layer by layer, then the defaults.
fn set_values(names: &[&'static str], layers: &Layers<'_>) -> Vec<SynonymValue> {
    let set = layers.with_sources().into_iter().flat_map(|(layer, source)| {
        names.iter().filter_map(move |name| {
            let value = Some(layer.get(*name)?.clone());
            Some(SynonymValue { name: (*name).to_owned(), value, source })
        })
    });
    let defaults = names.iter().filter_map(|name| {
        let value = Some(broker_definition(name)?.default?.to_owned());
        Some(SynonymValue { name: (*name).to_owned(), value, source: Source::Default })
    });
    set.chain(defaults).collect()
}
