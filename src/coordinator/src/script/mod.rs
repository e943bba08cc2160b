//! Scripts of events for tests: clients act, time passes, coordinators restart.
//!
//! In: `a joins, b joins topics=x+y, after 3s, restarts`. Out: what was answered and written, a line
//! each, with the second it happened in. Member ids are told by the names of their clients: `a`, and
//! `a2`, `a3` for later ids.
//!
//! After every event the shard is compared with one that loads the log, as written and compacted.
//!
//! Start at [`check`].

mod act;
mod tell;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::Expect;
use model::{Instant, Timestamp, TopicId, Uuid};
use protocol::messages as m;
use protocol::{Encode, StrBytes, Writer};

use crate::call::{Answer, Call, Request, Response, Ticket};
use crate::classic::ClassicState;
use crate::cluster::{Cluster, ConsumerGroupSettings, Topic};
use crate::config::Config;
use crate::group::Group;
use crate::record::Record;
use crate::shard::{Env, Output, Shard};
use crate::timers::Timer;

/// Plays a script with Kafka's default settings.
pub(crate) fn check(script: &str, expected: Expect) {
    check_with(Config::default(), script, expected);
}

/// Plays a script.
pub(crate) fn check_with(config: Config, script: &str, expected: Expect) {
    let mut world = World::new(config);
    for event in script.split([',', '\n']).map(str::trim).filter(|event| !event.is_empty()) {
        world.play(event);
    }
    expected.assert_eq(&world.told);
}

/// The cluster's metadata in a script: topics by name.
#[derive(Debug, Default)]
pub(crate) struct Topics(pub(crate) BTreeMap<String, TopicId>);

impl Cluster for Topics {
    fn topic(&self, name: &str) -> Option<Topic> {
        let id = *self.0.get(name)?;
        Some(Topic { name: StrBytes::from(name), id, partition_count: 4 })
    }

    fn topic_by_id(&self, id: TopicId) -> Option<Topic> {
        let (name, _) = self.0.iter().find(|(_, known)| **known == id)?;
        self.topic(name)
    }

    fn topic_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.keys().map(String::as_str))
    }

    fn consumer_group_settings(&self, _group: &str) -> ConsumerGroupSettings {
        ConsumerGroupSettings {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            assignment_interval: Duration::ZERO,
        }
    }
}

/// What a client knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) member_id: StrBytes,
    pub(crate) generation: i32,
    pub(crate) instance: Option<StrBytes>,
    pub(crate) protocol_type: Option<StrBytes>,
    pub(crate) protocol: Option<StrBytes>,
    pub(crate) members: Vec<StrBytes>,
}

/// A call that is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) who: String,
    /// Whom it was made as, if that matters.
    pub(crate) member: StrBytes,
    pub(crate) api_version: i16,
}

/// A shard, its log, its clients and its time.
pub(crate) struct World {
    pub(crate) config: Arc<Config>,
    pub(crate) shard: Shard,
    pub(crate) topics: Topics,
    pub(crate) log: Vec<(Bytes, Option<Bytes>)>,
    /// The same, to look at.
    pub(crate) records: Vec<Record>,
    pub(crate) now: Instant,
    pub(crate) clients: BTreeMap<String, Client>,
    /// Calls that are not answered.
    pub(crate) open: BTreeMap<Ticket, Open>,
    /// Names of member ids.
    pub(crate) names: BTreeMap<StrBytes, String>,
    /// What happened.
    pub(crate) told: String,
    /// Answers of the last event.
    pub(crate) answers: Vec<(String, Response)>,
    next_ticket: u64,
    next_random: u128,
}

impl World {
    pub(crate) fn new(config: Config) -> World {
        let config = Arc::new(config);
        let topics = [("t", 1), ("u", 2), ("v", 3)];
        let topics = topics.map(|(name, id)| (name.to_owned(), topic_id(id)));
        let mut world = World {
            shard: Shard::new(Arc::clone(&config)),
            config,
            topics: Topics(BTreeMap::from(topics)),
            log: Vec::new(),
            records: Vec::new(),
            now: Instant(0),
            clients: BTreeMap::new(),
            open: BTreeMap::new(),
            names: BTreeMap::new(),
            told: String::new(),
            answers: Vec::new(),
            next_ticket: 0,
            next_random: 0,
        };
        world.load();
        world
    }

