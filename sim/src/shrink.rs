//! From a failing seed to the smallest plan that still fails, with the same finding.
//!
//! In: a scenario and a seed. The plan becomes explicit, then faults are taken away as long as the
//! same check fails (delta debugging, Zeller 2002), then records and clients. The result is
//! 1-minimal: without any one of its faults the run passes, or fails otherwise.
//!
//! Start at [`shrink`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plan::{Fault, draw};
use crate::run::{Finding, Report, Watch};
use crate::scenario::{FaultsSpec, Scenario};
use crate::sweep::run_alone;
use crate::workload::client_count;

/// How much a shrink may try.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Runs at most.
    pub runs: u32,
    /// Time at most.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { runs: 300, time: Duration::from_secs(60) }
    }
}

/// A counterexample, made small.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The scenario with its plan and its seed.
    pub scenario: Scenario,
    /// The check that fails, and what it says of the small run.
    pub finding: Finding,
    /// The hash of the small run.
    pub hash: u128,
    /// How many faults there were.
    pub faults_before: usize,
    /// How many runs it took.
    pub runs: u32,
    /// What remains of each fault's necessity: the finding without it, `None` when the run passes.
    pub without: Vec<(Fault, Option<Finding>)>,
    /// Whether the limits allowed to finish.
    pub is_minimal: bool,
}

impl Shrunk {
    /// How many records are left.
    pub fn records(&self) -> u32 {
        let work = &self.scenario.workload;
        work.stop_after.map_or(work.records, |most| most.min(work.records))
    }
}

/// Why there is nothing to shrink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShrinkError {
    /// The seed passes.
    #[error("seed {seed:#x} passes: there is nothing to shrink")]
    Passes {
        /// The seed.
        seed: u64,
    },
    /// The seed fails, and not in the check that was asked for.
    #[error("seed {seed:#x} does not fail in {check:?}, but in {}", failing.join(", "))]
    Otherwise {
        /// The seed.
        seed: u64,
        /// The check that was asked for.
        check: String,
        /// Those that fail, the worst first.
        failing: Vec<String>,
    },
    /// The scenario can not be run.
    #[error("{0}")]
    Scenario(String),
}

struct Search {
    scenario: Scenario,
    seed: u64,
    check: String,
    runs: u32,
    begun: Instant,
    limits: Limits,
}

/// Makes the failing run of `scenario` with `seed` small. `check` names the finding to keep; the
/// first one when it is `None`.
///
/// # Errors
/// The seed does not fail, or not in that check.
pub fn shrink(
    scenario: &Scenario,
    seed: u64,
    check: Option<&str>,
    limits: Limits,
) -> Result<Shrunk, ShrinkError> {
    let plan = draw(scenario, seed, client_count(scenario));
    let explicit = Scenario {
        plan: Some(plan.clone()),
        seed: Some(seed),
        faults: FaultsSpec::default(),
        ..scenario.clone()
    };
    let report = run(&explicit, seed)?;
    let check = failing_check(&report.failures(), seed, check)?;
    let begun = Instant::now();
    let mut search = Search { scenario: explicit, seed, check, runs: 1, begun, limits };
    let faults = search.fewest_faults(plan.clone())?;
    search.scenario.plan = Some(faults);
    search.smaller_workload()?;
    // With less around them some faults may not be needed any more.
    let faults = search.scenario.plan.clone().unwrap_or_default();
    let faults = search.fewest_faults(faults)?;
    search.scenario.plan = Some(faults.clone());
    let mut without = Vec::new();
    let mut is_minimal = true;
    for at in 0..faults.len() {
        if !search.has_time() {
            is_minimal = false;
            break;
        }
        let mut rest = faults.clone();
        let fault = rest.remove(at);
        let other = Scenario { plan: Some(rest), ..search.scenario.clone() };
        let report = run(&other, seed)?;
        search.runs += 1;
        let finding = report.failures().into_iter().next();
        is_minimal &= finding.as_ref().is_none_or(|found| found.check != search.check);
        without.push((fault, finding));
    }
    let report = run(&search.scenario, seed)?;
    let finding = report.failures().into_iter().find(|found| found.check == search.check);
    Ok(Shrunk {
        scenario: search.scenario,
        finding: finding.unwrap_or_else(|| Finding::new(&search.check, "")),
        hash: report.hash,
        faults_before: plan.len(),
        runs: search.runs + 1,
        without,
        is_minimal,
    })
}

