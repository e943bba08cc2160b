//! One run: a pure function of the build, the scenario and the seed.
//!
//! The brokers start, the topics are created, clients work while faults strike; then everything is
//! healed, and within [`HEALING`] the brokers serve, take new records and everything is read.
//!
//! Start at [`run`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Client, ClientConfig, Producer, ProducerConfig, ProducerRecord};
use history::{Event, History, Outcome, Partition, Promise, RecordId, Verdict, What, value_of};
use model::PartitionIndex;
use protocol::StrBytes;

use crate::audit::audit;
use crate::cluster::Cluster;
use crate::disk::DiskProfile;
use crate::fault::{Faults, Struck};
use crate::judge::recover_twice;
use crate::log::LogLine;
use crate::machine::Machines;
use crate::scenario::Scenario;
use crate::workload::{NotDurable, Recorder, Role, Work, create_topics, read_all};
use crate::world::film::Shot;
use crate::world::trace::Line;
use crate::world::{Kind, Nanos, NodeId, Panic, Stuck, World};

/// Within so much simulated time after the last fault everything works again.
pub const HEALING: Duration = Duration::from_secs(30);
/// Within so much the brokers start on empty disks.
const STARTING: Duration = Duration::from_secs(30);
/// Records to each partition that prove that it takes records again.
const PROBES: u32 = 20;
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
    /// Handles of the world that outlived the run: brokers, clients or connections that hold on to
    /// themselves and are never freed.
    pub left_over: usize,
    /// What recovering the disks once more changes.
    pub recovery: Vec<String>,
    /// Where logs contradict their own files.
    pub logs: Vec<String>,
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
    /// What is wrong with the run, the worst first, by name of the check; empty when nothing is.
    pub fn failures(&self) -> Vec<(String, String)> {
        let mut failures: Vec<(String, String)> = Vec::new();
        for violation in &self.verdict.violations {
            failures.push((violation.anomaly.name().to_owned(), violation.to_string()));
        }
        for panic in &self.panics {
            let text = format!("task {} of {}: {}", panic.task, panic.process.node, panic.message);
            failures.push(("panic".to_owned(), text));
        }
        for line in &self.errors {
            failures.push(("unexpected-error-line".to_owned(), line.to_string()));
        }
        for found in &self.not_durable {
            failures.push(("ack-not-durable".to_owned(), format!("ack-not-durable {found}")));
        }
        for text in &self.recovery {
            failures.push(("recovery-differs".to_owned(), format!("recovery-differs: {text}")));
        }
        for text in &self.logs {
            failures.push(("log-state".to_owned(), format!("log-state {text}")));
        }
        if let Some(lifeless) = &self.lifeless {
            let text = format!("{}: {}", lifeless.phase, lifeless.why.join("; "));
            failures.push(("no-life".to_owned(), text));
        }
        if let Some(stuck) = &self.stuck {
            failures.push(("stuck".to_owned(), stuck.to_string()));
        }
        if self.left_over > 0 {
            let text = format!("{} handles of the world outlive its processes", self.left_over);
            failures.push(("never-freed".to_owned(), text));
        }
        failures
    }
}

/// What the supervisor leaves behind, even when it does not end.
#[derive(Default)]
struct Slate {
    lifeless: Option<Lifeless>,
    faults: Vec<Struck>,
    recovery: Vec<String>,
    logs: Vec<String>,
    starts: u64,
}

