//! `klamm-sim replay`: one seed, line by line.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use sim::run::Watch;
use sim::sweep::run_alone;
use sim::world::Kind;

use super::seeds::parse_seed;
use super::{Common, Ended, Output, read_scenario};

#[derive(Args)]
pub(super) struct Replay {
    /// The scenario file.
    scenario: PathBuf,
    /// The seed; the scenario's own when not given.
    #[arg(short, long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Every event, polls and segments too.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

impl Replay {
    pub(super) fn execute(&self) -> Result<Ended> {
        let named = read_scenario(&self.scenario)?;
        let seed = self.seed.or(named.scenario.seed).unwrap_or(0);
        let watch = Watch { is_recording: true };
        let report = run_alone(&named.scenario, seed, watch).map_err(|error| anyhow!(error))?;
        let findings = report.failures();
        if self.common.output == Output::Json {
            let lines: Vec<_> = report
                .lines
                .iter()
                .map(|line| {
                    serde_json::json!({
                        "at": line.at, "kind": format!("{:?}", line.kind), "node": line.node,
                        "text": line.text, "hash": format!("{:032x}", line.hash),
                    })
                })
                .collect();
            println!("{}", serde_json::json!({ "lines": lines, "findings": findings }));
        } else {
            for line in &report.lines {
                let is_small = matches!(line.kind, Kind::Poll | Kind::Segment);
                if is_small && !self.all {
                    continue;
                }
                let node = line.node.map_or_else(String::new, |node| format!("n{node}"));
                let seconds = line.at as f64 / 1e9;
                println!("{seconds:>12.6} {node:>4} {:?}: {}", line.kind, line.text);
            }
            for (_, text) in &findings {
                println!("VIOLATION {text}");
            }
            println!("trace {:032x}, {} events", report.hash, report.events);
        }
        Ok(if findings.is_empty() { Ended::Clean } else { Ended::Violation })
    }
}
