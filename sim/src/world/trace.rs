//! The trace of a run: a 128-bit hash over every event, and the events themselves when asked for.
//!
//! Two runs of the same build, scenario and seed have the same hash. When they have not, the first
//! event that differs shows where the runs part.

use serde::Serialize;

use super::Nanos;
use super::film::{Scene, Shot};

/// What an event is about; part of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// A task was polled.
    Poll = 1,
    /// A connection was opened, closed or reset.
    Connection,
    /// Bytes were sent or arrived.
    Segment,
    /// A disk operation began or ended.
    Disk,
    /// A process started or ended.
    Process,
    /// A fault struck.
    Fault,
    /// A client called or was answered.
    Client,
    /// The broker logged something.
    Log,
    /// What a check noticed.
    Check,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 9] = [
        Kind::Poll,
        Kind::Connection,
        Kind::Segment,
        Kind::Disk,
        Kind::Process,
        Kind::Fault,
        Kind::Client,
        Kind::Log,
        Kind::Check,
    ];

    /// In one word, as reports and filters say it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Poll => "poll",
            Kind::Connection => "connection",
            Kind::Segment => "segment",
            Kind::Disk => "disk",
            Kind::Process => "process",
            Kind::Fault => "fault",
            Kind::Client => "client",
            Kind::Log => "log",
            Kind::Check => "check",
        }
    }
}

/// One event, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Nanos,
    /// What it is about.
    pub kind: Kind,
    /// Which node it happened on; `None` for the world.
    pub node: Option<u32>,
    /// What happened.
    pub text: String,
    /// The hash of the run up to and with this event.
    pub hash: u128,
}

/// The hash and, when recording, the lines.
#[derive(Debug)]
pub struct Trace {
    high: u64,
    low: u64,
    events: u64,
    lines: Option<Vec<Line>>,
    film: Vec<Shot>,
}

impl Trace {
    /// An empty trace; `is_recording` keeps the lines.
    pub fn new(is_recording: bool) -> Trace {
        let lines = is_recording.then(Vec::new);
        Trace {
            high: 0x9e37_79b9_7f4a_7c15,
            low: 0xd1b5_4a32_d192_ed03,
            events: 0,
            lines,
            film: Vec::new(),
        }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, when they were recorded.
    pub fn take_lines(&mut self) -> Vec<Line> {
        self.lines.replace(Vec::new()).unwrap_or_default()
    }

    /// The film, when it was recorded.
    pub fn take_film(&mut self) -> Vec<Shot> {
        std::mem::take(&mut self.film)
    }

    pub(super) fn film(&mut self, at: Nanos, scene: Scene) {
        self.film.push(Shot { at, scene });
    }

    pub(super) fn record(&mut self, event: Recorded<'_>) {
        let Recorded { at, kind, node, words, text } = event;
        self.events += 1;
        self.mix(at);
        self.mix((u64::from(node.unwrap_or(u32::MAX)) << 8) | u64::from(kind as u8));
        for word in words {
            self.mix(*word);
        }
        let hash = self.hash();
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, kind, node, text: text(), hash });
        }
    }

    pub(super) fn remark(&mut self, at: Nanos, kind: Kind, node: Option<u32>, text: String) {
        let hash = self.hash();
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, kind, node, text, hash });
        }
    }

    /// Two lanes of multiply and fold (as in wyhash): cheap, and each bit reaches all others.
    fn mix(&mut self, word: u64) {
        self.high = fold(self.high ^ word, 0xa076_1d64_78bd_642f);
        self.low = fold(self.low.wrapping_add(word), 0xe703_7ed1_a0b4_28db) ^ self.high;
    }
}

/// An event on its way into the trace.
pub(super) struct Recorded<'a> {
    pub(super) at: Nanos,
    pub(super) kind: Kind,
    pub(super) node: Option<u32>,
    pub(super) words: &'a [u64],
    pub(super) text: &'a dyn Fn() -> String,
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// `text` with nodes by their names instead of `n` and their number.
pub fn with_names(text: &str, names: &[String]) -> String {
    let name_of = |word: &str| {
        let number: usize = word.strip_prefix('n')?.parse().ok()?;
        names.get(number)
    };
    let words = text.split_inclusive(|character: char| !character.is_ascii_alphanumeric());
    let mut named = String::with_capacity(text.len());
    for word in words {
        let end = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric()).len();
        named += name_of(&word[..end]).map_or(&word[..end], String::as_str);
        named += &word[end..];
    }
    named
}

/// A hash of `bytes` to be one word of an event.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut hash = 0x2d35_8dcc_aa6c_78a5 ^ (bytes.len() as u64);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes"));
        hash = fold(hash ^ word, 0x8bb8_4b93_962e_acc9);
    }
    let mut tail = [0; 8];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    fold(hash ^ u64::from_le_bytes(tail), 0x4b33_a62e_d433_d4a3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_their_names() {
        let names = ["supervisor", "broker-1", "client-1"].map(str::to_owned);
        assert_eq!(
            with_names("n2 -> n1 #4: connected", &names),
            "client-1 -> broker-1 #4: connected"
        );
        assert_eq!(with_names("cut n2 - n1", &names), "cut client-1 - broker-1");
        assert_eq!(with_names("node n7, name n1x, n", &names), "node n7, name n1x, n");
    }
}
