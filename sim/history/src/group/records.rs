//! How often a group processes each record: at least once where it commits what it has processed, at
//! most once where it processes what it has committed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Commits, Committed, GroupCase, GroupWhat, Writer};
use crate::anomaly::seconds;
use crate::index::Span;
use crate::{Anomaly, Partition, Verdict};

pub(super) fn check(case: &GroupCase<'_>, is_ended: bool, verdict: &mut Verdict) {
    match case.rules.commits {
        Commits::After | Commits::Auto if is_ended => check_at_least_once(case, verdict),
        Commits::After | Commits::Auto => {}
        Commits::Before => check_at_most_once(case, verdict),
    }
}

/// Everything below what is committed was processed.
fn check_at_least_once(case: &GroupCase<'_>, verdict: &mut Verdict) {
    let mut processed: BTreeMap<&Partition, BTreeSet<i64>> = BTreeMap::new();
    for moment in &case.events {
        if let GroupWhat::Processed { partition, offsets, .. } = moment.what {
            processed.entry(partition).or_default().extend(offsets);
        }
    }
    for (partition, last) in last_committed(case) {
        let stored = case.index.get(partition).and_then(|known| known.stored.as_ref());
        let Some(stored) = stored.filter(|_| case.is_judged(partition, u64::MAX)) else { continue };
        let excused = set_by_hand(case, partition);
        let of_partition = processed.get(partition);
        let is_missing = |offset: &i64| {
            let is_processed = of_partition.is_some_and(|all| all.contains(offset));
            *offset < last.offset && excused.is_none_or(|until| until <= *offset) && !is_processed
        };
        let offsets = stored.records.iter().map(|seen| seen.offset);
        let missing: Vec<i64> = offsets.filter(is_missing).collect();
        if let Some(first) = missing.first() {
            let text = format!(
                "{} is committed, and nobody processed this one, nor {} others",
                last.offset,
                missing.len() - 1,
            );
            let found = case.violation(Anomaly::Unprocessed, partition, Some(*first), text);
            verdict.violations.push(found);
        }
    }
}

/// What was last said to be committed.
fn last_committed<'a>(case: &GroupCase<'a>) -> BTreeMap<&'a Partition, &'a Committed> {
    let mut last = BTreeMap::new();
    for moment in &case.events {
        if let GroupWhat::Fetched { offsets, .. } = moment.what {
            let told = offsets.iter().filter_map(|(at, value)| Some((at, value.as_ref()?)));
            last.extend(told);
        }
    }
    last
}

/// The highest offset that somebody outside the group may have set; who does so decides what is left
/// out.
fn set_by_hand(case: &GroupCase<'_>, partition: &Partition) -> Option<i64> {
    let set = case.events.iter().filter_map(|moment| match moment.what {
        GroupWhat::Write { write, by: Writer::Admin, offsets, .. }
            if !case.refused.contains(write) =>
        {
            let mut of_partition = offsets.iter().filter(|(at, _)| at == partition);
            of_partition.find_map(|(_, value)| Some(value.as_ref()?.offset))
        }
        _ => None,
    });
    set.max()
}

/// No record is processed again.
fn check_at_most_once(case: &GroupCase<'_>, verdict: &mut Verdict) {
    let mut first: BTreeMap<(&Partition, i64), (u32, u64)> = BTreeMap::new();
    let mut told: BTreeSet<&Partition> = BTreeSet::new();
    for moment in &case.events {
        let GroupWhat::Processed { member, partition, offsets } = moment.what else { continue };
        for &offset in offsets {
            let Some((other, at)) = first.insert((partition, offset), (*member, moment.at)) else {
                continue;
            };
            let span = Span { from: 0, until: moment.at };
            let is_excused = is_set_back(case, partition, offset, moment.at)
                || !case.is_judged(partition, moment.at)
                || !case.life.keeps_offsets(span);
            if is_excused || !told.insert(partition) {
                continue;
            }
            let text = format!(
                "member {other} processed it by {}, and member {member} by {}",
                seconds(at),
                seconds(moment.at),
            );
            let found = case.violation(Anomaly::ProcessedTwice, partition, Some(offset), text);
            verdict.violations.push(found);
        }
    }
}

/// Whether somebody outside the group may have set it to `offset` or before by `until`.
fn is_set_back(case: &GroupCase<'_>, partition: &Partition, offset: i64, until: u64) -> bool {
    case.events.iter().take_while(|moment| moment.at <= until).any(|moment| match moment.what {
        GroupWhat::Write { by: Writer::Member { .. }, .. } => false,
        GroupWhat::Write { write, offsets, .. } => {
            !case.refused.contains(write)
                && offsets.iter().any(|(at, value)| {
                    at == partition && value.as_ref().is_none_or(|value| value.offset <= offset)
                })
        }
        _ => false,
    })
}
