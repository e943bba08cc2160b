//! What the clock asks of a broker: checkpoints, retention, compaction.
//!
//! Each is a loop of its own, ended by the broker's stop; none of them holds up appends.

use std::sync::Arc;
use std::time::Duration;

use crate::partition::Partition;
use crate::shared::Shared;

/// How often the recovery points are written down, if they moved: what lies past them is read at an
/// unclean start, about a GB in a second, which is what a broker under full load writes meanwhile.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Deleted files and idle producers are looked at this often, retention at most as often.
const MAINTENANCE_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Starts the loops.
pub(crate) fn start(shared: &Arc<Shared>) {
    let runtime = &shared.runtime;
    runtime::spawn(runtime, "checkpoints", checkpoints(Arc::clone(shared)));
    runtime::spawn(runtime, "retention", retention(Arc::clone(shared)));
    if shared.config.log_cleaner_enable {
        runtime::spawn(runtime, "cleaner", compaction(Arc::clone(shared)));
    }
}

async fn checkpoints(shared: Arc<Shared>) {
    let configured = shared.config.log_flush_offset_checkpoint_interval;
    while shared.pause(configured.min(CHECKPOINT_INTERVAL)).await {
        if let Err(error) = shared.log_dir.checkpoint().await {
            tracing::error!(%error, "write checkpoints");
        }
    }
}

async fn retention(shared: Arc<Shared>) {
    let interval = shared.config.log_retention_check_interval.min(MAINTENANCE_INTERVAL_MAX);
    while shared.pause(interval).await {
        for partition in partitions(&shared) {
            partition.maintain().await;
        }
        if let Err(error) = shared.log_dir.remove_deleted().await {
            tracing::error!(%error, "remove deleted logs");
        }
    }
}

/// Compacts one log after the other: the memory for keys is one log's at a time.
async fn compaction(shared: Arc<Shared>) {
    while shared.pause(shared.config.log_cleaner_backoff).await {
        for partition in partitions(&shared) {
            if shared.stopping.is_raised() {
                return;
            }
            compact(&shared, &partition).await;
        }
    }
}

async fn compact(shared: &Shared, partition: &Partition) {
    let memory = shared.config.log_cleaner_dedupe_buffer_size;
    let compaction = match partition.begin_compaction(memory).await {
        Some(Ok(Some(compaction))) => compaction,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => return tracing::error!(%error, "begin compaction"),
    };
    let done = match compaction.run().await {
        Ok(done) => done,
        Err(error) => return tracing::error!(%error, "compact"),
    };
    match partition.finish_compaction(done).await {
        Some(Ok(stats)) => tracing::info!(?stats, "compacted"),
        Some(Err(error)) => tracing::error!(%error, "finish compaction"),
        None => {}
    }
}

/// All partitions that are open now.
fn partitions(shared: &Shared) -> Vec<Partition> {
    let registry = shared.registry.borrow();
    registry.topics().flat_map(|topic| topic.partitions.iter().flatten().cloned()).collect()
}
