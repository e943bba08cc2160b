//! Committed offsets: what is fetched is what was written last.
//!
//! A partition's committed offset is a register: each write happens at one moment between its request
//! and its answer, one without an answer at any time after its request, or never; one that is sent
//! again may happen once more for as long as a request may be under way. A read has to find what some
//! order of them leaves.
//!
//! Start at [`check`].

use std::collections::BTreeMap;

use super::{Committed, GroupCase, GroupWhat, WriteOutcome, Writer};
use crate::anomaly::seconds;
use crate::index::Span;
use crate::rules::ANSWER_NANOS_MAX;
use crate::{Anomaly, Partition, Verdict, Violation, What};

/// A write to one partition.
#[derive(Clone, Copy, Debug)]
struct Write<'a> {
    value: Option<&'a Committed>,
    asked: u64,
    /// When it was answered, if it was done.
    done: Option<u64>,
    /// It has happened by then for the last time, or does not happen any more.
    until: u64,
    is_refused: bool,
    /// The group goes with it.
    is_of_group: bool,
}

/// A read of one partition.
#[derive(Clone, Copy, Debug)]
struct Read<'a> {
    value: Option<&'a Committed>,
    asked: u64,
    at: u64,
}

/// Where a member began to read a partition.
#[derive(Clone, Copy, Debug)]
struct Start {
    member: u32,
    assigned: u64,
    at: u64,
    offset: i64,
}

type Writes<'a> = BTreeMap<&'a Partition, Vec<Write<'a>>>;

/// Nothing was ever written.
const NOTHING: Write<'static> =
    Write { value: None, asked: 0, done: Some(0), until: 0, is_refused: false, is_of_group: true };

pub(super) fn check(case: &GroupCase<'_>, is_ended: bool, verdict: &mut Verdict) {
    let writes = writes(case);
    let none = Vec::new();
    for (partition, read) in reads(case) {
        if !case.is_judged(partition, read.at) {
            continue;
        }
        let of_partition = writes.get(partition).unwrap_or(&none);
        verdict.violations.extend(judge(case, partition, read, of_partition));
        if is_ended {
            verdict.violations.extend(beyond(case, partition, read));
        }
    }
    for (partition, write) in
        writes.iter().flat_map(|(at, all)| all.iter().map(move |it| (*at, it)))
    {
        verdict.violations.extend(taken_away(case, partition, write));
    }
    for (partition, start) in starts(case) {
        if case.is_judged(partition, start.at) {
            let of_partition = writes.get(partition).unwrap_or(&none);
            verdict.violations.extend(judge_start(case, partition, start, of_partition));
        }
    }
}

fn writes<'a>(case: &GroupCase<'a>) -> Writes<'a> {
    let mut ends: BTreeMap<u32, (u64, &WriteOutcome)> = BTreeMap::new();
    for moment in &case.events {
        if let GroupWhat::Written { write, outcome, .. } = moment.what {
            ends.insert(*write, (moment.at, outcome));
        }
    }
    let mut writes = Writes::new();
    for moment in &case.events {
        let GroupWhat::Write { write, by, offsets, may_repeat } = moment.what else { continue };
        let end = ends.get(write).copied();
        let done = end.and_then(|(at, outcome)| (*outcome == WriteOutcome::Done).then_some(at));
        let is_refused = case.refused.contains(write);
        let until = match done {
            Some(at) if *may_repeat => at.saturating_add(ANSWER_NANOS_MAX),
            Some(at) => at,
            None => u64::MAX,
        };
        let (asked, is_of_group) = (moment.at, *by == Writer::Deletion);
        for (partition, value) in offsets {
            let value = value.as_ref();
            let write = Write { value, asked, done, until, is_refused, is_of_group };
            writes.entry(partition).or_default().push(write);
        }
    }
    writes
}

fn reads<'a>(case: &GroupCase<'a>) -> impl Iterator<Item = (&'a Partition, Read<'a>)> {
    let fetched = case.events.iter().filter_map(|moment| match moment.what {
        GroupWhat::Fetched { asked, offsets } => Some((moment.at, *asked, offsets)),
        _ => None,
    });
    fetched.flat_map(|(at, asked, offsets)| {
        offsets
            .iter()
            .map(move |(partition, value)| (partition, Read { value: value.as_ref(), asked, at }))
    })
}

/// The last write that was done for certain before `asked`.
fn last_done<'w, 'a>(writes: &'w [Write<'a>], asked: u64) -> Option<&'w Write<'a>> {
    let done = writes.iter().filter(|write| write.done.is_some_and(|done| done < asked));
    done.max_by_key(|write| write.asked)
}

/// Whether a read between `asked` and `at` may find what `write` left.
fn may_be_there(write: &Write<'_>, writes: &[Write<'_>], asked: u64, at: u64) -> bool {
    let is_over = |later: &Write<'_>| {
        write.until < later.asked && later.done.is_some_and(|done| done < asked)
    };
    !write.is_refused && write.asked <= at && !writes.iter().any(is_over)
}

