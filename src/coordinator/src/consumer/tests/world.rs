//! A shard, a cluster of topics, and members that behave as clients do, driven by a script.
//!
//! Statements are separated by `;`. `topic t 3` and `drop t` change the cluster, `after 5s` lets time
//! pass, `reload` has another coordinator take over, `show` tells the group. A member `m`, or `m:i` with
//! an instance id, `joins t,u` or `joins /t.*/`, `reads t,u`, `leaves`, `pauses` (epoch -2), and
//! - `beats`: gives up and takes up what it was told, says what it owns, and hears the answer
//! - `holds`: the same, but it does not give anything up yet
//! - `loses`: like `beats`, but the answer is lost
//! - `pings`: sends nothing that may be left out

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use model::{Instant, Timestamp, TopicId, Uuid};
use protocol::messages as m;
use protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::{ErrorCode, StrBytes};

use crate::consumer::ConsumerGroup;
use crate::{
    Answer, Call, Cluster, Config, ConsumerGroupSettings, Env, Output, Record, Request, Response,
    Shard, Ticket, Topic, TopicChanges,
};

pub(super) const GROUP: &str = "g";

pub(super) struct Topics {
    pub(super) topics: BTreeMap<String, Topic>,
    /// As a shard was told last.
    told: BTreeMap<String, Topic>,
    /// How often a shard asked for a topic.
    pub(super) lookup_count: Cell<usize>,
    pub(super) settings: ConsumerGroupSettings,
    made_count: u8,
}

impl Topics {
    pub(super) fn set(&mut self, name: &str, partition_count: u32) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partition_count = partition_count;
            return;
        }
        self.made_count += 1;
        let mut id = [0; 16];
        id[15] = self.made_count;
        let topic = Topic { name: StrBytes::from(name), id: Uuid(id), partition_count };
        self.topics.insert(name.to_owned(), topic);
    }

    /// What became of topics since the last time.
    fn changes(&mut self) -> TopicChanges {
        let told = std::mem::replace(&mut self.told, self.topics.clone());
        let mut changes = TopicChanges::default();
        for (name, topic) in &self.topics {
            match told.get(name) {
                Some(before) if before.id != topic.id => {
                    changes.deleted.insert(topic.name.clone());
                    changes.created.insert(topic.name.clone());
                }
                Some(before) if before.partition_count != topic.partition_count => {
                    changes.resized.insert(topic.name.clone());
                }
                Some(_) => {}
                None => drop(changes.created.insert(topic.name.clone())),
            }
        }
        let gone = told.into_values().filter(|topic| !self.topics.contains_key(&*topic.name));
        changes.deleted.extend(gone.map(|topic| topic.name));
        changes
    }
}

impl Cluster for Topics {
    fn topic(&self, name: &str) -> Option<Topic> {
        self.lookup_count.set(self.lookup_count.get() + 1);
        self.topics.get(name).cloned()
    }
    fn topic_by_id(&self, id: TopicId) -> Option<Topic> {
        self.topics.values().find(|topic| topic.id == id).cloned()
    }
    fn topic_names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }
    fn consumer_group_settings(&self, _group: &str) -> ConsumerGroupSettings {
        self.settings
    }
}

/// A member as its client sees itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) instance: Option<String>,
    pub(super) epoch: i32,
    pub(super) owned: BTreeSet<(TopicId, i32)>,
    /// What it was told last and has not acted on.
    pub(super) told: Option<BTreeSet<(TopicId, i32)>>,
    /// Names or `/pattern/`.
    pub(super) wish: String,
    /// Whether the last answer was lost: the client then sends everything.
    pub(super) is_unsure: bool,
}

pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) config: Config,
    pub(super) cluster: Topics,
    pub(super) now: Instant,
    /// What the wall clock shows when time begins, in milliseconds.
    pub(super) wall_at_zero: i64,
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) log: Vec<Record>,
    pub(super) version: i16,
    /// What others were answered, and what was answered while time passed.
    pub(super) late_answers: Vec<Answer>,
    random: u8,
    ticket: u64,
}

impl World {
    pub(super) fn new() -> World {
        World::with(Config::default())
    }

    pub(super) fn with(config: Config) -> World {
        let settings = ConsumerGroupSettings {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            assignment_interval: Duration::ZERO,
        };
        World {
            shard: Shard::new(Arc::new(config.clone())),
            config,
            cluster: Topics {
                topics: BTreeMap::new(),
                told: BTreeMap::new(),
                lookup_count: Cell::new(0),
                settings,
                made_count: 0,
            },
            now: Instant(0),
            wall_at_zero: 1_000_000,
            clients: BTreeMap::new(),
            log: Vec::new(),
            version: 1,
            late_answers: Vec::new(),
            random: 0,
            ticket: 0,
        }
    }

    pub(super) fn group(&self) -> Option<&ConsumerGroup> {
        self.shard.consumer_group(GROUP)
    }

