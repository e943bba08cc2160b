//! Batches built, read, checked, searched and damaged.

use bytes::{Bytes, BytesMut};
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::ErrorCode;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn plain(timestamp: i64, key: &str, value: &str) -> Owned {
    Owned {
        timestamp,
        key: (!key.is_empty()).then(|| key.into()),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

fn append(builder: &mut BatchBuilder, delta: i32, record: &Owned) {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(key, value)| RecordHeader { key, value: value.as_deref() })
        .collect();
    let parts = RecordParts {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    let before = builder.size_bytes();
    builder.append_at(delta, Timestamp(record.timestamp), &parts);
    assert!(builder.size_bytes() - before <= BatchBuilder::record_bytes_max(&parts));
}

fn build(compression: Compression, records: &[Owned]) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (delta, record) in (0..).zip(records) {
        append(&mut builder, delta, record);
    }
    builder.finish().expect("the codec takes it")
}

fn read(batch: &Batch) -> Result<Vec<Owned>, BatchError> {
    let records = batch.records(1 << 24, &mut Scratch::new())?;
    let owned = |record: Record<'_>| Owned {
        timestamp: record.timestamp.0,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    };
    records.iter().map(|record| record.map(owned)).collect()
}

fn validate(batch: &Batch, rules: &ProduceRules) -> Result<ValidatedBatch, InvalidBatch> {
    validate_produce(batch.bytes.clone(), rules, NOW, &mut Scratch::new())
}

/// The error code with which `batch` is refused; [`ErrorCode::None`] when it is not.
fn verdict(batch: &Batch, rules: &ProduceRules) -> ErrorCode {
    validate(batch, rules).map_or_else(|refused| refused.error, |_| ErrorCode::None)
}

/// The same batch with another header, its checksum right again.
fn with_header(batch: &Batch, change: impl FnOnce(&mut BatchHeader)) -> Batch {
    let mut header = batch.header;
    change(&mut header);
    let mut bytes = BytesMut::from(&batch.bytes[..]);
    header.crc = header.checksum(&batch.body());
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    Batch { header, bytes: bytes.freeze() }
}

/// The bytes that a log writes for a validated batch.
fn written(validated: &ValidatedBatch, base_offset: i64) -> Batch {
    let mut bytes = validated.header_at(Offset(base_offset), LeaderEpoch(3)).to_vec();
    bytes.extend_from_slice(&validated.body);
    Batch::parse(Bytes::from(bytes)).expect("a validated batch is a batch")
}

fn record_strategy() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..4);
    // The second range makes equal timestamps, whose first record counts.
    let timestamp = prop_oneof![NOW.0 - 1_000_000..NOW.0 + 1_000_000, NOW.0..NOW.0 + 3];
    (timestamp, prop::option::of(bytes()), prop::option::of(bytes()), headers)
        .prop_map(|(timestamp, key, value, headers)| Owned { timestamp, key, value, headers })
}

fn compression_strategy() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

