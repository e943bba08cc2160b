//! All checks of a history, and the verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly::seconds;
use crate::index::{Index, Known, index};
use crate::{
    Anomaly, Content, Excuse, History, Outcome, Partition, Promise, RecordId, Rules, Violation,
    What,
};
use crate::{order, polls, stored};

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
    /// Records read by readers before the end.
    pub read: u64,
}

/// One partition, with all that its checks need.
pub(crate) struct Case<'a> {
    pub(crate) history: &'a History,
    pub(crate) partition: &'a Partition,
    pub(crate) known: &'a Known<'a>,
    pub(crate) rules: Rules,
    /// When which machine lost power.
    pub(crate) power_losses: &'a [(u64, &'a str)],
}

impl Case<'_> {
    pub(crate) fn violation(
        &self,
        anomaly: Anomaly,
        offset: Option<i64>,
        record: Option<RecordId>,
        text: String,
    ) -> Violation {
        Violation { anomaly, partition: Some(self.partition.clone()), offset, record, text }
    }

    /// What allows a record that once was at `offset`, known since `since`, to be missing.
    pub(crate) fn excuse(&self, id: RecordId, offset: Option<i64>, since: u64) -> Option<Excuse> {
        let start = self.known.stored.log_start;
        if offset.is_some_and(|offset| offset < start) && self.may_delete_before(start) {
            return Some(Excuse::Deleted);
        }
        // Without an offset (acks=0) nobody knows whether it was before the start.
        if offset.is_none() && start > 0 && self.may_delete_before(start) {
            return Some(Excuse::Deleted);
        }
        if self.rules.is_compacted && self.is_superseded(id, offset) {
            return Some(Excuse::Compacted);
        }
        self.power_loss_after(since)
    }

    /// Whether deletion may have moved the start of the log to `start`.
    pub(crate) fn may_delete_before(&self, start: i64) -> bool {
        self.rules.is_retained || self.known.trimmed.is_some_and(|trimmed| start <= trimmed)
    }

    fn is_superseded(&self, id: RecordId, offset: Option<i64>) -> bool {
        let Some(key) = self.known.sent.get(&id).and_then(|sent| sent.key) else { return false };
        let last = self.known.last_of_keys.get(&key).copied();
        last.is_some_and(|last| offset.is_none_or(|offset| offset < last))
    }

    /// The first loss of power after `since`, where the topic's durability lets it take records.
    pub(crate) fn power_loss_after(&self, since: u64) -> Option<Excuse> {
        if !self.rules.is_lost_with_power {
            return None;
        }
        let after = self.power_losses.iter().find(|(at, _)| since <= *at)?;
        Some(Excuse::PowerLoss { at: after.0, node: after.1.to_owned() })
    }

    /// Whether the topic's settings let one offset hold two records in turn.
    pub(crate) fn may_lose_the_tail(&self) -> bool {
        self.power_loss_after(0).is_some()
    }
}

impl History {
    /// Runs all checks.
    pub fn check(&self) -> Verdict {
        let index = index(self);
        let power_losses = self.power_losses();
        let damaged = self.damaged();
        let mut verdict = Verdict { figures: self.figures(&index), ..Verdict::default() };
        for (partition, known) in &index {
            let rules = self.topics.get(&partition.topic).copied().unwrap_or_default();
            let case = Case { history: self, partition, known, rules, power_losses: &power_losses };
            if damaged.contains(partition) {
                check_damaged(&case, &mut verdict);
                continue;
            }
            check_contents(&case, &mut verdict);
            stored::check(&case, &mut verdict);
            order::check(&case, &mut verdict);
            polls::check(&case, &mut verdict);
        }
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

    fn power_losses(&self) -> Vec<(u64, &str)> {
        let losses = self.events.iter().filter_map(|event| match &event.what {
            What::PowerLoss { node } => Some((event.at, node.as_str())),
            _ => None,
        });
        losses.collect()
    }

    fn figures(&self, index: &Index<'_>) -> Figures {
        let mut figures = Figures::default();
        for known in index.values() {
            figures.sent += known.sent.len() as u64;
            figures.stored += known.stored.records.len() as u64;
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

/// Each offset has one record; each record was sent here, as it is; repeated only where allowed.
fn check_contents(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        if contents.len() > 1 && !case.may_lose_the_tail() {
            let text = format!("holds {contents:?} at different times");
            let found = case.violation(Anomaly::InconsistentOffsets, Some(offset), None, text);
            verdict.violations.push(found);
        }
        for content in contents.keys() {
            verdict.violations.extend(check_content(case, offset, *content));
        }
    }
    for (&id, offsets) in &case.known.offsets {
        let may_repeat = case.history.promise(id) == Some(Promise::AtLeastOnce);
        if offsets.len() > 1 && !may_repeat && !case.may_lose_the_tail() {
            let text = format!("{id} is at offsets {offsets:?}");
            let last = offsets.last().copied();
            verdict.violations.push(case.violation(Anomaly::Duplicate, last, Some(id), text));
        }
    }
}

/// Of a damaged partition everything may be gone, and what is left may be cut and written anew; but
/// nothing may be served that was not sent.
fn check_damaged(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        for content in contents.keys() {
            verdict.violations.extend(check_content(case, offset, *content));
        }
    }
    let acknowledged = case.known.sent.values().filter(|sent| sent.acknowledged().is_some());
    *verdict.excused.entry("damaged").or_default() += acknowledged.count() as u64;
}

fn check_content(case: &Case<'_>, offset: i64, content: Content) -> Option<Violation> {
    let id = match content {
        Content::Foreign => {
            let text = "bytes that no producer sends".to_owned();
            return Some(case.violation(Anomaly::ThinAir, Some(offset), None, text));
        }
        Content::Altered(id) => {
            let text = format!("{id} with other bytes than were sent");
            return Some(case.violation(Anomaly::Altered, Some(offset), Some(id), text));
        }
        Content::Record(id) => id,
    };
    match case.known.sent.get(&id) {
        None => {
            let text = format!("{id}, which was never sent to this partition");
            Some(case.violation(Anomaly::ThinAir, Some(offset), Some(id), text))
        }
        Some(sent) if sent.is_refused() => {
            let ended = sent.ended.map(|(at, outcome)| format!("{outcome:?} at {}", seconds(at)));
            let text = format!("{id} was {} and is there", ended.unwrap_or_default());
            Some(case.violation(Anomaly::RefusedVisible, Some(offset), Some(id), text))
        }
        Some(_) => None,
    }
}