/// The check that has to go on failing: the one that was asked for, or the worst.
fn failing_check(
    failures: &[Finding],
    seed: u64,
    wanted: Option<&str>,
) -> Result<String, ShrinkError> {
    let mut failing: Vec<String> = Vec::new();
    for found in failures {
        if !failing.contains(&found.check) {
            failing.push(found.check.clone());
        }
    }
    let is_wanted = |check: &&String| wanted.is_none_or(|wanted| wanted == **check);
    match (failing.iter().find(is_wanted), wanted) {
        (Some(check), _) => Ok(check.clone()),
        (None, Some(wanted)) if !failing.is_empty() => {
            Err(ShrinkError::Otherwise { seed, check: wanted.to_owned(), failing })
        }
        (None, _) => Err(ShrinkError::Passes { seed }),
    }
}

fn run(scenario: &Scenario, seed: u64) -> Result<Report, ShrinkError> {
    run_alone(&Arc::new(scenario.clone()), seed, Watch::default()).map_err(ShrinkError::Scenario)
}

impl Search {
    fn has_time(&self) -> bool {
        self.runs < self.limits.runs && self.begun.elapsed() < self.limits.time
    }

    fn still_fails(&mut self, scenario: &Scenario) -> Result<bool, ShrinkError> {
        self.runs += 1;
        let report = run(scenario, self.seed)?;
        Ok(report.failures().iter().any(|found| found.check == self.check))
    }

    fn fails_with(&mut self, faults: &[Fault]) -> Result<bool, ShrinkError> {
        let scenario = Scenario { plan: Some(faults.to_vec()), ..self.scenario.clone() };
        self.still_fails(&scenario)
    }

    /// Takes away ever smaller parts of the plan as long as the rest still fails.
    fn fewest_faults(&mut self, mut faults: Vec<Fault>) -> Result<Vec<Fault>, ShrinkError> {
        let mut part = faults.len().div_ceil(2).max(1);
        while !faults.is_empty() && self.has_time() {
            let mut removed_any = false;
            let mut at = 0;
            while at < faults.len() && self.has_time() {
                let mut rest = faults.clone();
                rest.drain(at..(at + part).min(faults.len()));
                if self.fails_with(&rest)? {
                    faults = rest;
                    removed_any = true;
                } else {
                    at += part;
                }
            }
            if part == 1 && !removed_any {
                break;
            }
            part = (part / 2).max(1);
        }
        Ok(faults)
    }

    /// Fewer records and fewer clients, as long as it still fails. The pace and the numbers of the
    /// others stay as they were, so that up to its end the run is the same.
    fn smaller_workload(&mut self) -> Result<(), ShrinkError> {
        self.fewest_records()?;
        for client in 1..=client_count(&self.scenario) {
            let mut smaller = self.scenario.clone();
            smaller.workload.silent_clients.insert(client);
            if self.has_time() {
                self.accept(smaller)?;
            }
        }
        self.fewest_records()
    }

    /// Ends the work as early as it still fails.
    fn fewest_records(&mut self) -> Result<(), ShrinkError> {
        let work = &self.scenario.workload;
        let (mut passes, mut fails) = (0, work.stop_after.unwrap_or(work.records));
        while passes + 1 < fails && self.has_time() {
            let middle = u32::midpoint(passes, fails);
            let mut smaller = self.scenario.clone();
            smaller.workload.stop_after = Some(middle);
            match self.accept(smaller)? {
                true => fails = middle,
                false => passes = middle,
            }
        }
        Ok(())
    }

    fn accept(&mut self, smaller: Scenario) -> Result<bool, ShrinkError> {
        let fails = self.still_fails(&smaller)?;
        if fails {
            self.scenario = smaller;
        }
        Ok(fails)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_to_keep_is_one_that_fails() {
        let found = ["lost-write", "duplicate", "lost-write"].map(|check| Finding::new(check, ""));
        assert_eq!(failing_check(&found, 1, None).unwrap(), "lost-write");
        assert_eq!(failing_check(&found, 1, Some("duplicate")).unwrap(), "duplicate");
        let misspelt = failing_check(&found, 1, Some("lost-writ")).unwrap_err().to_string();
        assert_eq!(
            misspelt,
            "seed 0x1 does not fail in \"lost-writ\", but in lost-write, duplicate"
        );
        let passes = ShrinkError::Passes { seed: 1 };
        assert_eq!(failing_check(&[], 1, Some("lost-write")), Err(passes.clone()));
        assert_eq!(failing_check(&[], 1, None), Err(passes));
    }
}
