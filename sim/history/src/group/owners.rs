//! One owner: a partition is never two members' own, and who lost it commits nothing any more.
//!
//! What a member believes to own may be another's by now: it may have been away for longer than its
//! session, and nobody can tell it. So that two believe it at one time is no anomaly. These are: two
//! that were told so with one generation or epoch; one whose commit is accepted though it was asked
//! for after another was told of a later one, without its having let go; and one that lets go because
//! it was told to, too late for who has it, and too early to have been given up.
//!
//! A group whose sessions speak both protocols keeps its epochs when it changes, and one that nobody is
//! in loses them then. So two claims in it are held against each other when both members were in
//! the group when they were told, and it was never empty between.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupCase, GroupWhat, Protocol, WriteOutcome, Writer};
use crate::anomaly::seconds;
use crate::index::Span;
use crate::{Anomaly, Partition, Verdict, Violation};

/// When somebody was told that a partition is its own.
#[derive(Clone, Copy, Debug)]
struct Claim {
    member: u32,
    epoch: i32,
    /// It was so at some moment since then.
    from: u64,
    at: u64,
}

/// A member's session.
#[derive(Debug, Default)]
struct Session<'a> {
    began: u64,
    instance: Option<&'a str>,
    protocol: Protocol,
    /// What it has, since when.
    owned: BTreeMap<&'a Partition, Claim>,
}

/// A commit that has no answer yet.
#[derive(Debug)]
struct Asked<'a> {
    member: u32,
    at: u64,
    /// What it had then, of what is committed.
    owned: Vec<(&'a Partition, Claim)>,
}

#[derive(Default)]
struct Owners<'a> {
    sessions: BTreeMap<u32, Session<'a>>,
    /// Who was told first, by epoch.
    by_epoch: BTreeMap<(&'a Partition, i32), Claim>,
    /// All that were told so, in the order of time.
    claims: BTreeMap<&'a Partition, Vec<Claim>>,
    asked: BTreeMap<u32, Asked<'a>>,
    /// Pairs that were told of.
    told: BTreeSet<(u32, u32)>,
    /// The generations that all members are in, each when somebody was told of it.
    generations: Vec<Claim>,
}

pub(super) fn check(case: &GroupCase<'_>, verdict: &mut Verdict) {
    let mut owners = Owners::default();
    for moment in &case.events {
        match moment.what {
            GroupWhat::Began { member, instance, protocol } => {
                let (began, instance, protocol) = (moment.at, instance.as_deref(), *protocol);
                let session = Session { began, instance, protocol, owned: BTreeMap::new() };
                owners.sessions.insert(*member, session);
            }
            GroupWhat::Assigned { member, epoch, partitions, untold, is_leader } => {
                let (member, epoch, from) = (*member, *epoch, *untold);
                let claim = Claim { member, epoch, from, at: moment.at };
                if *is_leader || case.rules.protocol == Protocol::Classic {
                    owners.note_generation(claim);
                }
                verdict.violations.extend(owners.assign(case, claim, partitions));
            }
            GroupWhat::Released { member, partitions, is_lost, untold } => {
                if let Some(patience) = case.rules.patience_nanos.filter(|_| !is_lost) {
                    let until = untold.saturating_add(patience);
                    verdict.violations.extend(owners.release(case, *member, partitions, until));
                }
                if let Some(session) = owners.sessions.get_mut(member) {
                    session.owned.retain(|at, _| !partitions.contains(at));
                }
            }
            GroupWhat::Ended { member } => {
                if let Some(session) = owners.sessions.get_mut(member) {
                    session.owned.clear();
                }
            }
            GroupWhat::Write { write, by: Writer::Member { member, .. }, offsets, .. } => {
                owners.ask(*write, *member, moment.at, offsets.iter().map(|(at, _)| at));
            }
            GroupWhat::Written { write, outcome, epoch } => {
                let Some(asked) = owners.asked.remove(write) else { continue };
                if *outcome == WriteOutcome::Done {
                    verdict.violations.extend(owners.judge(case, &asked, *epoch));
                }
            }
            _ => {}
        }
    }
}

