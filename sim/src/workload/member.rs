//! A member of a group: polls, processes, commits; sometimes leaves, sometimes takes too long.
//!
//! It writes down what it is told and what it does, in the order in which it does it. What it has
//! processed it commits (at least once), or it processes only what is committed (at most once).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::consumer::{ConsumerError, OffsetReset};
use client::group::{
    AutoCommit, CommitError, CommitObserver, CommittedOffset, GroupError, GroupProtocol,
    MemberEpoch, MemberState, Membership, Offsets,
};
use client::{
    Client, ClientError, ConsumerConfig, ConsumerRecord, GroupConfig, GroupConsumer, Polled,
    Subscription, TopicPartition,
};
use history::{
    ANSWER_NANOS_MAX, Committed, GroupWhat, Partition, Protocol, What, WriteOutcome, Writer,
};
use protocol::{ErrorCode, StrBytes};

use super::groups::MemberPlace;
use super::read::by_partition;
use super::{Seat, text_of, topic_partition};
use crate::scenario::{CommitSpec, GroupSpec, ProtocolSpec};
use crate::world::Nanos;

/// How long one poll waits.
const POLL_LIMIT: Duration = Duration::from_millis(300);
/// How long leaving may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// After one poll in so many it asks what is committed.
const FETCH_ONE_IN: u64 = 20;
/// Most time that records of one poll take, in milliseconds.
const WORK_MAX: u64 = 30;
/// So long somebody waits who is not to be in the group, in milliseconds.
const AWAY: u64 = 100;
/// Who takes long looks this often whether it may.
const STALL_STEP: Duration = Duration::from_millis(100);
/// Longest time between two sessions, in milliseconds.
const REST_MAX: u64 = 1_000;

/// Nobody knows in which epoch its member was when a commit was sent for the last time.
const EPOCH_UNKNOWN: i32 = i32::MAX;

/// How a commit is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// One request, whose answer is waited for.
    Once,
    /// Again and again while that may help.
    Repeated,
    /// One request; work goes on before its answer.
    Behind,
}

pub(super) async fn run(mut seat: Seat, place: MemberPlace) {
    let work = Arc::clone(&seat.work);
    let (group, spec) = work.group(place.group);
    // The process before this one ended without a word.
    work.end_session(seat.node, seat.client);
    let client = seat.client();
    loop {
        let is_over = work.invited_until(&group) <= work.world.now() || work.is_closing();
        if place.is_guest && is_over {
            return;
        }
        if work.groups.is_closed(&group) {
            seat.sleep(Duration::from_millis(AWAY)).await;
            continue;
        }
        Session::begin(&mut seat, &client, &group, spec, place).await.run().await;
        work.end_session(seat.node, seat.client);
        let rest = seat.dice.spread(1, REST_MAX);
        seat.sleep(Duration::from_millis(rest)).await;
    }
}

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Leave,
    Fail,
}

struct Session<'a> {
    seat: &'a mut Seat,
    group: &'a Arc<str>,
    spec: &'a GroupSpec,
    place: MemberPlace,
    member: u32,
    consumer: GroupConsumer,
    /// The id that it was last known by for certain.
    id: Option<StrBytes>,
    /// What the next poll gives up.
    owed: Vec<Partition>,
    /// When the last poll began that had no change to tell.
    untold: u64,
    /// Whether something was handed out that no commit covers for certain.
    is_dirty: bool,
    /// Until then a commit may still come to the coordinator that was made before the last one.
    unsettled: Option<Nanos>,
}

