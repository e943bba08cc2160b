//! What readers got, one record after the other: forwards, without a jump, nothing that was deleted.
//!
//! A reader keeps its place itself: whatever happens to the broker, it asks for the next offset, and
//! gets it, is told that there is none, or gets nothing. Only compaction lets it jump.

use std::collections::BTreeMap;

use crate::anomaly::seconds;
use crate::bounds::Rising;
use crate::case::Case;
use crate::index::Span;
use crate::{Anomaly, Content, GroupEvent, GroupWhat, Seen, Verdict, Violation, What};

/// Where a reader is.
#[derive(Clone, Copy)]
struct Place {
    /// The next offset it may get, if it knows.
    next: Option<i64>,
    /// Since when; it gets nothing that was fetched before.
    since: u64,
    /// The highest first offset of the log that anybody was told before that, if any.
    log_start: Option<i64>,
}

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let mut places: BTreeMap<u32, Place> = BTreeMap::new();
    let mut starts = Rising::default();
    for event in &case.known.events {
        match &event.what {
            What::Seek { reader, offset, .. } => {
                let log_start = starts.highest(case, event.at, event.at);
                let place = Place { next: Some(*offset), since: event.at, log_start };
                places.insert(*reader, place);
            }
            What::Reset { reader, offset, .. } => {
                verdict.violations.extend(check_reset(case, *reader, *offset, event.at));
                let log_start = starts.highest(case, event.at, event.at);
                places.insert(*reader, Place { next: None, since: event.at, log_start });
            }
            // It begins where its group stopped, which is judged with the group.
            What::Group(GroupEvent {
                what: GroupWhat::Assigned { member: reader, .. }, ..
            }) => {
                let log_start = starts.highest(case, event.at, event.at);
                places.insert(*reader, Place { next: None, since: event.at, log_start });
            }
            What::Poll { reader, records, .. } => {
                let Some(place) = places.get_mut(reader) else { continue };
                for seen in records {
                    let found = check_step(case, *reader, *place, seen, event.at);
                    verdict.violations.extend(found);
                    place.next = Some(seen.offset + 1);
                }
            }
            _ => starts.hear_start(event),
        }
    }
}

/// Only deletion, or a loss of power that is allowed to take records, takes an offset away.
fn check_reset(case: &Case<'_>, reader: u32, offset: i64, at: u64) -> Option<Violation> {
    let stored = case.known.stored.as_ref().filter(|_| at < case.read_from());
    let is_there = stored.is_some_and(|stored| stored.log_start <= offset);
    let is_deleted = case.may_delete(offset, at) && !is_there;
    if is_deleted || case.loss_within(Span { from: 0, until: at }).is_some() {
        return None;
    }
    let text = format!("reader {reader} was told at {} that it is out of range", seconds(at));
    Some(case.violation(Anomaly::UnfitError, Some(offset), None, text))
}

fn check_step(
    case: &Case<'_>,
    reader: u32,
    place: Place,
    seen: &Seen,
    at: u64,
) -> Option<Violation> {
    let when = seconds(at);
    let since = Span { from: place.since, until: at };
    if let Some(start) = place.log_start.filter(|start| seen.offset < *start)
        && case.loss_within(since).is_none()
    {
        let sought = seconds(place.since);
        let text =
            format!("reader {reader} got it at {when}; the log began at {start} by {sought}");
        return Some(case.violation(Anomaly::LogStart, Some(seen.offset), None, text));
    }
    let expected = place.next?;
    if seen.offset < expected {
        let text = format!("reader {reader} was to read {expected} at {when}");
        return Some(case.violation(Anomaly::NonmonotonicPoll, Some(seen.offset), None, text));
    }
    let mut skipped = expected..seen.offset;
    let missed = match case.rules.is_compacted {
        false => skipped.next(),
        true => skipped.find(|offset| !may_be_compacted(case, *offset, at)),
    };
    let text = || format!("reader {reader} jumped from {expected} to {} at {when}", seen.offset);
    missed.map(|offset| case.violation(Anomaly::PollSkip, Some(offset), None, text()))
}

/// Whether nothing was at `offset` any more at `at`, as far as anybody knows.
fn may_be_compacted(case: &Case<'_>, offset: i64, at: u64) -> bool {
    let mut records = case.known.records_at(offset);
    records.all(|(id, span)| {
        let is_stored = case.known.is_stored_at(id, offset);
        let until = if is_stored { u64::MAX } else { at.max(span.until) };
        if case.loss_within(Span { from: span.from.min(at), until }).is_some() {
            return true;
        }
        !is_stored && case.was_superseded(id, offset, at)
    }) && !is_foreign(case, offset)
}

fn is_foreign(case: &Case<'_>, offset: i64) -> bool {
    let contents = case.known.at_offset.get(&offset).into_iter().flatten();
    contents.into_iter().any(|(content, _)| !matches!(content, Content::Record(_)))
}
