//! Drawing a plan from the seed.
//!
//! Each seed takes a part of the families that the scenario allows, and leans on some of them:
//! what strikes often together hides what each would do alone.

use runtime::{RandomStream, Rng};

use super::{Action, Cut, DiskOp, Family, Fault, Moment, Phase, Trigger, Way};
use crate::scenario::{GroupSpec, Scenario};
use crate::workload::members;

/// Numbers from a stream.
pub(crate) struct Dice(pub(crate) RandomStream);

impl Dice {
    /// From `low` up to, not with, `high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high - low).max(1)
    }

    /// Spread evenly over the orders of magnitude between `low` (at least 1) and `high`.
    pub(crate) fn spread(&mut self, low: u64, high: u64) -> u64 {
        let doublings = (high / low.max(1)).max(1).ilog2() + 1;
        let top = low << self.range(0, u64::from(doublings));
        self.range(top, (top * 2).min(high.max(top + 1)))
    }

    /// True once in `n`.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.range(0, n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.range(0, all.len() as u64) as usize]
    }

    /// One of the weighted.
    fn weighted<T: Copy>(&mut self, all: &[(T, u32)]) -> Option<T> {
        let total: u64 = all.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = self.range(0, total.max(1));
        for (item, weight) in all {
            if at < u64::from(*weight) {
                return Some(*item);
            }
            at -= u64::from(*weight);
        }
        None
    }
}

/// The plan of `scenario` for `seed`, for that many clients.
pub fn draw(scenario: &Scenario, seed: u64, clients: u32) -> Vec<Fault> {
    if let Some(plan) = &scenario.plan {
        return plan.clone();
    }
    let mut dice = Dice(runtime::split_seed(seed, "plan", 0));
    let families = swarm(scenario, &mut dice);
    if families.is_empty() {
        return Vec::new();
    }
    let count = match u64::from(scenario.faults.count_max) {
        0 => 0,
        most => dice.range(1, most + 1),
    };
    let mut drawing = Drawing { dice, scenario, clients };
    let mut plan: Vec<Fault> = (0..count).filter_map(|_| drawing.fault(&families)).collect();
    plan.extend(from_the_beginning(scenario, seed, &families));
    plan
}

/// What is wrong in a run from its beginning: each family with a stream of its own.
fn from_the_beginning(scenario: &Scenario, seed: u64, families: &[(Family, u32)]) -> Vec<Fault> {
    let has = |wanted: Family| families.iter().any(|(family, _)| *family == wanted);
    let mut plan = Vec::new();
    if has(Family::SlowLink) {
        plan.push(slow_links(seed));
    }
    for broker in 1..=scenario.cluster.brokers {
        if has(Family::Clock) {
            plan.extend(wrong_clock(seed, broker));
        }
        if has(Family::DiskSlow) {
            plan.extend(slow_disk(scenario, seed, broker));
        }
    }
    plan
}

/// Links as between continents, or worse.
fn slow_links(seed: u64) -> Fault {
    let mut dice = Dice(runtime::split_seed(seed, "slow-link", 0));
    let what = Action::SlowLinks {
        latency_us: dice.spread(5_000, 100_000),
        bytes_per_second: dice.spread(100_000, 5_000_000),
        window_bytes: dice.spread(8 << 10, 64 << 10),
    };
    Fault { when: Trigger::At { ms: 0 }, what }
}

/// A disk that is slow all the time, on one broker of three.
fn slow_disk(scenario: &Scenario, seed: u64, broker: u32) -> Option<Fault> {
    let mut dice = Dice(runtime::split_seed(seed, "slow-disk", u64::from(broker)));
    let ms = u64::from(scenario.seconds) * 1_000;
    let what = Action::DiskSlow { broker, factor: dice.spread(2, 30) as u32, ms };
    dice.one_in(3).then_some(Fault { when: Trigger::At { ms: 0 }, what })
}

