//! `klamm-sim report`: one run, explained on a page.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sim::report::{Account, account};

use super::seeds::parse_seed;
use super::{Common, Ended, Output, read_scenario};

/// So many findings are printed; the page has the rest.
const FINDINGS_MAX: usize = 5;

#[derive(Args)]
pub(super) struct Report {
    /// The scenario file.
    scenario: PathBuf,
    /// The seed; the scenario's own when not given.
    #[arg(short, long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Where to write the page.
    #[arg(short = 'w', long, value_name = "FILE", default_value = "report.html")]
    write: PathBuf,
    /// The most time to find out what happens without the faults, in seconds.
    #[arg(long, default_value_t = 6)]
    time: u64,
    #[command(flatten)]
    common: Common,
}

impl Report {
    pub(super) fn execute(&self) -> Result<Ended> {
        let begun = Instant::now();
        let named = read_scenario(&self.scenario)?;
        let seed = self.seed.or(named.scenario.seed).unwrap_or(0);
        let limit = Duration::from_secs(self.time);
        let account = account(&named, seed, limit).map_err(|error| anyhow!(error))?;
        match self.common.output {
            Output::Json => println!("{}", serde_json::to_string(&account)?),
            Output::Text => self.write(&account, begun)?,
        }
        Ok(if account.findings.is_empty() { Ended::Clean } else { Ended::Violation })
    }

    fn write(&self, account: &Account, begun: Instant) -> Result<()> {
        let page = account.to_html();
        std::fs::write(&self.write, &page)
            .with_context(|| format!("write {}", self.write.display()))?;
        for finding in account.findings.iter().take(FINDINGS_MAX) {
            println!("VIOLATION {}", finding.text);
        }
        if let Some(more @ 1..) = account.findings.len().checked_sub(FINDINGS_MAX) {
            println!("… and {more} more, on the page");
        }
        if account.findings.is_empty() {
            println!("nothing was found");
        }
        println!(
            "written to {}: {} kB, {:.1} s",
            self.write.display(),
            page.len().div_ceil(1000),
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }
}
