//! One record of a batch, borrowed from the batch's (decompressed) bytes.

use model::{Offset, Timestamp};

use crate::records::walk::{self, Outline};
use crate::records::{BatchHeader, TimestampType};
use crate::wire::DecodeError;
use crate::wire::varint::{read_i32, read_u32};

/// A record; its bytes belong to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// Its time; the batch's where the broker's clock counts.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone on a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its headers (KIP-82).
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Takes one record off the front of `input`.
    pub(super) fn read(
        input: &mut &'a [u8],
        header: &BatchHeader,
    ) -> Result<Record<'a>, DecodeError> {
        let mut body = walk::sized(input)?;
        let outline = Outline::read_start(&mut body)?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let headers = Headers::read(body)?;
        Ok(Record {
            offset: outline.offset(header),
            timestamp: match header.attributes.timestamp_type() {
                TimestampType::CreateTime => outline.timestamp(header),
                TimestampType::LogAppendTime => header.max_timestamp,
            },
            key,
            value,
            headers,
        })
    }
}

/// The headers of a record, checked but not decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// Its name: UTF-8 from every honest client, but nobody checks.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// Checks that `body` is a count and so many headers and nothing else.
    fn read(mut body: &'a [u8]) -> Result<Headers<'a>, DecodeError> {
        let count = header_count(&mut body)?;
        let bytes = body;
        for _ in 0..count {
            read_header(&mut body)?;
        }
        match body.len() {
            0 => Ok(Headers { count, bytes }),
            unread => Err(DecodeError::TrailingBytes { unread }),
        }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(self) -> impl Iterator<Item = RecordHeader<'a>> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| read_header(&mut rest).ok())
    }

    /// The bytes of all headers as they stand in the record, behind their count.
    pub(super) fn raw(self) -> (u32, &'a [u8]) {
        (self.count, self.bytes)
    }
}

/// The count in front of the headers; each of them takes two bytes at least.
pub(super) fn header_count(body: &mut &[u8]) -> Result<u32, DecodeError> {
    let count = read_i32(body)?;
    let count =
        u32::try_from(count).map_err(|_| DecodeError::InvalidLength { length: count.into() })?;
    if count as usize > body.len() / 2 {
        let remaining = body.len();
        return Err(DecodeError::TooManyElements { count: count as usize, remaining });
    }
    Ok(count)
}

fn read_header<'a>(body: &mut &'a [u8]) -> Result<RecordHeader<'a>, DecodeError> {
    let key = nullable(body)?.ok_or(DecodeError::InvalidLength { length: -1 })?;
    Ok(RecordHeader { key, value: nullable(body)? })
}

/// Bytes with a zigzag length in front; any length below zero is null, as in Kafka.
#[inline]
pub(super) fn nullable<'a>(body: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    let zigzag = read_u32(body)?;
    if zigzag & 1 == 1 {
        return Ok(None);
    }
    let length = (zigzag >> 1) as usize;
    match body.split_at_checked(length) {
        Some((bytes, rest)) => {
            *body = rest;
            Ok(Some(bytes))
        }
        None => Err(DecodeError::Truncated { needed: length, remaining: body.len() }),
    }
}
