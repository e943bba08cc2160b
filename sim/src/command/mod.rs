//! The commands of `klamm-sim`.

mod coverage;
mod hash;
mod promote;
mod replay;
mod report;
mod run;
mod seeds;
mod shrink;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sim::scenario::{Scenario, ScenarioError};
use sim::shrink::ShrinkError;
use sim::sweep::Named;

/// klamm's brokers and clients in a simulated world with faults, by seed.
#[derive(Parser)]
#[command(name = "klamm-sim", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds of scenarios and say what was found.
    Run(run::Run),
    /// Run one seed and print what happens, line by line.
    Replay(replay::Replay),
    /// Explain one seed on a page: verdict, what happened, faults, every record.
    Report(report::Report),
    /// Find the smallest plan that still fails, and what to take away to pass.
    Shrink(shrink::Shrink),
    /// Make a test of a counterexample.
    Promote(promote::Promote),
    /// Print the hashes of runs: how a sweep compares runs of another process.
    #[command(hide = true)]
    Hash(hash::Hash),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing was found.
    Clean,
    /// A violation was found.
    Violation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Args)]
struct Common {
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// The command asks for something that can not be: the exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(String);

/// Whether `error` is the fault of who wrote the command or the scenario.
pub(crate) fn is_misuse(error: &anyhow::Error) -> bool {
    error.is::<Misuse>() || error.is::<ScenarioError>() || error.is::<ShrinkError>()
}

pub(crate) fn execute(cli: &Cli) -> Result<Ended> {
    match &cli.command {
        Command::Run(run) => run.execute(),
        Command::Replay(replay) => replay.execute(),
        Command::Report(report) => report.execute(),
        Command::Shrink(shrink) => shrink.execute(),
        Command::Promote(promote) => promote.execute(),
        Command::Hash(hash) => hash.execute(),
    }
}

/// The scenarios of a file, or of all files of a directory and those below it, by name.
fn read_scenarios(paths: &[PathBuf]) -> Result<Vec<Named>> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        bail!(Misuse(format!("no scenario (*.toml) in {paths:?}")));
    }
    files.iter().map(|path| read_scenario(path)).collect()
}

fn read_scenario(path: &Path) -> Result<Named> {
    let scenario = Scenario::read(path)?;
    Ok(Named { name: path.display().to_string(), scenario: Arc::new(scenario) })
}

/// Refuses a file to write whose directory is not there, before anything is run for it.
fn check_directory(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    match directory.filter(|directory| !directory.is_dir()) {
        Some(missing) => {
            let (missing, path) = (missing.display(), path.display());
            bail!(Misuse(format!("{path} can not be written: there is no directory {missing}")))
        }
        None => Ok(()),
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "toml") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
