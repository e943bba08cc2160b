//! A run as its supervisor plays it: topics, clients and faults; then healing, and the proof that
//! everything lives again; then silence, and a look at what is left over and what the disks hold.
//!
//! In: a world with its machines. Out: the history of the clients, and what the supervisor noted in
//! its [`Slate`].
//!
//! Start at [`supervise`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::producer::Acks;
use client::{Client, ClientConfig, Producer, ProducerConfig, ProducerRecord};
use history::{Content, Outcome, Partition, Promise, RecordId, Stored, What, value_of};
use model::PartitionIndex;
use protocol::StrBytes;

use crate::audit::{Told, audit};
use crate::cluster::Cluster;
use crate::disk::DiskProfile;
use crate::fault::{Faults, Struck};
use crate::inspect::{Inspection, OWNER_TASK};
use crate::judge::recover_twice;
use crate::log::Capture;
use crate::machine::Machines;
use crate::rest;
use crate::run::{HEALED, HEALING, Lifeless};
use crate::scenario::PROBE_BYTES_MAX;
use crate::workload::{Recorder, Role, Work, create_topics, read_all};
use crate::world::{Kind, Nanos, NodeId, World, nanos};

/// Within so much the brokers start on empty disks.
const STARTING: Duration = Duration::from_secs(30);
/// Records to each partition that prove that it takes records again.
const PROBES: u32 = 100;
/// And so many without acknowledgement, which arrive all the same when nothing is in their way.
const PROBES_WITHOUT_ACKS: u32 = 10;
/// How often it looks whether what it waits for is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the supervisor leaves behind, even when it does not end.
#[derive(Default)]
pub(crate) struct Slate {
    pub(crate) lifeless: Option<Lifeless>,
    pub(crate) faults: Vec<Struck>,
    pub(crate) recovery: Vec<String>,
    pub(crate) logs: Vec<String>,
    pub(crate) left_behind: Vec<String>,
    pub(crate) power_losses: Vec<(Nanos, NodeId)>,
    pub(crate) starts: u64,
}

/// The slate, for the supervisor and for whoever reads it in the end.
pub(crate) type SharedSlate = Arc<Mutex<Slate>>;

/// Everything that a run is played with.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) machines: Machines,
    pub(crate) cluster: Cluster,
    pub(crate) work: Arc<Work>,
    pub(crate) inspection: Inspection,
    pub(crate) slate: SharedSlate,
    pub(crate) log: Capture,
}

/// Plays the run; true when it came to its end, so that the history is whole.
pub(crate) async fn supervise(stage: Stage) -> bool {
    let runtime = stage.machines.supervisor();
    let operator = stage.cluster.clone().operate();
    drop(runtime.tasks.spawn("operator", Box::pin(operator)));
    stage.inspect_partitions();
    let client = Client::new(&runtime, supervisor_config(&stage.work));
    let setup = create_topics(&stage.world, &client, &stage.work.scenario);
    let started = stage.world.now() + nanos(STARTING);
    if !stage.within(started, "start and create the topics", setup).await {
        return false;
    }
    let clients = stage.start_clients();
    let faults = Faults::arm(&stage.machines, &stage.cluster, &stage.work, &clients);
    stage.until_sent(&faults).await;
    faults.heal();
    stage.cluster.heal();
    stage.log.healed();
    stage.note(|| HEALED.to_owned());
    let is_alive = stage.converge(&client, &clients).await;
    drop(client);
    for node in clients {
        stage.machines.kill(node);
    }
    if is_alive {
        let linger = stage.work.scenario.groups_linger();
        let left_behind = rest::look(&stage.world, &stage.machines, &stage.cluster, linger).await;
        stage.slate().left_behind = left_behind;
    }
    let ends = stage.ends_at_rest();
    // What the judge does to the machines is no part of the run.
    stage.slate().power_losses = stage.machines.power_losses();
    stage.world.unwatch_polls();
    if is_alive {
        stage.judge(&ends).await;
    }
    let mut slate = stage.slate();
    slate.faults = faults.struck();
    slate.starts = stage.cluster.starts();
    is_alive
}

