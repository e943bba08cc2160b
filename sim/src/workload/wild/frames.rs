//! Frames that are none: wrong lengths, halves, unknown names, garbage; and clients that do not
//! read, do not speak, or leave in the middle of a word.

use std::time::Duration;

use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, ListOffsetsRequest, MetadataRequest,
};
use protocol::{ApiKey, ErrorCode};

use super::Act;
use super::wire::{ANSWER_LIMIT, Reply, Wire, decode, frame_of};

/// The broker's limit for a frame that has begun (`frame_reader.rs`), and something for the way.
const STALL_LIMIT: Duration = Duration::from_secs(11);

/// `socket.request.max.bytes`, as no scenario changes it.
const FRAME_BYTES_MAX: i32 = 104_857_600;

/// What fits a frame, once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    /// The end of the connection (`Processor.processCompletedReceives`, `NetworkReceive`).
    Closed,
    /// The same, once the broker has waited long enough for the rest.
    ClosedLate,
    /// An answer in version 0 that says UNSUPPORTED_VERSION (KIP-511).
    UnsupportedVersion,
    /// Either: nobody knows what the bytes happen to say.
    Any,
}

/// Bytes to send, and what fits.
struct Rude {
    name: String,
    bytes: Vec<u8>,
    fits: Fits,
}

impl Act {
    pub(super) async fn rude_frame(&mut self) {
        match self.seat.dice.range(0, 14) {
            0 => self.dribble().await,
            1 => self.do_not_read().await,
            2 => self.do_not_speak().await,
            3 => self.leave_in_the_middle().await,
            _ => {
                let rude = self.rude();
                self.send_rude(rude).await;
            }
        }
    }

    async fn send_rude(&mut self, rude: Rude) {
        self.begin(rude.name);
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        wire.send(&rude.bytes).await;
        let limit = if rude.fits == Fits::ClosedLate { STALL_LIMIT } else { ANSWER_LIMIT };
        let reply = wire.reply(limit).await;
        let is_calm = self.seat.work.weather.is_calm;
        match (rude.fits, reply) {
            (_, Reply::Silent) if is_calm => self.unfit(format!("nothing within {limit:?}")),
            (_, Reply::Silent | Reply::Closed) | (Fits::Any, _) => {}
            (Fits::Closed | Fits::ClosedLate, Reply::Frame(frame)) => {
                self.unfit(format!("{} bytes", frame.len()));
            }
            (Fits::UnsupportedVersion, Reply::Frame(frame)) => {
                match decode::<ApiVersionsRequest>(frame, 0) {
                    Ok(response) => self.look_at_versions(&response),
                    Err(why) => self.unfit(format!("bytes that are no answer: {why}")),
                }
            }
        }
    }

    fn look_at_versions(&self, response: &ApiVersionsResponse) {
        let code = ErrorCode::from_code(response.error_code);
        let has_itself =
            response.api_keys.iter().any(|api| api.api_key == ApiKey::ApiVersions.code());
        if code != ErrorCode::UnsupportedVersion || !has_itself {
            self.unfit(format!("{code}, with {} APIs", response.api_keys.len()));
        }
    }

