//! Tasks: futures, who owns them, and when they are polled.
//!
//! A woken task is polled after a small delay from a stream of its own, so that tasks run in every
//! order that a machine with many cores could bring about, and so that what one task does leaves
//! the delays of the others as they were.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use model::FastMap;
use runtime::{BoxFuture, JoinError, RandomStream, Rng, TaskControl};

use super::trace::digest;
use super::{Event, Kind, Nanos, NodeId, Process, World};

/// A task for the length of the run; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(pub(super) usize);

/// What a poll costs at least: time goes on even in a busy loop.
const POLL_DELAY_MIN: Nanos = 100;
const POLL_DELAY_SPREAD: u64 = 1_900;
/// One poll of so many waits long: as when the machine runs something else.
const LONG_DELAY_ONE_IN: u64 = 256;
const LONG_DELAY_MAX: u64 = 300_000;

/// Who is called after the polls of tasks of a name.
pub(super) type Watcher = (&'static str, Box<dyn FnMut(Process) + Send>);

/// Tasks that were woken since the executor last looked.
pub(super) type Woken = Arc<Mutex<Vec<TaskId>>>;

struct TaskWaker {
    id: TaskId,
    is_planned: AtomicBool,
    woken: Woken,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_planned.swap(true, Ordering::Relaxed) {
            lock(&self.woken).push(self.id);
        }
    }
}

struct Task {
    process: Process,
    name: &'static str,
    /// Taken while the task is polled.
    future: Option<BoxFuture<'static, ()>>,
    /// Aborted while it was polled: ends when that poll has.
    is_aborted: bool,
    waker: Waker,
    wakes: Arc<TaskWaker>,
    delays: RandomStream,
    join: Arc<Mutex<Join>>,
}

#[derive(Default)]
struct Join {
    ended: Option<Result<(), JoinError>>,
    waker: Option<Waker>,
}

/// All tasks that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: Vec<Option<Box<Task>>>,
    alive: BTreeMap<Process, BTreeSet<TaskId>>,
    /// How many tasks of a name a process has had.
    named: FastMap<(Process, &'static str), u64>,
    polls: u64,
}

/// A task that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Which process it belonged to.
    pub process: Process,
    /// The task's name.
    pub task: &'static str,
    /// What it said.
    pub message: String,
}

impl Tasks {
    /// How many polls there were.
    pub(super) fn polls(&self) -> u64 {
        self.polls
    }

    /// How many tasks of `process` have not ended.
    pub(super) fn count(&self, process: Process) -> usize {
        self.alive.get(&process).map_or(0, BTreeSet::len)
    }

    /// The same, by their names.
    pub(super) fn names(&self, process: Process) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        for id in self.alive.get(&process).into_iter().flatten() {
            if let Some(task) = self.tasks.get(id.0).and_then(Option::as_deref) {
                *names.entry(task.name).or_default() += 1;
            }
        }
        names
    }

    fn get(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.0)?.as_deref_mut()
    }

    fn remove(&mut self, id: TaskId) -> Option<Box<Task>> {
        let task = self.tasks.get_mut(id.0)?.take()?;
        if let Some(alive) = self.alive.get_mut(&task.process) {
            alive.remove(&id);
        }
        Some(task)
    }
}

impl World {
    /// Starts a task of `process`; of a process that has ended, none: the future is dropped.
    pub(crate) fn spawn(
        &self,
        process: Process,
        name: &'static str,
        future: BoxFuture<'static, ()>,
    ) -> TaskHandle {
        let join = Arc::new(Mutex::new(Join::default()));
        if !self.is_alive(process) {
            lock(&join).ended = Some(Err(JoinError::Aborted));
            return TaskHandle { world: self.clone(), id: TaskId(usize::MAX), join };
        }
        let mut tasks = self.tasks();
        let id = TaskId(tasks.tasks.len());
        let nth = tasks.named.entry((process, name)).or_default();
        *nth += 1;
        let key = digest(name.as_bytes()) ^ (*nth << 16) ^ process.key();
        let wakes = Arc::new(TaskWaker {
            id,
            is_planned: AtomicBool::new(false),
            woken: Arc::clone(&self.0.woken),
        });
        let waker = Waker::from(Arc::clone(&wakes));
        waker.wake_by_ref();
        tasks.tasks.push(Some(Box::new(Task {
            process,
            name,
            future: Some(future),
            is_aborted: false,
            waker,
            wakes,
            delays: self.rng("task", key),
            join: Arc::clone(&join),
        })));
        tasks.alive.entry(process).or_default().insert(id);
        TaskHandle { world: self.clone(), id, join }
    }

    /// Plans a poll for every task that was woken.
    pub(super) fn plan_woken(&self) {
        let woken = std::mem::take(&mut *lock(&self.0.woken));
        if woken.is_empty() {
            return;
        }
        let mut tasks = self.tasks();
        for id in woken {
            if let Some(task) = tasks.get(id) {
                let at = self.now() + delay(&mut task.delays);
                self.plan(at, Event::Poll(id));
            }
        }
    }

