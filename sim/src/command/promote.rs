//! `klamm-sim promote`: a counterexample becomes a test, with the story of its bug.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sim::run::{Report, Watch};
use sim::scenario::Scenario;
use sim::sweep::run_alone;

use super::{Common, Ended, Misuse, Output, check_directory, read_scenario};

#[derive(Args)]
pub(super) struct Promote {
    /// The counterexample, as `shrink --write` left it.
    from: PathBuf,
    /// The new scenario, under scenarios/regression/.
    to: PathBuf,
    /// What went wrong, why, and what was done: it opens the file.
    #[arg(long)]
    story: String,
    #[command(flatten)]
    common: Common,
}

impl Promote {
    pub(super) fn execute(&self) -> Result<Ended> {
        let named = read_scenario(&self.from)?;
        let scenario = &named.scenario;
        if scenario.plan.is_none() || scenario.seed.is_none() {
            let name = named.name;
            bail!(Misuse(format!("{name} has no plan and seed of its own: shrink it first")));
        }
        if self.to.exists() {
            bail!(Misuse(format!("{} is there already", self.to.display())));
        }
        check_directory(&self.to)?;
        let story = format!("{}\n", self.story.trim());
        if story.trim().is_empty() {
            bail!(Misuse("the story is empty: say what went wrong and what was done".to_owned()));
        }
        let promoted = Arc::new(Scenario { story, ..(**scenario).clone() });
        let seed = scenario.seed.unwrap_or(0);
        let report =
            run_alone(&promoted, seed, Watch::default()).map_err(|error| anyhow!(error))?;
        // Last, so that nothing is there when something is wrong.
        std::fs::write(&self.to, promoted.to_toml())
            .with_context(|| format!("write {}", self.to.display()))?;
        match self.common.output {
            Output::Json => println!("{:#}", self.to_json(&report)),
            Output::Text => self.print(&report),
        }
        Ok(Ended::Clean)
    }

    /// A scenario that passes may be promoted: when the bug is gone already. It has to be said.
    fn print(&self, report: &Report) {
        match report.failures().first() {
            Some(found) => println!("fails now: {}", found.text),
            None => println!("passes now: with the bug it must fail, see that it does"),
        }
        println!("{}", self.to.display());
    }

    fn to_json(&self, report: &Report) -> serde_json::Value {
        let findings = report.failures();
        serde_json::json!({
            "to": self.to.display().to_string(),
            "seed": format!("{:#x}", report.seed),
            "hash": format!("{:032x}", report.hash),
            "passes_now": findings.is_empty(),
            "findings": findings,
        })
    }
}
