//! Why a config or its value is refused.

/// A config that can not be set so. The text names the config, the value, and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such config.
    #[error("unknown {scope} config `{name}`{}", did_you_mean(*nearest))]
    Unknown {
        /// The name that is not one.
        name: String,
        /// Whose configs were looked through: `topic`, `broker`, `group`, `client metrics`.
        scope: &'static str,
        /// The name that it may have been meant to be.
        nearest: Option<&'static str>,
    },
    /// Not a valid value.
    #[error("config `{name}` is `{value}`, but must be {allowed}")]
    Value {
        /// The config.
        name: String,
        /// The value, unless it is hidden.
        value: String,
        /// What reads well behind "must be".
        allowed: String,
    },
    /// Two configs that contradict each other.
    #[error("config `{name}` is `{value}`, but must not be {relation} `{other}`, which is {limit}")]
    Conflict {
        /// The config.
        name: &'static str,
        /// Its value.
        value: String,
        /// `above` or `below`.
        relation: &'static str,
        /// The other config.
        other: &'static str,
        /// Its value.
        limit: String,
    },
    /// A config without a value.
    #[error("config `{name}` has no value: give one, or delete the config to get the default")]
    NoValue {
        /// The config.
        name: String,
    },
    /// A part added to what has no parts.
    #[error("config `{name}` is no list, so nothing can be appended to it or subtracted: set it")]
    NotAList {
        /// The config.
        name: String,
    },
    /// A broker's config that is read at its start only.
    #[error("config `{name}` can not change while the broker runs: set it in its properties file")]
    ReadOnly {
        /// The config.
        name: String,
    },
    /// A broker's config that makes no sense for all brokers at once.
    #[error("config `{name}` can be set for one broker only: name the broker")]
    PerBrokerOnly {
        /// The config.
        name: String,
    },
    /// A feature that klamm does not have.
    #[error("config `{name}` can not be `{value}`: {missing}")]
    Unsupported {
        /// The config.
        name: &'static str,
        /// The value.
        value: String,
        /// What is missing.
        missing: &'static str,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
