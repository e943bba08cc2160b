//! What clients do in a run: producers of each promise, readers, an administrator, a rude one; and
//! what they were told, as a [`history::History`].
//!
//! Each client is a process on a node of its own, and is klamm's own client, but for the rude one
//! that makes its frames by hand: it sees nothing of the broker but what the protocol says.
//!
//! Start at [`Work`].

mod admin;
mod fit;
mod groups;
mod lives;
mod looks;
mod lookups;
mod member;
mod own_topics;
mod produce;
mod read;
mod recorder;
mod resets;
mod wild;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::backoff::Backoff;
use client::{Admin, Client, ClientConfig, TopicPartition};
use history::{Partition, Promise, RecordId, Rules, What};
use protocol::StrBytes;
use runtime::Runtime;

pub use admin::create_topics;
pub use groups::{Growth, MemberPlace, View, members};
pub use lives::Finding;
pub use looks::AGE_MAX_MS;
pub use read::read_all;
pub use recorder::Recorder;

use crate::damage::damaged_logs;
use crate::disk::SimDisk;
use crate::durable::is_durable;
use crate::plan::{Dice, draw};
use crate::scenario::{GroupSpec, Scenario, TopicSpec};
use crate::world::{Nanos, NodeId, World};
use fit::Weather;
use groups::Groups;
use lives::Lives;

/// How long a client waits for an answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Topics that grow are noticed within a run.
const METADATA_AGE_MAX: Duration = Duration::from_secs(4);

/// One acknowledgement in so many is held against the disk.
const LOOK_ONE_IN: u32 = 8;

/// What is kept so long no clock that jumps makes old.
const LONG_MILLIS: u64 = 3 * 24 * 60 * 60 * 1000;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends its share of the records.
    Produce(Promise),
    /// Reads everything, over and over.
    Read(u32),
    /// Reads as a member of a group.
    Member(MemberPlace),
    /// Deletes records, describes, alters, creates and deletes topics.
    Administer,
    /// Sends what no client of Kafka sends.
    Wild,
}

/// An acknowledged record that was not on stable storage at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDurable {
    /// Which.
    pub id: RecordId,
    /// Where.
    pub partition: Partition,
    /// At which offset.
    pub offset: i64,
    /// When it was acknowledged.
    pub at: Nanos,
}

impl fmt::Display for NotDurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotDurable { id, partition, offset, at } = self;
        let at = *at as f64 / 1e9;
        write!(
            f,
            "{partition}@{offset}: {id} was acknowledged at {at:.3} s and is not on stable storage"
        )
    }
}

/// What all clients of a run share.
pub struct Work {
    /// The world they are in.
    pub world: World,
    /// What they are to do.
    pub scenario: Arc<Scenario>,
    /// What they write down.
    pub recorder: Recorder,
    /// `host:port` of the brokers.
    pub brokers: Vec<String>,
    /// How many records are not sent yet, by client.
    shares: Vec<AtomicU32>,
    /// How many records may be sent yet by all together.
    left: AtomicU32,
    is_closing: AtomicBool,
    /// What may be missing, by topic.
    rules: BTreeMap<String, Rules>,
    /// The brokers' disks, for a look at what an acknowledgement stands for.
    disks: Vec<SimDisk>,
    not_durable: Mutex<Vec<NotDurable>>,
    /// Whether a client has done its work, by client.
    finished: Vec<AtomicBool>,
    roles: Vec<Role>,
    /// What the plan's faults explain.
    weather: Weather,
    /// The topics that come and go.
    lives: Lives,
    groups: Groups,
}