    /// Lets the shard do something; its records go to the log, its answers come back.
    pub(super) fn act(
        &mut self,
        action: impl FnOnce(&mut Shard, &mut Env<'_>, &mut Output),
    ) -> Vec<Answer> {
        let mut out = Output::default();
        let random = &mut self.random;
        let mut draw = || {
            *random += 1;
            [*random; 16]
        };
        let mut env = Env {
            now: self.now,
            wall: Timestamp(self.wall_at_zero + (self.now.0 / 1_000_000) as i64),
            cluster: &self.cluster,
            random: &mut draw,
        };
        action(&mut self.shard, &mut env, &mut out);
        self.log.extend(out.records);
        out.answers
    }

    pub(super) fn call(&mut self, request: Request) -> Vec<Answer> {
        self.ticket += 1;
        let call = Call {
            ticket: Ticket(self.ticket),
            api_version: self.version,
            client_id: StrBytes::from_static("client"),
            client_host: StrBytes::from_static("/127.0.0.1"),
            request,
        };
        self.act(|shard, env, out| shard.call(call, env, out))
    }

    pub(super) fn heartbeat(
        &mut self,
        request: m::ConsumerGroupHeartbeatRequest,
    ) -> m::ConsumerGroupHeartbeatResponse {
        let mut answers = self.call(Request::ConsumerGroupHeartbeat(request));
        let last = answers.pop().map(|answer| answer.response);
        self.late_answers.extend(answers);
        match last {
            Some(Response::ConsumerGroupHeartbeat(response)) => response,
            other => panic!("a heartbeat was answered by {other:?}"),
        }
    }

    /// What this member's client would send.
    pub(super) fn request(
        &self,
        name: &str,
        epoch: i32,
        is_full: bool,
    ) -> m::ConsumerGroupHeartbeatRequest {
        let client = &self.clients[name];
        let mut by_topic: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &client.owned {
            by_topic.entry(*topic).or_default().push(*partition);
        }
        let owned = by_topic.into_iter().map(|(topic_id, partitions)| TopicPartitions {
            topic_id,
            partitions,
            ..Default::default()
        });
        let (names, pattern) = wish(&client.wish);
        m::ConsumerGroupHeartbeatRequest {
            group_id: StrBytes::from_static(GROUP),
            member_id: StrBytes::from(name),
            member_epoch: epoch,
            instance_id: client.instance.as_deref().map(StrBytes::from),
            rebalance_timeout_ms: if is_full { 60_000 } else { -1 },
            subscribed_topic_names: if is_full { names } else { None },
            subscribed_topic_regex: if is_full { pattern } else { None },
            topic_partitions: Some(owned.collect()),
            ..Default::default()
        }
    }

    /// One heartbeat, as the answer in words.
    pub(super) fn beat(&mut self, name: &str, how: &str) -> String {
        let client = self.clients.get_mut(name).expect("a member of the script");
        if how != "holds"
            && let Some(told) = client.told.take()
        {
            client.owned = told;
        }
        let (epoch, is_unsure) = (client.epoch, client.is_unsure);
        let mut request = self.request(name, epoch, epoch == 0 || is_unsure || how == "reads");
        if how == "pings" && !is_unsure {
            request.topic_partitions = None;
        }
        let response = self.heartbeat(request);
        let words = self.words(&response);
        let client = self.clients.get_mut(name).expect("a member of the script");
        client.is_unsure = how == "loses";
        if how != "loses" {
            client.hear(&response);
        }
        words
    }

    pub(super) fn join(&mut self, name: &str, wish: &str) -> String {
        let (id, instance) = match name.split_once(':') {
            Some((id, instance)) => (id, Some(instance.to_owned())),
            None => (name, None),
        };
        let client = Client { instance, wish: wish.to_owned(), ..Default::default() };
        self.clients.insert(id.to_owned(), client);
        self.beat(id, "joins")
    }

    pub(super) fn leave(&mut self, name: &str, epoch: i32) -> String {
        let request = self.request(name, epoch, false);
        let response = self.heartbeat(request);
        self.words(&response)
    }

    pub(super) fn topics_changed(&mut self) {
        let changes = self.cluster.changes();
        self.act(|shard, env, out| {
            shard.on_topics_of_consumer_groups_changed(&changes, env, out);
        });
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.shard.next_tick().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let answers = self.act(|shard, env, out| shard.tick(env, out));
            self.late_answers.extend(answers);
        }
        self.now = end;
    }

    /// A shard that has read the log, through its bytes.
    pub(super) fn replayed(&self) -> Shard {
        let mut shard = Shard::new(Arc::new(self.config.clone()));
        for record in &self.log {
            let (key, value) = record.encode().expect("records can be encoded");
            let decoded = Record::decode(Some(key), value).expect("and decoded");
            shard.replay(decoded.expect("their kinds are known"));
        }
        shard
    }

