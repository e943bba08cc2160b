//! What must be there at the end: everything acknowledged, everything read, no holes.

use crate::anomaly::seconds;
use crate::case::Case;
use crate::index::Sent;
use crate::rules::ANSWER_NANOS_MAX;
use crate::{Anomaly, Content, Excuse, Promise, Stored, Verdict};

pub(crate) fn check(case: &Case<'_>, stored: &Stored, verdict: &mut Verdict) {
    check_acknowledged(case, stored, verdict);
    check_read(case, verdict);
    check_dense(case, stored, verdict);
}

fn check_acknowledged(case: &Case<'_>, stored: &Stored, verdict: &mut Verdict) {
    for sent in case.known.sent.values() {
        let Some((at, offset)) = sent.acknowledged() else { continue };
        if case.known.is_stored(sent.id) || case.is_too_late(offset, at) {
            continue;
        }
        let promise = case.history.promise(sent.id);
        match case.excuse(sent.id, offset, there_since(case, sent, at)) {
            Some(excuse) => *verdict.excused.entry(label(&excuse)).or_default() += 1,
            // acks=0: nobody said that it is there, only that it was sent.
            None if promise == Some(Promise::AtMostOnce) && offset.is_none() => {}
            None => {
                let text = format!(
                    "{} was acknowledged at {} (sent at {}) and is gone; the log is {}..{}",
                    sent.id,
                    seconds(at),
                    seconds(sent.sent_at),
                    stored.log_start,
                    stored.end,
                );
                let found = case.violation(Anomaly::LostWrite, offset, Some(sent.id), text);
                verdict.violations.push(found);
            }
        }
    }
}

/// From when on a loss may have taken an acknowledged record: what was lost before its answer was on
/// its way was not what the answer spoke of.
fn there_since(case: &Case<'_>, sent: &Sent<'_>, acknowledged: u64) -> u64 {
    let answered = sent.sent_at.max(acknowledged.saturating_sub(ANSWER_NANOS_MAX));
    if case.history.promise(sent.id) == Some(Promise::AtLeastOnce) {
        // What was read later may have been another copy.
        return answered;
    }
    let offsets = case.known.offsets.get(&sent.id).into_iter().flatten();
    let read = offsets.map(|offset| {
        let sights = case.known.at_offset[offset][&Content::Record(sent.id)];
        sights.last.from
    });
    read.fold(answered, u64::max)
}

fn label(excuse: &Excuse) -> &'static str {
    match excuse {
        Excuse::Deleted => "deleted",
        Excuse::Compacted => "compacted",
        Excuse::PowerLoss { .. } => "power-loss",
        Excuse::TopicDeleted => "topic-deleted",
    }
}

/// What a reader saw was below the high watermark, so it stays.
fn check_read(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        for (content, sights) in contents {
            let Content::Record(id) = *content else { continue };
            let is_acknowledged =
                case.known.sent.get(&id).is_some_and(|sent| sent.acknowledged().is_some());
            // A lost acknowledged record is told once, as the loss of a write.
            let is_told = sights.is_stored() || is_acknowledged || case.known.is_stored(id);
            if is_told || case.is_too_late(Some(offset), sights.first.until) {
                continue;
            }
            if case.excuse(id, Some(offset), sights.last.from).is_none() {
                let text = format!("{id} was read at {} and is gone", seconds(sights.last.until));
                let found = case.violation(Anomaly::LostRead, Some(offset), Some(id), text);
                verdict.violations.push(found);
            }
        }
    }
}

/// Without compaction every offset between the start and the end has its record.
fn check_dense(case: &Case<'_>, stored: &Stored, verdict: &mut Verdict) {
    if case.rules.is_compacted {
        return;
    }
    let mut next = stored.log_start;
    for seen in &stored.records {
        if seen.offset != next {
            let text = format!("no record from here to {}", seen.offset);
            verdict.violations.push(case.violation(Anomaly::Hole, Some(next), None, text));
        }
        next = seen.offset + 1;
    }
    if next != stored.end {
        let text = format!("no record from here to the end, {}", stored.end);
        verdict.violations.push(case.violation(Anomaly::Hole, Some(next), None, text));
    }
}
