//! The executor of a simulated world: virtual time, tasks, nodes and their processes, the trace.
//!
//! In: a seed. One thread runs everything; a run is a pure function of the build and what is put
//! in. Each random choice comes from a stream that is keyed by what it decides, so that taking one
//! fault away leaves the rest of the world as it was.
//!
//! Invariants:
//! - time never goes back, and nothing happens between two events
//! - no lock of this crate is held while a future is polled or dropped
//! - no task of a process runs after the process has ended
//!
//! Start at [`World::block_on`].

pub mod film;
mod tasks;
mod time;
pub mod trace;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use runtime::{RandomStream, split_seed};

pub use tasks::Panic;
use tasks::{Parked, Tasks, Watcher, Woken, lock};
use time::{Agenda, Event};
pub use time::{Nanos, Sleep};
pub use trace::Kind;
use trace::{Recorded, Trace};

/// A machine: it has an address, a disk and a clock, and runs one process at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The node of who runs the simulation: never faulted.
    pub const SUPERVISOR: NodeId = NodeId(0);
}

/// One run of a program on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Where.
    pub node: NodeId,
    /// Which, counted from 1.
    pub incarnation: u32,
}

impl Process {
    fn key(self) -> u64 {
        (u64::from(self.node.0) << 48) | (u64::from(self.incarnation) << 32)
    }
}

struct Node {
    name: String,
    incarnation: u32,
    is_up: bool,
    is_paused: bool,
    parked: Parked,
    /// How often a task's poll was put off because the process stood still.
    put_off: u64,
}

/// The supervisor's own task.
const MAIN: &str = "main";

/// The world; clones are the same one.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    seed: u64,
    now: AtomicU64,
    events: AtomicU64,
    agenda: Mutex<Agenda>,
    woken: Woken,
    tasks: Mutex<Tasks>,
    nodes: Mutex<Vec<Node>>,
    trace: Mutex<Trace>,
    is_recording: bool,
    panics: Mutex<Vec<Panic>>,
    watcher: Mutex<Option<Watcher>>,
    is_dropping: AtomicBool,
}

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// Nothing will ever happen again, and the supervisor waits.
    #[error("every task waits, and no event is planned")]
    NothingToDo,
    /// More events than the run may have: a busy loop.
    #[error("more than {0} events: something runs in circles")]
    TooManyEvents(u64),
}

impl World {
    /// An empty world. `is_recording` keeps every event as text.
    pub fn new(seed: u64, is_recording: bool) -> World {
        let world = World(Arc::new(Inner {
            seed,
            now: AtomicU64::new(0),
            events: AtomicU64::new(0),
            agenda: Mutex::default(),
            woken: Woken::default(),
            tasks: Mutex::default(),
            nodes: Mutex::default(),
            trace: Mutex::new(Trace::new(is_recording)),
            is_recording,
            panics: Mutex::default(),
            watcher: Mutex::default(),
            is_dropping: AtomicBool::new(false),
        }));
        let supervisor = world.add_node("supervisor");
        world.start_process(supervisor);
        world
    }

