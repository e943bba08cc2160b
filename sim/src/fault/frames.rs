//! Which frame of Kafka's protocol ends in a segment, so that a fault can wait for it.
//!
//! Reads only what it must: lengths, the API key and correlation id of requests.

use std::collections::BTreeMap;

use model::FastMap;
use protocol::ApiKey;

use crate::net::{SegmentEvent, Side};
use crate::plan::Way;

/// Frames that are waited for.
#[derive(Default)]
pub(super) struct Frames {
    watches: Vec<Watch>,
    streams: FastMap<(u64, Side), Stream>,
    /// APIs of the requests that were not answered, by connection and correlation id.
    asked: FastMap<u64, BTreeMap<i32, i16>>,
}

struct Watch {
    api: i16,
    way: Way,
    left: u32,
    fault: usize,
}

/// A direction of a connection, cut into frames.
#[derive(Default)]
struct Stream {
    /// The first bytes of the present frame: length, then key, version and correlation id of a
    /// request, or the correlation id of a response.
    head: Vec<u8>,
    /// Bytes of the frame that are still to come, once its length is known.
    left: Option<usize>,
}

const HEAD_BYTES: usize = 12;

impl Frames {
    /// Waits for a frame; an API that nobody knows is never seen.
    pub(super) fn watch(&mut self, api: &str, way: Way, nth: u32, fault: usize) {
        let known = ApiKey::ALL.iter().find(|key| format!("{key:?}") == api);
        if let Some(key) = known {
            self.watches.push(Watch { api: key.code(), way, left: nth.max(1), fault });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// The faults whose frame ends in this segment.
    pub(super) fn on_segment(&mut self, segment: &SegmentEvent<'_>) -> Vec<usize> {
        let mut struck = Vec::new();
        if self.watches.is_empty() {
            return struck;
        }
        let heads = {
            let stream = self.streams.entry((segment.connection, segment.sender)).or_default();
            stream.take(segment.bytes)
        };
        for head in heads {
            let Some((api, way)) = self.read(segment, &head) else { continue };
            self.watches.retain_mut(|watch| {
                if watch.api != api || watch.way != way {
                    return true;
                }
                watch.left -= 1;
                if watch.left == 0 {
                    struck.push(watch.fault);
                }
                watch.left > 0
            });
        }
        struck
    }

    fn read(&mut self, segment: &SegmentEvent<'_>, head: &[u8]) -> Option<(i16, Way)> {
        let asked = self.asked.entry(segment.connection).or_default();
        let word = |at: usize| Some(i32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        match segment.sender {
            Side::Client => {
                let api = i16::from_be_bytes(head.get(4..6)?.try_into().ok()?);
                asked.insert(word(8)?, api);
                Some((api, Way::Request))
            }
            Side::Server => Some((asked.remove(&word(4)?)?, Way::Response)),
        }
    }
}

impl Stream {
    /// Takes bytes in; returns the heads of the frames that are complete with them.
    fn take(&mut self, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        while !bytes.is_empty() {
            if self.left.is_none() {
                let missing = 4 - self.head.len();
                let (length, rest) = bytes.split_at(missing.min(bytes.len()));
                self.head.extend_from_slice(length);
                bytes = rest;
                if let Ok(length) = <[u8; 4]>::try_from(self.head.as_slice()) {
                    self.left = Some(u32::from_be_bytes(length) as usize);
                }
            }
            let Some(left) = &mut self.left else { return complete };
            let (body, rest) = bytes.split_at((*left).min(bytes.len()));
            let wanted = HEAD_BYTES.saturating_sub(self.head.len()).min(body.len());
            self.head.extend_from_slice(&body[..wanted]);
            *left -= body.len();
            bytes = rest;
            if *left == 0 {
                self.left = None;
                complete.push(std::mem::take(&mut self.head));
            }
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut whole = Vec::new();
        for length in [8u8, 0, 30, 8] {
            whole.extend([0, 0, 0, length]);
            whole.extend((0..length).map(|byte| byte + length));
        }
        let expected = Stream::default().take(&whole);
        assert_eq!(expected.len(), 4);
        assert_eq!(expected[1], [0, 0, 0, 0]);
        for cut in 1..whole.len() {
            let mut stream = Stream::default();
            let found: Vec<_> = whole.chunks(cut).flat_map(|part| stream.take(part)).collect();
            assert_eq!(found, expected, "in pieces of {cut}");
        }
    }
}
