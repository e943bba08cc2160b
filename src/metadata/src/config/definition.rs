//! What is known about one config.
//!
//! In: a table of these ([`crate::config`]). Out: checks of values, with errors that name what would
//! be valid. The tables are constants, written with the small functions below.

use std::fmt;

use crate::config::error::ConfigError;

/// The type of a config's value (Kafka's `ConfigDef.Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A decimal number.
    Double,
    /// Texts with commas between.
    List,
    /// The name of a Java class.
    Class,
    /// Text that nobody gets to see.
    Password,
}

impl Kind {
    /// Kafka's number for it in DescribeConfigs (`DescribeConfigsResponse.ConfigType`).
    pub fn code(self) -> i8 {
        self as i8 + 1
    }

    /// What a value of this type is called in an error.
    fn noun(self) -> &'static str {
        match self {
            Kind::Boolean => "`true` or `false`",
            Kind::Int => "a whole number of 32 bits",
            Kind::Short => "a whole number of 16 bits",
            Kind::Long => "a whole number of 64 bits",
            Kind::Double => "a number",
            Kind::List => "a list with commas between",
            Kind::String | Kind::Class | Kind::Password => "a text",
        }
    }
}

/// Which values of the type are valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// All of them.
    Any,
    /// Numbers from this one on.
    AtLeast(i64),
    /// Numbers from the first to the second.
    Between(i64, i64),
    /// -1, or numbers from the first to the second.
    BetweenOrMinusOne(i64, i64),
    /// Decimal numbers from the first to the second, both in thousandths.
    Permille(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these texts, in upper or lower case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of some of these texts.
    SomeOf(&'static [&'static str]),
    /// Some text.
    NotEmpty,
    /// `*`, or a list of PARTITION:BROKER.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` with an ISO 8601 duration (KIP-1106).
    AutoOffsetReset,
}

/// What klamm makes of a config of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it does in Kafka.
    Used,
    /// It has no effect, and needs none; why.
    NotNeeded(&'static str),
    /// It has no effect yet: what is missing.
    NotYet(&'static str),
}

/// Who may change a broker's config while it runs (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nobody: it is read at the start.
    ReadOnly,
    /// It may be set for one broker.
    PerBroker,
    /// It may be set for one broker or for all.
    ClusterWide,
}

/// A config: its name, what values it takes, what it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Kafka's name for it.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its value when nobody sets one; `None` is "not set", which is not the empty text.
    pub default: Option<&'static str>,
    /// Which values are valid.
    pub valid: Valid,
    /// What it is for, in a sentence.
    pub documentation: &'static str,
    /// What klamm makes of it.
    pub standing: Standing,
    /// Who may change it, if it is a broker's.
    pub update: Update,
    /// Whether Kafka shows it only where it was set.
    pub is_internal: bool,
    /// The configs of the broker that give its value where it is not set itself, the strongest
    /// first, each with the factor that turns its unit into this config's.
    pub synonyms: &'static [(&'static str, i64)],
}

const fn new(
    kind: Kind,
    name: &'static str,
    default: Option<&'static str>,
    documentation: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default,
        valid: Valid::Any,
        documentation,
        standing: Standing::Used,
        update: Update::ReadOnly,
        is_internal: false,
        synonyms: &[],
    }
}

macro_rules! kinds {
    ($($function:ident $kind:ident)*) => {
        $(
            /// A config of this type.
            pub(crate) const fn $function(
                name: &'static str,
                default: &'static str,
                documentation: &'static str,
            ) -> Definition {
                new(Kind::$kind, name, Some(default), documentation)
            }
        )*
    };
}

kinds! {
    boolean Boolean
    string String
    int Int
    short Short
    long Long
    double Double
    list List
    class Class
}

/// A config without a default.
pub(crate) const fn unset(
    kind: Kind,
    name: &'static str,
    documentation: &'static str,
) -> Definition {
    new(kind, name, None, documentation)
}

impl Definition {
    /// The same, with limits.
    pub(crate) const fn valid(mut self, valid: Valid) -> Definition {
        self.valid = valid;
        self
    }

    /// The same, for numbers from `min` on.
    pub(crate) const fn at_least(self, min: i64) -> Definition {
        self.valid(Valid::AtLeast(min))
    }

    /// The same, for numbers from `min` to `max`.
    pub(crate) const fn between(self, min: i64, max: i64) -> Definition {
        self.valid(Valid::Between(min, max))
    }