fn judge(
    case: &GroupCase<'_>,
    partition: &Partition,
    read: Read<'_>,
    writes: &[Write<'_>],
) -> Option<Violation> {
    let with_nothing = writes.iter().chain([&NOTHING]);
    let mut found = with_nothing.filter(|write| write.value == read.value);
    if found.any(|write| may_be_there(write, writes, read.asked, read.at)) {
        return None;
    }
    let last = last_done(writes, read.asked);
    let since = last.map_or(0, |last| last.asked);
    if !case.life.keeps_offsets(Span { from: since, until: read.at }) {
        return None;
    }
    let offset = read.value.map(|value| value.offset);
    let is_known = writes.iter().any(|write| write.value == read.value);
    let was_refused = || writes.iter().any(|write| write.is_refused && write.value == read.value);
    let anomaly = match read.value {
        Some(_) if !is_known => Anomaly::CommitAltered,
        Some(_) if was_refused() => Anomaly::RefusedVisible,
        _ => Anomaly::CommitLost,
    };
    let text = format!("{} at {}, {}", told(read.value), seconds(read.at), expected(last));
    Some(case.violation(anomaly, partition, offset, text))
}

fn told(value: Option<&Committed>) -> String {
    match value {
        Some(value) => format!("{} ({:?}) was said to be committed", value.offset, value.metadata),
        None => "nothing was said to be committed".to_owned(),
    }
}

fn expected(last: Option<&Write<'_>>) -> String {
    let Some(last) = last else { return "and nothing was before".to_owned() };
    let done = seconds(last.done.unwrap_or(last.asked));
    match last.value {
        Some(value) => {
            format!("and {} ({:?}) was committed by {done}", value.offset, value.metadata)
        }
        None => format!("and it was deleted by {done}"),
    }
}

/// Where a member reads nobody deletes an offset (GROUP_SUBSCRIBED_TO_TOPIC).
fn taken_away(case: &GroupCase<'_>, partition: &Partition, write: &Write<'_>) -> Option<Violation> {
    let until = write.done.filter(|_| write.value.is_none() && !write.is_of_group)?;
    let is_read = case.rules.topics.contains(&partition.topic);
    if !is_read || !case.life.is_held(Span { from: write.asked, until }) {
        return None;
    }
    let until = seconds(until);
    let text = format!("it was deleted by {until}, and the group had members that read it");
    Some(case.violation(Anomaly::CommitLost, partition, None, text))
}

/// What is committed is where somebody reads next: never beyond the end.
fn beyond(case: &GroupCase<'_>, partition: &Partition, read: Read<'_>) -> Option<Violation> {
    let rules = case.history.topics.get(&partition.topic).copied().unwrap_or_default();
    let stored = case.index.get(partition)?.stored.as_ref()?;
    // What came while everything was read last may be behind its end.
    let is_late = case.history.read_from.is_some_and(|from| from <= read.at);
    let value = read.value.filter(|value| stored.end < value.offset)?;
    if rules.is_lost_with_power || is_late {
        return None;
    }
    let (end, at) = (stored.end, seconds(read.at));
    let text = format!("{} at {at}, and the log ends at {end}", told(Some(value)));
    Some(case.violation(Anomaly::CommitBeyondEnd, partition, Some(value.offset), text))
}

/// The first record that each member polled of each partition that was assigned to it.
fn starts<'a>(case: &GroupCase<'a>) -> Vec<(&'a Partition, Start)> {
    let mut waiting: BTreeMap<(u32, &Partition), u64> = BTreeMap::new();
    let mut starts = Vec::new();
    for event in &case.history.events {
        match &event.what {
            What::Group(of_group) if of_group.group == *case.name => match &of_group.what {
                GroupWhat::Assigned { member, partitions, .. } => {
                    waiting.extend(partitions.iter().map(|at| ((*member, at), event.at)));
                }
                GroupWhat::Released { member, partitions, .. } => {
                    for partition in partitions {
                        waiting.remove(&(*member, partition));
                    }
                }
                _ => {}
            },
            What::Reset { reader, partition, .. } => {
                waiting.remove(&(*reader, partition));
            }
            What::Poll { reader, partition, records } => {
                if let Some(assigned) = waiting.remove(&(*reader, partition))
                    && let Some(first) = records.first()
                {
                    let (member, offset) = (*reader, first.offset);
                    starts.push((partition, Start { member, assigned, at: event.at, offset }));
                }
            }
            _ => {}
        }
    }
    starts
}

/// A member begins where the group stopped, not before.
fn judge_start(
    case: &GroupCase<'_>,
    partition: &Partition,
    start: Start,
    writes: &[Write<'_>],
) -> Option<Violation> {
    let with_nothing = writes.iter().chain([&NOTHING]);
    let possible =
        with_nothing.filter(|write| may_be_there(write, writes, start.assigned, start.at));
    let lowest = possible.map(|write| write.value.map_or(0, |value| value.offset)).min();
    if lowest.is_none_or(|lowest| lowest <= start.offset) {
        return None;
    }
    let last = last_done(writes, start.assigned);
    let since = last.map_or(0, |last| last.asked);
    if !case.life.keeps_offsets(Span { from: since, until: start.at }) {
        return None;
    }
    let Start { member, assigned, at, offset } = start;
    let text = format!(
        "member {member} got it at {} and began to read here at {}, {}",
        seconds(assigned),
        seconds(at),
        expected(last),
    );
    Some(case.violation(Anomaly::CommitLost, partition, Some(offset), text))
}
