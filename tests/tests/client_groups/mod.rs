//! Groups of this project's own client: members that come, go and die, in both protocols.

mod life;
mod mixed;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use client::consumer::OffsetReset;
use client::group::{Assignor, Change, MemberState, Offsets};
use client::{
    Admin, Client, ClientConfig, ConsumerConfig, GroupConfig, GroupConsumer, GroupProtocol, Polled,
    ProducerConfig, Subscription, TopicPartition, TopicSet,
};
use model::{Instant, Offset};
use protocol::StrBytes;
use tests::suite::{Case, Lab};

use super::{create, on_client, produce};

const PARTITIONS: i32 = 6;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(90);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for protocol in PROTOCOLS {
        let name = |case: &str| format!("client::group::{}::{case}", protocol.name);
        cases.push(Case::new(name("members_come_and_go"), move |lab| {
            on_client(lab, async |lab, c| come_and_go(lab, c, protocol).await)
        }));
        cases.push(Case::new(name("a_killed_member_is_replaced"), move |lab| {
            on_client(lab, async |lab, c| killed(lab, c, protocol).await)
        }));
        cases.push(Case::new(name("new_partitions_are_read"), move |lab| {
            on_client(lab, async |lab, c| new_partitions(lab, c, protocol).await)
        }));
        cases.push(Case::new(name("a_lazy_member_is_out_and_comes_back"), move |lab| {
            on_client(lab, async |lab, c| lazy(lab, c, protocol).await)
        }));
    }
    cases.extend(life::cases());
    cases.extend(mixed::cases());
    cases
}

/// A protocol with one way to assign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flavour {
    name: &'static str,
    protocol: GroupProtocol,
    assignor: Assignor,
}

const PROTOCOLS: [Flavour; 4] = [
    Flavour { name: "range", protocol: GroupProtocol::Classic, assignor: Assignor::Range },
    Flavour { name: "sticky", protocol: GroupProtocol::Classic, assignor: Assignor::Sticky },
    Flavour {
        name: "cooperative",
        protocol: GroupProtocol::Classic,
        assignor: Assignor::CooperativeSticky,
    },
    Flavour { name: "consumer", protocol: GroupProtocol::Consumer, assignor: Assignor::Range },
];

/// The settings of a member that notices everything soon.
fn config(flavour: Flavour, group: &str) -> GroupConfig {
    GroupConfig {
        protocol: flavour.protocol,
        assignors: vec![flavour.assignor],
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(300),
        auto_commit: Some(Duration::from_millis(200)),
        consumer: ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            ..ConsumerConfig::default()
        },
        ..GroupConfig::new(group)
    }
}

/// A member and what it has.
struct Reader {
    name: &'static str,
    consumer: GroupConsumer,
    has: BTreeSet<TopicPartition>,
    log: Vec<String>,
    /// How often it lost what it had.
    lost: u32,
}

/// Members of one group and what they read together.
struct Group {
    topic: StrBytes,
    readers: Vec<Reader>,
    seen: BTreeMap<(i32, i64), u32>,
    deadline: Instant,
    client: Client,
}

impl Group {
    fn new(client: &Client, topic: &StrBytes) -> Group {
        let deadline = client.runtime().clock.now() + LIMIT;
        let (topic, client) = (topic.clone(), client.clone());
        Group { topic, readers: Vec::new(), seen: BTreeMap::new(), deadline, client }
    }

    async fn join(&mut self, name: &'static str, config: GroupConfig) -> Result<()> {
        let mut consumer = GroupConsumer::new(&self.client, config);
        consumer.subscribe(Subscription::topics([self.topic.clone()])).await?;
        self.readers.push(Reader {
            name,
            consumer,
            has: BTreeSet::new(),
            log: Vec::new(),
            lost: 0,
        });
        Ok(())
    }

    fn reader(&self, name: &str) -> &Reader {
        self.readers.iter().find(|reader| reader.name == name).expect("it joined")
    }

    fn take(&mut self, name: &str) -> Reader {
        let place = self.readers.iter().position(|reader| reader.name == name);
        self.readers.remove(place.expect("it joined"))
    }

    /// Everyone polls in turn until `done`.
    async fn until(&mut self, what: &str, mut done: impl FnMut(&Group) -> bool) -> Result<()> {
        self.deadline = self.client.runtime().clock.now() + LIMIT;
        loop {
            self.turn().await?;
            if done(self) {
                return Ok(());
            }
            let late = self.client.runtime().clock.now() > self.deadline;
            ensure!(!late, "{what}: not within {LIMIT:?}\n{}", self.story());
        }
    }

