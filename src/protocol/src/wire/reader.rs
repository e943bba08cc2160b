//! Reads the primitives of the wire from a frame.
//!
//! In: one frame. Out: values whose bytes are slices of it.
//!
//! Invariants:
//! - `position <= end <= frame.len()`
//! - memory is charged to the budget before it is allocated, so a lying count costs nothing

use bytes::Bytes;
use model::Uuid;

use crate::wire::{DecodeError, Records, StrBytes, TaggedFields, varint};

/// What a frame of n bytes may take on top of 4 n.
const BUDGET_BASE_BYTES: usize = 1 << 20;

/// A place in a frame, and the memory that decoding the rest may take.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    end: usize,
    budget: usize,
}

impl Reader {
    /// Reads `frame` with a budget of 4 n + 1 MiB of memory for its n bytes.
    pub fn new(frame: Bytes) -> Reader {
        let budget = frame.len().saturating_mul(4).saturating_add(BUDGET_BASE_BYTES);
        Reader::with_budget(frame, budget)
    }

    /// Reads `frame` with a budget of `bytes` of memory; for peers that are trusted more.
    pub fn with_budget(frame: Bytes, bytes: usize) -> Reader {
        let end = frame.len();
        Reader { frame, position: 0, end, budget: bytes }
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// The bytes that are left, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.position..self.end)
    }

    /// Checks that every byte was read.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            unread => Err(DecodeError::TrailingBytes { unread }),
        }
    }

    /// Takes memory out of the budget.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.budget.checked_sub(bytes) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(DecodeError::OverBudget { wanted: bytes, left: self.budget }),
        }
    }

    fn check(&self, needed: usize) -> Result<(), DecodeError> {
        if needed <= self.remaining() {
            return Ok(());
        }
        Err(DecodeError::Truncated { needed, remaining: self.remaining() })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.frame[self.position..self.end].first_chunk::<N>() {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => Err(DecodeError::Truncated { needed: N, remaining: self.remaining() }),
        }
    }

    /// Takes the next `length` bytes as a slice of the frame.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        self.check(length)?;
        let bytes = self.frame.slice(self.position..self.position + length);
        self.position += length;
        Ok(bytes)
    }
}

macro_rules! fixed_width {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        /// Numbers of a fixed width, big endian; too few bytes are [`DecodeError::Truncated`].
        #[allow(clippy::missing_errors_doc)]
        impl Reader {
            $($(#[$doc])* #[inline] pub fn $name(&mut self) -> Result<$type, DecodeError> {
                Ok(<$type>::from_be_bytes(self.fixed()?))
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

/// Values of variable width. `compact` is whether the version is flexible (KIP-482). Errors are
/// those of bytes that are not such a value.
#[allow(clippy::missing_errors_doc)]
impl Reader {
    /// A `bool`: any byte but zero is true, as in Kafka.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// A `uuid`.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.fixed()?))
    }

    /// An unsigned variable-length number of 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut rest = &self.frame[self.position..self.end];
        let value = varint::read_u32(&mut rest)?;
        self.position = self.end - rest.len();
        Ok(value)
    }

    /// A `string`.
    pub fn string(&mut self, compact: bool) -> Result<StrBytes, DecodeError> {
        self.nullable_string(compact)?.ok_or(NULL)
    }

    /// A `string` or null.
    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<StrBytes>, DecodeError> {
        let length = if compact { self.compact_length()? } else { length(self.i16()?.into())? };
        let Some(length) = length else { return Ok(None) };
        // Compact lengths could say more; Kafka refuses that too.
        if length > i16::MAX as usize {
            return Err(DecodeError::InvalidLength { length: length as i64 });
        }
        StrBytes::from_utf8(self.take(length)?).map(Some)
    }

    /// A `bytes` field.
    pub fn bytes(&mut self, compact: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(compact)?.ok_or(NULL)
    }

    /// A `bytes` field or null.
    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<Bytes>, DecodeError> {
        let length = self.long_length(compact)?;
        length.map(|length| self.take(length)).transpose()
    }

    /// A `records` field.
    pub fn records(&mut self, compact: bool) -> Result<Records, DecodeError> {
        self.bytes(compact).map(Records::from)
    }

    /// A `records` field or null.
    pub fn nullable_records(&mut self, compact: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(compact)?.map(Records::from))
    }

    /// An array whose elements `element` reads.
    pub fn array<T>(
        &mut self,
        compact: bool,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(compact, element)?.ok_or(NULL)
    }

    /// An array or null, whose elements `element` reads.
    pub fn nullable_array<T>(
        &mut self,
        compact: bool,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.long_length(compact)? else { return Ok(None) };
        self.check_count(count, size_of::<T>())?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// A struct or null: a byte below zero says null (KIP-893).
    pub fn nullable_struct<T>(
        &mut self,
        value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { value(self).map(Some) }
    }

    /// A struct or null in a tagged field: the number 0 says null, as Kafka's generator has it.
    pub fn nullable_tagged_struct<T>(
        &mut self,
        value: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.uvarint()? == 0 { Ok(None) } else { value(self).map(Some) }
    }

    /// The tagged fields of a struct; `known` reads a field and says true, or says false.
    pub fn tagged_fields(
        &mut self,
        flexible: bool,
        mut known: impl FnMut(&mut Reader, u32) -> Result<bool, DecodeError>,
    ) -> Result<TaggedFields, DecodeError> {
        let mut unknown = TaggedFields::EMPTY;
        if !flexible {
            return Ok(unknown);
        }
        let count = self.uvarint()? as usize;
        // A tag and a size take a byte each.
        if count > self.remaining() / 2 {
            return Err(DecodeError::TooManyElements { count, remaining: self.remaining() });
        }
        for at in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.check(size)?;
            let outer_end = std::mem::replace(&mut self.end, self.position + size);
            let is_known = known(self, tag)?;
            let unread = self.remaining();
            if is_known && unread > 0 {
                return Err(DecodeError::TagSize { tag, unread });
            }
            if !is_known {
                let content = self.take(unread)?;
                unknown.push_within(self, (tag, content), count - at - 1)?;
            }
            self.end = outer_end;
        }
        unknown.sort();
        Ok(unknown)
    }

    fn long_length(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        if compact { self.compact_length() } else { length(self.i32()?.into()) }
    }

    /// A compact length is one more than the length; zero is null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// Every element takes a byte at least; the generator refuses schemas where one does not.
    fn check_count(&mut self, count: usize, element_bytes: usize) -> Result<(), DecodeError> {
        if count > self.remaining() {
            return Err(DecodeError::TooManyElements { count, remaining: self.remaining() });
        }
        self.charge(count.saturating_mul(element_bytes))
    }
}

const NULL: DecodeError = DecodeError::InvalidLength { length: -1 };

fn length(length: i64) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(DecodeError::InvalidLength { length }),
    }
}
