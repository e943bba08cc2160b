//! The requests and responses of a recorded run: who sent which to whom, when it left, when it
//! arrived, and which records it carries.
//!
//! Start at [`frames`].

use std::collections::BTreeMap;

use bytes::Bytes;
use history::{Content, RecordId, read_value};
use protocol::frame::{decode_request_header, decode_response_header};
use protocol::messages::{FetchResponse, ProduceRequest};
use protocol::records::{Batch, Scratch};
use protocol::{ApiKey, Decode, Records};

use crate::plan::Way;
use crate::world::film::{Scene, Shot};
use crate::world::{Nanos, NodeId};

/// No frame of the simulation takes more memory than this.
const BUDGET_BYTES: usize = 64 << 20;
const LENGTH_BYTES: usize = 4;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) connection: u64,
    pub(super) api: ApiKey,
    pub(super) way: Way,
    pub(super) correlation: i32,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    /// When its first byte was written.
    pub(super) left: Nanos,
    /// When its last byte arrived; `None` when it never did.
    pub(super) arrived: Option<Nanos>,
    /// Its records, in their order.
    pub(super) ids: Vec<RecordId>,
}

/// One direction of a connection.
struct Stream {
    from: NodeId,
    to: NodeId,
    bytes: Vec<u8>,
    /// How many bytes had been written, or had arrived, and when.
    left: Vec<(usize, Nanos)>,
    arrived: Vec<(usize, Nanos)>,
}

impl Stream {
    /// Each whole frame without its length, and when it left and arrived.
    fn cut(self) -> Vec<(Bytes, Nanos, Option<Nanos>)> {
        let Stream { bytes, left, arrived, .. } = self;
        let mut rest = Bytes::from(bytes);
        let mut begins = 0;
        let mut whole = Vec::new();
        while let Some(prefix) = rest.first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            let ends = begins + LENGTH_BYTES + length;
            if rest.len() < LENGTH_BYTES + length {
                break;
            }
            let frame = rest.split_to(LENGTH_BYTES + length).slice(LENGTH_BYTES..);
            if let Some(at) = moment(&left, begins + 1) {
                whole.push((frame, at, moment(&arrived, ends)));
            }
            begins = ends;
        }
        whole
    }
}

/// When the first `count` bytes were there.
fn moment(counts: &[(usize, Nanos)], count: usize) -> Option<Nanos> {
    let at = counts.partition_point(|(sum, _)| *sum < count);
    Some(counts.get(at)?.1)
}

/// All frames of a film, in the order in which they left.
pub(super) fn frames(film: &[Shot]) -> Vec<Frame> {
    let mut requests: BTreeMap<u64, Stream> = BTreeMap::new();
    let mut responses: BTreeMap<u64, Stream> = BTreeMap::new();
    for shot in film {
        match &shot.scene {
            Scene::Left { connection, is_from_client, from, to, bytes } => {
                let side = if *is_from_client { &mut requests } else { &mut responses };
                let stream = side.entry(*connection).or_insert_with(|| Stream {
                    from: *from,
                    to: *to,
                    bytes: Vec::new(),
                    left: Vec::new(),
                    arrived: Vec::new(),
                });
                stream.bytes.extend_from_slice(bytes);
                stream.left.push((stream.bytes.len(), shot.at));
            }
            Scene::Arrived { connection, is_from_client, count } => {
                let side = if *is_from_client { &mut requests } else { &mut responses };
                if let Some(stream) = side.get_mut(connection) {
                    let sum = stream.arrived.last().map_or(0, |(sum, _)| *sum) + count;
                    stream.arrived.push((sum, shot.at));
                }
            }
            Scene::Wrote { .. } | Scene::Synced { .. } => {}
        }
    }
    let mut found = Vec::new();
    for (connection, stream) in requests {
        let answers = responses.remove(&connection);
        read_connection(connection, stream, answers, &mut found);
    }
    found.sort_by_key(|frame| (frame.left, frame.connection, frame.correlation));
    found
}

