//! Benchmarks: klamm beside Apache Kafka on this machine, in turns.
//!
//! `cargo measure groups` measures one subject, keeps the result in `results/` and writes
//! `docs/benchmarks.md` anew from all results; `cargo measure page` only writes the page.
//!
//! Start at [`Command`] for what there is, at [`result`] for what is kept, at [`page`] for the page.

mod groups;
mod limit;
mod load;
mod machine;
mod node;
mod page;
mod pieces;
mod result;
mod starts;

use anyhow::Result;
use clap::{Parser, Subcommand};

use node::Subject;
use result::Outcome;

/// Measures klamm beside Apache Kafka.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How long rebalances take, and what a thousand members or groups cost.
    Groups(groups::Options),
    /// What one broker carries: produce and fetch by raw load.
    Throughput(node::Options),
    /// How long one broker takes to answer.
    Latency(node::Options),
    /// What clients of one broker get through.
    Clients(node::Options),
    /// What the hot pieces cost by themselves, with their allocations.
    Pieces(pieces::Options),
    /// How long a broker takes to start, and to be back after kill -9.
    Starts(starts::Options),
    /// Write docs/benchmarks.md from the results that are there.
    Page,
    /// The limit program: what no broker can be faster than.
    #[command(hide = true)]
    Limit(limit::Options),
    /// Raw load on a broker.
    #[command(hide = true, subcommand)]
    Load(load::Load),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Groups(options) => keep(&groups::measure(&options)?, options.is_whole())?,
        Command::Throughput(options) => node(Subject::Throughput, &options)?,
        Command::Latency(options) => node(Subject::Latency, &options)?,
        Command::Clients(options) => node(Subject::Clients, &options)?,
        Command::Starts(options) => keep(&starts::measure(&options)?, true)?,
        Command::Pieces(options) => keep(&pieces::measure(&options)?, true)?,
        Command::Page => {}
        Command::Limit(options) => return limit::run(&options),
        Command::Load(load) => return load::run(&load),
    }
    page::write()
}

fn node(subject: Subject, options: &node::Options) -> Result<()> {
    keep(&node::measure(subject, options)?, options.is_whole())
}

/// Shows a result, and keeps it if it is the whole of its subject.
fn keep(outcome: &Outcome, is_whole: bool) -> Result<()> {
    print!("{}", page::section(outcome));
    if is_whole { outcome.save() } else { Ok(()) }
}