type SharedSlate = Arc<Mutex<Slate>>;

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
    let supervisor = supervise(Stage {
        world: world.clone(),
        machines: machines.clone(),
        cluster: cluster.clone(),
        work: Arc::clone(&work),
        slate: Arc::clone(&slate),
        log: log.clone(),
    });
    let ended = world.block_on(EVENTS_MAX, supervisor);
    cluster.forget();
    machines.forget_watchers();
    let errors = log.unexpected();
    let probes = log.probes();
    log.end();
    let mut history = work.recorder.lock().clone();
    add_power_losses(&mut history, &machines);
    let verdict = match ended {
        // Without the last read everything would count as lost.
        Ok(true) => history.check(),
        Ok(false) | Err(_) => Verdict::default(),
    };
    let mut slate = slate.lock().unwrap_or_else(PoisonError::into_inner);
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
        recovery: std::mem::take(&mut slate.recovery),
        logs: std::mem::take(&mut slate.logs),
        lifeless: slate.lifeless.take(),
        stuck: ended.err(),
        faults: std::mem::take(&mut slate.faults),
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
fn add_power_losses(history: &mut History, machines: &Machines) {
    for (at, node) in machines.power_losses() {
        let node = machines.world().node_name(node);
        let place = history.events.partition_point(|event| event.at <= at);
        history.events.insert(place, Event { at, what: What::PowerLoss { node } });
    }
}

/// Everything that a run is played with.
struct Stage {
    world: World,
    machines: Machines,
    cluster: Cluster,
    work: Arc<Work>,
    slate: SharedSlate,
    log: crate::log::Capture,
}

/// Plays the run; true when it came to its end, so that the history is whole.
async fn supervise(stage: Stage) -> bool {
    let runtime = stage.machines.supervisor();
    let operator = stage.cluster.clone().operate();
    drop(runtime.tasks.spawn("operator", Box::pin(operator)));
    let client = Client::new(&runtime, supervisor_config(&stage.work));
    let setup = create_topics(&stage.world, &client, &stage.work.scenario);
    if !stage.within(STARTING, "start and create the topics", setup).await {
        return false;
    }
    let clients = stage.start_clients();
    let faults = Faults::arm(&stage.machines, &stage.cluster, &stage.work, &clients);
    stage.until_sent(&faults).await;
    faults.heal();
    stage.cluster.heal();
    stage.log.healed();
    stage.note(|| HEALED.to_owned());
    let is_alive = stage.converge(&client).await;
    for node in clients {
        stage.machines.kill(node);
    }
    if is_alive {
        stage.judge().await;
    }
    let mut slate = stage.slate.lock().unwrap_or_else(PoisonError::into_inner);
    slate.faults = faults.struck();
    slate.starts = stage.cluster.starts();
    is_alive
}

fn supervisor_config(work: &Work) -> ClientConfig {
    ClientConfig {
        bootstrap_servers: work.brokers.clone(),
        client_id: "supervisor".to_owned(),
        request_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(1),
        api_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    }
}

impl Stage {
    fn note(&self, text: impl Fn() -> String) {
        self.world.record(Kind::Check, None, &[], text);
    }

    /// Whether `work` is done within `limit`; says what stands in its way when it is not.
    async fn within<T>(
        &self,
        limit: Duration,
        phase: &'static str,
        work: impl Future<Output = T>,
    ) -> bool {
        let deadline = self.world.sleep(limit);
        runtime::select! {
            _ = work => true,
            () = deadline => {
                let mut why = self.cluster.why_not_ready();
                if why.is_empty() {
                    why.push(format!("the brokers say that they are ready, {limit:?} passed"));
                }
                let mut slate = self.slate.lock().unwrap_or_else(PoisonError::into_inner);
                slate.lifeless = Some(Lifeless { phase, why });
                false
            }
        }
    }

    /// Starts every client on a node of its own; returns the nodes in their order.
    fn start_clients(&self) -> Vec<NodeId> {
        let roles = self.work.roles().len();
        (0..roles)
            .map(|client| {
                let name = format!("client-{}", client + 1);
                let node = self.machines.add(&name, DiskProfile::default());
                start_client(&self.machines, &self.work, node, client);
                node
            })
            .collect()
    }

    /// Waits until all records are given to producers and answered, or the time is up.
    async fn until_sent(&self, faults: &Faults) {
        let deadline = self.world.now() + u64::from(self.work.scenario.seconds) * 1_000_000_000;
        while self.world.now() < deadline {
            self.world.sleep(Duration::from_millis(100)).await;
            let producers = self.work.roles().iter().enumerate();
            let is_busy = producers
                .filter(|(_, role)| matches!(role, Role::Produce(_)))
                .any(|(client, _)| faults.is_client_busy(client));
            if self.work.is_sent() && !is_busy {
                return;
            }
        }
    }

