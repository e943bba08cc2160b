//! Signals, limits and the end of the executor. A process of its own: signals go to all of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::spawn;
use runtime_tokio::{RuntimeConfig, StopSignal, TokioRuntime, raise_open_files_limit};
use rustix::process::{Resource, Signal, getpid, getrlimit, kill_process};

#[test]
fn stop_signals_are_told() -> std::io::Result<()> {
    let executor = TokioRuntime::new(RuntimeConfig::default())?;
    let mut signals = executor.stop_signals()?;
    for (sent, told) in [
        (Signal::TERM, StopSignal::Terminate),
        (Signal::INT, StopSignal::Interrupt),
        (Signal::TERM, StopSignal::Terminate),
    ] {
        kill_process(getpid(), sent)?;
        assert_eq!(executor.block_on(signals.next()), told);
    }
    Ok(())
}

#[test]
fn open_files_limit_is_raised_to_the_hard_one() -> std::io::Result<()> {
    let raised = raise_open_files_limit()?;
    let limit = getrlimit(Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
    assert_eq!(raised, limit.maximum);
    Ok(())
}

#[test]
fn shutdown_drops_tasks_and_does_not_wait_for_ever() -> std::io::Result<()> {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let executor = TokioRuntime::new(RuntimeConfig { worker_threads: NonZeroUsize::new(1) })?;
    let runtime = executor.runtime();
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(Arc::clone(&dropped));
    let waits = Arc::new(std::sync::Barrier::new(2));
    let stuck = Arc::clone(&waits);
    drop(spawn(&runtime, "never ends", async move {
        let _flag = flag;
        std::future::pending::<()>().await;
    }));
    let started = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&started);
    drop(runtime.tasks.run_blocking(Box::new(move || {
        tell.store(true, Ordering::SeqCst);
        stuck.wait();
    })));
    while !started.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    executor.shutdown(Duration::from_millis(10));
    assert!(dropped.load(Ordering::SeqCst));
    waits.wait();
    Ok(())
}
