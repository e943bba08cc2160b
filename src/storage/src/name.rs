//! The name of a log: its topic and partition, which also name its directory.

use std::fmt;
use std::str::FromStr;

use model::PartitionIndex;

/// Longest topic name (`org.apache.kafka.common.internals.Topic`).
const TOPIC_NAME_LEN_MAX: usize = 249;

/// Topic and partition of a log. Its text form, `topic-0`, is the name of its directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    topic: String,
    partition: PartitionIndex,
}

/// A text that does not name a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a log: expected a topic name, `-` and a partition number")]
pub struct ParseLogNameError(pub String);

impl LogName {
    /// Checks that `topic` is a legal topic name, so that it is safe as a part of a path, and that
    /// `partition` is not negative.
    pub fn new(topic: &str, partition: PartitionIndex) -> Result<LogName, ParseLogNameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let length_fits = !topic.is_empty() && topic.len() <= TOPIC_NAME_LEN_MAX;
        if !length_fits || matches!(topic, "." | "..") || !topic.chars().all(legal) {
            return Err(ParseLogNameError(format!("{topic}-{partition}")));
        }
        if partition.0 < 0 {
            return Err(ParseLogNameError(format!("{topic}-{partition}")));
        }
        Ok(LogName { topic: topic.to_owned(), partition })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for LogName {
    type Err = ParseLogNameError;

    fn from_str(text: &str) -> Result<LogName, ParseLogNameError> {
        let wrong = || ParseLogNameError(text.to_owned());
        let (topic, partition) = text.rsplit_once('-').ok_or_else(wrong)?;
        if partition.is_empty() || !partition.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        LogName::new(topic, PartitionIndex(partition.parse().map_err(|_| wrong())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_directories() {
        let name: LogName = "my-topic.v2-17".parse().unwrap();
        assert_eq!(name.topic(), "my-topic.v2");
        assert_eq!(name.partition(), PartitionIndex(17));
        assert_eq!(name.to_string(), "my-topic.v2-17");
        for bad in ["", "-0", "topic", "topic-", "topic-x", "../x-0", "..-0", "a/b-0"] {
            assert!(bad.parse::<LogName>().is_err(), "{bad}");
        }
    }
}