/// No two machines agree about the time, nor about how long a second is.
fn wrong_clock(seed: u64, broker: u32) -> [Fault; 2] {
    let mut dice = Dice(runtime::split_seed(seed, "clock", u64::from(broker)));
    let when = Trigger::At { ms: 0 };
    let by = dice.spread(1, 100_000) as i64;
    let by_ms = if dice.one_in(2) { -by } else { by };
    // Quartz is wrong by some dozen millionths.
    let ppm = dice.range(0, 1_000) as i64 - 500;
    let jump = Fault { when: when.clone(), what: Action::ClockJump { broker, by_ms } };
    [jump, Fault { when, what: Action::ClockDrift { broker, ppm } }]
}

/// The families of this seed: each allowed one with a chance, with a weight of its own.
fn swarm(scenario: &Scenario, dice: &mut Dice) -> Vec<(Family, u32)> {
    let mut chosen = Vec::new();
    for (family, weight) in &scenario.faults.families {
        let is_in = !dice.one_in(3);
        let leaning = dice.range(1, 5) as u32;
        if is_in && *weight > 0 {
            chosen.push((*family, weight * leaning));
        }
    }
    chosen
}

/// What [`expected`] counts in: thousandths of a run.
pub const RUN: u64 = 1000;

/// Each family that plans of `scenario` are drawn from, and in which part of its runs, in thousandths,
/// it can be relied on: as often as it is drawn on average, and in one of five at the most, as a seed
/// may leave a family out and may draw it several times.
pub fn expected(scenario: &Scenario) -> Vec<(Family, u64)> {
    let spec = &scenario.faults;
    if scenario.plan.is_some() || spec.count_max == 0 {
        return Vec::new();
    }
    let total: u64 = spec.families.values().map(|weight| u64::from(*weight)).sum();
    let draws = (u64::from(spec.count_max) + 1) * RUN / 2;
    let drawn = spec.families.iter().filter(|(_, weight)| 0 < **weight);
    drawn
        .map(|(family, weight)| (*family, (draws * u64::from(*weight) / total).min(RUN / 5)))
        .collect()
}

struct Drawing<'a> {
    dice: Dice,
    scenario: &'a Scenario,
    clients: u32,
}

/// Files that brokers keep, as triggers and errors name them.
const PATHS: &[&str] = &[
    ".log",
    ".log",
    ".log",
    ".index",
    ".timeindex",
    ".snapshot",
    "checkpoint",
    "__klamm_metadata",
    "",
];

/// What members of groups send, and how often about.
const GROUP_APIS: [(&str, u64); 9] = [
    ("FindCoordinator", 10),
    ("JoinGroup", 20),
    ("SyncGroup", 20),
    ("LeaveGroup", 5),
    ("Heartbeat", 100),
    ("ConsumerGroupHeartbeat", 200),
    ("OffsetCommit", 200),
    ("OffsetCommit", 200),
    ("OffsetFetch", 50),
];

