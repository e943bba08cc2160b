//! No input of n bytes makes a decoder hold more than 4 n + 1 MiB, and the hot paths do not allocate
//! per record. `allocation-counter` replaces this binary's allocator and counts per thread.

mod schema;

use allocation_counter::{AllocationInfo, measure};
use bytes::{Bytes, BytesMut};
use model::Timestamp;
use protocol::frame::{FrameDecoder, decode_request_header, encode_response};
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{FetchResponse, ProduceRequest};
use protocol::records::{
    Batch, BatchBuilder, BatchOptions, Compression, ProduceRules, RecordParts, Scratch,
    validate_produce,
};
use protocol::{ApiKey, Decode, Message, Reader, Records};
use schema::{Random, Schemas, write_uvarint};

const BASE_BYTES: u64 = 1 << 20;

fn assert_bounded(info: &AllocationInfo, input_bytes: usize, what: &str) {
    let limit = 4 * input_bytes as u64 + BASE_BYTES;
    assert!(
        info.bytes_max <= limit,
        "{what}: {} bytes for {input_bytes}, limit {limit}",
        info.bytes_max
    );
}

/// Decodes `bytes` as the message `name`; what it held at most.
fn decode(name: &str, version: i16, bytes: &Bytes) -> AllocationInfo {
    macro_rules! find {
        ($($message:path),* $(,)?) => {
            $(if name == <$message as Message>::NAME {
                return measure(|| {
                    // Kept until the end, so that what a decoded message holds is counted.
                    let result = <$message>::decode(&mut Reader::new(bytes.clone()), version);
                    std::hint::black_box(result).ok();
                });
            })*
        };
    }
    protocol::for_each_message!(find);
    panic!("{name} is unknown")
}

/// A valid message, cut at a random place, with a count there and then nothing but small bytes: as
/// many of the smallest elements as fit.
fn hostile(valid: &[u8], random: &mut Random) -> Bytes {
    let mut bytes = valid[..random.below(valid.len() + 1)].to_vec();
    let count = 1 + random.below(300_000);
    if random.one_in(2) {
        bytes.extend((count as i32).to_be_bytes());
    } else {
        write_uvarint(count as u64, &mut bytes);
    }
    let filler = [0u8, 1, 2][random.below(3)];
    bytes.resize(bytes.len() + random.below(300_000), filler);
    Bytes::from(bytes)
}

#[test]
fn no_message_takes_more_than_its_budget() {
    let schemas = Schemas::load();
    let mut closest = 0;
    for schema in schemas.iter() {
        for version in schema.versions() {
            for seed in 0..12 {
                let mut random = Random(seed << 32 | version as u64);
                let valid = schema.random_bytes(version, &mut random, true);
                let bytes = hostile(&valid, &mut random);
                let info = decode(&schema.name, version, &bytes);
                assert_bounded(&info, bytes.len(), &schema.name);
                closest = closest.max(info.bytes_max * 100 / (4 * bytes.len() as u64 + BASE_BYTES));
            }
        }
    }
    assert!(closest > 90, "no input came near the limit: {closest} % at most");
}

#[test]
fn a_lie_about_a_count_costs_nothing() {
    // The body on which a careless decoder reserves memory for 2^32 topics.
    let mut body = vec![0, 1];
    body.extend([0, 0, 0x75, 0x30]);
    write_uvarint(u64::from(u32::MAX), &mut body);
    let mut with_null_id = vec![0];
    with_null_id.extend(body);
    let info = decode("ProduceRequest", 9, &Bytes::from(with_null_id));
    assert!(info.bytes_max < 1000, "{info:?}");
}

#[test]
fn a_storm_of_unknown_tags_is_bounded() {
    let mut bytes = vec![0u8; 4];
    write_uvarint(100_000, &mut bytes);
    for tag in 0..100_000 {
        write_uvarint(tag + 10, &mut bytes);
        bytes.push(0);
    }
    let bytes = Bytes::from(bytes);
    let info = decode("ResponseHeader", 1, &bytes);
    assert_bounded(&info, bytes.len(), "tags");
}