impl Work {
    /// The clients that `scenario` asks for.
    pub fn new(
        world: &World,
        scenario: Arc<Scenario>,
        brokers: Vec<String>,
        disks: Vec<SimDisk>,
    ) -> Work {
        let roles = roles(&scenario);
        let producers = roles.iter().filter(|role| matches!(role, Role::Produce(_))).count();
        let records = scenario.workload.records;
        let share = |role: &Role| match role {
            Role::Produce(_) => AtomicU32::new(records.div_ceil(producers.max(1) as u32)),
            Role::Wild => AtomicU32::new(scenario.workload.wild),
            Role::Read(_) | Role::Member(_) | Role::Administer => AtomicU32::new(0),
        };
        let shares: Vec<AtomicU32> = roles.iter().map(share).collect();
        for silent in &scenario.workload.silent_clients {
            if let Some(share) = shares.get(*silent as usize - 1) {
                share.store(0, Ordering::Relaxed);
            }
        }
        let left = AtomicU32::new(scenario.workload.stop_after.unwrap_or(u32::MAX));
        let finished = roles.iter().map(|_| AtomicBool::new(false)).collect();
        let stamps = |topic: &&TopicSpec| {
            let kind = topic.config.get("message.timestamp.type");
            kind.is_some_and(|kind| kind == "LogAppendTime")
        };
        let stamped = scenario.topics.iter().filter(|(_, topic)| stamps(topic));
        let recorder = Recorder::new(world, stamped.map(|(name, _)| name.clone()).collect());
        let topics = scenario.topics.iter();
        let rules: BTreeMap<String, Rules> =
            topics.map(|(name, topic)| (name.clone(), scenario.rules(topic))).collect();
        for (name, rules) in &rules {
            recorder.topic(&Arc::from(name.as_str()), *rules);
        }
        for (name, group) in &scenario.groups {
            recorder.group(name, scenario.group_rules(group));
        }
        let weather = Weather::of(&draw(&scenario, world.seed(), roles.len() as u32));
        Work {
            world: world.clone(),
            scenario,
            recorder,
            brokers,
            shares,
            left,
            is_closing: AtomicBool::new(false),
            rules,
            finished,
            roles,
            disks,
            not_durable: Mutex::default(),
            weather,
            lives: Lives::default(),
            groups: Groups::default(),
        }
    }

    /// The clients' roles, by client, counted from 0.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The partitions whose records a disk has damaged, and since when.
    pub fn damaged(&self) -> BTreeMap<Partition, Nanos> {
        let logs: BTreeMap<String, Nanos> = self.disks.iter().flat_map(damaged_logs).collect();
        if logs.is_empty() {
            return BTreeMap::new();
        }
        let at = |partition: &Partition| logs.get(&partition.to_string()).copied();
        self.partitions().into_iter().filter_map(|it| at(&it).map(|at| (it, at))).collect()
    }

    /// The partitions whose records nothing has damaged.
    pub fn whole_partitions(&self) -> Vec<Partition> {
        let damaged = self.damaged();
        self.partitions().into_iter().filter(|at| !damaged.contains_key(at)).collect()
    }

    /// Whether nothing is sent any more.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// No producer takes more records from its share.
    pub fn stop_sending(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        for share in &self.shares {
            share.store(0, Ordering::Relaxed);
        }
    }

    /// What may be missing in `topic`; nothing in one that is not of the scenario.
    pub fn rules(&self, topic: &str) -> Rules {
        self.rules.get(topic).copied().unwrap_or_default()
    }

    /// Whether nothing but a client's wish deletes the last record of a key from `partition`.
    pub fn is_lasting(&self, partition: &Partition) -> bool {
        self.is_kept(&partition.topic)
    }

    /// The same, of a topic.
    fn is_kept(&self, topic: &str) -> bool {
        self.is_retained(topic) && self.scenario.workload.trims == 0
    }

    /// Whether no record of a topic comes of age.
    fn is_retained(&self, topic: &str) -> bool {
        let Some(rules) = self.rules.get(topic) else { return false };
        let is_long = rules.retention_ms.is_none_or(|millis| LONG_MILLIS <= millis);
        is_long && rules.retention_bytes.is_none()
    }

    /// Whether client number `client`, from 0, does nothing in this run.
    pub fn is_silent(&self, client: usize) -> bool {
        self.scenario.workload.silent_clients.contains(&(client as u32 + 1))
    }

    /// Whether every producer has sent its share.
    pub fn is_sent(&self) -> bool {
        let producers = self.roles.iter().zip(&self.shares);
        let mut producers = producers.filter(|(role, _)| matches!(role, Role::Produce(_)));
        producers.all(|(_, share)| share.load(Ordering::Relaxed) == 0)
    }