pub(crate) fn supervisor_config(work: &Work) -> ClientConfig {
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

    pub(crate) fn slate(&self) -> std::sync::MutexGuard<'_, Slate> {
        self.slate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches over the partitions from now on, after every step of an owner.
    fn inspect_partitions(&self) {
        let (cluster, machines) = (self.cluster.clone(), self.machines.clone());
        let inspection = self.inspection.clone();
        self.world.watch_polls(OWNER_TASK, move |process| {
            let disk = machines.machine(process.node).disk;
            inspection.look(process, &disk, cluster.ends(process));
        });
    }

    /// Whether `work` is done before `deadline`; says what stands in its way when it is not.
    async fn within<T>(
        &self,
        deadline: Nanos,
        phase: &'static str,
        work: impl Future<Output = T>,
    ) -> bool {
        let time_is_up = self.world.sleep_until(deadline);
        runtime::select! {
            _ = work => true,
            () = time_is_up => {
                let mut why = self.cluster.why_not_ready();
                if why.is_empty() {
                    why.push("the brokers say that they are ready, and the time is up".to_owned());
                }
                self.slate().lifeless = Some(Lifeless { phase, why });
                false
            }
        }
    }

    /// Starts every client but guests on a node of its own; returns the nodes in their order.
    fn start_clients(&self) -> Vec<NodeId> {
        let roles = self.work.roles().iter().enumerate();
        roles
            .map(|(client, role)| {
                let name = format!("client-{}", client + 1);
                let node = self.machines.add(&name, DiskProfile::default());
                if !matches!(role, Role::Member(place) if place.is_guest) {
                    start_client(&self.machines, &self.work, node, client);
                }
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

    /// Life after healing: within [`HEALING`] everybody serves, every producer gets its answers, every
    /// partition takes records and every reader gets them; then everything is read.
    async fn converge(&self, client: &Client, clients: &[NodeId]) -> bool {
        let healed = self.world.now() + nanos(HEALING);
        if !self.within(healed, "serve again", self.until_ready()).await {
            return false;
        }
        if !self.within(healed, "tell how large topics are", self.until_grown(client)).await {
            return false;
        }
        self.work.stop_sending();
        if !self.within(healed, "answer the producers", self.until_answered(clients)).await {
            return false;
        }
        let mut probes = Probes::default();
        let sent = self.probe(client, &mut probes);
        if !self.within(healed, "take new records", sent).await {
            return false;
        }
        if let Some(refused) = probes.refused.first() {
            let why = vec![format!("{} of them failed: {refused}", probes.refused.len())];
            self.slate().lifeless = Some(Lifeless { phase: "take new records", why });
            return false;
        }
        let read = self.until_read(clients, probes.acknowledged);
        if !self.within(healed, "bring new records to every reader", read).await {
            return false;
        }
        if !self.groups_settle(client, clients, healed).await {
            return false;
        }
        let topics = self.work.look_at_topics(client);
        if !self.within(healed, "list the topics", topics).await {
            return false;
        }
        self.read_back(client, &probes.without_acks).await
    }

    async fn until_ready(&self) {
        while !self.cluster.why_not_ready().is_empty() {
            self.world.sleep(LOOK_EVERY).await;
        }
    }

    /// Clients that are down have nothing to wait for, and what is sent to a damaged partition may be
    /// sent again and again.
    async fn until_answered(&self, clients: &[NodeId]) {
        if !self.work.damaged().is_empty() {
            return;
        }
        let is_waiting = |client: usize, role: &Role| {
            let is_alive = self.world.process(clients[client]).is_some();
            matches!(role, Role::Produce(_)) && is_alive && !self.work.is_finished(client)
        };
        while self.work.roles().iter().enumerate().any(|(client, role)| is_waiting(client, role)) {
            self.world.sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every reader has read something of `producer` in every partition where nothing
    /// deletes it before.
    async fn until_read(&self, clients: &[NodeId], producer: u32) {
        let lasting: BTreeSet<Partition> = self
            .work
            .whole_partitions()
            .into_iter()
            .filter(|at| self.work.is_lasting(at))
            .collect();
        loop {
            let roles = self.work.roles().iter().zip(clients).enumerate();
            let mut readers = roles.filter_map(|(client, (role, node))| match role {
                Role::Read(reader) if !self.work.is_silent(client) => {
                    self.world.process(*node).map(|_| *reader)
                }
                _ => None,
            });
            let reached = self.reached(producer);
            let has_all = |reader| reached.get(&reader).is_some_and(|at| lasting.is_subset(at));
            if lasting.is_empty() || readers.all(has_all) {
                return;
            }
            self.world.sleep(LOOK_EVERY).await;
        }
    }

    /// The partitions in which each reader has read something of `producer`.
    fn reached(&self, producer: u32) -> BTreeMap<u32, BTreeSet<Partition>> {
        let mut reached: BTreeMap<u32, BTreeSet<Partition>> = BTreeMap::new();
        // Nothing of it is before its first record was sent.
        for event in self.work.recorder.lock().events.iter().rev() {
            match &event.what {
                What::Send { id, .. } if id.producer == producer && id.sequence == 0 => break,
                What::Poll { reader, partition, records } => {
                    // Not only its last one: what somebody sent before may have come late.
                    let is_new =
                        |content| matches!(content, Content::Record(id) if id.producer >= producer);
                    if records.iter().rev().any(|seen| is_new(seen.content)) {
                        reached.entry(*reader).or_default().insert(partition.clone());
                    }
                }
                _ => {}
            }
        }
        reached
    }

    /// Reads everything that is there into the history.
    async fn read_back(&self, client: &Client, without_acks: &[(RecordId, Partition)]) -> bool {
        let partitions = self.work.whole_partitions();
        let mut stored = BTreeMap::new();
        self.work.recorder.begin_read();
        let read = async { stored = read_all(&self.work.recorder, client, &partitions).await };
        let deadline = self.world.now() + nanos(HEALING);
        if !self.within(deadline, "read everything", read).await {
            return false;
        }
        let missing = without_acks.iter().filter(|(id, at)| {
            self.work.is_lasting(at) && stored.get(at).is_some_and(|stored| !holds(stored, *id))
        });
        let missing = missing.count();
        if missing > 0 {
            let phase = "take new records without acknowledging them";
            let why = vec![format!("{missing} of {} did not arrive", without_acks.len())];
            self.slate().lifeless = Some(Lifeless { phase, why });
        }
        for (partition, stored) in stored {
            self.work.recorder.stored(&partition, stored);
        }
        true
    }

    /// Looks at what the brokers hold when all is said.
    async fn judge(&self, ends_at_rest: &BTreeMap<String, i64>) {
        self.cluster.retire();
        for id in 1..=self.work.scenario.cluster.brokers {
            let (node, config) = (self.cluster.node(id), self.cluster.config(id));
            let scenario = &self.work.scenario;
            let (image, recovery) = recover_twice(&self.machines, node, &config, scenario).await;
            let damaged = &self.cluster.damaged_logs()[id as usize - 1];
            let told = Told {
                ends: self.lasting_ends(ends_at_rest),
                damaged: damaged.clone(),
                retention_bytes: self.retention_bytes(),
            };
            let logs = audit(&self.machines, &image, &config, told).await;
            let mut slate = self.slate();
            slate.recovery.extend(recovery);
            slate.logs.extend(logs);
        }
    }
}

impl Stage {
    /// Where the brokers' partitions end, now that nothing is on its way any more.
    fn ends_at_rest(&self) -> BTreeMap<String, i64> {
        let processes = self.cluster.processes().into_iter();
        let ends = processes.flat_map(|process| self.cluster.ends(process));
        ends.map(|at| (format!("{}-{}", at.topic, at.partition), at.log_end.0)).collect()
    }

    /// How large partitions may be, by the names of their logs.
    fn retention_bytes(&self) -> BTreeMap<String, u64> {
        let rules = |at: &Partition| {
            let scenario = &self.work.scenario;
            scenario.topics.get(&*at.topic).map(|topic| scenario.rules(topic))
        };
        let partitions = self.work.whole_partitions().into_iter();
        let limited =
            partitions.filter_map(|at| Some((at.to_string(), rules(&at)?.retention_bytes?)));
        limited.collect()
    }

    /// Where the partitions that survive a loss of power have to end. What was on its way from a
    /// client that is gone may have come after they were read last; nothing may have gone.
    fn lasting_ends(&self, at_rest: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
        let history = self.work.recorder.lock();
        let scenario = &self.work.scenario;
        let topics = &scenario.topics;
        let is_lasting = |at: &Partition| {
            topics.get(&*at.topic).is_some_and(|topic| !scenario.rules(topic).is_lost_with_power)
        };
        let damaged = self.work.damaged();
        let lasting = history.stored.iter();
        let lasting = lasting.filter(|(at, _)| is_lasting(at) && !damaged.contains_key(at));
        let ends = lasting.map(|(at, stored)| (at.to_string(), stored.end));
        ends.map(|(name, told)| {
            let end = at_rest.get(&name).map_or(told, |end| told.max(*end));
            (name, end)
        })
        .collect()
    }
}

fn holds(stored: &Stored, id: RecordId) -> bool {
    stored.records.iter().any(|seen| seen.content == Content::Record(id))
}

/// Starts the process of client number `client`.
pub(crate) fn start_client(machines: &Machines, work: &Arc<Work>, node: NodeId, client: usize) {
    let work = Arc::clone(work);
    machines.start(node, |runtime| work.run_client(runtime, node, client));
}

/// New records to every partition.
#[derive(Default)]
struct Probes {
    /// The producer of those that are acknowledged.
    acknowledged: u32,
    /// What became of those that were not, though they should have been.
    refused: Vec<String>,
    without_acks: Vec<(RecordId, Partition)>,
}

impl Stage {
    async fn probe(&self, client: &Client, probes: &mut Probes) {
        let recorder = &self.work.recorder;
        let partitions = self.work.whole_partitions();
        let config = ProducerConfig {
            delivery_timeout: HEALING * 2,
            create_topics: false,
            ..ProducerConfig::default()
        };
        let quiet = ProducerConfig { acks: Acks::None, idempotence: false, ..config.clone() };
        probes.acknowledged = recorder.producer(Promise::Idempotent, config.in_flight_max);
        let producer = Producer::start(client, config).expect("the settings fit the promise");
        let ids = ids(probes.acknowledged, &partitions, PROBES);
        for (id, outcome) in send(recorder, &producer, &ids).await {
            if let Outcome::Unknown { error } = &outcome {
                probes.refused.push(error.clone());
            }
            recorder.sent(NodeId::SUPERVISOR, id, outcome);
        }
        // Over the connections that have just been seen to work.
        let number = recorder.producer(Promise::AtMostOnce, quiet.in_flight_max);
        let producer = Producer::start(client, quiet).expect("the settings fit the promise");
        probes.without_acks = self::ids(number, &partitions, PROBES_WITHOUT_ACKS);
        for (id, outcome) in send(recorder, &producer, &probes.without_acks).await {
            recorder.sent(NodeId::SUPERVISOR, id, outcome);
        }
    }
}

/// `count` records of `producer` for each partition.
fn ids(producer: u32, partitions: &[Partition], count: u32) -> Vec<(RecordId, Partition)> {
    let places = partitions.iter().flat_map(|at| (0..count).map(move |_| at.clone()));
    places.zip(0..).map(|(at, sequence)| (RecordId { producer, sequence }, at)).collect()
}

/// Sends records and tells what became of each.
async fn send(
    recorder: &Recorder,
    producer: &Producer,
    ids: &[(RecordId, Partition)],
) -> Vec<(RecordId, Outcome)> {
    let mut outcomes = Vec::new();
    let mut deliveries = Vec::new();
    for (id, partition) in ids {
        // Keys that nobody else has, so that compaction leaves them alone.
        let key = u32::MAX - id.producer * PROBES - id.sequence;
        recorder.send(NodeId::SUPERVISOR, *id, partition, Some(key));
        let record = ProducerRecord {
            topic: StrBytes::from(&*partition.topic),
            partition: Some(PartitionIndex(partition.index)),
            key: Some(format!("probe-{id}").into_bytes().into()),
            value: Some(value_of(*id, PROBE_BYTES_MAX as u32).into()),
            ..ProducerRecord::default()
        };
        match producer.send(record).await {
            Ok(delivery) => deliveries.push((*id, delivery)),
            Err(error) => outcomes.push((*id, Outcome::Unknown { error: error.to_string() })),
        }
    }
    for (id, delivery) in deliveries {
        let outcome = match delivery.acknowledged().await {
            Ok(metadata) => {
                Outcome::Acknowledged { offset: metadata.offset.map(|offset| offset.0) }
            }
            Err(error) => Outcome::Unknown { error: error.to_string() },
        };
        outcomes.push((id, outcome));
    }
    outcomes
}
