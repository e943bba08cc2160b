//! The task that owns a partition's log: group commit.
//!
//! It drains its queue, appends all waiting batches with one write, syncs once, and then answers
//! all of them. While a sync is on its way the queue fills up, so a slower disk makes larger groups.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{LeaderEpoch, Offset};
use runtime::Clock;
use runtime::sync::{mpsc, oneshot};
use storage::{AppendBatch, AppendOrigin, AppendOutcome, Log, StorageError};

use super::{Appended, Order, ProduceError, State};

/// How many batches share one write and one sync at most.
const GROUP_BATCHES_MAX: usize = 256;

/// How many bytes do; one batch may exceed it alone.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

type Answer = oneshot::Sender<Result<Appended, ProduceError>>;

struct Owner {
    clock: Arc<dyn Clock>,
    log: Log,
    state: Arc<State>,
}

/// Appends that share a write and a sync.
#[derive(Default)]
struct Group {
    batches: Vec<AppendBatch>,
    answers: Vec<Answer>,
    bytes: usize,
}

impl Group {
    fn is_full(&self) -> bool {
        self.batches.len() >= GROUP_BATCHES_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

/// Serves orders until the last handle is gone or one of them says to close.
pub(super) async fn run(
    clock: Arc<dyn Clock>,
    log: Log,
    state: Arc<State>,
    mut queue: mpsc::Receiver<Order>,
) {
    let mut owner = Owner { clock, log, state };
    let mut group = Group::default();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        // Orders keep their sequence: what is not an append ends the group before it.
        while let Some(order) = next {
            match order {
                Order::Append { batch, answer } => {
                    group.bytes += batch.size_bytes();
                    let (header, body) = (batch.header, batch.body);
                    group.batches.push(AppendBatch { header, body, origin: AppendOrigin::Client });
                    group.answers.push(answer);
                    if group.is_full() {
                        owner.commit(&mut group).await;
                    }
                }
                other => {
                    owner.commit(&mut group).await;
                    match owner.follow(other).await {
                        Some(open) => owner = open,
                        None => return,
                    }
                }
            }
            next = queue.try_recv().ok();
        }
        owner.commit(&mut group).await;
    }
    if let Err(error) = owner.log.close().await {
        tracing::error!(%error, "close log");
    }
}

impl Owner {
    /// Appends and syncs the group, then answers each of its batches.
    async fn commit(&mut self, group: &mut Group) {
        if group.batches.is_empty() {
            return;
        }
        let Group { batches, answers, .. } = std::mem::take(group);
        if let Some(error) = self.offline() {
            for answer in answers {
                self.state.stats.refused();
                // A client that is gone no longer wants to know.
                let _ = answer.send(Err(ProduceError::Refused(error.clone().into())));
            }
            return;
        }
        if batches.len() > 1 {
            runtime::sometimes!("batches share a sync");
        }
        let begun = self.clock.now();
        let sizes: Vec<(u64, u64)> = batches.iter().map(size).collect();
        let epoch = LeaderEpoch(self.state.leader_epoch.load(Ordering::Acquire));
        let outcomes = self.log.append(batches, epoch, self.clock.wall()).await;
        let synced = self.log.sync().await;
        if let Err(error @ StorageError::Offline { .. }) = &synced {
            self.go_offline(error);
        }
        // Another log may have failed meanwhile: its disk is this one's.
        let synced = self.offline().map_or(synced, Err);
        self.publish();
        self.state.metrics.committed(answers.len(), self.clock.now().since(begun));
        let log_start = self.log.log_start();
        for ((outcome, answer), size) in outcomes.into_iter().zip(answers).zip(sizes) {
            let is_new = matches!(outcome, AppendOutcome::Appended { .. });
            let verdict = verdict(outcome, log_start, &synced);
            match &verdict {
                Ok(_) if is_new => self.state.stats.appended(size.0, size.1),
                Ok(_) => {}
                Err(_) => self.state.stats.refused(),
            }
            // A client that is gone no longer wants to know.
            let _ = answer.send(verdict);
        }
    }

