//! What readers saw, one after the other: forwards, without a jump; and bounds that only rise.

use std::collections::BTreeMap;

use crate::anomaly::seconds;
use crate::check::Case;
use crate::{Anomaly, Content, Seen, Verdict, Violation, What};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    check_readers(case, verdict);
    check_bounds(case, verdict);
}

/// Where a reader is: the next offset it may get.
type Places = BTreeMap<u32, i64>;

fn check_readers(case: &Case<'_>, verdict: &mut Verdict) {
    let mut next = Places::new();
    for event in &case.history.events {
        match &event.what {
            What::Seek { reader, partition, offset } if partition == case.partition => {
                next.insert(*reader, *offset);
            }
            What::Reset { reader, partition, offset } if partition == case.partition => {
                next.remove(reader);
                verdict.violations.extend(check_reset(case, *reader, *offset, event.at));
            }
            What::Poll { reader, partition, records } if partition == case.partition => {
                for seen in records {
                    check_step(case, *reader, next.get(reader).copied(), seen, event.at, verdict);
                    next.insert(*reader, seen.offset + 1);
                }
            }
            _ => {}
        }
    }
}

/// Only deletion, or a loss of power that is allowed to take records, takes an offset away.
fn check_reset(case: &Case<'_>, reader: u32, offset: i64, at: u64) -> Option<Violation> {
    let start = case.known.stored.log_start;
    if case.may_lose_the_tail() || (offset < start && case.may_delete_before(start)) {
        return None;
    }
    let text = format!("reader {reader} was told at {} that it is out of range", seconds(at));
    Some(case.violation(Anomaly::UnfitError, Some(offset), None, text))
}

fn check_step(
    case: &Case<'_>,
    reader: u32,
    expected: Option<i64>,
    seen: &Seen,
    at: u64,
    verdict: &mut Verdict,
) {
    let Some(expected) = expected else { return };
    if case.may_lose_the_tail() || seen.offset == expected {
        return;
    }
    if seen.offset < expected {
        let text = format!("reader {reader} was to read {expected} at {}", seconds(at));
        let found = case.violation(Anomaly::NonmonotonicPoll, Some(seen.offset), None, text);
        verdict.violations.push(found);
        return;
    }
    for (&skipped, contents) in case.known.at_offset.range(expected..seen.offset) {
        let excused = contents.keys().all(|content| match content {
            Content::Record(id) => case.excuse(*id, Some(skipped), 0).is_some(),
            _ => false,
        });
        if !excused {
            let text = format!(
                "reader {reader} jumped from {expected} to {} at {}",
                seen.offset,
                seconds(at)
            );
            let found = case.violation(Anomaly::PollSkip, Some(skipped), None, text);
            verdict.violations.push(found);
            return;
        }
    }
}

/// A bound that was told before another was asked for is not above it.
fn check_bounds(case: &Case<'_>, verdict: &mut Verdict) {
    let mut starts = Rising::default();
    let mut ends = Rising::default();
    for event in &case.history.events {
        let What::Bounds { partition, asked, log_start, end } = &event.what else { continue };
        if partition != case.partition {
            continue;
        }
        for (anomaly, rising, value) in
            [(Anomaly::LogStart, &mut starts, log_start), (Anomaly::EndFell, &mut ends, end)]
        {
            let Some(value) = *value else { continue };
            if let Some(before) = rising.fell(*asked, event.at, value)
                && !case.may_lose_the_tail()
            {
                let text = format!("fell from {before} to {value} at {}", seconds(event.at));
                verdict.violations.push(case.violation(anomaly, Some(value), None, text));
            }
        }
    }
    let stored = &case.known.stored;
    for (anomaly, rising, value) in
        [(Anomaly::LogStart, starts, stored.log_start), (Anomaly::EndFell, ends, stored.end)]
    {
        if let Some(before) = rising.max().filter(|max| value < *max)
            && !case.may_lose_the_tail()
        {
            let text = format!("was {before} and is {value} at the end");
            verdict.violations.push(case.violation(anomaly, Some(value), None, text));
        }
    }
}

/// Values with the moments at which they were told.
#[derive(Default)]
struct Rising {
    /// When told, and the greatest value until then.
    told: Vec<(u64, i64)>,
}

impl Rising {
    fn max(&self) -> Option<i64> {
        self.told.last().map(|(_, max)| *max)
    }

    /// Adds a value; a greater one that was told before this one was asked for.
    fn fell(&mut self, asked: u64, told: u64, value: i64) -> Option<i64> {
        let known = self.told.iter().rev().find(|(at, _)| *at < asked).map(|(_, max)| *max);
        let max = self.max().map_or(value, |max| max.max(value));
        self.told.push((told, max));
        known.filter(|known| value < *known)
    }
}