    /// A call of a client, or of an admin.
    pub(crate) fn call(&mut self, who: &str, api_version: i16, request: Request) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let member = match &request {
            Request::SyncGroup(request) => request.member_id.clone(),
            _ => StrBytes::new(),
        };
        self.open.insert(ticket, Open { who: who.to_owned(), member, api_version });
        let call = Call {
            ticket,
            api_version,
            client_id: StrBytes::from(who),
            client_host: StrBytes::from_static("/10.0.0.1"),
            request,
        };
        self.run(|shard, env, out| shard.call(call, env, out));
    }

    /// Time passes, timers fire at their moments.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.shard.next_tick().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.run(Shard::tick);
        }
        self.now = end;
    }

    /// Another coordinator takes over: who waits, waits in vain.
    pub(crate) fn restart(&mut self) {
        self.open.clear();
        self.shard = loaded(&self.config, &self.log);
        self.load();
    }

    fn load(&mut self) {
        let interval = self.config.offsets_retention_check_interval;
        self.run(|shard, env, out| {
            shard.timers.set(Timer::OffsetExpiry, env.now + interval);
            shard.on_offsets_loaded(env, out);
            shard.on_classic_groups_loaded(env, out);
        });
    }

    pub(crate) fn run(&mut self, act: impl FnOnce(&mut Shard, &mut Env<'_>, &mut Output)) {
        let mut out = Output::default();
        let next_random = &mut self.next_random;
        let mut random = || {
            *next_random += 1;
            next_random.to_be_bytes()
        };
        let wall = i64::try_from(self.now.0 / 1_000_000).unwrap();
        let mut env = Env {
            now: self.now,
            wall: Timestamp(wall),
            cluster: &self.topics,
            random: &mut random,
        };
        act(&mut self.shard, &mut env, &mut out);
        for answer in &out.answers {
            self.name_member(answer);
        }
        for record in out.records {
            self.append(&record);
        }
        self.compare_with_the_log();
        for answer in out.answers {
            self.take_answer(answer);
        }
    }

    fn append(&mut self, record: &Record) {
        let (key, value) = record.encode().unwrap();
        let decoded = Record::decode(Some(key.clone()), value.clone()).unwrap();
        assert_eq!(decoded.as_ref(), Some(record), "the log says all that the record says");
        self.log.push((key, value));
        self.records.push(record.clone());
        self.tell_record(record);
    }

    fn take_answer(&mut self, Answer { ticket, response }: Answer) {
        let call = self.open.remove(&ticket);
        let Open { who, member, api_version } =
            call.expect("an answer to an open call, and only one");
        check_encoding(&response, api_version);
        self.check_assignment(&member, &response);
        self.learn(&who, &response);
        self.tell_answer(&who, &response);
        self.answers.push((who, response));
    }

    /// What a member shall read is in the log, under the id by which it asked.
    fn check_assignment(&self, member: &StrBytes, response: &Response) {
        let Response::SyncGroup(response) = response else { return };
        if response.error_code != 0 {
            return;
        }
        let mut groups = self.records.iter().rev().filter_map(|record| match record {
            Record::GroupMetadata { value, .. } => Some(value.as_ref()),
            _ => None,
        });
        let group = groups.next().flatten().expect("the group is in the log");
        let known = group.members.iter().find(|known| known.member_id == *member);
        let assignment = known.map(|known| &known.assignment);
        assert_eq!(assignment, Some(&response.assignment));
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.told, "{}s {line}", self.now.0 / 1_000_000_000).unwrap();
    }

    /// A shard that loads the log knows what this one knows.
    fn compare_with_the_log(&self) {
        let live = persisted(&self.shard);
        for log in [self.log.clone(), compacted(&self.log)] {
            let mut fresh = persisted(&loaded(&self.config, &log));
            assert_eq!(live.offsets, fresh.offsets);
            // A simple group is in the log by its offsets only.
            let is_simple = |id: &StrBytes| {
                let group = self.shard.classic(id).expect("all groups are classic");
                group.protocol_type.is_none() && self.shard.offsets.of_group(id).next().is_none()
            };
            let missing = live.groups.keys().filter(|id| !fresh.groups.contains_key(*id));
            assert!(missing.into_iter().all(is_simple));
            assert!(fresh.groups.keys().all(|id| live.groups.contains_key(id)));
            // What a group is while it rebalances is not in the log.
            fresh.groups.retain(|id, _| live.groups[id].is_some());
            for (id, group) in &fresh.groups {
                assert_eq!(&live.groups[id], group, "group {id}");
            }
        }
    }
}

