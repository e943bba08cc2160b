//! Blocks and entries of a journal as bytes. Pure.
//!
//! A block is what one write and one sync make durable. It starts at a multiple of [`ALIGN`] and is
//! filled up with zeros to the next one: blocks are only ever written over whole pages. Big-endian, it
//! has a magic (4 bytes), the CRC-32C of everything behind that but the padding (4), its length without
//! the padding (4), what [`BlockHeader`] names (generation 8, ordinal 4, previous 8 and 4, directory
//! 16), and the entries.
//!
//! An entry is its kind (1), the length of the log's name (2), the name, the topic's id (16; zeros when
//! unknown), a segment (8) and a position (8); then of bytes their length (4) and they themselves, of a
//! void the segment (8) that it ends before.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use model::{Offset, Uuid};

use super::{Author, Entry, SegmentPosition};
use crate::name::LogName;

/// Blocks start at multiples of this.
pub(super) const ALIGN: usize = runtime::DURABLE_ALIGN;

const MAGIC: u32 = u32::from_be_bytes(*b"klj1");
/// Where the bytes under the checksum begin.
const CHECKED_FROM: usize = 8;
/// Bytes of a block before its entries.
pub(super) const HEADER_BYTES: usize = 52;

const KIND_BYTES: u8 = 1;
const KIND_VOID: u8 = 2;

static ZEROS: [u8; ALIGN] = [0; ALIGN];

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) generation: u64,
    pub(super) ordinal: u32,
    /// The generation before it, all of which is durable.
    pub(super) previous: Sealing,
    /// The id of the data directory.
    pub(super) directory: Uuid,
}

/// A generation that takes no more blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sealing {
    pub(super) generation: u64,
    pub(super) blocks: u32,
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) log: LogName,
    /// Zero when the log does not know.
    pub(super) topic_id: Uuid,
    pub(super) what: FoundWhat,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundWhat {
    /// These bytes stand there.
    Bytes { at: SegmentPosition, bytes: Bytes },
    /// What was said before of these places counts no more.
    Void { from: SegmentPosition, to: Offset },
}

/// Bytes of an entry.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    match entry {
        Entry::Bytes { log, len, .. } => 1 + log.encoded.len() + 20 + len,
        Entry::Void { log, .. } => 1 + log.encoded.len() + 24,
    }
}

/// What a block of `content` bytes takes, with its padding.
pub(super) fn padded(content: usize) -> usize {
    content.next_multiple_of(ALIGN)
}

/// The buffers of a block, padding included; the bytes of the entries are shared, not copied.
pub(super) fn encode(header: BlockHeader, entries: &[Entry]) -> Vec<Bytes> {
    let content: usize = HEADER_BYTES + entries.iter().map(entry_bytes).sum::<usize>();
    let plain: usize = entries.iter().map(|entry| entry_bytes(entry) - entry.len()).sum();
    let mut writer = Writer {
        plain: BytesMut::with_capacity(HEADER_BYTES + plain),
        buffers: Vec::with_capacity(2 + 3 * entries.len()),
        digest: Digest::new(CrcAlgorithm::Crc32Iscsi),
    };
    let mut head = BytesMut::with_capacity(CHECKED_FROM);
    writer.plain.put_u32(u32::try_from(content).expect("a block is bounded"));
    writer.plain.put_u64(header.generation);
    writer.plain.put_u32(header.ordinal);
    writer.plain.put_u64(header.previous.generation);
    writer.plain.put_u32(header.previous.blocks);
    writer.plain.put_slice(&header.directory.0);
    for entry in entries {
        writer.entry(entry);
    }
    writer.flush();
    head.put_u32(MAGIC);
    head.put_u32(u32::try_from(writer.digest.finalize()).expect("a CRC-32"));
    writer.buffers[0] = head.freeze();
    let padding = padded(content) - content;
    if padding > 0 {
        writer.buffers.push(Bytes::from_static(&ZEROS[..padding]));
    }
    writer.buffers
}

struct Writer {
    /// What is not the log's bytes, since the last of those.
    plain: BytesMut,
    buffers: Vec<Bytes>,
    digest: Digest,
}

impl Writer {
    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Bytes { log, at, bytes, len } => {
                self.plain.put_u8(KIND_BYTES);
                self.plain.put_slice(&log.encoded);
                self.plain.put_i64(at.segment.0);
                self.plain.put_u64(at.position);
                self.plain.put_u32(u32::try_from(*len).expect("a staged group is bounded"));
                self.flush();
                for buffer in bytes {
                    self.digest.update(buffer);
                    self.buffers.push(buffer.clone());
                }
            }
            Entry::Void { log, from, to } => {
                self.plain.put_u8(KIND_VOID);
                self.plain.put_slice(&log.encoded);
                self.plain.put_i64(from.segment.0);
                self.plain.put_u64(from.position);
                self.plain.put_i64(to.0);
            }
        }
    }

    fn flush(&mut self) {
        if self.buffers.is_empty() {
            // Magic and checksum come last.
            self.buffers.push(Bytes::new());
        }
        if !self.plain.is_empty() {
            let plain = self.plain.split().freeze();
            self.digest.update(&plain);
            self.buffers.push(plain);
        }
    }
}

