//! One step of a member towards its target assignment (`CurrentAssignmentBuilder`).
//!
//! In: where the member stands, its target, what it says it still uses, which partitions are free.
//! Out: where it stands next, or nothing when it has to wait.
//!
//! A member first gives up what it shall not own, in its old epoch; it gets new partitions, and the
//! target's epoch, only when it has said that the old ones are gone. A partition is handed out only
//! when nobody else may use it: that is what keeps every partition with one member.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Reported;

use super::member::{Current, MemberState};
use super::partitions::{Owned, Partitions, contains, may_overlap};

/// What a step depends on beside the member itself.
pub(super) struct Surroundings<'a> {
    /// The epoch of the target assignment.
    pub(super) target_epoch: i32,
    /// What the member shall own.
    pub(super) target: &'a Partitions,
    /// What the member says it uses; nothing when it does not say.
    pub(super) reported: Option<&'a [Reported]>,
    /// Whether the member asks for other topics than before.
    pub(super) has_new_subscription: bool,
    /// Whether the member asks for this topic. What it does not ask for is taken away at once, even
    /// before there is a new target.
    pub(super) is_subscribed: &'a dyn Fn(TopicId) -> bool,
    /// Whether nobody but the member may use the partition.
    pub(super) is_free: &'a dyn Fn(TopicId, i32) -> bool,
}

/// Where the member stands after the step; nothing when it stands where it stood.
pub(super) fn step(current: &Current, around: &Surroundings<'_>) -> Option<Current> {
    let next = match current.state {
        MemberState::Stable if current.epoch == around.target_epoch => {
            around.has_new_subscription.then(|| drop_unsubscribed(current, around))?
        }
        MemberState::Unrevoked if may_overlap(around.reported, &current.revoking) => {
            around.has_new_subscription.then(|| drop_unsubscribed(current, around))?
        }
        MemberState::Stable
        | MemberState::Unrevoked
        | MemberState::Unreleased
        | MemberState::Unknown => next(current, around),
    };
    // Kafka also writes a record when only the previous epoch would change, and then fences a member
    // that lost two responses in a row.
    let is_change = next.epoch != current.epoch
        || next.state != current.state
        || next.assigned != current.assigned
        || next.revoking != current.revoking;
    is_change.then_some(next)
}

fn next(current: &Current, around: &Surroundings<'_>) -> Current {
    let nothing = BTreeSet::new();
    let mut kept = Owned::new();
    let mut revoking = Owned::new();
    for (topic, partitions) in &current.assigned {
        let target = match around.target.get(topic) {
            Some(target) if (around.is_subscribed)(*topic) => target,
            _ => &nothing,
        };
        for (partition, epoch) in partitions {
            let side = if target.contains(partition) { &mut kept } else { &mut revoking };
            side.entry(*topic).or_default().insert(*partition, *epoch);
        }
    }
    if !revoking.is_empty() && may_overlap(around.reported, &revoking) {
        return stay(current, MemberState::Unrevoked, kept, revoking);
    }
    let mut waits = false;
    let mut assigned = kept;
    for (topic, partitions) in around.target {
        if !(around.is_subscribed)(*topic) {
            continue;
        }
        for partition in partitions {
            if contains(&assigned, *topic, *partition) {
                continue;
            }
            if (around.is_free)(*topic, *partition) {
                let epochs: &mut BTreeMap<i32, i32> = assigned.entry(*topic).or_default();
                epochs.insert(*partition, around.target_epoch);
            } else {
                waits = true;
            }
        }
    }
    Current {
        epoch: around.target_epoch,
        previous_epoch: current.epoch,
        state: if waits { MemberState::Unreleased } else { MemberState::Stable },
        assigned,
        revoking: Owned::new(),
    }
}

/// Takes away what the member no longer asks for; the rest waits for the next target.
fn drop_unsubscribed(current: &Current, around: &Surroundings<'_>) -> Current {
    let mut kept = Owned::new();
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in &current.assigned {
        if (around.is_subscribed)(*topic) {
            kept.insert(*topic, partitions.clone());
        } else {
            revoking.entry(*topic).or_default().extend(partitions);
        }
    }
    if kept.len() == current.assigned.len() {
        return current.clone();
    }
    if may_overlap(around.reported, &revoking) {
        return stay(current, MemberState::Unrevoked, kept, revoking);
    }
    stay(current, current.state, kept, current.revoking.clone())
}

fn stay(current: &Current, state: MemberState, assigned: Owned, revoking: Owned) -> Current {
    Current { epoch: current.epoch, previous_epoch: current.epoch, state, assigned, revoking }
}