    pub(super) fn reload(&mut self) {
        self.shard = self.replayed();
        self.act(|shard, env, out| shard.on_consumer_groups_loaded(env, out));
    }

    pub(super) fn assert_replay_agrees(&self) {
        let replayed = self.replayed();
        assert_eq!(
            durable(self.shard.consumer_group(GROUP)),
            durable(replayed.consumer_group(GROUP)),
            "a replayed group differs"
        );
    }

    /// Runs a script; every heartbeat and every `show` yields a line.
    pub(super) fn run(&mut self, script: &str) -> String {
        let mut lines = String::new();
        for statement in script.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let words: Vec<&str> = statement.split_whitespace().collect();
            let line = match words[..] {
                ["topic", name, count] => {
                    self.cluster.set(name, count.parse().expect("a count"));
                    self.topics_changed();
                    None
                }
                ["drop", name] => {
                    self.cluster.topics.remove(name);
                    self.topics_changed();
                    None
                }
                ["after", time] => {
                    let seconds = time.trim_end_matches('s').parse().expect("seconds");
                    self.pass(Duration::from_secs(seconds));
                    None
                }
                ["reload"] => {
                    self.reload();
                    None
                }
                ["show"] => Some(self.show()),
                [name, "joins", wish] => Some(self.join(name, wish)),
                [name, "reads", wish] => {
                    self.clients.get_mut(name).expect("a member").wish = wish.to_owned();
                    Some(self.beat(name, "reads"))
                }
                [name, "leaves"] => Some(self.leave(name, -1)),
                [name, "pauses"] => Some(self.leave(name, -2)),
                [name, how] => Some(self.beat(name, how)),
                _ => panic!("no statement: {statement}"),
            };
            if let Some(line) = line {
                writeln!(lines, "{statement}: {line}").expect("a String takes all");
            }
        }
        self.assert_replay_agrees();
        lines
    }

    fn words(&self, response: &m::ConsumerGroupHeartbeatResponse) -> String {
        let code = ErrorCode::from_code(response.error_code);
        if code.is_error() {
            return format!("{}: {}", code.name(), response.error_message.as_deref().unwrap_or(""));
        }
        let mut words = format!("epoch {}", response.member_epoch);
        if let Some(assignment) = &response.assignment {
            let all = assignment.topic_partitions.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| (topic.topic_id, *partition))
            });
            words += &format!(" [{}]", self.places(all));
        }
        words
    }

    fn places(&self, places: impl Iterator<Item = (TopicId, i32)>) -> String {
        let name = |(topic, partition)| match self.cluster.topic_by_id(topic) {
            Some(topic) => format!("{}{partition}", topic.name),
            None => format!("gone{partition}"),
        };
        places.map(name).collect::<Vec<_>>().join(" ")
    }

    fn show(&self) -> String {
        let Some(group) = self.group() else { return "no group".to_owned() };
        let mut line = format!(
            "{} {}/{} because {}",
            group.state_name(),
            group.epoch,
            group.assignment_epoch,
            group.last_rebalance.as_ref().map_or("nothing", |it| &it.reason)
        );
        for (id, member) in group.members() {
            let current = &member.current;
            let assigned = self.places(crate::consumer::partitions::each(&current.assigned));
            write!(line, "; {id}@{} {:?} [{assigned}]", current.epoch, current.state).unwrap();
            if !current.revoking.is_empty() {
                let revoking = self.places(crate::consumer::partitions::each(&current.revoking));
                write!(line, " gives up [{revoking}]").unwrap();
            }
        }
        line
    }
}

impl Client {
    /// Takes in an answer as a client does: it drops all when it is fenced.
    pub(super) fn hear(&mut self, response: &m::ConsumerGroupHeartbeatResponse) {
        let code = ErrorCode::from_code(response.error_code);
        if matches!(code, ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) {
            self.epoch = 0;
            self.owned.clear();
            self.told = None;
            return;
        }
        if code.is_error() {
            return;
        }
        self.epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            let all = assignment.topic_partitions.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| (topic.topic_id, *partition))
            });
            self.told = Some(all.collect());
        }
    }
}

fn wish(wish: &str) -> (Option<Vec<StrBytes>>, Option<StrBytes>) {
    match wish.strip_prefix('/').and_then(|wish| wish.strip_suffix('/')) {
        Some(pattern) => (Some(Vec::new()), Some(StrBytes::from(pattern))),
        None => {
            let names = wish.split(',').filter(|name| *name != "-").map(StrBytes::from);
            (Some(names.collect()), Some(StrBytes::new()))
        }
    }
}

/// All that the log knows of a group.
pub(super) fn durable(group: Option<&ConsumerGroup>) -> String {
    let Some(group) = group else { return "none".to_owned() };
    format!(
        "{:#?}",
        (
            (group.epoch, group.metadata_hash, group.assignment_epoch, group.assigned_at),
            group.members(),
            &group.target,
            &group.patterns,
            group.has_partition_metadata,
        )
    )
}
