//! `klamm-sim run`: seeds of scenarios, side by side.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sim::probes;
use sim::run::{Finding, Report};
use sim::scenario::Scenario;
use sim::sweep::{Done, Named, sweep};

use super::coverage::Coverage;
use super::hash::{first_difference, hashes_elsewhere};
use super::seeds::parse_seeds;
use super::{Common, Ended, Output, read_scenarios};

#[derive(Args)]
pub(super) struct Run {
    /// Scenario files, or directories of them.
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// The seeds, FROM..TO without TO, or one seed.
    #[arg(short, long, default_value = "0..100", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// How many seeds run at once; one per core when not given.
    #[arg(short, long)]
    jobs: Option<usize>,
    /// Run one of so many seeds a second time in another process and compare; 0: none.
    #[arg(long, default_value_t = 20)]
    repeat_one_in: u64,
    /// Fail when a family of faults that a scenario turns on is in no plan, though it should be in
    /// many, or bit in less than a tenth of its runs, or when a rare place of the code (`sometimes!`)
    /// was never reached.
    #[arg(long)]
    require_coverage: bool,
    /// Stop after so many failing seeds.
    #[arg(long, default_value_t = 20)]
    failures_max: usize,
    #[command(flatten)]
    common: Common,
}

/// No run may take more of a core's time.
const CPU_MAX: Duration = Duration::from_secs(10);

/// A seed that failed.
struct Failure {
    scenario: String,
    seed: u64,
    hash: u128,
    findings: Vec<Finding>,
}

impl Failure {
    /// The command that shows it again.
    fn replay(&self) -> String {
        format!("cargo sim replay {} --seed {:#x}", self.scenario, self.seed)
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "scenario": self.scenario,
            "seed": format!("{:#x}", self.seed),
            "hash": format!("{:032x}", self.hash),
            "findings": self.findings,
            "replay": self.replay(),
        })
    }
}

/// What a sweep came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    events: u64,
    simulated: Duration,
    coverage: Coverage,
    failures: Vec<Failure>,
    /// Seeds to run again elsewhere, by scenario, with the hash they had here.
    repeats: BTreeMap<String, Vec<(u64, u128)>>,
    /// Seeds whose two runs differ, and where they part.
    unrepeatable: Vec<(String, u64, String)>,
    repeated: u64,
    figures: BTreeMap<&'static str, u64>,
    /// The time of a core that each run took.
    cpu: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, name: &str, scenario: &Scenario, report: &Report) {
        self.runs += 1;
        self.events += report.events;
        self.simulated += Duration::from_nanos(report.passed);
        self.coverage.add(scenario, report);
        let figures = &report.verdict.figures;
        for (name, figure) in [
            ("sent", figures.sent),
            ("acknowledged", figures.acknowledged),
            ("unknown", figures.unknown),
            ("refused", figures.refused),
            ("stored", figures.stored),
            ("repeated", figures.repeated),
            ("read", figures.read),
            ("processed", figures.processed),
            ("commits", figures.commits),
            ("starts", report.starts),
        ] {
            *self.figures.entry(name).or_default() += figure;
        }
        for (excuse, count) in &report.verdict.excused {
            *self.figures.entry(excuse).or_default() += count;
        }
        let findings = report.failures();
        if !findings.is_empty() {
            let (seed, hash) = (report.seed, report.hash);
            self.failures.push(Failure { scenario: name.to_owned(), seed, hash, findings });
        }
    }
}