    /// Does what is not an append; `None` when the log is closed.
    async fn follow(mut self, order: Order) -> Option<Owner> {
        match order {
            Order::Append { .. } => unreachable!("appends go into the group"),
            Order::DeleteRecords { before, answer } => {
                let deleted = self.log.delete_records(before).await;
                if let Err(error @ StorageError::Offline { .. }) = &deleted {
                    self.go_offline(error);
                }
                let _ = answer.send(deleted);
            }
            Order::Lead { epoch, answer } => {
                let led = self.lead(epoch).await;
                let _ = answer.send(led);
            }
            Order::Configure(config) => {
                self.state.segment_bytes.store(config.segment_bytes, Ordering::Relaxed);
                self.log.set_config(config);
            }
            Order::Maintain => self.maintain().await,
            Order::BeginCompaction { memory_bytes, answer } => {
                let limit = Offset(self.state.high_watermark.load(Ordering::Acquire));
                let now = self.clock.wall();
                let _ = answer.send(self.log.begin_compaction(limit, now, memory_bytes).await);
            }
            Order::FinishCompaction { done, answer } => {
                let finished = self.log.finish_compaction(*done).await;
                if let Err(error @ StorageError::Offline { .. }) = &finished {
                    self.go_offline(error);
                }
                let _ = answer.send(finished);
            }
            Order::Producers(answer) => {
                let _ = answer.send(self.log.producers());
            }
            Order::Close(answer) => {
                let _ = answer.send(self.log.close().await);
                self.state.waiters.wake_all();
                return None;
            }
        }
        Some(self)
    }

    /// Makes the new epoch durable before the first append in it (KAFKA-7415).
    async fn lead(&mut self, epoch: LeaderEpoch) -> Result<(), StorageError> {
        self.log.assign_leader_epoch(epoch).await?;
        self.state.leader_epoch.store(epoch.0, Ordering::Release);
        Ok(())
    }

    /// What the clock asks of a log.
    async fn maintain(&mut self) {
        if self.log.is_offline() {
            return;
        }
        let now = self.clock.wall();
        let limit = Offset(self.state.high_watermark.load(Ordering::Acquire));
        match self.log.apply_retention(limit, now).await {
            Ok(retained) if retained.segments_removed > 0 => {
                let (segments, bytes) = (retained.segments_removed, retained.bytes_removed);
                tracing::info!(log = %self.log.name(), segments, bytes, "retention");
            }
            Ok(_) => {}
            Err(error @ StorageError::Offline { .. }) => self.go_offline(&error),
            // A full disk or a damaged old segment: nothing was deleted, and the log is as usable as
            // it was. The next pass tries again.
            Err(error) => {
                tracing::warn!(log = %self.log.name(), %error, "retention deletes nothing");
            }
        }
        self.log.remove_deleted_files(now).await;
        self.log.expire_producers();
    }

    /// Lets readers see what is durable now.
    fn publish(&self) {
        let durable = self.log.durable_end().0;
        let before = self.state.high_watermark.fetch_max(durable, Ordering::AcqRel);
        if durable > before {
            self.state.waiters.wake_all();
        }
    }

    /// Takes the whole directory offline: what happened here can happen to every log on the disk.
    fn go_offline(&self, error: &StorageError) {
        if self.state.health.fail(&error.to_string()) {
            runtime::sometimes!("a log directory goes offline");
            tracing::error!(log = %self.log.name(), %error,
                "the log directory is offline: nothing is acknowledged until a restart");
        }
    }

    /// The error that every append gets once the directory is offline.
    fn offline(&self) -> Option<StorageError> {
        let reason = Arc::clone(self.state.health.offline()?);
        Some(StorageError::Offline { log: self.log.name().clone(), reason })
    }
}

/// Records and bytes of a batch.
fn size(batch: &AppendBatch) -> (u64, u64) {
    let records = u64::try_from(batch.header.record_count).unwrap_or(0);
    (records, batch.header.size_bytes() as u64)
}

/// What the producer hears. A duplicate too waits for the sync: the first copy may be of this group.
fn verdict(
    outcome: AppendOutcome,
    log_start: Offset,
    synced: &Result<Offset, StorageError>,
) -> Result<Appended, ProduceError> {
    let (base_offset, last_offset, append_time) = match outcome {
        AppendOutcome::Appended { base_offset, last_offset, append_time }
        | AppendOutcome::Duplicate { base_offset, last_offset, append_time } => {
            (base_offset, last_offset, append_time)
        }
        AppendOutcome::Rejected(error) => return Err(error.into()),
    };
    match synced {
        Ok(durable_end) => {
            assert!(last_offset < *durable_end, "the sync covers what was written before it");
            Ok(Appended { base_offset, append_time, log_start })
        }
        Err(error) => Err(error.clone().into()),
    }
}
