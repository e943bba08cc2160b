//! Tasks run on their own, end as they say, and blocking work holds nobody up.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{checks, eventually, poll_once};
use crate::sync::{mpsc, oneshot};
use crate::{JoinError, Runtime, run_blocking, spawn};

checks!(
    spawn_does_not_poll_inside_the_call,
    task_runs_without_being_joined,
    task_runs_on_when_its_handle_is_dropped,
    join_waits_for_the_end,
    join_of_an_ended_task_is_ok,
    dropped_join_detaches,
    abort_drops_the_future,
    abort_before_the_first_poll,
    abort_of_an_ended_task_changes_nothing,
    panic_is_told_to_who_joins,
    many_tasks_run,
    tasks_take_turns,
    run_blocking_returns_the_result,
    run_blocking_runs_to_its_end_when_dropped,
    run_blocking_survives_a_panic,
);

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn flag() -> (Flag, Arc<AtomicBool>) {
    let set = Arc::new(AtomicBool::new(false));
    (Flag(Arc::clone(&set)), set)
}

async fn spawn_does_not_poll_inside_the_call(runtime: Runtime, _: PathBuf) {
    // A task that were polled inside spawn would wait for ever for the lock.
    let lock = Arc::new(std::sync::Mutex::new(()));
    let other = Arc::clone(&lock);
    let held = lock.lock().unwrap();
    let task = spawn(&runtime, "taker", async move { drop(other.lock().unwrap()) });
    drop(held);
    task.join().await.unwrap();
}

async fn task_runs_without_being_joined(runtime: Runtime, _: PathBuf) {
    let (sender, receiver) = oneshot::channel();
    let task = spawn(&runtime, "sender", async move { sender.send(5).unwrap() });
    assert_eq!(receiver.await, Ok(5));
    eventually(&runtime, || task.is_finished()).await;
}

async fn task_runs_on_when_its_handle_is_dropped(runtime: Runtime, _: PathBuf) {
    let (start, started) = oneshot::channel::<()>();
    let (sender, receiver) = oneshot::channel();
    drop(spawn(&runtime, "detached", async move {
        started.await.unwrap();
        sender.send(6).unwrap();
    }));
    start.send(()).unwrap();
    assert_eq!(receiver.await, Ok(6));
}

async fn join_waits_for_the_end(runtime: Runtime, _: PathBuf) {
    let (release, released) = oneshot::channel::<()>();
    let (guard, ended) = flag();
    let task = spawn(&runtime, "held", async move {
        let _guard = guard;
        released.await.unwrap();
    });
    assert!(!task.is_finished());
    let mut join = Box::pin(task.join());
    assert!(poll_once(join.as_mut()).is_pending());
    release.send(()).unwrap();
    assert_eq!(join.await, Ok(()));
    assert!(ended.load(Ordering::SeqCst), "joined before the future was dropped");
}

async fn join_of_an_ended_task_is_ok(runtime: Runtime, _: PathBuf) {
    let task = spawn(&runtime, "short", async {});
    eventually(&runtime, || task.is_finished()).await;
    assert_eq!(task.join().await, Ok(()));
}

async fn dropped_join_detaches(runtime: Runtime, _: PathBuf) {
    let (release, released) = oneshot::channel::<()>();
    let (sender, receiver) = oneshot::channel();
    let task = spawn(&runtime, "detached", async move {
        released.await.unwrap();
        sender.send(8).unwrap();
    });
    let mut join = Box::pin(task.join());
    assert!(poll_once(join.as_mut()).is_pending());
    drop(join);
    release.send(()).unwrap();
    assert_eq!(receiver.await, Ok(8));
}

async fn abort_drops_the_future(runtime: Runtime, _: PathBuf) {
    let (guard, dropped) = flag();
    let (sender, started) = oneshot::channel::<()>();
    let task = spawn(&runtime, "aborted", async move {
        let _guard = guard;
        sender.send(()).unwrap();
        pending::<()>().await;
    });
    started.await.unwrap();
    assert!(!task.is_finished());
    task.abort();
    assert_eq!(task.join().await, Err(JoinError::Aborted));
    assert!(dropped.load(Ordering::SeqCst), "joined before the future was dropped");
}

async fn abort_before_the_first_poll(runtime: Runtime, _: PathBuf) {
    // Whether the task had its first poll is the executor's choice; that it ends is not.
    let (guard, dropped) = flag();
    let task = spawn(&runtime, "aborted", async move {
        let _guard = guard;
        pending::<()>().await;
    });
    task.abort();
    assert_eq!(task.join().await, Err(JoinError::Aborted));
    assert!(dropped.load(Ordering::SeqCst));
}

async fn abort_of_an_ended_task_changes_nothing(runtime: Runtime, _: PathBuf) {
    let task = spawn(&runtime, "short", async {});
    eventually(&runtime, || task.is_finished()).await;
    task.abort();
    task.abort();
    assert_eq!(task.join().await, Ok(()));
}

async fn panic_is_told_to_who_joins(runtime: Runtime, _: PathBuf) {
    let (guard, dropped) = flag();
    let task = spawn(&runtime, "panics", async move {
        let _guard = guard;
        panic!("on purpose: the conformance suite checks that a panic stays in its task");
    });
    assert_eq!(task.join().await, Err(JoinError::Panicked));
    assert!(dropped.load(Ordering::SeqCst));
}

async fn many_tasks_run(runtime: Runtime, _: PathBuf) {
    let count = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let count = Arc::clone(&count);
            spawn(&runtime, "one of many", async move {
                count.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    for task in tasks {
        task.join().await.unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 1000);
}

async fn tasks_take_turns(runtime: Runtime, _: PathBuf) {
    // Each side can only go on when the other had its turn.
    let (ping, mut pinged) = mpsc::channel(1);
    let (pong, mut ponged) = mpsc::channel(1);
    let task = spawn(&runtime, "echo", async move {
        while let Some(number) = pinged.recv().await {
            pong.send(number).await.unwrap();
        }
    });
    for number in 0..100 {
        ping.send(number).await.unwrap();
        assert_eq!(ponged.recv().await, Some(number));
    }
    drop(ping);
    task.join().await.unwrap();
}

async fn run_blocking_returns_the_result(runtime: Runtime, _: PathBuf) {
    assert_eq!(run_blocking(&runtime, || 6 * 7).await, Ok(42));
    let ran = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&ran);
    runtime.tasks.run_blocking(Box::new(move || inside.store(true, Ordering::SeqCst))).await;
    assert!(ran.load(Ordering::SeqCst), "completed before the work had ended");
}

async fn run_blocking_runs_to_its_end_when_dropped(runtime: Runtime, _: PathBuf) {
    let ran = Arc::new(AtomicBool::new(false));
    let inside = Arc::clone(&ran);
    let work = Box::new(move || inside.store(true, Ordering::SeqCst));
    let mut dropped = runtime.tasks.run_blocking(work);
    let _ = poll_once(dropped.as_mut());
    drop(dropped);
    eventually(&runtime, || ran.load(Ordering::SeqCst)).await;
}

async fn run_blocking_survives_a_panic(runtime: Runtime, _: PathBuf) {
    let work = || panic!("on purpose: the conformance suite checks that the waiter learns of it");
    assert_eq!(run_blocking::<()>(&runtime, work).await, Err(JoinError::Panicked));
    for number in 0..100 {
        assert_eq!(run_blocking(&runtime, move || number).await, Ok(number));
    }
}
