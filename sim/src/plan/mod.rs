//! The fault plan of a run: an explicit list, drawn from the seed, that can be printed, edited, fed
//! back in and shrunk.
//!
//! A fault has a trigger and an action. Triggers are semantic where that is possible ("the 3rd sync
//! of orders-0's log, when it took effect and before its caller is told"), else times.
//!
//! Start at [`draw`].

mod draw;
#[cfg(test)]
mod tests;

use std::fmt;

use protocol::ApiKey;
use serde::{Deserialize, Serialize};

pub(crate) use draw::Dice;
pub use draw::{RUN, draw, expected};

/// One fault: when this happens, do that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When.
    pub when: Trigger,
    /// What.
    pub what: Action,
}

/// When a fault strikes. It strikes once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trigger {
    /// So many milliseconds after the work began.
    At {
        /// Milliseconds.
        ms: u64,
    },
    /// At an operation of a broker's disk.
    Disk {
        /// Which broker's disk, from 1.
        broker: u32,
        /// Which operation.
        op: DiskOp,
        /// Part of the path.
        path: String,
        /// The how-manieth after the work began, from 1.
        nth: u32,
        /// Before or after it took effect.
        phase: Phase,
    },
    /// At a frame between a client and a broker.
    Frame {
        /// Which API, by its name in the protocol.
        api: String,
        /// Request or response.
        way: Way,
        /// The how-manieth after the work began, from 1.
        nth: u32,
        /// When it leaves its sender, or when it has arrived.
        #[serde(default, skip_serializing_if = "Moment::is_left")]
        phase: Moment,
    },
}

/// Which moment of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Its sender has written its end, which has not left yet.
    #[default]
    Left,
    /// It has arrived to its end, and its reader has not read it yet.
    Arrived,
}

impl Moment {
    fn is_left(&self) -> bool {
        *self == Moment::Left
    }
}

/// An operation of a disk that a trigger can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOp {
    /// A file is created or opened.
    Open,
    /// Bytes are read.
    Read,
    /// Bytes reach the page cache.
    Write,
    /// A file's bytes are made durable.
    Sync,
    /// A directory's names are made durable.
    SyncDir,
    /// A name changes.
    Rename,
    /// A file goes, or a directory with all that is in it.
    Remove,
    /// A file is cut.
    SetLen,
    /// Directories are made.
    CreateDir,
    /// A directory is listed.
    List,
    /// A file's length is asked for.
    Len,
}

/// Around which moment of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before it takes effect.
    Begin,
    /// When it has taken effect, before its caller is told.
    Effect,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From a client to a broker.
    Request,
    /// From a broker to a client.
    Response,
}

