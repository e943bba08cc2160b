//! The klamm binary: a broker, and the tools to talk to brokers and to look into their files.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 wrong use. What programs read goes to stdout, what
//! people read besides goes to stderr.
//!
//! Start at [`cli::Cli`]; each command has a file under `commands/`.

mod bytes_text;
mod cli;
mod commands;
mod connect;
mod failure;
mod nearest;
mod output;
mod serve;
mod times;

use std::process::ExitCode;

use clap::Parser;
use runtime_tokio::{RuntimeConfig, StopSignals, TokioRuntime};

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Cli { global, command } = cli;
    let result = match command {
        Command::Dev(arguments) => serve::dev(arguments),
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Topic { command } => {
            on_runtime(|runtime| commands::topic::run(runtime, global, command))
        }
        Command::Produce(arguments) => {
            on_runtime(|runtime| commands::produce::run(runtime, global, arguments))
        }
        Command::Consume(arguments) => {
            // A member leaves its group before it ends.
            let is_member = arguments.group.is_some();
            on_runtime_with_signals(is_member, |runtime, signals| {
                commands::consume::run(runtime, global, arguments, signals)
            })
        }
        Command::Group { command } => {
            on_runtime(|runtime| commands::group::run(runtime, global, command))
        }
        Command::Log { command } => commands::log::run(global.output, command),
        Command::Completions { shell } => commands::completions::run(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Runs an asynchronous command to its end; with `takes_signals` it is told to stop instead of being
/// stopped.
fn on_runtime_with_signals<F: Future<Output = Result<(), Failure>>>(
    takes_signals: bool,
    command: impl FnOnce(runtime::Runtime, Option<StopSignals>) -> F,
) -> Result<(), Failure> {
    let executor = TokioRuntime::new(RuntimeConfig::default())
        .map_err(|error| Failure::new("start the executor").because(error))?;
    let signals = takes_signals.then(|| executor.stop_signals()).transpose();
    let signals = signals.map_err(|error| Failure::new("listen to signals").because(error))?;
    executor.block_on(command(executor.runtime(), signals))
}

/// Runs an asynchronous command to its end.
fn on_runtime<F: Future<Output = Result<(), Failure>>>(
    command: impl FnOnce(runtime::Runtime) -> F,
) -> Result<(), Failure> {
    runtime_tokio::run(command)
        .map_err(|error| Failure::new("start the executor").because(error))?
}
