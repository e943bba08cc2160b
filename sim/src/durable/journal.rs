//! What a broker's journal holds on stable storage, as a start would believe it. It is read anew here,
//! out of the bytes alone: this shares no code with the broker's journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::disk::{DiskImage, SimDisk};

pub(crate) const PREFIX: &str = "/data/.klamm-journal-";
const PAGE: usize = 4096;
const HEADER_BYTES: usize = 52;
const MAGIC: &[u8] = b"klj1";

/// One entry.
#[derive(Clone, Debug)]
enum Entry {
    Bytes { log: Arc<str>, segment: i64, position: u64, bytes: Bytes },
    Void { log: Arc<str>, segment: i64, position: u64, to: i64 },
}

/// How far a file was read.
#[derive(Clone, Debug, Default)]
struct Read {
    position: usize,
    blocks: u32,
    entries: Vec<Entry>,
}

/// The pieces of a segment, by where they begin.
type Pieces = BTreeMap<u64, Bytes>;

/// A journal, read as far as it goes; reading on is cheap.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    files: BTreeMap<Arc<str>, Read>,
    pieces: BTreeMap<(Arc<str>, i64), Pieces>,
}

impl Journal {
    /// Of a disk without power.
    pub fn of_image(image: &DiskImage) -> Journal {
        let mut journal = Journal::default();
        for (path, bytes) in image.files().filter(|(path, _)| path.starts_with(PREFIX)) {
            let mut read = Read::default();
            read.go_on(bytes, path);
            read.entries.into_iter().for_each(|entry| journal.apply(entry));
        }
        journal
    }

    /// Reads on.
    pub fn refresh(&mut self, disk: &SimDisk) {
        let paths: Vec<Arc<str>> = disk
            .files()
            .into_iter()
            .map(|(path, _)| path)
            .filter(|path| path.starts_with(PREFIX))
            .collect();
        let gone = self.files.keys().any(|path| !paths.contains(path));
        if gone {
            *self = Journal::default();
        }
        for path in paths {
            let read = self.files.entry(Arc::clone(&path)).or_default();
            let before = read.entries.len();
            disk.with_durable(&*path, |bytes| read.go_on(bytes, &path));
            let new: Vec<Entry> = read.entries[before..].to_vec();
            new.into_iter().for_each(|entry| self.apply(entry));
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Bytes { log, segment, position, bytes } => {
                self.pieces.entry((log, segment)).or_default().insert(position, bytes);
            }
            Entry::Void { log, segment, position, to } => {
                let from = (Arc::clone(&log), segment);
                for ((_, at), pieces) in self.pieces.range_mut(from..(log, to)) {
                    let kept = if *at == segment { position } else { 0 };
                    pieces.retain(|start, bytes| {
                        bytes.truncate(usize::try_from(kept.saturating_sub(*start)).unwrap_or(0));
                        !bytes.is_empty()
                    });
                }
            }
        }
    }

    /// The bytes from `position` on in a segment of `log`, as far as the entry reaches that holds
    /// them.
    pub fn bytes_at(&self, log: &str, segment: i64, position: u64) -> Option<&[u8]> {
        let pieces = self.pieces.get(&(Arc::from(log), segment))?;
        let (start, bytes) = pieces.range(..=position).next_back()?;
        let rest = bytes.get(usize::try_from(position - start).ok()?..)?;
        (!rest.is_empty()).then_some(rest)
    }

    /// All that is there of `log`.
    pub fn pieces<'a>(&'a self, log: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of_log = self.pieces.iter().filter(move |((name, _), _)| **name == *log);
        of_log.flat_map(|(_, pieces)| pieces.values().map(|bytes| &bytes[..]))
    }

    /// All that is there: log, segment, where in it, and the bytes.
    pub fn all(&self) -> impl Iterator<Item = (&str, i64, u64, &[u8])> {
        self.pieces.iter().flat_map(|((log, segment), pieces)| {
            pieces.iter().map(|(position, bytes)| (&**log, *segment, *position, &bytes[..]))
        })
    }
}

impl Read {
    fn go_on(&mut self, file: &[u8], path: &str) {
        let generation: Option<u64> =
            path.strip_prefix(PREFIX).and_then(|digits| digits.parse().ok());
        while let Some(rest) = file.get(self.position..) {
            let Some((block, found)) = whole(rest) else { return };
            if Some(found.0) != generation || found.1 != self.blocks {
                return;
            }
            let mut entries = Bytes::copy_from_slice(&block[HEADER_BYTES..]);
            while entries.has_remaining() {
                self.entries.push(entry(&mut entries));
            }
            self.position += block.len().next_multiple_of(PAGE);
            self.blocks += 1;
        }
    }
}

/// The block that `bytes` begin with, with its generation and ordinal.
fn whole(bytes: &[u8]) -> Option<(&[u8], (u64, u32))> {
    let mut head = bytes.get(..HEADER_BYTES)?;
    let magic = head.copy_to_bytes(4);
    let (crc, length) = (head.get_u32(), head.get_u32() as usize);
    let found = (head.get_u64(), head.get_u32());
    let block = bytes.get(..length).filter(|_| magic == MAGIC && length >= HEADER_BYTES)?;
    (crc_fast::crc32_iscsi(&block[8..]) == crc).then_some((block, found))
}

/// Whether a block begins with `bytes`, or something that looks like one.
pub fn begins_block(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The bytes of log in the block that `bytes` begin with; `None` when it is not whole.
pub fn pieces_of_block(bytes: &[u8]) -> Option<Vec<Bytes>> {
    let (block, _) = whole(bytes)?;
    let mut rest = Bytes::copy_from_slice(&block[HEADER_BYTES..]);
    let mut pieces = Vec::new();
    while rest.has_remaining() {
        if let Entry::Bytes { bytes, .. } = entry(&mut rest) {
            pieces.push(bytes);
        }
    }
    Some(pieces)
}

/// Of a block whose checksum is right.
fn entry(bytes: &mut Bytes) -> Entry {
    let kind = bytes.get_u8();
    let name_len = usize::from(bytes.get_u16());
    let log = Arc::from(String::from_utf8_lossy(&bytes.split_to(name_len)).as_ref());
    bytes.advance(16);
    let (segment, position) = (bytes.get_i64(), bytes.get_u64());
    if kind == 1 {
        let len = bytes.get_u32() as usize;
        return Entry::Bytes { log, segment, position, bytes: bytes.split_to(len) };
    }
    Entry::Void { log, segment, position, to: bytes.get_i64() }
}
