//! Tagged fields that this program does not know (KIP-482): kept as they came, written back in place.

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// Unknown tagged fields of one struct in ascending order of their tags; 8 bytes when there are
/// none, which is nearly always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// The box is the point: an empty `Vec` would add 24 bytes to every struct of every message.
#[allow(clippy::box_collection)]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// No field.
    pub const EMPTY: TaggedFields = TaggedFields(None);

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Tags and contents.
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_ref().map_or(&[], |fields| fields)
    }

    /// Adds a field, behind those with the same tag.
    pub fn push(&mut self, tag: u32, content: Bytes) {
        let fields = self.0.get_or_insert_default();
        let place = fields.partition_point(|(other, _)| *other <= tag);
        fields.insert(place, (tag, content));
    }

    /// Adds a field whose memory the reader's budget has to cover; at most `more` will follow it.
    pub(super) fn push_within(
        &mut self,
        reader: &mut Reader,
        field: (u32, Bytes),
        more: usize,
    ) -> Result<(), DecodeError> {
        if self.0.is_none() {
            reader.charge(size_of::<Vec<(u32, Bytes)>>())?;
            reader.charge((more + 1).saturating_mul(size_of::<(u32, Bytes)>()))?;
            self.0 = Some(Box::new(Vec::with_capacity(more + 1)));
        }
        self.0.get_or_insert_default().push(field);
        Ok(())
    }

    /// Ends a row of [`TaggedFields::push_within`]; a careless peer may have sent them out of order.
    pub(super) fn sort(&mut self) {
        if let Some(fields) = &mut self.0 {
            fields.sort_unstable_by_key(|(tag, _)| *tag);
        }
    }
}

/// Writes a struct's tagged fields, known and unknown ones merged in ascending order of their tags.
#[derive(Debug)]
pub struct TagEncoder<'a> {
    /// Those not yet written.
    unknown: &'a [(u32, Bytes)],
}

impl<'a> TagEncoder<'a> {
    /// Writes how many fields follow: `known` ones and all of `unknown`.
    ///
    /// # Errors
    /// When the count exceeds 32 bits.
    pub fn start(
        writer: &mut Writer,
        unknown: &'a TaggedFields,
        known: usize,
    ) -> Result<TagEncoder<'a>, EncodeError> {
        let unknown = unknown.as_slice();
        writer.compact_length(unknown.len() + known)?;
        Ok(TagEncoder { unknown })
    }

    /// Writes one known field, after the unknown ones with smaller tags.
    ///
    /// # Errors
    /// When an unknown field has the same tag, or the content can not be written.
    pub fn known(
        &mut self,
        writer: &mut Writer,
        tag: u32,
        content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.unknown_below(writer, u64::from(tag))?;
        if self.unknown.first().is_some_and(|(unknown, _)| *unknown == tag) {
            return Err(EncodeError::DuplicateTag { tag });
        }
        writer.uvarint(tag);
        writer.sized(content)
    }

    /// Writes the unknown fields that are left.
    ///
    /// # Errors
    /// When a content exceeds 32 bits of length.
    pub fn finish(mut self, writer: &mut Writer) -> Result<(), EncodeError> {
        self.unknown_below(writer, u64::MAX)
    }

    fn unknown_below(&mut self, writer: &mut Writer, limit: u64) -> Result<(), EncodeError> {
        while let Some(((tag, content), rest)) = self.unknown.split_first() {
            if u64::from(*tag) >= limit {
                break;
            }
            writer.uvarint(*tag);
            writer.compact_length(content.len())?;
            writer.raw(content);
            self.unknown = rest;
        }
        Ok(())
    }
}