/// What a fault does. Brokers and clients are counted from 1, durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields say what the variant's sentence leaves open")]
pub enum Action {
    /// The broker's process ends at once; its page cache survives.
    Kill { broker: u32, down_ms: u64 },
    /// The broker's machine loses power.
    PowerLoss { broker: u32, down_ms: u64 },
    /// The broker is told to stop, as by SIGTERM, and started again.
    Stop { broker: u32, down_ms: u64 },
    /// The broker is told to stop, and its process or machine ends while it does.
    CrashAtStop { broker: u32, after_us: u64, down_ms: u64, power: bool },
    /// The broker stands still, and goes on.
    Pause { broker: u32, ms: u64 },
    /// The broker is killed again and again while it starts.
    CrashLoop { broker: u32, times: u32, power: bool },
    /// A client stands still, and goes on as if nothing had been.
    ClientPause { client: u32, ms: u64 },
    /// A client's process ends at once.
    ClientCrash { client: u32, down_ms: u64 },
    /// A client's machine loses power: nobody hears of an end.
    ClientPowerLoss { client: u32, down_ms: u64 },
    /// The process of a group's member ends at once, or its machine loses power.
    MemberCrash { client: u32, down_ms: u64, power: bool },
    /// A group's member stands still, and goes on as if nothing had been.
    MemberPause { client: u32, ms: u64 },
    /// All guests of a group join it at once, and leave it again.
    JoinBurst { group: String, ms: u64 },
    /// So many partitions are added to a topic.
    TopicGrows { topic: String, partitions: u32 },
    /// Nothing gets through between a client and a broker.
    Cut { client: u32, broker: u32, cut: Cut, ms: u64 },
    /// Everything between a client and a broker waits.
    Stall { client: u32, broker: u32, ms: u64 },
    /// Connections between a client and a broker are reset, also in mid-frame.
    Reset { client: u32, broker: u32 },
    /// A connection ends in mid-response as if it had been closed.
    Fin { client: u32, broker: u32 },
    /// A connection goes silent for good, without an end.
    HalfOpen { client: u32, broker: u32 },
    /// The next request arrives, and its response does not.
    LoseResponse { client: u32, broker: u32 },
    /// A bit of the next batch of records that a client sends to a broker, or gets from it, flips
    /// where a checksum covers it.
    BitFlip { client: u32, broker: u32, way: Way },
    /// All links are at most as good as this, from now on.
    SlowLinks { latency_us: u64, bytes_per_second: u64, window_bytes: u64 },
    /// The broker's machine refuses connections.
    Refuse { broker: u32, ms: u64 },
    /// Connections to the broker's machine hang.
    Hang { broker: u32, ms: u64 },
    /// Reads on the broker's machine return one byte each.
    OneByteReads { broker: u32, ms: u64 },
    /// The nth operation from now on paths with this part fails.
    DiskError { broker: u32, op: DiskOp, path: String, nth: u32 },
    /// The disk has so many bytes left.
    DiskFull { broker: u32, left: u64, ms: u64 },
    /// Every operation of the disk takes so many times as long.
    DiskSlow { broker: u32, factor: u32, ms: u64 },
    /// The disk answers nothing.
    DiskStall { broker: u32, ms: u64 },
    /// A bit of a file with this part in its path flips.
    Rot { broker: u32, path: String },
    /// The next write to a path with this part lands elsewhere.
    MisdirectWrite { broker: u32, path: String },
    /// The broker's wall clock jumps by so many milliseconds.
    ClockJump { broker: u32, by_ms: i64 },
    /// From now on the broker's clock is so much faster, in millionths; above -1,000,000.
    ClockDrift { broker: u32, ppm: i64 },
    /// The broker's wall clock stands still, its monotonic clock goes on.
    ClockFreeze { broker: u32, ms: u64 },
}

/// Which direction is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Both.
    Both,
    /// What the client sends.
    ToBroker,
    /// What the broker sends.
    ToClient,
}

/// Faults of a kind: what a scenario turns on, and what the efficacy of faults is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The process is killed.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// The process is stopped in good order.
    Stop,
    /// The process stands still for a while.
    Pause,
    /// Kills or losses of power while it starts.
    CrashLoop,
    /// Client processes end.
    ClientCrash,
    /// Members of groups end without a word, and come back.
    MemberCrash,
    /// Members of groups stand still, some for longer than their session.
    MemberPause,
    /// Members join a group by the dozen.
    JoinBurst,
    /// Partitions are added to topics that groups read.
    TopicGrows,
    /// Links are cut or stall.
    Cut,
    /// Connections are reset, closed or lost.
    Reset,
    /// Responses are lost.
    LoseResponse,
    /// Connections are refused or hang.
    Connect,
    /// Reads return single bytes.
    OneByteReads,
    /// Bits of records flip on their way.
    BitFlip,
    /// Links are slow, narrow and short of window.
    SlowLink,
    /// Syncs fail.
    SyncError,
    /// Writes fail.
    WriteError,
    /// Reads fail.
    ReadError,
    /// The disk is full.
    DiskFull,
    /// The disk is slow or stalls.
    DiskSlow,
    /// The clock jumps, drifts or stands still.
    Clock,
    /// Bits flip on the disk. Destroys data: only for scenarios that say so.
    Rot,
    /// Writes land elsewhere. Destroys data: only for scenarios that say so.
    Misdirect,
}

