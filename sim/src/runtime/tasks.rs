//! Tasks of one process, on the world's executor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use runtime::{BoxFuture, Rng, Task, Tasks, sync::oneshot};

use crate::world::{Process, World, trace::digest};

/// Blocking work takes up to so long, in nanoseconds.
const WORK_NANOS_MAX: u64 = 200_000;

pub(super) struct SimTasks {
    world: World,
    process: Process,
}

impl SimTasks {
    pub(super) fn new(world: World, process: Process) -> SimTasks {
        SimTasks { world, process }
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        Task::new(self.world.spawn(self.process, name, future))
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // A task of its own: it runs to its end even when the returned future is dropped.
        let (world, process) = (self.world.clone(), self.process);
        let (ended, end) = oneshot::channel();
        let key = digest(&world.now().to_le_bytes()) ^ u64::from(process.node.0);
        let nanos = world.rng("work", key).next_u64() % WORK_NANOS_MAX;
        let task = async move {
            world.sleep(Duration::from_nanos(nanos)).await;
            // A panic is told by the work's own channel; here it is only the end of the work.
            let _ = catch_unwind(AssertUnwindSafe(work));
            let _ = ended.send(());
        };
        drop(self.spawn("blocking-work", Box::pin(task)));
        Box::pin(async move {
            let _ = end.await;
        })
    }
}