    /// Polls one task, unless it has ended or its node stands still.
    pub(super) fn poll_task(&self, id: TaskId) {
        let Some((mut future, waker, process, name)) = self.take_future(id) else { return };
        let words = [id.0 as u64, process.key()];
        self.record(Kind::Poll, Some(process.node), &words, || name.to_owned());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        self.tell_watcher(name, process);
        let ended = match polled {
            Ok(Poll::Pending) => match self.put_back(id, future) {
                None => return,
                Some(aborted) => {
                    future = aborted;
                    Err(JoinError::Aborted)
                }
            },
            Ok(Poll::Ready(())) => Ok(()),
            Err(panic) => {
                self.note_panic(Panic { process, task: name, message: panic_text(&*panic) });
                Err(JoinError::Panicked)
            }
        };
        // Before who joins is told: what the task held is free by then.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        let task = self.tasks().remove(id);
        if let Some(task) = task {
            end(&task.join, ended);
        }
    }

    /// Calls `watcher` after every poll of a task called `task`, from now on.
    pub fn watch_polls(&self, task: &'static str, watcher: impl FnMut(Process) + Send + 'static) {
        let earlier = lock(&self.0.watcher).replace((task, Box::new(watcher)));
        drop(earlier);
    }

    /// Calls no watcher of polls any more.
    pub fn unwatch_polls(&self) {
        let earlier = lock(&self.0.watcher).take();
        drop(earlier);
    }

    fn tell_watcher(&self, name: &'static str, process: Process) {
        let is_watched = lock(&self.0.watcher).as_ref().is_some_and(|(task, _)| *task == name);
        if !is_watched {
            return;
        }
        // Taken out meanwhile, so that it can use the world.
        let Some((task, mut watcher)) = lock(&self.0.watcher).take() else { return };
        watcher(process);
        lock(&self.0.watcher).get_or_insert((task, watcher));
    }

    /// Keeps the future for the next poll, unless the task was aborted during this one.
    fn put_back(
        &self,
        id: TaskId,
        future: BoxFuture<'static, ()>,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut tasks = self.tasks();
        match tasks.get(id) {
            Some(task) if !task.is_aborted => {
                task.future = Some(future);
                None
            }
            _ => Some(future),
        }
    }

    fn take_future(
        &self,
        id: TaskId,
    ) -> Option<(BoxFuture<'static, ()>, Waker, Process, &'static str)> {
        let mut tasks = self.tasks();
        let task = tasks.get(id)?;
        if self.park(task.process.node, id) {
            return None;
        }
        // Woken while it is polled, it is polled again.
        task.wakes.is_planned.store(false, Ordering::Relaxed);
        let future = task.future.take()?;
        let found = (future, task.waker.clone(), task.process, task.name);
        tasks.polls += 1;
        Some(found)
    }

    /// Drops all tasks of `process`, in the order they were started.
    pub(super) fn drop_tasks(&self, process: Process) {
        loop {
            // A drop may start or end others, so the lock is not held meanwhile.
            let task = {
                let mut tasks = self.tasks();
                let first = tasks.alive.get(&process).and_then(|alive| alive.first().copied());
                match first {
                    Some(id) => tasks.remove(id),
                    None => return,
                }
            };
            if let Some(task) = task {
                let join = Arc::clone(&task.join);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
                end(&join, Err(JoinError::Aborted));
            }
        }
    }

    fn abort(&self, id: TaskId) {
        let task = {
            let mut tasks = self.tasks();
            match tasks.get(id) {
                // It aborts itself, or aborts who is polling it: it ends at its next poll.
                Some(task) if task.future.is_none() => {
                    task.is_aborted = true;
                    None
                }
                Some(_) => tasks.remove(id),
                None => None,
            }
        };
        if let Some(task) = task {
            let join = Arc::clone(&task.join);
            drop(task);
            end(&join, Err(JoinError::Aborted));
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        lock(&self.0.tasks)
    }
}

/// How long a woken task waits for its turn.
fn delay(stream: &mut RandomStream) -> Nanos {
    let bits = stream.next_u64();
    let usual = POLL_DELAY_MIN + (bits >> 32) % POLL_DELAY_SPREAD;
    match bits % LONG_DELAY_ONE_IN {
        0 => usual + (bits >> 8) % LONG_DELAY_MAX,
        _ => usual,
    }
}

fn end(join: &Mutex<Join>, ended: Result<(), JoinError>) {
    let waker = {
        let mut join = lock(join);
        join.ended.get_or_insert(ended);
        join.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "something that is not text".to_owned(),
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread: a panic in between is caught and fails the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A started task.
pub(crate) struct TaskHandle {
    world: World,
    id: TaskId,
    join: Arc<Mutex<Join>>,
}

impl TaskControl for TaskHandle {
    fn abort(&self) {
        self.world.abort(self.id);
    }

    fn is_finished(&self) -> bool {
        lock(&self.join).ended.is_some()
    }

    fn join(self: Box<Self>) -> BoxFuture<'static, Result<(), JoinError>> {
        let join = Arc::clone(&self.join);
        Box::pin(poll_fn(move |context| {
            let mut join = lock(&join);
            match join.ended {
                Some(ended) => Poll::Ready(ended),
                None => {
                    join.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }
}

/// The tasks of a node that stands still, to be polled when it goes on.
pub(super) type Parked = Vec<TaskId>;

/// A node in a message or a key.
impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "n{}", self.0)
    }
}
