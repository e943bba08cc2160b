//! A light walk over records: lengths and deltas only, no key, value or header is looked at.
//!
//! The same walk runs over plain bytes and over a decompressing stream ([`Window`]).
//!
//! Invariant: a record must end exactly where its length says.

use model::{Offset, Timestamp};

use crate::records::record::{header_count, nullable};
use crate::records::{BatchError, BatchHeader};
use crate::wire::DecodeError;
use crate::wire::varint::{MAX_BYTES_32, MAX_BYTES_64, read_i32, read_i64};

/// What a walk learns of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

impl Outline {
    /// Reads attributes and deltas, and stands at the key.
    #[inline]
    pub(super) fn read_start(body: &mut &[u8]) -> Result<Outline, DecodeError> {
        let Some((_attributes, rest)) = body.split_first() else {
            return Err(DecodeError::Truncated { needed: 1, remaining: 0 });
        };
        *body = rest;
        let timestamp_delta = read_i64(body)?;
        let offset_delta = read_i32(body)?;
        Ok(Outline { timestamp_delta, offset_delta, has_key: false })
    }

    pub(super) fn offset(&self, header: &BatchHeader) -> Offset {
        Offset(header.base_offset.0.wrapping_add(self.offset_delta.into()))
    }

    /// The record's own timestamp, whichever clock the batch goes by.
    #[inline]
    pub(super) fn timestamp(&self, header: &BatchHeader) -> Timestamp {
        Timestamp(header.base_timestamp.0.wrapping_add(self.timestamp_delta))
    }
}

/// Takes a record's bytes, without their length, off the front of `input`.
#[inline]
pub(super) fn sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = record_length(read_i32(input)?)?;
    match input.split_at_checked(length) {
        Some((body, rest)) => {
            *input = rest;
            Ok(body)
        }
        None => Err(DecodeError::Truncated { needed: length, remaining: input.len() }),
    }
}

fn record_length(length: i32) -> Result<usize, DecodeError> {
    usize::try_from(length).map_err(|_| DecodeError::InvalidLength { length: length.into() })
}

/// Calls `visit` with the index and outline of every record in `input`, and checks that there are
/// exactly `count`.
pub(super) fn walk_bytes(
    mut input: &[u8],
    count: i32,
    mut visit: impl FnMut(i32, Outline),
) -> Result<(), BatchError> {
    for index in 0..count {
        let outline = sized(&mut input).and_then(|mut body| outline(&mut body));
        visit(index, outline.map_err(|source| BatchError::Record { index, source })?);
    }
    if input.is_empty() { Ok(()) } else { Err(BatchError::TrailingBytes { count }) }
}

/// As [`walk_bytes`], over bytes that are still to be decompressed.
pub(super) fn walk_stream(
    stream: &mut impl Window,
    count: i32,
    mut visit: impl FnMut(i32, Outline),
) -> Result<(), BatchError> {
    for index in 0..count {
        visit(index, next_outline(stream).map_err(|error| error.at(index))?);
    }
    if stream.peek(1)?.is_empty() { Ok(()) } else { Err(BatchError::TrailingBytes { count }) }
}

/// Why a record can not be passed over.
#[derive(Debug)]
pub(super) enum SourceError {
    Record(DecodeError),
    Batch(BatchError),
}

impl SourceError {
    fn at(self, index: i32) -> BatchError {
        match self {
            SourceError::Record(source) => BatchError::Record { index, source },
            SourceError::Batch(error) => error,
        }
    }
}

impl From<DecodeError> for SourceError {
    fn from(error: DecodeError) -> SourceError {
        SourceError::Record(error)
    }
}

impl From<BatchError> for SourceError {
    fn from(error: BatchError) -> SourceError {
        SourceError::Batch(error)
    }
}

/// The outline of the record whose bytes are `body`.
#[inline]
fn outline(body: &mut &[u8]) -> Result<Outline, DecodeError> {
    let mut outline = Outline::read_start(body)?;
    outline.has_key = nullable(body)?.is_some();
    nullable(body)?;
    for _ in 0..header_count(body)? {
        nullable(body)?.ok_or(DecodeError::InvalidLength { length: -1 })?;
        nullable(body)?;
    }
    match body.len() {
        0 => Ok(outline),
        unread => Err(DecodeError::TrailingBytes { unread }),
    }
}

/// A stream with a window of bytes that are already decompressed.
pub(super) trait Window {
    /// The next bytes: `want` of them at least, unless the stream ends or the window is smaller.
    fn peek(&mut self, want: usize) -> Result<&[u8], BatchError>;

    /// Passes over bytes of the window.
    fn consume(&mut self, bytes: usize);

    /// Passes over `bytes` bytes, however many windows they fill.
    fn skip(&mut self, bytes: usize) -> Result<(), SourceError>;
}

fn next_outline<W: Window>(stream: &mut W) -> Result<Outline, SourceError> {
    let mut prefix = Within { stream, left: MAX_BYTES_32 };
    let length = record_length(prefix.number(MAX_BYTES_32, read_i32)?)?;
    let mut window = stream.peek(length)?;
    if window.len() >= length {
        window = &window[..length];
        let outline = outline(&mut window)?;
        stream.consume(length);
        return Ok(outline);
    }
    let mut body = Within { stream, left: length };
    body.outline()
}

/// A record that does not fit into the window.
struct Within<'a, W> {
    stream: &'a mut W,
    /// Bytes of the record that are left.
    left: usize,
}

impl<W: Window> Within<'_, W> {
    fn outline(&mut self) -> Result<Outline, SourceError> {
        self.skip(1)?;
        let timestamp_delta = self.number(MAX_BYTES_64, read_i64)?;
        let offset_delta = self.number(MAX_BYTES_32, read_i32)?;
        let has_key = self.skip_nullable()?;
        self.skip_nullable()?;
        let headers = self.number(MAX_BYTES_32, read_i32)?;
        if headers < 0 || headers as usize > self.left / 2 {
            return Err(DecodeError::InvalidLength { length: headers.into() }.into());
        }
        for _ in 0..headers {
            if !self.skip_nullable()? {
                return Err(DecodeError::InvalidLength { length: -1 }.into());
            }
            self.skip_nullable()?;
        }
        match self.left {
            0 => Ok(Outline { timestamp_delta, offset_delta, has_key }),
            unread => Err(DecodeError::TrailingBytes { unread }.into()),
        }
    }

    /// Passes over bytes with a length in front; whether they are not null.
    fn skip_nullable(&mut self) -> Result<bool, SourceError> {
        let length = self.number(MAX_BYTES_32, read_i32)?;
        let Ok(length) = usize::try_from(length) else { return Ok(false) };
        self.skip(length)?;
        Ok(true)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), SourceError> {
        if bytes > self.left {
            return Err(DecodeError::Truncated { needed: bytes, remaining: self.left }.into());
        }
        self.left -= bytes;
        self.stream.skip(bytes)
    }

    fn number<T>(
        &mut self,
        max_bytes: usize,
        read: fn(&mut &[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, SourceError> {
        let window = self.stream.peek(max_bytes.min(self.left))?;
        let mut rest = &window[..window.len().min(self.left)];
        let before = rest.len();
        let number = read(&mut rest)?;
        let used = before - rest.len();
        self.stream.consume(used);
        self.left -= used;
        Ok(number)
    }
}