    /// Whether client number `client`, from 0, has done its work.
    pub fn is_finished(&self, client: usize) -> bool {
        self.finished[client].load(Ordering::Relaxed)
    }

    /// A record was just acknowledged: looks whether it is on stable storage now. One in
    /// [`LOOK_ONE_IN`] is looked at, where nothing deletes records.
    fn on_ack(&self, id: RecordId, partition: &Partition, offset: i64) {
        let rules = self.rules(&partition.topic);
        let may_be_gone =
            rules.is_compacted || rules.is_lost_with_power || !self.is_retained(&partition.topic);
        if !id.sequence.is_multiple_of(LOOK_ONE_IN) || may_be_gone {
            return;
        }
        if self.damaged().contains_key(partition) || self.is_trimmed(partition, offset) {
            return;
        }
        if !self.disks.iter().any(|disk| is_durable(disk, partition, offset)) {
            let found =
                NotDurable { id, partition: partition.clone(), offset, at: self.world.now() };
            self.not_durable.lock().unwrap_or_else(PoisonError::into_inner).push(found);
        }
    }

    /// Whether a client has asked for the record to be deleted.
    fn is_trimmed(&self, trimmed: &Partition, offset: i64) -> bool {
        let asked = |what: &What| {
            matches!(what, What::Trim { partition, before }
                if partition == trimmed && offset < *before)
        };
        0 < self.scenario.workload.trims
            && self.recorder.lock().events.iter().any(|event| asked(&event.what))
    }

