//! Why bytes are no message, and why a message has no bytes.

/// Bytes from the network or a file that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value reaches past the end of its frame or tagged field.
    #[error("needs {needed} bytes where {remaining} remain")]
    Truncated {
        /// Bytes that the value takes.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A length below zero that does not mean null, or null where the version has none.
    #[error("has a length of {length} where null is not allowed")]
    InvalidLength {
        /// The length as read.
        length: i64,
    },
    /// An array that announces more elements than bytes are left.
    #[error("announces {count} elements in {remaining} bytes")]
    TooManyElements {
        /// Announced elements.
        count: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// Decoding would take more memory than the reader was given.
    #[error("would take {wanted} bytes of memory where {left} are left")]
    OverBudget {
        /// Bytes of the allocation.
        wanted: usize,
        /// Bytes that the budget still has.
        left: usize,
    },
    /// Text that is not UTF-8.
    #[error("has text that is not UTF-8")]
    NotUtf8,
    /// A variable-length number that goes on after its last possible byte.
    #[error("has a variable-length number that is too long")]
    VarintTooLong,
    /// A tagged field that is shorter than its announced size (KIP-482).
    #[error("has tagged field {tag} with {unread} bytes too many")]
    TagSize {
        /// The field's tag.
        tag: u32,
        /// Bytes behind the value.
        unread: usize,
    },
    /// Bytes behind the message.
    #[error("has {unread} bytes behind its end")]
    TrailingBytes {
        /// Bytes that nothing has read.
        unread: usize,
    },
    /// A version that the schema does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Schema name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// A message that can not be written in the wanted version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A version that the schema does not have.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Schema name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that the version lacks and that its schema does not allow to drop.
    #[error("version {version} has no field {field}")]
    FieldNotInVersion {
        /// Schema name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that the version does not let be null.
    #[error("version {version} needs a value in field {field}")]
    NullField {
        /// Schema name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Text, bytes or an array that is longer than its length field can say.
    #[error("has a value of length {length}, more than {max}")]
    TooLong {
        /// Length of the value.
        length: usize,
        /// The most that fits.
        max: usize,
    },
    /// An unknown tagged field has the tag of a known one.
    #[error("has tag {tag} twice")]
    DuplicateTag {
        /// The tag.
        tag: u32,
    },
    /// Unknown tagged fields in a version that has none.
    #[error("version has no tagged fields to keep")]
    TagsNotInVersion,
}
