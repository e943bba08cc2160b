//! Batches with one thing wrong, and what a broker has to say of each.

use history::{Partition, Promise};
use protocol::ErrorCode;
use protocol::records::{BatchHeader, Compression, CompressionLevel, HEADER_BYTES, compress};

use super::wire::Wire;
use super::{Act, Lot, Order, PRODUCE_VERSIONS, Settled};

/// Where the fields of a batch lie.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CHECKSUM_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_DELTA_AT: usize = 23;
const PRODUCER_ID_AT: usize = 43;
const COUNT_AT: usize = 57;

/// Size of what a small batch claims to be once decompressed.
const BOMB_BYTES: usize = 1 << 20;

/// One thing that is wrong with a batch.
struct Flaw {
    name: &'static str,
    spoil: fn(&mut Vec<u8>),
    /// Whether the checksum is made right again: then it does not tell.
    is_sealed: bool,
    fits: &'static [ErrorCode],
}

const fn sealed(name: &'static str, fits: &'static [ErrorCode], spoil: fn(&mut Vec<u8>)) -> Flaw {
    Flaw { name, spoil, is_sealed: true, fits }
}

const fn raw(name: &'static str, fits: &'static [ErrorCode], spoil: fn(&mut Vec<u8>)) -> Flaw {
    Flaw { name, spoil, is_sealed: false, fits }
}

const CORRUPT: &[ErrorCode] = &[ErrorCode::CorruptMessage];
const INVALID: &[ErrorCode] = &[ErrorCode::InvalidRecord];
/// Kafka has no word of its own for a codec that refuses its bytes.
const UNREADABLE: &[ErrorCode] =
    &[ErrorCode::InvalidRecord, ErrorCode::CorruptMessage, ErrorCode::UnsupportedCompressionType];

/// The table: batches of two records and more. `analyzeAndValidateRecords` is of `UnifiedLog`,
/// `validateBatch` and `validateRecord` of `LogValidator`, `validateRecords` of `ProduceRequest`.
const FLAWS: &[Flaw] = &[
    // analyzeAndValidateRecords: ensureValid.
    raw("a wrong checksum", CORRUPT, |batch| batch[CHECKSUM_AT] ^= 1),
    raw("a changed byte", CORRUPT, |batch| *last(batch) ^= 1),
    raw("a negative length", CORRUPT, |batch| put(batch, LENGTH_AT, &(-1_i32).to_be_bytes())),
    raw("a length below a header's", CORRUPT, |batch| put(batch, LENGTH_AT, &10_i32.to_be_bytes())),
    // Less than a batch at the end of the request is dropped; then there is none.
    raw("a length beyond the request", INVALID, |batch| add(batch, LENGTH_AT, 100)),
    raw("no bytes", INVALID, Vec::clear),
    // validateRecords.
    raw("magic 0", INVALID, |batch| batch[MAGIC_AT] = 0),
    raw("magic 1", INVALID, |batch| batch[MAGIC_AT] = 1),
    raw("magic 3", INVALID, |batch| batch[MAGIC_AT] = 3),
    raw("another batch behind it", INVALID, |batch| batch.extend_from_within(..)),
    // analyzeAndValidateRecords: the base offset is 0.
    raw("base offset 7", INVALID, |batch| batch[7] = 7),
    // validateBatch.
    sealed("a count above its last offset", INVALID, |batch| add(batch, COUNT_AT, 1)),
    sealed("a wrong last offset", INVALID, |batch| add(batch, LAST_DELTA_AT, 5)),
    sealed("a negative last offset", INVALID, |batch| {
        put(batch, LAST_DELTA_AT, &(-1_i32).to_be_bytes());
    }),
    sealed("no records, it says", INVALID, |batch| {
        put(batch, COUNT_AT, &0_i32.to_be_bytes());
        put(batch, LAST_DELTA_AT, &(-1_i32).to_be_bytes());
    }),
    sealed("a control batch", INVALID, |batch| batch[ATTRIBUTES_AT + 1] |= 0x20),
    sealed("a producer id without a sequence", INVALID, |batch| {
        put(batch, PRODUCER_ID_AT, &1_000_000_i64.to_be_bytes());
    }),
    // validateRecord and the iteration over the records.
    sealed("fewer records than it says", INVALID, |batch| grow(batch, 1)),
    sealed("more records than it says", INVALID, |batch| grow(batch, -1)),
    sealed("2^31-1 records, it says", INVALID, |batch| {
        put(batch, COUNT_AT, &i32::MAX.to_be_bytes());
        put(batch, LAST_DELTA_AT, &(i32::MAX - 1).to_be_bytes());
    }),
    // -1 as a varint.
    sealed("a record of negative length", INVALID, |batch| batch[HEADER_BYTES] = 1),
    sealed("a record that ends too late", INVALID, |batch| batch[HEADER_BYTES] ^= 0x7e),
    sealed("gzip that is none", UNREADABLE, |batch| batch[ATTRIBUTES_AT + 1] |= 1),
    sealed("snappy that is none", UNREADABLE, |batch| batch[ATTRIBUTES_AT + 1] |= 2),
    sealed("lz4 that is none", UNREADABLE, |batch| batch[ATTRIBUTES_AT + 1] |= 3),
    sealed("zstd that is none", UNREADABLE, |batch| batch[ATTRIBUTES_AT + 1] |= 4),
    sealed("a codec that does not exist", UNREADABLE, |batch| batch[ATTRIBUTES_AT + 1] |= 7),
    sealed("a bomb", UNREADABLE, bomb),
];