impl<'a> Session<'a> {
    async fn begin(
        seat: &'a mut Seat,
        client: &Client,
        group: &'a Arc<str>,
        spec: &'a GroupSpec,
        place: MemberPlace,
    ) -> Session<'a> {
        let mut config = config(seat, group, spec, place);
        let instance = config.instance_id.as_ref().map(|id| Arc::from(&**id));
        let member = seat.work.begin_session(seat.client, group);
        config.commit_observer = Some(observer(seat, group, member));
        let protocol = match config.protocol {
            GroupProtocol::Classic => Protocol::Classic,
            GroupProtocol::Consumer => Protocol::Consumer,
        };
        seat.work.note_group(seat.node, group, GroupWhat::Began { member, instance, protocol });
        let mut consumer = GroupConsumer::new(client, config);
        let topics = seat.work.scenario.topics_of(spec);
        let names = topics.iter().map(|topic| StrBytes::from(&**topic));
        let subscription = match &spec.pattern {
            Some(pattern) => Subscription::Regex(StrBytes::from(pattern.as_str())),
            None => Subscription::topics(names),
        };
        let subscribed = consumer.subscribe(subscription).await;
        subscribed.expect("only consumers have a pattern");
        Session {
            seat,
            group,
            spec,
            place,
            member,
            consumer,
            id: None,
            owed: Vec::new(),
            untold: 0,
            is_dirty: false,
            unsettled: None,
        }
    }

    async fn run(mut self) {
        loop {
            match self.step().await {
                Next::Go => {}
                Next::Fail => return,
                Next::Leave => return self.leave().await,
            }
        }
    }

    fn note(&self, what: GroupWhat) {
        self.seat.work.note_group(self.seat.node, self.group, what);
    }

    async fn step(&mut self) -> Next {
        let owed = std::mem::take(&mut self.owed);
        self.release(owed, false);
        let begun = self.seat.work.world.now();
        let polled = self.consumer.poll(POLL_LIMIT).await;
        self.show_id();
        match polled {
            Ok(Polled::Nothing) => {
                self.note_untold(begun);
                self.commit_rest().await;
            }
            Ok(Polled::Records(records)) => {
                self.note_untold(begun);
                self.on_records(&records).await;
            }
            Ok(Polled::Assigned(change)) => {
                let partitions = self.named(&change.partitions);
                let (member, epoch) = (self.member, change.epoch.0);
                let new = partitions.clone();
                self.seat.work.change_owned(self.seat.client, |owned| owned.extend(new));
                let (untold, now) = (self.untold, self.consumer.membership());
                let is_back = self.note_id(&now, change.epoch);
                let is_leader = now.is_leader && now.epoch == change.epoch;
                let is_static = self.place.number < self.spec.static_members;
                let stands = is_static && is_back && is_leader;
                self.seat.work.note_assignment(self.group, epoch, stands);
                self.note(GroupWhat::Assigned { member, epoch, partitions, untold, is_leader });
                if self.seat.dice.one_in(2) {
                    self.fetch().await;
                }
            }
            Ok(Polled::Revoked(change)) => {
                self.owed = self.named(&change.partitions);
                self.commit_rest().await;
            }
            Ok(Polled::Lost(change)) => {
                self.seat.work.note_loss();
                self.release(self.named(&change.partitions), true);
            }
            Err(error) => {
                if self.on_error(error).await == Next::Fail {
                    return Next::Fail;
                }
            }
        }
        self.wander().await
    }

    fn note_untold(&mut self, begun: Nanos) {
        self.untold = begun;
        self.seat.work.note_untold(self.seat.client, begun);
    }

    /// What a member does besides.
    async fn wander(&mut self) -> Next {
        if self.seat.dice.one_in(FETCH_ONE_IN) {
            self.fetch().await;
        }
        let work = &self.seat.work;
        let is_over = work.invited_until(self.group) <= work.world.now();
        let is_closing = work.is_closing();
        if work.groups.is_closed(self.group) || (self.place.is_guest && (is_over || is_closing)) {
            return Next::Leave;
        }
        if is_closing {
            return Next::Go;
        }
        let (stalls, leaves) = (self.spec.stalls_one_in, self.spec.leaves_one_in);
        if 0 < stalls && self.seat.dice.one_in(stalls) {
            let most = self.spec.poll_interval_max_ms * 2;
            let stall = self.seat.dice.spread((most / 8).max(1), most);
            self.stall(Duration::from_millis(stall)).await;
        }
        match 0 < leaves && self.seat.dice.one_in(leaves) {
            true => Next::Leave,
            false => Next::Go,
        }
    }

    /// Whether it may be another member since it was last told: a classic one that was out comes back
    /// with another id, and may have had nothing to lose.
    fn note_id(&mut self, now: &Membership, told: MemberEpoch) -> bool {
        // What is told late may be of a membership before this one.
        let id = (now.epoch == told).then(|| now.member_id.clone());
        let is_another = self.id.is_none() || self.id != id;
        if is_another {
            let (member, untold, partitions) = (self.member, self.untold, Vec::new());
            self.note(GroupWhat::Released { member, partitions, is_lost: true, untold });
        }
        self.id = id;
        is_another
    }

    /// Tells by which id it is in the group, if it is.
    fn show_id(&self) {
        let now = self.consumer.membership();
        let is_in = matches!(now.state, MemberState::Stable | MemberState::Rebalancing);
        self.seat.work.note_member_id(self.seat.client, is_in.then_some(now.member_id));
    }

    /// Whether the history knows the records of the topic: a pattern matches others too.
    fn is_known(&self, at: &TopicPartition) -> bool {
        self.spec.pattern.is_none() || self.seat.work.scenario.topics.contains_key(&*at.topic)
    }

    /// What the history hears of.
    fn named(&self, partitions: &BTreeSet<TopicPartition>) -> Vec<Partition> {
        partitions.iter().filter(|at| self.is_known(at)).map(partition_of).collect()
    }

    /// Takes so long, at most until everything comes to its end.
    async fn stall(&self, time: Duration) {
        let until = self.seat.runtime.clock.now() + time;
        while self.seat.runtime.clock.now() < until && !self.seat.work.is_closing() {
            self.seat.sleep(STALL_STEP.min(until.since(self.seat.runtime.clock.now()))).await;
        }
    }

    fn release(&self, partitions: Vec<Partition>, is_lost: bool) {
        if partitions.is_empty() {
            return;
        }
        self.seat.work.change_owned(self.seat.client, |owned| {
            owned.retain(|at| !partitions.contains(at));
        });
        let (member, untold) = (self.member, self.untold);
        self.note(GroupWhat::Released { member, partitions, is_lost, untold });
    }

    async fn on_records(&mut self, records: &[ConsumerRecord]) {
        let recorder = self.seat.work.recorder.clone();
        let mut processed = Vec::new();
        let records: Vec<ConsumerRecord> =
            records.iter().filter(|record| self.is_known(&record.at)).cloned().collect();
        for (at, seen) in by_partition(&recorder, &records) {
            let partition = partition_of(&at);
            processed.push((partition.clone(), seen.iter().map(|seen| seen.offset).collect()));
            recorder.poll(self.seat.node, self.member, &partition, seen);
        }
        self.is_dirty = true;
        if self.spec.commit == CommitSpec::Before {
            let how = *self.seat.dice.pick(&[How::Once, How::Once, How::Repeated]);
            if !self.commit(how).await {
                return;
            }
        }
        let time = self.seat.dice.spread(1, WORK_MAX);
        self.seat.sleep(Duration::from_millis(time)).await;
        for (partition, offsets) in processed {
            self.note(GroupWhat::Processed { member: self.member, partition, offsets });
        }
        if self.spec.commit == CommitSpec::After && !self.seat.dice.one_in(3) {
            let how = *self.seat.dice.pick(&[How::Once, How::Once, How::Repeated, How::Behind]);
            self.commit(how).await;
        }
    }

    /// Commits what was handed out and is not committed for certain. A copy of an earlier commit that was
    /// long on its way sets the group back, and only another commit sets that right.
    async fn commit_rest(&mut self) {
        let now = self.seat.work.world.now();
        if self.unsettled.is_some_and(|until| until <= now) {
            self.unsettled = None;
            self.is_dirty = true;
        }
        if self.is_dirty && self.spec.commit != CommitSpec::Auto {
            self.commit(How::Once).await;
        }
    }

    /// Commits where it is; true when that is done for certain.
    async fn commit(&mut self, how: How) -> bool {
        let write = self.seat.work.groups.next_write();
        let metadata = metadata(self.member, write);
        let mut offsets = self.consumer.positions();
        for offset in offsets.values_mut() {
            offset.metadata = StrBytes::from(metadata.as_str());
        }
        if offsets.is_empty() {
            return false;
        }
        let asked = self.consumer.membership().epoch.0;
        let by = Writer::Member { member: self.member, epoch: asked };
        let noted = offsets.iter().filter(|(at, _)| self.is_known(at));
        let noted = noted.map(|(at, value)| (partition_of(at), Some(committed(value))));
        let (offsets_noted, may_repeat) = (noted.collect(), how == How::Repeated);
        // One that is made once is made now, in the epoch that is known now.
        self.note(GroupWhat::Write { write, by, offsets: offsets_noted, may_repeat });
        let result = match how {
            How::Once => self.consumer.commit_async(offsets).committed().await,
            How::Repeated => self.consumer.commit_offsets(&offsets).await,
            How::Behind => {
                self.commit_behind((write, asked), offsets);
                self.note_unsettled();
                return false;
            }
        };
        self.is_dirty = result.is_err();
        // A member that was out of the group meanwhile may have been in a later one before.
        let now = Some(self.consumer.membership().epoch.0).filter(|now| asked <= *now);
        let epoch = if may_repeat { now.unwrap_or(EPOCH_UNKNOWN) } else { asked };
        let outcome = outcome(self.seat, self.group, &result, how);
        if may_repeat || matches!(outcome, WriteOutcome::Unknown { .. }) {
            self.note_unsettled();
        }
        self.note(GroupWhat::Written { write, outcome, epoch });
        result.is_ok()
    }

    fn note_unsettled(&mut self) {
        self.unsettled = Some(self.seat.work.world.now() + ANSWER_NANOS_MAX);
    }

    fn commit_behind(&self, (write, epoch): (u32, i32), offsets: Offsets) {
        let pending = self.consumer.commit_async(offsets);
        let (work, group) = (Arc::clone(&self.seat.work), Arc::clone(self.group));
        let node = self.seat.node;
        let task = async move {
            let outcome = match pending.committed().await {
                Ok(()) => WriteOutcome::Done,
                Err(error) => failed(&error, false),
            };
            work.note_group(node, &group, GroupWhat::Written { write, outcome, epoch });
        };
        drop(runtime::spawn(&self.seat.runtime, "commit", task));
    }

    /// Asks what is committed.
    async fn fetch(&mut self) {
        let partitions: Vec<TopicPartition> =
            self.seat.work.partitions_of(self.spec).iter().map(topic_partition).collect();
        let asked = self.seat.work.world.now();
        match self.consumer.committed(partitions).await {
            Ok(found) => {
                let offsets = found
                    .iter()
                    .map(|(at, value)| (partition_of(at), value.as_ref().map(committed)));
                self.note(GroupWhat::Fetched { asked, offsets: offsets.collect() });
            }
            Err(error) => {
                let fits = [ErrorCode::UnknownMemberId, ErrorCode::StaleMemberEpoch];
                let request = format!("OffsetFetch of {}", self.group);
                self.seat.note_failure(&request, &error, &fits);
            }
        }
    }

    async fn leave(mut self) {
        self.commit_rest().await;
        self.seat.work.end_session(self.seat.node, self.seat.client);
        // What the commit on the way out came to, nobody is told.
        drop(self.consumer.close(LEAVE_LIMIT).await);
    }

    async fn on_error(&mut self, error: GroupError) -> Next {
        let group = self.group;
        match &error {
            GroupError::Refused(source) => {
                let is_full = self.seat.work.scenario.may_be_full(self.spec);
                let fits = is_full.then_some(ErrorCode::GroupMaxSizeReached);
                self.seat.note_failure(&format!("membership of {group}"), source, fits.as_slice());
                return Next::Fail;
            }
            // A static member's process before this one is still a member, or what it sent came late.
            GroupError::Fenced(_) => return Next::Fail,
            GroupError::Committed(source) => {
                let fits = [ErrorCode::UnknownMemberId, ErrorCode::StaleMemberEpoch];
                self.seat.note_failure(&format!("OffsetFetch of {group}"), source, &fits);
            }
            GroupError::Consumer(ConsumerError::Corrupt { at, offset, source }) => {
                let request = format!("Fetch of {at} at {}", offset.0);
                if !self.seat.work.weather.has_bit_flips_to_clients {
                    let error = source.to_string();
                    let what = What::UnfitError { request, error };
                    self.seat.work.recorder.note(self.seat.node, what);
                }
            }
            GroupError::Consumer(ConsumerError::Refused { at, source }) => {
                let error = ClientError::Broker(source.clone());
                self.seat.note_failure(&format!("Fetch of {at}"), &error, &[]);
            }
            GroupError::Consumer(ConsumerError::Lookup { at, source }) => {
                self.seat.note_failure(&format!("ListOffsets of {at}"), source, &[]);
            }
            other => {
                let (request, error) = (format!("membership of {group}"), text_of(other));
                let what = What::UnfitError { request, error };
                self.seat.work.recorder.note(self.seat.node, what);
                return Next::Fail;
            }
        }
        self.seat.sleep(Duration::from_millis(50)).await;
        Next::Go
    }
}

