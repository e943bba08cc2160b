//! What producers send and consumers get, apart from its place.

use bytes::Bytes;
use protocol::StrBytes;

/// A header of a record (KIP-82).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name; names may repeat.
    pub key: StrBytes,
    /// Its content.
    pub value: Option<Bytes>,
}