    /// Everyone polls once.
    async fn turn(&mut self) -> Result<()> {
        for at in 0..self.readers.len() {
            self.poll(at).await?;
        }
        Ok(())
    }

    /// What happened to everyone.
    fn story(&self) -> String {
        let told = |r: &Reader| format!("{}: {:?} {:#?}", r.name, r.log, r.consumer);
        let mut lines: Vec<_> = self.readers.iter().map(told).collect();
        let mut read = BTreeMap::<i32, usize>::new();
        for (partition, _) in self.seen.keys() {
            *read.entry(*partition).or_default() += 1;
        }
        lines.push(format!("records read of each partition: {read:?}"));
        lines.join("\n")
    }

    async fn poll(&mut self, at: usize) -> Result<()> {
        let polled = self.readers[at].consumer.poll(Duration::from_millis(20)).await;
        let polled = polled.with_context(|| format!("{} polls", self.readers[at].name))?;
        let names = |change: &Change| {
            let list: Vec<_> =
                change.partitions.iter().map(|at| at.partition.to_string()).collect();
            format!("{}@{}", list.join(","), change.epoch)
        };
        match polled {
            Polled::Nothing => {}
            Polled::Records(records) => {
                for record in records {
                    let reader = &self.readers[at];
                    ensure!(reader.has.contains(&record.at), "{} read {}", reader.name, record.at);
                    *self.seen.entry((record.at.partition.0, record.offset.0)).or_default() += 1;
                }
            }
            Polled::Assigned(change) => {
                self.readers[at].log.push(format!("+{}", names(&change)));
                for partition in change.partitions {
                    for other in &self.readers {
                        ensure!(!other.has.contains(&partition), "{partition} has two readers");
                    }
                    self.readers[at].has.insert(partition);
                }
            }
            Polled::Revoked(change) => {
                self.readers[at].log.push(format!("-{}", names(&change)));
                self.readers[at].has.retain(|p| !change.partitions.contains(p));
            }
            Polled::Lost(change) => {
                self.readers[at].log.push(format!("lost {}", names(&change)));
                self.readers[at].has.retain(|p| !change.partitions.contains(p));
                self.readers[at].lost += 1;
            }
        }
        Ok(())
    }

    /// Whether the readers have all partitions, nearly as many each.
    fn is_shared(&self, partitions: i32) -> bool {
        let shares: Vec<usize> = self.readers.iter().map(|reader| reader.has.len()).collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        self.is_settled()
            && shares.iter().sum::<usize>() == partitions as usize
            && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
    }

    fn is_settled(&self) -> bool {
        let state = |reader: &Reader| reader.consumer.membership().state;
        self.readers.iter().all(|reader| state(reader) == MemberState::Stable)
    }

    /// Everyone polls until what was read is committed.
    async fn until_committed(&mut self, records: i64) -> Result<()> {
        let admin = Admin::new(&self.client);
        let name = self.topic.clone();
        let deadline = self.client.runtime().clock.now() + LIMIT;
        loop {
            self.turn().await?;
            let offsets = admin.list_group_offsets(&name, None, false).await?;
            let sum: i64 = offsets.values().map(|committed| committed.offset.0).sum();
            if sum == records {
                return Ok(());
            }
            let late = self.client.runtime().clock.now() > deadline;
            ensure!(!late, "{sum} of {records} are committed\n{}", self.story());
        }
    }

    fn twice(&self) -> usize {
        self.seen.values().filter(|count| **count > 1).count()
    }

    fn read(&self, count: i64) -> bool {
        self.seen.len() as i64 == count
    }
}

