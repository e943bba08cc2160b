//! Writes the primitives of the wire into a chain of buffers.
//!
//! In: values. Out: a list of [`Bytes`] whose concatenation is the message. Record data and large
//! byte fields enter the list as they are; everything else is gathered in buffers in between.

use bytes::{BufMut, Bytes, BytesMut};
use model::Uuid;

use crate::wire::varint::Varint;
use crate::wire::{EncodeError, Records, StrBytes, TagEncoder, TaggedFields};

/// A byte field of this length becomes a buffer of its own; a shorter one is cheaper to copy.
const CHAIN_MIN_BYTES: usize = 1024;

/// What most responses without records fit into.
const FIRST_BUFFER_BYTES: usize = 256;

/// A chain of buffers that grows at its end.
#[derive(Debug, Default)]
pub struct Writer {
    /// The first buffer once others follow it; kept writable for the frame's length.
    head: Option<BytesMut>,
    /// What follows the head.
    chunks: Vec<Bytes>,
    tail: BytesMut,
    chunk_bytes: usize,
    /// Inside a tagged field all bytes are copied, because its length is written in front of it.
    chains: Chains,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Chains {
    #[default]
    Allowed,
    Copied,
}

impl Writer {
    /// An empty chain.
    pub fn new() -> Writer {
        Writer::with_capacity(FIRST_BUFFER_BYTES)
    }

    /// An empty chain whose first buffer has room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { tail: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.head.as_ref().map_or(0, BytesMut::len) + self.chunk_bytes + self.tail.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chain.
    pub fn into_chunks(mut self) -> Vec<Bytes> {
        let Some(head) = self.head.take() else { return vec![self.tail.freeze()] };
        // The head's place in the list was kept when the chain began.
        if head.is_empty() {
            self.chunks.remove(0);
        } else {
            self.chunks[0] = head.freeze();
        }
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.freeze());
        }
        self.chunks
    }

    /// All bytes in one buffer; copies only when there is a chain.
    pub fn into_bytes(self) -> Bytes {
        if self.head.is_none() {
            return self.tail.freeze();
        }
        Records::from(self.into_chunks()).to_bytes()
    }

    /// Starts a frame: room for the length that [`Writer::finish_frame`] fills in.
    pub(crate) fn start_frame() -> Writer {
        let mut writer = Writer::new();
        writer.i32(0);
        writer
    }

    /// The chain, with the length of everything behind the first four bytes in them.
    pub(crate) fn finish_frame(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let length = length_i32(self.len() - size_of::<i32>())?;
        let first = self.head.as_mut().unwrap_or(&mut self.tail);
        first[..size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        Ok(self.into_chunks())
    }

    /// Bytes without a length in front of them.
    pub fn raw(&mut self, bytes: &Bytes) {
        if bytes.len() < CHAIN_MIN_BYTES || self.chains == Chains::Copied {
            self.tail.extend_from_slice(bytes);
        } else {
            self.chain(bytes.clone());
        }
    }

    fn chain(&mut self, bytes: Bytes) {
        let gathered = self.tail.split();
        if self.head.is_none() {
            self.head = Some(gathered);
            self.chunks.push(Bytes::new());
        } else if !gathered.is_empty() {
            self.chunk_bytes += gathered.len();
            self.chunks.push(gathered.freeze());
        }
        self.chunk_bytes += bytes.len();
        self.chunks.push(bytes);
    }

    /// What `content` writes, with its length in front of it.
    pub(super) fn sized(
        &mut self,
        content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.tail.len();
        let outer = std::mem::replace(&mut self.chains, Chains::Copied);
        let written = content(self);
        self.chains = outer;
        written?;
        let length = Varint::unsigned(length_u32(self.tail.len() - start)?.into());
        self.tail.extend_from_slice(length.as_slice());
        // The length was written last, because only then it was known; it belongs in front.
        self.tail[start..].rotate_right(length.as_slice().len());
        Ok(())
    }
}

macro_rules! fixed_width {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        /// Numbers of a fixed width, big endian.
        impl Writer {
            $($(#[$doc])* #[inline] pub fn $name(&mut self, value: $type) {
                self.tail.put_slice(&value.to_be_bytes());
            })*
        }
    };
}

fixed_width! {
    /// An `int8`.
    i8: i8;
    /// An `int16`.
    i16: i16;
    /// An `int32`.
    i32: i32;
    /// An `int64`.
    i64: i64;
    /// A `uint16`.
    u16: u16;
    /// A `uint32`.
    u32: u32;
    /// A `float64`.
    f64: f64;
}

/// Values of variable width. `compact` is whether the version is flexible (KIP-482). The error of
/// all is a value too long for its length field.
#[allow(clippy::missing_errors_doc)]
impl Writer {
    /// A `bool`.
    pub fn bool(&mut self, value: bool) {
        self.i8(value.into());
    }

