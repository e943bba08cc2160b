//! Benchmarks: klamm beside Apache Kafka on this machine, in turns.
//!
//! `cargo measure groups` measures one subject, keeps the result in `results/` and writes
//! `docs/benchmarks.md` anew from all results; `cargo measure page` only writes the page.
//!
//! Start at [`Command`] for what there is, at [`result`] for what is kept, at [`page`] for the page.

mod groups;
mod machine;
mod page;
mod result;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Write docs/benchmarks.md from the results that are there.
    Page,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Groups(options) => keep(&groups::measure(&options)?)?,
        Command::Page => {}
    }
    page::write()
}

/// Shows a result, and keeps it if it is of both brokers.
fn keep(outcome: &Outcome) -> Result<()> {
    print!("{}", page::section(outcome));
    if outcome.is_complete() { outcome.save() } else { Ok(()) }
}
