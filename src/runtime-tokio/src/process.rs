//! What a program asks of the operating system about itself: signals and limits.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::TokioRuntime;

/// A request from outside to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT: Ctrl-C in a terminal.
    Interrupt,
    /// SIGTERM: a service manager.
    Terminate,
}

/// SIGINT and SIGTERM as a stream; while it lives, neither ends the process by itself.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl TokioRuntime {
    /// Takes SIGINT and SIGTERM over, from now until the end of the process.
    pub fn stop_signals(&self) -> io::Result<StopSignals> {
        let _context = self.executor.enter();
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}

impl StopSignals {
    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) -> StopSignal {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => StopSignal::Terminate,
            Some(()) = self.interrupt.recv() => StopSignal::Interrupt,
            // The signal driver lives as long as the executor that polls this.
            else => std::future::pending().await,
        }
    }
}

/// Raises the soft limit of open files to the hard one and returns what then holds; `None` is no
/// limit. Partitions and connections each need one.
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum)
}