/// A topic with records, and members one after the other; one leaves, and nothing is read twice.
async fn come_and_go(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("group-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, PARTITIONS).await?;
    produce(&client, ProducerConfig::default(), &topic, 1_000).await?;
    let mut group = Group::new(&client, &topic);
    group.join("a", config(flavour, &name)).await?;
    group.until("one reads all", |g| g.is_shared(PARTITIONS) && g.read(1_000)).await?;
    group.join("b", config(flavour, &name)).await?;
    group.join("c", config(flavour, &name)).await?;
    group.until("three share", |g| g.readers.len() == 3 && g.is_shared(PARTITIONS)).await?;
    produce(&client, ProducerConfig::default(), &topic, 1_000).await?;
    group.until("three read", |g| g.read(2_000)).await?;
    let leaving = group.take("b");
    leaving.consumer.close(Duration::from_secs(10)).await?;
    group.until("two share", |g| g.is_shared(PARTITIONS)).await?;
    produce(&client, ProducerConfig::default(), &topic, 1_000).await?;
    group.until("two read", |g| g.read(3_000)).await?;
    ensure!(group.twice() == 0, "{} records were read twice", group.twice());
    if flavour.assignor == Assignor::CooperativeSticky {
        let kept = group.reader("a").log.iter().filter(|line| line.starts_with('-')).count();
        ensure!(kept == 1, "a gave up more than once: {:?}", group.reader("a").log);
    }
    for at in ["a", "c"] {
        group.take(at).consumer.close(Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// The records that a dead member has read and not committed are read again: none, here.
async fn killed(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("group-kill-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, PARTITIONS).await?;
    let mut group = Group::new(&client, &topic);
    for reader in ["a", "b"] {
        group.join(reader, config(flavour, &name)).await?;
    }
    group.until("two share", |g| g.is_shared(PARTITIONS)).await?;
    produce(&client, ProducerConfig::default(), &topic, 300).await?;
    group.until("two read", |g| g.read(300)).await?;
    group.until_committed(300).await?;
    drop(group.take("b"));
    group.until("one takes over", |g| g.is_shared(PARTITIONS)).await?;
    produce(&client, ProducerConfig::default(), &topic, 300).await?;
    group.until("one reads", |g| g.read(600)).await?;
    group.until_committed(600).await?;
    ensure!(group.twice() == 0, "{} records were read twice", group.twice());
    Ok(())
}

async fn new_partitions(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("group-grow-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, 2).await?;
    // A client that looks at the topics often.
    let settings =
        ClientConfig { metadata_max_age: Duration::from_secs(1), ..client.config().clone() };
    let client = Client::connect(client.runtime(), settings).await?;
    let mut group = Group::new(&client, &topic);
    for reader in ["a", "b"] {
        group.join(reader, config(flavour, &name)).await?;
    }
    group.until("two share", |g| g.is_shared(2)).await?;
    let counts = BTreeMap::from([(topic.clone(), 4)]);
    for grown in Admin::new(&client).create_partitions(&counts, false).await.into_values() {
        grown?;
    }
    group.until("the new ones are shared", |g| g.is_shared(4)).await?;
    client.refresh(TopicSet::Named(vec![topic.clone()]), false).await?;
    produce(&client, ProducerConfig::default(), &topic, 200).await?;
    group.until("the new ones are read", |g| g.read(200)).await?;
    let partitions: BTreeSet<i32> = group.seen.keys().map(|(partition, _)| *partition).collect();
    ensure!(partitions == (0..4).collect(), "{partitions:?}");
    Ok(())
}

/// A member that does not poll loses its partitions, hears of it, and comes back.
async fn lazy(lab: &Lab, client: Client, flavour: Flavour) -> Result<()> {
    let name = lab.topic(&format!("group-lazy-{}", flavour.name));
    let topic = StrBytes::from(name.as_str());
    create(&client, &topic, PARTITIONS).await?;
    let mut group = Group::new(&client, &topic);
    let lazy = GroupConfig { poll_interval_max: Duration::from_secs(6), ..config(flavour, &name) };
    group.join("a", config(flavour, &name)).await?;
    group.join("lazy", lazy).await?;
    group.until("two share", |g| g.is_shared(PARTITIONS)).await?;
    let mut sleeper = group.take("lazy");
    group.until("the other takes over", |g| g.is_shared(PARTITIONS)).await?;
    let offsets = Offsets::from([(TopicPartition::new(topic.clone(), 0), Offset::ZERO.into())]);
    let refused = sleeper.consumer.commit_offsets(&offsets).await;
    ensure!(refused.is_err(), "a member that is out commits");
    let lost = sleeper.consumer.poll(Duration::from_secs(5)).await?;
    let Polled::Lost(lost) = lost else { bail!("{lost:?}") };
    ensure!(lost.partitions == sleeper.has, "{lost:?}");
    sleeper.has.clear();
    group.readers.push(sleeper);
    group.until("two share again", |g| g.is_shared(PARTITIONS)).await
}
