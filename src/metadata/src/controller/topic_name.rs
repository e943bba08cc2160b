//! Which texts are names of topics (Kafka's `Topic.validate`).

/// Why a text can not be a topic's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// Nothing.
    #[error("a topic's name can not be empty")]
    Empty,
    /// `.` or `..`.
    #[error("a topic can not be named `{name}`, which is a directory's name")]
    Dots {
        /// The name.
        name: String,
    },
    /// Too long for a file's name.
    #[error("a topic's name has at most {NAME_BYTES_MAX} characters, this one has {length}")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// A character that is not allowed.
    #[error(
        "topic name `{name}` has the character {character:?}; letters, digits, `.`, `_` and `-` are \
         allowed"
    )]
    Character {
        /// The name.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

/// With the partition and the endings of files, names of directories stay below 255 bytes.
pub(crate) const NAME_BYTES_MAX: usize = 249;

/// Topics that the cluster writes for itself; clients may read them, but not write.
/// Where groups and their offsets are kept.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

const INTERNAL: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Names that are no topic's: Kafka's metadata log and klamm's.
pub(crate) const RESERVED: [&str; 2] = ["__cluster_metadata", "__klamm_metadata"];

/// Checks a topic's name.
pub fn check_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    let is_legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    if matches!(name, "." | "..") {
        return Err(InvalidTopicName::Dots { name: name.to_owned() });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidTopicName::TooLong { length: name.chars().count() });
    }
    match name.chars().find(|c| !is_legal(c)) {
        Some(character) => Err(InvalidTopicName::Character { name: name.to_owned(), character }),
        None => Ok(()),
    }
}

/// Whether the topic of that name is the cluster's own (Kafka's `Topic.isInternal`).
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL.contains(&name)
}
