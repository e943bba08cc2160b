//! From words to calls.

use std::time::Duration;

use bytes::Bytes;
use model::TopicId;
use protocol::messages as m;
use protocol::messages::join_group_request::JoinGroupRequestProtocol;
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use protocol::{Encode, StrBytes, Writer};

use super::{Client, World, topic_id};
use crate::call::{Answer, Request, Response};
use crate::cluster::TopicChanges;

/// The words behind the verb: `name=value`, and others.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn text(&self, name: &str) -> Option<StrBytes> {
        self.get(name).map(|text| StrBytes::from(text.replace('_', " ")))
    }

    fn list(&self, name: &str) -> Option<Vec<StrBytes>> {
        Some(self.get(name)?.split('+').filter(|one| !one.is_empty()).map(StrBytes::from).collect())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    fn version(&self, newest: i16) -> i16 {
        self.number("v").unwrap_or(newest)
    }

    fn group(&self) -> StrBytes {
        self.text("group").unwrap_or(StrBytes::from_static("g"))
    }

    fn bare(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().copied().filter(|word| !word.contains('='))
    }

    /// `t-0@5` is partition 0 of t at offset 5.
    fn partitions(&self) -> Vec<(&'a str, i32, i64)> {
        let parse = |word: &'a str| {
            let (partition, offset) = word.split_once('@').unwrap_or((word, "0"));
            let (topic, index) = partition.rsplit_once('-').unwrap();
            (topic, index.parse().unwrap(), offset.parse().unwrap())
        };
        self.bare().map(parse).collect()
    }
}

impl World {
    /// Plays one event.
    pub(crate) fn play(&mut self, event: &str) {
        self.answers.clear();
        let mut words = event.split_whitespace();
        let who = words.next().unwrap();
        let verb = words.next().unwrap_or_default();
        if who == "after" {
            return self.wait(parse_duration(verb));
        }
        let words = Words(words.collect());
        match (who, verb) {
            ("coordinator", "restarts") => self.restart(),
            ("topic", name) => self.change_topic(name, &words),
            ("admin", verb) => self.admin(verb, &words),
            (who, "joins") => self.join(who, &words),
            (who, "enters") => {
                self.join(who, &words);
                self.join(who, &words);
            }
            (who, "syncs") => self.sync(who, &words),
            (who, "beats") => self.beat(who, &words),
            (who, "leaves") => self.leave(who, &words),
            (who, "commits") => self.commit(who, &words),
            (who, "forgets") => {
                let known = self.clients.get_mut(who).unwrap();
                known.member_id = StrBytes::new();
            }
            (_, verb) => panic!("no such verb: {verb}"),
        }
    }

    fn client(&self, who: &str) -> Client {
        self.clients
            .get(who)
            .cloned()
            .unwrap_or_else(|| Client { generation: -1, ..Client::default() })
    }

    fn join(&mut self, who: &str, words: &Words<'_>) {
        let mut client = self.client(who);
        client.instance = words.text("instance").or(client.instance);
        self.clients.insert(who.to_owned(), client.clone());
        let protocol_type = words.text("type").unwrap_or(StrBytes::from_static("consumer"));
        let topics = words.list("topics").unwrap_or(vec![StrBytes::from_static("t")]);
        let protocols = words.list("protocols").unwrap_or(vec![StrBytes::from_static("range")]);
        let protocols = protocols.into_iter().map(|name| JoinGroupRequestProtocol {
            metadata: words.text("metadata").map_or_else(
                || subscription(&topics),
                |text| Bytes::copy_from_slice(text.as_bytes()),
            ),
            name,
            ..Default::default()
        });
        let request = m::JoinGroupRequest {
            group_id: words.group(),
            session_timeout_ms: words.number("session").unwrap_or(45) * 1000,
            rebalance_timeout_ms: words.number("rebalance").unwrap_or(300) * 1000,
            member_id: words.text("member").unwrap_or(client.member_id),
            group_instance_id: client.instance,
            protocol_type,
            protocols: protocols.collect(),
            reason: words.text("reason"),
            ..Default::default()
        };
        self.call(who, words.version(9), Request::JoinGroup(request));
    }

