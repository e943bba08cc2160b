//! What must be there at the end: everything acknowledged, everything read, no holes.

use crate::anomaly::seconds;
use crate::check::Case;
use crate::{Anomaly, Content, Excuse, Promise, RecordId, Verdict};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    check_acknowledged(case, verdict);
    check_read(case, verdict);
    check_dense(case, verdict);
    check_log_start(case, verdict);
}

fn is_stored(case: &Case<'_>, id: RecordId) -> bool {
    let stored = &case.known.stored;
    case.known.offsets.get(&id).is_some_and(|offsets| {
        offsets.iter().any(|offset| {
            let at = stored.records.binary_search_by_key(offset, |seen| seen.offset);
            at.is_ok_and(|at| stored.records[at].content == Content::Record(id))
        })
    })
}

fn check_acknowledged(case: &Case<'_>, verdict: &mut Verdict) {
    for sent in case.known.sent.values() {
        let Some((at, offset)) = sent.acknowledged() else { continue };
        let promise = case.history.promise(sent.id);
        if is_stored(case, sent.id) {
            let offsets = case.known.offsets.get(&sent.id);
            let is_there = |offset| offsets.is_some_and(|all| all.contains(&offset));
            if let Some(offset) = offset.filter(|offset| !is_there(*offset))
                && !case.may_lose_the_tail()
                && case.known.stored.log_start <= offset
            {
                let text = format!("{} was acknowledged there and is at {offsets:?}", sent.id);
                verdict.violations.push(case.violation(
                    Anomaly::WrongOffset,
                    Some(offset),
                    Some(sent.id),
                    text,
                ));
            }
            continue;
        }
        // The answer may have been on its way when the power went.
        match case.excuse(sent.id, offset, sent.sent_at) {
            Some(excuse) => *verdict.excused.entry(label(&excuse)).or_default() += 1,
            // acks=0: nobody said that it is there, only that it was sent.
            None if promise == Some(Promise::AtMostOnce) && offset.is_none() => {}
            None => {
                let text = format!(
                    "{} was acknowledged at {} (sent at {}) and is gone; the log is {}..{}",
                    sent.id,
                    seconds(at),
                    seconds(sent.sent_at),
                    case.known.stored.log_start,
                    case.known.stored.end,
                );
                let found = case.violation(Anomaly::LostWrite, offset, Some(sent.id), text);
                verdict.violations.push(found);
            }
        }
    }
}

fn label(excuse: &Excuse) -> &'static str {
    match excuse {
        Excuse::Deleted => "deleted",
        Excuse::Compacted => "compacted",
        Excuse::PowerLoss { .. } => "power-loss",
    }
}

/// What a reader saw was below the high watermark, so it stays.
fn check_read(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        for (content, &at) in contents {
            let Content::Record(id) = *content else { continue };
            let is_acknowledged =
                case.known.sent.get(&id).is_some_and(|sent| sent.acknowledged().is_some());
            // A lost acknowledged record is told once, as the loss of a write.
            if at == u64::MAX || is_acknowledged || is_stored(case, id) {
                continue;
            }
            if case.excuse(id, Some(offset), at).is_none() {
                let text = format!("{id} was read at {} and is gone", seconds(at));
                let found = case.violation(Anomaly::LostRead, Some(offset), Some(id), text);
                verdict.violations.push(found);
            }
        }
    }
}

/// Without compaction every offset between the start and the end has its record.
fn check_dense(case: &Case<'_>, verdict: &mut Verdict) {
    if case.rules.is_compacted {
        return;
    }
    let stored = &case.known.stored;
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

fn check_log_start(case: &Case<'_>, verdict: &mut Verdict) {
    let start = case.known.stored.log_start;
    if start != 0 && !case.may_delete_before(start) {
        let text = match case.known.trimmed {
            Some(trimmed) => format!("is {start}, and records were deleted only before {trimmed}"),
            None => format!("is {start}, and nothing deletes records here"),
        };
        verdict.violations.push(case.violation(Anomaly::LogStart, Some(start), None, text));
    }
}