/// The header and the length of the block that begins with `bytes`, unchecked; `None` when no block
/// begins there.
pub(super) fn peek(mut bytes: &[u8]) -> Option<(BlockHeader, usize)> {
    if bytes.len() < HEADER_BYTES || bytes.get_u32() != MAGIC {
        return None;
    }
    let _crc = bytes.get_u32();
    let length = usize::try_from(bytes.get_u32()).ok()?;
    let (generation, ordinal) = (bytes.get_u64(), bytes.get_u32());
    let previous = Sealing { generation: bytes.get_u64(), blocks: bytes.get_u32() };
    let directory = Uuid(*bytes.first_chunk::<16>()?);
    let header = BlockHeader { generation, ordinal, previous, directory };
    (length >= HEADER_BYTES).then_some((header, length))
}

/// Whether the bytes of a whole block are those that were written.
pub(super) fn is_right(block: &[u8]) -> bool {
    let stored = block.get(4..).and_then(|rest| rest.first_chunk::<4>());
    let checked = block.get(CHECKED_FROM..);
    stored.zip(checked).is_some_and(|(stored, checked)| {
        u32::from_be_bytes(*stored) == crc_fast::crc32_iscsi(checked)
    })
}

/// The entries of a whole block that is right; `None` when what they say makes no sense.
pub(super) fn decode(block: &Bytes) -> Option<Vec<Found>> {
    let mut rest = block.slice(HEADER_BYTES..);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        entries.push(decode_entry(&mut rest)?);
    }
    Some(entries)
}

fn decode_entry(rest: &mut Bytes) -> Option<Found> {
    let kind = rest.try_get_u8().ok()?;
    let name_len = usize::from(rest.try_get_u16().ok()?);
    if rest.len() < name_len + 16 {
        return None;
    }
    let name = rest.split_to(name_len);
    let log = std::str::from_utf8(&name).ok()?.parse().ok()?;
    let topic_id = Uuid(*rest.split_to(16).first_chunk::<16>()?);
    let segment = Offset(rest.try_get_i64().ok()?);
    let at = SegmentPosition { segment, position: rest.try_get_u64().ok()? };
    let what = match kind {
        KIND_BYTES => {
            let len = usize::try_from(rest.try_get_u32().ok()?).ok()?;
            if rest.len() < len {
                return None;
            }
            FoundWhat::Bytes { at, bytes: rest.split_to(len) }
        }
        KIND_VOID => FoundWhat::Void { from: at, to: Offset(rest.try_get_i64().ok()?) },
        _ => return None,
    };
    Some(Found { log, topic_id, what })
}

impl Author {
    /// Of a log of that name.
    pub(crate) fn new(name: &LogName, topic_id: Option<Uuid>) -> Author {
        let text = name.to_string();
        let mut encoded = BytesMut::with_capacity(2 + text.len() + 16);
        encoded.put_u16(u16::try_from(text.len()).expect("a directory's name is shorter"));
        encoded.put_slice(text.as_bytes());
        encoded.put_slice(&topic_id.unwrap_or_default().0);
        Author { name: name.clone(), encoded: encoded.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn block() -> (BlockHeader, Bytes) {
        let previous = Sealing { generation: 6, blocks: 9 };
        let header = BlockHeader { generation: 7, ordinal: 3, previous, directory: Uuid([5; 16]) };
        let log = Arc::new(Author::new(&"t-3".parse().unwrap(), Some(Uuid([6; 16]))));
        let bytes = vec![Bytes::from_static(b"head"), Bytes::from_static(b"body")];
        let at = SegmentPosition { segment: Offset(100), position: 4_000 };
        let entries = [
            Entry::Bytes { log: Arc::clone(&log), at, bytes, len: 8 },
            Entry::Void {
                log,
                from: SegmentPosition { segment: Offset(2), position: 9 },
                to: Offset(50),
            },
        ];
        let buffers = encode(header, &entries);
        (header, buffers.concat().into())
    }

    #[test]
    fn what_is_written_is_read() {
        let (header, bytes) = block();
        assert_eq!(bytes.len() % ALIGN, 0);
        let (found, length) = peek(&bytes).unwrap();
        assert_eq!(found, header);
        assert!(is_right(&bytes[..length]));
        let entries = decode(&bytes.slice(..length)).unwrap();
        let (log, topic_id): (LogName, _) = ("t-3".parse().unwrap(), Uuid([6; 16]));
        let at = SegmentPosition { segment: Offset(100), position: 4_000 };
        let bytes = FoundWhat::Bytes { at, bytes: Bytes::from_static(b"headbody") };
        let from = SegmentPosition { segment: Offset(2), position: 9 };
        let void = FoundWhat::Void { from, to: Offset(50) };
        let expected = [bytes, void].map(|what| Found { log: log.clone(), topic_id, what });
        assert_eq!(entries, expected);
    }

    #[test]
    fn no_changed_byte_is_believed() {
        let (header, bytes) = block();
        let (_, length) = peek(&bytes).unwrap();
        for at in 0..length {
            let mut changed = bytes[..length].to_vec();
            changed[at] ^= 1;
            let changed = Bytes::from(changed);
            let believed = peek(&changed)
                .is_some_and(|(found, len)| found == header && len == length && is_right(&changed));
            assert!(!believed, "byte {at}");
        }
    }
}
