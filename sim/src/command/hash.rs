//! `klamm-sim hash`: the hashes of some runs, for a comparison with those of another process.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sim::run::Watch;
use sim::sweep::run_alone;
use sim::world::trace::Line;

use super::seeds::parse_seed;
use super::{Ended, read_scenario};

#[derive(Args)]
pub(super) struct Hash {
    /// The scenario file.
    scenario: PathBuf,
    /// The seeds.
    #[arg(required = true, value_parser = parse_seed)]
    seeds: Vec<u64>,
    /// Print every event of every run, with the hash up to it.
    #[arg(long)]
    lines: bool,
}

impl Hash {
    pub(super) fn execute(&self) -> Result<Ended> {
        let named = read_scenario(&self.scenario)?;
        for seed in &self.seeds {
            let watch = Watch { is_recording: self.lines };
            let report =
                run_alone(&named.scenario, *seed, watch).map_err(|error| anyhow!(error))?;
            for line in &report.lines {
                println!("{}", one_line(line));
            }
            if !self.lines {
                println!("{seed:#x} {:032x}", report.hash);
            }
        }
        Ok(Ended::Clean)
    }
}

fn one_line(line: &Line) -> String {
    let text = line.text.replace('\n', " ");
    format!("{:032x} {} {:?} {:?} {text}", line.hash, line.at, line.node, line.kind)
}

/// Runs seeds in another process of this program; their hashes, in their order.
pub(super) fn hashes_elsewhere(scenario: &Path, seeds: &[u64]) -> Result<Vec<u128>> {
    let text = elsewhere(scenario, seeds, false)?;
    text.lines()
        .map(|line| {
            let (_, hash) = line.split_once(' ').context("a line is a seed and a hash")?;
            Ok(u128::from_str_radix(hash, 16)?)
        })
        .collect()
}

/// The first event at which two runs of a seed part, one here and one in another process.
pub(super) fn first_difference(scenario: &Path, seed: u64) -> Result<Option<String>> {
    let named = read_scenario(scenario)?;
    let watch = Watch { is_recording: true };
    let here = run_alone(&named.scenario, seed, watch).map_err(|error| anyhow!(error))?;
    let there = elsewhere(scenario, &[seed], true)?;
    let mut there = there.lines();
    for (at, line) in here.lines.iter().enumerate() {
        let here = one_line(line);
        let other = there.next().unwrap_or("nothing more");
        if here != other {
            return Ok(Some(format!("event {at}\n    here:  {here}\n    there: {other}")));
        }
    }
    Ok(there.next().map(|other| format!("an event more\n    there: {other}")))
}

fn elsewhere(scenario: &Path, seeds: &[u64], lines: bool) -> Result<String> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.arg("hash").arg(scenario).args(seeds.iter().map(u64::to_string));
    if lines {
        command.arg("--lines");
    }
    let output = command.output().context("start another process")?;
    if !output.status.success() {
        bail!("the other process: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("read the other process' hashes")
}
