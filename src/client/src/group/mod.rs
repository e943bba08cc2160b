//! A member of a consumer group: subscribes, polls, commits.
//!
//! In: topics to read. Out: records, and [`Polled`] events that say which partitions come and go, so
//! that whoever reads sees every assignment with its generation. A task in the background keeps the
//! membership up; the partitions are read by the [`Consumer`] inside.
//!
//! Invariants:
//! - no record of a partition comes between its [`Polled::Revoked`] or [`Polled::Lost`] and its next
//!   [`Polled::Assigned`]
//! - a revoked partition is given up by the poll after the one that told: until then it can be
//!   committed
//! - what is committed by itself was handed out by an earlier poll
//!
//! Start at [`GroupConsumer::poll`], then `member/mod.rs`.

pub mod assignor;
mod closing;
mod commit;
mod config;
mod error;
mod member;
mod observer;
pub(crate) mod offsets;
mod places;
mod shared;
mod subscription;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{Instant, LeaderEpoch, Offset};
use runtime::Task;
use runtime::sync::mpsc;

pub use assignor::{Assignor, GroupAssignment, GroupMember};
pub use commit::{Offsets, PendingCommit};
pub use config::{GroupConfig, GroupMembershipOperation, GroupProtocol};
pub use error::{CommitError, GroupError};
pub use member::{Change, MemberEpoch, MemberState, Membership};
pub use observer::{AutoCommit, CommitObserver};
pub use offsets::CommittedOffset;
pub use subscription::{Subscription, TopicFilter};
pub(crate) use task::leave_in;

use self::commit::{Committer, When, is_out_of_date};
use self::member::Notice;
use self::observer::Observed;
use self::shared::Shared;
use self::task::{GroupTask, Order, QUEUE_MAX};
use crate::client::Client;
use crate::consumer::{Consumer, ConsumerRecord, OffsetReset};
use crate::coordinator::CoordinatorLink;
use crate::error::ClientError;
use crate::metadata::TopicPartition;

/// How long a commit on the way out of a partition may take, so that a coordinator that is away does
/// not hold up a rebalance.
const LAST_COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// As long as a reason for a rebalance may be (`JoinGroupRequest.maybeTruncateReason`).
const REASON_CHARS_MAX: usize = 255;

/// What a poll brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing within the time limit.
    Nothing,
    /// Records.
    Records(Vec<ConsumerRecord>),
    /// These partitions are this member's from now on; none, when a new generation brought none.
    Assigned(Change),
    /// These go to others. The next poll gives them up; until then what was read can be committed.
    Revoked(Change),
    /// These may belong to others already: the member was out of the group.
    Lost(Change),
}

type FoundOffsets = Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, ClientError>;