    /// Runs `main` as the supervisor and everything else meanwhile, until `main` is done.
    ///
    /// # Errors
    /// [`Stuck`] when it can not get done. The world is empty afterwards, whatever happened.
    pub fn block_on<T: Send + 'static>(
        &self,
        events_max: u64,
        main: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stuck> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let supervisor = Process { node: NodeId::SUPERVISOR, incarnation: 1 };
        self.spawn(
            supervisor,
            MAIN,
            Box::pin(async move {
                let done = main.await;
                *lock(&slot) = Some(done);
            }),
        );
        let ended = self.run_until(events_max, || lock(&result).is_some() || self.is_main_dead());
        self.clear();
        ended?;
        let done = lock(&result).take();
        done.ok_or(Stuck::NothingToDo)
    }

    fn run_until(&self, events_max: u64, is_done: impl Fn() -> bool) -> Result<(), Stuck> {
        self.plan_woken();
        while !is_done() {
            let next = lock(&self.0.agenda).next();
            let Some((at, event)) = next else { return Err(Stuck::NothingToDo) };
            if self.0.events.fetch_add(1, Ordering::Relaxed) == events_max {
                return Err(Stuck::TooManyEvents(events_max));
            }
            self.0.now.store(at, Ordering::Relaxed);
            match event {
                Event::Poll(id) => self.poll_task(id),
                Event::Wake(alarm) => alarm.ring(),
                Event::Act(act) => act(self),
            }
            self.plan_woken();
        }
        Ok(())
    }

    /// Whether the supervisor itself panicked: its future ended without a result.
    fn is_main_dead(&self) -> bool {
        let is_main =
            |panic: &Panic| panic.process.node == NodeId::SUPERVISOR && panic.task == MAIN;
        lock(&self.0.panics).iter().any(is_main)
    }

    /// Ends all processes and forgets all events, so that nothing holds on to the world.
    fn clear(&self) {
        let nodes = lock(&self.0.nodes).len();
        for node in 0..nodes {
            self.end_process(NodeId(node as u32));
        }
        let events = lock(&self.0.agenda).clear();
        drop(events);
    }

    /// Now.
    pub fn now(&self) -> Nanos {
        self.0.now.load(Ordering::Relaxed)
    }

    /// How many handles there are: one when everything that ever lived in this world is gone.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    /// How many times a task was polled.
    pub fn polls(&self) -> u64 {
        lock(&self.0.tasks).polls()
    }

    /// How many tasks of `process` have not ended, by their names.
    pub fn task_names(&self, process: Process) -> BTreeMap<&'static str, usize> {
        lock(&self.0.tasks).names(process)
    }

    /// How many tasks of `process` have not ended.
    pub fn task_count(&self, process: Process) -> usize {
        lock(&self.0.tasks).count(process)
    }

    /// Completes after `duration`, whatever any node's clock says.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().saturating_add(nanos(duration)))
    }

    /// Completes at `moment`.
    pub fn sleep_until(&self, moment: Nanos) -> Sleep {
        Sleep::new(self.clone(), moment)
    }

    /// Does `act` at `moment`, or next when that has passed.
    pub fn at(&self, moment: Nanos, act: impl FnOnce(&World) + Send + 'static) {
        self.plan(moment.max(self.now()), Event::Act(Box::new(act)));
    }

    /// Does `act` after `duration`.
    pub fn after(&self, duration: Duration, act: impl FnOnce(&World) + Send + 'static) {
        self.at(self.now().saturating_add(nanos(duration)), act);
    }

    fn plan(&self, at: Nanos, event: Event) {
        lock(&self.0.agenda).plan(at, event);
    }

    /// The stream of `concern` and `key`; equal arguments give equal streams.
    pub fn rng(&self, concern: &str, key: u64) -> RandomStream {
        split_seed(self.0.seed, concern, key)
    }

    /// Puts an event into the trace: `words` go into its hash, `text` is for people.
    pub fn record(
        &self,
        kind: Kind,
        node: Option<NodeId>,
        words: &[u64],
        text: impl Fn() -> String,
    ) {
        let node = node.map(|node| node.0);
        self.trace().record(Recorded { at: self.now(), kind, node, words, text: &text });
    }

    /// Adds a line for people that is no part of the hash: what only some ways to run a seed show.
    pub fn remark(&self, kind: Kind, node: Option<NodeId>, text: String) {
        self.trace().remark(self.now(), kind, node.map(|node| node.0), text);
    }

    /// Keeps a scene for reports, when the run is recorded.
    pub fn film(&self, scene: impl FnOnce() -> film::Scene) {
        if self.0.is_recording {
            self.trace().film(self.now(), scene());
        }
    }

    /// Whether events are kept as text.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording
    }

    /// The trace so far.
    pub fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.0.trace)
    }

    /// The panics so far.
    pub fn panics(&self) -> Vec<Panic> {
        lock(&self.0.panics).clone()
    }

    fn note_panic(&self, panic: Panic) {
        let text = format!("panic in {}: {}", panic.task, panic.message);
        let words = [trace::digest(text.as_bytes())];
        self.record(Kind::Process, Some(panic.process.node), &words, || text.clone());
        lock(&self.0.panics).push(panic);
    }
}

