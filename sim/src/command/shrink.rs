//! `klamm-sim shrink`: the smallest plan that still fails.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use sim::shrink::{Limits, Shrunk, shrink};

use super::seeds::parse_seed;
use super::{Common, Ended, Output, check_directory, read_scenario};

#[derive(Args)]
pub(super) struct Shrink {
    /// The scenario file.
    scenario: PathBuf,
    /// The failing seed; the scenario's own when not given.
    #[arg(short, long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// The check that must go on failing; the first that fails when not given.
    #[arg(long)]
    check: Option<String>,
    /// Where to write the small scenario.
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The most runs.
    #[arg(long, default_value_t = 300)]
    runs: u32,
    /// The most time, in seconds.
    #[arg(long, default_value_t = 60)]
    time: u64,
    #[command(flatten)]
    common: Common,
}

impl Shrink {
    pub(super) fn execute(&self) -> Result<Ended> {
        let named = read_scenario(&self.scenario)?;
        let seed = self.seed.or(named.scenario.seed).unwrap_or(0);
        if let Some(path) = &self.write {
            check_directory(path)?;
        }
        let limits = Limits { runs: self.runs, time: Duration::from_secs(self.time) };
        let shrunk = shrink(&named.scenario, seed, self.check.as_deref(), limits)?;
        if let Some(path) = &self.write {
            let text = shrunk.scenario.to_toml();
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }
        match self.common.output {
            Output::Text => self.print(&shrunk, seed),
            Output::Json => println!("{:#}", to_json(&shrunk, seed)),
        }
        Ok(Ended::Violation)
    }

    fn print(&self, shrunk: &Shrunk, seed: u64) {
        println!("VIOLATION {}", shrunk.finding.text);
        let faults = shrunk.without.len();
        let minimal =
            if shrunk.is_minimal { "minimal" } else { "not minimal: out of runs or time" };
        println!(
            "plan: {faults} faults (was {}), {} records, {} runs; {minimal}",
            shrunk.faults_before,
            shrunk.records(),
            shrunk.runs
        );
        for (fault, finding) in &shrunk.without {
            let without = match finding {
                None => "passes".to_owned(),
                Some(found) => format!("fails otherwise: {}", found.text),
            };
            println!("  {fault}\n      without it: {without}");
        }
        println!("seed {seed:#x}, trace {:032x}", shrunk.hash);
        if let Some(path) = &self.write {
            println!("written to {}", path.display());
        }
    }
}

fn to_json(shrunk: &Shrunk, seed: u64) -> serde_json::Value {
    let faults: Vec<_> = shrunk
        .without
        .iter()
        .map(|(fault, finding)| {
            json!({ "fault": fault.to_string(), "plan": fault, "without": finding })
        })
        .collect();
    json!({
        "finding": shrunk.finding,
        "seed": format!("{seed:#x}"),
        "hash": format!("{:032x}", shrunk.hash),
        "faults_before": shrunk.faults_before,
        "faults": faults,
        "records": shrunk.records(),
        "runs": shrunk.runs,
        "is_minimal": shrunk.is_minimal,
    })
}