impl Act {
    pub(super) async fn odd_batch(&mut self) {
        match self.seat.dice.range(0, 12) {
            0 => self.too_large_batch().await,
            1 => self.batch_without_keys().await,
            2 => self.batch_with_odd_acks().await,
            3 => self.sound_batch(None).await,
            _ => self.flawed_batch().await,
        }
    }

    async fn flawed_batch(&mut self) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let flaw = self.seat.dice.pick(FLAWS);
        let mut lot = self.ordinary_lot(&partition);
        (flaw.spoil)(&mut lot.bytes);
        if flaw.is_sealed {
            seal(&mut lot.bytes);
        }
        self.begin(format!("Produce to {partition} with {}", flaw.name));
        self.produce_refused(&lot, -1, flaw.fits).await;
    }

    /// `analyzeAndValidateRecords`: not above the topic's `max.message.bytes`.
    async fn too_large_batch(&mut self) {
        let limit = |act: &Act, partition: &Partition| -> Option<u32> {
            let topic = &act.seat.work.scenario.topics[&*partition.topic];
            topic.config.get("max.message.bytes")?.parse().ok()
        };
        let small = |act: &Act, at: &Partition| limit(act, at).is_some_and(|limit| limit < 100_000);
        let Some(partition) = self.partition(small) else { return };
        let records = limit(self, &partition).unwrap_or_default() / 40 + 2;
        let sender = self.sender(Promise::AtMostOnce);
        let lot = self.lot(&partition, &Order { count: records, ..Order::of(sender) });
        self.begin(format!("Produce to {partition} of {} bytes", lot.bytes.len()));
        self.produce_refused(&lot, -1, &[ErrorCode::MessageTooLarge]).await;
    }

    /// `validateRecord`: a compacted topic takes no record without a key.
    async fn batch_without_keys(&mut self) {
        let compacted = |act: &Act, at: &Partition| act.rules(at).is_compacted;
        let Some(partition) = self.partition(compacted) else { return };
        let sender = self.sender(Promise::AtMostOnce);
        let lot = self.lot(&partition, &Order { count: 2, is_keyed: false, ..Order::of(sender) });
        self.begin(format!("Produce to {partition} without keys"));
        self.produce_refused(&lot, -1, INVALID).await;
    }

    /// `KafkaApis.handleProduceRequest`: acks are -1, 0 or 1.
    async fn batch_with_odd_acks(&mut self) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let lot = self.ordinary_lot(&partition);
        let acks = *self.seat.dice.pick(&[-2, 2, i16::MAX, i16::MIN]);
        self.begin(format!("Produce to {partition} with acks={acks}"));
        self.produce_refused(&lot, acks, &[ErrorCode::InvalidRequiredAcks]).await;
    }

    /// Nothing is wrong with it but that no Kafka client made it.
    pub(super) async fn sound_batch(&mut self, version: Option<i16>) {
        let Some(partition) = self.partition(|_, _| true) else { return };
        let lot = self.ordinary_lot(&partition);
        let version = version.unwrap_or_else(|| self.produce_version());
        self.begin(format!("Produce {version} to {partition}"));
        let settled = self.produce(&lot, -1, version).await;
        if let Settled::Refused(code) = settled {
            self.unfit(code.to_string());
        }
        self.settle(&lot, &settled);
    }

    fn ordinary_lot(&mut self, partition: &Partition) -> Lot {
        let sender = self.sender(Promise::AtMostOnce);
        let count = self.seat.dice.range(2, 6) as u32;
        self.lot(partition, &Order { count, ..Order::of(sender) })
    }

    fn produce_version(&mut self) -> i16 {
        let (low, high) = PRODUCE_VERSIONS;
        self.seat.dice.range(low as u64, high as u64 + 1) as i16
    }

    /// Sends a lot that has to be refused with one of `fits`.
    pub(super) async fn produce_refused(&mut self, lot: &Lot, acks: i16, fits: &[ErrorCode]) {
        let version = self.produce_version();
        let settled = self.produce(lot, acks, version).await;
        match &settled {
            Settled::Refused(code) if fits.contains(code) => {}
            Settled::Refused(code) => self.unfit(code.to_string()),
            Settled::Stored(offset) => self.unfit(format!("with offset {offset}")),
            Settled::Unknown(_) => {}
        }
        self.settle(lot, &settled);
    }

    /// Sends `lot` once, on a connection of its own.
    async fn produce(&mut self, lot: &Lot, acks: i16, version: i16) -> Settled {
        let Some(mut wire) = Wire::connect(&mut self.seat).await else {
            return Settled::Unknown("no connection".to_owned());
        };
        let response = wire.call(&lot.request(acks), version).await;
        self.settled(response.as_ref())
    }
}

