//! One partition on this broker: a handle for the many who use it, an owner task that changes it.
//!
//! In: batches that passed validation, orders to change or close the log. Out: an answer to each,
//! and, for readers, the ends of the log and a wake-up whenever more may be read.
//!
//! Invariants:
//! - only the owner task touches the [`storage::Log`]; readers go through its [`LogReader`]
//! - an append is answered only when the log's durable end has passed it
//! - the high watermark never falls while the partition is open
//!
//! Start at [`Partition::open`] and [`owner`].

mod owner;
#[cfg(test)]
mod tests;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, Ordering};

use model::{LeaderEpoch, Offset, Timestamp};
use protocol::records::ValidatedBatch;
use runtime::Runtime;
use runtime::sync::{mpsc, oneshot};
use storage::{
    AppendError, Compaction, CompactionDone, CompactionStats, Log, LogConfig, LogReader,
    ProducerDescription, StorageError,
};

use crate::dir_health::DirHealth;
use crate::metrics::{Metrics, TopicStats};
use waiters::Waiters;
pub(crate) use waiters::{FetchWaiter, Registration};

/// How many orders wait for the owner; past it, those who give them wait too.
const QUEUE_MAX: usize = 1024;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Offset of its first record.
    pub(crate) base_offset: Offset,
    /// The append time of a LogAppendTime topic, none otherwise.
    pub(crate) append_time: Timestamp,
    /// The first offset of the log.
    pub(crate) log_start: Offset,
}

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ProduceError {
    /// The log refused it: nothing of it was written.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// It was written, and then its sync went wrong: whether it is there is unknown.
    #[error("batch may be lost")]
    Sync(#[from] StorageError),
    /// The partition was closed before the batch was taken up.
    #[error("partition is closed")]
    Closed,
}

/// An order for the owner.
enum Order {
    Append {
        batch: ValidatedBatch,
        answer: oneshot::Sender<Result<Appended, ProduceError>>,
    },
    DeleteRecords {
        before: Offset,
        answer: oneshot::Sender<Result<Offset, StorageError>>,
    },
    /// Lead in this epoch from here on.
    Lead {
        epoch: LeaderEpoch,
        answer: oneshot::Sender<Result<(), StorageError>>,
    },
    Configure(LogConfig),
    /// Retention, the end of deleted files, the expiry of idle producers.
    Maintain,
    BeginCompaction {
        memory_bytes: usize,
        answer: oneshot::Sender<Result<Option<Compaction>, StorageError>>,
    },
    FinishCompaction {
        done: Box<CompactionDone>,
        answer: oneshot::Sender<Result<CompactionStats, StorageError>>,
    },
    Producers(oneshot::Sender<Vec<ProducerDescription>>),
    Close(oneshot::Sender<Result<(), StorageError>>),
}

/// What a partition shares with others.
#[derive(Clone)]
pub(crate) struct Context {
    /// With the partitions of its topic.
    pub(crate) stats: Arc<TopicStats>,
    /// With all partitions.
    pub(crate) metrics: Arc<Metrics>,
    /// With all partitions of its directory.
    pub(crate) health: Arc<DirHealth>,
}

/// What the owner and the users of a partition share.
struct State {
    reader: LogReader,
    leader_epoch: AtomicI32,
    high_watermark: AtomicI64,
    segment_bytes: AtomicU32,
    health: Arc<DirHealth>,
    waiters: Waiters,
    stats: Arc<TopicStats>,
    metrics: Arc<Metrics>,
}

/// A handle to an open partition. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Partition {
    state: Arc<State>,
    orders: mpsc::Sender<Order>,
}

