//! Records into the batch that goes over the wire.

use std::sync::Arc;

use protocol::records::{
    BatchBuilder, BatchOptions, Compression, CompressionLevel, RecordHeader, RecordParts,
};
use protocol::{ApiKey, Records};

use super::batch::{BatchRecord, Numbering};
use crate::error::RequestError;

/// One batch of `records`, numbered and compressed.
pub(super) fn encode_batch(
    records: &[BatchRecord],
    numbering: Option<Numbering>,
    compression: Compression,
    level: CompressionLevel,
) -> Result<Records, RequestError> {
    let mut options = BatchOptions { compression, level, ..BatchOptions::default() };
    if let Some(Numbering { identity, base_sequence }) = numbering {
        options.producer_id = identity.producer_id;
        options.producer_epoch = identity.epoch;
        options.base_sequence = base_sequence;
    }
    let size_bytes = records.iter().map(BatchRecord::size_bytes_max).sum();
    let mut builder = BatchBuilder::with_capacity(options, size_bytes);
    let mut headers = Vec::new();
    for record in records {
        headers.clear();
        headers.extend(record.headers.iter().map(|header| RecordHeader {
            key: header.key.as_str().as_bytes(),
            value: header.value.as_deref(),
        }));
        let parts = RecordParts {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        builder.append(record.timestamp, &parts);
    }
    let batch = builder.finish().map_err(|source| RequestError::Compress {
        api: ApiKey::Produce,
        source: Arc::new(source),
    })?;
    Ok(Records::from(batch.bytes))
}
