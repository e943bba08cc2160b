//! The brokers of a run, and their operator: starts what is down, restarts what is not ready.
//!
//! Start at [`Cluster::operate`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::{Broker, BrokerConfig, PartitionEnds};
use metadata::config::Property;
use runtime::Runtime;
use runtime::sync::oneshot;

use crate::damage::damaged_logs;
use crate::disk::DiskProfile;
use crate::machine::{Machines, PowerCut};
use crate::scenario::Scenario;
use crate::world::{Nanos, NodeId, Process, nanos};

/// The port of every broker.
pub const PORT: u16 = 9092;

/// How often the operator looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a broker may be not ready before it is started anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells the ends of every open partition.
type Ends = Box<dyn Fn() -> Vec<PartitionEnds> + Send>;

/// How a broker's process is doing.
enum Status {
    /// Not started, killed, or ended by itself after a stop.
    Down,
    /// In [`Broker::start`].
    Starting,
    /// Serving.
    Running {
        why_not_ready: Box<dyn Fn() -> Vec<String> + Send>,
        ends: Ends,
        stop: oneshot::Sender<()>,
    },
    /// In [`Broker::stop`].
    Stopping,
    /// Stopped in good order.
    Stopped,
    /// The start failed, because of this.
    Failed(String),
}

struct Seat {
    node: NodeId,
    config: BrokerConfig,
    status: Status,
    process: Option<Process>,
    /// Not started before.
    up_at: Nanos,
    /// Since when it has been started and not been ready.
    unready_since: Option<Nanos>,
    starts: u64,
    /// Crashes that still follow, each while it starts.
    crashes_at_start: VecDeque<Crash>,
    /// When it did not start, or was not ready for long, and why.
    incidents: Vec<(Nanos, String)>,
}

/// The end of a broker while it starts.
#[derive(Clone, Copy, Debug)]
struct Crash {
    with_power: bool,
    /// Names it among all faults: what it draws depends on nothing else.
    key: u64,
}

/// All brokers.
#[derive(Clone)]
pub struct Cluster {
    machines: Machines,
    seats: Arc<Mutex<Vec<Seat>>>,
}

/// How long a member of a consumer group may be silent, and how long that is where nothing says so.
pub(crate) const CONSUMER_SESSION: &str = "group.consumer.session.timeout.ms";
pub(crate) const CONSUMER_SESSION_MS: u64 = 2_000;

/// What every broker is set to, unless the scenario says otherwise: no task waits for long.
const SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("log.dirs", "/data"),
    ("auto.create.topics.enable", "false"),
    ("log.initial.task.delay.ms", "1000"),
    ("log.retention.check.interval.ms", "2000"),
    ("log.cleaner.backoff.ms", "2000"),
    // Small enough to be full, and checkpointed, within a run.
    ("klamm.journal.bytes", "131072"),
    ("offsets.topic.num.partitions", "3"),
    ("offsets.retention.check.interval.ms", "2000"),
    ("group.initial.rebalance.delay.ms", "200"),
    ("group.min.session.timeout.ms", "100"),
    ("group.consumer.min.session.timeout.ms", "100"),
    (CONSUMER_SESSION, "2000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "300"),
];

/// The settings of broker `id` in `scenario`.
pub(crate) fn config(scenario: &Scenario, id: u32) -> Result<BrokerConfig, String> {
    let own = [
        ("node.id", id.to_string()),
        ("listeners", format!("PLAINTEXT://0.0.0.0:{PORT}")),
        ("advertised.listeners", format!("PLAINTEXT://broker-{id}:{PORT}")),
    ];
    let own = own.iter().map(|(key, value)| (*key, value.as_str()));
    let given = scenario.cluster.settings.iter();
    let given = given.map(|(key, value)| (key.as_str(), value.as_str()));
    // No file: an error is told by the key, not by a line.
    let properties: Vec<Property> = own
        .chain(SETTINGS.iter().copied())
        .chain(given)
        .map(|(key, value)| Property { line: None, key: key.to_owned(), value: value.to_owned() })
        .collect();
    let resolved = BrokerConfig::from_properties(&properties)
        .map_err(|errors| errors.to_string().replace('\n', "; "))?;
    Ok(resolved.config)
}

impl Cluster {
    /// The brokers of `scenario`, all down.
    ///
    /// # Errors
    /// What is wrong with `cluster.settings`.
    pub fn new(machines: &Machines, scenario: &Scenario) -> Result<Cluster, String> {
        let mut seats = Vec::new();
        for id in 1..=scenario.cluster.brokers {
            let profile = DiskProfile {
                capacity_bytes: scenario.cluster.disk_mib << 20,
                ..DiskProfile::default()
            };
            seats.push(Seat {
                node: machines.add(&format!("broker-{id}"), profile),
                config: config(scenario, id)?,
                status: Status::Down,
                process: None,
                up_at: 0,
                unready_since: None,
                starts: 0,
                crashes_at_start: VecDeque::new(),
                incidents: Vec::new(),
            });
        }
        Ok(Cluster { machines: machines.clone(), seats: Arc::new(Mutex::new(seats)) })
    }

