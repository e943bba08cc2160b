//! A whole batch: its header and its bytes, and the records in it.

use bytes::{Buf, Bytes};

use crate::records::header::{CHECKED_FROM, HEADER_BYTES, MAGIC, MAGIC_AT};
use crate::records::{
    BatchError, BatchHeader, Compression, LOG_OVERHEAD_BYTES, Record, Scratch, decompress,
};

/// A batch whose length is right; its checksum is only right once [`Batch::verify_crc`] said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The header as it stands in the bytes.
    pub header: BatchHeader,
    /// Header and records.
    pub bytes: Bytes,
}

impl Batch {
    /// Takes the first batch off the front of `bytes`; none when it is not there to its end.
    ///
    /// # Errors
    /// When the bytes are not the start of a batch of this format.
    pub fn split_first(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
        let Some(size) = first_size(bytes)? else { return Ok(None) };
        if bytes.len() < size {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes)?;
        Ok(Some(Batch { header, bytes: bytes.split_to(size) }))
    }

    /// The one batch that `bytes` are.
    ///
    /// # Errors
    /// When they are less, more, or no batch.
    pub fn parse(mut bytes: Bytes) -> Result<Batch, BatchError> {
        let remaining = bytes.len();
        let needed = first_size(&bytes)?.unwrap_or(HEADER_BYTES);
        match Batch::split_first(&mut bytes)? {
            Some(batch) if bytes.is_empty() => Ok(batch),
            Some(batch) => Err(BatchError::TrailingBytes { count: batch.header.record_count }),
            None => Err(BatchError::Truncated { needed, remaining }),
        }
    }

    /// The records as they lie in the batch, compressed or not.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// Checks the CRC-32C.
    ///
    /// # Errors
    /// [`BatchError::Checksum`].
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) =
            (self.header.crc, crc_fast::crc32_iscsi(&self.bytes[CHECKED_FROM..]));
        if stored == computed { Ok(()) } else { Err(BatchError::Checksum { stored, computed }) }
    }

    /// The batch's records, decompressed; `limit` bounds the bytes that they may take then.
    ///
    /// # Errors
    /// When the codec refuses the bytes or they exceed the limit.
    pub fn records(&self, limit: usize, scratch: &mut Scratch) -> Result<BatchRecords, BatchError> {
        let compression = self.header.attributes.compression()?;
        let data = match compression {
            // They are in memory already, so they take none.
            Compression::None => self.body(),
            _ => decompress(compression, &self.body(), limit, scratch)?,
        };
        Ok(BatchRecords { header: self.header, data })
    }
}

/// Bytes of the batch at the front; none when too few are there to say.
fn first_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    if let Some(&magic) = bytes.get(MAGIC_AT)
        && magic as i8 != MAGIC
    {
        return Err(BatchError::Magic { magic: magic as i8 });
    }
    let Some(mut prefix) = bytes.get(..LOG_OVERHEAD_BYTES) else { return Ok(None) };
    prefix.advance(size_of::<i64>());
    let length = prefix.get_i32();
    match usize::try_from(length) {
        Ok(length) if length + LOG_OVERHEAD_BYTES >= HEADER_BYTES => {
            Ok(Some(length + LOG_OVERHEAD_BYTES))
        }
        _ => Err(BatchError::Length { length }),
    }
}

/// The decompressed records of a batch.
#[derive(Clone, Debug)]
pub struct BatchRecords {
    header: BatchHeader,
    data: Bytes,
}

impl BatchRecords {
    /// The batch's header.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order; ends after the first error.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: self.header, rest: &self.data, index: 0 }
    }

    /// A part of a record, as bytes that keep themselves alive.
    ///
    /// # Panics
    /// When `part` does not come from a record of this value.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.data.slice_ref(part)
    }

    /// The bytes of all records.
    pub fn into_bytes(self) -> Bytes {
        self.data
    }

    /// Bytes of all records together.
    pub fn size_bytes(&self) -> usize {
        self.data.len()
    }
}

impl<'a> IntoIterator for &'a BatchRecords {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// Goes through the records of a batch.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    /// Wider than a count, so that [`ENDED`] is none.
    index: i64,
}

/// The index of an iteration that is over, be it by an error.
const ENDED: i64 = i64::MAX;

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Result<Record<'a>, BatchError>> {
        let (index, count) = (self.index, self.header.record_count);
        if index < i64::from(count) {
            self.index += 1;
            let record = Record::read(&mut self.rest, &self.header);
            return Some(record.map_err(|source| {
                self.index = ENDED;
                // Below the count, which has as many bits.
                BatchError::Record { index: index as i32, source }
            }));
        }
        let has_more = index == i64::from(count) && !self.rest.is_empty();
        self.index = ENDED;
        has_more.then_some(Err(BatchError::TrailingBytes { count }))
    }
}
