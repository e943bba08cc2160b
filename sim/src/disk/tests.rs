//! The disk against the conformance suite, a model, and each of its faults.

mod conformance;
mod crash;
mod failures;
mod history;
mod tampering;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runtime::{
    BoxFuture, Disk, File, Listener, Net, OpenMode, Runtime, Stream, read_file, write_all_at,
};

use super::{DiskProfile, SimDisk};
use crate::runtime::{MachineClock, clock, random, tasks};
use crate::world::{NodeId, Process, World};

/// No test needs more.
const EVENTS_MAX: u64 = 5_000_000;

struct NoNet;

impl Net for NoNet {
    fn listen<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }

    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, std::io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
    }
}

/// A machine with a disk, and the supervisor who looks on.
#[derive(Clone)]
struct Machine {
    world: World,
    node: NodeId,
    disk: SimDisk,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        Machine::with(seed, DiskProfile::default())
    }

    /// Writes and reads are never short, so that a test knows what one call does.
    fn plain(seed: u64) -> Machine {
        let profile =
            DiskProfile { short_reads_one_in: 0, short_writes_one_in: 0, ..DiskProfile::default() };
        Machine::with(seed, profile)
    }

    fn with(seed: u64, profile: DiskProfile) -> Machine {
        let world = World::new(seed, true);
        let node = world.add_node("machine");
        let disk = SimDisk::new(&world, node, profile);
        Machine { world, node, disk }
    }

    fn runtime(&self, process: Process) -> Runtime {
        Runtime {
            clock: clock(&self.world, &Arc::new(MachineClock::default())),
            net: Arc::new(NoNet),
            disk: self.disk.mount(process),
            tasks: tasks(&self.world, process),
            random: random(&self.world, process),
        }
    }

    /// The disk for the supervisor, who is never ended; a loss of power takes it away.
    fn mount(&self) -> Arc<dyn Disk> {
        self.disk.mount(Process { node: NodeId::SUPERVISOR, incarnation: 1 })
    }

    fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> T {
        let done = self.world.block_on(EVENTS_MAX, main);
        assert_eq!(self.world.panics(), []);
        done.unwrap()
    }

    fn trace_hash(&self) -> u128 {
        self.world.trace().hash()
    }

    async fn sleep_micros(&self, micros: u64) {
        self.world.sleep(Duration::from_micros(micros)).await;
    }
}

async fn create(disk: &dyn Disk, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), OpenMode::Create).await.unwrap()
}

async fn append(file: &dyn File, bytes: &[u8]) {
    let end = file.len().await.unwrap();
    write_all_at(file, end, &[Bytes::copy_from_slice(bytes)]).await.unwrap();
}

async fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = create(disk, path).await;
    write_all_at(&*file, 0, &[Bytes::copy_from_slice(bytes)]).await.unwrap();
    file
}

async fn get(disk: &dyn Disk, path: &str) -> Option<Bytes> {
    read_file(disk, Path::new(path)).await.ok()
}
