//! What has to hold of a planted bug: found, named, repeatable, small, gone without it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::patch::Patch;
use crate::program::Programs;
use crate::tree::Tree;

/// A bug that takes more seeds is as good as not found.
const SEEDS: u64 = 500;
/// A counterexample with more faults explains nothing.
const FAULTS_MAX: usize = 12;
/// The seeds after the first failing ones are not run.
const FAILURES_MAX: &str = "12";
/// Exit code of klamm-sim when it finds something.
pub const VIOLATION: i32 = 3;

/// How a bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How many seeds it took.
    pub seeds: u64,
    /// Faults in the plan that found it.
    pub faults_before: usize,
    /// Faults that it takes.
    pub faults: usize,
    /// Records of the small scenario.
    pub records: u64,
    /// What the check says.
    pub finding: String,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "found after {} seeds, {} faults made {}, {} records: {}",
            self.seeds, self.faults_before, self.faults, self.records, self.finding
        )
    }
}

/// Where bugs are proved.
pub struct Lab<'a> {
    /// The simulator without any of them.
    clean: PathBuf,
    work: PathBuf,
    programs: &'a Programs,
}

#[derive(Deserialize)]
struct Sweep {
    failures: Vec<Failure>,
    run_twice: u64,
    unrepeatable: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Failure {
    seed: String,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    check: String,
    text: String,
}

#[derive(Deserialize)]
struct Small {
    finding: Finding,
    faults_before: usize,
    faults: Vec<serde_json::Value>,
    records: u64,
    is_minimal: bool,
}

impl<'a> Lab<'a> {
    /// A lab that keeps its files in `work`.
    pub fn new(work: &Path, programs: &'a Programs) -> Lab<'a> {
        Lab { clean: work.join("klamm-sim-clean"), work: work.to_owned(), programs }
    }

    /// Keeps the simulator of the tree as it is.
    ///
    /// # Errors
    /// It does not build.
    pub fn keep_clean(&self, tree: &Tree) -> Result<()> {
        let built = tree.build(self.programs)?;
        fs::copy(built, &self.clean).context("keep the simulator without bugs")?;
        Ok(())
    }

    /// Finds the bug that `tree` has now, and sees that it is what `patch` says.
    ///
    /// # Errors
    /// It is not.
    pub fn prove(&self, tree: &Tree, patch: &Patch) -> Result<Proof> {
        let simulator = tree.build(self.programs)?;
        let seed = self.find(&simulator, tree, patch)?;
        let small = self.shrink(&simulator, tree, patch, seed)?;
        Ok(Proof {
            seeds: seed + 1,
            faults_before: small.faults_before,
            faults: small.faults.len(),
            records: small.records,
            finding: small.finding.text,
        })
    }

    /// The first seed at which the right check fails.
    fn find(&self, simulator: &Path, tree: &Tree, patch: &Patch) -> Result<u64> {
        let mut run = Command::new(simulator);
        run.current_dir(tree.root()).args(["run", &patch.scenario, "-o", "json"]);
        run.args(["--seeds", &format!("0..{SEEDS}"), "--failures-max", FAILURES_MAX]);
        let sweep: Sweep = self.json(&mut run)?;
        let is_named =
            |failure: &&Failure| failure.findings.iter().any(|it| it.check == patch.check);
        let seeds: Result<Vec<u64>> =
            sweep.failures.iter().filter(is_named).map(|failure| seed(&failure.seed)).collect();
        let Some(first) = seeds?.into_iter().min() else {
            let named: Vec<&str> = sweep
                .failures
                .iter()
                .flat_map(|failure| &failure.findings)
                .map(|finding| finding.check.as_str())
                .collect();
            bail!("no {} in {SEEDS} seeds of {}, but {named:?}", patch.check, patch.scenario);
        };
        let failures = sweep.failures.len() as u64;
        ensure!(sweep.run_twice >= failures, "failing seeds were not run in another process");
        ensure!(sweep.unrepeatable.is_empty(), "not repeatable: {:?}", sweep.unrepeatable);
        Ok(first)
    }

    /// Makes it small and a test, which fails with the bug and passes without it.
    fn shrink(&self, simulator: &Path, tree: &Tree, patch: &Patch, seed: u64) -> Result<Small> {
        let small = self.work.join(format!("{}.small.toml", patch.name));
        let mut shrink = Command::new(simulator);
        shrink.current_dir(tree.root()).args(["shrink", &patch.scenario, "-o", "json"]);
        shrink.args(["--seed", &seed.to_string(), "--check", &patch.check, "--write"]).arg(&small);
        let shrunk: Small = self.json(&mut shrink)?;
        let count = shrunk.faults.len();
        ensure!(count <= FAULTS_MAX, "{count} faults remain of {}", shrunk.faults_before);
        ensure!(shrunk.is_minimal, "the plan is not minimal: {count} faults");
        let promoted = self.work.join(format!("{}.toml", patch.name));
        fs::remove_file(&promoted).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let mut promote = Command::new(simulator);
        promote.arg("promote").arg(&small).arg(&promoted).args(["--story", &patch.what]);
        self.programs.run(&mut promote)?;
        let mut with = Command::new(simulator);
        self.programs.run_expecting(with.arg("replay").arg(&promoted), VIOLATION)?;
        let mut without = Command::new(&self.clean);
        self.programs
            .run_expecting(without.arg("replay").arg(&promoted), 0)
            .context("the small scenario fails without the bug, too")?;
        Ok(shrunk)
    }

    /// Runs a command that finds a violation, or nothing, and reads what it prints.
    fn json<T: for<'de> Deserialize<'de>>(&self, command: &mut Command) -> Result<T> {
        let printed = self.programs.output_of(command, &[0, VIOLATION])?;
        serde_json::from_slice(&printed).with_context(|| format!("read what {command:?} prints"))
    }
}

fn seed(text: &str) -> Result<u64> {
    let digits = text.strip_prefix("0x").context("a seed in hexadecimal digits")?;
    Ok(u64::from_str_radix(digits, 16)?)
}