fn read_connection(
    connection: u64,
    requests: Stream,
    responses: Option<Stream>,
    found: &mut Vec<Frame>,
) {
    let (client, server) = (requests.from, requests.to);
    let mut asked: BTreeMap<i32, (ApiKey, i16, Vec<RecordId>)> = BTreeMap::new();
    for (bytes, left, arrived) in requests.cut() {
        // What is no request is somebody's fault on purpose, and shown by its answer.
        let Ok(mut request) = decode_request_header(bytes) else { continue };
        let (api, version, correlation) =
            (request.api_key, request.api_version, request.correlation_id);
        let mut ids = Vec::new();
        if api == ApiKey::Produce
            && let Ok(produce) = ProduceRequest::decode(&mut request.body, version)
        {
            let partitions = produce.topic_data.into_iter().flat_map(|topic| topic.partition_data);
            let records = partitions.filter_map(|partition| partition.records);
            ids = records.flat_map(|records| ids_of(&records)).collect();
        }
        asked.insert(correlation, (api, version, ids.clone()));
        let (way, from, to) = (Way::Request, client, server);
        found.push(Frame { connection, api, way, correlation, from, to, left, arrived, ids });
    }
    for (bytes, left, arrived) in responses.map(Stream::cut).unwrap_or_default() {
        let Some(correlation) = bytes.first_chunk::<4>().map(|word| i32::from_be_bytes(*word))
        else {
            continue;
        };
        let Some((api, version, mut ids)) = asked.remove(&correlation) else { continue };
        if api == ApiKey::Fetch {
            ids = fetched(bytes, version);
        }
        let (way, from, to) = (Way::Response, server, client);
        found.push(Frame { connection, api, way, correlation, from, to, left, arrived, ids });
    }
}

fn fetched(bytes: Bytes, version: i16) -> Vec<RecordId> {
    let Ok((_, mut body)) = decode_response_header(bytes, ApiKey::Fetch, version, BUDGET_BYTES)
    else {
        return Vec::new();
    };
    let Ok(fetch) = FetchResponse::decode(&mut body, version) else { return Vec::new() };
    let partitions = fetch.responses.into_iter().flat_map(|topic| topic.partitions);
    let records = partitions.filter_map(|partition| partition.records);
    records.flat_map(|records| ids_of(&records)).collect()
}

/// The records of whole batches.
fn ids_of(records: &Records) -> Vec<RecordId> {
    let mut ids = Vec::new();
    for mut bytes in records.chunks().iter().cloned() {
        while let Ok(Some(batch)) = Batch::split_first(&mut bytes) {
            ids.extend(batch_ids(&batch).into_iter().map(|(id, _)| id));
        }
    }
    ids
}

/// The records of a batch with their offsets.
pub(super) fn batch_ids(batch: &Batch) -> Vec<(RecordId, i64)> {
    let mut scratch = Scratch::new();
    let Ok(records) = batch.records(BUDGET_BYTES, &mut scratch) else { return Vec::new() };
    let known = records.iter().flatten().filter_map(|record| {
        match read_value(record.value.unwrap_or_default()) {
            Content::Record(id) => Some((id, record.offset.0)),
            Content::Altered(_) | Content::Foreign => None,
        }
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_leaves_with_its_first_byte_and_arrives_with_its_last() {
        let stream = Stream {
            from: NodeId(2),
            to: NodeId(1),
            bytes: vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9, 0, 0],
            left: vec![(5, 10), (13, 20)],
            arrived: vec![(6, 30), (10, 40)],
        };
        let cut = stream.cut();
        assert_eq!(cut.len(), 2);
        assert_eq!(cut[0], (Bytes::from_static(&[7, 8]), 10, Some(30)));
        assert_eq!(cut[1], (Bytes::from_static(&[9]), 20, None), "its last byte never arrived");
    }
}
