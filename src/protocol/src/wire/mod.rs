//! The primitives of the wire and the traits that every message implements.
//!
//! In: a frame as one [`bytes::Bytes`]. Out: a list of buffers to write. Neither direction copies
//! record data: decoded byte fields are slices of the frame, and encoded ones become buffers of
//! their own in the list.
//!
//! Invariants:
//! - no count or length from the wire is trusted before it was compared with the bytes that remain
//! - a decoder allocates no more than its budget, by default 4 n + 1 MiB for a frame of n bytes
//! - what was decoded encodes to the same bytes, unknown tagged fields included
//!
//! Start at [`Reader`] and [`Writer`].

mod error;
mod message;
mod reader;
mod record_data;
mod tags;
mod text;
pub mod varint;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use message::{Decode, Encode, Message, Request};
pub use reader::Reader;
pub use record_data::Records;
pub use tags::{TagEncoder, TaggedFields};
pub use text::StrBytes;
pub use writer::Writer;
pub(crate) use writer::{absent, not_null};
