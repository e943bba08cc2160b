//! Time goes forward, sleeps end in order and never early, limits cut work off.

use std::future::{pending, ready};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{checks, poll_once};
use crate::{Elapsed, Runtime, sleep, spawn, timeout};

checks!(
    clock_never_goes_back,
    clock_wall_time_is_of_this_age,
    sleep_never_ends_early,
    sleep_until_the_past_is_ready_at_once,
    sleeps_end_in_the_order_of_their_deadlines,
    sleep_wakes_the_task_that_polled_it_last,
    sleeps_can_be_dropped,
    sleep_for_ever_does_not_end,
    timeout_lets_fast_work_pass,
    timeout_of_zero_lets_ready_work_pass,
    timeout_drops_slow_work,
);

const TICK: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(100_000);

async fn clock_never_goes_back(runtime: Runtime, _: PathBuf) {
    let mut last = runtime.clock.now();
    for round in 0..1000 {
        if round % 250 == 0 {
            sleep(&*runtime.clock, TICK).await;
        }
        let now = runtime.clock.now();
        assert!(last <= now, "{last:?} then {now:?}");
        last = now;
    }
}

async fn clock_wall_time_is_of_this_age(runtime: Runtime, _: PathBuf) {
    const YEAR_2020: i64 = 1_577_836_800_000;
    const YEAR_2200: i64 = 7_258_118_400_000;
    let now = runtime.clock.wall().0;
    assert!((YEAR_2020..YEAR_2200).contains(&now), "{now} is not in milliseconds since 1970");
}

async fn sleep_never_ends_early(runtime: Runtime, _: PathBuf) {
    for micros in [0, 1, 999, 1000, 1001, 2500, 5000] {
        let deadline = runtime.clock.now() + Duration::from_micros(micros);
        runtime.clock.sleep_until(deadline).await;
        assert!(deadline <= runtime.clock.now(), "a sleep of {micros} us ended early");
    }
}

async fn sleep_until_the_past_is_ready_at_once(runtime: Runtime, _: PathBuf) {
    let deadline = runtime.clock.now() + TICK;
    runtime.clock.sleep_until(deadline).await;
    for past in [deadline, model::Instant::default()] {
        let mut late = runtime.clock.sleep_until(past);
        assert!(poll_once(late.as_mut()).is_ready(), "{past:?} has passed");
    }
}

async fn sleeps_end_in_the_order_of_their_deadlines(runtime: Runtime, _: PathBuf) {
    let start = runtime.clock.now();
    let mut short = runtime.clock.sleep_until(start + TICK);
    let mut middle = runtime.clock.sleep_until(start + TICK * 2);
    let mut long = runtime.clock.sleep_until(start + LONG);
    // Polled in the wrong order, so that it is the deadline that counts.
    crate::select! {
        () = &mut long => panic!("a day is longer than a moment"),
        () = &mut middle => {}
    }
    assert!(poll_once(short.as_mut()).is_ready(), "the earlier deadline has passed as well");
    assert!(poll_once(long.as_mut()).is_pending());
}

async fn sleep_wakes_the_task_that_polled_it_last(runtime: Runtime, _: PathBuf) {
    let mut nap = runtime.clock.sleep_until(runtime.clock.now() + TICK);
    assert!(poll_once(nap.as_mut()).is_pending() || runtime.clock.now().0 > 0);
    // Polled once here with a waker that does nothing; the task below must be woken all the same.
    let mut nap = runtime.clock.sleep_until(runtime.clock.now() + TICK);
    let _ = poll_once(nap.as_mut());
    let task = spawn(&runtime, "napper", nap);
    task.join().await.unwrap();
}

async fn sleeps_can_be_dropped(runtime: Runtime, _: PathBuf) {
    let deadline = runtime.clock.now() + TICK;
    for _ in 0..100 {
        let mut nap = runtime.clock.sleep_until(deadline);
        let _ = poll_once(nap.as_mut());
    }
    runtime.clock.sleep_until(deadline + TICK).await;
}

async fn sleep_for_ever_does_not_end(runtime: Runtime, _: PathBuf) {
    let mut never = runtime.clock.sleep_until(model::Instant(u64::MAX));
    assert!(poll_once(never.as_mut()).is_pending());
    assert_eq!(timeout(&*runtime.clock, TICK, never).await, Err(Elapsed));
    assert_eq!(timeout(&*runtime.clock, Duration::MAX, ready(1)).await, Ok(1));
}

async fn timeout_lets_fast_work_pass(runtime: Runtime, _: PathBuf) {
    let clock = Arc::clone(&runtime.clock);
    let work = async move {
        sleep(&*clock, TICK).await;
        7
    };
    assert_eq!(timeout(&*runtime.clock, LONG, work).await, Ok(7));
}

async fn timeout_of_zero_lets_ready_work_pass(runtime: Runtime, _: PathBuf) {
    assert_eq!(timeout(&*runtime.clock, Duration::ZERO, ready(7)).await, Ok(7));
    assert_eq!(timeout(&*runtime.clock, Duration::ZERO, pending::<()>()).await, Err(Elapsed));
}

async fn timeout_drops_slow_work(runtime: Runtime, _: PathBuf) {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let work = async move {
        let _inside = inside;
        pending::<()>().await;
    };
    let before = runtime.clock.now();
    let mut limited = pin!(timeout(&*runtime.clock, TICK, work));
    assert!(matches!(poll_once(limited.as_mut()), Poll::Pending | Poll::Ready(Err(Elapsed))));
    assert_eq!(limited.await, Err(Elapsed));
    assert!(before + TICK <= runtime.clock.now());
    assert_eq!(Arc::strong_count(&held), 1, "the work was not dropped");
}
