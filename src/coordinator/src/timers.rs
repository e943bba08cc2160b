//! What is to happen later, by name.
//!
//! In: a name and a moment. Out: the names whose moment has come, in the order of their moments and,
//! at one moment, in the order they were set: the same in every run.
//!
//! Timers are not in the log: whoever replays it sets them anew.

use std::collections::BTreeMap;

use model::Instant;
use protocol::StrBytes;

/// What a timer is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Offsets are looked for that are to be forgotten.
    OffsetExpiry,
    /// The join phase of a classic group ends.
    ClassicJoin(StrBytes),
    /// Members of a classic group that have not asked for their assignment are out.
    ClassicSync(StrBytes),
    /// A classic member (group, member) has shown no sign of life for its session timeout.
    ClassicSession(StrBytes, StrBytes),
    /// A member (group, member) that got an id and was to join with it has not.
    ClassicPending(StrBytes, StrBytes),
    /// A member (group, member) of a consumer group has shown no sign of life, whatever its protocol.
    ConsumerSession(StrBytes, StrBytes),
    /// A member (group, member) of a consumer group has not given up its partitions.
    ConsumerRebalance(StrBytes, StrBytes),
    /// A classic member (group, member) of a consumer group was told to rejoin and has not.
    ConsumerJoin(StrBytes, StrBytes),
    /// A classic member (group, member) of a consumer group has rejoined and not asked for its
    /// assignment.
    ConsumerSync(StrBytes, StrBytes),
    /// A consumer group gets a new assignment, put off by the assignment interval.
    ConsumerAssignment(StrBytes),
    /// The patterns of a consumer group are matched anew.
    ConsumerRegex(StrBytes),
}

/// All timers of one shard.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Instant, u64), Timer>,
    set: BTreeMap<Timer, (Instant, u64)>,
    next: u64,
}

impl Timers {
    /// Sets a timer, in the place of one of the same name.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(&timer);
        let place = (at, self.next);
        self.next += 1;
        self.due.insert(place, timer.clone());
        self.set.insert(timer, place);
    }

    /// Sets a timer unless there is one of the name.
    pub(crate) fn set_if_absent(&mut self, timer: Timer, at: Instant) {
        if !self.is_set(&timer) {
            self.set(timer, at);
        }
    }

    /// Takes a timer away; nothing happens when there is none of the name.
    pub(crate) fn cancel(&mut self, timer: &Timer) {
        if let Some(place) = self.set.remove(timer) {
            self.due.remove(&place);
        }
    }

    /// Whether there is a timer of the name.
    pub(crate) fn is_set(&self, timer: &Timer) -> bool {
        self.set.contains_key(timer)
    }

    /// The moment of the first timer.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the first timer whose moment is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.set.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_the_order_of_their_moments_and_then_of_their_setting() {
        let group = |name: &'static str| Timer::ClassicJoin(StrBytes::from_static(name));
        let mut timers = Timers::default();
        timers.set(group("late"), Instant(9));
        timers.set(group("b"), Instant(5));
        timers.set(group("a"), Instant(5));
        timers.set(group("gone"), Instant(1));
        timers.cancel(&group("gone"));
        timers.set(group("late"), Instant(7));
        timers.set_if_absent(group("a"), Instant(1));
        assert_eq!(timers.next_due(), Some(Instant(5)));
        assert_eq!(timers.pop_due(Instant(4)), None);
        assert_eq!(timers.pop_due(Instant(8)), Some(group("b")));
        assert_eq!(timers.pop_due(Instant(8)), Some(group("a")));
        assert!(timers.is_set(&group("late")));
        assert_eq!(timers.pop_due(Instant(8)), Some(group("late")));
        assert_eq!(timers.next_due(), None);
    }
}
