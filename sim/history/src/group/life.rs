//! When a group may have come to its end and begun anew: with generations from the first one, and
//! without its offsets.
//!
//! Offsets expire when a group has been empty for long, by the broker's clock (`OffsetMetadataManager`
//! of Kafka; KAFKA-13636 is what happens without that condition). That it was not empty is known
//! of a time over which one member was in it: it was told an assignment before, a commit of it was
//! answered after, and it never heard that it was out.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupRules, GroupWhat, Moment, Protocol, WriteOutcome, Writer};
use crate::clock::Clocks;
use crate::index::Span;
use crate::rules::ANSWER_NANOS_MAX;
use crate::{History, Partition, What};

const NANOS_PER_MS: u64 = 1_000_000;
/// Times of offsets and of brokers are whole milliseconds.
const ROUNDING_MS: u64 = 2;

#[derive(Debug)]
pub(super) struct Life {
    /// When somebody may have deleted the group.
    deletions: Vec<Span>,
    /// When it may have had no offsets. An empty group without any goes at once.
    bare: Vec<Span>,
    /// When a loss of power may have taken what the coordinator wrote.
    losses: Vec<u64>,
    /// When one member was in the group for certain, and which.
    stays: Vec<(u32, Span)>,
    /// When somebody was, one or the other.
    held: Vec<Span>,
    retention_ms: Option<u64>,
    /// The most that a broker's clock was ahead of another, by when.
    clocks: Clocks,
}

