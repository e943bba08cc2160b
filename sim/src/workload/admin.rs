//! The administrator: creates the scenario's topics, deletes records, creates, grows and deletes
//! topics that nobody else uses, describes and alters. Every answer has to fit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::admin::{ConfigOperation, ConfigResource, NewTopic};
use client::{Admin, Client, ClientError, IsolationLevel, OffsetSpec};
use history::{Partition, What};
use model::Offset;
use protocol::{ErrorCode, StrBytes};

use super::{Seat, text_of, topic_partition};
use crate::scenario::Scenario;
use crate::world::World;

/// How often it counts the members of a group that has no room for all.
const COUNTS: u32 = 24;

/// Creates the topics of `scenario`, however often it takes.
pub async fn create_topics(world: &World, client: &Client, scenario: &Scenario) {
    let admin = Admin::new(client);
    let mut missing: BTreeMap<StrBytes, NewTopic> = scenario
        .topics
        .iter()
        .map(|(name, topic)| {
            let new = NewTopic {
                partitions: Some(topic.partitions),
                configs: topic.config.clone(),
                ..NewTopic::default()
            };
            (StrBytes::from(name.as_str()), new)
        })
        .collect();
    while !missing.is_empty() {
        for (name, result) in admin.create_topics(&missing, false).await {
            match result {
                Ok(_) => drop(missing.remove(&name)),
                Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                    missing.remove(&name);
                }
                Err(error) => assert!(
                    error.is_retriable() || error.code().is_none(),
                    "the scenario's topic {name} is refused: {error}"
                ),
            }
        }
        world.sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn run(mut seat: Seat) {
    let client = seat.client();
    let admin = Admin::new(&client);
    let once = Admin::new(&seat.client_of_one_attempt());
    let work = seat.work.scenario.workload.clone();
    let mut tasks = Vec::new();
    tasks.extend((0..work.trims).map(|_| Task::Trim));
    tasks.extend((0..work.short_lived_topics).map(Task::ShortLived));
    tasks.extend((0..work.admin_requests).map(|_| Task::Ask));
    let scenario = Arc::clone(&seat.work.scenario);
    for (at, group) in scenario.groups.values().enumerate() {
        tasks.extend((0..group.resets).map(|_| Task::Reset(at)));
        tasks.extend((0..group.offset_deletions).map(|_| Task::DeleteOffsets(at)));
        tasks.extend((0..group.hangs).map(|_| Task::Hang(at)));
        let counts = scenario.members_max(group).map_or(0, |_| COUNTS);
        tasks.extend((0..counts).map(|_| Task::Count(at)));
    }
    let seconds = u64::from(seat.work.scenario.seconds);
    let pause = seconds * 1000 / 2 / (tasks.len() as u64).max(1);
    while !tasks.is_empty() {
        let pause = seat.dice.range(0, pause * 2);
        seat.sleep(Duration::from_millis(pause)).await;
        let at = seat.dice.range(0, tasks.len() as u64) as usize;
        match tasks.swap_remove(at) {
            Task::Trim => seat.trim(&client, &admin).await,
            Task::ShortLived(number) => seat.short_lived(&client, &admin, number).await,
            Task::Ask => seat.ask(&client, &admin).await,
            // Groups are to come to rest then.
            Task::Reset(_) | Task::Hang(_) if seat.work.is_closing() => {}
            Task::Reset(group) => seat.reset(&client, &once, group).await,
            Task::DeleteOffsets(group) => {
                let (group, _) = seat.work.group(group);
                seat.delete_offsets(&client, &once, &group).await;
            }
            Task::Hang(group) => {
                let besides = seat.beside("hang", tasks.len() as u64);
                drop(runtime::spawn(&seat.runtime, "hang", besides.hang(group)));
            }
            Task::Count(group) => seat.count_members(&admin, group).await,
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    Trim,
    ShortLived(u32),
    Ask,
    Reset(usize),
    DeleteOffsets(usize),
    Hang(usize),
    Count(usize),
}

impl Seat {
    /// Deletes the records of one partition up to a drawn offset.
    async fn trim(&mut self, client: &Client, admin: &Admin) {
        let partitions = self.work.partitions();
        let partition = self.dice.pick(&partitions).clone();
        let at = topic_partition(&partition);
        let specs = BTreeMap::from([(at.clone(), OffsetSpec::Latest)]);
        let listed = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        let end = listed.into_iter().find_map(|(_, found)| found.ok()?.offset);
        let Some(end) = end else { return };
        let before = self.dice.range(0, end.0.max(0) as u64 + 1) as i64;
        // Written down before it is asked: a request whose answer is lost may have its effect.
        self.work.recorder.note(self.node, What::Trim { partition: partition.clone(), before });
        let rules = self.work.rules(&partition.topic);
        // Kafka deletes by request only where it deletes anyway (`ReplicaManager.deleteRecords`).
        let policy = rules.is_compacted.then_some(ErrorCode::PolicyViolation);
        // The end may have fallen since.
        let end_fell = rules.is_lost_with_power.then_some(ErrorCode::OffsetOutOfRange);
        let fits: Vec<ErrorCode> = policy.into_iter().chain(end_fell).collect();
        let asked = BTreeMap::from([(at, Some(Offset(before)))]);
        for (at, answer) in admin.delete_records(&asked).await {
            if let Ok(start) = &answer {
                let (partition, low_watermark) = (partition.clone(), start.0);
                self.work.recorder.note(self.node, What::Trimmed { partition, low_watermark });
            }
            self.note_answer(&format!("DeleteRecords of {at} before {before}"), answer, &fits);
        }
    }

    async fn ask(&mut self, client: &Client, admin: &Admin) {
        let topics: Vec<String> = self.work.scenario.topics.keys().cloned().collect();
        let topic = self.dice.pick(&topics).clone();
        match self.dice.range(0, 8) {
            0 => {
                let answer = admin.describe_cluster().await;
                self.note_answer("DescribeCluster", answer, &[]);
            }
            1 => drop(self.list(admin).await),
            2 => {
                let partition = Partition { topic: Arc::from(topic), index: 0 };
                for (at, answer) in admin.describe_producers([topic_partition(&partition)]).await {
                    self.note_answer(&format!("DescribeProducers of {at}"), answer, &[]);
                }
            }
            3 => {
                let resource = ConfigResource::topic(topic.as_str());
                for (_, answer) in admin.describe_configs([resource], false).await {
                    self.note_answer(&format!("DescribeConfigs of {topic}"), answer, &[]);
                }
            }
            4 => {
                let resource = ConfigResource::topic(topic.as_str());
                // Something that no record depends on.
                let set = ConfigOperation::Set(self.dice.range(1, 100_000).to_string());
                let change = BTreeMap::from([("file.delete.delay.ms".to_owned(), set)]);
                let changes = BTreeMap::from([(resource, change)]);
                for (_, answer) in admin.alter_configs(&changes, false).await {
                    self.note_answer(&format!("AlterConfigs of {topic}"), answer, &[]);
                }
            }
            _ => self.grow(client, admin).await,
        }
    }

    fn note_answer<T>(&self, request: &str, answer: Result<T, ClientError>, fits: &[ErrorCode]) {
        if let Err(error) = answer {
            self.note_failure(request, &error, fits);
        }
    }

    /// A failure that neither the plan explains nor `fits` names is told.
    pub(super) fn note_failure(&self, request: &str, error: &ClientError, fits: &[ErrorCode]) {
        let is_fit = error.code().is_some_and(|code| fits.contains(&code));
        if !is_fit && !self.work.weather.explains_failure(error) {
            let (request, error) = (request.to_owned(), text_of(error));
            self.work.recorder.note(self.node, What::UnfitError { request, error });
        }
    }
}