fn config(seat: &mut Seat, group: &Arc<str>, spec: &GroupSpec, place: MemberPlace) -> GroupConfig {
    let base = GroupConfig::new(&**group);
    let is_static = place.number < spec.static_members;
    let instance = is_static.then(|| StrBytes::from(format!("{group}-{}", place.number)));
    let protocol = match spec.protocol {
        ProtocolSpec::Classic => GroupProtocol::Classic,
        ProtocolSpec::Consumer => GroupProtocol::Consumer,
        ProtocolSpec::Mixed => *seat.dice.pick(&[GroupProtocol::Classic, GroupProtocol::Consumer]),
    };
    let remote = (spec.protocol == ProtocolSpec::Consumer).then(|| spec.assignors.first());
    let assignors = spec.classic_assignors();
    GroupConfig {
        instance_id: instance,
        protocol,
        assignors: if assignors.is_empty() { base.assignors } else { assignors },
        remote_assignor: remote.flatten().map(|name| StrBytes::from(name.as_str())),
        session_timeout: Duration::from_millis(spec.session_timeout_ms),
        heartbeat_interval: Duration::from_millis(spec.heartbeat_interval_ms),
        poll_interval_max: spec.poll_interval_max(),
        auto_commit: (spec.commit == CommitSpec::Auto)
            .then(|| Duration::from_millis(seat.dice.spread(50, 2_000))),
        consumer: ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            fetch_wait_max: Duration::from_millis(seat.dice.range(1, 500)),
            partition_fetch_bytes_max: seat.dice.spread(200, 100_000) as i32,
            poll_records_max: seat.dice.spread(1, 200) as usize,
            ..ConsumerConfig::default()
        },
        ..GroupConfig::new(&**group)
    }
}

