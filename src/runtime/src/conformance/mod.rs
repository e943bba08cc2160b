//! What every implementation of the traits must do, as tests that any of them can run.
//!
//! Each check is an async function that takes a [`Runtime`] and panics where a promise of the
//! traits' documentation is broken; [`CHECKS`] lists them all. A check assumes no operating system
//! and no length of real time: only what comes before what. It needs the loopback address
//! 127.0.0.1 and, for the disk, an empty directory of its own.
//!
//! Start at [`CHECKS`] and [`run_all`].

#![allow(clippy::unwrap_used, reason = "a check tells by panicking")]

mod clock;
mod disk;
mod file;
mod net;
mod net_end;
mod random;
mod sync;
mod tasks;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::{BoxFuture, Runtime, sleep, timeout};

/// A check, run on its own directory.
pub type Check = fn(Runtime, PathBuf) -> BoxFuture<'static, ()>;

/// The checks by name, in the order in which they are best read.
pub const CHECKS: &[&[(&str, Check)]] = &[
    clock::CHECKS,
    random::CHECKS,
    tasks::CHECKS,
    sync::CHECKS,
    file::CHECKS,
    disk::CHECKS,
    net::CHECKS,
    net_end::CHECKS,
];

/// A check that takes longer than this hangs: generous, since it is never waited for otherwise.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Runs every check, one after the other, each in a new directory under `scratch`, which exists.
/// Panics at the first that does not hold.
pub async fn run_all(runtime: &Runtime, scratch: &Path) {
    for (name, check) in CHECKS.iter().copied().flatten() {
        run_one(runtime, scratch, name, *check).await;
    }
}

/// Runs one check in a new directory under `scratch`, which exists.
pub async fn run_one(runtime: &Runtime, scratch: &Path, name: &str, check: Check) {
    let directory = scratch.join(name);
    runtime.disk.create_dir_all(&directory).await.expect("a directory for the check");
    let done = timeout(&*runtime.clock, CHECK_LIMIT, check(runtime.clone(), directory)).await;
    assert!(done.is_ok(), "check {name} hangs");
}

/// Lists checks as `(name, function)`, with the futures boxed.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// The checks of this file.
        pub(super) const CHECKS: &[(&str, super::Check)] = &[$((
            stringify!($name),
            |runtime, scratch| Box::pin($name(runtime, scratch)),
        )),*];
    };
}
use checks;

/// Polls `future` once, with a waker that does nothing.
fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets other tasks run until `holds`; the check's own limit ends a wait in vain.
async fn eventually(runtime: &Runtime, mut holds: impl FnMut() -> bool) {
    while !holds() {
        sleep(&*runtime.clock, Duration::from_millis(1)).await;
    }
}
