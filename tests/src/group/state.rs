//! A group under test: its topic, its members, and everything they told.
//!
//! In: what cases do (join, kill, produce), the events of the members. Out: waits that end when
//! the group is where it has to be.
//!
//! Invariants, checked with every event:
//! - no record is read whose offset somebody committed beyond
//! - one offset of a partition has one value
//! - a member's program ends only when it was killed or asked to leave

mod asked;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::member::{Event, Member, Options, to_json};
use super::{Kind, SESSION_TIMEOUT};
use crate::driver::{Driver, Produce};
use crate::record::{BASE_TIME, Record};

/// Longest time for anything that needs no session to run out. Half a dozen virtual machines
/// share the cores.
pub const LIMIT: Duration = Duration::from_secs(45);

/// How often the broker is asked for something that no member tells of.
const ASK: Duration = Duration::from_millis(100);

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Here,
    Leaving,
    Gone,
}

/// One member and what it told.
#[derive(Debug)]
struct Seat {
    member: Member,
    presence: Presence,
    owned: BTreeSet<i32>,
    history: Vec<(Instant, Event)>,
}

/// A group, its topic of the same name, and its members.
pub struct Group<'a> {
    /// Its id, and the name of its topic.
    pub name: String,
    /// The client that creates topics, produces and administers.
    pub driver: &'a mut Driver,
    address: String,
    logs: PathBuf,
    partitions: i32,
    ends: BTreeMap<i32, i64>,
    seats: Vec<Seat>,
    readers: BTreeMap<(i32, i64), Vec<usize>>,
    values: BTreeMap<(i32, i64), String>,
    committed: BTreeMap<i32, i64>,
    sender: Sender<(usize, Instant, Result<Event>)>,
    events: Receiver<(usize, Instant, Result<Event>)>,
}

