//! The task that runs one group coordinator: a shard, the log of its partition, and those who wait.
//!
//! It takes all calls that wait, lets the shard decide them one after the other, appends the records
//! of all in batches ([`super::round`]), and sends the answers when all are durable.
//! While the log syncs the queue fills up, so a slower disk makes larger batches.
//!
//! Invariants:
//! - an answer leaves only after the records that were decided before it are committed
//! - after a write that went wrong the shard is dropped, all who wait are told, and a new one is loaded:
//!   what a shard knows never differs from its log
//!
//! Start at [`ShardTask::run`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use coordinator::{Call, Config, Env, Output, Response, Shard, Ticket, TopicChanges};
use metadata::{Image, TopicChange};
use model::{FastMap, PartitionIndex};
use protocol::records::{BatchError, Compression, Scratch, ValidatedBatch};
use protocol::{ErrorCode, StrBytes};
use runtime::sync::{mpsc, oneshot};
use runtime::{RandomStream, Rng};

use crate::coordination::load::load;
use crate::coordination::round::{self, Round, RoundError, TimerTurn};
use crate::coordination::view::View;
use crate::error_chain::Chain;
use crate::groups::{CALLS_MAX, GroupCall};
use crate::partition::{Partition, ProduceError};
use crate::shared::Shared;

/// How many calls are taken from the queue at once.
const TAKEN_CALLS_MAX: usize = 256;

/// A round ends with the call whose records reach so many bytes.
const ROUND_BYTES_MAX: usize = 512 * 1024;

/// How long a shard stays away after it could not be loaded or written.
const AWAY: Duration = Duration::from_secs(1);

/// Who waits for the answer to a call.
type Waiting = FastMap<Ticket, oneshot::Sender<Result<Response, ErrorCode>>>;