/// Writes down the commits that the client makes by itself.
fn observer(seat: &Seat, group: &Arc<str>, member: u32) -> CommitObserver {
    let (work, group, node) = (Arc::clone(&seat.work), Arc::clone(group), seat.node);
    // The number of the write, the epoch it was asked in, and whether it may be made again.
    let open: Mutex<BTreeMap<u64, (u32, i32, bool)>> = Mutex::default();
    CommitObserver::new(move |commit| {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match commit {
            AutoCommit::Begun { number, offsets, epoch, may_repeat } => {
                let write = work.groups.next_write();
                open.insert(number, (write, epoch.0, may_repeat));
                let by = Writer::Member { member, epoch: epoch.0 };
                let offsets =
                    offsets.iter().map(|(at, it)| (partition_of(at), Some(committed(it))));
                GroupWhat::Write { write, by, offsets: offsets.collect(), may_repeat }
            }
            AutoCommit::Ended { number, outcome, epoch } => {
                let Some((write, asked, may_repeat)) = open.remove(&number) else { return };
                let outcome = match outcome {
                    Ok(()) => WriteOutcome::Done,
                    Err(error) => failed(&error, may_repeat),
                };
                let epoch = match epoch.0 {
                    _ if !may_repeat => asked,
                    now if asked <= now => now,
                    _ => EPOCH_UNKNOWN,
                };
                GroupWhat::Written { write, outcome, epoch }
            }
        };
        work.note_group(node, &group, what);
    })
}