    /// The same, with the broker's configs that stand in for it.
    pub(crate) const fn or(mut self, synonyms: &'static [(&'static str, i64)]) -> Definition {
        self.synonyms = synonyms;
        self
    }

    /// The same, changeable for one broker.
    pub(crate) const fn per_broker(mut self) -> Definition {
        self.update = Update::PerBroker;
        self
    }

    /// The same, changeable for all brokers.
    pub(crate) const fn dynamic(mut self) -> Definition {
        self.update = Update::ClusterWide;
        self
    }

    /// The same, not shown unless it was set.
    pub(crate) const fn internal(mut self) -> Definition {
        self.is_internal = true;
        self
    }

    /// The same, without effect, because it needs none.
    pub(crate) const fn not_needed(mut self, why: &'static str) -> Definition {
        self.standing = Standing::NotNeeded(why);
        self
    }

    /// The same, without effect so far.
    pub(crate) const fn not_yet(mut self, missing: &'static str) -> Definition {
        self.standing = Standing::NotYet(missing);
        self
    }

    /// Whether its value is hidden from everyone.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// The value in the form that is stored and shown: without white space around it, booleans in
    /// lower case, lists without white space around their parts.
    pub fn normalized(&self, value: &str) -> String {
        let value = value.trim();
        match self.kind {
            Kind::Boolean => value.to_ascii_lowercase(),
            Kind::List => parts(value).collect::<Vec<_>>().join(","),
            _ => value.to_owned(),
        }
    }

    /// Checks a value that somebody wants to set.
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let value = value.trim();
        if !self.has_type(value) {
            return Err(self.refuse(value, self.kind.noun().to_owned()));
        }
        if self.is_valid(value) { Ok(()) } else { Err(self.refuse(value, self.valid.to_string())) }
    }

    fn refuse(&self, value: &str, allowed: String) -> ConfigError {
        let value = if self.is_sensitive() { "(hidden)" } else { value };
        ConfigError::Value { name: self.name.to_owned(), value: value.to_owned(), allowed }
    }

    fn has_type(&self, value: &str) -> bool {
        match self.kind {
            Kind::Boolean => {
                value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
            }
            Kind::Int => value.parse::<i32>().is_ok(),
            Kind::Short => value.parse::<i16>().is_ok(),
            Kind::Long => value.parse::<i64>().is_ok(),
            Kind::Double => permille(value).is_some(),
            Kind::String | Kind::List | Kind::Class | Kind::Password => true,
        }
    }

    fn is_valid(&self, value: &str) -> bool {
        let number = || value.parse::<i64>().ok();
        match self.valid {
            Valid::Any => true,
            Valid::AtLeast(min) => number().is_some_and(|n| n >= min),
            Valid::Between(min, max) => number().is_some_and(|n| (min..=max).contains(&n)),
            Valid::BetweenOrMinusOne(min, max) => {
                number().is_some_and(|n| n == -1 || (min..=max).contains(&n))
            }
            Valid::Permille(min, max) => permille(value).is_some_and(|n| (min..=max).contains(&n)),
            Valid::OneOf(texts) => texts.contains(&value),
            Valid::OneOfAnyCase(texts) => texts.iter().any(|text| text.eq_ignore_ascii_case(value)),
            Valid::SomeOf(texts) => is_some_of(value, texts),
            Valid::NotEmpty => !value.is_empty(),
            Valid::ThrottledReplicas => value == "*" || parts(value).all(is_throttled_replica),
            Valid::AutoOffsetReset => {
                matches!(value, "latest" | "earliest") || is_by_duration(value)
            }
        }
    }
}

/// What is valid, as it reads behind "must be".
impl fmt::Display for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Valid::Any => f.write_str("anything"),
            Valid::AtLeast(min) => write!(f, "at least {min}"),
            Valid::Between(min, max) => write!(f, "from {min} to {max}"),
            Valid::BetweenOrMinusOne(min, max) => write!(f, "from {min} to {max}, or -1"),
            Valid::Permille(min, max) => {
                write!(f, "from {} to {}", Decimal(*min), Decimal(*max))
            }
            Valid::OneOf(texts) | Valid::OneOfAnyCase(texts) => {
                write!(f, "one of {}", texts.join(", "))
            }
            Valid::SomeOf(texts) => {
                write!(f, "a list of different ones of {}", texts.join(", "))
            }
            Valid::NotEmpty => f.write_str("some text"),
            Valid::ThrottledReplicas => f.write_str("`*`, or a list of PARTITION:BROKER"),
            Valid::AutoOffsetReset => {
                f.write_str("latest, earliest, or by_duration: and a duration such as PT1H")
            }
        }
    }
}

/// A number in thousandths, as people write it.
struct Decimal(i64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / 1000)?;
        match self.0 % 1000 {
            0 => Ok(()),
            rest => f.write_str(format!(".{rest:03}").trim_end_matches('0')),
        }
    }
}

/// The parts of a list, without the white space around them; an empty text has none.
pub(crate) fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A decimal number in thousandths, rounded towards zero; `None` when it is none.
pub(crate) fn permille(value: &str) -> Option<i64> {
    let number: f64 = value.trim().parse().ok()?;
    // A cast of a float ends at the limits of the integer.
    (!number.is_nan()).then_some((number * 1000.0) as i64)
}

fn is_some_of(value: &str, texts: &[&str]) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    parts(value).all(|part| {
        let is_new = !seen.contains(&part);
        seen.push(part);
        is_new && texts.contains(&part)
    })
}

fn is_throttled_replica(part: &str) -> bool {
    part.split_once(':').is_some_and(|(partition, broker)| {
        partition.trim().parse::<u32>().is_ok() && broker.trim().parse::<u32>().is_ok()
    })
}

/// Whether this is `by_duration:` with an ISO 8601 duration of days, hours, minutes and seconds that
/// is not negative (`java.time.Duration`).
fn is_by_duration(value: &str) -> bool {
    let Some(duration) = value.strip_prefix("by_duration:P") else { return false };
    let (days, time) = match duration.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None if duration.is_empty() => return false,
        None => (duration, ""),
    };
    is_units(days, "D") && is_units(time, "HMS")
}

/// Whether `text` is a number before each of some of `units`, in their order.
fn is_units(text: &str, units: &str) -> bool {
    let mut rest = text;
    for unit in units.chars() {
        if let Some((number, after)) = rest.split_once(unit) {
            let is_number = match unit {
                'S' => number.parse::<f64>().is_ok_and(|n| n >= 0.0),
                _ => number.parse::<u64>().is_ok(),
            };
            if !is_number {
                return false;
            }
            rest = after;
        }
    }
    rest.is_empty()
}
