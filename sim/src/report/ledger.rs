//! The ledger of a run: every record with what became of it, step by step: sent, appended, synced,
//! acknowledged, fetched; and how often it is there at the end.
//!
//! Start at [`ledger`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use history::{Anomaly, Content, History, Outcome, Promise, RecordId, Violation, What};
use protocol::records::Batch;
use serde::Serialize;

use super::frames::batch_ids;
use crate::durable::{JOURNAL_PREFIX, begins_block, pieces_of_block};
use crate::world::film::{Scene, Shot};
use crate::world::{Nanos, NodeId};

/// What became of a record in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is gone, and nothing excuses it.
    Lost,
    /// It is there more than once.
    Repeated,
    /// It is there once.
    Once,
    /// It was acknowledged and is gone, as the topic's settings or a client's wish allow.
    Excused,
    /// The broker refused it, and it is not there.
    Refused,
    /// Nobody promised anything, and it is not there.
    Absent,
}

impl Fate {
    /// As the ledger says it.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Lost => "lost",
            Fate::Repeated => "repeated",
            Fate::Once => "once",
            Fate::Excused => "excused",
            Fate::Refused => "refused",
            Fate::Absent => "absent",
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its producer and number.
    pub record: String,
    /// What its producer's settings promise.
    pub promise: &'static str,
    /// Where it was sent to.
    pub partition: String,
    /// When it was given to the producer, in nanoseconds.
    pub sent: Nanos,
    /// When its batch was first in the page cache, whole.
    pub appended: Option<Nanos>,
    /// At which offsets its batch was written.
    pub offsets: BTreeSet<i64>,
    /// When it was first on stable storage.
    pub synced: Option<Nanos>,
    /// When the producer told what became of it.
    pub ended: Option<Nanos>,
    /// What the producer told.
    pub outcome: Option<String>,
    /// When a reader first got it.
    pub fetched: Option<Nanos>,
    /// Where it was read at the end.
    pub stored: BTreeSet<i64>,
    /// What became of it.
    pub fate: Fate,
    /// Whether a check names it.
    pub is_bad: bool,
}

/// All records of a run, in the order in which they were sent.
pub(super) struct Ledger {
    pub(super) rows: BTreeMap<RecordId, Row>,
    /// The file that each record was first written to, and on whose disk.
    pub(super) files: BTreeMap<RecordId, (NodeId, Arc<str>)>,
}

/// Puts the ledger together; `violations` are what the checks said of the history, `bad` are records
/// that other checks name.
pub(super) fn ledger(
    history: &History,
    film: &[Shot],
    violations: &[Violation],
    bad: &BTreeSet<RecordId>,
) -> Ledger {
    let mut rows = rows(history);
    let mut appends = Appends::default();
    for shot in film {
        appends.play(shot);
    }
    let mut files = BTreeMap::new();
    for (id, append) in appends.records {
        if let Some(row) = rows.get_mut(&id) {
            row.appended = Some(append.at);
            row.synced = append.synced;
            row.offsets = append.offsets;
            files.insert(id, append.file);
        }
    }
    for (partition, stored) in &history.stored {
        for seen in &stored.records {
            if let Content::Record(id) = seen.content
                && let Some(row) = rows.get_mut(&id)
                && row.partition == partition.to_string()
            {
                row.stored.insert(seen.offset);
            }
        }
    }
    let is_lost = |id: &RecordId| {
        let losses = [Anomaly::LostWrite, Anomaly::LostRead];
        let mut about = violations.iter().filter(|found| found.record.as_ref() == Some(id));
        about.any(|found| losses.contains(&found.anomaly))
    };
    for (id, row) in &mut rows {
        row.fate = fate(row, is_lost(id));
        row.is_bad = bad.contains(id) || violations.iter().any(|found| found.record == Some(*id));
    }
    Ledger { rows, files }
}

fn rows(history: &History) -> BTreeMap<RecordId, Row> {
    let mut rows = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::Send { id, partition, .. } => {
                let promise = history.producers.get(id.producer as usize);
                let row = Row {
                    record: id.to_string(),
                    promise: promise.map_or("", |producer| name_of(producer.promise)),
                    partition: partition.to_string(),
                    sent: event.at,
                    appended: None,
                    offsets: BTreeSet::new(),
                    synced: None,
                    ended: None,
                    outcome: None,
                    fetched: None,
                    stored: BTreeSet::new(),
                    fate: Fate::Absent,
                    is_bad: false,
                };
                rows.insert(*id, row);
            }
            What::Sent { id, outcome } => {
                if let Some(row) = rows.get_mut(id) {
                    row.ended = Some(event.at);
                    row.outcome = Some(told(outcome));
                }
            }
            What::Poll { records, .. } => {
                for seen in records {
                    if let Content::Record(id) = seen.content
                        && let Some(row) = rows.get_mut(&id)
                    {
                        row.fetched.get_or_insert(event.at);
                    }
                }
            }
            _ => {}
        }
    }
    rows
}