proptest! {
    #[test]
    fn records_come_back(
        compression in compression_strategy(),
        records in prop::collection::vec(record_strategy(), 1..40),
    ) {
        let batch = build(compression, &records);
        prop_assert_eq!(Batch::parse(batch.bytes.clone()).expect("a batch"), batch.clone());
        prop_assert_eq!(batch.verify_crc(), Ok(()));
        prop_assert_eq!(read(&batch).expect("readable"), records);
    }

    #[test]
    fn valid_batches_stay_as_they_are(
        compression in compression_strategy(),
        records in prop::collection::vec(record_strategy(), 1..40),
    ) {
        let batch = build(compression, &records);
        let validated = validate(&batch, &ProduceRules::default()).expect("valid");
        prop_assert!(!validated.is_rewritten);
        prop_assert_eq!(validated.body.as_ptr(), batch.bytes[HEADER_BYTES..].as_ptr(), "no copy");
        prop_assert_eq!(validated.header.crc, batch.header.crc);
        let latest = latest_record(&batch, Offset::ZERO, &mut Scratch::new()).expect("readable");
        let latest = latest.expect("has records");
        prop_assert_eq!(latest.timestamp, validated.header.max_timestamp);
        prop_assert_eq!(latest.offset.0, i64::from(validated.offset_delta_of_max_timestamp));
        prop_assert_eq!(written(&validated, 77).verify_crc(), Ok(()));
    }

    #[test]
    fn any_codec_becomes_any_other(
        from in compression_strategy(),
        to in compression_strategy(),
        records in prop::collection::vec(record_strategy(), 1..20),
    ) {
        let rules = ProduceRules { compression: Some(to), ..ProduceRules::default() };
        let validated = validate(&build(from, &records), &rules).expect("valid");
        prop_assert_eq!(validated.is_rewritten, from != to);
        let stored = written(&validated, 0);
        prop_assert_eq!(stored.verify_crc(), Ok(()));
        prop_assert_eq!(stored.header.attributes.compression(), Ok(to));
        prop_assert_eq!(read(&stored).expect("readable"), records);
    }

    #[test]
    fn search_finds_what_a_scan_finds(
        compression in compression_strategy(),
        records in prop::collection::vec(record_strategy(), 1..40),
        since in NOW.0 - 1_100_000..NOW.0 + 1_100_000,
        from in 0i64..40,
    ) {
        let batch = build(compression, &records);
        let scan = (0i64..)
            .zip(&records)
            .find(|(offset, record)| *offset >= from && record.timestamp >= since)
            .map(|(offset, record)| TimestampedOffset {
                offset: Offset(offset),
                timestamp: Timestamp(record.timestamp),
            });
        let found = first_since(&batch, Timestamp(since), Offset(from), &mut Scratch::new());
        prop_assert_eq!(found, Ok(scan));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        compression in compression_strategy(),
        records in prop::collection::vec(record_strategy(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        fix_checksum in any::<bool>(),
    ) {
        let batch = build(compression, &records);
        let mut bytes = batch.bytes.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if fix_checksum {
            let crc = crc_fast::crc32_iscsi(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let same = bytes == batch.bytes;
        let damaged = Bytes::from(bytes);
        let mut scratch = Scratch::new();
        let verdict = validate_produce(damaged.clone(), &ProduceRules::default(), NOW, &mut scratch);
        if let Ok(batch) = Batch::parse(damaged) {
            // Base offset and leader epoch are not covered.
            prop_assert!(fix_checksum || same || batch.verify_crc().is_err()
                || batch.bytes[17..] == build(compression, &records).bytes[17..]);
            let _ = read(&batch);
            let _ = first_since(&batch, NOW, Offset(0), &mut scratch);
        }
        if verdict.is_ok() && !fix_checksum {
            prop_assert!(written(&verdict.expect("is ok"), 0).verify_crc().is_ok());
        }
    }
}

#[test]
fn the_log_patches_offset_and_epoch_outside_the_checksum() {
    let batch = build(Compression::None, &[plain(NOW.0, "k", "v")]);
    let stored = written(&validate(&batch, &ProduceRules::default()).expect("valid"), 1234);
    assert_eq!(stored.header.base_offset, Offset(1234));
    assert_eq!(stored.header.leader_epoch, LeaderEpoch(3));
    assert_eq!(stored.header.crc, batch.header.crc);
    assert_eq!(stored.verify_crc(), Ok(()));
}

#[test]
fn a_request_holds_exactly_one_batch() {
    let rules = ProduceRules::default();
    let one = build(Compression::None, &[plain(NOW.0, "k", "v")]).bytes;
    let check = |bytes: Vec<u8>| {
        validate_produce(Bytes::from(bytes), &rules, NOW, &mut Scratch::new())
            .map_or_else(|refused| refused.error, |_| ErrorCode::None)
    };
    assert_eq!(check(Vec::new()), ErrorCode::InvalidRecord);
    assert_eq!(check(one[..one.len() - 1].to_vec()), ErrorCode::InvalidRecord, "only a part");
    assert_eq!(check([&one[..], &one[..]].concat()), ErrorCode::InvalidRecord);
    assert_eq!(check([&one[..], &one[..65]].concat()), ErrorCode::None, "a part behind is dropped");
    let mut old = one.to_vec();
    old[16] = 1;
    assert_eq!(check(old), ErrorCode::InvalidRecord, "magic 1");
    let mut short = one.to_vec();
    short[8..12].copy_from_slice(&20i32.to_be_bytes());
    assert_eq!(check(short), ErrorCode::CorruptMessage, "a length below the header's");
}

#[test]
fn headers_are_checked_in_kafkas_order() {
    let rules = ProduceRules::default();
    let batch = build(Compression::None, &[plain(NOW.0, "k", "v"), plain(NOW.0, "k", "v")]);
    let check = |change: &dyn Fn(&mut BatchHeader)| verdict(&with_header(&batch, change), &rules);
    assert_eq!(check(&|_| ()), ErrorCode::None);
    assert_eq!(check(&|header| header.base_offset = Offset(1)), ErrorCode::InvalidRecord);
    assert_eq!(check(&|header| header.record_count = 0), ErrorCode::InvalidRecord);
    assert_eq!(check(&|header| header.record_count = -1), ErrorCode::InvalidRecord);
    assert_eq!(check(&|header| header.record_count = 1), ErrorCode::InvalidRecord);
    assert_eq!(check(&|header| header.last_offset_delta = 2), ErrorCode::InvalidRecord);
    assert_eq!(check(&|header| header.last_offset_delta = -1), ErrorCode::InvalidRecord);
    let more = |header: &mut BatchHeader| (header.record_count, header.last_offset_delta) = (3, 2);
    assert_eq!(check(&more), ErrorCode::InvalidRecord, "a record more than there are bytes");
    let less = |header: &mut BatchHeader| (header.record_count, header.last_offset_delta) = (1, 0);
    assert_eq!(check(&less), ErrorCode::InvalidRecord, "a record less than there are bytes");
    let attributes = batch.header.attributes;
    let control = |header: &mut BatchHeader| header.attributes = attributes.with_control(true);
    assert_eq!(check(&control), ErrorCode::InvalidRecord);
    let clock = attributes.with_timestamp_type(TimestampType::LogAppendTime);
    assert_eq!(check(&|header| header.attributes = clock), ErrorCode::InvalidTimestamp);
    assert_eq!(check(&|header| header.attributes.0 |= 7), ErrorCode::UnsupportedCompressionType);
    assert_eq!(check(&|header| header.producer_id = ProducerId(5)), ErrorCode::InvalidRecord);
    let idempotent = |header: &mut BatchHeader| {
        header.producer_id = ProducerId(5);
        header.producer_epoch = ProducerEpoch(0);
        header.base_sequence = Sequence(0);
    };
    assert_eq!(check(&idempotent), ErrorCode::None);

    // Size before checksum, checksum before everything inside it.
    let mut bytes = BytesMut::from(&batch.bytes[..]);
    bytes[20] ^= 1;
    let damaged = Batch { header: batch.header, bytes: bytes.freeze() };
    let small = ProduceRules { max_message_bytes: batch.bytes.len() - 1, ..rules };
    assert_eq!(verdict(&damaged, &small), ErrorCode::MessageTooLarge);
    assert_eq!(verdict(&damaged, &rules), ErrorCode::CorruptMessage);
    let segment = ProduceRules { segment_bytes: batch.bytes.len() - 1, ..rules };
    assert_eq!(verdict(&batch, &segment), ErrorCode::RecordListTooLarge);
}

#[test]
fn zstd_needs_a_new_request() {
    let batch = build(Compression::Zstd, &[plain(NOW.0, "k", "v")]);
    let old = ProduceRules { produce_version: 6, ..ProduceRules::default() };
    assert_eq!(verdict(&batch, &old), ErrorCode::UnsupportedCompressionType);
    assert_eq!(verdict(&batch, &ProduceRules { produce_version: 7, ..old }), ErrorCode::None);
}

#[test]
fn compacted_topics_need_keys() {
    for compression in Compression::ALL {
        let records = [
            plain(NOW.0, "k", "v"),
            plain(NOW.0, "", "v"),
            plain(NOW.0, "k", "v"),
            plain(NOW.0, "", ""),
        ];
        let rules = ProduceRules { is_compacted: true, ..ProduceRules::default() };
        let refused = validate(&build(compression, &records), &rules).expect_err("no key");
        assert_eq!(refused.error, ErrorCode::InvalidRecord);
        let places: Vec<_> = refused.record_errors.iter().map(|error| error.index).collect();
        assert_eq!(places, [1, 3]);
        assert_eq!(verdict(&build(compression, &records[..1]), &rules), ErrorCode::None);
    }
}

#[test]
fn record_errors_are_bounded() {
    let records = vec![plain(NOW.0, "", "v"); 1000];
    let rules = ProduceRules { is_compacted: true, ..ProduceRules::default() };
    let refused = validate(&build(Compression::None, &records), &rules).expect_err("no keys");
    assert_eq!(refused.record_errors.len(), 100);
    assert!(refused.message.starts_with("1000 records"), "{}", refused.message);
}

#[test]
fn timestamps_lie_within_the_limits() {
    let rules = ProduceRules {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..ProduceRules::default()
    };
    let check = |timestamp: i64, rules: &ProduceRules| {
        verdict(&build(Compression::None, &[plain(timestamp, "k", "v")]), rules)
    };
    assert_eq!(check(NOW.0 - 1000, &rules), ErrorCode::None);
    assert_eq!(check(NOW.0 - 1001, &rules), ErrorCode::InvalidTimestamp);
    assert_eq!(check(NOW.0 + 500, &rules), ErrorCode::None);
    assert_eq!(check(NOW.0 + 501, &rules), ErrorCode::InvalidTimestamp);
    assert_eq!(check(-1, &rules), ErrorCode::None, "no timestamp");
    assert_eq!(check(i64::MIN, &rules), ErrorCode::InvalidTimestamp);
    assert_eq!(check(i64::MAX, &rules), ErrorCode::InvalidTimestamp);
    let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules };
    assert_eq!(check(0, &append_time), ErrorCode::None);
}

#[test]
fn a_lie_about_the_largest_timestamp_is_put_right() {
    let batch = build(Compression::Gzip, &[plain(NOW.0, "k", "v"), plain(NOW.0 + 7, "k", "v")]);
    let liar = with_header(&batch, |header| header.max_timestamp = Timestamp(5));
    let validated = validate(&liar, &ProduceRules::default()).expect("valid");
    assert_eq!(validated.header.max_timestamp, Timestamp(NOW.0 + 7));
    assert_eq!(validated.offset_delta_of_max_timestamp, 1);
    assert!(!validated.is_rewritten);
    assert_eq!(written(&validated, 0).verify_crc(), Ok(()));
}

#[test]
fn append_time_changes_header_and_checksum_only() {
    let rules =
        ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..ProduceRules::default() };
    let batch = build(Compression::Lz4, &[plain(1, "a", "x"), plain(2, "b", "y")]);
    let validated = validate(&batch, &rules).expect("valid");
    assert_eq!(validated.body.as_ptr(), batch.bytes[HEADER_BYTES..].as_ptr());
    let stored = written(&validated, 10);
    assert_eq!(stored.verify_crc(), Ok(()));
    let timestamps: Vec<_> =
        read(&stored).expect("readable").iter().map(|record| record.timestamp).collect();
    assert_eq!(timestamps, [NOW.0, NOW.0]);
    let found = first_since(&stored, Timestamp(3), Offset(0), &mut Scratch::new());
    let first = TimestampedOffset { offset: Offset(10), timestamp: NOW };
    assert_eq!(found, Ok(Some(first)));
}

#[test]
fn wrong_offsets_are_numbered_anew() {
    for compression in Compression::ALL {
        let options = BatchOptions {
            compression,
            producer_id: ProducerId(9),
            producer_epoch: ProducerEpoch(1),
            base_sequence: Sequence(40),
            is_transactional: true,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        append(&mut builder, 0, &plain(NOW.0, "a", "x"));
        append(&mut builder, 5, &plain(NOW.0 + 1, "b", "y"));
        let batch = builder.finish_at(1).expect("the codec takes it");
        let validated = validate(&batch, &ProduceRules::default()).expect("valid");
        assert!(validated.is_rewritten);
        let stored = written(&validated, 100);
        assert_eq!(stored.verify_crc(), Ok(()));
        assert_eq!(stored.header.producer_id, ProducerId(9));
        assert_eq!(stored.header.base_sequence, Sequence(40));
        assert!(stored.header.attributes.is_transactional());
        let records = stored.records(1 << 20, &mut Scratch::new()).expect("readable");
        let offsets: Vec<_> =
            records.iter().map(|record| record.expect("a record").offset).collect();
        assert_eq!(offsets, [Offset(100), Offset(101)]);
    }
}

#[test]
fn records_larger_than_the_window_are_walked() {
    let large = "x".repeat(300_000);
    for compression in Compression::ALL {
        let records =
            [plain(NOW.0, "a", "1"), plain(NOW.0, &large, &large), plain(NOW.0, "b", "2")];
        let batch = build(compression, &records);
        assert_eq!(verdict(&batch, &ProduceRules::default()), ErrorCode::None);
        assert_eq!(read(&batch).expect("readable"), records);
    }
}

#[test]
fn decompression_is_bounded() {
    let zeros = [plain(NOW.0, "k", &"0".repeat(3_000_000))];
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let batch = build(compression, &zeros);
        assert!(batch.bytes.len() < 20_000);
        let limit = 1_000_000;
        let refused = batch.records(limit, &mut Scratch::new()).expect_err("too large");
        assert_eq!(refused, BatchError::TooLarge { limit });
        // A topic that stores its batches uncompressed can not take it either.
        let rules =
            ProduceRules { compression: Some(Compression::None), ..ProduceRules::default() };
        assert_eq!(verdict(&batch, &rules), ErrorCode::MessageTooLarge);
    }
}

#[test]
fn a_bare_snappy_block_is_read() {
    let batch = build(Compression::None, &[plain(NOW.0, "k", "v")]);
    let block = snap::raw::Encoder::new().compress_vec(&batch.body()).expect("small");
    let mut header = batch.header;
    header.attributes = header.attributes.with_compression(Compression::Snappy);
    let bytes = [&header.to_bytes()[..], &block].concat();
    let bare = build::seal(header, bytes);
    assert_eq!(verdict(&bare, &ProduceRules::default()), ErrorCode::None);
    assert_eq!(read(&bare).expect("readable"), [plain(NOW.0, "k", "v")]);
}

#[test]
fn what_compaction_leaves_keeps_its_ends() {
    let options = BatchOptions {
        base_offset: Offset(10),
        delete_horizon: Some(Timestamp(999)),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    append(&mut builder, 3, &plain(NOW.0, "k", "v"));
    let batch = builder.finish_at(9).expect("no codec");
    assert_eq!(batch.header.last_offset(), Offset(19));
    assert_eq!(batch.header.record_count, 1);
    assert_eq!(batch.header.delete_horizon(), Some(Timestamp(999)));
    assert_eq!(
        BatchOptions::like(&batch.header),
        Ok(BatchOptions { log_append_time: NOW, ..options })
    );
    let records = batch.records(1 << 20, &mut Scratch::new()).expect("readable");
    let record = records.iter().next().expect("one record").expect("readable");
    assert_eq!((record.offset, record.timestamp), (Offset(13), NOW));

    let empty = BatchBuilder::new(options).finish_at(9).expect("no codec");
    assert_eq!(empty.header.record_count, 0);
    assert_eq!(empty.header.next_offset(), Offset(20));
    assert_eq!(read(&empty), Ok(Vec::new()));
    assert_eq!(latest_record(&empty, Offset::ZERO, &mut Scratch::new()), Ok(None));
}

#[test]
fn transaction_markers_have_kafkas_bytes() {
    let end = EndTransaction {
        is_commit: true,
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(2),
        coordinator_epoch: 5,
    };
    let batch = end.batch(Offset(100), LeaderEpoch(1), NOW);
    assert!(batch.header.attributes.is_control());
    assert!(batch.header.attributes.is_transactional());
    assert_eq!(batch.header.base_sequence, Sequence::NONE);
    let records = batch.records(1 << 20, &mut Scratch::new()).expect("readable");
    let record = records.iter().next().expect("one record").expect("readable");
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]));
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 5][..]));
    let control = ControlRecord::read(&record).expect("a control record");
    assert_eq!(control.control_type, ControlType::Commit);
    assert_eq!(control.coordinator_epoch(), Ok(5));
    let trusted = ValidatedBatch::trusted(&batch, &mut Scratch::new()).expect("our own");
    assert_eq!(trusted.header.max_timestamp, NOW);
}

/// The largest count once met the sentinel that ended the iteration, which then went on for ever.
#[test]
fn an_iteration_ends_at_its_first_error_whatever_the_count() {
    for count in [2, i32::MAX - 1, i32::MAX] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let parts = RecordParts { key: None, value: Some(b"v"), headers: &[] };
        builder.append(Timestamp(1), &parts);
        let mut bytes = builder.finish().unwrap().bytes.to_vec();
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        // Something that is no record lies where the second one should be.
        bytes.extend([1; 4]);
        let batch_length = (bytes.len() - LOG_OVERHEAD_BYTES) as i32;
        bytes[8..12].copy_from_slice(&batch_length.to_be_bytes());
        let batch = Batch::parse(Bytes::from(bytes)).unwrap();
        let records = batch.records(1 << 20, &mut Scratch::new()).unwrap();
        let outcomes: Vec<bool> = records.iter().take(10).map(|record| record.is_ok()).collect();
        assert_eq!(outcomes, [true, false], "count {count}");
    }
}