/// See the module. Dropping it ends the membership without a word, as a process that is killed does;
/// [`GroupConsumer::close`] leaves the group. Beside Java's consumer, `auto.offset.reset` has no
/// `by_duration` (KIP-1106): a seek to a time does the same.
pub struct GroupConsumer {
    client: Client,
    config: Arc<GroupConfig>,
    consumer: Consumer,
    committer: Committer,
    shared: Arc<Shared>,
    /// Its end is the end of the membership.
    task: Task,
    /// To be told: the commit before it may have been given up with its poll.
    telling: Option<Change>,
    /// What the last poll told to give up.
    owed: Option<BTreeSet<TopicPartition>>,
    /// Assigned, but where to start is not known yet.
    starting: BTreeSet<TopicPartition>,
    /// Those of them that were paused already.
    paused: BTreeSet<TopicPartition>,
    look: mpsc::Sender<(u64, FoundOffsets)>,
    found: mpsc::Receiver<(u64, FoundOffsets)>,
    /// Which lookup counts, and whether it is on its way.
    lookup: u64,
    looking: bool,
    /// How often a lookup in a row left partitions without a start, and when the next one goes.
    look_failures: u32,
    look_at: Instant,
    /// The leader epoch of the last record that was handed out.
    epochs: BTreeMap<TopicPartition, LeaderEpoch>,
    next_auto_commit: Instant,
    failed: Option<GroupError>,
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("group_id", &self.config.group_id)
            .field("membership", &self.membership())
            .field("consumer", &self.consumer)
            .field("starting", &self.starting)
            .field("looking", &self.looking)
            .finish_non_exhaustive()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GroupConsumer {
    /// A consumer that is no member yet.
    pub fn new(client: &Client, config: GroupConfig) -> GroupConsumer {
        let config = Arc::new(config);
        let now = client.now();
        let shared = Arc::new(Shared::new(now));
        let coordinator = CoordinatorLink::new(client, config.group_id.clone());
        let (orders, receiver) = mpsc::channel(QUEUE_MAX);
        let committer = Committer {
            client: client.clone(),
            config: Arc::clone(&config),
            coordinator: coordinator.clone(),
            shared: Arc::clone(&shared),
            orders,
        };
        let instance = client.next_instance();
        let member =
            GroupTask::new(client, Arc::clone(&config), coordinator, Arc::clone(&shared), instance);
        let task = runtime::spawn(client.runtime(), "group member", member.run(receiver));
        // One lookup is on its way at a time, and one that was overtaken.
        let (look, found) = mpsc::channel(2);
        GroupConsumer {
            client: client.clone(),
            consumer: Consumer::new(client, config.consumer.clone()),
            next_auto_commit: now + config.auto_commit.unwrap_or_default(),
            config,
            committer,
            shared,
            task,
            telling: None,
            owed: None,
            starting: BTreeSet::new(),
            paused: BTreeSet::new(),
            look,
            found,
            lookup: 0,
            looking: false,
            look_failures: 0,
            look_at: now,
            epochs: BTreeMap::new(),
            failed: None,
        }
    }

    /// Joins the group for `subscription`, or changes what this member reads.
    ///
    /// # Errors
    /// [`GroupError::RegexInClassicGroup`].
    pub async fn subscribe(&mut self, subscription: Subscription) -> Result<(), GroupError> {
        let is_classic = self.config.protocol == GroupProtocol::Classic;
        if is_classic && matches!(subscription, Subscription::Regex(_)) {
            return Err(GroupError::RegexInClassicGroup);
        }
        self.order(Order::Subscribe(subscription)).await;
        Ok(())
    }

    /// Makes the group rebalance: this member joins it again, with `reason` (KIP-568, KIP-800), after
    /// polls told what the assignors want given up before. A rebalance that is under way is enough.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInConsumerGroup`].
    pub async fn enforce_rebalance(&mut self, reason: &str) -> Result<(), GroupError> {
        if self.config.protocol == GroupProtocol::Consumer {
            return Err(GroupError::RebalanceInConsumerGroup);
        }
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        self.order(Order::Rejoin(reason.into())).await;
        Ok(())
    }

    async fn order(&self, order: Order) {
        // The task outlives the handle; it is gone only after it panicked.
        let _ = self.committer.orders.send(order).await;
    }

    /// The next records or the next change of the assignment; [`Polled::Nothing`] when `limit`
    /// passes without any.
    ///
    /// Polling is what keeps the partitions: `max.poll.interval.ms` after the last poll the member
    /// leaves the group. After an error the next poll goes on, unless the membership has ended.
    /// Dropping the future loses nothing.
    pub async fn poll(&mut self, limit: Duration) -> Result<Polled, GroupError> {
        let shared = Arc::clone(&self.shared);
        let _polling = Polling::begin(&shared, &self.client);
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(change) = self.telling.take() {
            return Ok(Polled::Revoked(change));
        }
        self.let_go().await;
        let deadline = self.client.now() + limit;
        loop {
            if let Some(notice) = self.shared.next_notice() {
                match self.on_notice(notice).await? {
                    Some(polled) => return Ok(polled),
                    None => continue,
                }
            }
            self.auto_commit();
            self.look_up();
            let now = self.client.now();
            let wait = deadline.since(now).min(self.until_auto_commit(now));
            let wait = wait.min(self.until_look_up(now));
            let polled = runtime::select! {
                () = shared.news.notified() => continue,
                found = self.found.recv() => {
                    let (lookup, found) = found.expect("the consumer holds a sender itself");
                    self.on_found(lookup, found)?;
                    continue;
                }
                polled = self.consumer.poll(wait) => polled?,
            };
            if !polled.is_empty() {
                self.note_epochs(&polled);
                return Ok(Polled::Records(polled));
            }
            if self.client.now() >= deadline {
                return Ok(Polled::Nothing);
            }
        }
    }

    /// Gives up what the last poll told.
    async fn let_go(&mut self) {
        if let Some(gone) = self.owed.clone() {
            self.keep(|at| !gone.contains(at));
            self.order(Order::Released).await;
            self.owed = None;
        }
    }

    fn keep(&mut self, wanted: impl Fn(&TopicPartition) -> bool) {
        self.starting.retain(&wanted);
        self.paused.retain(&wanted);
        self.epochs.retain(|at, _| wanted(at));
        let kept: Vec<_> = self.consumer.assignment().filter(|at| wanted(at)).cloned().collect();
        self.consumer.assign(kept);
    }

    async fn on_notice(&mut self, notice: Notice) -> Result<Option<Polled>, GroupError> {
        match notice {
            Notice::Assign(change) => {
                self.starting.extend(change.partitions.iter().cloned());
                self.lookup += 1;
                self.looking = false;
                self.look_failures = 0;
                self.look_at = self.client.now();
                Ok(Some(Polled::Assigned(change)))
            }
            Notice::Revoke(change) => {
                self.owed = Some(change.partitions.clone());
                self.telling = Some(change);
                self.last_commit().await;
                Ok(self.telling.take().map(Polled::Revoked))
            }
            Notice::Lose(change) if change.partitions.is_empty() => {
                self.owed = Some(change.partitions);
                self.let_go().await;
                Ok(None)
            }
            Notice::Lose(change) => {
                self.owed = Some(change.partitions.clone());
                Ok(Some(Polled::Lost(change)))
            }
            Notice::Failed(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The automatic commit before partitions go.
    async fn last_commit(&mut self) {
        if self.config.auto_commit.is_none() {
            return;
        }
        let clock = Arc::clone(&self.client.runtime().clock);
        let commit = self.commit_by_itself(self.positions(), When::BeforeRevocation);
        let committed = runtime::timeout(&*clock, LAST_COMMIT_LIMIT, commit).await;
        if let Ok(Err(error)) = committed {
            tracing::warn!(group = %self.config.group_id, %error, "commit before a rebalance");
        }
    }

    fn until_auto_commit(&self, now: Instant) -> Duration {
        match self.config.auto_commit {
            Some(_) => self.next_auto_commit.since(now),
            None => Duration::MAX,
        }
    }

    fn auto_commit(&mut self) {
        let Some(interval) = self.config.auto_commit else { return };
        let now = self.client.now();
        if self.next_auto_commit > now {
            return;
        }
        self.next_auto_commit = now + interval;
        let offsets = self.positions();
        if offsets.is_empty() {
            return;
        }
        let observed = self.observe(&offsets, false);
        let pending = self.committer.submit(offsets);
        let group = self.config.group_id.clone();
        runtime::spawn(self.client.runtime(), "auto commit", async move {
            let outcome = pending.committed().await;
            if let Some(observed) = observed {
                observed.end(&outcome);
            }
            if let Err(error) = outcome {
                tracing::debug!(%group, %error, "commit automatically");
            }
        });
    }

    /// Commits `offsets` without being asked to, and is heard of.
    async fn commit_by_itself(&self, offsets: Offsets, when: When) -> Result<(), CommitError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let observed = self.observe(&offsets, true);
        let outcome = self.committer.commit(&offsets, when).await;
        if let Some(observed) = observed {
            observed.end(&outcome);
        }
        outcome
    }

    fn observe(&self, offsets: &Offsets, may_repeat: bool) -> Option<Observed> {
        let observer = self.config.commit_observer.as_ref()?;
        Some(observer.begin(&self.shared, offsets, may_repeat))
    }

    fn until_look_up(&self, now: Instant) -> Duration {
        match self.starting.is_empty() || self.looking {
            true => Duration::MAX,
            false => self.look_at.since(now),
        }
    }

    /// Starts the lookup of the committed offsets of what is new.
    fn look_up(&mut self) {
        if self.starting.is_empty() || self.looking || self.look_at > self.client.now() {
            return;
        }
        self.looking = true;
        self.lookup += 1;
        let (lookup, look, committer) = (self.lookup, self.look.clone(), self.committer.clone());
        let partitions = self.starting.iter().cloned().collect();
        runtime::spawn(self.client.runtime(), "committed offsets", async move {
            let found = committer.committed(partitions).await;
            let _ = look.send((lookup, found)).await;
        });
    }

    fn on_found(&mut self, lookup: u64, found: FoundOffsets) -> Result<(), GroupError> {
        if lookup != self.lookup {
            // What was assigned has changed since.
            return Ok(());
        }
        self.looking = false;
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.on_not_found(error),
        };
        let mut begun = Vec::new();
        let mut missing = None;
        let mut seeks = Vec::new();
        for (at, offset) in found {
            match offset {
                _ if !self.starting.contains(&at) => continue,
                None if self.config.consumer.offset_reset == OffsetReset::Error => {
                    missing = Some(at);
                    continue;
                }
                Some(committed) => seeks.push((at.clone(), committed)),
                None => {}
            }
            self.starting.remove(&at);
            begun.push(at);
        }
        self.begin(begun);
        for (at, committed) in seeks {
            self.consumer.seek(&at, committed.offset)?;
            if let Some(epoch) = committed.leader_epoch {
                self.epochs.insert(at, epoch);
            }
        }
        match missing {
            Some(at) => Err(GroupError::NoOffset { at }),
            None => {
                if !self.starting.is_empty() {
                    self.look_again_later();
                }
                Ok(())
            }
        }
    }

    /// Reads `partitions` from now on, which were starting.
    fn begin(&mut self, partitions: Vec<TopicPartition>) {
        let all: Vec<_> = self.consumer.assignment().chain(&partitions).cloned().collect();
        self.consumer.assign(all);
        for at in partitions.iter().filter(|at| self.paused.remove(*at)) {
            self.consumer.pause(at).expect("it was just assigned");
        }
    }

    /// What is still without a start is not to be asked for in a loop.
    fn look_again_later(&mut self) {
        self.look_failures = self.look_failures.saturating_add(1);
        self.look_at = self.client.now() + self.client.retry_pause(self.look_failures);
    }

    /// A member that is out of date hears so by its task; everything else is for the application.
    fn on_not_found(&mut self, error: ClientError) -> Result<(), GroupError> {
        if error.code().is_some_and(is_out_of_date) {
            self.look_again_later();
            return Ok(());
        }
        Err(GroupError::Committed(error))
    }

    fn note_epochs(&mut self, records: &[ConsumerRecord]) {
        for record in records {
            match record.leader_epoch {
                Some(epoch) => self.epochs.insert(record.at.clone(), epoch),
                None => self.epochs.remove(&record.at),
            };
        }
    }

    /// Where the member stands now.
    pub fn membership(&self) -> Membership {
        self.shared.membership()
    }

    /// The partitions that polls bring records of, and those whose reading begins soon.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.consumer.assignment().chain(&self.starting).cloned().collect()
    }

    /// The position of every partition that has one: what [`GroupConsumer::commit`] commits.
    pub fn positions(&self) -> Offsets {
        let position = |at: &TopicPartition| {
            let offset = self.consumer.position(at)?;
            let leader_epoch = self.epochs.get(at).copied();
            let committed = CommittedOffset { leader_epoch, ..CommittedOffset::from(offset) };
            Some((at.clone(), committed))
        };
        self.consumer.assignment().filter_map(position).collect()
    }

    /// Commits everything that polls have handed out, and waits for it.
    pub async fn commit(&self) -> Result<(), CommitError> {
        self.committer.commit(&self.positions(), When::Asked).await
    }

    /// Commits `offsets`, and waits for it. What may go away is tried again until
    /// `default.api.timeout.ms` has passed.
    pub async fn commit_offsets(&self, offsets: &Offsets) -> Result<(), CommitError> {
        self.committer.commit(offsets, When::Asked).await
    }

    /// Commits `offsets` once, behind all earlier commits; dropping the result forgets the outcome.
    /// While no coordinator is known it fails with `COORDINATOR_NOT_AVAILABLE`.
    pub fn commit_async(&self, offsets: Offsets) -> PendingCommit {
        self.committer.submit(offsets)
    }

    /// What the group has committed, `None` where there is nothing.
    pub async fn committed(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, Option<CommittedOffset>>, ClientError> {
        self.committer.committed(partitions.into_iter().collect()).await
    }

    /// The offset of the next record of `at`; `None` while it is not known yet.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.consumer.position(at)
    }

    /// The end of `at` as the last fetch showed it.
    pub fn end(&self, at: &TopicPartition) -> Option<Offset> {
        self.consumer.end(at)
    }
}

/// An application that polls now.
struct Polling<'a> {
    shared: &'a Shared,
    client: Client,
}

impl<'a> Polling<'a> {
    fn begin(shared: &'a Shared, client: &Client) -> Polling<'a> {
        shared.set_last_poll(None);
        Polling { shared, client: client.clone() }
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.shared.set_last_poll(Some(self.client.now()));
    }
}
