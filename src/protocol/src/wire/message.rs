//! What every generated type can do.

use std::ops::RangeInclusive;

use crate::ApiKey;
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// Reads itself from the wire.
pub trait Decode: Sized {
    /// Reads one value in the layout of `version`; record data and text stay slices of the frame.
    ///
    /// # Errors
    /// When the bytes are not such a value, or when it would take more memory than the reader has.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;
}

/// Writes itself to the wire.
pub trait Encode {
    /// Writes the value in the layout of `version`.
    ///
    /// # Errors
    /// When a field is set that the version can not carry and may not drop.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A whole message with a schema of its own: a request, a response, a header, a stored record.
pub trait Message: Decode + Encode + Default {
    /// The schema's name.
    const NAME: &'static str;
    /// The versions that encode and decode.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE_FROM: Option<i16>;
}

/// A message that asks something of a broker.
pub trait Request: Message {
    /// The API that it calls.
    const KEY: ApiKey;
    /// The answer, in the same version.
    type Response: Message;
}