    /// `host:port` of the brokers.
    pub fn addresses(&self) -> Vec<String> {
        (1..=self.lock().len()).map(|id| format!("broker-{id}:{PORT}")).collect()
    }

    /// The settings of broker `id`, from 1.
    pub fn config(&self, id: u32) -> BrokerConfig {
        self.lock()[id as usize - 1].config.clone()
    }

    /// Stops looking after the brokers: who is down stays down.
    pub fn retire(&self) {
        for seat in self.lock().iter_mut() {
            seat.up_at = Nanos::MAX;
        }
    }

    /// The node of broker `id`, from 1.
    pub fn node(&self, id: u32) -> NodeId {
        self.lock()[id as usize - 1].node
    }

    /// Looks after the brokers for ever.
    pub async fn operate(self) {
        loop {
            let count = self.lock().len();
            for at in 0..count {
                self.look_after(at);
            }
            self.machines.world().sleep(LOOK_EVERY).await;
        }
    }

    fn look_after(&self, at: usize) {
        let now = self.machines.world().now();
        let damaged = self.damaged_logs();
        let mut seats = self.lock();
        let seat = &mut seats[at];
        let is_alive = seat.process.is_some_and(|process| self.machines.world().is_alive(process));
        if !is_alive {
            seat.status = Status::Down;
        }
        let must_restart = match &seat.status {
            Status::Down => {
                if seat.up_at <= now {
                    drop(seats);
                    self.start(at);
                }
                return;
            }
            Status::Starting | Status::Stopping => false,
            Status::Stopped => {
                let node = seat.node;
                drop(seats);
                self.machines.kill(node);
                return;
            }
            Status::Failed(reason) => {
                let incident = format!("broker {} does not start: {reason}", at + 1);
                seat.incidents.push((now, incident));
                true
            }
            Status::Running { why_not_ready, .. } => {
                if unexcused(why_not_ready(), &damaged[at]).is_empty() {
                    seat.unready_since = None;
                    return;
                }
                false
            }
        };
        if self.machines.world().is_paused(seat.node) {
            return;
        }
        let since = *seat.unready_since.get_or_insert(now);
        let is_late = since + nanos(PATIENCE) <= now;
        let node = seat.node;
        let in_transition = matches!(seat.status, Status::Starting | Status::Stopping);
        if is_late && let Status::Running { why_not_ready, .. } = &seat.status {
            let incident = format!("broker {}: {}", at + 1, why_not_ready().join("; "));
            seat.incidents.push((now, incident));
        }
        drop(seats);
        if (is_late && !in_transition) || must_restart {
            self.machines.kill(node);
            self.lock()[at].unready_since = None;
            self.put_down(at, 500);
        }
    }

    fn put_down(&self, at: usize, down_ms: u64) {
        let up_at = self.machines.world().now() + down_ms * 1_000_000;
        let mut seats = self.lock();
        seats[at].status = Status::Down;
        // Down already, it stays so for as long as the longest of its faults says.
        seats[at].up_at = seats[at].up_at.max(up_at);
    }

    fn start(&self, at: usize) {
        let (node, config, crash) = {
            let mut seats = self.lock();
            let seat = &mut seats[at];
            seat.status = Status::Starting;
            seat.unready_since = None;
            seat.starts += 1;
            let crash = seat.crashes_at_start.pop_front();
            (seat.node, seat.config.clone(), crash)
        };
        let seats = Arc::clone(&self.seats);
        let process = self.machines.start(node, |runtime| serve(runtime, config, seats, at));
        self.lock()[at].process = Some(process);
        if let Some(crash) = crash {
            self.plan_crash(at, process, crash);
        }
    }

    /// Ends `process` at a drawn moment of its start.
    fn plan_crash(&self, at: usize, process: Process, crash: Crash) {
        use runtime::Rng;
        let delay = self.machines.world().rng("crash-at-start", crash.key).next_u64() % 60_000_000;
        let cluster = self.clone();
        self.machines.world().after(Duration::from_nanos(delay), move |world| {
            if world.is_alive(process) {
                match crash.with_power {
                    true => cluster.machines.power_loss_by(process.node, crash.key).was_up,
                    false => cluster.machines.kill(process.node),
                };
                cluster.put_down(at, 10);
            }
        });
    }

    /// Kills broker `id`; returns whether it was up.
    pub fn kill(&self, id: u32, down_ms: u64) -> bool {
        let was_up = self.machines.kill(self.node(id));
        self.put_down(id as usize - 1, down_ms);
        was_up
    }

    /// Cuts the power of broker `id`. `key` names the fault.
    pub fn power_loss(&self, id: u32, down_ms: u64, key: u64) -> PowerCut {
        let cut = self.machines.power_loss_by(self.node(id), key);
        self.put_down(id as usize - 1, down_ms);
        cut
    }

