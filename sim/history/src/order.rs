//! The order of each producer's records in a partition.

use std::collections::BTreeMap;

use crate::check::Case;
use crate::{Anomaly, Content, Outcome, Promise, Verdict};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    if case.may_lose_the_tail() {
        // What is left of one sitting and what the next one wrote have no common order.
        return;
    }
    let mut last: BTreeMap<u32, (u32, i64)> = BTreeMap::new();
    for seen in &case.known.stored.records {
        let Content::Record(id) = seen.content else { continue };
        if case.history.promise(id) != Some(Promise::Idempotent) {
            continue;
        }
        let before = last.insert(id.producer, (id.sequence, seen.offset));
        let Some((sequence, offset)) = before else {
            check_gap(case, id.producer, None, id.sequence, seen.offset, verdict);
            continue;
        };
        if id.sequence <= sequence {
            let text = format!("{id} comes after p{}#{sequence} at {offset}", id.producer);
            let found =
                case.violation(Anomaly::NonmonotonicSend, Some(seen.offset), Some(id), text);
            verdict.violations.push(found);
            continue;
        }
        check_gap(case, id.producer, Some(sequence), id.sequence, seen.offset, verdict);
    }
}

/// A record between two others of an idempotent producer is there, or its producer was told that it
/// failed, or nobody knows and it is missing with everything after it.
fn check_gap(
    case: &Case<'_>,
    producer: u32,
    after: Option<u32>,
    before: u32,
    offset: i64,
    verdict: &mut Verdict,
) {
    // Deleted from the front, or compacted away: then nothing can be told.
    if case.rules.is_compacted || (after.is_none() && case.known.stored.log_start > 0) {
        return;
    }
    let first = crate::RecordId { producer, sequence: after.map_or(0, |after| after + 1) };
    let last = crate::RecordId { producer, sequence: before };
    for (id, sent) in case.known.sent.range(first..last) {
        let is_unknown = match sent.ended {
            // Told of as lost already.
            Some((_, Outcome::Acknowledged { .. })) => continue,
            Some((_, Outcome::Refused { .. } | Outcome::Unknown { .. })) => continue,
            None => true,
        };
        if is_unknown {
            let text = format!("{id} is missing before p{producer}#{before}");
            let found = case.violation(Anomaly::SendGap, Some(offset), Some(*id), text);
            verdict.violations.push(found);
        }
    }
}