/// Nodes and processes.
impl World {
    /// A new machine, down.
    pub fn add_node(&self, name: &str) -> NodeId {
        let mut nodes = self.nodes();
        let id = NodeId(u32::try_from(nodes.len()).expect("fewer nodes than a u32 counts"));
        nodes.push(Node {
            name: name.to_owned(),
            incarnation: 0,
            is_up: false,
            is_paused: false,
            parked: Parked::new(),
            put_off: 0,
        });
        id
    }

    /// How the node is called.
    pub fn node_name(&self, node: NodeId) -> String {
        self.nodes()[node.0 as usize].name.clone()
    }

    /// The names of all nodes, by number.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.name.clone()).collect()
    }

    /// The node called `name`.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        let at = self.nodes().iter().position(|node| node.name == name)?;
        Some(NodeId(at as u32))
    }

    /// Starts a process on a node that has none.
    pub fn start_process(&self, node: NodeId) -> Process {
        let mut nodes = self.nodes();
        let state = &mut nodes[node.0 as usize];
        assert!(!state.is_up, "{node} runs already");
        state.is_up = true;
        state.is_paused = false;
        state.incarnation += 1;
        Process { node, incarnation: state.incarnation }
    }

    /// The running process of `node`.
    pub fn process(&self, node: NodeId) -> Option<Process> {
        let nodes = self.nodes();
        let state = &nodes[node.0 as usize];
        state.is_up.then_some(Process { node, incarnation: state.incarnation })
    }

    /// Whether `process` still runs; a paused one does.
    pub fn is_alive(&self, process: Process) -> bool {
        self.process(process.node) == Some(process)
    }

    /// Ends the process of `node` between two of its steps: its futures are dropped, not finished.
    /// Nothing happens when none runs. What becomes of its sockets and files is for those to say.
    pub fn end_process(&self, node: NodeId) {
        let Some(process) = self.process(node) else { return };
        {
            let mut nodes = self.nodes();
            let state = &mut nodes[node.0 as usize];
            state.is_up = false;
            state.is_paused = false;
            state.parked.clear();
        }
        self.0.is_dropping.store(true, Ordering::Relaxed);
        self.drop_tasks(process);
        self.0.is_dropping.store(false, Ordering::Relaxed);
    }

    /// Whether the futures of a process that has ended are being dropped: what they say in their
    /// drops nobody hears, since a process that was killed runs no destructors.
    pub fn is_dropping(&self) -> bool {
        self.0.is_dropping.load(Ordering::Relaxed)
    }

    /// Stops the process of `node` where it stands; the world goes on around it.
    pub fn pause(&self, node: NodeId) {
        self.nodes()[node.0 as usize].is_paused = true;
    }

    /// Lets a paused process go on.
    pub fn resume(&self, node: NodeId) {
        let parked = {
            let mut nodes = self.nodes();
            let state = &mut nodes[node.0 as usize];
            state.is_paused = false;
            std::mem::take(&mut state.parked)
        };
        for id in parked {
            self.plan(self.now(), Event::Poll(id));
        }
    }

    /// Whether the process of `node` is paused.
    pub fn is_paused(&self, node: NodeId) -> bool {
        self.nodes()[node.0 as usize].is_paused
    }

    /// Keeps the poll of a task for later when its node stands still.
    fn park(&self, node: NodeId, id: tasks::TaskId) -> bool {
        let mut nodes = self.nodes();
        let state = &mut nodes[node.0 as usize];
        if state.is_paused {
            state.parked.push(id);
            state.put_off += 1;
        }
        state.is_paused
    }

    /// How often a task of `node` would have run and did not, because the process stood still.
    pub fn put_off(&self, node: NodeId) -> u64 {
        self.nodes()[node.0 as usize].put_off
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        lock(&self.0.nodes)
    }
}

/// `duration` in nanoseconds, as long as a u64 counts.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}
