//! The history itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::{Content, GroupEvent, GroupRules, Rules};

/// A record by its producer and that producer's count of records, over all partitions, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Which producer of the history.
    pub producer: u32,
    /// Its how-manieth record.
    pub sequence: u32,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}#{}", self.producer, self.sequence)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Which of its partitions, from 0.
    pub index: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

/// What a producer's settings promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// acks=0, or no retries: may lose, never repeats.
    AtMostOnce,
    /// acks=all with retries and without idempotence: may repeat, never loses.
    AtLeastOnce,
    /// acks=all with idempotence: neither, and in order.
    Idempotent,
}

/// One producer: one session, from its start to its end or crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// What it promises.
    pub promise: Promise,
    /// Whether it sends a batch only when the one before has its answer
    /// (`max.in.flight.requests.per.connection=1`), so that without idempotence, too, what was
    /// acknowledged before is before it in the log. Idempotent producers are in order anyway.
    pub is_ordered: bool,
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker said that it has the record; at this offset, when it said so.
    Acknowledged {
        /// The offset.
        offset: Option<i64>,
    },
    /// The broker refused it for good: it must never be seen.
    Refused {
        /// The error.
        error: String,
    },
    /// The client gave up: stored or not.
    Unknown {
        /// The error.
        error: String,
    },
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub offset: i64,
    /// What.
    pub content: Content,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A record was given to the producer.
    Send {
        /// Which.
        id: RecordId,
        /// Where to.
        partition: Partition,
        /// Its key, in a topic that has keys.
        key: Option<u32>,
    },
    /// The producer told what became of it.
    Sent {
        /// Which.
        id: RecordId,
        /// What became of it.
        outcome: Outcome,
    },
    /// A reader took its place at an offset: everything before is forgotten for it.
    Seek {
        /// Which reader.
        reader: u32,
        /// Of which partition.
        partition: Partition,
        /// Where it reads next.
        offset: i64,
    },
    /// A reader read on.
    Poll {
        /// Which reader.
        reader: u32,
        /// Of which partition.
        partition: Partition,
        /// What it got, in the order it got it.
        records: Vec<Seen>,
    },
    /// A reader was told that there is no such offset, and does not know where it is any more.
    Reset {
        /// Which reader.
        reader: u32,
        /// Of which partition.
        partition: Partition,
        /// The offset it wanted to read.
        offset: i64,
    },
    /// The first offset and the end of a partition, as a client was told.
    Bounds {
        /// Of which partition.
        partition: Partition,
        /// When the client had asked.
        asked: u64,
        /// The first offset that can be read.
        log_start: Option<i64>,
        /// The high watermark.
        end: Option<i64>,
    },
    /// A client asked for the records before an offset to be deleted.
    Trim {
        /// Of which partition.
        partition: Partition,
        /// The first offset that stays.
        before: i64,
    },
    /// The answer to such a request: the records are deleted.
    Trimmed {
        /// Of which partition.
        partition: Partition,
        /// The first offset that is there now.
        low_watermark: i64,
    },
    /// A client asked for a topic to be created.
    CreateTopic {
        /// Its name.
        topic: Arc<str>,
    },
    /// A client asked for a topic to be deleted.
    DeleteTopic {
        /// Its name.
        topic: Arc<str>,
    },
    /// The answer to the latest request to delete that topic: it is gone.
    TopicDeleted {
        /// Its name.
        topic: Arc<str>,
    },
    /// The wall clock of a broker was set, or goes at another rate from now on.
    Clock {
        /// Which machine.
        node: String,
        /// How far it is ahead of the clients' clocks now, in milliseconds.
        ahead_ms: i64,
        /// How much it gains on them from now on, in millionths.
        drift_ppm: i64,
    },
    /// A machine lost power: what was not synced may be gone.
    PowerLoss {
        /// Which.
        node: String,
    },
    /// A disk damaged records of a partition: what it holds may be gone, and is not to be served.
    Damage {
        /// Which.
        partition: Partition,
    },
    /// Something happened in a group of consumers.
    Group(GroupEvent),
    /// A client got an error that nothing explains.
    UnfitError {
        /// What was asked.
        request: String,
        /// The error.
        error: String,
    },
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds since the start.
    pub at: u64,
    /// What.
    pub what: What,
}

/// Everything that clients did and were told, in the order in which it happened, and what the
/// partitions held at the end.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The producers, by number.
    pub producers: Vec<Producer>,
    /// The rules of each topic, by name.
    pub topics: BTreeMap<Arc<str>, Rules>,
    /// The rules of each group of consumers, by name.
    pub groups: BTreeMap<Arc<str>, GroupRules>,
    /// What happened.
    pub events: Vec<Event>,
    /// Everything that could be read after everything was healed, and between which offsets.
    pub stored: BTreeMap<Partition, Stored>,
    /// When somebody began to read that, if it was written down: before asking for the bounds. What
    /// was appended since may be missing.
    pub read_from: Option<u64>,
    /// When all of that had been read, if it was written down.
    pub read_by: Option<u64>,
    /// The topics that the brokers listed after everything was healed, if somebody asked.
    pub listed: Option<BTreeSet<Arc<str>>>,
}

/// What a partition held at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The first offset that can be read.
    pub log_start: i64,
    /// The high watermark.
    pub end: i64,
    /// All records between.
    pub records: Vec<Seen>,
}