impl Action {
    /// The family it belongs to.
    pub fn family(&self) -> Family {
        match self {
            Action::Kill { .. } => Family::Kill,
            Action::PowerLoss { .. } => Family::PowerLoss,
            Action::Stop { .. } | Action::CrashAtStop { .. } => Family::Stop,
            Action::Pause { .. } | Action::ClientPause { .. } => Family::Pause,
            Action::CrashLoop { .. } => Family::CrashLoop,
            Action::ClientCrash { .. } | Action::ClientPowerLoss { .. } => Family::ClientCrash,
            Action::MemberCrash { .. } => Family::MemberCrash,
            Action::MemberPause { .. } => Family::MemberPause,
            Action::JoinBurst { .. } => Family::JoinBurst,
            Action::TopicGrows { .. } => Family::TopicGrows,
            Action::BitFlip { .. } => Family::BitFlip,
            Action::SlowLinks { .. } => Family::SlowLink,
            Action::Cut { .. } | Action::Stall { .. } => Family::Cut,
            Action::Reset { .. } | Action::Fin { .. } | Action::HalfOpen { .. } => Family::Reset,
            Action::LoseResponse { .. } => Family::LoseResponse,
            Action::Refuse { .. } | Action::Hang { .. } => Family::Connect,
            Action::OneByteReads { .. } => Family::OneByteReads,
            Action::DiskError { op, .. } => match op {
                DiskOp::Sync | DiskOp::SyncDir => Family::SyncError,
                DiskOp::Read | DiskOp::Open | DiskOp::List | DiskOp::Len => Family::ReadError,
                DiskOp::Write
                | DiskOp::Rename
                | DiskOp::Remove
                | DiskOp::SetLen
                | DiskOp::CreateDir => Family::WriteError,
            },
            Action::DiskFull { .. } => Family::DiskFull,
            Action::DiskSlow { .. } | Action::DiskStall { .. } => Family::DiskSlow,
            Action::Rot { .. } => Family::Rot,
            Action::MisdirectWrite { .. } => Family::Misdirect,
            Action::ClockJump { .. } | Action::ClockDrift { .. } | Action::ClockFreeze { .. } => {
                Family::Clock
            }
        }
    }
}

impl Fault {
    /// Why it can not strike in a world of so many brokers and clients.
    pub fn what_is_wrong(&self, brokers: u32, clients: u32) -> Option<String> {
        let (broker, client) = self.what.places();
        let watched = match &self.when {
            Trigger::Disk { broker, .. } => Some(*broker),
            Trigger::At { .. } | Trigger::Frame { .. } => None,
        };
        for broker in broker.into_iter().chain(watched) {
            if !(1..=brokers).contains(&broker) {
                return Some(format!("there is no broker {broker}, brokers are 1 to {brokers}"));
            }
        }
        if let Some(client) = client.filter(|client| !(1..=clients).contains(client)) {
            return Some(format!("there is no client {client}, clients are 1 to {clients}"));
        }
        if let Trigger::Frame { api, .. } = &self.when {
            let is_known = ApiKey::ALL.iter().any(|key| format!("{key:?}") == *api);
            return (!is_known).then(|| format!("Kafka has no API {api:?}"));
        }
        None
    }
}

