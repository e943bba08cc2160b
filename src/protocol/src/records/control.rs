//! Control batches: transaction markers and the quorum's own records (KIP-98, KIP-595).

use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::messages::EndTxnMarker;
use crate::records::{Batch, BatchBuilder, BatchError, BatchOptions, Record, RecordParts};
use crate::wire::{Decode, Encode, Reader, Writer};

/// What a control record says (`ControlRecordType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// The producer's transaction is aborted.
    Abort,
    /// The producer's transaction is committed.
    Commit,
    /// A leader of the quorum took office.
    LeaderChange,
    /// A snapshot begins.
    SnapshotHeader,
    /// A snapshot ends.
    SnapshotFooter,
    /// The version of the quorum's protocol.
    KraftVersion,
    /// The voters of the quorum.
    KraftVoters,
    /// One of a newer Kafka.
    Unknown(i16),
}

impl ControlType {
    /// The code in the record's key.
    pub fn code(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KraftVersion => 5,
            ControlType::KraftVoters => 6,
            ControlType::Unknown(code) => code,
        }
    }

    /// The type with this code.
    pub fn from_code(code: i16) -> ControlType {
        match code {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KraftVersion,
            6 => ControlType::KraftVoters,
            _ => ControlType::Unknown(code),
        }
    }
}

/// The record of a control batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// Its type.
    pub control_type: ControlType,
    /// Its value, in the layout of its type.
    pub value: Bytes,
}

/// The version in front of keys and values of control records.
const VERSION: i16 = 0;
const KEY_BYTES: usize = 4;

impl ControlRecord {
    /// Reads the record of a control batch.
    ///
    /// # Errors
    /// When its key is none.
    pub fn read(record: &Record<'_>) -> Result<ControlRecord, BatchError> {
        let wrong = |reason| BatchError::Control { reason };
        let key = record.key.ok_or_else(|| wrong("its record has no key"))?;
        // Newer versions of the key may be longer.
        let key: &[u8; KEY_BYTES] =
            key.first_chunk().ok_or_else(|| wrong("its key is too short"))?;
        let [_, _, high, low] = *key;
        Ok(ControlRecord {
            control_type: ControlType::from_code(i16::from_be_bytes([high, low])),
            value: Bytes::copy_from_slice(record.value.unwrap_or_default()),
        })
    }

    /// The epoch of the coordinator that ended a transaction, out of its marker.
    ///
    /// # Errors
    /// When the value is no marker's.
    pub fn coordinator_epoch(&self) -> Result<i32, BatchError> {
        let mut reader = Reader::new(self.value.clone());
        let wrong = |_| BatchError::Control { reason: "its value is no transaction marker" };
        // Later versions only add fields behind these.
        let _version = reader.i16().map_err(wrong)?;
        let marker = EndTxnMarker::decode(&mut reader, VERSION).map_err(wrong)?;
        Ok(marker.coordinator_epoch)
    }

    /// A control batch with one record of type `control_type`.
    pub fn batch(
        options: BatchOptions,
        now: Timestamp,
        control_type: ControlType,
        value: &[u8],
    ) -> Batch {
        let [high, low] = control_type.code().to_be_bytes();
        let [version_high, version_low] = VERSION.to_be_bytes();
        let key = [version_high, version_low, high, low];
        let mut builder = BatchBuilder::new(BatchOptions { is_control: true, ..options });
        let record = RecordParts { key: Some(&key), value: Some(value), headers: &[] };
        builder.append(now, &record);
        builder.finish().expect("an uncompressed batch needs no codec")
    }
}

/// The end of a transaction as its coordinator writes it into every partition
/// (`EndTransactionMarker`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransaction {
    /// Whether it is committed or aborted.
    pub is_commit: bool,
    /// The producer.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// Epoch of the coordinator's partition.
    pub coordinator_epoch: i32,
}

impl EndTransaction {
    /// The control batch.
    pub fn batch(&self, base_offset: Offset, leader_epoch: LeaderEpoch, now: Timestamp) -> Batch {
        let marker = EndTxnMarker { coordinator_epoch: self.coordinator_epoch };
        let mut writer = Writer::new();
        writer.i16(VERSION);
        marker.encode(&mut writer, VERSION).expect("version 0 has all fields of a marker");
        let options = BatchOptions {
            base_offset,
            leader_epoch,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            is_transactional: true,
            ..BatchOptions::default()
        };
        let control_type = if self.is_commit { ControlType::Commit } else { ControlType::Abort };
        ControlRecord::batch(options, now, control_type, &writer.into_bytes())
    }
}
