//! The moments of a run that had to do with what went wrong: the bad record's way through clients,
//! network and disk, and the faults, starts and warnings around it. At most [`MOMENTS_MAX`] of them.
//!
//! Start at [`moments`].

use std::collections::BTreeSet;

use history::{RecordId, What};
use serde::Serialize;

use super::frames::Frame;
use super::ledger::Ledger;
use crate::plan::Way;
use crate::run::{HEALED, Report};
use crate::world::film::Scene;
use crate::world::trace::with_names;
use crate::world::{Kind, Nanos, NodeId};

/// No more fit on a page that people read.
pub const MOMENTS_MAX: usize = 120;

/// Something that happened on a node; or, with `to`, on the way from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When, in nanoseconds.
    pub at: Nanos,
    /// What it is about.
    pub kind: Kind,
    /// Where; nowhere when it happened to the whole world.
    pub node: Option<String>,
    /// In words.
    pub text: String,
    /// For a message: where it goes and when it arrives there.
    pub message: Option<Message>,
    /// Smaller is more important; what is least important is left out first.
    #[serde(skip)]
    rank: u8,
}

/// The way of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Where to.
    pub to: String,
    /// When it arrived there; `None` when it never did.
    pub arrived: Option<Nanos>,
}

/// What the diagram is about.
pub(super) struct Focus {
    /// The bad record, if the finding is about one.
    pub(super) record: Option<RecordId>,
    /// The bad partition, if the finding is about one.
    pub(super) partition: Option<String>,
}

/// The moments to show, in their order, and how many were left out.
pub(super) fn moments(
    report: &Report,
    frames: &[Frame],
    ledger: &Ledger,
    focus: &Focus,
) -> (Vec<Moment>, usize) {
    let mut found = Vec::new();
    let names = Names(&report.nodes);
    let row = focus.record.and_then(|id| ledger.rows.get(&id));
    let since = row.map_or(0, |row| row.sent);
    if let Some(id) = focus.record {
        add_frames(frames, id, &names, &mut found);
        add_disk(report, ledger, id, &names, &mut found);
    }
    let nodes: BTreeSet<String> = found.iter().filter_map(|moment| moment.node.clone()).collect();
    add_lines(report, focus, (since, &nodes), &names, &mut found);
    found.sort_by_key(|moment| (moment.at, moment.rank));
    found.dedup();
    let left_out = found.len().saturating_sub(MOMENTS_MAX);
    (most_important(found), left_out)
}

struct Names<'a>(&'a [String]);

impl Names<'_> {
    fn of(&self, node: NodeId) -> String {
        self.of_number(node.0)
    }

    fn of_number(&self, node: u32) -> String {
        self.0.get(node as usize).cloned().unwrap_or_else(|| format!("n{node}"))
    }
}

/// Leaves out the least important first, and of these the last.
fn most_important(mut found: Vec<Moment>) -> Vec<Moment> {
    let mut ranked: Vec<(u8, usize)> =
        found.iter().enumerate().map(|(at, moment)| (moment.rank, at)).collect();
    ranked.sort_unstable();
    let kept: BTreeSet<usize> = ranked.into_iter().take(MOMENTS_MAX).map(|(_, at)| at).collect();
    let mut at = 0;
    found.retain(|_| {
        at += 1;
        kept.contains(&(at - 1))
    });
    found
}

/// Each request that carries the record with its response, and the first response that brings it to
/// each reader.
fn add_frames(frames: &[Frame], id: RecordId, names: &Names<'_>, found: &mut Vec<Moment>) {
    let mut readers = BTreeSet::new();
    for frame in frames.iter().filter(|frame| frame.ids.contains(&id)) {
        let is_fetch = frame.api == protocol::ApiKey::Fetch;
        let is_more_of_it = is_fetch && !readers.insert(frame.to);
        let way = match frame.way {
            Way::Request => "request",
            Way::Response => "response",
        };
        let (correlation, count) = (frame.correlation, frame.ids.len());
        let text = format!("{:?} {way} {correlation} with {id}, {count} records", frame.api);
        found.push(Moment {
            at: frame.left,
            kind: Kind::Segment,
            node: Some(names.of(frame.from)),
            text,
            message: Some(Message { to: names.of(frame.to), arrived: frame.arrived }),
            rank: if is_more_of_it { 5 } else { 1 },
        });
    }
}

/// The writes and syncs that the record took, and whatever else changed its file.
fn add_disk(
    report: &Report,
    ledger: &Ledger,
    id: RecordId,
    names: &Names<'_>,
    found: &mut Vec<Moment>,
) {
    let Some(((node, path), row)) = ledger.files.get(&id).zip(ledger.rows.get(&id)) else { return };
    let moment = |at: Nanos, text: String| Moment {
        at,
        kind: Kind::Disk,
        node: Some(names.of(*node)),
        text,
        message: None,
        rank: 1,
    };
    let file = crate::disk::short(path);
    let offsets = &row.offsets;
    if let Some(at) = row.appended {
        found.push(moment(at, format!("{id} is in the page cache of {file}, offset {offsets:?}")));
    }
    match row.synced {
        Some(at) => found.push(moment(at, format!("{id} is on stable storage"))),
        None => {
            let ends = report.history.events.iter().filter(|event| row.appended <= Some(event.at));
            let mut losses = ends.filter(|event| matches!(event.what, What::PowerLoss { .. }));
            let at = losses.next().map_or(report.passed, |event| event.at);
            found.push(moment(at, format!("{id} was never on stable storage")));
        }
    }
    // The first sync that began when it was there: it may have failed.
    let appended = row.appended.unwrap_or_default();
    let syncs = report.film.iter().filter(|shot| match &shot.scene {
        Scene::Synced { node: on, path: of, begun, is_done: true } => {
            on == node && of == path && appended <= *begun
        }
        _ => false,
    });
    if let Some(shot) = syncs.take(1).find(|shot| Some(shot.at) != row.synced) {
        found.push(moment(shot.at, format!("{file} is synced")));
    }
}

