//! Groups of consumers: one owner for each partition, offsets that stay committed, and records that
//! are processed as often as was promised.
//!
//! Three things end a group's offsets or its generations for a reason: somebody deletes them, they
//! expire while the group is empty, or a loss of power takes them where that is allowed. What was so
//! before and what is so after need not agree.
//!
//! Start at [`check`].

mod event;
mod falls;
mod life;
mod offsets;
mod owners;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use event::{
    Commits, Committed, GroupEvent, GroupRules, GroupWhat, Protocol, WriteOutcome, Writer,
};

use crate::anomaly::seconds;
use crate::clock::Clocks;
use crate::index::Index;
use crate::{Anomaly, History, Partition, Verdict, Violation, What};
use life::Life;

/// Something of a group, and when.
#[derive(Clone, Copy, Debug)]
struct Moment<'a> {
    at: u64,
    what: &'a GroupWhat,
}

/// One group, with all that its checks need.
struct GroupCase<'a> {
    history: &'a History,
    name: &'a Arc<str>,
    rules: &'a GroupRules,
    index: &'a Index<'a>,
    /// What nobody judges: a disk damaged it.
    damaged: &'a BTreeSet<&'a Partition>,
    /// When somebody first asked for topics to be deleted.
    deletions: BTreeMap<&'a Arc<str>, u64>,
    events: Vec<Moment<'a>>,
    /// The writes of which nothing was done.
    refused: BTreeSet<u32>,
    life: Life,
}

/// Runs all checks on all groups.
pub(crate) fn check(
    history: &History,
    index: &Index<'_>,
    clocks: &Clocks,
    damaged: &BTreeSet<&Partition>,
    is_ended: bool,
    verdict: &mut Verdict,
) {
    let deletions: BTreeMap<&Arc<str>, u64> = deletions(history);
    for (name, rules) in &history.groups {
        let events: Vec<Moment<'_>> = events_of(history, name).collect();
        let refused = refused(&events);
        let life = Life::of(history, rules, clocks, &events, &refused);
        let deletions = deletions.clone();
        let case =
            GroupCase { history, name, rules, index, damaged, deletions, events, refused, life };
        owners::check(&case, verdict);
        falls::check(&case, verdict);
        offsets::check(&case, is_ended, verdict);
        records::check(&case, is_ended, verdict);
        verdict.violations.extend(case.overfull());
        for moment in &case.events {
            match moment.what {
                GroupWhat::Processed { offsets, .. } => {
                    verdict.figures.processed += offsets.len() as u64;
                }
                GroupWhat::Written { outcome: WriteOutcome::Done, .. } => {
                    verdict.figures.commits += 1;
                }
                _ => {}
            }
        }
    }
}

fn deletions(history: &History) -> BTreeMap<&Arc<str>, u64> {
    let mut deletions = BTreeMap::new();
    for event in &history.events {
        if let What::DeleteTopic { topic } = &event.what {
            deletions.entry(topic).or_insert(event.at);
        }
    }
    deletions
}

fn events_of<'a>(history: &'a History, name: &Arc<str>) -> impl Iterator<Item = Moment<'a>> {
    history.events.iter().filter_map(move |event| match &event.what {
        What::Group(GroupEvent { group, what }) if group == name => {
            Some(Moment { at: event.at, what })
        }
        _ => None,
    })
}

fn refused(events: &[Moment<'_>]) -> BTreeSet<u32> {
    let refused = events.iter().filter_map(|moment| match moment.what {
        GroupWhat::Written { write, outcome: WriteOutcome::Refused { .. }, .. } => Some(*write),
        _ => None,
    });
    refused.collect()
}

impl GroupCase<'_> {
    /// The first time that more members were in the group than it has room for.
    fn overfull(&self) -> Option<Violation> {
        let max = self.rules.members_max?;
        let mut counts = self.events.iter().filter_map(|moment| match moment.what {
            GroupWhat::Counted { members } => Some((moment.at, *members)),
            _ => None,
        });
        let (at, members) = counts.find(|(_, members)| max < *members)?;
        let text = format!(
            "group {}: it has {members} members at {}, and room for {max}",
            self.name,
            seconds(at)
        );
        let (partition, offset, record) = (None, None, None);
        Some(Violation { anomaly: Anomaly::Overfull, partition, offset, record, text })
    }

    fn violation(
        &self,
        anomaly: Anomaly,
        partition: &Partition,
        offset: Option<i64>,
        text: String,
    ) -> Violation {
        let text = format!("group {}: {text}", self.name);
        Violation { anomaly, partition: Some(partition.clone()), offset, record: None, text }
    }

    /// Whether the partition's offsets are judged: nobody has asked for its topic to be deleted by
    /// `at`, which deletes its offsets in all groups, and no disk has damaged it.
    fn is_judged(&self, partition: &Partition, at: u64) -> bool {
        let is_deleted = self.deletions.get(&partition.topic).is_some_and(|asked| *asked <= at);
        !self.damaged.contains(partition) && !is_deleted
    }
}