impl Action {
    /// The broker and the client that it is about.
    fn places(&self) -> (Option<u32>, Option<u32>) {
        let value = toml::Value::try_from(self).ok();
        let fields = value.as_ref().and_then(|value| value.as_table()?.values().next()?.as_table());
        let number =
            |name: &str| fields.and_then(|fields| fields.get(name)?.as_integer()?.try_into().ok());
        (number("broker"), number("client"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.when, self.what)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::At { ms } => write!(f, "at {}.{:03} s", ms / 1000, ms % 1000),
            Trigger::Disk { broker, op, path, nth, phase } => {
                let when = match phase {
                    Phase::Begin => "before",
                    Phase::Effect => "after",
                };
                write!(f, "{when} the {nth}. {op:?} of *{path}* on broker {broker}")
            }
            Trigger::Frame { api, way, nth, phase: Moment::Left } => {
                write!(f, "at the {nth}. {api} {way:?}")
            }
            Trigger::Frame { api, way, nth, phase: Moment::Arrived } => {
                write!(f, "when the {nth}. {api} {way:?} has arrived")
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Kill { broker, down_ms } => {
                write!(f, "kill broker {broker}, down for {down_ms} ms")
            }
            Action::PowerLoss { broker, down_ms } => {
                write!(f, "broker {broker} loses power, down for {down_ms} ms")
            }
            Action::Stop { broker, down_ms } => {
                write!(f, "stop broker {broker}, down for {down_ms} ms")
            }
            Action::CrashAtStop { broker, after_us, down_ms, power } => {
                let how = if *power { "loses power" } else { "is killed" };
                write!(
                    f,
                    "stop broker {broker}, which {how} {after_us} us later, down for {down_ms} ms"
                )
            }
            Action::Pause { broker, ms } => write!(f, "pause broker {broker} for {ms} ms"),
            Action::ClientPause { client, ms } => write!(f, "pause client {client} for {ms} ms"),
            Action::CrashLoop { broker, times, power } => {
                let how = if *power { "power losses" } else { "kills" };
                write!(f, "{times} {how} while broker {broker} starts")
            }
            Action::ClientCrash { client, down_ms } => {
                write!(f, "client {client} crashes, down for {down_ms} ms")
            }
            Action::ClientPowerLoss { client, down_ms } => {
                write!(f, "client {client} loses power, down for {down_ms} ms")
            }
            Action::MemberCrash { client, down_ms, power } => {
                let how = if *power { "loses power" } else { "crashes" };
                write!(f, "member {client} {how}, down for {down_ms} ms")
            }
            Action::MemberPause { client, ms } => write!(f, "pause member {client} for {ms} ms"),
            Action::JoinBurst { group, ms } => {
                write!(f, "all guests of {group} join for {ms} ms")
            }
            Action::TopicGrows { topic, partitions } => {
                write!(f, "{topic} grows by {partitions} partitions")
            }
            Action::ClockJump { broker, by_ms } => {
                write!(f, "wall clock of broker {broker} jumps by {by_ms} ms")
            }
            Action::ClockDrift { broker, ppm } => {
                write!(f, "clock of broker {broker} drifts by {ppm} ppm")
            }
            Action::ClockFreeze { broker, ms } => {
                write!(f, "wall clock of broker {broker} stands still for {ms} ms")
            }
            _ => self.fmt_of_network(f),
        }
    }
}

impl Action {
    fn fmt_of_network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Cut { client, broker, cut, ms } => {
                write!(f, "cut client {client} from broker {broker} ({cut:?}) for {ms} ms")
            }
            Action::Stall { client, broker, ms } => {
                write!(f, "stall between client {client} and broker {broker} for {ms} ms")
            }
            Action::Reset { client, broker } => {
                write!(f, "reset between client {client} and broker {broker}")
            }
            Action::Fin { client, broker } => {
                write!(f, "end in mid-response between client {client} and broker {broker}")
            }
            Action::HalfOpen { client, broker } => {
                write!(f, "half-open between client {client} and broker {broker}")
            }
            Action::LoseResponse { client, broker } => {
                write!(f, "lose the next response of broker {broker} to client {client}")
            }
            Action::BitFlip { client, broker, way } => {
                write!(
                    f,
                    "a bit of records flips between client {client} and broker {broker} ({way:?})"
                )
            }
            Action::SlowLinks { latency_us, bytes_per_second, window_bytes } => {
                write!(
                    f,
                    "links take {latency_us} us and {bytes_per_second} bytes/s, \
                     with windows of {window_bytes} bytes"
                )
            }
            Action::Refuse { broker, ms } => {
                write!(f, "broker {broker} refuses connections for {ms} ms")
            }
            Action::Hang { broker, ms } => {
                write!(f, "connections to broker {broker} hang for {ms} ms")
            }
            Action::OneByteReads { broker, ms } => {
                write!(f, "reads of broker {broker} return one byte for {ms} ms")
            }
            _ => self.fmt_of_disk(f),
        }
    }

    fn fmt_of_disk(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::DiskError { broker, op, path, nth } => {
                write!(f, "the {nth}. {op:?} of *{path}* on broker {broker} fails")
            }
            Action::DiskFull { broker, left, ms } => {
                write!(f, "disk of broker {broker} has {left} bytes left for {ms} ms")
            }
            Action::DiskSlow { broker, factor, ms } => {
                write!(f, "disk of broker {broker} {factor} times slower for {ms} ms")
            }
            Action::DiskStall { broker, ms } => {
                write!(f, "disk of broker {broker} stalls for {ms} ms")
            }
            Action::Rot { broker, path } => {
                write!(f, "a bit of *{path}* flips on broker {broker}")
            }
            Action::MisdirectWrite { broker, path } => {
                write!(f, "the next write to *{path}* on broker {broker} lands elsewhere")
            }
            // The others were dealt with by who calls this.
            _ => Ok(()),
        }
    }
}
