//! Channels and locks serve in order of arrival, lose nothing when a wait is dropped, and tell
//! their end once; `select!` prefers what is named first.

use std::future::ready;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::{checks, poll_once};
use crate::sync::watch::{self, Closed};
use crate::sync::{Mutex, Notify, Semaphore, mpsc, oneshot};
use crate::{Runtime, spawn};

checks!(
    select_prefers_the_first_branch,
    mpsc_keeps_the_order,
    mpsc_serves_waiting_senders_in_order,
    mpsc_gives_what_is_left_before_the_end,
    mpsc_send_to_nobody_gives_the_value_back,
    mpsc_dropped_receive_loses_nothing,
    oneshot_tells_the_value_or_the_end,
    notify_wakes_in_order,
    notify_keeps_one_permit,
    notify_passes_on_a_wake_that_was_dropped,
    mutex_and_semaphore_serve_in_order,
    watch_keeps_the_newest,
    watch_tells_the_last_value_before_the_end,
    watch_wait_for_looks_at_the_present_first,
    watch_clones_see_for_themselves,
    watch_wakes_a_waiting_task,
    watch_never_misses_the_last_value,
);

async fn select_prefers_the_first_branch(_: Runtime, _: PathBuf) {
    for _ in 0..100 {
        let chosen = crate::select! {
            number = ready(1) => number,
            number = ready(2) => number,
        };
        assert_eq!(chosen, 1);
    }
}

async fn mpsc_keeps_the_order(runtime: Runtime, _: PathBuf) {
    let (sender, mut receiver) = mpsc::channel(4);
    let task = spawn(&runtime, "sender", async move {
        for number in 0..1000 {
            sender.send(number).await.unwrap();
        }
    });
    for number in 0..1000 {
        assert_eq!(receiver.recv().await, Some(number));
    }
    assert_eq!(receiver.recv().await, None);
    task.join().await.unwrap();
}

async fn mpsc_serves_waiting_senders_in_order(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = mpsc::channel(1);
    sender.try_send(0).unwrap();
    let mut second = pin!(sender.send(1));
    let mut third = pin!(sender.send(2));
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(third.as_mut()).is_pending());
    assert_eq!(receiver.recv().await, Some(0));
    assert!(poll_once(third.as_mut()).is_pending(), "the second came first");
    assert!(poll_once(second.as_mut()).is_ready());
    assert_eq!(receiver.recv().await, Some(1));
    assert!(poll_once(third.as_mut()).is_ready());
    assert_eq!(receiver.recv().await, Some(2));
}

async fn mpsc_gives_what_is_left_before_the_end(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = mpsc::channel(4);
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    drop(sender);
    assert_eq!(receiver.recv().await, Some(1));
    assert_eq!(receiver.recv().await, Some(2));
    assert_eq!(receiver.recv().await, None);
}

async fn mpsc_send_to_nobody_gives_the_value_back(_: Runtime, _: PathBuf) {
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(1).unwrap();
    let mut waiting = pin!(sender.send(2));
    assert!(poll_once(waiting.as_mut()).is_pending());
    drop(receiver);
    assert_eq!(waiting.await.unwrap_err().0, 2);
    assert_eq!(sender.send(3).await.unwrap_err().0, 3);
    sender.closed().await;
}

async fn mpsc_dropped_receive_loses_nothing(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = mpsc::channel(1);
    {
        let mut waiting = pin!(receiver.recv());
        assert!(poll_once(waiting.as_mut()).is_pending());
        sender.try_send(1).unwrap();
    }
    assert_eq!(receiver.recv().await, Some(1));
}

async fn oneshot_tells_the_value_or_the_end(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = oneshot::channel();
    assert!(poll_once(pin!(&mut receiver)).is_pending());
    sender.send(1).unwrap();
    assert_eq!(receiver.await, Ok(1));

    let (sender, receiver) = oneshot::channel::<()>();
    drop(sender);
    assert!(receiver.await.is_err());

    let (mut sender, receiver) = oneshot::channel();
    drop(receiver);
    sender.closed().await;
    assert_eq!(sender.send(2), Err(2));
}

async fn notify_wakes_in_order(_: Runtime, _: PathBuf) {
    let notify = Notify::new();
    let mut first = pin!(notify.notified());
    let mut second = pin!(notify.notified());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    notify.notify_one();
    assert!(poll_once(second.as_mut()).is_pending(), "the first came first");
    assert!(poll_once(first.as_mut()).is_ready());
    notify.notify_one();
    assert!(poll_once(second.as_mut()).is_ready());
}

async fn notify_keeps_one_permit(_: Runtime, _: PathBuf) {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    notify.notified().await;
    assert!(poll_once(pin!(notify.notified())).is_pending(), "permits do not add up");
    notify.notify_waiters();
    assert!(poll_once(pin!(notify.notified())).is_pending(), "only those who wait are woken");
}

