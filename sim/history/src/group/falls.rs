//! What a member commits goes up: it commits where it is, and nobody goes back who has not begun anew.
//!
//! Two commits of one session are held against each other when the second was asked for after the
//! first was answered: which of two comes first that were under way together is the coordinator's
//! choice. A member begins anew in a partition that it let go of, or where it was reset; and an
//! administrator may set it back.
//!
//! Start at [`check`].

use std::collections::BTreeMap;

use super::{GroupCase, GroupWhat, WriteOutcome, Writer};
use crate::anomaly::seconds;
use crate::{Anomaly, Partition, Verdict, Violation, What};

/// The most that a member has committed since it began in a partition, and by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reached {
    offset: i64,
    by: u64,
}

/// A commit of one partition that has no answer yet.
#[derive(Debug)]
struct Asked<'a> {
    member: u32,
    partition: &'a Partition,
    offset: i64,
    at: u64,
    /// After so many other events.
    place: usize,
    /// What was answered before it was asked for.
    reached: Option<Reached>,
}

#[derive(Default)]
struct Falls<'a> {
    reached: BTreeMap<&'a Partition, BTreeMap<u32, Reached>>,
    /// After how many events members last began anew.
    begun: BTreeMap<(&'a Partition, u32), usize>,
    /// After how many somebody may last have set the group back.
    set: BTreeMap<&'a Partition, usize>,
    asked: BTreeMap<u32, Vec<Asked<'a>>>,
    /// The partitions of administrators' writes that have no answer yet.
    setting: BTreeMap<u32, Vec<&'a Partition>>,
}

pub(super) fn check(case: &GroupCase<'_>, verdict: &mut Verdict) {
    let mut falls = Falls::default();
    for (place, event) in case.history.events.iter().enumerate() {
        match &event.what {
            What::Group(of_group) if of_group.group == *case.name => {
                let found = falls.hear(case, &of_group.what, (event.at, place));
                verdict.violations.extend(found);
            }
            What::Reset { reader, partition, .. } => falls.begin(*reader, partition, place),
            _ => {}
        }
    }
}

impl<'a> Falls<'a> {
    fn hear(
        &mut self,
        case: &GroupCase<'_>,
        what: &'a GroupWhat,
        (at, place): (u64, usize),
    ) -> Vec<Violation> {
        match what {
            GroupWhat::Released { member, partitions, .. } => {
                for partition in partitions {
                    self.begin(*member, partition, place);
                }
            }
            GroupWhat::Write { write, by: Writer::Member { member, .. }, offsets, .. } => {
                let asked = offsets.iter().filter_map(|(partition, value)| {
                    let offset = value.as_ref()?.offset;
                    let of_partition = self.reached.get(partition);
                    let reached = of_partition.and_then(|all| all.get(member)).copied();
                    Some(Asked { member: *member, partition, offset, at, place, reached })
                });
                let asked = asked.collect();
                self.asked.insert(*write, asked);
            }
            GroupWhat::Write { write, offsets, .. } if !case.refused.contains(write) => {
                let partitions: Vec<&Partition> = offsets.iter().map(|(at, _)| at).collect();
                self.set(&partitions, place);
                self.setting.insert(*write, partitions);
            }
            GroupWhat::Written { write, outcome, .. } => {
                if let Some(partitions) = self.setting.remove(write) {
                    self.set(&partitions, place);
                }
                let asked = self.asked.remove(write).unwrap_or_default();
                if *outcome == WriteOutcome::Done {
                    return asked.iter().filter_map(|one| self.done(case, one, at)).collect();
                }
            }
            _ => {}
        }
        Vec::new()
    }

    /// What the member committed there says nothing of what it commits from now on.
    fn begin(&mut self, member: u32, partition: &'a Partition, place: usize) {
        self.begun.insert((partition, member), place);
        if let Some(of_partition) = self.reached.get_mut(partition) {
            of_partition.remove(&member);
        }
    }

    fn set(&mut self, partitions: &[&'a Partition], place: usize) {
        for partition in partitions {
            self.set.insert(partition, place);
            self.reached.remove(partition);
        }
    }

    fn done(&mut self, case: &GroupCase<'_>, asked: &Asked<'a>, at: u64) -> Option<Violation> {
        let Asked { member, partition, offset, .. } = *asked;
        let begun = self.begun.get(&(partition, member)).max(self.set.get(partition));
        if begun.is_some_and(|begun| asked.place < *begun) {
            return None;
        }
        let of_partition = self.reached.entry(partition).or_default();
        let reached = of_partition.entry(member).or_insert(Reached { offset, by: at });
        let before = asked.reached.filter(|before| offset < before.offset);
        if reached.offset <= offset || before.is_some() {
            *reached = Reached { offset, by: at };
        }
        let before =
            before.filter(|_| case.is_judged(partition, at) && !case.may_fall(partition, at))?;
        let text = format!(
            "member {member} committed it, asked for at {}, and {} by {}",
            seconds(asked.at),
            before.offset,
            seconds(before.by),
        );
        Some(case.violation(Anomaly::CommitFell, partition, Some(offset), text))
    }
}

impl GroupCase<'_> {
    /// Whether a loss of power may have taken the end of the log by `at`, and readers with it.
    fn may_fall(&self, partition: &Partition, at: u64) -> bool {
        let rules = self.history.topics.get(&partition.topic).copied().unwrap_or_default();
        let mut events = self.history.events.iter().take_while(|event| event.at <= at);
        rules.is_lost_with_power && events.any(|event| matches!(event.what, What::PowerLoss { .. }))
    }
}
