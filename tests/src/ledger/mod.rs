//! The ledger of a crash test: what clients of a real broker sent, were told and read, written down
//! as a [`History`], so that the checks that judge simulated runs judge real ones too.
//!
//! [`own`] are klamm's own clients, [`foreign`] are writers that nobody here wrote, [`damage`] shows
//! that what is written down can fail.
//!
//! Invariants:
//! - events stand in the order in which they came to this process, and so do their times
//! - what is told is written down by whoever was told; nobody here looks into the broker
//!
//! Start at [`Ledger`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use history::{
    Event, History, Outcome, Partition, Producer, Promise, RecordId, Rules, Seen, Stored, What,
};

pub mod damage;
pub mod foreign;
pub mod own;

/// Longest filling of a value, as [`history::value_of`] takes it; the foreign writers know it too.
pub const FILLING_MAX: u32 = 1_200;

/// How many violations are printed.
const PRINTED_MAX: usize = 20;

/// A history while it is written, of one topic from which nothing is deleted but by DeleteRecords.
#[derive(Debug)]
pub struct Ledger {
    topic: Arc<str>,
    partitions: i32,
    begun: Instant,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    history: History,
    /// How many acknowledgements with an offset each producer got: those that a broker sent.
    acknowledged: Vec<u64>,
    /// How many records each reader got.
    read: Vec<u64>,
}

impl Ledger {
    /// An empty one.
    pub fn new(topic: &str, partitions: i32) -> Ledger {
        let topic: Arc<str> = Arc::from(topic);
        let mut book = Book::default();
        book.history.topics.insert(Arc::clone(&topic), Rules::default());
        Ledger { topic, partitions, begun: Instant::now(), book: Mutex::new(book) }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The topic's partitions, in order.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        (0..self.partitions).map(|index| self.partition(index))
    }

    /// One of them.
    pub fn partition(&self, index: i32) -> Partition {
        Partition { topic: Arc::clone(&self.topic), index }
    }

    /// A new producer; gives its number. `is_ordered`: it has one request in flight at a time, and
    /// repeats it until it is answered.
    pub fn producer(&self, promise: Promise, is_ordered: bool) -> u32 {
        let mut book = self.book();
        book.history.producers.push(Producer { promise, is_ordered });
        book.acknowledged.push(0);
        (book.acknowledged.len() - 1) as u32
    }

    /// A new reader; gives its number.
    pub fn reader(&self) -> u32 {
        let mut book = self.book();
        book.read.push(0);
        (book.read.len() - 1) as u32
    }

    /// Nanoseconds since the ledger was begun.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// A record is given to its producer now.
    pub fn send(&self, id: RecordId, partition: i32) {
        self.note(What::Send { id, partition: self.partition(partition), key: None });
    }

    /// The broker has a record; at this offset, if it said so.
    pub fn acknowledged(&self, id: RecordId, offset: Option<i64>) {
        self.note(What::Sent { id, outcome: Outcome::Acknowledged { offset } });
    }

    /// A producer gave a record up. One that retries for minutes has no reason to: the broker is
    /// away for seconds.
    pub fn given_up(&self, id: RecordId, error: &str) {
        if self.retries(id.producer) {
            let request = format!("Produce of {id}");
            self.note(What::UnfitError { request, error: error.to_owned() });
        }
        self.note(What::Sent { id, outcome: Outcome::Unknown { error: error.to_owned() } });
    }

    /// Anything that happened now.
    pub fn note(&self, what: What) {
        let mut book = self.book();
        match &what {
            What::Sent { id, outcome: Outcome::Acknowledged { offset: Some(_) } } => {
                if let Some(count) = book.acknowledged.get_mut(id.producer as usize) {
                    *count += 1;
                }
            }
            What::Poll { reader, records, .. } => {
                if let Some(count) = book.read.get_mut(*reader as usize) {
                    *count += records.len() as u64;
                }
            }
            _ => {}
        }
        // Under the lock, so that the order is that of the times.
        let at = self.now();
        book.history.events.push(Event { at, what });
    }

    /// What a partition held at the end.
    pub fn stored(&self, partition: Partition, stored: Stored) {
        self.book().history.stored.insert(partition, stored);
    }

    /// A number for each client that a broker has to answer, that grows with each answer.
    pub fn progress(&self) -> Vec<u64> {
        let book = self.book();
        let producers = book.history.producers.iter().zip(&book.acknowledged);
        let answered = producers.filter(|(producer, _)| producer.promise != Promise::AtMostOnce);
        answered.map(|(_, count)| *count).chain(book.read.iter().copied()).collect()
    }

    /// The history so far.
    pub fn history(&self) -> History {
        self.book().history.clone()
    }

    /// Whether a producer goes on until the broker has its records.
    fn retries(&self, producer: u32) -> bool {
        let book = self.book();
        let producer = book.history.producers.get(producer as usize);
        producer.is_some_and(|producer| producer.promise != Promise::AtMostOnce)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs all checks and gives the figures, for people.
///
/// # Errors
/// There are violations; the first of them, in words.
pub fn judge(history: &History) -> Result<String> {
    let verdict = history.check();
    let few: Vec<String> =
        verdict.violations.iter().take(PRINTED_MAX).map(ToString::to_string).collect();
    if !few.is_empty() {
        bail!("{} violations, the first of them:\n{}", verdict.violations.len(), few.join("\n"));
    }
    let figures = verdict.figures;
    ensure!(figures.read > 0, "no reader read anything: {figures:?}");
    let time = |event: Option<&Event>| event.map_or(0, |event| event.at);
    let took = time(history.events.last()) - time(history.events.first());
    let took = Duration::from_nanos(took);
    let mut words = vec![format!("{figures:?}, excused {:?}, in {took:.1?}", verdict.excused)];
    for (promise, [sent, acknowledged]) in by_promise(history)? {
        ensure!(acknowledged > 0, "{promise} and nothing was acknowledged");
        words.push(format!("{promise}: {sent} sent, {acknowledged} acknowledged"));
    }
    Ok(words.join("\n"))
}

/// Records sent and acknowledged, by what their producers promise.
fn by_promise(history: &History) -> Result<BTreeMap<String, [u64; 2]>> {
    let mut counts: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for event in &history.events {
        let (id, place) = match &event.what {
            What::Send { id, .. } => (id, 0),
            What::Sent { id, outcome: Outcome::Acknowledged { .. } } => (id, 1),
            _ => continue,
        };
        let producer = history.producers.get(id.producer as usize).context("a producer")?;
        counts.entry(format!("{:?}", producer.promise)).or_default()[place] += 1;
    }
    Ok(counts)
}

/// Writes a history down, a line for each event, then what was stored.
///
/// # Errors
/// The file can not be written.
pub fn write(history: &History, path: &Path) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for event in &history.events {
        writeln!(file, "{:>14} {:?}", event.at, event.what)?;
    }
    for (partition, stored) in &history.stored {
        writeln!(file, "{partition} {}..{}", stored.log_start, stored.end)?;
        for Seen { offset, content } in &stored.records {
            writeln!(file, "{partition}@{offset} {content:?}")?;
        }
    }
    Ok(file.flush()?)
}
