//! The runtime traits over a simulated world: what one process sees of it.

mod clock;
mod tasks;

use std::sync::Arc;

use runtime::{Random, RandomStream, split_seed};

pub use clock::{Asked, DRIFT_PPM_MIN, EPOCH_MILLIS, MachineClock};

use crate::world::{Process, World};

pub(crate) fn clock(world: &World, machine: &Arc<MachineClock>) -> Arc<dyn runtime::Clock> {
    Arc::new(clock::SimClock::new(world.clone(), Arc::clone(machine)))
}

pub(crate) fn tasks(world: &World, process: Process) -> Arc<dyn runtime::Tasks> {
    Arc::new(tasks::SimTasks::new(world.clone(), process))
}

pub(crate) fn random(world: &World, process: Process) -> Arc<dyn Random> {
    let key = (u64::from(process.node.0) << 32) | u64::from(process.incarnation);
    Arc::new(SimRandom { seed: split_seed_of(world, key) })
}

/// A seed of its own for each process, so that a restarted program does not repeat itself.
fn split_seed_of(world: &World, key: u64) -> u64 {
    use runtime::Rng;
    world.rng("process", key).next_u64()
}

struct SimRandom {
    seed: u64,
}

impl Random for SimRandom {
    fn stream(&self, concern: &str, key: u64) -> RandomStream {
        split_seed(self.seed, concern, key)
    }
}
