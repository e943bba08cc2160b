//! The seam between klamm and the world: clock, network, disk, tasks and randomness as traits.
//!
//! Everything that storage, client, broker and console know of the outside goes through a
//! [`Runtime`]. Production hands in `runtime-tokio`, the simulator its own models; the code above
//! is compiled once and can not tell them apart. The traits are small and object-safe; a boxed
//! future is paid per I/O call, never per record.
//!
//! Invariants: nothing above this crate names tokio's reactor, `std::fs`, `std::net`,
//! `std::thread`, a system clock or a random generator of its own.
//!
//! Every implementation passes [`conformance`]. Start at [`Runtime`], [`Disk`] and [`Net`].

mod clock;
pub mod conformance;
mod disk;
mod join;
mod net;
mod random;
pub mod sync;
mod tasks;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use clock::{Clock, Elapsed, sleep, timeout};
pub use disk::{
    DURABLE_ALIGN, DirEntry, Disk, DiskLock, DiskSpace, EntryKind, File, OpenMode, read_exact_at,
    read_file, read_full_at, write_all_at, write_and_sync, write_file_durably,
};
pub use join::join_all;
pub use net::{AsAny, Listener, Net, ReadHalf, Stream, WriteHalf, copy_file};
pub use random::{Random, RandomStream, Rng, split_seed};
pub use tasks::{JoinError, Task, TaskControl, Tasks, run_blocking, spawn};
#[doc(hidden)]
pub use tokio;
#[doc(hidden)]
pub use tracing;

/// A future on the heap, as object-safe traits return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One node's view of the world. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Concurrency.
    pub tasks: Arc<dyn Tasks>,
    /// Randomness, one stream per concern.
    pub random: Arc<dyn Random>,
}

/// Marks a place that rarely comes up, so that a simulation can tell whether its runs ever got there
/// (a "code probe" of FoundationDB). The name is unique. Otherwise it does nothing: an event that
/// nobody listens to.
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::tracing::trace!(target: "klamm::sometimes", probe = $name)
    };
}

/// `tokio::select!`, always biased: the order of the branches is the order of the polls, so that a
/// simulated run repeats.
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => { $crate::tokio::select! { biased; $($branches)* } };
}