impl Life {
    pub(super) fn of(
        history: &History,
        rules: &GroupRules,
        clocks: &Clocks,
        events: &[Moment<'_>],
        refused: &BTreeSet<u32>,
    ) -> Life {
        let losses = history.events.iter().filter_map(|event| match event.what {
            What::PowerLoss { .. } if rules.is_lost_with_power => Some(event.at),
            _ => None,
        });
        let deletions = deletions(events);
        let stays = stays(events);
        Life {
            bare: bare(events, refused, &deletions),
            deletions,
            losses: losses.collect(),
            held: held(&stays),
            stays,
            retention_ms: rules.retention_ms,
            clocks: clocks.clone(),
        }
    }

    /// Whether nothing ends generations between two moments.
    pub(super) fn is_one(&self, span: Span) -> bool {
        let touches = |other: &Span| other.from <= span.until && span.from <= other.until;
        !self.deletions.iter().any(touches) && self.keeps_offsets(span)
    }

    /// Whether the group may have been without offsets and without members at some moment, so that
    /// it went.
    pub(super) fn may_be_bare(&self, span: Span) -> bool {
        let touches = |bare: &&Span| bare.from <= span.until && span.from <= bare.until;
        let mut bare = self.bare.iter().filter(touches);
        bare.any(|bare| {
            let (from, until) = (bare.from.max(span.from), bare.until.min(span.until));
            !self.is_held(Span { from, until })
        })
    }

    /// Whether two members were in the group when they were told something, and somebody was all the
    /// time between. What they were told came about before, and each has been in it since then: so
    /// the group was not empty between the two either.
    pub(super) fn is_joined(&self, one: (u32, u64), other: (u32, u64)) -> bool {
        let is_in = |(member, at): (u32, u64)| {
            let mut of_member = self.stays.iter().filter(|(who, _)| *who == member);
            of_member.any(|(_, stay)| stay.from <= at && at <= stay.until)
        };
        let between = Span { from: one.1.min(other.1), until: one.1.max(other.1) };
        is_in(one) && is_in(other) && self.is_held(between)
    }

    /// Whether the group had members all the time.
    pub(super) fn is_held(&self, span: Span) -> bool {
        self.held.iter().any(|held| held.from <= span.from && span.until <= held.until)
    }

    /// Whether no offset can go between two moments but for a write.
    pub(super) fn keeps_offsets(&self, span: Span) -> bool {
        let is_lost = |at: &u64| span.from <= *at && *at <= span.until;
        !self.losses.iter().any(is_lost) && !self.may_expire(span)
    }

    fn may_expire(&self, span: Span) -> bool {
        let Some(retention_ms) = self.retention_ms else { return false };
        let until = span.until.min(u64::MAX / 2);
        let passed = (until - span.from.min(until)) / NANOS_PER_MS;
        let shown = passed.saturating_add(self.clocks.spread_ms(until)).saturating_add(ROUNDING_MS);
        retention_ms <= shown && !self.is_held(span)
    }
}

fn deletions(events: &[Moment<'_>]) -> Vec<Span> {
    let mut open: BTreeMap<u32, (u64, bool)> = BTreeMap::new();
    let mut spans = Vec::new();
    for moment in events {
        match moment.what {
            GroupWhat::Write { write, by: Writer::Deletion, may_repeat, .. } => {
                open.insert(*write, (moment.at, *may_repeat));
            }
            GroupWhat::Written { write, outcome, .. } => {
                let Some((from, may_repeat)) = open.remove(write) else { continue };
                let until = match outcome {
                    WriteOutcome::Done if may_repeat => moment.at.saturating_add(ANSWER_NANOS_MAX),
                    WriteOutcome::Done => moment.at,
                    WriteOutcome::Unknown { .. } => u64::MAX,
                    WriteOutcome::Refused { .. } => continue,
                };
                spans.push(Span { from, until });
            }
            _ => {}
        }
    }
    spans.extend(open.into_values().map(|(from, _)| Span { from, until: u64::MAX }));
    spans
}

/// From the begin, and from every deletion of the group or of offsets, to the next time that somebody
/// heard of an offset.
fn bare(events: &[Moment<'_>], refused: &BTreeSet<u32>, deletions: &[Span]) -> Vec<Span> {
    let mut deleting = BTreeSet::new();
    let mut begins = vec![0];
    let mut heard = Vec::new();
    for moment in events {
        match moment.what {
            GroupWhat::Write { write, by: Writer::Deletion, .. } => _ = deleting.insert(*write),
            GroupWhat::Write { write, offsets, .. }
                if !refused.contains(write) && offsets.iter().any(|(_, at)| at.is_none()) =>
            {
                // It may have been the last one.
                deleting.insert(*write);
                begins.push(moment.at);
            }
            GroupWhat::Written { write, outcome: WriteOutcome::Done, .. }
                if !deleting.contains(write) =>
            {
                heard.push(moment.at);
            }
            GroupWhat::Fetched { offsets, .. } if offsets.iter().any(|(_, at)| at.is_some()) => {
                heard.push(moment.at);
            }
            _ => {}
        }
    }
    begins.extend(deletions.iter().map(|deletion| deletion.from));
    let until = |from: u64| heard.iter().copied().find(|at| from < *at).unwrap_or(u64::MAX);
    begins.into_iter().map(|from| Span { from, until: until(from) }).collect()
}

/// From an assignment to the last commit that was accepted. A classic member that was out has another
/// id then, and its history says so; a consumer keeps its id, and is not told that it was out when it
/// had nothing.
fn stays(events: &[Moment<'_>]) -> Vec<(u32, Span)> {
    let mut consumers = BTreeSet::new();
    let mut owned: BTreeMap<u32, BTreeSet<&Partition>> = BTreeMap::new();
    let mut since: BTreeMap<u32, u64> = BTreeMap::new();
    let mut asked: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    let mut stays: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for moment in events {
        match moment.what {
            GroupWhat::Began { member, protocol: Protocol::Consumer, .. } => {
                consumers.insert(*member);
            }
            GroupWhat::Assigned { member, partitions, .. } => {
                let owned = owned.entry(*member).or_default();
                owned.extend(partitions);
                if !consumers.contains(member) || !owned.is_empty() {
                    since.entry(*member).or_insert(moment.at);
                }
            }
            GroupWhat::Released { member, partitions, is_lost, .. } => {
                let owned = owned.entry(*member).or_default();
                owned.retain(|at| !partitions.contains(at));
                if *is_lost || (consumers.contains(member) && owned.is_empty()) {
                    since.remove(member);
                }
            }
            GroupWhat::Ended { member } => _ = since.remove(member),
            GroupWhat::Write { write, by: Writer::Member { member, .. }, .. } => {
                asked.insert(*write, (*member, moment.at));
            }
            GroupWhat::Written { write, outcome: WriteOutcome::Done, .. } => {
                if let Some((member, at)) = asked.remove(write)
                    && let Some(from) = since.get(&member).filter(|from| **from <= at)
                {
                    stays.insert((member, *from), at);
                }
            }
            _ => {}
        }
    }
    stays.into_iter().map(|((member, from), until)| (member, Span { from, until })).collect()
}

/// What all stays cover together.
fn held(stays: &[(u32, Span)]) -> Vec<Span> {
    let mut spans: Vec<Span> = stays.iter().map(|(_, stay)| *stay).collect();
    spans.sort_by_key(|span| span.from);
    let mut held: Vec<Span> = Vec::new();
    for span in spans {
        match held.last_mut() {
            Some(last) if span.from <= last.until => last.until = last.until.max(span.until),
            _ => held.push(span),
        }
    }
    held
}
