//! Tests of the network: the conformance suite, what each fault does to both ends, repetition.

mod conformance;
mod ends;
mod faults;
mod links;
mod storm;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use runtime::sync::oneshot;
use runtime::tokio::io::{AsyncReadExt, AsyncWriteExt};
use runtime::{Listener, Net, Runtime, Stream};

use super::{End, LinkProfile, Network};
use crate::disk::{DiskProfile, SimDisk};
use crate::runtime::{MachineClock, clock, random, tasks};
use crate::world::{Nanos, NodeId, Process, World};

const EVENTS_MAX: u64 = 20_000_000;
const SEEDS: u64 = 20;
const MILLI: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MILLI;

/// A world with a network; `one` and `two` are machines with a process each.
#[derive(Clone)]
struct Scene {
    world: World,
    network: Network,
    one: Process,
    two: Process,
}

impl Scene {
    fn new(seed: u64, is_recording: bool) -> Scene {
        let world = World::new(seed, is_recording);
        let network = Network::new(&world);
        let start = |name| world.start_process(world.add_node(name));
        let (one, two) = (start("one"), start("two"));
        network.node_booted(one.node);
        network.node_booted(two.node);
        Scene { world, network, one, two }
    }

    fn runtime(&self, process: Process) -> Runtime {
        Runtime {
            clock: clock(&self.world, &Arc::new(MachineClock::default())),
            net: self.network.host(process),
            disk: SimDisk::new(&self.world, process.node, DiskProfile::default()).mount(process),
            tasks: tasks(&self.world, process),
            random: random(&self.world, process),
        }
    }

    fn net(&self, process: Process) -> Arc<dyn Net> {
        self.network.host(process)
    }

    fn nodes(&self) -> (NodeId, NodeId) {
        (self.one.node, self.two.node)
    }

    /// A connection from `one`, the client, to `two`, the server.
    async fn pair(&self) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let (client, server, _) = self.pair_and_listener().await;
        (client, server)
    }

    async fn pair_and_listener(&self) -> (Box<dyn Stream>, Box<dyn Stream>, Box<dyn Listener>) {
        let mut listener = self.net(self.two).listen("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = self.net(self.one).connect(&format!("two:{port}")).await.unwrap();
        let server = listener.accept().await.unwrap();
        (client, server, listener)
    }

    /// Ends a process as the machine would.
    fn end(&self, process: Process, end: End) {
        self.world.end_process(process.node);
        self.network.process_ended(process, end);
    }

    /// Starts `future` as a task of the supervisor, so that it outlives the processes.
    fn spawn<F>(&self, future: F) -> Background<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let supervisor = Process { node: NodeId::SUPERVISOR, incarnation: 1 };
        let (done, result) = oneshot::channel();
        let task = runtime::spawn(&self.runtime(supervisor), "test", async move {
            let _ = done.send(future.await);
        });
        Background { task, result }
    }

    async fn sleep(&self, nanos: Nanos) {
        self.world.sleep(Duration::from_nanos(nanos)).await;
    }
}

/// Something that goes on while the test does.
struct Background<T> {
    task: runtime::Task,
    result: oneshot::Receiver<T>,
}

impl<T> Background<T> {
    fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    async fn join(self) -> Result<T, runtime::JoinError> {
        self.task.join().await?;
        Ok(self.result.await.unwrap())
    }
}

/// Runs `test` in scenes of many seeds.
fn for_seeds<F>(test: impl Fn(Scene) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for seed in 0..SEEDS {
        let scene = Scene::new(seed, false);
        let ended = scene.world.block_on(EVENTS_MAX, test(scene.clone()));
        let panics = scene.world.panics();
        assert!(panics.is_empty(), "seed {seed}: {panics:?}");
        assert_eq!(ended, Ok(()), "seed {seed}");
    }
}

fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What a read gives: some bytes, none at the end, or an error.
async fn read_some(stream: &mut dyn Stream) -> Result<Vec<u8>, io::ErrorKind> {
    let mut buffer = vec![0; 100_000];
    let count = stream.read(&mut buffer).await.map_err(|error| error.kind())?;
    buffer.truncate(count);
    Ok(buffer)
}

async fn read_all(stream: &mut dyn Stream) -> Result<Vec<u8>, io::ErrorKind> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(|error| error.kind())?;
    Ok(bytes)
}

async fn read_count(stream: &mut dyn Stream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn write(stream: &mut dyn Stream, bytes: &[u8]) -> Result<(), io::ErrorKind> {
    stream.write_all(bytes).await.map_err(|error| error.kind())
}

/// Bytes whose order shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A usual link on which each write is one segment.
const WHOLE: LinkProfile = LinkProfile { cut_writes_one_in: 0, ..LinkProfile::LAN };

/// A link on which nothing is drawn.
const PLAIN: LinkProfile = LinkProfile {
    latency_nanos_min: 100_000,
    latency_nanos_median: 100_000,
    tail_one_in: 0,
    tail_nanos_max: 0,
    bytes_per_second: 1_000_000_000_000,
    window_bytes: 64 * 1024,
    short_reads_one_in: 0,
    short_writes_one_in: 0,
    cut_writes_one_in: 0,
};
