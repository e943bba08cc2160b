//! The producer snapshot file: Kafka's format v1, with what klamm adds behind it.
//!
//! Kafka keeps only the last batch of each producer; its reader checks the CRC over the whole file
//! and ignores what follows the entries it knows. There klamm keeps the older batches, so that a
//! restart does not shrink the window in which repeated batches are recognised, and the place in
//! the segment that the snapshot was taken at, so that recovery need not look for it.
//!
//! Invariant: bytes that are not a snapshot are an error, and cost no more memory than they are.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::entry::{BATCHES_MAX, BatchMark, ProducerEntry};
use crate::batch::crc32c;
use crate::index::TimeEntry;

const VERSION: i16 = 1;
/// Version and checksum, which the checksum does not cover.
const PREFIX_BYTES: usize = 6;
const ENTRY_BYTES: usize = 46;
const MARK_BYTES: usize = 24;
/// Marks what klamm adds: no Kafka version writes anything behind the entries.
const EXTENSION_MAGIC: &[u8; 8] = b"klamm\0\0\x01";

/// Where in its segment a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment_base: Offset,
    /// Of the first batch that is not in the snapshot.
    pub(crate) position: u64,
    /// The largest timestamp of the segment up to here, and the batch that has it.
    pub(crate) max: Option<TimeEntry>,
    /// Timestamp of the segment's first batch.
    pub(crate) first_timestamp: Option<Timestamp>,
}

impl Place {
    /// Of a snapshot that was taken when its segment began.
    pub(crate) fn at_base(segment_base: Offset) -> Place {
        Place { segment_base, position: 0, max: None, first_timestamp: None }
    }
}

/// The content of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) producers: BTreeMap<ProducerId, ProducerEntry>,
    pub(crate) place: Option<Place>,
}

/// Why a file is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSnapshot {
    #[error("version {0}")]
    Version(i16),
    #[error("checksum does not match")]
    Crc,
    #[error("ends early")]
    Truncated,
}

