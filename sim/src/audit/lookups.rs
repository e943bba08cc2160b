//! Look-ups by offset and by time, which go through the indexes, against a walk over everything.

use model::{Offset, Timestamp};
use protocol::records::{Batch, BatchHeader};
use storage::{LogReader, ReadRequest};

use super::content::Content;

/// Places of a log that are looked up.
const LOOKUPS: usize = 12;

/// Where what `reader` finds is not what `content` holds.
pub(super) async fn differences(reader: &LogReader, content: &Content) -> Vec<String> {
    let mut findings = Vec::new();
    let start = reader.log_start();
    let from = content.batches.partition_point(|batch| batch.header.last_offset() < start);
    for batch in spread(&content.batches[from..]) {
        findings.extend(by_offset(reader, batch).await);
    }
    let times = content.times(start);
    for &(_, at) in spread(&times) {
        findings.extend(by_time(reader, &times, at).await);
    }
    findings.extend(latest(reader, &times).await);
    findings
}

/// Some of `all`, the first and the last among them.
fn spread<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(LOOKUPS).max(1);
    let last = all.last().filter(|_| all.len() > 1);
    all.iter().step_by(step).chain(last)
}

/// Whoever asks for the last record of a batch gets that batch first.
async fn by_offset(reader: &LogReader, batch: &Batch) -> Option<String> {
    let request = ReadRequest {
        from: batch.header.last_offset().max(reader.log_start()),
        max_bytes: 1,
        up_to: reader.log_end(),
        at_least_one: true,
        verify_crc: true,
    };
    let from = request.from;
    let found = match reader.read(request).await {
        Ok(found) => found,
        Err(error) => return Some(format!("reading from {from}: {error}")),
    };
    let first = BatchHeader::parse(&found.bytes).map(|header| header.base_offset);
    let expected = batch.header.base_offset;
    let is_found = first.as_ref().is_ok_and(|first| *first == expected);
    (!is_found).then(|| format!("offset {from} is found in {first:?}, lies in {expected}"))
}

async fn by_time(
    reader: &LogReader,
    times: &[(Offset, Timestamp)],
    at: Timestamp,
) -> Option<String> {
    let expected = times.iter().find(|(_, time)| *time >= at).map(|(offset, _)| *offset);
    match reader.offset_for_timestamp(at, reader.log_end()).await {
        Ok(found) if found.map(|found| found.offset) == expected => None,
        Ok(found) => Some(format!("time {at} is found at {found:?}, is at {expected:?}")),
        Err(error) => Some(format!("looking for time {at}: {error}")),
    }
}

async fn latest(reader: &LogReader, times: &[(Offset, Timestamp)]) -> Option<String> {
    let max = times.iter().map(|(_, time)| *time).max();
    let expected = times.iter().find(|(_, time)| Some(*time) == max).map(|(offset, _)| *offset);
    match reader.max_timestamp(reader.log_end()).await {
        Ok(found) if found.map(|found| found.offset) == expected => None,
        Ok(found) => Some(format!("the latest record is found at {found:?}, is at {expected:?}")),
        Err(error) => Some(format!("looking for the latest record: {error}")),
    }
}