impl Run {
    pub(super) fn execute(&self) -> Result<Ended> {
        let scenarios = read_scenarios(&self.scenarios)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.unwrap_or(cores).max(1);
        let total = (self.seeds.end - self.seeds.start) * scenarios.len() as u64;
        let progress = progress(total);
        let begun = Instant::now();
        let mut sum = Sum::default();
        let mut broken = None;
        sweep(&scenarios, self.seeds.clone(), jobs, |done| {
            let Done { scenario, seed, outcome, cpu } = done;
            let Named { name, scenario } = &scenarios[scenario];
            sum.cpu.push(cpu);
            match outcome {
                Ok(report) => {
                    sum.add(name, scenario, &report);
                    sum.slow(name, &report, cpu);
                    let repeats = sum.repeats.entry(name.clone()).or_default();
                    // By a hash, so that no sweep leaves out the same seeds; one of each at least.
                    let picked = self.repeat_one_in > 0
                        && (repeats.is_empty()
                            || report.hash % u128::from(self.repeat_one_in) == 0);
                    if picked || !report.failures().is_empty() {
                        repeats.push((seed, report.hash));
                    }
                }
                Err(error) => broken = Some(anyhow!("{name}, seed {seed:#x}: {error}")),
            }
            progress.inc(1);
            if !sum.failures.is_empty() {
                progress.set_message(format!("{} failing", sum.failures.len()));
            }
            broken.is_none() && sum.failures.len() < self.failures_max
        });
        progress.finish_and_clear();
        let took = begun.elapsed();
        if self.repeat_one_in > 0 && broken.is_none() {
            broken = sum.repeat(jobs).err();
        }
        let gaps = sum.coverage.gaps();
        match self.common.output {
            Output::Text => sum.print(took),
            Output::Json => println!("{:#}", sum.to_json(took, &gaps)),
        }
        // What was found until then is told all the same.
        if let Some(error) = broken {
            return Err(error);
        }
        let gaps = if self.require_coverage { gaps } else { Vec::new() };
        for gap in &gaps {
            eprintln!("not covered: {gap}");
        }
        let is_clean = sum.failures.is_empty() && sum.unrepeatable.is_empty() && gaps.is_empty();
        Ok(if is_clean { Ended::Clean } else { Ended::Violation })
    }
}