/// The bytes of a snapshot.
pub(crate) fn encode(producers: &BTreeMap<ProducerId, ProducerEntry>, place: &Place) -> Bytes {
    let marks: usize = producers.values().map(|p| p.batches.len()).sum();
    let mut out = BytesMut::with_capacity(64 + producers.len() * (ENTRY_BYTES + 1) + marks * 24);
    out.put_i16(VERSION);
    out.put_u32(0);
    out.put_i32(producers.len() as i32);
    for (id, entry) in producers {
        put_entry(&mut out, *id, entry);
    }
    put_extension(&mut out, producers, place);
    let crc = crc32c(&out[PREFIX_BYTES..]);
    out[2..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

fn put_entry(out: &mut BytesMut, id: ProducerId, entry: &ProducerEntry) {
    let last = entry.last_batch();
    out.put_i64(id.0);
    out.put_i16(entry.epoch.0);
    out.put_i32(entry.last_sequence().0);
    out.put_i64(last.map_or(-1, |batch| batch.last_offset.0));
    out.put_i32(last.map_or(0, |batch| batch.offset_delta));
    out.put_i64(entry.last_timestamp.0);
    out.put_i32(entry.coordinator_epoch);
    out.put_i64(entry.txn_first_offset.map_or(-1, |offset| offset.0));
}

fn put_extension(
    out: &mut BytesMut,
    producers: &BTreeMap<ProducerId, ProducerEntry>,
    place: &Place,
) {
    out.put_slice(EXTENSION_MAGIC);
    out.put_i64(place.segment_base.0);
    out.put_u64(place.position);
    out.put_i64(place.max.map_or(-1, |max| max.timestamp.0));
    out.put_i64(place.max.map_or(-1, |max| max.offset.0));
    out.put_i64(place.first_timestamp.map_or(-1, |timestamp| timestamp.0));
    for entry in producers.values() {
        out.put_u8(entry.batches.len() as u8);
        for mark in &entry.batches {
            out.put_i32(mark.last_sequence.0);
            out.put_i64(mark.last_offset.0);
            out.put_i32(mark.offset_delta);
            out.put_i64(mark.timestamp.0);
        }
    }
}

/// Reads a snapshot of klamm or of Kafka.
pub(crate) fn decode(mut bytes: Bytes) -> Result<Snapshot, BadSnapshot> {
    if bytes.len() < PREFIX_BYTES + 4 {
        return Err(BadSnapshot::Truncated);
    }
    let version = bytes.get_i16();
    if version != VERSION {
        return Err(BadSnapshot::Version(version));
    }
    if bytes.get_u32() != crc32c(&bytes) {
        return Err(BadSnapshot::Crc);
    }
    let count = usize::try_from(bytes.get_i32()).map_err(|_| BadSnapshot::Truncated)?;
    if count > bytes.len() / ENTRY_BYTES {
        return Err(BadSnapshot::Truncated);
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(read_entry(&mut bytes));
    }
    let place = match bytes.strip_prefix(EXTENSION_MAGIC) {
        Some(_) => {
            bytes.advance(EXTENSION_MAGIC.len());
            Some(read_extension(&mut bytes, &mut entries)?)
        }
        None => None,
    };
    Ok(Snapshot { producers: entries.into_iter().collect(), place })
}

fn read_entry(bytes: &mut Bytes) -> (ProducerId, ProducerEntry) {
    let id = ProducerId(bytes.get_i64());
    let epoch = ProducerEpoch(bytes.get_i16());
    let last_sequence = Sequence(bytes.get_i32());
    let last_offset = Offset(bytes.get_i64());
    let offset_delta = bytes.get_i32();
    let timestamp = Timestamp(bytes.get_i64());
    let coordinator_epoch = bytes.get_i32();
    let txn_first_offset = bytes.get_i64();
    let mut batches = VecDeque::new();
    if last_offset >= Offset::ZERO {
        batches.push_back(BatchMark { last_sequence, last_offset, offset_delta, timestamp });
    }
    let txn_first_offset = (txn_first_offset >= 0).then_some(Offset(txn_first_offset));
    let last_timestamp = timestamp;
    (id, ProducerEntry { epoch, coordinator_epoch, last_timestamp, txn_first_offset, batches })
}

fn read_extension(
    bytes: &mut Bytes,
    entries: &mut [(ProducerId, ProducerEntry)],
) -> Result<Place, BadSnapshot> {
    if bytes.len() < 40 {
        return Err(BadSnapshot::Truncated);
    }
    let segment_base = Offset(bytes.get_i64());
    let position = bytes.get_u64();
    let (timestamp, offset) = (bytes.get_i64(), bytes.get_i64());
    let max = TimeEntry { timestamp: Timestamp(timestamp), offset: Offset(offset) };
    let first_timestamp = bytes.get_i64();
    for (_, entry) in entries {
        let count = bytes.try_get_u8().map_err(|_| BadSnapshot::Truncated)?;
        if usize::from(count) > BATCHES_MAX || bytes.len() < usize::from(count) * MARK_BYTES {
            return Err(BadSnapshot::Truncated);
        }
        let marks = (0..count).map(|_| BatchMark {
            last_sequence: Sequence(bytes.get_i32()),
            last_offset: Offset(bytes.get_i64()),
            offset_delta: bytes.get_i32(),
            timestamp: Timestamp(bytes.get_i64()),
        });
        entry.batches = marks.collect();
    }
    Ok(Place {
        segment_base,
        position,
        max: (offset >= 0).then_some(max),
        first_timestamp: (first_timestamp >= 0).then_some(Timestamp(first_timestamp)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn producers() -> BTreeMap<ProducerId, ProducerEntry> {
        let mut known = ProducerEntry::new(ProducerEpoch(3));
        for n in 0..7 {
            let mark = BatchMark {
                last_sequence: Sequence(n * 10 + 4),
                last_offset: Offset(i64::from(n) * 100 + 4),
                offset_delta: 4,
                timestamp: Timestamp(1000 + i64::from(n)),
            };
            known.add_batch(ProducerEpoch(3), mark);
        }
        known.txn_first_offset = Some(Offset(500));
        let mut marked = ProducerEntry::new(ProducerEpoch(0));
        marked.end_transaction(ProducerEpoch(1), 9, Timestamp(77));
        BTreeMap::from([(ProducerId(4), known), (ProducerId(9), marked)])
    }

    #[test]
    fn all_five_batches_and_the_place_come_back() {
        let producers = producers();
        let place = Place {
            segment_base: Offset(90),
            position: 4711,
            max: Some(TimeEntry { timestamp: Timestamp(5), offset: Offset(91) }),
            first_timestamp: Some(Timestamp(2)),
        };
        let snapshot = decode(encode(&producers, &place)).unwrap();
        assert_eq!(snapshot, Snapshot { producers, place: Some(place) });
    }

    #[test]
    fn what_kafka_writes_is_read_with_one_batch() {
        let producers = producers();
        let bytes = encode(&producers, &Place::at_base(Offset(0)));
        let kafkas = PREFIX_BYTES + 4 + 2 * ENTRY_BYTES;
        let mut bytes = BytesMut::from(&bytes[..kafkas]);
        let crc = crc32c(&bytes[PREFIX_BYTES..]);
        bytes[2..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
        let snapshot = decode(bytes.freeze()).unwrap();
        assert_eq!(snapshot.place, None);
        let (full, read) = (&producers[&ProducerId(4)], &snapshot.producers[&ProducerId(4)]);
        assert_eq!(read.batches.iter().collect::<Vec<_>>(), [full.last_batch().unwrap()]);
        assert_eq!(read.txn_first_offset, full.txn_first_offset);
        assert_eq!(snapshot.producers[&ProducerId(9)], producers[&ProducerId(9)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            content in prop::collection::vec(any::<u8>(), 0..400),
            count in prop::option::of(0..6i32),
        ) {
            let mut bytes = BytesMut::new();
            bytes.put_i16(VERSION);
            bytes.put_u32(0);
            if let Some(count) = count {
                bytes.put_i32(count);
            }
            bytes.put_slice(&content);
            let crc = crc32c(&bytes[PREFIX_BYTES..]);
            bytes[2..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
            let _ = decode(bytes.freeze());
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..300, flip in 1u8..) {
            let bytes = encode(&producers(), &Place::at_base(Offset(0)));
            let mut bytes = BytesMut::from(&bytes[..]);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(decode(bytes.freeze()).is_err());
        }
    }
}