/// Why records were not committed.
#[derive(Debug, thiserror::Error)]
enum CommitError {
    #[error("write the records of groups")]
    Write(#[from] ProduceError),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("check a batch of records of groups")]
    Check(#[from] BatchError),
}

impl CommitError {
    /// What those who wait are told, and those who come before a shard serves again.
    fn codes(&self) -> (ErrorCode, ErrorCode) {
        match self {
            CommitError::Write(ProduceError::Refused(_) | ProduceError::Sync(_)) => {
                (ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorNotAvailable)
            }
            CommitError::Write(ProduceError::Closed) => {
                (ErrorCode::NotCoordinator, ErrorCode::NotCoordinator)
            }
            // The log is well.
            CommitError::Round(_) | CommitError::Check(_) => {
                (ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress)
            }
        }
    }

    /// Whether the partition is not here any more.
    fn is_end(&self) -> bool {
        matches!(self, CommitError::Write(ProduceError::Closed))
    }
}

/// Why a shard stopped serving.
enum End {
    /// The broker stops, or the partition is not here any more.
    Over,
    /// A write went wrong.
    Failed,
}

/// What woke the task.
enum Wake {
    Over,
    Calls,
    Topics,
    Tick,
}

/// The task, between two shards.
pub(super) struct ShardTask {
    shared: Arc<Shared>,
    config: Arc<Config>,
    index: PartitionIndex,
    partition: Partition,
    random: RandomStream,
    next_ticket: u64,
    compression: Compression,
    scratch: Scratch,
}

/// A shard that serves.
struct Serving {
    shard: Shard,
    image: Image,
    waiting: Waiting,
    calls: mpsc::Receiver<GroupCall>,
    /// Calls that were just received; empty but for a moment, kept for its memory.
    taken: Vec<GroupCall>,
    /// Calls to decide, in their order.
    backlog: VecDeque<GroupCall>,
    timers: TimerTurn,
}

impl Serving {
    fn new(shard: Shard, image: Image, calls: mpsc::Receiver<GroupCall>) -> Serving {
        Serving {
            shard,
            image,
            waiting: Waiting::default(),
            calls,
            taken: Vec::new(),
            backlog: VecDeque::new(),
            timers: TimerTurn::default(),
        }
    }
}

impl ShardTask {
    /// A coordinator for the groups of `partition`.
    pub(super) fn new(
        shared: &Arc<Shared>,
        config: &Arc<Config>,
        index: PartitionIndex,
        partition: Partition,
    ) -> ShardTask {
        let key = u64::try_from(index.0).unwrap_or(0);
        let codec = shared.config.groups.offsets_topic_compression_codec;
        ShardTask {
            shared: Arc::clone(shared),
            config: Arc::clone(config),
            index,
            partition,
            random: shared.runtime.random.stream("group-coordinator", key),
            next_ticket: 0,
            compression: Compression::from_code(codec).unwrap_or(Compression::None),
            scratch: Scratch::new(),
        }
    }

    /// Loads and serves until the broker stops or `over` is dropped.
    pub(super) async fn run(mut self, mut over: oneshot::Receiver<()>) {
        loop {
            match self.load().await {
                Some(shard) => {
                    if matches!(self.serve(shard, &mut over).await, End::Over) {
                        return;
                    }
                }
                None if self.shared.stopping.is_raised() => return,
                None => {}
            }
            let shared = Arc::clone(&self.shared);
            runtime::select! {
                _ = &mut over => return,
                goes_on = shared.pause(AWAY) => if !goes_on { return },
            }
        }
    }

    /// A shard that knows what the log says; `None` when that can not be read, or not be written.
    async fn load(&mut self) -> Option<Shard> {
        if self.shared.dir_health.offline().is_some() {
            self.shared.groups.close(self.index, None, ErrorCode::CoordinatorNotAvailable);
            return None;
        }
        let clock = &self.shared.runtime.clock;
        let begun = clock.now();
        let record_bytes_max = round::record_bytes_max(self.partition.segment_bytes());
        let config = Config { record_bytes_max, ..(*self.config).clone() };
        let mut shard = Shard::new(Arc::new(config));
        let end = self.partition.high_watermark();
        let read_bytes = self.shared.config.groups.offsets_load_buffer_size;
        let (partition, reader) = (self.index.0, self.partition.reader());
        match load(reader, end, read_bytes, &mut shard).await {
            Ok(0) => {}
            Ok(records) => {
                let took = clock.now().since(begun);
                tracing::info!(partition, records, ?took, "groups loaded");
            }
            Err(error) => {
                self.shared.groups.close(self.index, None, ErrorCode::CoordinatorNotAvailable);
                tracing::error!(partition, error = %Chain(&error),
                    "groups can not be loaded: their members and offsets are unavailable");
                return None;
            }
        }
        Some(shard)
    }

    /// Serves calls until the end.
    async fn serve(&mut self, shard: Shard, over: &mut oneshot::Receiver<()>) -> End {
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let mut registry = self.shared.registry.subscribe();
        let image = registry.borrow().image.clone();
        let mut serving = Serving::new(shard, image, calls);
        if let Err(error) = self.begin(&mut serving).await {
            return self.fail(serving, &sender, &error);
        }
        self.shared.groups.open(self.index, sender.clone());
        loop {
            if matches!(self.wait(&mut serving, &mut registry, over).await, Wake::Over) {
                let why = ErrorCode::NotCoordinator;
                self.shared.groups.close(self.index, Some(&sender), why);
                dismiss(serving, ErrorCode::NotCoordinator);
                return End::Over;
            }
            let image = registry.borrow().image.clone();
            if let Err(error) = self.play(&mut serving, &image).await {
                return self.fail(serving, &sender, &error);
            }
        }
    }

    /// The first round: what loading left to do.
    async fn begin(&mut self, serving: &mut Serving) -> Result<(), CommitError> {
        let mut round = self.round();
        self.decide(serving, &mut round, Shard::on_loaded)?;
        self.commit(serving, round).await
    }

    /// One round: what changed, who calls, what is due.
    async fn play(&mut self, serving: &mut Serving, image: &Image) -> Result<(), CommitError> {
        let mut round = self.round();
        let record_bytes_max = round::record_bytes_max(self.partition.segment_bytes());
        serving.shard.limit_records(record_bytes_max);
        self.follow_topics(serving, &mut round, image)?;
        self.look_at_timers(serving);
        self.take_calls(serving, &mut round)?;
        if serving.timers.take(self.next_ticket) {
            self.decide(serving, &mut round, Shard::tick)?;
        }
        self.commit(serving, round).await
    }

    fn round(&self) -> Round {
        Round::new(self.compression, self.partition.segment_bytes())
    }

    /// When timers are due, calls that wait come first: a heartbeat that came in time is no late one
    /// because the disk was slow.
    fn look_at_timers(&self, serving: &mut Serving) {
        let now = self.shared.runtime.clock.now();
        let is_due = serving.shard.next_tick().is_some_and(|due| due <= now);
        if !is_due || serving.timers.is_asked() {
            return;
        }
        while let Ok(call) = serving.calls.try_recv() {
            serving.backlog.push_back(call);
        }
        serving.timers.ask(self.next_ticket, serving.backlog.len());
    }

    async fn wait(
        &self,
        serving: &mut Serving,
        registry: &mut runtime::sync::watch::Receiver<crate::registry::Registry>,
        over: &mut oneshot::Receiver<()>,
    ) -> Wake {
        if !serving.backlog.is_empty() || serving.timers.is_asked() {
            return if self.shared.stopping.is_raised() { Wake::Over } else { Wake::Calls };
        }
        let clock = &*self.shared.runtime.clock;
        let due = serving.shard.next_tick();
        let mut tick = clock.sleep_until(due.unwrap_or_default());
        let wake = runtime::select! {
            () = self.shared.stopping.wait() => Wake::Over,
            _ = &mut *over => Wake::Over,
            changed = registry.changed() => if changed.is_ok() { Wake::Topics } else { Wake::Over },
            count = serving.calls.recv_many(&mut serving.taken, TAKEN_CALLS_MAX) => {
                if count > 0 { Wake::Calls } else { Wake::Over }
            }
            () = &mut tick, if due.is_some() => Wake::Tick,
        };
        serving.backlog.extend(serving.taken.drain(..));
        wake
    }

    /// Lets the shard decide something.
    fn decide(
        &mut self,
        serving: &mut Serving,
        round: &mut Round,
        decide: impl FnOnce(&mut Shard, &mut Env<'_>, &mut Output),
    ) -> Result<(), CommitError> {
        let clock = &self.shared.runtime.clock;
        let random = &mut self.random;
        let mut draw = || {
            let mut bytes = [0; 16];
            random.fill_bytes(&mut bytes);
            bytes
        };
        let cluster = View { image: &serving.image, config: &self.shared.config };
        let wall = clock.wall();
        let mut env = Env { now: clock.now(), wall, cluster: &cluster, random: &mut draw };
        let mut output = Output::default();
        decide(&mut serving.shard, &mut env, &mut output);
        Ok(round.take(output, wall)?)
    }

    /// Tells the shard what became of the cluster's topics.
    fn follow_topics(
        &mut self,
        serving: &mut Serving,
        round: &mut Round,
        image: &Image,
    ) -> Result<(), CommitError> {
        if image.offset() == serving.image.offset() {
            return Ok(());
        }
        let delta = image.delta_since(&serving.image);
        serving.image = image.clone();
        let mut changes = TopicChanges::default();
        for change in &delta.topics {
            match change {
                TopicChange::Created(topic) => changes.created.insert(StrBytes::from(&*topic.name)),
                TopicChange::Deleted(topic) => changes.deleted.insert(StrBytes::from(&*topic.name)),
                TopicChange::Changed { before, after } => {
                    before.partitions.len() != after.partitions.len()
                        && changes.resized.insert(StrBytes::from(&*after.name))
                }
            };
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.decide(serving, round, |shard, env, out| shard.on_topics_changed(&changes, env, out))
    }

    /// Lets the shard decide calls that wait, as many as make a batch.
    fn take_calls(&mut self, serving: &mut Serving, round: &mut Round) -> Result<(), CommitError> {
        while round.size_bytes() < ROUND_BYTES_MAX
            && let Some(call) = serving.backlog.pop_front()
        {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            serving.waiting.insert(ticket, call.answer);
            let call = Call {
                ticket,
                api_version: call.api_version,
                client_id: call.client_id,
                client_host: call.client_host,
                request: call.request,
            };
            let decided = self.decide(serving, round, |shard, env, out| shard.call(call, env, out));
            if decided.is_err()
                && let Some(waiting) = serving.waiting.remove(&ticket)
            {
                // Whoever else waits may come again; this call would do the same once more.
                let _ = waiting.send(Err(ErrorCode::UnknownServerError));
            }
            decided?;
        }
        Ok(())
    }

    /// Makes the round's records durable, then sends its answers.
    async fn commit(&mut self, serving: &mut Serving, round: Round) -> Result<(), CommitError> {
        let (batches, answers) = round.finish()?;
        let mut appended = Vec::with_capacity(batches.len());
        for batch in &batches {
            let validated = ValidatedBatch::trusted(batch, &mut self.scratch)?;
            appended.push(self.partition.submit(validated).await);
        }
        for appended in appended {
            appended.await.unwrap_or(Err(ProduceError::Closed))?;
        }
        for answer in answers {
            let waiting = serving.waiting.remove(&answer.ticket);
            let waiting = waiting.expect("a call is answered once");
            // Who called may be gone.
            let _ = waiting.send(Ok(answer.response));
        }
        Ok(())
    }

    /// Drops a shard whose records did not get into the log.
    fn fail(&self, serving: Serving, sender: &mpsc::Sender<GroupCall>, error: &CommitError) -> End {
        runtime::sometimes!("a group coordinator can not write");
        let partition = self.index.0;
        tracing::warn!(partition, error = %Chain(error),
            "records of groups are not written: their coordinator starts anew");
        let (who_waits, who_comes) = error.codes();
        self.shared.groups.close(self.index, Some(sender), who_comes);
        dismiss(serving, who_waits);
        if error.is_end() { End::Over } else { End::Failed }
    }
}

/// Tells all who wait that there is no answer.
fn dismiss(serving: Serving, error: ErrorCode) {
    let Serving { waiting, mut calls, backlog, .. } = serving;
    let mut waiting: Vec<_> = waiting.into_iter().collect();
    // In the order of the calls, so that runs repeat.
    waiting.sort_unstable_by_key(|(ticket, _)| *ticket);
    for (_, waiting) in waiting {
        // Who called may be gone.
        let _ = waiting.send(Err(error));
    }
    calls.close();
    let mut rest = backlog;
    while let Ok(call) = calls.try_recv() {
        rest.push_back(call);
    }
    for call in rest {
        let _ = call.answer.send(Err(error));
    }
}