#[test]
fn frames_take_memory_as_their_bytes_come() {
    for announced in [1_000usize, 1_000_000, 90_000_000] {
        for arrived in [4usize, 5, 1000, 20_000, 600_000] {
            let info = measure(|| {
                let mut decoder = FrameDecoder::new(100_000_000);
                let mut stream = vec![0u8; arrived];
                stream[..4].copy_from_slice(&(announced as i32).to_be_bytes());
                for piece in stream.chunks(1400) {
                    decoder.buffer().extend_from_slice(piece);
                    while let Ok(Some(frame)) = decoder.next_frame() {
                        drop(frame);
                    }
                }
                std::hint::black_box(&decoder);
            });
            // The stream itself is counted too.
            assert_bounded(&info, arrived * 2, &format!("{arrived} of {announced}"));
        }
    }
}

fn batch(compression: Compression, count: usize, value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for _ in 0..count {
        let record = RecordParts { key: Some(b"key"), value: Some(value), headers: &[] };
        builder.append(Timestamp(1_700_000_000_000), &record);
    }
    builder.finish().expect("the codec takes it")
}

fn validate(batch: &Batch, scratch: &mut Scratch) -> AllocationInfo {
    let rules = ProduceRules { max_message_bytes: 1 << 30, ..ProduceRules::default() };
    measure(|| {
        let bytes = batch.bytes.clone();
        let now = Timestamp(1_700_000_000_000);
        validate_produce(bytes, &rules, now, scratch).expect("valid");
    })
}

#[test]
fn checking_an_uncompressed_batch_allocates_nothing() {
    let mut scratch = Scratch::new();
    for count in [1, 100, 10_000] {
        let batch = batch(Compression::None, count, b"value");
        drop(batch.bytes.clone());
        assert_eq!(validate(&batch, &mut scratch).count_total, 0, "{count} records");
    }
}

#[test]
fn checking_a_compressed_batch_takes_the_same_for_any_count() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let mut scratch = Scratch::new();
        let small = batch(compression, 1000, b"value");
        let large = batch(compression, 100_000, b"value");
        // The first one allocates the window.
        validate(&small, &mut scratch);
        let (few, many) = (validate(&small, &mut scratch), validate(&large, &mut scratch));
        assert!(many.count_total <= few.count_total + 4, "{compression}: {few:?} {many:?}");
        assert!(many.bytes_max <= 512 * 1024, "{compression}: {many:?}");
    }
}

#[test]
fn a_produce_request_costs_an_allocation_per_array() {
    let records = batch(Compression::None, 100, &[7; 500]).bytes;
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0]);
    frame.extend_from_slice(&[0, 0xff, 0xff, 0, 0, 0x75, 0x30, 2, 2, b't', 2, 0, 0, 0, 5]);
    let mut length = Vec::new();
    write_uvarint(records.len() as u64 + 1, &mut length);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&records);
    frame.extend_from_slice(&[0, 0, 0]);
    let frame = frame.freeze();
    drop(frame.clone());
    let mut decoded = None;
    let info = measure(|| {
        let mut request = decode_request_header(frame.clone()).expect("a header");
        decoded = Some(ProduceRequest::decode(&mut request.body, 9).expect("a request"));
    });
    assert!(info.count_total <= 2, "{info:?}");
    let data = decoded.expect("decoded").topic_data.remove(0).partition_data.remove(0);
    let data = data.records.expect("has records").to_bytes();
    assert!(frame.as_ptr_range().contains(&data.as_ptr()), "record data was copied");
}

#[test]
fn a_fetch_response_carries_record_data_without_a_copy() {
    let records = batch(Compression::None, 100, &[7; 500]).bytes;
    let partition = |index| PartitionData {
        partition_index: index,
        records: Some(Records::from(vec![records.clone(), records.clone()])),
        ..PartitionData::default()
    };
    let response = FetchResponse {
        responses: vec![FetchableTopicResponse {
            partitions: (0..3).map(partition).collect(),
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    };
    let mut chunks = Vec::new();
    let info = measure(|| {
        chunks = encode_response(&response, ApiKey::Fetch, 17, 1).expect("encodes");
    });
    assert!(info.bytes_max < 2000, "{info:?}");
    let shared = chunks.iter().filter(|chunk| chunk.as_ptr() == records.as_ptr()).count();
    assert_eq!(shared, 6);
    let small = FetchResponse::default();
    let info = measure(|| {
        encode_response(&small, ApiKey::Fetch, 17, 1).expect("encodes");
    });
    // The buffer, its reference count, the list.
    assert!(info.count_total <= 3, "{info:?}");
}