impl Partition {
    /// Takes over `log` as leader in `leader_epoch` and starts the owner task.
    ///
    /// # Errors
    /// The epoch can not be made durable.
    pub(crate) async fn open(
        runtime: &Runtime,
        mut log: Log,
        leader_epoch: LeaderEpoch,
        context: Context,
    ) -> Result<Partition, StorageError> {
        // Before any append, so that every offset belongs to an epoch (KAFKA-7415).
        log.assign_leader_epoch(leader_epoch).await?;
        log.sync().await?;
        let state = Arc::new(State {
            reader: log.reader(),
            leader_epoch: AtomicI32::new(leader_epoch.0),
            high_watermark: AtomicI64::new(log.durable_end().0),
            segment_bytes: AtomicU32::new(log.config().segment_bytes),
            health: context.health,
            waiters: Waiters::default(),
            stats: context.stats,
            metrics: context.metrics,
        });
        let (orders, queue) = mpsc::channel(QUEUE_MAX);
        let clock = Arc::clone(&runtime.clock);
        runtime::spawn(runtime, "partition", owner::run(clock, log, Arc::clone(&state), queue));
        Ok(Partition { state, orders })
    }

    /// How large a segment becomes, which a batch has to fit into.
    pub(crate) fn segment_bytes(&self) -> usize {
        self.state.segment_bytes.load(Ordering::Relaxed) as usize
    }

    /// Hands `batch` to the owner, waiting while its queue is full; the receiver hears when the
    /// batch is durable or refused.
    pub(crate) async fn submit(
        &self,
        batch: ValidatedBatch,
    ) -> oneshot::Receiver<Result<Appended, ProduceError>> {
        let (answer, receiver) = oneshot::channel();
        // A closed queue drops the answer, which the receiver hears as closed.
        let _ = self.orders.send(Order::Append { batch, answer }).await;
        receiver
    }

    /// Removes the records before `before`, which must not lie past the high watermark; returns
    /// the new first offset.
    pub(crate) async fn delete_records(
        &self,
        before: Offset,
    ) -> Option<Result<Offset, StorageError>> {
        self.ask(|answer| Order::DeleteRecords { before, answer }).await
    }

    /// Leads in `epoch`, from the next append on.
    pub(crate) async fn lead(&self, epoch: LeaderEpoch) -> Option<Result<(), StorageError>> {
        self.ask(|answer| Order::Lead { epoch, answer }).await
    }

    /// Removes what retention says, and what was deleted long enough ago.
    pub(crate) async fn maintain(&self) {
        // A closed partition needs no care.
        let _ = self.orders.send(Order::Maintain).await;
    }

    /// A compaction to run beside appends and reads, if there is enough to do.
    pub(crate) async fn begin_compaction(
        &self,
        memory_bytes: usize,
    ) -> Option<Result<Option<Compaction>, StorageError>> {
        self.ask(|answer| Order::BeginCompaction { memory_bytes, answer }).await
    }

    /// Puts the outcome of a compaction in the place of what it read.
    pub(crate) async fn finish_compaction(
        &self,
        done: CompactionDone,
    ) -> Option<Result<CompactionStats, StorageError>> {
        self.ask(|answer| Order::FinishCompaction { done: Box::new(done), answer }).await
    }

    /// The producers that the log remembers.
    pub(crate) async fn producers(&self) -> Option<Vec<ProducerDescription>> {
        self.ask(Order::Producers).await
    }

    /// Gives an order and waits for its answer; `None` when the partition is closed.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Changes the log's settings, from the next append on.
    pub(crate) async fn configure(&self, config: LogConfig) {
        // A closed partition has no settings to change.
        let _ = self.orders.send(Order::Configure(config)).await;
    }

    /// Finishes what is queued, syncs and closes the log.
    pub(crate) async fn close(&self) -> Result<(), StorageError> {
        self.ask(Order::Close).await.unwrap_or(Ok(()))
    }

    /// Reads the log.
    pub(crate) fn reader(&self) -> &LogReader {
        &self.state.reader
    }

    /// Where what was read is counted.
    pub(crate) fn stats(&self) -> &TopicStats {
        &self.state.stats
    }

    /// The same, for the topic's row in the table.
    pub(crate) fn shared_stats(&self) -> Arc<TopicStats> {
        Arc::clone(&self.state.stats)
    }

    /// The epoch in which this broker leads.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.state.leader_epoch.load(Ordering::Acquire))
    }

    /// Consumers read below this.
    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.state.high_watermark.load(Ordering::Acquire))
    }

    /// Wakes `waiter` at the next rise of the high watermark.
    pub(crate) fn register(&self, waiter: &Arc<FetchWaiter>) -> Registration {
        Registration::new(Arc::clone(&self.state), Arc::clone(waiter))
    }
}
