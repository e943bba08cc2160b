//! The conformance suite of the traits, on tokio and the operating system.

use std::io;
use std::num::NonZeroUsize;

use runtime::conformance::{CHECKS, run_one};
use runtime_tokio::{RuntimeConfig, TokioRuntime};

/// Runs every check, each on an executor of its own so that one can not disturb another, and names
/// all that break.
fn conform(worker_threads: usize) -> io::Result<()> {
    let mut broken = Vec::new();
    for (name, check) in CHECKS.iter().copied().flatten() {
        let scratch = tempfile::tempdir()?;
        let config = RuntimeConfig { worker_threads: NonZeroUsize::new(worker_threads) };
        let executor = TokioRuntime::new(config)?;
        let runtime = executor.runtime();
        let path = scratch.path().to_path_buf();
        let ran = std::thread::scope(|scope| {
            let run = || executor.block_on(run_one(&runtime, &path, name, *check));
            scope.spawn(run).join()
        });
        if ran.is_err() {
            broken.push(*name);
        }
    }
    assert!(broken.is_empty(), "broken promises: {broken:?}");
    Ok(())
}

#[test]
fn conforms_with_one_worker() -> io::Result<()> {
    conform(1)
}

#[test]
fn conforms_with_four_workers() -> io::Result<()> {
    conform(4)
}
