//! Offsets that nobody needs any more, and groups that have nothing left.
//!
//! In: a tick every `offsets.retention.check.interval.ms`. Out: tombstones.
//!
//! Since when an offset is not needed depends on the group (KIP-211): an empty group needs it until it
//! became empty, or until it was committed if that was later; a simple group or one that reads other
//! topics until it was committed. Kafka looks at one of the two only: at the commit in consumer groups,
//! so that offsets of a quiet topic go with the last member, and at the other in classic ones, so that
//! an offset that an admin sets in an empty group may be gone in a minute. While a group rebalances
//! nothing expires: nobody knows what it will read (KAFKA-13636).

use std::time::Duration;

use model::Timestamp;
use protocol::StrBytes;

use super::{Committed, tombstone};
use crate::classic::ClassicState;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

/// How many tombstones one run gives out.
const TOMBSTONES_MAX: usize = 10_000;

/// When the next run is if there were more.
const NEXT_RUN: Duration = Duration::from_secs(1);

impl Shard {
    pub(crate) fn expire_offsets(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        let before = out.records.len();
        for id in ids {
            let room = TOMBSTONES_MAX.saturating_sub(out.records.len() - before);
            for record in self.expired_offsets(&id, env.wall, room) {
                self.activity.offset_expirations += 1;
                self.write(record, out);
            }
            if 0 < room && self.is_group_useless(&id) {
                self.write_group_tombstones(&id, out);
                out.seam();
            }
        }
        if TOMBSTONES_MAX <= out.records.len() - before {
            self.timers.set(Timer::OffsetExpiry, env.now + NEXT_RUN);
        }
    }

    fn is_group_useless(&self, id: &StrBytes) -> bool {
        let has_offsets = self.offsets.of_group(id).next().is_some();
        match self.groups.get(id) {
            // Somebody may be about to join with an id that was given out.
            Some(Group::Classic(group)) if !group.pending_joins.is_empty() => false,
            Some(group) => group.is_empty() && !has_offsets,
            None => false,
        }
    }

    fn expired_offsets(&self, id: &StrBytes, now: Timestamp, max: usize) -> Vec<Record> {
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        let Some(needed_until) = needed_until(group) else { return Vec::new() };
        let retention = self.config.offsets_retention;
        let topics = self.offsets.of_group(id);
        let topics = topics.filter(|(topic, _)| !group.is_subscribed_to(topic));
        let expired = topics.flat_map(|(topic, partitions)| {
            let known = partitions.iter();
            let known = known.filter(|(_, known)| known.is_expired(needed_until, now, retention));
            known.map(move |(partition, _)| tombstone(id, topic, *partition))
        });
        expired.take(max).collect()
    }
}

/// Until when at least a group needs all its offsets, each of which it needs until it was committed
/// anyhow: [`Timestamp::NONE`] if that is all. Nothing when it needs them still.
fn needed_until(group: &Group) -> Option<Timestamp> {
    let group = match group {
        Group::Classic(group) => group,
        Group::Consumer(group) => return Some(group.empty_since().unwrap_or(Timestamp::NONE)),
    };
    match group.state {
        _ if group.protocol_type.is_none() && group.members.is_empty() => Some(Timestamp::NONE),
        ClassicState::Empty => Some(group.state_since.unwrap_or(Timestamp::NONE)),
        ClassicState::Stable if group.subscribed_topics.is_some() => Some(Timestamp::NONE),
        _ => None,
    }
}

impl Committed {
    fn is_expired(&self, needed_until: Timestamp, now: Timestamp, retention: Duration) -> bool {
        if let Some(moment) = self.expires_at {
            return moment <= now;
        }
        let millis = now.millis_since(self.committed_at.max(needed_until));
        u64::try_from(millis).is_ok_and(|millis| retention <= Duration::from_millis(millis))
    }
}