impl Drawing<'_> {
    fn fault(&mut self, families: &[(Family, u32)]) -> Option<Fault> {
        let family = self.dice.weighted(families)?;
        let what = self.action(family)?;
        let when = match (family, self.dice.range(0, 10)) {
            // Something has to connect, or to be read, while they last.
            (Family::Connect, 0..7) => self.at_connect(),
            (Family::OneByteReads | Family::BitFlip, 0..7) => self.at_frame(),
            (_, 0..4) => self.at_time(),
            (_, 4..7) => self.at_disk(),
            _ => self.at_frame(),
        };
        Some(Fault { when, what })
    }

    /// When clients connect: the first thing that each says is which versions it asks for.
    fn at_connect(&mut self) -> Trigger {
        let nth = self.dice.spread(1, u64::from(self.clients.max(1)) * 4) as u32;
        let (api, way) = ("ApiVersions".to_owned(), Way::Request);
        Trigger::Frame { api, way, nth, phase: Moment::Left }
    }

    fn at_time(&mut self) -> Trigger {
        // Work ends well before the scenario's limit when nothing is in its way.
        Trigger::At { ms: self.dice.range(0, u64::from(self.scenario.seconds) * 1000 * 2 / 3) }
    }

    fn at_disk(&mut self) -> Trigger {
        use DiskOp::{
            CreateDir, Len, List, Open, Read, Remove, Rename, SetLen, Sync, SyncDir, Write,
        };
        let phase = if self.dice.one_in(2) { Phase::Begin } else { Phase::Effect };
        if let Some(path) = self.path_of_change().filter(|_| self.dice.one_in(3)) {
            let op = *self.dice.pick(&[Rename, Rename, Rename, Rename, Remove, Open, Write, Sync]);
            let nth = self.dice.spread(1, 30) as u32;
            return Trigger::Disk { broker: self.broker(), op, path, nth, phase };
        }
        let ops = [
            Write, Write, Write, Sync, Sync, Sync, Sync, SyncDir, SyncDir, Rename, Rename, Open,
            Open, Remove, Remove, SetLen, SetLen, Read, CreateDir, List, Len,
        ];
        let op = *self.dice.pick(&ops);
        let path = match op {
            Write | Sync => self.path(),
            // A segment begins.
            Open if self.dice.one_in(2) => ".log".to_owned(),
            _ => String::new(),
        };
        let most = if matches!(op, CreateDir | List | Len) { 30 } else { 400 };
        let nth = self.dice.spread(1, most) as u32;
        Trigger::Disk { broker: self.broker(), op, path, nth, phase }
    }

    fn at_frame(&mut self) -> Trigger {
        let (api, most) = self.api();
        let way = if self.dice.one_in(2) { Way::Request } else { Way::Response };
        let phase = if self.dice.one_in(2) { Moment::Left } else { Moment::Arrived };
        let nth = self.dice.spread(1, most) as u32;
        Trigger::Frame { api: api.to_owned(), way, nth, phase }
    }

    /// An API that the clients of the scenario use, and how many times about.
    fn api(&mut self) -> (&'static str, u64) {
        let work = &self.scenario.workload;
        let mut apis = vec![
            ("Produce", 300),
            ("Produce", 300),
            ("Produce", 300),
            ("Produce", 300),
            ("InitProducerId", 6),
            ("Metadata", 20),
        ];
        if 0 < work.readers {
            apis.extend([("Fetch", 300), ("ListOffsets", 60)]);
        }
        if !self.scenario.groups.is_empty() {
            apis.extend(GROUP_APIS);
        }
        if 0 < work.trims {
            apis.push(("DeleteRecords", u64::from(work.trims)));
        }
        if 0 < work.short_lived_topics {
            let times = u64::from(work.short_lived_topics);
            apis.extend([("CreateTopics", times), ("DeleteTopics", times)]);
        }
        *self.dice.pick(&apis)
    }

    /// Files that a compaction or the end of a topic moves, if the scenario has such.
    fn path_of_change(&mut self) -> Option<String> {
        let mut paths = Vec::new();
        if 0 < self.scenario.workload.short_lived_topics {
            paths.push("short-lived");
        }
        let mut topics = self.scenario.topics.values();
        if topics.any(|topic| self.scenario.rules(topic).is_compacted) {
            paths.extend([".cleaned", ".swap"]);
        }
        (!paths.is_empty()).then(|| (*self.dice.pick(&paths)).to_owned())
    }

    /// A partition's files, or files of a kind.
    fn path(&mut self) -> String {
        if !self.scenario.groups.is_empty() && self.dice.one_in(3) {
            return "/__consumer_offsets-".to_owned();
        }
        match self.dice.one_in(3) {
            true => self.partition(),
            false => (*self.dice.pick(PATHS)).to_owned(),
        }
    }

    /// The directory of a partition.
    fn partition(&mut self) -> String {
        let topics: Vec<&String> = self.scenario.topics.keys().collect();
        let topic = *self.dice.pick(&topics);
        let partitions = self.scenario.topics[topic].partitions;
        format!("/{topic}-{}/", self.dice.range(0, partitions.max(1) as u64))
    }

    /// Files of one kind in one partition: what there is to damage.
    fn path_of_log(&mut self) -> String {
        let suffix = *self.dice.pick(&[".log", ".log", ".index", ".timeindex", ".snapshot"]);
        format!("{}*{suffix}", self.partition())
    }

    fn broker(&mut self) -> u32 {
        self.dice.range(1, u64::from(self.scenario.cluster.brokers) + 1) as u32
    }

    /// Shorter than the session of a member of `group`, about as long, or much longer.
    fn absence(&mut self, group: &GroupSpec) -> u64 {
        self.dice.spread((group.session_timeout_ms / 8).max(1), group.session_timeout_ms * 4)
    }

    fn member_action(&mut self, family: Family) -> Option<Action> {
        let members = members(self.scenario);
        let (client, group) = *(!members.is_empty()).then(|| self.dice.pick(&members))?;
        let spec = &self.scenario.groups[group];
        let ms = self.absence(spec);
        Some(match family {
            Family::MemberCrash => {
                Action::MemberCrash { client, down_ms: ms, power: self.dice.one_in(3) }
            }
            Family::MemberPause => Action::MemberPause { client, ms },
            Family::JoinBurst if spec.guests == 0 => return None,
            Family::JoinBurst => Action::JoinBurst { group: group.to_owned(), ms: ms * 2 },
            _ => {
                let topics: Vec<_> = self.scenario.topics_of(spec).into_iter().collect();
                let topic = self.dice.pick(&topics).to_string();
                Action::TopicGrows { topic, partitions: self.dice.range(1, 3) as u32 }
            }
        })
    }

    fn client(&mut self) -> u32 {
        self.dice.range(1, u64::from(self.clients.max(1)) + 1) as u32
    }

    fn action(&mut self, family: Family) -> Option<Action> {
        let broker = self.broker();
        let client = self.client();
        let ms = self.dice.spread(10, 5_000);
        let down_ms = self.dice.spread(1, 5_000);
        let action = match family {
            Family::Kill => Action::Kill { broker, down_ms },
            Family::PowerLoss => Action::PowerLoss { broker, down_ms },
            Family::Stop if self.dice.one_in(2) => Action::Stop { broker, down_ms },
            Family::Stop => Action::CrashAtStop {
                broker,
                after_us: self.dice.spread(1, 50_000),
                down_ms,
                power: self.dice.one_in(2),
            },
            Family::Pause if self.dice.one_in(2) => Action::Pause { broker, ms },
            Family::Pause => Action::ClientPause { client, ms: ms.saturating_mul(2) },
            Family::CrashLoop => Action::CrashLoop {
                broker,
                times: self.dice.range(2, 6) as u32,
                power: self.dice.one_in(2),
            },
            Family::ClientCrash if self.dice.one_in(3) => {
                Action::ClientPowerLoss { client, down_ms }
            }
            Family::ClientCrash => Action::ClientCrash { client, down_ms },
            Family::MemberCrash | Family::MemberPause | Family::JoinBurst | Family::TopicGrows => {
                return self.member_action(family);
            }
            Family::Cut | Family::Reset | Family::LoseResponse => {
                self.link_action(family, client, broker, ms)
            }
            Family::BitFlip => {
                let way = if self.dice.one_in(3) { Way::Response } else { Way::Request };
                Action::BitFlip { client, broker, way }
            }
            // Drawn once for the whole run.
            Family::SlowLink => return None,
            Family::Connect if self.dice.one_in(2) => Action::Refuse { broker, ms },
            Family::Connect => Action::Hang { broker, ms },
            Family::OneByteReads => Action::OneByteReads { broker, ms: ms.min(500) },
            Family::SyncError | Family::WriteError | Family::ReadError => {
                self.disk_error(family, broker)
            }
            Family::DiskFull => Action::DiskFull { broker, left: self.dice.range(0, 20_000), ms },
            Family::DiskSlow if self.dice.one_in(2) => {
                Action::DiskSlow { broker, factor: self.dice.spread(2, 100) as u32, ms }
            }
            Family::DiskSlow => Action::DiskStall { broker, ms },
            Family::Clock => self.clock_action(broker),
            Family::Rot => Action::Rot { broker, path: self.path_of_log() },
            Family::Misdirect => {
                Action::MisdirectWrite { broker, path: format!("{}*.log", self.partition()) }
            }
        };
        Some(action)
    }

    fn link_action(&mut self, family: Family, client: u32, broker: u32, ms: u64) -> Action {
        match (family, self.dice.range(0, 4)) {
            (Family::Cut, 0) => Action::Stall { client, broker, ms },
            (Family::Cut, _) => {
                let cut = *self.dice.pick(&[Cut::Both, Cut::ToBroker, Cut::ToClient]);
                Action::Cut { client, broker, cut, ms }
            }
            (Family::Reset, 0) => Action::Fin { client, broker },
            (Family::Reset, 1) => Action::HalfOpen { client, broker },
            (Family::Reset, _) => Action::Reset { client, broker },
            _ => Action::LoseResponse { client, broker },
        }
    }

    fn disk_error(&mut self, family: Family, broker: u32) -> Action {
        let op = match family {
            Family::SyncError if self.dice.one_in(4) => DiskOp::SyncDir,
            Family::SyncError => DiskOp::Sync,
            Family::WriteError if self.dice.one_in(2) => {
                use DiskOp::{CreateDir, Remove, Rename, SetLen};
                *self.dice.pick(&[Rename, Rename, Remove, Remove, SetLen, CreateDir])
            }
            Family::WriteError => DiskOp::Write,
            _ if self.dice.one_in(4) => {
                *self.dice.pick(&[DiskOp::Open, DiskOp::Open, DiskOp::List, DiskOp::Len])
            }
            _ => DiskOp::Read,
        };
        let path = match op {
            DiskOp::Rename | DiskOp::Remove if !self.dice.one_in(3) => {
                self.path_of_change().unwrap_or_default()
            }
            _ if self.dice.one_in(2) => self.path(),
            _ => String::new(),
        };
        Action::DiskError { broker, op, path, nth: self.dice.spread(1, 20) as u32 }
    }

    fn clock_action(&mut self, broker: u32) -> Action {
        match self.dice.range(0, 4) {
            0 => {
                let ppm = self.dice.range(0, 100_000) as i64 - 50_000;
                return Action::ClockDrift { broker, ppm };
            }
            1 => return Action::ClockFreeze { broker, ms: self.dice.spread(100, 20_000) },
            _ => {}
        }
        let by = self.dice.spread(1, 100_000_000) as i64;
        Action::ClockJump { broker, by_ms: if self.dice.one_in(2) { -by } else { by } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(faults: &str) -> Scenario {
        let text = format!("story = \"x\"\n{faults}\n[topics.orders]\n");
        Scenario::parse("x.toml", &text).unwrap()
    }

    fn with_count(count_max: u32) -> Scenario {
        scenario(&format!(
            "[faults]\ncount_max = {count_max}\n[faults.families]\nkill = 1\nslow-link = 1\nrot = 0\n"
        ))
    }

    #[test]
    fn none_is_drawn_when_none_may_be_and_what_is_wrong_from_the_beginning_is_not_drawn() {
        for seed in 0..100 {
            let plan = draw(&with_count(0), seed, 4);
            assert!(plan.iter().all(|fault| fault.when == Trigger::At { ms: 0 }), "{plan:?}");
        }
        let drawn = (0..100).map(|seed| draw(&with_count(1), seed, 4));
        let drawn: Vec<_> = drawn.filter(|plan| !plan.is_empty()).collect();
        assert!(drawn.iter().any(|plan| plan.len() == 2), "one may be drawn, and links are slow");
        assert!(drawn.iter().all(|plan| plan.len() <= 2));
    }

    #[test]
    fn a_family_is_expected_where_it_can_be_drawn_and_no_more_often_than_that() {
        let one_in_five = [(Family::Kill, 200), (Family::SlowLink, 200)];
        assert_eq!(expected(&with_count(12)), one_in_five);
        assert_eq!(expected(&with_count(0)), []);
        assert_eq!(expected(&scenario("plan = []\n[faults.families]\nkill = 1\n")), []);
        let seldom = "[faults]\ncount_max = 1\n[faults.families]\nkill = 1\ncut = 99\n";
        assert_eq!(expected(&scenario(seldom))[0], (Family::Kill, 10));
    }
}
