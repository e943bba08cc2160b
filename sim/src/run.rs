//! One run: a pure function of the build, the scenario and the seed.
//!
//! The brokers start, the topics are created, clients work while faults strike; then everything is
//! healed, and within [`HEALING`] the brokers serve, take new records and everything is read.
//!
//! Start at [`run`].

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use history::{Event, History, Verdict, What};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::fault::Struck;
use crate::inspect::Inspection;
use crate::log::{LogLine, repeats_disk};
use crate::machine::Machines;
use crate::scenario::Scenario;
pub(crate) use crate::stage::start_client;
use crate::stage::{SharedSlate, Stage, supervise};
use crate::workload::{self, NotDurable, Work};
use crate::world::film::Shot;
use crate::world::trace::Line;
use crate::world::{Nanos, NodeId, Panic, Stuck, World};

/// Within so much simulated time after the last fault everything works again.
pub const HEALING: Duration = Duration::from_secs(30);
/// A run of more events than this runs in circles.
const EVENTS_MAX: u64 = 20_000_000;

/// The event that says that all faults are over.
pub const HEALED: &str = "healed";

/// How a run is watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Keep every event as text.
    pub is_recording: bool,
}

/// A life that did not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifeless {
    /// What was waited for.
    pub phase: &'static str,
    /// What stood in the way.
    pub why: Vec<String>,
}

/// What a check found, as every command tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: String,
    /// What it says.
    pub text: String,
}

