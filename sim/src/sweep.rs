//! Many seeds, side by side, each on a thread of its own that no run before has used.
//!
//! Start at [`sweep`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::Family;
use crate::run::{Report, Watch, run};
use crate::scenario::Scenario;

/// A scenario with the name it is told by.
#[derive(Clone)]
pub struct Named {
    /// The path of its file.
    pub name: String,
    /// The scenario.
    pub scenario: Arc<Scenario>,
}

/// One seed of one scenario that was run.
pub struct Done {
    /// Which scenario, by its place in the list.
    pub scenario: usize,
    /// The seed.
    pub seed: u64,
    /// What the run came to, or what is wrong with the scenario.
    pub outcome: Result<Report, String>,
    /// The time of a core that it took.
    pub cpu: Duration,
}

/// Runs every seed of `seeds` on every scenario, `jobs` at once, and tells each result to `each`, in
/// the order in which they end. Stops early when `each` says so.
pub fn sweep(
    scenarios: &[Named],
    seeds: std::ops::Range<u64>,
    jobs: usize,
    mut each: impl FnMut(Done) -> bool,
) {
    let mut queue = VecDeque::new();
    for (at, named) in scenarios.iter().enumerate() {
        // A counterexample is run with the seed that it was found with, whatever is asked for.
        queue.extend(named.scenario.seed.filter(|seed| !seeds.contains(seed)).map(|own| (at, own)));
    }
    for seed in seeds {
        queue.extend((0..scenarios.len()).map(|scenario| (scenario, seed)));
    }
    let queue = Mutex::new(queue);
    let (tell, told) = mpsc::sync_channel::<Done>(jobs);
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || {
                while let Some((scenario, seed)) = pop(queue) {
                    let (outcome, cpu) =
                        run_timed(&scenarios[scenario].scenario, seed, Watch::default());
                    if tell.send(Done { scenario, seed, outcome, cpu }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        while let Ok(done) = told.recv() {
            if !each(done) {
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
        }
    });
}

fn pop(queue: &Mutex<VecDeque<(usize, u64)>>) -> Option<(usize, u64)> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Stack of a run's thread, in bytes.
const STACK_BYTES: usize = 8 << 20;

/// Runs one seed on a thread of its own.
///
/// # Errors
/// What is wrong with the scenario.
pub fn run_alone(scenario: &Arc<Scenario>, seed: u64, watch: Watch) -> Result<Report, String> {
    run_timed(scenario, seed, watch).0
}

/// The same, and how much of a core's time it took.
fn run_timed(
    scenario: &Arc<Scenario>,
    seed: u64,
    watch: Watch,
) -> (Result<Report, String>, Duration) {
    let scenario = Arc::clone(scenario);
    let builder = thread::Builder::new().name(SEED_THREAD.to_owned()).stack_size(STACK_BYTES);
    let begun = Instant::now();
    let thread = builder.spawn(move || {
        let outcome = run(&scenario, seed, watch);
        (outcome, thread_cpu().unwrap_or_else(|| begun.elapsed()))
    });
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => return (Err(format!("start a thread: {error}")), Duration::ZERO),
    };
    match thread.join() {
        Ok((outcome, cpu)) => (outcome, cpu),
        Err(_) => {
            let error = format!("the simulator itself panicked on seed {seed:#x}");
            (Err(error), begun.elapsed())
        }
    }
}

/// What this thread has had of a core, where the system tells (Linux: nanoseconds, then others).
fn thread_cpu() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The name of a run's thread.
pub const SEED_THREAD: &str = "seed";

/// What the faults of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Efficacy {
    /// Faults that were planned.
    pub planned: u64,
    /// Faults whose trigger came.
    pub struck: u64,
    /// Faults that had an effect.
    pub effective: u64,
    /// Runs whose plan had one.
    pub runs: u64,
    /// Runs in which one had an effect.
    pub runs_bitten: u64,
}

/// Adds up what faults did, by family.
#[derive(Clone, Debug, Default)]
pub struct Efficacies(pub BTreeMap<Family, Efficacy>);

impl Efficacies {
    /// Counts one run in.
    pub fn add(&mut self, report: &Report) {
        let mut of_run: BTreeMap<Family, Efficacy> = BTreeMap::new();
        for struck in &report.faults {
            let efficacy = of_run.entry(struck.fault.what.family()).or_default();
            efficacy.planned += 1;
            efficacy.struck += u64::from(struck.at.is_some());
            efficacy.effective += u64::from(struck.had_effect);
        }
        for (family, run) in of_run {
            let all = self.0.entry(family).or_default();
            all.planned += run.planned;
            all.struck += run.struck;
            all.effective += run.effective;
            all.runs += 1;
            all.runs_bitten += u64::from(run.effective > 0);
        }
    }
}
