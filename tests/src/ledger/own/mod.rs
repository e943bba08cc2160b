//! klamm's own clients against a real broker: producers of each promise, readers, and an observer
//! that asks for the bounds and deletes records. All that they see goes into a [`Ledger`].
//!
//! They know nothing of the kills: a client that is told of an error goes on, as a user's does.
//!
//! Start at [`Clients::start`].

mod produce;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use client::admin::NewTopic;
use client::backoff::Backoff;
use client::{Admin, Client, ClientConfig, IsolationLevel, OffsetSpec, TopicPartition};
use history::{Partition, Promise, Stored};
use protocol::StrBytes;
use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use runtime::Runtime;

use super::Ledger;

/// Longest time that a broker which is up may take for what it is asked once.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Which clients there are.
#[derive(Clone, Debug)]
pub struct Crew {
    /// The producers.
    pub producers: Vec<Promise>,
    /// How many readers.
    pub readers: u32,
    /// Whether records of partition 0 are deleted now and then. Apache Kafka forgets after a kill
    /// where it told that a log begins.
    pub deletes: bool,
}

/// The clients, on threads of their own.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    main: Option<JoinHandle<Result<()>>>,
}

impl Clients {
    /// Starts them against the broker at `address`; `seed` is of what they draw.
    pub fn start(ledger: &Arc<Ledger>, address: &str, seed: u64, crew: &Crew) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let mut work: Vec<Work> = vec![Work::Observe { deletes: crew.deletes }];
        work.extend(crew.producers.iter().map(|promise| {
            let producer = ledger.producer(*promise, false);
            Work::Produce { producer, promise: *promise }
        }));
        work.extend((0..crew.readers).map(|_| Work::Read { reader: ledger.reader() }));
        let (ledger, address) = (Arc::clone(ledger), address.to_owned());
        let stopped = Arc::clone(&stop);
        let main = thread::spawn(move || {
            runtime_tokio::run(async |runtime| {
                let seats = work.into_iter().zip(0..).map(|(work, instance)| {
                    let random = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(instance));
                    let client = Client::new(&runtime, config(&address, instance));
                    let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stopped));
                    (work, Seat { client, ledger, stop, random })
                });
                run(&runtime, seats).await
            })?
        });
        Clients { stop, main: Some(main) }
    }

    /// Lets them finish what they have begun.
    ///
    /// # Errors
    /// One of them panicked.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let main = self.main.take().context("it is stopped once")?;
        main.join().map_err(|_| anyhow!("the clients panicked"))?
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What a client is there for.
#[derive(Clone, Copy, Debug)]
enum Work {
    Produce { producer: u32, promise: Promise },
    Read { reader: u32 },
    Observe { deletes: bool },
}

async fn run(runtime: &Runtime, seats: impl Iterator<Item = (Work, Seat)>) -> Result<()> {
    let tasks: Vec<_> = seats
        .map(|(work, seat)| {
            runtime::spawn(runtime, "client of the ledger", async move {
                match work {
                    Work::Produce { producer, promise } => {
                        produce::run(seat, producer, promise).await;
                    }
                    Work::Read { reader } => read::run(seat, reader).await,
                    Work::Observe { deletes } => read::observe(seat, deletes).await,
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().await?;
    }
    Ok(())
}

/// One client at work.
struct Seat {
    client: Client,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    random: Xoshiro256PlusPlus,
}

impl Seat {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A number below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    async fn sleep(&self, duration: Duration) {
        runtime::sleep(&*self.client.runtime().clock, duration).await;
    }
}

/// A client that notices soon that the broker is back.
fn config(address: &str, instance: u64) -> ClientConfig {
    let soon = Backoff { initial: Duration::from_millis(20), max: Duration::from_millis(100) };
    ClientConfig {
        bootstrap_servers: vec![address.to_owned()],
        client_id: format!("ledger-{instance}"),
        instance,
        request_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        api_timeout: Duration::from_secs(5),
        reconnect_backoff: soon,
        retry_backoff: soon,
        ..ClientConfig::default()
    }
}

/// Creates the ledger's topic, and waits until each of its partitions answers: Apache Kafka's
/// brokers hear of a new topic a moment after its creation is answered.
///
/// # Errors
/// The broker refuses, or it takes too long.
pub fn create_topic(ledger: &Ledger, address: &str, settings: &[(&str, &str)]) -> Result<()> {
    let name = StrBytes::from(ledger.topic());
    let new = NewTopic {
        partitions: Some(i32::try_from(ledger.partitions().count())?),
        configs: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..NewTopic::default()
    };
    once(address, async |client| {
        let topics = BTreeMap::from([(name, new)]);
        let created = Admin::new(client).create_topics(&topics, false).await;
        created.into_values().next().context("an answer")??;
        all_bounds(client, ledger, OffsetSpec::Latest).await;
        Ok(())
    })
}

/// Reads the whole topic.
///
/// # Errors
/// The broker does not let all of it be read, or it takes too long.
pub fn read_all(ledger: &Ledger, address: &str) -> Result<BTreeMap<Partition, Stored>> {
    once(address, async |client| read::read_all(client, ledger).await)
}

/// Does one thing with a client of its own, within [`ANSWER_LIMIT`].
fn once<T>(address: &str, body: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
    runtime_tokio::run(async |runtime| {
        let client = Client::connect(&runtime, config(address, 0)).await?;
        let done = runtime::timeout(&*runtime.clock, ANSWER_LIMIT, body(&client)).await;
        done.map_err(|_| anyhow!("not within {ANSWER_LIMIT:?}"))?
    })?
}

/// A bound of each partition, once all are known.
async fn all_bounds(
    client: &Client,
    ledger: &Ledger,
    spec: OffsetSpec,
) -> BTreeMap<TopicPartition, i64> {
    loop {
        let found = bounds(client, ledger, spec).await;
        if found.len() == ledger.partitions().count() {
            return found;
        }
        runtime::sleep(&*client.runtime().clock, Duration::from_millis(20)).await;
    }
}

/// A bound of each partition that has an answer.
async fn bounds(
    client: &Client,
    ledger: &Ledger,
    spec: OffsetSpec,
) -> BTreeMap<TopicPartition, i64> {
    let specs = ledger.partitions().map(|partition| (on_wire(&partition), spec)).collect();
    let listed = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    let known = listed.into_iter().filter_map(|(at, found)| Some((at, found.ok()?.offset?.0)));
    known.collect()
}

/// The partition's name on the wire.
fn on_wire(partition: &Partition) -> TopicPartition {
    TopicPartition::new(StrBytes::from(&*partition.topic), partition.index)
}
