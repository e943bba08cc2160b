//! Text that is a slice of a received frame, or owned, or static.
//!
//! Invariant: the bytes are UTF-8; they were checked once, when the value was made.
//!
//! A decoded text keeps its whole frame in memory. State that outlives the request stores
//! [`StrBytes::detached`].

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::DecodeError;

/// Immutable UTF-8 text; a clone shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrBytes(ByteString);

impl StrBytes {
    /// The empty text, without an allocation.
    pub const fn new() -> StrBytes {
        StrBytes(ByteString::from_static(""))
    }

    /// Text of the program, without an allocation.
    pub const fn from_static(text: &'static str) -> StrBytes {
        StrBytes(ByteString::from_static(text))
    }

    /// Text out of bytes that may not be text.
    ///
    /// # Errors
    /// [`DecodeError::NotUtf8`].
    pub fn from_utf8(bytes: Bytes) -> Result<StrBytes, DecodeError> {
        ByteString::try_from(bytes).map(StrBytes).map_err(|_| DecodeError::NotUtf8)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text in memory of its own, so that it no longer keeps a frame alive.
    #[must_use]
    pub fn detached(&self) -> StrBytes {
        StrBytes::from(self.as_str())
    }

    /// The text's bytes, shared.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

impl Deref for StrBytes {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for StrBytes {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for StrBytes {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<String> for StrBytes {
    fn from(text: String) -> StrBytes {
        StrBytes(ByteString::from(text))
    }
}

impl From<&str> for StrBytes {
    fn from(text: &str) -> StrBytes {
        StrBytes(ByteString::from(text))
    }
}

impl From<StrBytes> for String {
    fn from(text: StrBytes) -> String {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for StrBytes {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StrBytes {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for StrBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::FastMap;

    use super::*;

    #[test]
    fn tables_are_searched_by_plain_text() {
        let name = StrBytes::from_utf8(Bytes::from_static("tópico".as_bytes())).expect("UTF-8");
        let hashed = FastMap::from_iter([(name.clone(), 1)]);
        let sorted = BTreeMap::from_iter([(name, 2)]);
        assert_eq!((hashed.get("tópico"), sorted.get("tópico")), (Some(&1), Some(&2)));
        assert!(StrBytes::from_utf8(Bytes::from_static(&[0xff])).is_err());
    }

    #[test]
    fn detached_text_lets_its_frame_go() {
        let frame = Bytes::from(vec![b'x'; 1000]);
        let text = StrBytes::from_utf8(frame.slice(3..6)).expect("UTF-8");
        let own = text.detached();
        drop(text);
        assert!(frame.is_unique());
        assert_eq!(own, "xxx");
    }
}