fn name_of(promise: Promise) -> &'static str {
    match promise {
        Promise::AtMostOnce => "at most once",
        Promise::AtLeastOnce => "at least once",
        Promise::Idempotent => "idempotent",
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Acknowledged { offset: Some(offset) } => format!("acknowledged @{offset}"),
        Outcome::Acknowledged { offset: None } => "sent, no answer asked for".to_owned(),
        Outcome::Refused { error } => format!("refused: {error}"),
        Outcome::Unknown { error } => format!("unknown: {error}"),
    }
}

fn fate(row: &Row, is_lost: bool) -> Fate {
    let outcome = row.outcome.as_deref().unwrap_or_default();
    match row.stored.len() {
        0 if is_lost => Fate::Lost,
        0 if outcome.starts_with("acknowledged") => Fate::Excused,
        0 if outcome.starts_with("refused") => Fate::Refused,
        0 => Fate::Absent,
        1 => Fate::Once,
        _ => Fate::Repeated,
    }
}

/// A record's way to the disk.
struct Append {
    at: Nanos,
    synced: Option<Nanos>,
    offsets: BTreeSet<i64>,
    file: (NodeId, Arc<str>),
}

/// What was written to segments and to the journal, batch by batch.
#[derive(Default)]
struct Appends {
    records: BTreeMap<RecordId, Append>,
    tails: BTreeMap<(NodeId, Arc<str>), Tail>,
}

/// The end of a segment that is no whole batch yet, or of a journal that is no whole block, and what
/// waits for a sync.
#[derive(Default)]
struct Tail {
    begins: u64,
    bytes: Vec<u8>,
    not_synced: Vec<(Nanos, RecordId)>,
}

impl Appends {
    fn play(&mut self, shot: &Shot) {
        match &shot.scene {
            Scene::Wrote { node, path, position, bytes } if path.ends_with(".log") => {
                let file = (*node, Arc::clone(path));
                let tail = self.tails.entry(file.clone()).or_default();
                for batch in tail.write(*position, bytes) {
                    for (id, offset) in batch_ids(&batch) {
                        tail.not_synced.push((shot.at, id));
                        let file = file.clone();
                        let new = || Append { at: shot.at, synced: None, offsets: [].into(), file };
                        self.records.entry(id).or_insert_with(new).offsets.insert(offset);
                    }
                }
            }
            Scene::Wrote { node, path, position, bytes } if path.starts_with(JOURNAL_PREFIX) => {
                let tail = self.tails.entry((*node, Arc::clone(path))).or_default();
                for id in tail.write_block(*position, bytes) {
                    tail.not_synced.push((shot.at, id));
                }
            }
            Scene::Synced { node, path, begun, is_done } => {
                let Some(tail) = self.tails.get_mut(&(*node, Arc::clone(path))) else { return };
                let records = &mut self.records;
                tail.not_synced.retain(|(at, id)| {
                    let is_covered = at <= begun;
                    if is_covered
                        && *is_done
                        && let Some(append) = records.get_mut(id)
                    {
                        append.synced.get_or_insert(shot.at);
                    }
                    !is_covered
                });
            }
            _ => {}
        }
    }
}

impl Tail {
    /// Takes a write to a journal in; returns the records of the block that is whole with it.
    fn write_block(&mut self, position: u64, bytes: &Bytes) -> Vec<RecordId> {
        let goes_on = position == self.begins + self.bytes.len() as u64;
        if !goes_on || begins_block(bytes) {
            (self.begins, self.bytes) = (position, Vec::new());
        }
        self.bytes.extend_from_slice(bytes);
        let Some(pieces) = pieces_of_block(&self.bytes) else { return Vec::new() };
        (self.begins, self.bytes) = (self.begins + self.bytes.len() as u64, Vec::new());
        let mut records = Vec::new();
        for mut rest in pieces {
            while let Ok(Some(batch)) = Batch::split_first(&mut rest) {
                records.extend(batch_ids(&batch).into_iter().map(|(id, _)| id));
            }
        }
        records
    }

    /// Takes a write in; returns the batches that are whole with it.
    fn write(&mut self, position: u64, bytes: &Bytes) -> Vec<Batch> {
        let ends = self.begins + self.bytes.len() as u64;
        if position < self.begins || ends < position {
            // A log that was cut goes on at its new end.
            *self = Tail { begins: position, ..Tail::default() };
        }
        self.bytes.truncate((position - self.begins) as usize);
        self.bytes.extend_from_slice(bytes);
        let mut rest = Bytes::copy_from_slice(&self.bytes);
        let mut batches = Vec::new();
        while let Ok(Some(batch)) = Batch::split_first(&mut rest) {
            batches.push(batch);
        }
        let taken = self.bytes.len() - rest.len();
        self.bytes.drain(..taken);
        self.begins += taken as u64;
        batches
    }
}
