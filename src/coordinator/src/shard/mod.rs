//! One shard: the groups and offsets of one partition of `__consumer_offsets`.
//!
//! In: calls, ticks, news of the cluster, records to replay. Out: records and answers, in [`Output`].
//!
//! A change is made by replaying the record that says it ([`Shard::write`]), so that a coordinator that
//! lived through it and one that loads it from the log are in the same state.
//!
//! Whoever runs a shard appends the records of a call as one batch, divided at most where
//! [`Output::parts`] says, and sends the answers when they are committed.
//! When that goes wrong, the shard is dropped, its callers are told so, and a new one is loaded.
//!
//! Start at [`Shard::call`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Instant, Timestamp};
use protocol::StrBytes;

use crate::admin::Activity;
use crate::call::{Answer, Call, Request, Response, Ticket};
use crate::cluster::{Cluster, TopicChanges};
use crate::config::Config;
use crate::group::Group;
use crate::offsets::Offsets;
use crate::record::Record;
use crate::timers::{Timer, Timers};

/// What a shard is told with everything it does.
pub struct Env<'a> {
    /// The present time.
    pub now: Instant,
    /// The same, as people read it.
    pub wall: Timestamp,
    /// The cluster's metadata.
    pub cluster: &'a dyn Cluster,
    /// 16 random bytes, others at every call.
    pub random: &'a mut dyn FnMut() -> [u8; 16],
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// To append; [`Output::parts`] says what belongs together.
    pub records: Vec<Record>,
    /// To send once the records, and all that were given out before, are committed.
    pub answers: Vec<Answer>,
    /// Where records end that have nothing to do with those behind them.
    pub seams: Vec<usize>,
}

impl Output {
    /// Records that are in the log together or not at all. Offsets stand for themselves: a group that
    /// is deleted may lose some of its offsets before the rest and itself.
    pub fn parts(&self) -> impl Iterator<Item = &[Record]> {
        let mut rest = self.records.as_slice();
        let mut begun = 0;
        let mut seams = self.seams.iter();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let mut length = 1;
            if !matches!(rest[0], Record::OffsetCommit { .. }) {
                let end = seams.find(|seam| begun < **seam).copied();
                length = end.map_or(rest.len(), |end| end - begun);
            }
            let (part, behind) = rest.split_at(length);
            (rest, begun) = (behind, begun + length);
            Some(part)
        })
    }

    /// What comes from here on has nothing to do with what is there.
    pub(crate) fn seam(&mut self) {
        self.seams.push(self.records.len());
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, ticket: Ticket, response: Response) {
        self.answers.push(Answer { ticket, response });
    }
}

/// The groups of one partition.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: Arc<Config>,
    pub(crate) groups: BTreeMap<StrBytes, Group>,
    pub(crate) offsets: Offsets,
    pub(crate) timers: Timers,
    pub(crate) activity: Activity,
}

impl Shard {
    /// A shard that knows no group.
    pub fn new(config: Arc<Config>) -> Shard {
        Shard {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            timers: Timers::default(),
            activity: Activity::default(),
        }
    }