impl<'a> Group<'a> {
    /// A group without members and a topic of `partitions`, at the broker at `address`; the logs of
    /// its members go below `logs`.
    ///
    /// # Errors
    /// The topic can not be created.
    pub fn new(
        name: &str,
        partitions: i32,
        address: &str,
        logs: &Path,
        driver: &'a mut Driver,
    ) -> Result<Group<'a>> {
        driver.create_topic(name, partitions, &json!({}))?;
        let (sender, events) = channel();
        Ok(Group {
            name: name.to_owned(),
            driver,
            address: address.to_owned(),
            logs: logs.to_owned(),
            partitions,
            ends: (0..partitions).map(|partition| (partition, 0)).collect(),
            seats: vec![],
            readers: BTreeMap::new(),
            values: BTreeMap::new(),
            committed: BTreeMap::new(),
            sender,
            events,
        })
    }

    /// Starts a member; gives its number.
    ///
    /// # Errors
    /// It does not start.
    pub fn join(&mut self, kind: &'static Kind, options: &Options) -> Result<usize> {
        let index = self.seats.len();
        let client_id = format!("member-{index}");
        let options = to_json(kind, options, &self.name, &self.name, &client_id);
        let log = self.logs.join(format!("{}-{index}.log", self.name));
        let sender = self.sender.clone();
        let member = Member::start(kind, &self.address, &options, &log, index, sender)?;
        let (presence, owned, history) = (Presence::Here, BTreeSet::new(), vec![]);
        self.seats.push(Seat { member, presence, owned, history });
        Ok(index)
    }

    /// Starts `count` members of one kind, and waits until the group is settled.
    ///
    /// # Errors
    /// One does not start, or the group does not settle.
    pub fn gather(&mut self, kind: &'static Kind, count: usize, options: &Options) -> Result<()> {
        for _ in 0..count {
            self.join(kind, options)?;
        }
        self.settle().map(drop)
    }

    /// SIGKILL for a member.
    ///
    /// # Errors
    /// The signal can not be sent.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        self.seats[index].presence = Presence::Gone;
        self.seats[index].member.kill()?;
        // What it told before it was killed counts.
        self.wait("the last words of a killed member", LIMIT, |group| {
            group.history(index).any(|event| *event == Event::Ended)
        })?;
        self.seats[index].owned.clear();
        Ok(())
    }

    /// A member leaves in good order; gives the time that took.
    ///
    /// # Errors
    /// It does not leave in time.
    pub fn leave(&mut self, index: usize) -> Result<Duration> {
        self.seats[index].presence = Presence::Leaving;
        self.seats[index].member.ask_to_leave();
        self.wait("a member to leave", LIMIT, |group| {
            group.history(index).any(|event| *event == Event::Left)
        })
    }

    /// All members leave in good order.
    ///
    /// # Errors
    /// One does not leave in time.
    pub fn disperse(&mut self) -> Result<()> {
        for index in self.here() {
            self.leave(index)?;
        }
        Ok(())
    }

    /// The members that are there.
    pub fn here(&self) -> Vec<usize> {
        let here = |index: &usize| self.seats[*index].presence == Presence::Here;
        (0..self.seats.len()).filter(here).collect()
    }

    /// How many members there ever were.
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// Of which kind a member is.
    pub fn kind(&self, index: usize) -> &'static Kind {
        self.seats[index].member.kind
    }

    /// What a member has now.
    pub fn owned(&self, index: usize) -> &BTreeSet<i32> {
        &self.seats[index].owned
    }

    /// Everything a member told, in order.
    pub fn history(&self, index: usize) -> impl Iterator<Item = &Event> {
        self.seats[index].history.iter().map(|(_, event)| event)
    }

    /// How many events a member told so far, to look at the later ones.
    pub fn told(&self, index: usize) -> usize {
        self.seats[index].history.len()
    }

    /// When an event of a member that fits was read first.
    pub fn when(&self, index: usize, fits: impl Fn(&Event) -> bool) -> Option<Instant> {
        self.seats[index].history.iter().find(|(_, event)| fits(event)).map(|(when, _)| *when)
    }

    /// Adds partitions, up to `total`.
    ///
    /// # Errors
    /// The client can not.
    pub fn add_partitions(&mut self, total: i32) -> Result<()> {
        let name = &self.name;
        self.driver.expect(json!({"op": "create_partitions", "topic": name, "total": total}))?;
        self.partitions = total;
        for partition in 0..total {
            self.ends.entry(partition).or_insert(0);
        }
        Ok(())
    }

    /// Writes `count` records more to each partition.
    ///
    /// # Errors
    /// The client can not, or they get other offsets than the next ones.
    pub fn produce(&mut self, count: i64) -> Result<()> {
        for partition in 0..self.partitions {
            let first = self.ends[&partition];
            let record = |offset: i64| Record::new("k", &value(partition, offset), BASE_TIME);
            let records: Vec<Record> = (first..first + count).map(record).collect();
            let how = Produce { partition, ..Produce::to(&self.name) };
            let offsets = self.driver.produce(&how, &records)??;
            ensure!(offsets[0] == Some(first), "written at {offsets:?}, due {first}");
            self.ends.insert(partition, first + count);
        }
        Ok(())
    }

    /// Somebody else wrote: partitions end there now.
    pub fn set_ends(&mut self, ends: BTreeMap<i32, i64>) {
        self.ends = ends;
    }

    /// The end of each partition.
    pub fn ends(&self) -> &BTreeMap<i32, i64> {
        &self.ends
    }

    /// Whether every partition has one owner, and every member its share, give or take one.
    pub fn is_settled(&self) -> bool {
        let here = self.here();
        let all: BTreeSet<i32> =
            here.iter().flat_map(|&index| self.owned(index)).copied().collect();
        let shares: usize = here.iter().map(|&index| self.owned(index).len()).sum();
        let partitions = self.ends.len();
        let share = partitions / here.len().max(1);
        let fair = share..=share + usize::from(!partitions.is_multiple_of(here.len().max(1)));
        let is_fair = here.iter().all(|&index| fair.contains(&self.owned(index).len()));
        is_fair && shares == partitions && all.len() == partitions
    }

    /// Waits until the group is settled; gives the time that took.
    ///
    /// # Errors
    /// It does not within the session timeout and [`LIMIT`].
    pub fn settle(&mut self) -> Result<Duration> {
        self.wait("the group to settle", SESSION_TIMEOUT + LIMIT, Group::is_settled)
    }

    /// Waits until every record that was written is read.
    ///
    /// # Errors
    /// Some are not within the session timeout and [`LIMIT`].
    pub fn wait_read(&mut self) -> Result<Duration> {
        self.wait("all records to be read", SESSION_TIMEOUT + LIMIT, |group| group.unread() == 0)
    }

    /// How many records nobody has read.
    pub fn unread(&self) -> usize {
        let of_partition = |(&partition, &end): (&i32, &i64)| {
            let read = self.readers.range((partition, 0)..(partition, end)).count();
            usize::try_from(end).expect("ends are not negative") - read
        };
        self.ends.iter().map(of_partition).sum()
    }

    /// Who read a record, once for every time.
    pub fn readers(&self, partition: i32, offset: i64) -> &[usize] {
        self.readers.get(&(partition, offset)).map_or(&[], Vec::as_slice)
    }

    /// The values that were read.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.values().map(String::as_str)
    }

    /// Each record of these offsets was read `times`.
    ///
    /// # Errors
    /// One was not, or it has another value than was written.
    pub fn was_read(
        &self,
        partition: i32,
        offsets: std::ops::Range<i64>,
        times: usize,
    ) -> Result<()> {
        for offset in offsets {
            let readers = self.readers(partition, offset);
            ensure!(readers.len() == times, "{partition}/{offset} due {times} times: {readers:?}");
            let read = &self.values[&(partition, offset)];
            ensure!(*read == value(partition, offset), "{partition}/{offset} is {read:?}");
        }
        Ok(())
    }

    /// Every record was read exactly once.
    ///
    /// # Errors
    /// One was not.
    pub fn was_read_once(&self) -> Result<()> {
        self.ends.iter().try_for_each(|(&partition, &end)| self.was_read(partition, 0..end, 1))
    }

    /// Takes in what members tell until the condition holds; gives the time that took.
    ///
    /// # Errors
    /// It does not within `limit`, or an event breaks an invariant.
    pub fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            self.take_in(Duration::ZERO)?;
            if condition(self) {
                return Ok(begun.elapsed());
            }
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() || !self.take_in(left)? {
                bail!("{what}: not within {limit:?}\n{}", self.situation());
            }
        }
    }

    /// As [`Group::wait`], for something that the broker has to be asked for.
    ///
    /// # Errors
    /// It does not come within [`LIMIT`].
    pub fn wait_asking(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let begun = Instant::now();
        while !condition(self)? {
            if begun.elapsed() > LIMIT {
                bail!("{what}: not within {LIMIT:?}\n{}", self.situation());
            }
            self.take_in(ASK)?;
        }
        Ok(())
    }

    /// Takes in what there is, waiting at most `limit` for the first; gives whether there was any.
    ///
    /// # Errors
    /// An event breaks an invariant.
    pub fn take_in(&mut self, limit: Duration) -> Result<bool> {
        let mut waited = limit;
        let mut any = false;
        loop {
            match self.events.recv_timeout(waited) {
                Ok((index, when, event)) => {
                    let event = event?;
                    self.on_event(index, &event).with_context(|| self.situation())?;
                    self.seats[index].history.push((when, event));
                    any = true;
                    waited = Duration::ZERO;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(any),
            }
        }
    }

    /// Takes in what members tell for this long.
    ///
    /// # Errors
    /// An event breaks an invariant.
    pub fn listen(&mut self, duration: Duration) -> Result<()> {
        let begun = Instant::now();
        while let Some(left) = duration.checked_sub(begun.elapsed()) {
            self.take_in(left)?;
        }
        Ok(())
    }

    fn on_event(&mut self, index: usize, event: &Event) -> Result<()> {
        let seat = &mut self.seats[index];
        match event {
            Event::Assigned(partitions) => seat.owned.extend(partitions),
            Event::Revoked(partitions) | Event::Lost(partitions) => {
                seat.owned.retain(|partition| !partitions.contains(partition));
            }
            Event::Read(partition, records) => self.on_read(index, *partition, records)?,
            Event::Committed(offsets) => {
                for &(partition, offset) in offsets {
                    let committed = self.committed.entry(partition).or_insert(0);
                    *committed = offset.max(*committed);
                }
            }
            Event::Left => {
                seat.presence = Presence::Gone;
                seat.owned.clear();
            }
            Event::Ended => {
                let is_due = seat.presence == Presence::Gone;
                ensure!(is_due, "member {index} ended by itself:\n{}", seat.member.log_tail());
            }
            Event::Started | Event::Failed(_) => {}
        }
        Ok(())
    }

    fn on_read(&mut self, index: usize, partition: i32, records: &[(i64, String)]) -> Result<()> {
        let committed = self.committed.get(&partition).copied().unwrap_or(0);
        for (offset, value) in records {
            ensure!(
                *offset >= committed,
                "member {index} read {partition}/{offset} again, though {committed} is committed"
            );
            self.readers.entry((partition, *offset)).or_default().push(index);
            let known = self.values.entry((partition, *offset)).or_insert_with(|| value.clone());
            ensure!(known == value, "{partition}/{offset} is {value:?} now, and was {known:?}");
        }
        Ok(())
    }

    /// Who has what, and what they said last, for messages.
    fn situation(&self) -> String {
        let seat = |(index, seat): (usize, &Seat)| {
            let last = seat.history.iter().rev().take(4).map(|(_, event)| short(event));
            let last: Vec<String> = last.collect();
            let (kind, presence, owned) = (seat.member.kind.name, seat.presence, &seat.owned);
            let log = seat.member.log_tail();
            format!(
                "{index} {kind} {presence:?} has {owned:?}, told {last:?} (newest first)\n{log}"
            )
        };
        let seats: Vec<String> = self.seats.iter().enumerate().map(seat).collect();
        format!("{} records unread\n{}", self.unread(), seats.join("\n"))
    }
}

fn short(event: &Event) -> String {
    format!("{event:?}").chars().take(160).collect()
}

/// What is written at an offset.
fn value(partition: i32, offset: i64) -> String {
    format!("record {partition}/{offset}")
}