/// Lines of the trace: the record's client, faults, starts, ends, warnings, what was done to the
/// names and lengths of the partition's files. Clients that the record did not pass by are left out,
/// and so is what the judges do when all is said.
fn add_lines(
    report: &Report,
    focus: &Focus,
    (since, passed_by): (Nanos, &BTreeSet<String>),
    names: &Names<'_>,
    found: &mut Vec<Moment>,
) {
    let record = focus.record.map(|id| id.to_string());
    let directory = focus.partition.as_ref().map(|partition| format!("{partition}/"));
    let mut is_healed = false;
    for line in &report.lines {
        is_healed |= line.kind == Kind::Check && line.text == HEALED;
        let node = line.node.map(|node| names.of_number(node));
        let is_of_interest = node.as_ref().is_none_or(|node| {
            node.starts_with("broker-") || passed_by.contains(node) || line.kind == Kind::Client
        });
        if !is_of_interest || line.text.starts_with(NOTHING_CUT_OFF) {
            continue;
        }
        let rank = match line.kind {
            Kind::Client if record.as_ref().is_some_and(|id| mentions(&line.text, id)) => 0,
            Kind::Fault if !is_healed => 0,
            Kind::Check => 2,
            Kind::Process if !is_healed => 2,
            Kind::Log if !is_healed && is_loud(&line.text) => 3,
            Kind::Disk
                if since <= line.at
                    && directory.as_ref().is_some_and(|part| line.text.contains(part))
                    && changes_a_segment(&line.text) =>
            {
                4
            }
            _ => continue,
        };
        found.push(Moment {
            at: line.at,
            kind: line.kind,
            node,
            text: with_names(&line.text, names.0),
            message: None,
            rank,
        });
    }
}

/// A crash that met no operation of the disk says so; nobody wants to know.
const NOTHING_CUT_OFF: &str = "0 operations cut off";

/// Whether `text` says `id`, and not another one that begins with it.
fn mentions(text: &str, id: &str) -> bool {
    text.split(' ').any(|word| word.trim_end_matches([':', ',']) == id)
}

fn is_loud(text: &str) -> bool {
    text.starts_with("WARN") || text.starts_with("ERROR")
}

fn changes_a_segment(text: &str) -> bool {
    let is_change = ["set-len", "rename", "remove-file", "remove-dir"]
        .iter()
        .any(|operation| text.starts_with(operation));
    let has_failed = text.starts_with("sync") && text.contains(':');
    // A new segment is opened so, and holds nothing yet.
    let is_new = text.ends_with(".log to 0");
    text.contains(".log") && (is_change || has_failed) && !is_new
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As many moments as there may be, half of them messages, every fourth of these lost.
    pub(in super::super) fn hostile(words: &str) -> Vec<Moment> {
        let moment = |at: usize| Moment {
            at: at as Nanos * 10,
            kind: Kind::ALL[at % Kind::ALL.len()],
            node: (!at.is_multiple_of(3)).then(|| format!("broker-{}", at % 3)),
            text: words.repeat(20),
            message: at.is_multiple_of(2).then(|| Message {
                to: words.to_owned(),
                arrived: (!at.is_multiple_of(8)).then_some(at as Nanos * 10 + 25),
            }),
            rank: 0,
        };
        (0..MOMENTS_MAX).map(moment).collect()
    }

    fn moment(at: Nanos, rank: u8) -> Moment {
        let (kind, node, text) = (Kind::Log, None, String::new());
        Moment { at, kind, node, text, message: None, rank }
    }

    #[test]
    fn what_matters_least_is_left_out_first() {
        let mut all: Vec<Moment> = (0..200).map(|at| moment(at, 4)).collect();
        all.push(moment(500, 0));
        let kept = most_important(all);
        assert_eq!(kept.len(), MOMENTS_MAX);
        assert_eq!(kept.last().unwrap().at, 500);
        assert_eq!(kept[MOMENTS_MAX - 2].at, MOMENTS_MAX as u64 - 2, "the earliest of the rest");
        assert!(kept.is_sorted_by_key(|moment| moment.at));
    }

    #[test]
    fn a_record_is_not_taken_for_another_that_begins_like_it() {
        assert!(mentions("ack p1#1 @7", "p1#1"));
        assert!(mentions("gave up p1#1: time is up", "p1#1"));
        assert!(!mentions("ack p1#12 @7", "p1#1"));
    }
}
