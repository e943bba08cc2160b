//! `klamm-sim report`: one run, explained on a page.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sim::report::{Account, account};

use super::seeds::parse_seed;
use super::{Common, Ended, Output, check_directory, read_scenario};

/// So many findings are printed; the page has the rest.
const FINDINGS_MAX: usize = 5;

/// The page, unless another file is named.
const PAGE: &str = "report.html";

#[derive(Args)]
pub(super) struct Report {
    /// The scenario file.
    scenario: PathBuf,
    /// The seed; the scenario's own when not given.
    #[arg(short, long, value_parser = parse_seed)]
    seed: Option<u64>,
    /// Where to write the page; report.html when not given, and with `-o json` then nowhere.
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
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
        let page = match (&self.write, self.common.output) {
            (Some(path), _) => Some(path.as_path()),
            (None, Output::Text) => Some(Path::new(PAGE)),
            (None, Output::Json) => None,
        };
        if let Some(path) = page {
            check_directory(path)?;
        }
        let account = account(&named, seed, limit).map_err(|error| anyhow!(error))?;
        let written = page.map(|path| write(&account, path)).transpose()?;
        match self.common.output {
            Output::Json => println!("{}", serde_json::to_string(&account)?),
            Output::Text => print(&account),
        }
        if let (Some(told), Output::Text) = (written, self.common.output) {
            println!("{told}, {:.1} s", begun.elapsed().as_secs_f64());
        }
        Ok(if account.findings.is_empty() { Ended::Clean } else { Ended::Violation })
    }
}

/// Writes the page; says where it is and how large.
fn write(account: &Account, path: &Path) -> Result<String> {
    let (page, name) = (account.to_html(), path.display());
    std::fs::write(path, &page).with_context(|| format!("write {name}"))?;
    Ok(format!("written to {name}: {} kB", page.len().div_ceil(1000)))
}

fn print(account: &Account) {
    for finding in account.findings.iter().take(FINDINGS_MAX) {
        println!("VIOLATION {}", finding.text);
    }
    if let Some(more @ 1..) = account.findings.len().checked_sub(FINDINGS_MAX) {
        println!("… and {more} more, on the page");
    }
    if account.findings.is_empty() {
        println!("nothing was found");
    }
}