    /// Takes in a record, from the log or of one's own making.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::OffsetCommit { key, value } => self.replay_offset_commit(key, value),
            Record::GroupMetadata { key, value } => self.replay_classic_group(key, value),
            Record::ConsumerGroupMetadata { .. }
            | Record::ConsumerGroupPartitionMetadata { .. }
            | Record::ConsumerGroupMemberMetadata { .. }
            | Record::ConsumerGroupTargetAssignmentMetadata { .. }
            | Record::ConsumerGroupTargetAssignmentMember { .. }
            | Record::ConsumerGroupCurrentMemberAssignment { .. }
            | Record::ConsumerGroupRegularExpression { .. } => self.replay_consumer_group(record),
        }
    }

    /// All records of the log are replayed: members get a full session from here on, timers are set.
    pub fn on_loaded(&mut self, env: &mut Env<'_>, out: &mut Output) {
        let interval = self.config.offsets_retention_check_interval;
        self.timers.set(Timer::OffsetExpiry, env.now + interval);
        self.on_offsets_loaded(env, out);
        self.on_classic_groups_loaded(env, out);
        self.on_consumer_groups_loaded(env, out);
    }

    /// Serves a call, at once or when more has happened.
    pub fn call(&mut self, call: Call, env: &mut Env<'_>, out: &mut Output) {
        let Call { ticket, api_version, client_id, client_host, request } = call;
        let from = Caller { ticket, api_version, client_id, client_host };
        if let Some(bytes) = request.bytes_too_many(&self.config) {
            return self.refuse_as_too_large(from, &request, bytes, out);
        }
        match request {
            Request::JoinGroup(request) => self.join_group(from, request, env, out),
            Request::SyncGroup(request) => self.sync_group(from, request, env, out),
            Request::Heartbeat(request) => self.heartbeat(from, request, env, out),
            Request::LeaveGroup(request) => self.leave_group(from, request, env, out),
            Request::OffsetCommit(request) => self.commit_offsets(from, request, env, out),
            Request::OffsetFetch { group, require_stable } => {
                self.fetch_offsets(from, group, require_stable, env, out);
            }
            Request::OffsetDelete(request) => self.delete_offsets(from, request, out),
            Request::DeleteGroup(group) => self.delete_group(from, &group, out),
            Request::DescribeGroup(group) => self.describe_group(from, group, out),
            Request::DescribeConsumerGroup(group) => {
                self.describe_consumer_group(from, group, env, out);
            }
            Request::ListGroups { states, types } => self.list_groups(from, &states, &types, out),
            Request::Count => out.answer(from.ticket, Response::Count(self.counts())),
            Request::ConsumerGroupHeartbeat(request) => {
                self.consumer_group_heartbeat(from, request, env, out);
            }
        }
        self.assert_invariants();
    }

    /// When [`Shard::tick`] has something to do.
    pub fn next_tick(&self) -> Option<Instant> {
        self.timers.next_due()
    }

    /// Does what is due.
    pub fn tick(&mut self, env: &mut Env<'_>, out: &mut Output) {
        while let Some(timer) = self.timers.pop_due(env.now) {
            self.on_timer(timer, env, out);
            out.seam();
        }
        self.assert_invariants();
    }

    fn on_timer(&mut self, timer: Timer, env: &mut Env<'_>, out: &mut Output) {
        match timer {
            Timer::OffsetExpiry => {
                let interval = self.config.offsets_retention_check_interval;
                self.timers.set(Timer::OffsetExpiry, env.now + interval);
                self.expire_offsets(env, out);
            }
            Timer::ClassicJoin(group) => self.on_classic_join_timeout(&group, env, out),
            Timer::ClassicSync(group) => self.on_classic_sync_timeout(&group, env, out),
            Timer::ClassicSession(group, member) => {
                self.on_classic_session_timeout(&group, &member, env, out);
            }
            Timer::ClassicPending(group, member) => {
                self.on_classic_pending_timeout(&group, &member, env, out);
            }
            Timer::ConsumerSession(..)
            | Timer::ConsumerRebalance(..)
            | Timer::ConsumerJoin(..)
            | Timer::ConsumerSync(..)
            | Timer::ConsumerAssignment(..)
            | Timer::ConsumerRegex(..) => self.on_consumer_timer(timer, env, out),
        }
    }

    /// The cluster's topics changed; the metadata tells what they are now.
    pub fn on_topics_changed(
        &mut self,
        changes: &TopicChanges,
        env: &mut Env<'_>,
        out: &mut Output,
    ) {
        self.forget_offsets_of_changed_topics(changes, env, out);
        self.on_topics_of_consumer_groups_changed(changes, env, out);
        self.assert_invariants();
    }

    /// The log's segments are of another size now: so many bytes may a record have.
    pub fn limit_records(&mut self, record_bytes_max: usize) {
        if self.config.record_bytes_max != record_bytes_max {
            let config = Config { record_bytes_max, ..(*self.config).clone() };
            self.config = Arc::new(config);
        }
    }

    /// Gives a record out and takes it in.
    pub(crate) fn write(&mut self, record: Record, out: &mut Output) {
        out.records.push(record.clone());
        self.replay(record);
    }

    fn assert_invariants(&self) {
        if cfg!(debug_assertions) {
            self.assert_classic_invariants();
            self.assert_consumer_invariants();
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) ticket: Ticket,
    pub(crate) api_version: i16,
    pub(crate) client_id: StrBytes,
    pub(crate) client_host: StrBytes,
}