    /// Kills broker `id`, and kills it again while it starts, so many times. `key` names the fault.
    pub fn crash_loop(&self, id: u32, times: u32, with_power: bool, key: u64) -> bool {
        let crashes = (1..=u64::from(times)).map(|nth| Crash { with_power, key: key ^ nth });
        self.lock()[id as usize - 1].crashes_at_start.extend(crashes);
        match with_power {
            true => self.power_loss(id, 10, key).was_up,
            false => self.kill(id, 10),
        }
    }

    /// Tells broker `id` to stop; returns whether it served.
    pub fn stop(&self, id: u32, down_ms: u64) -> bool {
        let at = id as usize - 1;
        let up_at = self.machines.world().now() + down_ms * 1_000_000;
        let mut seats = self.lock();
        if !matches!(seats[at].status, Status::Running { .. }) {
            return false;
        }
        let before = std::mem::replace(&mut seats[at].status, Status::Stopping);
        seats[at].up_at = seats[at].up_at.max(up_at);
        drop(seats);
        if let Status::Running { stop, .. } = before {
            return stop.send(()).is_ok();
        }
        false
    }

    /// No crash at a start is planned any more, and whatever is down starts at once.
    pub fn heal(&self) {
        let now = self.machines.world().now();
        for seat in self.lock().iter_mut() {
            seat.crashes_at_start.clear();
            seat.up_at = seat.up_at.min(now);
        }
    }

    /// Why brokers are not serving; nothing when all are.
    pub fn why_not_ready(&self) -> Vec<String> {
        let damaged = self.damaged_logs();
        let seats = self.lock();
        let mut reasons = Vec::new();
        for (at, seat) in seats.iter().enumerate() {
            let id = at + 1;
            match &seat.status {
                Status::Running { why_not_ready, .. } => {
                    let all = unexcused(why_not_ready(), &damaged[at]);
                    reasons.extend(all.iter().map(|reason| format!("broker {id}: {reason}")));
                }
                Status::Down => reasons.push(format!("broker {id} is down")),
                Status::Starting => reasons.push(format!("broker {id} starts")),
                Status::Stopping | Status::Stopped => reasons.push(format!("broker {id} stops")),
                Status::Failed(reason) => reasons.push(format!("broker {id}: {reason}")),
            }
        }
        reasons
    }

    /// Lets go of the brokers: what they said about themselves holds on to them.
    pub fn forget(&self) {
        for seat in self.lock().iter_mut() {
            seat.status = Status::Down;
        }
    }

    /// When brokers did not start or were not ready for long, and why.
    pub fn incidents(&self) -> Vec<(Nanos, String)> {
        self.lock().iter().flat_map(|seat| seat.incidents.iter().cloned()).collect()
    }

    /// The processes of the brokers that are up.
    pub fn processes(&self) -> Vec<Process> {
        let seats = self.lock();
        let processes = seats.iter().filter_map(|seat| seat.process);
        processes.filter(|process| self.machines.world().is_alive(*process)).collect()
    }

    /// The ends of the partitions of `process`, if it serves.
    pub fn ends(&self, process: Process) -> Vec<PartitionEnds> {
        let seats = self.lock();
        let seat = seats.iter().find(|seat| seat.process == Some(process));
        match seat {
            Some(Seat { status: Status::Running { ends, .. }, .. }) => ends(),
            _ => Vec::new(),
        }
    }

    /// The logs that disks have damaged, by broker and name.
    pub fn damaged_logs(&self) -> Vec<BTreeSet<String>> {
        let nodes: Vec<NodeId> = self.lock().iter().map(|seat| seat.node).collect();
        let logs = nodes.iter().map(|node| damaged_logs(&self.machines.machine(*node).disk));
        logs.map(|logs| logs.into_keys().collect()).collect()
    }

    /// How often brokers were started.
    pub fn starts(&self) -> u64 {
        self.lock().iter().map(|seat| seat.starts).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        lock(&self.seats)
    }
}

/// The reasons that are not about a damaged log, or its topic.
fn unexcused(mut reasons: Vec<String>, damaged: &BTreeSet<String>) -> Vec<String> {
    let is_about = |reason: &str, log: &str| {
        let topic = log.rsplit_once('-').map_or(log, |(topic, _)| topic);
        reason.starts_with(&format!("log {log} is offline"))
            || reason.contains(&format!("of topic {topic} could not be opened"))
    };
    reasons.retain(|reason| !damaged.iter().any(|log| is_about(reason, log)));
    reasons
}

fn lock(seats: &Mutex<Vec<Seat>>) -> MutexGuard<'_, Vec<Seat>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A broker's process.
async fn serve(runtime: Runtime, config: BrokerConfig, seats: Arc<Mutex<Vec<Seat>>>, at: usize) {
    match Broker::start(runtime, config).await {
        Ok(broker) => {
            let (stop, stopped) = oneshot::channel();
            let why_not_ready = Box::new(broker.readiness());
            let ends = Box::new(broker.ends());
            lock(&seats)[at].status = Status::Running { why_not_ready, ends, stop };
            if stopped.await.is_err() {
                // Replaced by a later process' status: this one is gone by then.
                return;
            }
            broker.stop().await;
            lock(&seats)[at].status = Status::Stopped;
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            lock(&seats)[at].status = Status::Failed(text);
        }
    }
}