    /// A `uuid`.
    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_slice(&value.0);
    }

    /// An unsigned variable-length number.
    pub fn uvarint(&mut self, value: u32) {
        self.tail.put_slice(Varint::unsigned(value.into()).as_slice());
    }

    /// A `string`.
    pub fn string(&mut self, value: &str, compact: bool) -> Result<(), EncodeError> {
        // Kafka holds the compact form to the same limit.
        let length = i16::try_from(value.len())
            .map_err(|_| EncodeError::TooLong { length: value.len(), max: i16::MAX as usize })?;
        if compact {
            self.uvarint(length as u32 + 1)
        } else {
            self.i16(length)
        }
        self.tail.put_slice(value.as_bytes());
        Ok(())
    }

    /// A `string` or null.
    pub fn nullable_string(
        &mut self,
        value: Option<&StrBytes>,
        compact: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(value, compact)?,
            None if compact => self.uvarint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// A `bytes` field.
    pub fn bytes(&mut self, value: &Bytes, compact: bool) -> Result<(), EncodeError> {
        self.length(value.len(), compact)?;
        self.raw(value);
        Ok(())
    }

    /// A `bytes` field or null.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        compact: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(value, compact)?,
            None => self.null(compact),
        }
        Ok(())
    }

    /// A `records` field; its pieces become buffers of the chain.
    pub fn records(&mut self, value: &Records, compact: bool) -> Result<(), EncodeError> {
        self.length(value.len(), compact)?;
        for chunk in value.chunks().iter().filter(|chunk| !chunk.is_empty()) {
            match self.chains {
                Chains::Allowed => self.chain(chunk.clone()),
                Chains::Copied => self.tail.extend_from_slice(chunk),
            }
        }
        Ok(())
    }

    /// A `records` field or null.
    pub fn nullable_records(
        &mut self,
        value: Option<&Records>,
        compact: bool,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(value, compact)?,
            None => self.null(compact),
        }
        Ok(())
    }

    /// An array whose elements `element` writes.
    pub fn array<T>(
        &mut self,
        values: &[T],
        compact: bool,
        mut element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(values.len(), compact)?;
        values.iter().try_for_each(|value| element(self, value))
    }

    /// An array or null, whose elements `element` writes.
    pub fn nullable_array<T>(
        &mut self,
        values: Option<&[T]>,
        compact: bool,
        element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match values {
            Some(values) => self.array(values, compact, element)?,
            None => self.null(compact),
        }
        Ok(())
    }

    /// A struct or null: a byte of -1 says null (KIP-893).
    pub fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        content: impl FnOnce(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let Some(value) = value else {
            self.i8(-1);
            return Ok(());
        };
        self.i8(1);
        content(self, value)
    }

    /// A struct or null in a tagged field: the number 0 says null, as Kafka's generator has it.
    pub fn nullable_tagged_struct<T>(
        &mut self,
        value: Option<&T>,
        content: impl FnOnce(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(value.is_some().into());
        value.map_or(Ok(()), |value| content(self, value))
    }

    /// The tagged fields of a struct that knows none itself.
    pub fn tagged_fields(
        &mut self,
        unknown: &TaggedFields,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        match (flexible, unknown.is_empty()) {
            (true, true) => self.uvarint(0),
            (true, false) => TagEncoder::start(self, unknown, 0)?.finish(self)?,
            (false, true) => {}
            (false, false) => return Err(EncodeError::TagsNotInVersion),
        }
        Ok(())
    }

    /// A count or length as unsigned variable-length number.
    pub(super) fn compact_length(&mut self, length: usize) -> Result<(), EncodeError> {
        self.uvarint(length_u32(length)?);
        Ok(())
    }

    fn length(&mut self, length: usize, compact: bool) -> Result<(), EncodeError> {
        let length = length_i32(length)?;
        if compact {
            self.uvarint(length as u32 + 1)
        } else {
            self.i32(length)
        }
        Ok(())
    }

    fn null(&mut self, compact: bool) {
        if compact { self.uvarint(0) } else { self.i32(-1) }
    }
}

fn length_i32(length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::TooLong { length, max: i32::MAX as usize })
}

fn length_u32(length: usize) -> Result<u32, EncodeError> {
    u32::try_from(length).map_err(|_| EncodeError::TooLong { length, max: u32::MAX as usize })
}

/// The value of a field that its version does not let be null.
pub(crate) fn not_null<'a, T>(
    value: Option<&'a T>,
    field: &'static str,
    version: i16,
) -> Result<&'a T, EncodeError> {
    value.ok_or(EncodeError::NullField { field, version })
}

/// Checks that a field that its version lacks has its default value.
pub(crate) fn absent(
    is_default: bool,
    field: &'static str,
    version: i16,
) -> Result<(), EncodeError> {
    if is_default { Ok(()) } else { Err(EncodeError::FieldNotInVersion { field, version }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_fields_become_buffers_and_small_ones_are_gathered() {
        let (small, large) = (Bytes::from(vec![1; 10]), Bytes::from(vec![2; 5000]));
        let mut writer = Writer::new();
        writer.raw(&large);
        writer.i16(7);
        writer.raw(&small);
        writer.raw(&large);
        let length = writer.len();
        let chunks = writer.into_chunks();
        let lengths: Vec<_> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [5000, 12, 5000]);
        assert_eq!(length, 10_012);
        assert_eq!(chunks[0].as_ptr(), large.as_ptr());
        assert_eq!(chunks[2].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_large_field_in_a_tagged_one_keeps_its_length_in_front() {
        let large = Bytes::from(vec![2; 5000]);
        let mut writer = Writer::new();
        let mut tags = TagEncoder::start(&mut writer, &TaggedFields::EMPTY, 1).expect("one tag");
        tags.known(&mut writer, 3, |writer| writer.bytes(&large, true)).expect("fits");
        tags.finish(&mut writer).expect("no more");
        let bytes = writer.into_bytes();
        // One field, tag 3, 5002 bytes, of which two are the length 5001 - 1.
        assert_eq!(bytes[..6], [1, 3, 0x8a, 0x27, 0x89, 0x27]);
        assert_eq!(bytes.len(), 6 + 5000);
    }

    #[test]
    fn text_beyond_kafkas_limit_is_an_error() {
        let text = "x".repeat(40_000);
        for compact in [false, true] {
            let result = Writer::new().string(&text, compact);
            assert_eq!(result, Err(EncodeError::TooLong { length: 40_000, max: 32_767 }));
        }
    }
}
