//! Batches as producers send them.

use bytes::Bytes;
use model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use protocol::records::{
    Batch, BatchBuilder, BatchOptions, Compression, EndTransaction, HEADER_BYTES, RecordParts,
};
use storage::{AppendBatch, AppendOrigin};

/// A batch of `values`, as it comes out of validation.
pub(crate) fn plain_batch(values: &[&str], timestamp: i64) -> AppendBatch {
    keyed_batch(&values.iter().map(|v| (None, Some(*v))).collect::<Vec<_>>(), timestamp)
}

/// The same with keys; without a value, a tombstone. Each record is 1 ms later than the last.
pub(crate) fn keyed_batch(records: &[(Option<&str>, Option<&str>)], at: i64) -> AppendBatch {
    append_batch(build(BatchOptions::default(), records, at), AppendOrigin::Client)
}

pub(crate) fn compressed_batch(
    compression: Compression,
    records: &[(Option<&str>, Option<&str>)],
    at: i64,
) -> AppendBatch {
    let options = BatchOptions { compression, ..BatchOptions::default() };
    append_batch(build(options, records, at), AppendOrigin::Client)
}

/// A record for each of `times`, in this order.
pub(crate) fn timed_batch(compression: Compression, times: &[i64]) -> AppendBatch {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for time in times {
        let parts = RecordParts { key: None, value: Some(b"value"), headers: &[] };
        builder.append(Timestamp(*time), &parts);
    }
    append_batch(builder.finish().unwrap(), AppendOrigin::Client)
}

fn build(options: BatchOptions, records: &[(Option<&str>, Option<&str>)], at: i64) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for (index, (key, value)) in records.iter().enumerate() {
        let parts = RecordParts {
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
            headers: &[],
        };
        builder.append(Timestamp(at + index as i64), &parts);
    }
    builder.finish().unwrap()
}

pub(crate) fn append_batch(batch: Batch, origin: AppendOrigin) -> AppendBatch {
    AppendBatch { header: batch.header, body: batch.body(), origin }
}

/// A batch of bytes that stand for records, of any size.
pub(crate) fn sized_batch(bytes: usize, timestamp: i64) -> AppendBatch {
    let value = "x".repeat(bytes);
    plain_batch(&[&value], timestamp)
}

/// An idempotent producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl Producer {
    pub(crate) fn new(id: i64) -> Producer {
        Producer { id, epoch: 0 }
    }

    fn options(self, sequence: i32) -> BatchOptions {
        BatchOptions {
            producer_id: ProducerId(self.id),
            producer_epoch: ProducerEpoch(self.epoch),
            base_sequence: Sequence(sequence),
            ..BatchOptions::default()
        }
    }

    /// `count` records from `sequence` on.
    pub(crate) fn batch(self, sequence: i32, count: usize, at: i64) -> AppendBatch {
        let records = vec![(Some("k"), Some("v")); count];
        append_batch(build(self.options(sequence), &records, at), AppendOrigin::Client)
    }

    pub(crate) fn txn_batch(self, sequence: i32, count: usize, at: i64) -> AppendBatch {
        let options = BatchOptions { is_transactional: true, ..self.options(sequence) };
        let records = vec![(Some("k"), Some("v")); count];
        append_batch(build(options, &records, at), AppendOrigin::Client)
    }

    pub(crate) fn marker(self, is_commit: bool, coordinator_epoch: i32, at: i64) -> AppendBatch {
        let end = EndTransaction {
            is_commit,
            producer_id: ProducerId(self.id),
            producer_epoch: ProducerEpoch(self.epoch),
            coordinator_epoch,
        };
        let epoch = model::LeaderEpoch(0);
        append_batch(end.batch(Offset::ZERO, epoch, Timestamp(at)), AppendOrigin::Coordinator)
    }
}

/// Batch after batch out of what a read gave.
pub(crate) fn split(bytes: &Bytes) -> Vec<Batch> {
    let mut rest = bytes.clone();
    let mut batches = Vec::new();
    while let Some(batch) = Batch::split_first(&mut rest).unwrap() {
        batch.verify_crc().unwrap();
        batches.push(batch);
    }
    assert!(rest.is_empty(), "only whole batches are served");
    batches
}

/// The bytes that a log must hold for a batch that was appended at `base`.
pub(crate) fn stored(batch: &AppendBatch, base: Offset, epoch: i32) -> Vec<u8> {
    let mut header = batch.header;
    header.base_offset = base;
    header.leader_epoch = model::LeaderEpoch(epoch);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + batch.body.len());
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(&batch.body);
    bytes
}
