//! Faults of groups of consumers: guests that come by the dozen, topics that grow under them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Admin, Client};
use protocol::StrBytes;

use super::{Faults, Proof};
use crate::stage::supervisor_config;

impl Faults {
    /// Starts all guests of `group` that are not there already.
    pub(super) fn join_burst(&self, group: &str, ms: u64) -> bool {
        self.work.invite(group, self.world.now() + ms * 1_000_000);
        let guests = self.work.guests(group);
        let is_down = |client: &u32| {
            self.client(*client).is_some_and(|node| self.world.process(node).is_none())
        };
        let down: Vec<u32> = guests.into_iter().filter(is_down).collect();
        for client in &down {
            self.start_client(*client);
        }
        !down.is_empty()
    }

    /// Adds partitions to a topic, by an admin that no fault touches; what clients then do is theirs.
    pub(super) fn grow(&self, at: usize, topic: &str, partitions: u32) -> bool {
        let runtime = self.machines.supervisor();
        let client = Client::new(&runtime, supervisor_config(&self.work));
        let count = self.work.partition_count(topic) + partitions as i32;
        let is_done = Arc::new(AtomicBool::new(false));
        self.prove(at, Proof::Done(Arc::clone(&is_done)));
        let (work, name) = (Arc::clone(&self.work), StrBytes::from(topic));
        let growth = work.begin_growth(topic, count);
        drop(runtime.tasks.spawn(
            "growth",
            Box::pin(async move {
                let counts = BTreeMap::from([(name.clone(), count)]);
                let answers = Admin::new(&client).create_partitions(&counts, false).await;
                if answers.get(&name).is_some_and(Result::is_ok) {
                    is_done.store(true, Ordering::Relaxed);
                    work.grown(&name, count);
                }
                drop(growth);
            }),
        ));
        false
    }
}
