//! What brokers say of their partitions, after every step of a partition's owner.
//!
//! In: the ends that the broker itself would act on, and the durable bytes of its disk. Out: what
//! must not be: ends that cross or fall, and an end that is called durable and is not on the disk.
//!
//! What the journal holds is on the disk as what a segment holds is: a start writes it there.
//!
//! A durable end is walked to once: where the last walk over a partition stopped, the next goes on.
//!
//! Start at [`Inspection::look`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::PartitionEnds;
use bytes::Bytes;
use model::{Offset, PartitionIndex, TopicId};
use protocol::records::{Batch, BatchHeader};

use crate::damage::damaged_logs;
use crate::disk::SimDisk;
use crate::durable::Journal;
use crate::scenario::Scenario;
use crate::world::{Nanos, Process, World};

/// The task that owns a partition, by its name in the broker.
pub(crate) const OWNER_TASK: &str = "partition";

/// More findings say nothing new.
const FINDINGS_MAX: usize = 20;

/// A partition of a broker, for the life of its topic.
type Place = (u32, TopicId, PartitionIndex);

/// What was last seen of a partition.
#[derive(Clone)]
struct Seen {
    process: Process,
    ends: PartitionEnds,
    walk: Walk,
}

/// How far the durable bytes of a partition were walked.
#[derive(Clone, Copy, Default)]
struct Walk {
    /// The segment, by its base offset; `None` before the first walk.
    segment: Option<i64>,
    /// The byte in it behind the last batch walked over.
    position: usize,
    /// The offset behind it.
    next: i64,
}

#[derive(Default)]
struct State {
    /// How often there were partitions to look at.
    looks: u64,
    seen: BTreeMap<Place, Seen>,
    /// The journals of the nodes, and the processes that write them: the next one begins anew.
    journals: BTreeMap<u32, (Process, Journal)>,
    findings: Vec<String>,
}

/// Watches over the partitions of all brokers; clones are the same watch.
#[derive(Clone)]
pub struct Inspection {
    world: World,
    scenario: Arc<Scenario>,
    state: Arc<Mutex<State>>,
}

/// One partition at one moment.
struct Look<'a> {
    at: Nanos,
    process: Process,
    name: &'a str,
    ends: PartitionEnds,
    /// Whether acknowledged records of the topic survive a loss of power.
    is_synced: bool,
    /// Whether records between others may be gone.
    is_compacted: bool,
}

impl Inspection {
    /// Of brokers that play `scenario`.
    pub fn new(world: &World, scenario: &Arc<Scenario>) -> Inspection {
        let (world, scenario) = (world.clone(), Arc::clone(scenario));
        Inspection { world, scenario, state: Arc::default() }
    }

    /// Looks at the partitions of the broker that runs as `process`.
    pub fn look(&self, process: Process, disk: &SimDisk, all: Vec<PartitionEnds>) {
        let damaged = damaged_logs(disk);
        let mut state = self.lock();
        state.looks += u64::from(!all.is_empty());
        for ends in all {
            let place = (process.node.0, ends.topic_id, ends.partition);
            // Of all partitions one has changed, at the most.
            let before = state.seen.get(&place);
            if before.is_some_and(|seen| seen.process == process && seen.ends == ends) {
                continue;
            }
            let name = format!("{}-{}", ends.topic, ends.partition);
            if damaged.contains_key(&name) {
                continue;
            }
            let spec = self.scenario.topics.get(&*ends.topic);
            let rules = spec.map(|topic| self.scenario.rules(topic)).unwrap_or_default();
            let look = Look {
                at: self.world.now(),
                process,
                name: &name,
                is_synced: !rules.is_lost_with_power,
                is_compacted: rules.is_compacted,
                ends,
            };
            state.see(place, look, disk);
        }
    }

