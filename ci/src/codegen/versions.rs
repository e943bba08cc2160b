//! Ranges of versions as the schemas write them: `3+`, `0-7`, `5`, `none`.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A range of versions, perhaps empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub low: i16,
    pub high: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { low: 0, high: -1 };

    pub fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub fn contains(self, other: Versions) -> bool {
        other.is_empty() || (self.low <= other.low && other.high <= self.high)
    }

    pub fn intersect(self, other: Versions) -> Versions {
        let both = Versions { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.is_empty() { Versions::NONE } else { both }
    }

    /// A condition on `version`, known to lie within `range`, that says whether it lies in here.
    pub fn condition(self, range: Versions) -> Condition {
        let within = self.intersect(range);
        if within.is_empty() {
            return Condition::Never;
        }
        if within == range {
            return Condition::Always;
        }
        let (low, high) = (within.low, within.high);
        Condition::When(if high == range.high {
            format!("version >= {low}")
        } else if low == range.low {
            format!("version <= {high}")
        } else if low == high {
            format!("version == {low}")
        } else {
            format!("({low}..={high}).contains(&version)")
        })
    }

    fn parse(text: &str) -> Option<Versions> {
        if text == "none" {
            return Some(Versions::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Some(Versions { low: low.parse().ok()?, high: i16::MAX });
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Some(Versions { low: low.parse().ok()?, high: high.parse().ok()? })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, high) if low > high => f.write_str("none"),
            (low, i16::MAX) => write!(f, "{low}+"),
            (low, high) if low == high => write!(f, "{low}"),
            (low, high) => write!(f, "{low}-{high}"),
        }
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Versions, D::Error> {
        let text = String::deserialize(deserializer)?;
        Versions::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is no range of versions")))
    }
}

/// Whether a version lies in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    Never,
    When(String),
}

impl Condition {
    /// As a Rust expression.
    pub fn expression(&self) -> &str {
        match self {
            Condition::Always => "true",
            Condition::Never => "false",
            Condition::When(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_no_more_than_needed() {
        let range = Versions::parse("3-13").expect("a range");
        let check = |text: &str, wanted: &str| {
            let versions = Versions::parse(text).expect("a range");
            assert_eq!(versions.condition(range).expression(), wanted, "{text}");
        };
        check("0+", "true");
        check("3-13", "true");
        check("9+", "version >= 9");
        check("0-12", "version <= 12");
        check("5", "version == 5");
        check("5-7", "(5..=7).contains(&version)");
        check("0-2", "false");
        check("none", "false");
        assert_eq!(Versions::parse("x"), None);
    }
}