fn progress(total: u64) -> ProgressBar {
    let progress = ProgressBar::new(total);
    if !std::io::stderr().is_terminal() {
        progress.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds  {per_sec}  {eta}  {msg}");
    progress.with_style(style.expect("the template is one"))
}

impl Sum {
    /// Runs the picked seeds in other processes: a run is a function of the build, the scenario and
    /// the seed, and of nothing that a process has besides.
    fn repeat(&mut self, jobs: usize) -> Result<()> {
        for (name, seeds) in std::mem::take(&mut self.repeats) {
            let path = Path::new(&name);
            let part = seeds.len().div_ceil(jobs).max(1);
            let hashes = std::thread::scope(|scope| {
                let threads: Vec<_> = seeds
                    .chunks(part)
                    .map(|part| {
                        let numbers: Vec<u64> = part.iter().map(|(seed, _)| *seed).collect();
                        scope.spawn(move || hashes_elsewhere(path, &numbers))
                    })
                    .collect();
                let mut all = Vec::new();
                for thread in threads {
                    let hashes = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
                    all.extend(hashes?);
                }
                anyhow::Ok(all)
            })?;
            for ((seed, here), there) in seeds.iter().zip(hashes) {
                self.repeated += 1;
                if *here != there {
                    let difference = first_difference(path, *seed)?;
                    let text = difference.unwrap_or_else(|| "the traces are equal now".to_owned());
                    self.unrepeatable.push((name.clone(), *seed, text));
                }
            }
        }
        Ok(())
    }

    /// Runs for a minute of one core, whatever else the machine does.
    fn per_core_minute(&self) -> f64 {
        let cpu: Duration = self.cpu.iter().sum();
        self.runs as f64 / cpu.as_secs_f64().max(1e-9) * 60.0
    }

    /// The time of a core that so many of a thousand runs stay below, in milliseconds.
    fn cpu_millis(&self, permille: usize) -> f64 {
        let mut sorted = self.cpu.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * permille / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |cpu| cpu.as_secs_f64() * 1000.0)
    }

    /// A run that takes for ever is a finding of its own.
    fn slow(&mut self, name: &str, report: &Report, cpu: Duration) {
        if cpu <= CPU_MAX {
            return;
        }
        let text = format!("slow: {:.1} s of a core for one run", cpu.as_secs_f64());
        let finding = Finding::new("slow", text);
        let (seed, hash) = (report.seed, report.hash);
        match self.failures.iter_mut().find(|known| known.seed == seed && known.scenario == name) {
            Some(known) => known.findings.push(finding),
            None => {
                let (scenario, findings) = (name.to_owned(), vec![finding]);
                self.failures.push(Failure { scenario, seed, hash, findings });
            }
        }
    }

    fn print(&self, took: Duration) {
        for failure in &self.failures {
            println!("{} --seed {:#x}", failure.scenario, failure.seed);
            const SHOWN: usize = 5;
            for found in failure.findings.iter().take(SHOWN) {
                println!("  VIOLATION {}", found.text);
            }
            if let Some(more) = failure.findings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                println!("  and {more} more");
            }
            println!("  {}    # trace {:032x}", failure.replay(), failure.hash);
        }
        for (name, seed, text) in &self.unrepeatable {
            println!("{name} --seed {seed:#x}\n  UNREPEATABLE {text}");
        }
        println!("faults: planned, struck, with effect; runs that had one, runs it bit");
        for (family, efficacy) in &self.coverage.efficacies.0 {
            println!(
                "  {:<16}{:>8}{:>8}{:>8}{:>8}{:>8}",
                format!("{family:?}"),
                efficacy.planned,
                efficacy.struck,
                efficacy.effective,
                efficacy.runs,
                efficacy.runs_bitten
            );
        }
        println!("rare places, and how many runs reached them");
        for probe in probes::ALL {
            println!(
                "  {:<52}{:>8}",
                probe,
                self.coverage.probes.get(*probe).copied().unwrap_or(0)
            );
        }
        let figures: Vec<String> =
            self.figures.iter().map(|(name, figure)| format!("{figure} {name}")).collect();
        println!("records: {}", figures.join(", "));
        println!(
            "{} seeds in {:.1} s: {:.0} per core-minute, {} failing; {} run twice, {} of them differ; \
             {:.0} simulated s and {} events in each, {:.0} ms of a core at the median, {:.0} at p99",
            self.runs,
            took.as_secs_f64(),
            self.per_core_minute(),
            self.failures.len(),
            self.repeated,
            self.unrepeatable.len(),
            self.simulated.as_secs_f64() / self.runs.max(1) as f64,
            self.events / self.runs.max(1),
            self.cpu_millis(500),
            self.cpu_millis(990),
        );
    }

    /// `gaps` are what `--require-coverage` would not let pass.
    fn to_json(&self, took: Duration, gaps: &[String]) -> serde_json::Value {
        let failures: Vec<_> = self.failures.iter().map(Failure::to_json).collect();
        let unrepeatable = self.unrepeatable.iter().map(|(scenario, seed, difference)| {
            json!({
                "scenario": scenario, "seed": format!("{seed:#x}"), "difference": difference,
            })
        });
        let faults: serde_json::Map<String, serde_json::Value> = self
            .coverage
            .efficacies
            .0
            .iter()
            .map(|(family, efficacy)| {
                let value = json!({
                    "planned": efficacy.planned,
                    "struck": efficacy.struck,
                    "effective": efficacy.effective,
                    "runs": efficacy.runs,
                    "runs_bitten": efficacy.runs_bitten,
                });
                (format!("{family:?}"), value)
            })
            .collect();
        json!({
            "runs": self.runs,
            "seconds": took.as_secs_f64(),
            "per_core_minute": self.per_core_minute(),
            "cpu_ms": { "p50": self.cpu_millis(500), "p99": self.cpu_millis(990), "max": self.cpu_millis(1000) },
            "events": self.events,
            "figures": self.figures,
            "faults": faults,
            "probes": self.coverage.probes,
            "not_covered": gaps,
            "failures": failures,
            "run_twice": self.repeated,
            "unrepeatable": unrepeatable.collect::<Vec<_>>(),
        })
    }
}
