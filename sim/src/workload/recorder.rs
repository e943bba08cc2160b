//! The history of a run while it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use history::{
    Content, Event, GroupRules, History, Outcome, Partition, Producer, Promise, RecordId, Rules,
    Seen, Stored, What,
};

use super::looks::{Looks, Read};
use crate::world::trace::digest;
use crate::world::{Kind, NodeId, World};

/// Writes the history; clones write the same one.
#[derive(Clone)]
pub struct Recorder {
    world: World,
    history: Arc<Mutex<History>>,
    looks: Arc<Mutex<BTreeMap<RecordId, Looks>>>,
    /// Topics whose records have the time at which the broker got them.
    stamped: Arc<BTreeSet<String>>,
}

impl Recorder {
    /// An empty history. The broker's clock counts in the topics of `stamped`.
    pub fn new(world: &World, stamped: BTreeSet<String>) -> Recorder {
        let (history, looks) = (Arc::default(), Arc::default());
        Recorder { world: world.clone(), history, looks, stamped: Arc::new(stamped) }
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The history so far.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A topic with what its settings allow.
    pub fn topic(&self, name: &Arc<str>, rules: Rules) {
        self.lock().topics.insert(Arc::clone(name), rules);
    }

    /// A group of the scenario, with its rules.
    pub fn group(&self, name: &str, rules: GroupRules) {
        self.lock().groups.insert(Arc::from(name), rules);
    }

    /// A new producer, which may have so many requests in flight; returns its number.
    pub fn producer(&self, promise: Promise, in_flight_max: usize) -> u32 {
        let mut history = self.lock();
        // Without acknowledgements there is no answer to wait for.
        let is_ordered = in_flight_max == 1 && promise != Promise::AtMostOnce;
        history.producers.push(Producer { promise, is_ordered });
        (history.producers.len() - 1) as u32
    }

    /// A record was given to a producer on `node`.
    pub fn send(&self, node: NodeId, id: RecordId, partition: &Partition, key: Option<u32>) {
        let words = [1, u64::from(id.producer), u64::from(id.sequence)];
        self.world.record(Kind::Client, Some(node), &words, || format!("send {id} to {partition}"));
        self.push(What::Send { id, partition: partition.clone(), key });
    }

    /// How a record looks that is to be sent.
    pub(super) fn looks(&self, id: RecordId, looks: &Looks) {
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id, looks.clone());
    }

    /// Which record was read from `topic`, and whether it is as it was sent.
    pub(super) fn content(&self, topic: &str, read: &Read<'_>) -> Content {
        let Content::Record(id) = read.named() else { return read.named() };
        let all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        read.content(all.get(&id), self.stamped.contains(topic))
    }

    /// A producer on `node` told what became of a record.
    pub fn sent(&self, node: NodeId, id: RecordId, outcome: Outcome) {
        let place = match &outcome {
            Outcome::Acknowledged { offset } => offset.unwrap_or(-1) as u64,
            Outcome::Refused { .. } => u64::MAX - 1,
            Outcome::Unknown { .. } => u64::MAX - 2,
        };
        let words = [2, u64::from(id.producer), u64::from(id.sequence), place];
        self.world.record(Kind::Client, Some(node), &words, || match &outcome {
            Outcome::Acknowledged { offset: Some(offset) } => format!("ack {id} @{offset}"),
            Outcome::Acknowledged { offset: None } => format!("sent {id}, without an ack"),
            Outcome::Refused { error } => format!("refused {id}: {error}"),
            Outcome::Unknown { error } => format!("gave up {id}: {error}"),
        });
        self.push(What::Sent { id, outcome });
    }

    /// A reader on `node` read records.
    pub fn poll(&self, node: NodeId, reader: u32, partition: &Partition, records: Vec<Seen>) {
        let Some((first, last)) = records.first().zip(records.last()) else { return };
        let (first, last) = (first.offset, last.offset);
        let words = [3, u64::from(reader), first as u64, last as u64];
        self.world.record(Kind::Client, Some(node), &words, || {
            format!("reader {reader} read {partition} {first}..={last}")
        });
        self.push(What::Poll { reader, partition: partition.clone(), records });
    }

    /// Something that needs no line of its own in the trace.
    pub fn note(&self, node: NodeId, what: What) {
        let text = format!("{what:?}");
        let words = [4, digest(text.as_bytes())];
        self.world.record(Kind::Client, Some(node), &words, || text.clone());
        self.push(what);
    }

    /// From now on everything is read for the last time.
    pub fn begin_read(&self) {
        self.lock().read_from = Some(self.world.now());
    }

    /// What a partition held at the end, which was just read.
    pub fn stored(&self, partition: &Partition, stored: Stored) {
        let mut history = self.lock();
        history.stored.insert(partition.clone(), stored);
        history.read_by = Some(self.world.now());
    }

    fn push(&self, what: What) {
        let at = self.world.now();
        self.lock().events.push(Event { at, what });
    }
}