impl<'a> Owners<'a> {
    fn assign(
        &mut self,
        case: &GroupCase<'_>,
        claim: Claim,
        partitions: &'a [Partition],
    ) -> Vec<Violation> {
        let session = self.sessions.entry(claim.member).or_default();
        for partition in partitions {
            session.owned.insert(partition, claim);
            self.claims.entry(partition).or_default().push(claim);
        }
        let owned: Vec<&Partition> = session.owned.keys().copied().collect();
        let mut violations = Vec::new();
        for partition in owned {
            let first = *self.by_epoch.entry((partition, claim.epoch)).or_insert(claim);
            if self.are_two(case, first, claim) && self.told.insert((first.member, claim.member)) {
                let text = format!(
                    "members {} and {} both own it in {}, told at {} and at {}",
                    first.member,
                    claim.member,
                    claim.epoch,
                    seconds(first.at),
                    seconds(claim.at),
                );
                violations.push(case.violation(Anomaly::TwoOwners, partition, None, text));
            }
        }
        violations
    }

    /// A generation that all members are in: who is told first is enough.
    fn note_generation(&mut self, claim: Claim) {
        if self.generations.last().is_none_or(|last| last.epoch != claim.epoch) {
            self.generations.push(claim);
        }
    }

    /// A member lets go because it was told to: until then, or until it was given up, nobody else
    /// may have what it lets go of.
    fn release(
        &self,
        case: &GroupCase<'_>,
        member: u32,
        partitions: &[Partition],
        until: u64,
    ) -> Option<Violation> {
        let session = self.sessions.get(&member)?;
        if session.protocol == Protocol::Classic {
            return None;
        }
        let early = |partition: &Partition| {
            let own = *session.owned.get(partition)?;
            let later = self.claims.get(partition)?.iter().find(|later| {
                own.epoch < later.epoch
                    && own.at < later.at
                    && later.at < until
                    && self.are_two(case, own, **later)
            });
            later.copied()
        };
        let mut taken = partitions.iter().filter_map(|at| Some((at, early(at)?)));
        let (partition, later) = taken.next()?;
        let text = format!(
            "member {} was told {} at {}, before member {member} had let go of it",
            later.member,
            later.epoch,
            seconds(later.at),
        );
        Some(case.violation(Anomaly::TwoOwners, partition, None, text))
    }

    /// Whether two claims are of different members in one life of the group.
    fn are_two(&self, case: &GroupCase<'_>, one: Claim, other: Claim) -> bool {
        let session = |claim: Claim| self.sessions.get(&claim.member);
        let (Some(first), Some(second)) = (session(one), session(other)) else { return false };
        let is_one = one.member == other.member
            || first.instance.is_some_and(|instance| second.instance == Some(instance));
        let from = first.began.min(second.began);
        let until = one.at.max(other.at);
        let told = Span { from: from.max(one.from.min(other.from)), until };
        let is_joined = || case.life.is_joined((one.member, one.at), (other.member, other.at));
        !is_one
            && case.life.is_one(Span { from, until })
            && !case.life.may_be_bare(told)
            && (case.rules.protocol != Protocol::Mixed || is_joined())
    }

    fn ask(
        &mut self,
        write: u32,
        member: u32,
        at: u64,
        partitions: impl Iterator<Item = &'a Partition>,
    ) {
        let session = self.sessions.entry(member).or_default();
        let owned = partitions.filter_map(|at| Some((at, *session.owned.get(at)?))).collect();
        self.asked.insert(write, Asked { member, at, owned });
    }

    /// A commit was accepted: nobody may have taken the place of its member before it was asked for.
    fn judge(&self, case: &GroupCase<'_>, asked: &Asked<'_>, epoch: i32) -> Option<Violation> {
        let taken = asked.owned.iter().find_map(|(partition, own)| {
            let later = self.claims.get(partition)?.iter().find(|later| {
                own.epoch < later.epoch
                    && own.at < later.at
                    && later.at < asked.at
                    && self.are_two(case, *own, **later)
            })?;
            Some((*partition, *later))
        });
        let outdated = || {
            let (partition, own) = *asked.owned.first()?;
            let newer = self.generations.iter().find(|newer| {
                epoch < newer.epoch
                    && newer.at < asked.at
                    && newer.member != asked.member
                    && self.are_two(case, own, **newer)
            });
            Some((partition, *newer?))
        };
        let (partition, later) = taken.or_else(outdated)?;
        let text = format!(
            "a commit of member {}, asked for at {}, was accepted; member {} was told {} at {}",
            asked.member,
            seconds(asked.at),
            later.member,
            later.epoch,
            seconds(later.at),
        );
        Some(case.violation(Anomaly::FencedCommit, partition, None, text))
    }
}