    /// What must not be, in the order in which it was seen, in a run with so many acknowledged
    /// records. An inspection that saw nothing of them is blind, and would find nothing for ever.
    pub fn findings(&self, acknowledged: u64) -> Vec<String> {
        let state = self.lock();
        let is_blind = acknowledged > 0 && state.looks == 0;
        let blind = is_blind.then(|| {
            format!(
                "was never looked at, though {acknowledged} records were acknowledged: \
                 no task {OWNER_TASK:?} took a step with a partition open"
            )
        });
        blind.into_iter().chain(state.findings.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, place: Place, look: Look<'_>, disk: &SimDisk) {
        let before = self.seen.get(&place);
        let known = self.journals.remove(&place.0).filter(|(process, _)| *process == look.process);
        let known = known.unwrap_or((look.process, Journal::default()));
        let (_, journal) = self.journals.entry(place.0).or_insert(known);
        let mut disk = Durable { disk, journal, is_fresh: false };
        let mut findings = crossed(&look.ends);
        if let Some(before) = before {
            findings.extend(fallen(before, &look));
        }
        let same = before.filter(|seen| seen.process == look.process);
        let mut walk = same.map_or(Walk::default(), |seen| seen.walk);
        if look.is_synced && !look.is_compacted {
            let target = look.ends.durable_end;
            let is_there = target <= look.ends.log_start
                || walk.reaches(&mut disk, look.name, target)
                || walk.starts_over(&mut disk, look.name, look.ends.log_start, target);
            if !is_there {
                let next = walk.next;
                findings.push(format!(
                    "calls {target} its durable end, and the disk holds records up to {next} only"
                ));
            }
        }
        let seconds = look.at as f64 / 1e9;
        let words = findings.iter().map(|text| format!("{} at {seconds:.6} s: {text}", look.name));
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        self.findings.extend(words.take(room));
        self.seen.insert(place, Seen { process: look.process, ends: look.ends, walk });
    }
}

/// Ends that are not in their order.
fn crossed(ends: &PartitionEnds) -> Vec<String> {
    let PartitionEnds { log_start, high_watermark, durable_end, log_end, .. } = ends;
    let order = [
        ("log start", *log_start, "high watermark", *high_watermark),
        ("high watermark", *high_watermark, "durable end", *durable_end),
        ("durable end", *durable_end, "log end", *log_end),
    ];
    let wrong = order.iter().filter(|(_, low, _, high)| high < low);
    wrong.map(|(low, at, high, than)| format!("{low} {at} is above {high} {than}")).collect()
}

/// Ends that fell: within a process none may, over a restart only what was promised to last.
fn fallen(before: &Seen, now: &Look<'_>) -> Vec<String> {
    let (old, new) = (&before.ends, &now.ends);
    let is_same = before.process == now.process;
    let lasts = is_same || now.is_synced;
    let mut findings = Vec::new();
    let mut compare = |what: &str, old: Offset, new: Offset, must_last: bool| {
        if must_last && new < old {
            findings.push(format!("{what} fell from {old} to {new}"));
        }
    };
    compare("log start", old.log_start, new.log_start, lasts);
    compare("high watermark", old.high_watermark, new.high_watermark, lasts);
    compare("durable end", old.durable_end, new.durable_end, lasts);
    compare("log end", old.log_end, new.log_end, is_same);
    if new.leader_epoch < old.leader_epoch {
        let (old, new) = (old.leader_epoch, new.leader_epoch);
        findings.push(format!("leader epoch fell from {old} to {new}"));
    }
    findings
}

/// What a loss of power would leave of a disk.
struct Durable<'a> {
    disk: &'a SimDisk,
    journal: &'a mut Journal,
    /// Whether the journal was read in this look.
    is_fresh: bool,
}

impl Durable<'_> {
    fn journal(&mut self) -> &Journal {
        if !self.is_fresh {
            self.journal.refresh(self.disk);
            self.is_fresh = true;
        }
        self.journal
    }
}

impl Walk {
    /// Whether whole, intact batches follow one another on the disk up to `target`.
    fn reaches(&mut self, disk: &mut Durable<'_>, name: &str, target: Offset) -> bool {
        while self.next < target.0 {
            let Some(segment) = self.segment else { return false };
            let path = format!("/data/{name}/{segment:020}.log");
            let before = self.next;
            let walked = disk.disk.with_durable(&path, |bytes| {
                let rest = bytes.get(self.position..).unwrap_or_default();
                self.walk_over(rest, target);
            });
            let mut is_there = walked.is_some();
            if self.next == before {
                let position = self.position as u64;
                let rest = disk.journal().bytes_at(name, segment, position);
                is_there |= rest.is_some() || position > 0;
                self.walk_over(rest.unwrap_or_default(), target);
            }
            if self.next == before {
                // The next segment begins where this one ends.
                if !is_there || segment == self.next {
                    return false;
                }
                self.segment = Some(self.next);
                self.position = 0;
            }
        }
        true
    }

    /// Over the batches that `rest` begins with.
    fn walk_over(&mut self, mut rest: &[u8], target: Offset) {
        while self.next < target.0 {
            let Ok(header) = BatchHeader::parse(rest) else { return };
            let Some((whole, behind)) = rest.split_at_checked(header.size_bytes()) else { return };
            let batch = Batch::parse(Bytes::copy_from_slice(whole));
            if batch.is_ok_and(|batch| batch.verify_crc().is_err()) {
                return;
            }
            rest = behind;
            self.position += header.size_bytes();
            self.next = header.next_offset().0;
        }
    }

    /// The same from the beginning of a segment: of the last one before `target` if this is the first
    /// walk, otherwise of the one where the last walk ended or, meanwhile, the log begins. What lies
    /// between was called durable since, and has to be there.
    fn starts_over(
        &mut self,
        disk: &mut Durable<'_>,
        name: &str,
        log_start: Offset,
        target: Offset,
    ) -> bool {
        let from = match self.segment {
            Some(_) => self.next.max(log_start.0),
            None => target.0,
        };
        let directory = format!("/data/{name}/");
        let base = |path: &str| -> Option<i64> {
            path.strip_prefix(&directory)?.strip_suffix(".log")?.parse().ok()
        };
        let files = disk.disk.files();
        let bases = files
            .iter()
            .filter_map(|(path, _)| base(path))
            .filter(|base| *base <= from && *base < target.0);
        let Some(last) = bases.max() else { return false };
        *self = Walk { segment: Some(last), position: 0, next: last };
        self.reaches(disk, name, target)
    }
}