async fn notify_passes_on_a_wake_that_was_dropped(_: Runtime, _: PathBuf) {
    let notify = Notify::new();
    let mut second = pin!(notify.notified());
    {
        let mut first = pin!(notify.notified());
        assert!(poll_once(first.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_pending());
        notify.notify_one();
    }
    assert!(poll_once(second.as_mut()).is_ready(), "the wake was lost with its waiter");
}

async fn mutex_and_semaphore_serve_in_order(_: Runtime, _: PathBuf) {
    let mutex = Mutex::new(());
    let held = mutex.lock().await;
    let mut second = pin!(mutex.lock());
    let mut third = pin!(mutex.lock());
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(third.as_mut()).is_pending());
    drop(held);
    assert!(poll_once(third.as_mut()).is_pending(), "the second came first");
    assert!(poll_once(second.as_mut()).is_ready());
    // The guard above was dropped with the output of its poll.
    assert!(poll_once(third.as_mut()).is_ready());

    let semaphore = Semaphore::new(1);
    let mut large = pin!(semaphore.acquire_many(2));
    let mut small = pin!(semaphore.acquire());
    assert!(poll_once(large.as_mut()).is_pending());
    assert!(poll_once(small.as_mut()).is_pending(), "a small request overtakes a large one");
    semaphore.add_permits(1);
    let Poll::Ready(Ok(held)) = poll_once(large.as_mut()) else { panic!("two permits are free") };
    drop(held);
    assert!(poll_once(small.as_mut()).is_ready());
}

async fn watch_keeps_the_newest(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = watch::channel(0);
    assert!(poll_once(pin!(receiver.changed())).is_pending(), "the first value counts as seen");
    sender.send(1);
    sender.send_shared(Arc::new(2));
    assert_eq!(*receiver.borrow(), 2);
    assert_eq!(receiver.changed().await, Ok(()), "to borrow is not to mark seen");
    assert!(poll_once(pin!(receiver.changed())).is_pending(), "two changes, told once");
    assert_eq!((*sender.borrow(), *receiver.borrow()), (2, 2));
}

async fn watch_tells_the_last_value_before_the_end(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = watch::channel(0);
    sender.send(1);
    drop(sender);
    assert_eq!(receiver.changed().await, Ok(()));
    assert_eq!(receiver.changed().await, Err(Closed));
    assert_eq!(*receiver.borrow(), 1);
    assert_eq!(receiver.wait_for(|value| *value == 1).await.map(|value| *value), Ok(1));
    assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Closed));
}

async fn watch_wait_for_looks_at_the_present_first(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = watch::channel(3);
    assert_eq!(receiver.wait_for(|value| *value == 3).await.map(|value| *value), Ok(3));
    sender.send(4);
    let mut waiting = pin!(receiver.wait_for(|value| 6 <= *value));
    assert!(poll_once(waiting.as_mut()).is_pending());
    sender.send(5);
    assert!(poll_once(waiting.as_mut()).is_pending());
    sender.send(6);
    assert!(matches!(poll_once(waiting.as_mut()), Poll::Ready(Ok(value)) if *value == 6));
}

async fn watch_clones_see_for_themselves(_: Runtime, _: PathBuf) {
    let (sender, mut receiver) = watch::channel(0);
    let mut unseen = receiver.clone();
    sender.send(1);
    let mut late = sender.subscribe();
    assert_eq!(receiver.changed().await, Ok(()));
    assert!(poll_once(pin!(late.changed())).is_pending(), "a new reader has seen the present");
    assert!(
        poll_once(pin!(receiver.clone().changed())).is_pending(),
        "a clone knows what was seen"
    );
    assert_eq!(unseen.changed().await, Ok(()));
}

async fn watch_wakes_a_waiting_task(runtime: Runtime, _: PathBuf) {
    let (sender, receiver) = watch::channel(0);
    let (seen, mut sees) = mpsc::channel(8);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (mut receiver, seen) = (receiver.clone(), seen.clone());
        tasks.push(spawn(&runtime, "watcher", async move {
            while receiver.changed().await.is_ok() {
                seen.send(*receiver.borrow()).await.unwrap();
            }
        }));
    }
    for number in 1..=20 {
        sender.send(number);
        for _ in 0..3 {
            assert_eq!(sees.recv().await, Some(number));
        }
    }
    drop(sender);
    for task in tasks {
        task.join().await.unwrap();
    }
}

async fn watch_never_misses_the_last_value(runtime: Runtime, _: PathBuf) {
    for _ in 0..200 {
        let (sender, mut receiver) = watch::channel(0);
        let task = spawn(&runtime, "sender", async move {
            sender.send(1);
            sender.send(2);
        });
        let mut last = 0;
        while receiver.changed().await.is_ok() {
            last = *receiver.borrow();
        }
        assert_eq!(last, 2, "the end was told before the last value");
        task.join().await.unwrap();
    }
}
