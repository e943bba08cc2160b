//! The bytes of a metadata snapshot.
//!
//! In: an image. Out: a file's content, and back. Layout, big-endian: 8 bytes `klammsnp`, 1 byte version,
//! 8 bytes length of the rest, 4 bytes CRC-32 of the rest; then the offset of the image in 8 bytes, and
//! each record as a length in 4 bytes with its own bytes, which carry their own version.

use metadata::{DecodeRecordError, Image, Record, SnapshotError};
use model::Offset;

const MAGIC: &[u8; 8] = b"klammsnp";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8 + 1 + 8 + 4;

/// A file that is no metadata snapshot of this klamm's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    /// Another kind of file.
    #[error("it is no metadata snapshot")]
    Foreign,
    /// Written by a newer klamm.
    #[error("it has version {found}, this klamm reads {VERSION}: start the newer klamm")]
    Newer {
        /// The version.
        found: u8,
    },
    /// Bytes are missing or wrong.
    #[error("it is damaged")]
    Damaged,
    /// A record is of a newer klamm or damaged.
    #[error("record {place}")]
    Record {
        /// Its place, from 0.
        place: usize,
        /// What is wrong with it.
        #[source]
        source: DecodeRecordError,
    },
    /// The records make no image.
    #[error("restore the image")]
    Image(#[from] SnapshotError),
}

pub(super) fn encode_snapshot(image: &Image) -> Vec<u8> {
    let mut body = image.offset().0.to_be_bytes().to_vec();
    for record in image.snapshot() {
        let bytes = record.encode();
        let length = u32::try_from(bytes.len()).expect("a record is far below 4 GiB");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&bytes);
    }
    let mut content = Vec::with_capacity(HEADER_BYTES + body.len());
    content.extend_from_slice(MAGIC);
    content.push(VERSION);
    content.extend_from_slice(&(body.len() as u64).to_be_bytes());
    content.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    content.extend_from_slice(&body);
    content
}

pub(super) fn decode_snapshot(content: &[u8]) -> Result<Image, BadSnapshot> {
    let rest = content.strip_prefix(MAGIC).ok_or(BadSnapshot::Foreign)?;
    let (&version, rest) = rest.split_first().ok_or(BadSnapshot::Damaged)?;
    if version != VERSION {
        return Err(BadSnapshot::Newer { found: version });
    }
    let (length, rest) = rest.split_first_chunk().ok_or(BadSnapshot::Damaged)?;
    let (crc, body) = rest.split_first_chunk().ok_or(BadSnapshot::Damaged)?;
    let is_whole = u64::from_be_bytes(*length) == body.len() as u64
        && u32::from_be_bytes(*crc) == crc32fast::hash(body);
    if !is_whole {
        return Err(BadSnapshot::Damaged);
    }
    let (offset, mut rest) = body.split_first_chunk().ok_or(BadSnapshot::Damaged)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or(BadSnapshot::Damaged)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (bytes, after) = after.split_at_checked(length).ok_or(BadSnapshot::Damaged)?;
        let place = records.len();
        let record = Record::decode(bytes);
        records.push(record.map_err(|source| BadSnapshot::Record { place, source })?);
        rest = after;
    }
    Ok(Image::from_snapshot(Offset(i64::from_be_bytes(*offset)), &records)?)
}