    /// `a syncs a:x b:y` gives a x, and b y; `a syncs all` gives everybody something.
    fn sync(&mut self, who: &str, words: &Words<'_>) {
        let client = self.client(who);
        let version = words.version(5);
        let by_name = |word: &str| {
            let (member, assignment) = word.split_once(':')?;
            let known = self.names.iter().find(|(_, name)| *name == member);
            let member_id = known.map_or_else(|| StrBytes::from(member), |(id, _)| id.clone());
            Some((member_id, assignment.to_owned()))
        };
        let all = client.members.iter();
        let all = all.map(|id| (id.clone(), format!("{}@{}", self.name(id), client.generation)));
        let assignments: Vec<_> = match words.bare().next() {
            Some("all") => all.collect(),
            _ => words.bare().filter_map(by_name).collect(),
        };
        let assignments = assignments.into_iter().map(|(member_id, assignment)| {
            let assignment = Bytes::from(assignment);
            SyncGroupRequestAssignment { member_id, assignment, ..Default::default() }
        });
        let request = m::SyncGroupRequest {
            group_id: words.group(),
            generation_id: words.number("generation").unwrap_or(client.generation),
            member_id: words.text("member").unwrap_or(client.member_id),
            group_instance_id: client.instance,
            protocol_type: words.text("type").or(client.protocol_type).filter(|_| version >= 5),
            protocol_name: words.text("protocol").or(client.protocol).filter(|_| version >= 5),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.call(who, version, Request::SyncGroup(request));
    }

    fn beat(&mut self, who: &str, words: &Words<'_>) {
        let client = self.client(who);
        let request = m::HeartbeatRequest {
            group_id: words.group(),
            generation_id: words.number("generation").unwrap_or(client.generation),
            member_id: words.text("member").unwrap_or(client.member_id),
            group_instance_id: client.instance,
            ..Default::default()
        };
        self.call(who, words.version(4), Request::Heartbeat(request));
    }

    /// `a leaves`, or with `also=b+c` several members in one request.
    fn leave(&mut self, who: &str, words: &Words<'_>) {
        let also = words.list("also").unwrap_or_default();
        let names = std::iter::once(StrBytes::from(who)).chain(also);
        let members = names.map(|name| {
            let client = self.client(&name);
            MemberIdentity {
                member_id: words.text("member").unwrap_or(client.member_id),
                group_instance_id: client.instance,
                reason: words.text("reason"),
                ..Default::default()
            }
        });
        let request = m::LeaveGroupRequest {
            group_id: words.group(),
            member_id: self.client(who).member_id,
            members: members.collect(),
            ..Default::default()
        };
        self.call(who, words.version(5), Request::LeaveGroup(request));
    }

    /// As whoever calls a shard looked it up; with `topic-id=7` at another time.
    fn asked_topic_id(&self, name: &str, words: &Words<'_>) -> TopicId {
        let known = || self.topics.0.get(name).copied().unwrap_or_default();
        words.number("topic-id").map_or_else(known, topic_id)
    }

    fn commit(&mut self, who: &str, words: &Words<'_>) {
        let client = self.client(who);
        let metadata = words.number("metadata").map(|length| "m".repeat(length));
        let topics = words.partitions().into_iter().map(|(topic, index, offset)| {
            let id = self.asked_topic_id(topic, words);
            OffsetCommitRequestTopic {
                name: StrBytes::from(topic),
                topic_id: id,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: index,
                    committed_offset: offset,
                    committed_metadata: metadata.clone().map(StrBytes::from),
                    ..Default::default()
                }],
                ..Default::default()
            }
        });
        let request = m::OffsetCommitRequest {
            group_id: words.group(),
            generation_id_or_member_epoch: words.number("generation").unwrap_or(client.generation),
            member_id: words.text("member").unwrap_or(client.member_id),
            group_instance_id: client.instance,
            retention_time_ms: words.number("retention").map_or(-1, |seconds: i64| seconds * 1000),
            topics: topics.collect(),
            ..Default::default()
        };
        self.call(who, words.version(9), Request::OffsetCommit(request));
    }

    fn admin(&mut self, verb: &str, words: &Words<'_>) {
        let group = words.group();
        let version = words.version(6);
        match verb {
            "describes" => self.call("admin", version, Request::DescribeGroup(group)),
            "deletes" => self.call("admin", version, Request::DeleteGroup(group)),
            "lists" => {
                let states = words.list("states").unwrap_or_default();
                let types = words.list("types").unwrap_or_default();
                self.call("admin", version, Request::ListGroups { states, types });
            }
            "counts" => {
                let counts = format!("counts {:?}", self.shard.counts());
                self.tell(&counts);
            }
            "asks" => {
                let why =
                    self.shard.groups.get(&group).and_then(|group| group.last_rebalance().cloned());
                let why = why.map(|why| format!("{} at {} ms", why.reason, why.at));
                let why = self.name_members(&why.unwrap_or("none".to_owned()));
                self.tell(&format!("last rebalance: {why}"));
            }
            "fetches" => self.fetch(group, words),
            "forgets" => self.forget(group, words),
            "removes" => {
                let members = words.bare().map(|instance| MemberIdentity {
                    group_instance_id: Some(StrBytes::from(instance)),
                    reason: words.text("reason"),
                    ..Default::default()
                });
                let members = members.collect();
                let request =
                    m::LeaveGroupRequest { group_id: group, members, ..Default::default() };
                self.call("admin", 5, Request::LeaveGroup(request));
            }
            _ => panic!("no such verb: {verb}"),
        }
    }

    fn fetch(&mut self, group_id: StrBytes, words: &Words<'_>) {
        let topics =
            words.partitions().into_iter().map(|(topic, index, _)| OffsetFetchRequestTopics {
                name: StrBytes::from(topic),
                topic_id: self.asked_topic_id(topic, words),
                partition_indexes: vec![index],
                ..Default::default()
            });
        let topics = (0 < words.bare().count()).then(|| topics.collect());
        let group = OffsetFetchRequestGroup { group_id, topics, ..Default::default() };
        self.call("admin", words.version(9), Request::OffsetFetch { group, require_stable: false });
    }

    fn forget(&mut self, group_id: StrBytes, words: &Words<'_>) {
        let topics =
            words.partitions().into_iter().map(|(topic, index, _)| OffsetDeleteRequestTopic {
                name: StrBytes::from(topic),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: index }],
            });
        let request = m::OffsetDeleteRequest { group_id, topics: topics.collect() };
        self.call("admin", 0, Request::OffsetDelete(request));
    }

    /// `topic t id=7` creates it, anew if it is there, `topic t gone` deletes it; `unseen` does so while
    /// no coordinator looks.
    fn change_topic(&mut self, name: &str, words: &Words<'_>) {
        let mut changes = TopicChanges::default();
        if self.topics.0.remove(name).is_some() {
            changes.deleted.insert(StrBytes::from(name));
        }
        if let Some(id) = words.number("id") {
            self.topics.0.insert(name.to_owned(), topic_id(id));
            changes.created.insert(StrBytes::from(name));
        }
        if !words.bare().any(|word| word == "unseen") {
            self.run(|shard, env, out| shard.on_topics_changed(&changes, env, out));
        }
    }

    /// A member id is called by the client that is told it first.
    pub(crate) fn name_member(&mut self, answer: &Answer) {
        let Response::JoinGroup(response) = &answer.response else { return };
        let who = &self.open[&answer.ticket].who;
        if response.member_id.is_empty() || self.names.contains_key(&response.member_id) {
            return;
        }
        let same = |name: &&String| name.trim_end_matches(|c: char| c.is_ascii_digit()) == who;
        let name = match self.names.values().filter(same).count() {
            0 => who.clone(),
            count => format!("{who}{}", count + 1),
        };
        self.names.insert(response.member_id.clone(), name);
    }

    /// A client remembers what it was told.
    pub(crate) fn learn(&mut self, who: &str, response: &Response) {
        let Response::JoinGroup(response) = response else { return };
        let Some(client) = self.clients.get_mut(who) else { return };
        match response.error_code {
            0 => {
                client.generation = response.generation_id;
                client.protocol_type = response.protocol_type.clone();
                client.protocol = response.protocol_name.clone();
                client.members = response.members.iter().map(|m| m.member_id.clone()).collect();
                client.member_id = response.member_id.clone();
            }
            79 => client.member_id = response.member_id.clone(),
            _ => {}
        }
    }
}

/// As a consumer of version 1 says it.
pub(crate) fn subscription(topics: &[StrBytes]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(1);
    let subscription =
        m::ConsumerProtocolSubscription { topics: topics.to_vec(), ..Default::default() };
    subscription.encode(&mut writer, 1).unwrap();
    writer.into_bytes()
}

fn parse_duration(text: &str) -> Duration {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().unwrap();
    match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        "d" => Duration::from_secs(number * 86400),
        unit => panic!("no such unit: {unit}"),
    }
}
