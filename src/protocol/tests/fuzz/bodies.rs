//! What one input of the fuzzer does; shared by the short seeded runs of the tests and by the
//! coverage-guided targets in `fuzz/`.
//!
//! Each body takes any bytes and panics only when an invariant of the crate is broken.

use bytes::Bytes;
use model::{Offset, ProducerId, Sequence, Timestamp};
use protocol::frame::{FrameDecoder, decode_request_header};
use protocol::records::{
    Attributes, Batch, BatchHeader, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES, ProduceRules,
    Scratch, first_since, latest_record, validate_produce,
};
use protocol::{ApiKey, Message, Reader, Request, Writer};

const FRAME_BYTES_MAX: usize = 1 << 20;
const RECORDS_BYTES_MAX: usize = 1 << 22;

/// A stream that arrives in pieces: every frame is read as a request.
pub fn frames(data: &[u8]) {
    let Some((&piece_bytes, stream)) = data.split_first() else { return };
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    for piece in stream.chunks(usize::from(piece_bytes) + 1) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => request_frame(frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(decoder.buffered_bytes() <= stream.len());
}

fn request_frame(frame: Bytes) {
    let Ok(request) = decode_request_header(frame) else { return };
    let body = request.body.rest();
    message(request.api_key, request.api_version, Direction::Request, &body);
}

/// An API, a version and a body, of a request or of a response.
pub fn messages(data: &[u8]) {
    let [key, version, direction, body @ ..] = data else { return };
    let key = ApiKey::ALL[usize::from(*key) % ApiKey::ALL.len()];
    let versions = key.max_version() - key.min_version() + 1;
    let version = key.min_version() + i16::from(*version) % versions;
    let direction = if direction & 1 == 0 { Direction::Request } else { Direction::Response };
    message(key, version, direction, &Bytes::copy_from_slice(body));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

fn message(key: ApiKey, version: i16, direction: Direction, body: &Bytes) {
    macro_rules! find {
        ($($request:path),* $(,)?) => {
            $(if key == <$request as Request>::KEY {
                return match direction {
                    Direction::Request => again::<$request>(version, body),
                    Direction::Response => again::<<$request as Request>::Response>(version, body),
                };
            })*
        };
    }
    protocol::for_each_request!(find);
}

/// What decodes encodes, and what was encoded stays as it is.
fn again<M: Message>(version: i16, body: &Bytes) {
    let Ok(message) = M::decode(&mut Reader::new(body.clone()), version) else { return };
    let once = encode(&message, version);
    // Its own bytes are shorter at most by what a careless peer wrote too long, but a tighter budget
    // must not refuse them.
    let mut reader = Reader::with_budget(once.clone(), usize::MAX);
    let message = M::decode(&mut reader, version).expect("own bytes decode");
    reader.finish().expect("own bytes end where they should");
    assert_eq!(encode(&message, version), once);
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("what was decoded can be encoded");
    writer.into_bytes()
}

/// A batch: raw, or with a header and a checksum that let its records be looked at.
pub fn batches(data: &[u8]) {
    let [form, count, attributes, records @ ..] = data else { return };
    if form & 1 == 0 {
        batch(Bytes::copy_from_slice(records), *form);
        return;
    }
    let count = i32::from(*count);
    let mut header = BatchHeader {
        batch_length: (HEADER_BYTES - LOG_OVERHEAD_BYTES + records.len()) as i32,
        attributes: Attributes(i16::from(*attributes)),
        last_offset_delta: count - 1,
        base_timestamp: Timestamp(1000),
        producer_id: ProducerId(i64::from(form & 2) - 1),
        base_sequence: Sequence(0),
        record_count: count,
        ..BatchHeader::default()
    };
    header.crc = header.checksum(records);
    batch(Bytes::from([&header.to_bytes()[..], records].concat()), *form);
}

fn batch(bytes: Bytes, form: u8) {
    let mut scratch = Scratch::new();
    let rules = ProduceRules {
        is_compacted: form & 4 != 0,
        compression: Compression::from_code(i16::from(form >> 4)),
        ..ProduceRules::default()
    };
    let verdict = validate_produce(bytes.clone(), &rules, Timestamp(2000), &mut scratch);
    if let Ok(validated) = &verdict {
        let header = validated.header_at(Offset(5), model::LeaderEpoch(1));
        let written = Bytes::from([&header[..], &validated.body].concat());
        let written = Batch::parse(written).expect("a validated batch is one");
        written.verify_crc().expect("with its checksum");
        readable(&written, &mut scratch);
    }
    if let Ok(batch) = Batch::parse(bytes) {
        let latest = latest_record(&batch, Offset::ZERO, &mut scratch);
        let found = first_since(&batch, Timestamp(1001), Offset(1), &mut scratch);
        if let (Ok(Some(latest)), Ok(Some(found))) = (latest, found) {
            assert!(found.timestamp <= latest.timestamp);
        }
        if let Ok(records) = batch.records(RECORDS_BYTES_MAX, &mut scratch) {
            let headers = records.iter().flatten().map(|record| record.headers.iter().count());
            assert!(headers.sum::<usize>() <= records.size_bytes());
        }
    }
}

/// A batch that passed the checks is read to its end, and its header says what its records say.
fn readable(batch: &Batch, scratch: &mut Scratch) {
    let Ok(records) = batch.records(RECORDS_BYTES_MAX, scratch) else { return };
    let mut count = 0;
    let mut max_timestamp = Timestamp::NONE;
    for record in &records {
        let record = record.expect("a checked batch has readable records");
        assert_eq!(record.offset, batch.header.base_offset + count, "offsets have no gaps");
        max_timestamp = max_timestamp.max(record.timestamp);
        count += 1;
    }
    assert_eq!(count, i64::from(batch.header.record_count));
    assert_eq!(max_timestamp, batch.header.max_timestamp);
}
