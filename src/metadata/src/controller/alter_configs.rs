//! Changes of configs.
//!
//! In: per resource, what is to be set, deleted, appended, subtracted, or all values at once. Out: records
//! for what changes. A resource changes as a whole or not at all. Checks and errors are those of
//! `ConfigurationControlManager` and `ConfigAdminManager`.
//!
//! Start at [`incremental_alter_configs`].

use model::BrokerId;

use crate::config::{
    BrokerConfig, ConfigError, Definition, Kind, Layers, TopicConfig, Update, broker_definition,
    check_group_limits, client_metrics_definition, group_definition, nearest_config,
    topic_definition,
};
use crate::controller::topic_name::check_topic_name;
use crate::controller::{ControllerError, Decision, Draft, Named};
use crate::image::{Image, Overrides};
use crate::record::{ConfigResource, Record};

/// Changes of one resource (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// The resource.
    pub resource: ConfigResource,
    /// What becomes of its configs.
    pub changes: Vec<(String, ConfigOp)>,
}

/// What becomes of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// It gets this value; `None` is refused.
    Set(Option<String>),
    /// It is no longer set.
    Delete,
    /// These parts are added to the list, where they are not in it.
    Append(Option<String>),
    /// These parts are taken out of the list.
    Subtract(Option<String>),
}

impl ConfigOp {
    /// The operation with that number on the wire, as `AlterConfigOp.OpType` has them.
    pub fn from_code(code: i8, value: Option<String>) -> Result<ConfigOp, ControllerError> {
        match code {
            0 => Ok(ConfigOp::Set(value)),
            1 => Ok(ConfigOp::Delete),
            2 => Ok(ConfigOp::Append(value)),
            3 => Ok(ConfigOp::Subtract(value)),
            _ => Err(ControllerError::ConfigOperation { code }),
        }
    }
}

/// All values of one resource (the old AlterConfigs): what is not named is no longer set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The resource.
    pub resource: ConfigResource,
    /// Its values; `None` is refused.
    pub values: Vec<(String, Option<String>)>,
}

/// The resource that a request names by type and name.
pub fn config_resource(type_code: i8, name: &str) -> Result<ConfigResource, ControllerError> {
    let refuse = |what| Err(ControllerError::ResourceName { name: name.to_owned(), what });
    match type_code {
        2 if name.is_empty() => refuse("topic: configs for all topics are the broker's"),
        2 => Ok(ConfigResource::Topic(name.to_owned())),
        4 if name.is_empty() => Ok(ConfigResource::DefaultBroker),
        4 => match name.parse::<i32>() {
            Ok(id) if id >= 0 => Ok(ConfigResource::Broker(BrokerId(id))),
            _ => refuse("broker: write its node.id"),
        },
        16 if name.is_empty() => refuse("subscription of client metrics"),
        16 => Ok(ConfigResource::ClientMetrics(name.to_owned())),
        32 if name.is_empty() => refuse("group"),
        32 => Ok(ConfigResource::Group(name.to_owned())),
        code => Err(ControllerError::ResourceType { code }),
    }
}

/// Decides on changes; the answers are in the order of the request.
pub fn incremental_alter_configs(
    image: &Image,
    config: &BrokerConfig,
    alterations: &[Alteration],
    validate_only: bool,
) -> Decision<Vec<Result<(), ControllerError>>> {
    let named = Named::new(alterations.iter().map(|alteration| &alteration.resource));
    let mut draft = Draft::new(image, config);
    let outcome = alterations
        .iter()
        .map(|Alteration { resource, changes }| {
            check_named_once(&named, resource, changes.iter().map(|(name, _)| name.as_str()))?;
            let current = draft.image.overrides(resource);
            let mut next = current.clone();
            for (name, op) in changes {
                apply(resource, &mut next, name, op)?;
            }
            let records = changed(&draft, resource, current, &next)?;
            draft.accept(records);
            Ok(())
        })
        .collect();
    draft.decide(outcome).unless(validate_only)
}

/// Decides on replacements; the answers are in the order of the request.
pub fn alter_configs(
    image: &Image,
    config: &BrokerConfig,
    replacements: &[Replacement],
    validate_only: bool,
) -> Decision<Vec<Result<(), ControllerError>>> {
    let named = Named::new(replacements.iter().map(|replacement| &replacement.resource));
    let mut draft = Draft::new(image, config);
    let outcome = replacements
        .iter()
        .map(|Replacement { resource, values }| {
            check_named_once(&named, resource, values.iter().map(|(name, _)| name.as_str()))?;
            let mut next = Overrides::new();
            for (name, value) in values {
                apply(resource, &mut next, name, &ConfigOp::Set(value.clone()))?;
            }
            let records = changed(&draft, resource, draft.image.overrides(resource), &next)?;
            draft.accept(records);
            Ok(())
        })
        .collect();
    draft.decide(outcome).unless(validate_only)
}

fn check_named_once<'a>(
    resources: &Named<&ConfigResource>,
    resource: &ConfigResource,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), ControllerError> {
    if resources.is_repeated(&resource) {
        return Err(ControllerError::Duplicate { what: resource.to_string() });
    }
    let named = Named::new(names.clone());
    match names.into_iter().find(|name| named.is_repeated(name)) {
        Some(name) => Err(ControllerError::Duplicate { what: format!("config `{name}`") }),
        None => Ok(()),
    }
}

fn definition(resource: &ConfigResource, name: &str) -> Option<&'static Definition> {
    match resource {
        ConfigResource::Topic(_) => topic_definition(name),
        ConfigResource::Broker(_) | ConfigResource::DefaultBroker => broker_definition(name),
        ConfigResource::Group(_) => group_definition(name),
        ConfigResource::ClientMetrics(_) => client_metrics_definition(name),
    }
}