/// How a commit ended; what nothing explains is told.
fn outcome(
    seat: &Seat,
    group: &Arc<str>,
    result: &Result<(), CommitError>,
    how: How,
) -> WriteOutcome {
    let Err(error) = result else { return WriteOutcome::Done };
    let request = || format!("OffsetCommit of {group}");
    match error {
        CommitError::NotMember(_) | CommitError::Rebalancing => {}
        CommitError::Partition { source, .. } => {
            seat.note_failure(&request(), &ClientError::Broker(source.clone()), &[]);
        }
        CommitError::Request(source) => seat.note_failure(&request(), source, &[]),
    }
    failed(error, how == How::Repeated)
}

/// A commit that was refused for what its member is was refused as a whole; of one that was made more
/// than once nobody knows what the others did.
fn failed(error: &CommitError, may_repeat: bool) -> WriteOutcome {
    let text = text_of(error);
    match error {
        CommitError::NotMember(_) | CommitError::Rebalancing if !may_repeat => {
            WriteOutcome::Refused { error: text }
        }
        _ => WriteOutcome::Unknown { error: text },
    }
}

/// What a commit notes down: its number, and bytes of every length in UTF-8.
fn metadata(member: u32, write: u32) -> String {
    let tail: String = "é漢🦀x".chars().cycle().take(write as usize % 23).collect();
    format!("{write} of {member} {tail}")
}

pub(super) fn committed(value: &CommittedOffset) -> Committed {
    Committed { offset: value.offset.0, metadata: value.metadata.to_string() }
}

pub(super) fn partition_of(at: &TopicPartition) -> Partition {
    Partition { topic: Arc::from(&*at.topic), index: at.partition.0 }
}
