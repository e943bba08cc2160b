//! All checks of a history, and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly::seconds;
use crate::case::Case;
use crate::clock::Clocks;
use crate::index::{Index, index};
use crate::{Anomaly, History, Outcome, Partition, Violation, What};
use crate::{bounds, contents, deletion, group, lives, order, polls, stored};

/// What the checks found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What must not be, the cause before its consequences.
    pub violations: Vec<Violation>,
    /// How many acknowledged records are missing for a reason.
    pub excused: BTreeMap<&'static str, u64>,
    /// Figures of the run.
    pub figures: Figures,
}

/// Figures of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records given to producers.
    pub sent: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records refused.
    pub refused: u64,
    /// Records whose fate the producer does not know.
    pub unknown: u64,
    /// Records that could be read at the end.
    pub stored: u64,
    /// Of these, repetitions.
    pub repeated: u64,
    /// Records read by readers and by members of groups before the end.
    pub read: u64,
    /// Records processed by members of groups.
    pub processed: u64,
    /// Commits of offsets, and other writes of them, that were acknowledged.
    pub commits: u64,
}

impl History {
    /// Runs all checks on a history that ended with a read of everything: a partition that is not in
    /// [`History::stored`] counts as empty, unless its topic was deleted.
    pub fn check(&self) -> Verdict {
        self.run_checks(true)
    }

    /// Runs the checks that need no last read: on a run that never came to an end. What is missing
    /// at the end is not judged, and nothing that was seen before is excused for that.
    pub fn check_without_end(&self) -> Verdict {
        self.run_checks(false)
    }

    fn run_checks(&self, is_ended: bool) -> Verdict {
        let index = index(self, is_ended);
        let clocks = Clocks::of(self);
        let damaged = self.damaged();
        let mut verdict = Verdict { figures: self.figures(&index), ..Verdict::default() };
        for (partition, known) in &index {
            let case = Case::new(self, partition, known, &clocks);
            if damaged.contains(partition) {
                contents::check_served(&case, &mut verdict);
                continue;
            }
            contents::check(&case, &mut verdict);
            if let Some(stored) = &known.stored {
                stored::check(&case, stored, &mut verdict);
            }
            deletion::check(&case, &mut verdict);
            order::check(&case, &mut verdict);
            polls::check(&case, &mut verdict);
            bounds::check(&case, &mut verdict);
            lives::check_records(&case, &mut verdict);
        }
        lives::check_listed(self, &mut verdict);
        group::check(self, &index, &clocks, &damaged, is_ended, &mut verdict);
        for event in &self.events {
            if let What::UnfitError { request, error } = &event.what {
                let text = format!("{request} was answered {error} at {}", seconds(event.at));
                verdict.violations.push(Violation {
                    anomaly: Anomaly::UnfitError,
                    partition: None,
                    offset: None,
                    record: None,
                    text,
                });
            }
        }
        verdict.violations.sort_by_key(|violation| {
            let rank = Anomaly::ALL.iter().position(|anomaly| *anomaly == violation.anomaly);
            (rank, violation.partition.clone(), violation.offset)
        });
        verdict
    }

    fn damaged(&self) -> BTreeSet<&Partition> {
        let damaged = self.events.iter().filter_map(|event| match &event.what {
            What::Damage { partition } => Some(partition),
            _ => None,
        });
        damaged.collect()
    }

    fn figures(&self, index: &Index<'_>) -> Figures {
        let mut figures = Figures::default();
        for known in index.values() {
            figures.sent += known.sent.len() as u64;
            figures.stored += known.stored.as_ref().map_or(0, |stored| stored.records.len() as u64);
            for sent in known.sent.values() {
                match sent.ended {
                    Some((_, Outcome::Acknowledged { .. })) => figures.acknowledged += 1,
                    Some((_, Outcome::Refused { .. })) => figures.refused += 1,
                    Some((_, Outcome::Unknown { .. })) | None => figures.unknown += 1,
                }
            }
            let repeated = known.offsets.values().map(|offsets| offsets.len() as u64 - 1);
            figures.repeated += repeated.sum::<u64>();
        }
        for event in &self.events {
            if let What::Poll { records, .. } = &event.what {
                figures.read += records.len() as u64;
            }
        }
        figures
    }
}
