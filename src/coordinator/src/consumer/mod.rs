//! Consumer groups: the coordinator says who reads what (KIP-848).
//!
//! In: heartbeats, news of topics, time. Out: records and answers.
//!
//! A change of members, subscriptions or topics gives the group a new epoch; a new epoch gives it a new
//! target assignment; and each member walks to its target at its own pace, one heartbeat at a time.
//!
//! Invariants:
//! - a partition is with at most one member, counting what members have yet to give up
//! - a member's epoch never falls, but to 0 when it joins anew and to -2 while a static member is away
//! - a target has every partition of every subscribed topic exactly once
//!
//! Start at `heartbeat.rs`, then `update.rs` and `reconcile.rs`.

mod assignor;
mod classic;
mod describe;
mod embedded;
mod group;
mod hash;
mod heartbeat;
mod leave;
mod member;
mod migrate;
mod partitions;
mod pattern;
mod re2;
mod reconcile;
mod records;
mod refusal;
mod replay;
mod update;
mod validate;

#[cfg(test)]
mod tests;

use model::{Timestamp, TopicId};
use protocol::{ErrorCode, StrBytes};

use crate::group::Group;
use crate::record::Record;
use crate::shard::Shard;

pub(crate) use group::ConsumerGroup;
pub(crate) use refusal::Refusal;

/// The first version of OffsetCommit that knows of member epochs.
const COMMIT_VERSION_MIN: i16 = 9;

impl ConsumerGroup {
    /// Its state, as ListGroups and the describing APIs name it.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members().is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.is_reconciled() {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether every member has what it shall have in the group's epoch.
    pub(crate) fn is_reconciled(&self) -> bool {
        let epoch = self.epoch;
        epoch == self.assignment_epoch
            && self.members().values().all(|member| member.current.is_reconciled_to(epoch))
    }

    /// Whether it has no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// Since when it has no member, as far as that is known.
    pub(crate) fn empty_since(&self) -> Option<Timestamp> {
        self.emptied_at.filter(|_| self.is_empty())
    }

    /// Whether a member reads the topic: its offsets do not expire and are not deleted.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.reads(topic)
    }

    /// Whether this member in this epoch may commit (`ConsumerGroup.validateOffsetCommit`). In an
    /// epoch before its own, [`ConsumerGroup::check_commit_of_partition`] has the last word. An
    /// instance id changes nothing: the member id of a static member is checked like any other.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownMemberId`], [`ErrorCode::UnsupportedVersion`], and for an epoch that the
    /// member has not reached [`ErrorCode::StaleMemberEpoch`] or, when it is classic,
    /// [`ErrorCode::IllegalGeneration`].
    pub(crate) fn check_offset_commit(
        &self,
        member: &str,
        _instance: Option<&str>,
        epoch: i32,
        api_version: i16,
    ) -> Result<(), ErrorCode> {
        // Admins, and consumers that manage their partitions themselves, have no epoch.
        if epoch < 0 && self.is_empty() {
            return Ok(());
        }
        let known = self.member(member).ok_or(ErrorCode::UnknownMemberId)?;
        if !known.is_classic() && api_version < COMMIT_VERSION_MIN {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch > known.current.epoch { Err(stale_epoch(known)) } else { Ok(()) }
    }

    /// Whether a member that may commit in this epoch may commit for this partition: it has had it
    /// since that epoch or longer (KIP-1251). A commit under way does not fail because the group has
    /// moved on.
    ///
    /// # Errors
    /// [`ErrorCode::StaleMemberEpoch`] or, when the member is classic, [`ErrorCode::IllegalGeneration`].
    pub(crate) fn check_commit_of_partition(
        &self,
        member: &str,
        epoch: i32,
        topic: TopicId,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let Some(known) = self.member(member) else { return Ok(()) };
        let current = &known.current;
        let held_since = [&current.assigned, &current.revoking]
            .into_iter()
            .find_map(|owned| owned.get(&topic)?.get(&partition));
        match held_since {
            _ if epoch == current.epoch => Ok(()),
            Some(since) if epoch >= *since => Ok(()),
            _ => Err(stale_epoch(known)),
        }
    }

    /// Whether this member in this epoch may read offsets (`ConsumerGroup.validateOffsetFetch`).
    ///
    /// # Errors
    /// [`ErrorCode::UnknownMemberId`], and for another epoch than the member's
    /// [`ErrorCode::StaleMemberEpoch`] or, when it is classic, [`ErrorCode::IllegalGeneration`].
    pub(crate) fn check_offset_fetch(
        &self,
        member: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        match member {
            None if epoch < 0 => Ok(()),
            member => {
                let known = member.and_then(|member| self.member(member));
                check_epoch(known.ok_or(ErrorCode::UnknownMemberId)?, epoch)
            }
        }
    }

    /// The records that take the group away.
    pub(crate) fn tombstones(&self, group: &StrBytes) -> Vec<Record> {
        let ids = || self.members().keys();
        let mut tombstones: Vec<Record> =
            ids().map(|id| records::current(group, id, None)).collect();
        tombstones.extend(self.target.keys().map(|id| records::target(group, id, None)));
        tombstones.push(records::target_epoch(group, None));
        tombstones.extend(ids().map(|id| records::member(group, id, None)));
        tombstones.extend(self.patterns.keys().map(|it| records::pattern(group, it, None)));
        if self.has_partition_metadata {
            tombstones.push(records::no_partition_metadata(group));
        }
        tombstones.push(records::epoch(group, None));
        tombstones
    }
}

fn check_epoch(member: &member::Member, epoch: i32) -> Result<(), ErrorCode> {
    if member.current.epoch == epoch { Ok(()) } else { Err(stale_epoch(member)) }
}

fn stale_epoch(member: &member::Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}

impl Shard {
    pub(crate) fn assert_consumer_invariants(&self) {
        for group in self.groups.values() {
            if let Group::Consumer(group) = group {
                group.assert_invariants();
            }
        }
    }
}