/// The header's count and last offset changed together, so that they fit each other.
fn grow(batch: &mut [u8], by: i32) {
    add(batch, COUNT_AT, by);
    add(batch, LAST_DELTA_AT, by);
}

/// The records become a few bytes that decompress to many zeros, which are records of length 0.
fn bomb(batch: &mut Vec<u8>) {
    batch.truncate(HEADER_BYTES);
    let zeros = vec![0; BOMB_BYTES];
    compress(Compression::Zstd, CompressionLevel::default(), &zeros, batch)
        .expect("the codec has its default level");
    batch[ATTRIBUTES_AT + 1] |= Compression::Zstd.code() as u8;
    let length = (batch.len() - LENGTH_AT - 4) as i32;
    put(batch, LENGTH_AT, &length.to_be_bytes());
}

fn seal(batch: &mut [u8]) {
    let header = BatchHeader::parse(batch).expect("no field before the checksum was touched");
    let crc = header.checksum(&batch[HEADER_BYTES..]);
    put(batch, CHECKSUM_AT, &crc.to_be_bytes());
}

fn last(batch: &mut [u8]) -> &mut u8 {
    batch.last_mut().expect("a batch has bytes")
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}

fn add(batch: &mut [u8], at: usize, by: i32) {
    let field = batch[at..].first_chunk().expect("every field lies within the batch");
    put(batch, at, &(i32::from_be_bytes(*field) + by).to_be_bytes());
}