/// What of a shard must be the same after a load.
struct Persisted {
    /// By id, those at rest with their records.
    groups: BTreeMap<StrBytes, Option<Record>>,
    offsets: String,
}

fn persisted(shard: &Shard) -> Persisted {
    let groups = shard.groups.iter().map(|(id, group)| {
        let Group::Classic(group) = group else { return (id.clone(), None) };
        let is_at_rest = matches!(group.state, ClassicState::Empty | ClassicState::Stable);
        (id.clone(), is_at_rest.then(|| group.to_record(id)))
    });
    Persisted { groups: groups.collect(), offsets: format!("{:?}", shard.offsets) }
}

/// A shard that replayed a log.
pub(crate) fn loaded(config: &Arc<Config>, log: &[(Bytes, Option<Bytes>)]) -> Shard {
    let mut shard = Shard::new(Arc::clone(config));
    for (key, value) in log {
        let record = Record::decode(Some(key.clone()), value.clone()).unwrap();
        shard.replay(record.expect("a kind that is known"));
    }
    shard
}

/// What compaction leaves: the last record of each key, without tombstones.
fn compacted(log: &[(Bytes, Option<Bytes>)]) -> Vec<(Bytes, Option<Bytes>)> {
    let last: BTreeMap<&Bytes, usize> =
        log.iter().enumerate().map(|(place, (key, _))| (key, place)).collect();
    let kept = log
        .iter()
        .enumerate()
        .filter(|(place, (key, value))| last[key] == *place && value.is_some());
    kept.map(|(_, record)| record.clone()).collect()
}

pub(crate) fn topic_id(number: u8) -> TopicId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    Uuid(bytes)
}

/// An answer can be said in the version that was asked in.
fn check_encoding(response: &Response, version: i16) {
    let mut writer = Writer::new();
    let result = match response {
        Response::JoinGroup(response) => response.encode(&mut writer, version),
        Response::SyncGroup(response) => response.encode(&mut writer, version),
        Response::Heartbeat(response) => response.encode(&mut writer, version),
        Response::LeaveGroup(response) => response.encode(&mut writer, version),
        Response::OffsetCommit(response) => response.encode(&mut writer, version),
        Response::OffsetDelete(response) => response.encode(&mut writer, version),
        Response::DescribeGroup(group) => {
            let groups = vec![group.clone()];
            let response = m::DescribeGroupsResponse { groups, ..Default::default() };
            response.encode(&mut writer, version)
        }
        Response::OffsetFetch(group) => {
            let groups = vec![group.clone()];
            let response = m::OffsetFetchResponse { groups, ..Default::default() };
            response.encode(&mut writer, version)
        }
        Response::ListGroups(groups) => {
            let groups = groups.clone();
            m::ListGroupsResponse { groups, ..Default::default() }.encode(&mut writer, 5)
        }
        Response::DeleteGroup(_)
        | Response::DescribeConsumerGroup(_)
        | Response::ConsumerGroupHeartbeat(_)
        | Response::Count(_) => Ok(()),
    };
    assert_eq!(result, Ok(()));
}