impl Finding {
    /// What `check` found.
    pub fn new(check: &str, text: impl Into<String>) -> Finding {
        Finding { check: check.to_owned(), text: text.into() }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What the history shows.
    pub verdict: Verdict,
    /// Panics of brokers and clients.
    pub panics: Vec<Panic>,
    /// Lines of the log that nobody expected.
    pub errors: Vec<LogLine>,
    /// Acknowledged records that were not on stable storage at that moment.
    pub not_durable: Vec<NotDurable>,
    /// Topics that came back, were not empty when they were created, or lost partitions.
    pub topics: Vec<workload::Finding>,
    /// Handles of the world that outlived the run: brokers, clients or connections that hold on to
    /// themselves and are never freed.
    pub left_over: usize,
    /// What recovering the disks once more changes.
    pub recovery: Vec<String>,
    /// Where logs contradict their own files.
    pub logs: Vec<String>,
    /// What brokers said of their partitions that can not be true.
    pub partitions: Vec<String>,
    /// What brokers held on to when every client was gone.
    pub left_behind: Vec<String>,
    /// Starts that failed, and brokers that were not ready for long, for no reason.
    pub incidents: Vec<String>,
    /// When the cluster did not come back.
    pub lifeless: Option<Lifeless>,
    /// When the run itself did not end.
    pub stuck: Option<Stuck>,
    /// What the faults did, in the order of the plan.
    pub faults: Vec<Struck>,
    /// The hash of all events.
    pub hash: u128,
    /// How many events there were.
    pub events: u64,
    /// How many polls.
    pub polls: u64,
    /// How much time passed in the world.
    pub passed: Nanos,
    /// How often brokers were started.
    pub starts: u64,
    /// How often each probe (`runtime::sometimes!`) was reached.
    pub probes: BTreeMap<String, u64>,
    /// The names of the nodes, by number.
    pub nodes: Vec<String>,
    /// The events as text, if they were recorded.
    pub lines: Vec<Line>,
    /// What reports need besides, if it was recorded.
    pub film: Vec<Shot>,
    /// The history.
    pub history: History,
}

impl Report {
    /// What is wrong with the run, the worst first; empty when nothing is.
    pub fn failures(&self) -> Vec<Finding> {
        let mut failures: Vec<Finding> = Vec::new();
        for violation in &self.verdict.violations {
            failures.push(Finding::new(violation.anomaly.name(), violation.to_string()));
        }
        for panic in &self.panics {
            let text = format!("task {} of {}: {}", panic.task, panic.process.node, panic.message);
            failures.push(Finding::new("panic", text));
        }
        for line in &self.errors {
            failures.push(Finding::new("unexpected-error-line", line.to_string()));
        }
        for found in &self.not_durable {
            failures.push(Finding::new("ack-not-durable", format!("ack-not-durable {found}")));
        }
        for found in &self.topics {
            failures.push(Finding::new(found.check, found.to_string()));
        }
        for text in &self.recovery {
            failures.push(Finding::new("recovery-differs", format!("recovery-differs: {text}")));
        }
        for (check, texts) in [
            ("log-state", &self.logs),
            ("partition-state", &self.partitions),
            ("broker-down", &self.incidents),
            ("left-behind", &self.left_behind),
        ] {
            failures
                .extend(texts.iter().map(|text| Finding::new(check, format!("{check} {text}"))));
        }
        if let Some(lifeless) = &self.lifeless {
            let text = format!("{}: {}", lifeless.phase, lifeless.why.join("; "));
            failures.push(Finding::new("no-life", text));
        }
        if let Some(stuck) = &self.stuck {
            failures.push(Finding::new("stuck", stuck.to_string()));
        }
        if self.left_over > 0 {
            let text = format!("{} handles of the world outlive its processes", self.left_over);
            failures.push(Finding::new("never-freed", text));
        }
        failures
    }
}

/// Runs `scenario` with `seed` on this thread, which must be fresh: what a library keeps per thread
/// would leak from one run into the next.
///
/// # Errors
/// What is wrong with the scenario's settings.
pub fn run(scenario: &Arc<Scenario>, seed: u64, watch: Watch) -> Result<Report, String> {
    let world = World::new(seed, watch.is_recording);
    let mut report = play(&world, scenario)?;
    // Everything of the run is dropped by now but what holds on to itself.
    report.left_over = world.handles() - 1;
    Ok(report)
}

fn play(world: &World, scenario: &Arc<Scenario>) -> Result<Report, String> {
    let machines = Machines::new(world);
    let cluster = Cluster::new(&machines, scenario)?;
    let disks =
        (1..=scenario.cluster.brokers).map(|id| machines.machine(cluster.node(id)).disk).collect();
    let work = Work::new(world, Arc::clone(scenario), cluster.addresses(), disks);
    let work = Arc::new(work);
    let slate = SharedSlate::default();
    let log = crate::log::Capture::start(world);
    let inspection = Inspection::new(world, scenario);
    let supervisor = supervise(Stage {
        world: world.clone(),
        machines: machines.clone(),
        cluster: cluster.clone(),
        work: Arc::clone(&work),
        inspection: inspection.clone(),
        slate: Arc::clone(&slate),
        log: log.clone(),
    });
    let ended = world.block_on(EVENTS_MAX, supervisor);
    cluster.forget();
    machines.forget_watchers();
    world.unwatch_polls();
    let probes = log.probes();
    log.end();
    let mut slate = slate.lock().unwrap_or_else(PoisonError::into_inner);
    let faults = std::mem::take(&mut slate.faults);
    let damaged: Vec<String> = work.damaged().keys().map(ToString::to_string).collect();
    let errors = log.unexpected(&damaged);
    let incidents = incidents(&cluster, log.first_of_disk());
    let mut history = work.recorder.lock().clone();
    add_power_losses(&mut history, world, &slate.power_losses);
    for (partition, at) in work.damaged() {
        add(&mut history, at, What::Damage { partition });
    }
    let verdict = match ended {
        Ok(true) => history.check(),
        // Without the last read everything would count as lost.
        Ok(false) | Err(_) => history.check_without_end(),
    };
    let partitions = inspection.findings(verdict.figures.acknowledged);
    let (hash, lines, film) = {
        let mut trace = world.trace();
        (trace.hash(), trace.take_lines(), trace.take_film())
    };
    Ok(Report {
        seed: world.seed(),
        left_over: 0,
        verdict,
        panics: world.panics(),
        errors,
        not_durable: work.not_durable(),
        topics: work.topic_findings(),
        recovery: std::mem::take(&mut slate.recovery),
        logs: std::mem::take(&mut slate.logs),
        lifeless: slate.lifeless.take(),
        stuck: ended.err(),
        partitions,
        left_behind: std::mem::take(&mut slate.left_behind),
        incidents,
        faults,
        hash,
        events: world.events(),
        polls: world.polls(),
        passed: world.now(),
        starts: slate.starts,
        probes,
        nodes: world.node_names(),
        lines,
        film,
        history,
    })
}

/// No client knows of a loss of power; it is what excuses some of what they saw.
fn add_power_losses(history: &mut History, world: &World, losses: &[(Nanos, NodeId)]) {
    for &(at, node) in losses {
        let node = world.node_name(node);
        add(history, at, What::PowerLoss { node });
    }
}

/// Puts something into a history that no client knows of.
fn add(history: &mut History, at: Nanos, what: What) {
    let place = history.events.partition_point(|event| event.at <= at);
    history.events.insert(place, Event { at, what });
}

/// Starts that failed, and brokers that were not ready for long, where no disk explains it: they say
/// so themselves, or say that the log does, which it has done before.
fn incidents(cluster: &Cluster, of_disk: Option<Nanos>) -> Vec<String> {
    let refers = |at: Nanos, text: &str| {
        text.contains("see the log") && of_disk.is_some_and(|first| first <= at)
    };
    let incidents = cluster.incidents().into_iter();
    let unexplained = incidents.filter(|(at, text)| !repeats_disk(text) && !refers(*at, text));
    unexplained.map(|(at, text)| format!("{text} at {:.3} s", at as f64 / 1e9)).collect()
}
