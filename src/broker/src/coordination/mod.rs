//! Keeps a group coordinator running for every partition of `__consumer_offsets` that is open here.
//!
//! In: the table of open topics. Out: tasks, one per partition, each loading its shard and serving it
//! ([`shard`]); handlers find them in [`crate::groups`].
//!
//! Start at [`run`].

mod load;
mod round;
mod shard;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{PartitionIndex, TopicId};
use runtime::sync::oneshot;

use crate::groups::OFFSETS_TOPIC;
use crate::registry::Registry;
use crate::shared::Shared;
use shard::ShardTask;

/// A shard's task, while its partition is open; dropping it ends the task.
struct Running {
    topic: TopicId,
    _until: oneshot::Sender<()>,
}

/// Starts and ends shards until the broker stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let settings = Arc::new(view::settings(&shared.config));
    let mut running: BTreeMap<PartitionIndex, Running> = BTreeMap::new();
    let mut registry = shared.registry.subscribe();
    loop {
        let topics = registry.borrow();
        running.retain(|index, shard| is_open(&topics, shard.topic, *index));
        start_missing(&shared, &settings, &topics, &mut running);
        drop(topics);
        runtime::select! {
            () = shared.stopping.wait() => return,
            changed = registry.changed() => if changed.is_err() { return },
        }
    }
}

fn is_open(topics: &Registry, topic: TopicId, index: PartitionIndex) -> bool {
    topics.by_id(topic).is_some_and(|topic| topic.partition(index.0).is_some())
}

fn start_missing(
    shared: &Arc<Shared>,
    settings: &Arc<coordinator::Config>,
    topics: &Registry,
    running: &mut BTreeMap<PartitionIndex, Running>,
) {
    let Some(topic) = topics.by_name(OFFSETS_TOPIC) else { return };
    for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
        let Some(partition) = partition else { continue };
        if running.contains_key(&index) {
            continue;
        }
        let (until, ended) = oneshot::channel();
        let task = ShardTask::new(shared, settings, index, partition.clone());
        runtime::spawn(&shared.runtime, "group-coordinator", task.run(ended));
        running.insert(index, Running { topic: topic.id, _until: until });
    }
}
