//! Patterns that members subscribe by (KIP-848): which they are, and what they match.
//!
//! Kafka uses RE2/J and asks for a match of the whole name. The crate `regex` is of the same family:
//! neither knows backreferences nor look-around; where they differ, [`super::re2`] translates.

use std::collections::BTreeSet;

use protocol::StrBytes;
use regex::{Regex, RegexBuilder};

use super::re2;
use crate::cluster::Cluster;

/// How large a compiled pattern may be, in bytes: members send them, and names have at most 249
/// characters.
const COMPILED_SIZE_MAX: usize = 1 << 20;

/// A pattern that matches whole names.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let pattern = &re2::translate(pattern)?;
    // The pattern alone is tried first: parentheses that do not match could do so inside the group.
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(COMPILED_SIZE_MAX).build();
    let whole = build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z")));
    whole.map_err(|err| match err {
        regex::Error::Syntax(text) => last_line(&text),
        err => err.to_string(),
    })
}

/// The crate draws the place of the error over several lines; the last one says what it is.
fn last_line(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or(text);
    line.trim_start_matches("error: ").to_owned()
}

/// The names of all topics that the pattern matches; none when it is no pattern.
pub(super) fn matching_topics(pattern: &str, cluster: &dyn Cluster) -> BTreeSet<StrBytes> {
    let Ok(regex) = compile(pattern) else { return BTreeSet::new() };
    cluster.topic_names().filter(|name| regex.is_match(name)).map(StrBytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let matches = |pattern, name| compile(pattern).unwrap().is_match(name);
        assert!(matches("a|ab", "ab"));
        assert!(matches("orders-.*", "orders-eu"));
        assert!(!matches("orders", "orders-eu"));
        assert!(!matches("rders-eu", "orders-eu"));
        assert!(matches("(?i)ORDERS", "orders"));
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in ["(", "a)(b", "(a)\\1", "(?=a)b", "(?<!a)b", "[z-a]", "*", "(?x)a # b"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
        assert_eq!(compile("[").unwrap_err(), "unclosed character class");
        assert!(compile(r"\w{9}{99}{99}").is_err(), "too large");
    }
}