    /// Life after healing: everybody serves, every partition takes records, everything is read.
    async fn converge(&self, client: &Client) -> bool {
        let recorder = self.work.recorder.clone();
        let partitions = self.work.partitions();
        let ready = async {
            while !self.cluster.why_not_ready().is_empty() {
                self.world.sleep(Duration::from_millis(50)).await;
            }
        };
        if !self.within(HEALING, "serve again", ready).await {
            return false;
        }
        let probes = probe(client, &recorder, &partitions);
        if !self.within(HEALING, "take new records", probes).await {
            return false;
        }
        // What producers still had in flight when the time was up gets its answer, too.
        let read = async {
            let stored = read_all(&self.world, client, &partitions).await;
            for (partition, stored) in stored {
                recorder.stored(&partition, stored);
            }
        };
        self.within(HEALING, "read everything", read).await
    }
}

impl Stage {
    /// Looks at what the brokers hold when all is said.
    async fn judge(&self) {
        self.cluster.retire();
        for id in 1..=self.work.scenario.cluster.brokers {
            let (node, config) = (self.cluster.node(id), self.cluster.config(id));
            let topics = &self.work.scenario.topics;
            let may_be_torn = |log: &str| {
                let name = log.rsplit_once('/').map_or(log, |(_, name)| name);
                let topic = name.rsplit_once('-').and_then(|(topic, _)| topics.get(topic));
                topic.is_some_and(|topic| topic.rules().is_lost_with_power)
            };
            let (image, recovery) = recover_twice(&self.machines, node, &config, may_be_torn).await;
            let logs = audit(&self.machines, &image, &config).await;
            let mut slate = self.slate.lock().unwrap_or_else(PoisonError::into_inner);
            slate.recovery.extend(recovery);
            slate.logs.extend(logs);
        }
    }
}

/// Starts the process of client number `client`.
pub(crate) fn start_client(machines: &Machines, work: &Arc<Work>, node: NodeId, client: usize) {
    let work = Arc::clone(work);
    machines.start(node, |runtime| work.run_client(runtime, node, client));
}

/// New records to every partition, each acknowledged.
async fn probe(client: &Client, recorder: &Recorder, partitions: &[Partition]) {
    let node = NodeId::SUPERVISOR;
    let number = recorder.producer(Promise::Idempotent);
    let config = ProducerConfig {
        delivery_timeout: HEALING * 2,
        create_topics: false,
        ..ProducerConfig::default()
    };
    let producer = Producer::start(client, config).expect("the settings fit the promise");
    let mut deliveries = Vec::new();
    let mut sequence = 0;
    for partition in partitions {
        for _ in 0..PROBES {
            let id = RecordId { producer: number, sequence };
            sequence += 1;
            recorder.send(node, id, partition, Some(u32::MAX - sequence));
            let record = ProducerRecord {
                topic: StrBytes::from(&*partition.topic),
                partition: Some(PartitionIndex(partition.index)),
                key: Some(format!("probe-{sequence}").into_bytes().into()),
                value: Some(value_of(id, 20).into()),
                ..ProducerRecord::default()
            };
            match producer.send(record).await {
                Ok(delivery) => deliveries.push((id, delivery)),
                Err(error) => {
                    let outcome = Outcome::Unknown { error: error.to_string() };
                    recorder.sent(node, id, outcome);
                }
            }
        }
    }
    for (id, delivery) in deliveries {
        let outcome = match delivery.acknowledged().await {
            Ok(metadata) => {
                Outcome::Acknowledged { offset: metadata.offset.map(|offset| offset.0) }
            }
            Err(error) => Outcome::Unknown { error: error.to_string() },
        };
        recorder.sent(node, id, outcome);
    }
}
