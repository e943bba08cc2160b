//! Where a broker's values come from, the strongest first (KIP-226).
//!
//! In: what was set for this broker, for all brokers, and in the properties file. Out: the value that
//! holds, and where it comes from.

use crate::config::broker_definition;
use crate::config::definition::Definition;
use crate::image::{Image, Overrides};
use crate::record::ConfigResource;
use model::BrokerId;

/// Where a value comes from; the numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker.
    DynamicBroker = 2,
    /// Set on all brokers.
    DynamicDefaultBroker = 3,
    /// In the broker's properties file or on its command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the subscription of client metrics.
    ClientMetrics = 7,
    /// Set on the group.
    Group = 8,
}

impl Source {
    /// The number on the wire.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// What was set for a broker, layer by layer.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// On this broker.
    pub broker: &'a Overrides,
    /// On all brokers.
    pub default_broker: &'a Overrides,
    /// In its properties file or on its command line, `broker.id` already as `node.id`.
    pub given: &'a Overrides,
}

impl<'a> Layers<'a> {
    /// The layers of `broker` that holds `given` as its properties.
    pub fn new(image: &'a Image, broker: BrokerId, given: &'a Overrides) -> Layers<'a> {
        Layers {
            broker: image.overrides(&ConfigResource::Broker(broker)),
            default_broker: image.overrides(&ConfigResource::DefaultBroker),
            given,
        }
    }

    /// The layers with their sources, the strongest first.
    pub(crate) fn with_sources(&self) -> [(&'a Overrides, Source); 3] {
        [
            (self.broker, Source::DynamicBroker),
            (self.default_broker, Source::DynamicDefaultBroker),
            (self.given, Source::StaticBroker),
        ]
    }

    /// What was set for the broker config of that name, by the strongest layer that holds a value
    /// which can be read; `None` when its default holds.
    pub(crate) fn set_value(&self, name: &str) -> Option<(&'a str, Source)> {
        let definition = broker_definition(name);
        self.with_sources().into_iter().find_map(|(layer, source)| {
            let value = layer.get(name)?;
            let readable = definition.is_none_or(|definition| definition.check(value).is_ok());
            readable.then_some((value.as_str(), source))
        })
    }

    /// The value of a config of topics or groups where nothing is set on the topic or group itself:
    /// that of the strongest of its synonyms that is set, else that of the last one that has a
    /// default, else its own default.
    pub(crate) fn inherited(&self, definition: &Definition) -> (Option<String>, Source) {
        for (name, factor) in definition.synonyms {
            if let Some((value, source)) = self.set_value(name) {
                let known = broker_definition(name);
                let value = known.map_or_else(|| value.to_owned(), |known| known.normalized(value));
                return (Some(scaled(&value, *factor)), source);
            }
        }
        (definition.default.map(str::to_owned), Source::Default)
    }
}

/// `value` times `factor`; -1 and its kind mean "none" in every unit.
pub(crate) fn scaled(value: &str, factor: i64) -> String {
    if factor == 1 {
        return value.to_owned();
    }
    match value.parse::<i64>() {
        Ok(number) if number < 0 => "-1".to_owned(),
        Ok(number) => number.saturating_mul(factor).to_string(),
        Err(_) => value.to_owned(),
    }
}