    /// Acknowledged records that were not on stable storage at that moment.
    pub fn not_durable(&self) -> Vec<NotDurable> {
        self.not_durable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks which topics there are, until it is told, and looks whether one came back.
    pub async fn look_at_topics(&self, client: &Client) {
        let (admin, known) = (Admin::new(client), self.lives.known());
        loop {
            if let Ok(listed) = admin.list_topics().await {
                return self.lives.look(&known, &listed, self.world.now());
            }
            self.world.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Topics that are not as they were said to be.
    pub fn topic_findings(&self) -> Vec<Finding> {
        self.lives.findings()
    }

    /// Takes up to `most` records from a client's share.
    fn take(&self, client: usize, most: u32) -> u32 {
        let share = &self.shares[client];
        let taken = share.load(Ordering::Relaxed).min(most).min(self.left.load(Ordering::Relaxed));
        share.fetch_sub(taken, Ordering::Relaxed);
        self.left.fetch_sub(taken, Ordering::Relaxed);
        if self.left.load(Ordering::Relaxed) == 0 {
            self.stop_sending();
        }
        taken
    }

    /// What is left of a client's share.
    fn left(&self, client: usize) -> u32 {
        self.shares[client].load(Ordering::Relaxed)
    }

    /// Runs client number `client` on `node` until its work is done. A client that is started again
    /// after a crash goes on with what is left.
    pub async fn run_client(self: Arc<Work>, runtime: Runtime, node: NodeId, client: usize) {
        self.finished[client].store(false, Ordering::Relaxed);
        let seat = Seat::new(Arc::clone(&self), runtime, node, client);
        let is_silent = self.is_silent(client);
        match self.roles[client] {
            _ if is_silent => {}
            Role::Produce(promise) => produce::run(seat, promise).await,
            Role::Read(reader) => read::run(seat, reader).await,
            Role::Member(place) => member::run(seat, place).await,
            Role::Administer => admin::run(seat).await,
            Role::Wild => wild::run(seat).await,
        }
        self.finished[client].store(true, Ordering::Relaxed);
    }

    /// All partitions of the scenario's topics.
    pub fn partitions(&self) -> Vec<Partition> {
        let topics = self.scenario.topics.keys();
        topics.flat_map(|name| self.partitions_of_topic(name)).collect()
    }

    /// All partitions of the topics of `group`.
    pub fn partitions_of(&self, group: &GroupSpec) -> Vec<Partition> {
        let topics = self.scenario.topics_of(group);
        topics.iter().flat_map(|name| self.partitions_of_topic(name)).collect()
    }

    fn partitions_of_topic(&self, name: &str) -> impl Iterator<Item = Partition> + use<> {
        let topic: Arc<str> = Arc::from(name);
        (0..self.partition_count(name))
            .map(move |index| Partition { topic: Arc::clone(&topic), index })
    }
}

/// How many clients `scenario` has.
pub fn client_count(scenario: &Scenario) -> u32 {
    roles(scenario).len() as u32
}

fn roles(scenario: &Scenario) -> Vec<Role> {
    let work = &scenario.workload;
    let promises = [
        (Promise::Idempotent, work.idempotent),
        (Promise::AtLeastOnce, work.at_least_once),
        (Promise::AtMostOnce, work.at_most_once),
    ];
    let mut roles: Vec<Role> = promises
        .iter()
        .flat_map(|(promise, count)| (0..*count).map(|_| Role::Produce(*promise)))
        .collect();
    roles.extend((0..work.readers).map(Role::Read));
    let of_group = |group: &GroupSpec| group.resets + group.offset_deletions + group.hangs;
    let resets: u32 = scenario.groups.values().map(of_group).sum();
    if work.trims + work.short_lived_topics + work.admin_requests + resets > 0 {
        roles.push(Role::Administer);
    }
    roles.extend(groups::places(scenario).map(Role::Member));
    // The last one, so that the others stay who they are without it.
    if work.wild > 0 {
        roles.push(Role::Wild);
    }
    roles
}

/// One client at work: one session, from its start to its end or crash.
struct Seat {
    work: Arc<Work>,
    runtime: Runtime,
    node: NodeId,
    client: usize,
    dice: Dice,
}

impl Seat {
    /// The same client at something else besides, with dice of its own.
    fn beside(&self, stream: &str, number: u64) -> Seat {
        let dice = Dice(self.runtime.random.stream(stream, number));
        let (work, runtime) = (Arc::clone(&self.work), self.runtime.clone());
        Seat { work, runtime, node: self.node, client: self.client, dice }
    }

    fn new(work: Arc<Work>, runtime: Runtime, node: NodeId, client: usize) -> Seat {
        let dice = Dice(runtime.random.stream("workload", client as u64));
        Seat { work, runtime, node, client, dice }
    }

    /// A client of the cluster; impatient, as a simulated minute must hold many of its time limits.
    fn client(&self) -> Client {
        Client::new(&self.runtime, self.client_config())
    }

    /// A client that sends no request of an administrator a second time.
    fn client_of_one_attempt(&self) -> Client {
        let config = ClientConfig { api_timeout: Duration::ZERO, ..self.client_config() };
        Client::new(&self.runtime, config)
    }

    fn client_config(&self) -> ClientConfig {
        ClientConfig {
            bootstrap_servers: self.work.brokers.clone(),
            client_id: format!("client-{}", self.client + 1),
            instance: self.client as u64,
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: Duration::from_secs(1),
            api_timeout: Duration::from_secs(5),
            metadata_max_age: self.metadata_age_max(),
            reconnect_backoff: Backoff {
                initial: Duration::from_millis(20),
                max: Duration::from_millis(500),
            },
            retry_backoff: Backoff {
                initial: Duration::from_millis(20),
                max: Duration::from_millis(500),
            },
            ..ClientConfig::default()
        }
    }

    fn metadata_age_max(&self) -> Duration {
        match self.work.scenario.groups.is_empty() {
            true => ClientConfig::default().metadata_max_age,
            false => METADATA_AGE_MAX,
        }
    }

    async fn sleep(&self, duration: Duration) {
        runtime::sleep(&*self.runtime.clock, duration).await;
    }
}

fn topic_partition(partition: &Partition) -> TopicPartition {
    TopicPartition::new(StrBytes::from(&*partition.topic), partition.index)
}

/// Partitions by their names on the wire.
fn by_wire_name(partitions: &[Partition]) -> BTreeMap<TopicPartition, Partition> {
    partitions.iter().map(|partition| (topic_partition(partition), partition.clone())).collect()
}

/// The error with its causes.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