/// Kafka answers bad values of brokers and client metrics with INVALID_REQUEST (KAFKA-13609).
fn refusal(resource: &ConfigResource, error: ConfigError) -> ControllerError {
    match resource {
        ConfigResource::Topic(_) | ConfigResource::Group(_) => {
            ControllerError::InvalidConfig(error)
        }
        ConfigResource::Broker(_)
        | ConfigResource::DefaultBroker
        | ConfigResource::ClientMetrics(_) => ControllerError::InvalidBrokerConfig(error),
    }
}

/// Applies one change to what is set.
fn apply(
    resource: &ConfigResource,
    overrides: &mut Overrides,
    name: &str,
    op: &ConfigOp,
) -> Result<(), ControllerError> {
    let given = match op {
        ConfigOp::Delete => {
            overrides.remove(name);
            return Ok(());
        }
        ConfigOp::Set(given) | ConfigOp::Append(given) | ConfigOp::Subtract(given) => given,
    };
    // A missing value is a malformed request, whatever the resource (`ConfigAdminManager`).
    let given = given.as_deref().ok_or_else(|| {
        ControllerError::InvalidBrokerConfig(ConfigError::NoValue { name: name.to_owned() })
    })?;
    let Some(definition) = definition(resource, name) else {
        let (scope, nearest) = nearest_config(resource, name);
        let error = ConfigError::Unknown { name: name.to_owned(), scope, nearest };
        return Err(refusal(resource, error));
    };
    if matches!(op, ConfigOp::Set(_)) {
        overrides.insert(name.to_owned(), definition.normalized(given));
        return Ok(());
    }
    if definition.kind != Kind::List {
        return Err(refusal(resource, ConfigError::NotAList { name: name.to_owned() }));
    }
    let current = overrides.get(name).map(String::as_str).or(definition.default).unwrap_or("");
    let mut list: Vec<&str> = crate::config::parts(current).collect();
    for part in crate::config::parts(given) {
        match op {
            ConfigOp::Append(_) if !list.contains(&part) => list.push(part),
            ConfigOp::Subtract(_) => list.retain(|other| *other != part),
            ConfigOp::Append(_) | ConfigOp::Set(_) | ConfigOp::Delete => {}
        }
    }
    overrides.insert(name.to_owned(), list.join(","));
    Ok(())
}

/// The records that turn `current` into `next`, if that is valid.
fn changed(
    draft: &Draft<'_>,
    resource: &ConfigResource,
    current: &Overrides,
    next: &Overrides,
) -> Result<Vec<Record>, ControllerError> {
    check(draft, resource, current, next)?;
    let set = next
        .iter()
        .filter(|(name, value)| current.get(*name) != Some(value))
        .map(|(name, value)| (name, Some(value.clone())));
    let deleted = current.keys().filter(|name| !next.contains_key(*name)).map(|name| (name, None));
    let records = set.chain(deleted).map(|(name, value)| Record::Config {
        resource: resource.clone(),
        name: name.clone(),
        value,
    });
    Ok(records.collect())
}

fn check(
    draft: &Draft<'_>,
    resource: &ConfigResource,
    current: &Overrides,
    next: &Overrides,
) -> Result<(), ControllerError> {
    let layers = draft.config.layers(&draft.image);
    match resource {
        ConfigResource::Topic(name) => {
            check_topic_name(name)?;
            if draft.image.topic(name).is_none() {
                return Err(ControllerError::UnknownTopic { name: name.clone() });
            }
            check_topic_configs(next, &layers)
        }
        ConfigResource::Broker(id) => {
            if draft.image.broker(*id).is_none() {
                let name = id.to_string();
                return Err(ControllerError::ResourceName { name, what: "registered broker" });
            }
            check_broker(resource, current, next)
        }
        ConfigResource::DefaultBroker => check_broker(resource, current, next),
        ConfigResource::Group(_) => {
            check_values(resource, next)?;
            check_group_limits(next, &layers).map_err(ControllerError::InvalidConfig)
        }
        ConfigResource::ClientMetrics(_) => check_values(resource, next),
    }
}

/// Checks all that would be set on a topic.
pub(super) fn check_topic_configs(
    overrides: &Overrides,
    layers: &Layers<'_>,
) -> Result<(), ControllerError> {
    // The name of the topic makes no difference to its configs.
    check_values(&ConfigResource::Topic(String::new()), overrides)?;
    TopicConfig::check(overrides, layers).map_err(ControllerError::InvalidConfig)
}

fn check_values(resource: &ConfigResource, overrides: &Overrides) -> Result<(), ControllerError> {
    for (name, value) in overrides {
        let result = match definition(resource, name) {
            Some(definition) => definition.check(value),
            None => {
                let (scope, nearest) = nearest_config(resource, name);
                Err(ConfigError::Unknown { name: name.clone(), scope, nearest })
            }
        };
        result.map_err(|error| refusal(resource, error))?;
    }
    Ok(())
}

/// Checks what would change on brokers: only that has to be changeable.
fn check_broker(
    resource: &ConfigResource,
    current: &Overrides,
    next: &Overrides,
) -> Result<(), ControllerError> {
    check_values(resource, next)?;
    for (name, value) in next {
        if current.get(name) == Some(value) {
            continue;
        }
        let update = broker_definition(name).map_or(Update::ReadOnly, |known| known.update);
        let name = || name.clone();
        let error = match (update, resource) {
            (Update::ReadOnly, _) => ConfigError::ReadOnly { name: name() },
            (Update::PerBroker, ConfigResource::DefaultBroker) => {
                ConfigError::PerBrokerOnly { name: name() }
            }
            (Update::PerBroker | Update::ClusterWide, _) => continue,
        };
        return Err(refusal(resource, error));
    }
    Ok(())
}
