//! The administrator: creates the scenario's topics, deletes records, creates and deletes topics
//! that nobody else uses, describes and alters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::admin::{ConfigOperation, ConfigResource, NewTopic};
use client::{Admin, Client, IsolationLevel, OffsetSpec};
use history::{Partition, What};
use model::Offset;
use protocol::{ErrorCode, StrBytes};

use super::{Seat, topic_partition};
use crate::scenario::Scenario;
use crate::world::World;

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
    let work = seat.work.scenario.workload.clone();
    let mut tasks = Vec::new();
    tasks.extend((0..work.trims).map(|_| Task::Trim));
    tasks.extend((0..work.short_lived_topics).map(Task::ShortLived));
    tasks.extend((0..work.admin_requests).map(|_| Task::Ask));
    let seconds = u64::from(seat.work.scenario.seconds);
    let pause = seconds * 1000 / 2 / (tasks.len() as u64).max(1);
    while !tasks.is_empty() {
        let pause = seat.dice.range(0, pause * 2);
        seat.sleep(Duration::from_millis(pause)).await;
        let at = seat.dice.range(0, tasks.len() as u64) as usize;
        match tasks.swap_remove(at) {
            Task::Trim => seat.trim(&client, &admin).await,
            Task::ShortLived(number) => seat.short_lived(&admin, number).await,
            Task::Ask => seat.ask(&admin).await,
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    Trim,
    ShortLived(u32),
    Ask,
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
        let asked = What::Trim { partition: partition.clone(), before };
        self.work.recorder.note(self.node, asked);
        let answers = admin.delete_records(&BTreeMap::from([(at, Some(Offset(before)))])).await;
        let answer = answers.into_iter().find_map(|(_, answer)| answer.ok());
        if let Some(low_watermark) = answer.map(|start| start.0) {
            self.work.recorder.note(self.node, What::Trimmed { partition, low_watermark });
        }
    }

    /// Creates a topic and deletes it, however that ends.
    async fn short_lived(&mut self, admin: &Admin, number: u32) {
        let name = StrBytes::from(format!("short-lived-{number}").as_str());
        let partitions = Some(self.dice.range(1, 4) as i32);
        let topic = NewTopic { partitions, ..NewTopic::default() };
        drop(admin.create_topics(&BTreeMap::from([(name.clone(), topic)]), false).await);
        let pause = self.dice.spread(1, 2_000);
        self.sleep(Duration::from_millis(pause)).await;
        drop(admin.delete_topics([name]).await);
    }

    async fn ask(&mut self, admin: &Admin) {
        let topics: Vec<String> = self.work.scenario.topics.keys().cloned().collect();
        let topic = self.dice.pick(&topics).clone();
        match self.dice.range(0, 5) {
            0 => drop(admin.describe_cluster().await),
            1 => drop(admin.list_topics().await),
            2 => {
                let partition = Partition { topic: Arc::from(topic), index: 0 };
                drop(admin.describe_producers([topic_partition(&partition)]).await);
            }
            3 => {
                let resource = ConfigResource::topic(topic.as_str());
                drop(admin.describe_configs([resource], false).await);
            }
            _ => {
                let resource = ConfigResource::topic(topic.as_str());
                // Something that no record depends on.
                let set = ConfigOperation::Set(self.dice.range(1, 100_000).to_string());
                let change = BTreeMap::from([("file.delete.delay.ms".to_owned(), set)]);
                drop(admin.alter_configs(&BTreeMap::from([(resource, change)]), false).await);
            }
        }
    }
}