    /// The table of rude frames.
    fn rude(&mut self) -> Rude {
        let dice = &mut self.seat.dice;
        let rude = |name: &str, bytes, fits| Rude { name: name.to_owned(), bytes, fits };
        match dice.range(0, 10) {
            0 => {
                let length = -(dice.spread(1, 1 << 31) as i64) as i32;
                rude("a frame of negative length", framed(length, &[0; 20]), Fits::Closed)
            }
            1 => {
                let length = FRAME_BYTES_MAX + dice.spread(1, 1 << 30) as i32;
                rude(
                    "a frame above socket.request.max.bytes",
                    framed(length, &[0; 20]),
                    Fits::Closed,
                )
            }
            2 => rude("a frame of length zero", framed(0, &[]), Fits::Closed),
            3 => {
                let whole = valid_frame(dice.range(0, 4));
                let cut = dice.range(1, whole.len() as u64) as usize;
                rude("half a frame, then silence", whole[..cut].to_vec(), Fits::ClosedLate)
            }
            4 => {
                let length = dice.spread(1 << 10, FRAME_BYTES_MAX as u64) as i32;
                let name = "a large frame announced, then silence";
                rude(name, framed(length, &[0; 20]), Fits::ClosedLate)
            }
            5 => {
                let key = *dice.pick(&[-1, 93, 999, i16::MAX, i16::MIN]);
                rude("an unknown API", request(key, 0, &[0; 8]), Fits::Closed)
            }
            6 => {
                let (key, most) =
                    *dice.pick(&[(0, 13), (1, 18), (2, 11), (3, 13), (19, 7), (22, 5)]);
                let version = *dice.pick(&[-1, most + 1, most + 50, i16::MAX]);
                let name = format!("API {key} in version {version}");
                rude(&name, request(key, version, &[0; 8]), Fits::Closed)
            }
            7 => {
                let version = *dice.pick(&[-1, 5, 99, i16::MAX]);
                let name = format!("ApiVersions in version {version}");
                let bytes = request(ApiKey::ApiVersions.code(), version, &[0; 4]);
                rude(&name, bytes, Fits::UnsupportedVersion)
            }
            8 => {
                let key = *dice.pick(&[0, 1, 2, 3, 19, 20, 21, 22, 32, 44, 60, 61]);
                let body: Vec<u8> =
                    (0..dice.range(0, 200)).map(|_| dice.range(0, 256) as u8).collect();
                let name = format!("API {key} with a body of garbage");
                rude(&name, request(key, 4, &body), Fits::Any)
            }
            _ if dice.one_in(2) => {
                // Metadata 1: topics are an array with a length of four bytes.
                let body = i32::MAX.to_be_bytes();
                rude("an array of 2^31-1 topics", request(3, 1, &body), Fits::Closed)
            }
            _ => {
                let bytes = dice.range(1, 10) as usize;
                let header = &request(3, 1, &[])[4..4 + bytes];
                let name = format!("a header of {bytes} bytes");
                rude(&name, framed(bytes as i32, header), Fits::Closed)
            }
        }
    }

    /// A byte a second is no progress.
    async fn dribble(&mut self) {
        self.begin("a byte each second");
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        let whole = valid_frame(1);
        let second = Duration::from_secs(1);
        for byte in whole.iter().take(STALL_LIMIT.as_secs() as usize + 1) {
            wire.send(&[*byte]).await;
            match wire.reply(second).await {
                Reply::Silent => {}
                Reply::Closed => return,
                Reply::Frame(frame) => return self.unfit(format!("{} bytes", frame.len())),
            }
        }
        if self.seat.work.weather.is_calm {
            self.unfit(format!("nothing within {STALL_LIMIT:?}"));
        }
    }

    /// Many requests at once; then nothing is read for a while, and some of the answers after.
    async fn do_not_read(&mut self) {
        self.begin("requests whose answers nobody reads");
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        let which = self.seat.dice.range(0, 4);
        let all = valid_frame(which).repeat(self.seat.dice.spread(10, 400) as usize);
        wire.send(&all).await;
        let pause = self.seat.dice.spread(10, 5_000);
        self.seat.sleep(Duration::from_millis(pause)).await;
        for _ in 0..self.seat.dice.range(0, 20) {
            if !matches!(wire.reply(ANSWER_LIMIT).await, Reply::Frame(_)) {
                return;
            }
        }
    }

    /// Connections that say nothing for some time are served when they speak.
    async fn do_not_speak(&mut self) {
        self.begin("idle connections");
        let mut wires = Vec::new();
        for _ in 0..self.seat.dice.range(2, 30) {
            wires.extend(Wire::connect(&mut self.seat).await);
        }
        let pause = self.seat.dice.spread(10, 8_000);
        self.seat.sleep(Duration::from_millis(pause)).await;
        let Some(wire) = wires.first_mut() else { return };
        if let Err(missing) = wire.call(&ApiVersionsRequest::default(), 0).await {
            self.missed(&missing);
        }
    }

    async fn leave_in_the_middle(&mut self) {
        self.begin("a connection that is closed in a request");
        let Some(mut wire) = Wire::connect(&mut self.seat).await else { return };
        let whole = valid_frame(self.seat.dice.range(0, 4));
        // Sometimes all of it: then nobody is there for the answer.
        let cut = self.seat.dice.range(1, whole.len() as u64 + 1) as usize;
        wire.send(&whole[..cut]).await;
    }
}

/// A request that would be answered.
fn valid_frame(which: u64) -> Vec<u8> {
    match which {
        0 => frame_of(&ApiVersionsRequest::default(), 0, 1),
        1 => frame_of(&MetadataRequest { topics: None, ..Default::default() }, 1, 1),
        2 => frame_of(&ListOffsetsRequest { replica_id: -1, ..Default::default() }, 1, 1),
        _ => {
            let fetch = FetchRequest { replica_id: -1, max_wait_ms: 100, ..Default::default() };
            frame_of(&fetch, 4, 1)
        }
    }
}

fn framed(length: i32, bytes: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A frame with a header of version 1, whose client has no name.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend(body);
    framed(bytes.len() as i32, &bytes)
}
