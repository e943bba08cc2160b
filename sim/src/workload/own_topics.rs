//! Topics that only the administrator uses: a few names that are created, written, read and deleted
//! over and over, and one that grows.
//!
//! A life is one topic from its creation to its deletion. Its records name it, so that what an
//! earlier life left behind is seen in a later one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use client::admin::NewTopic;
use client::{
    Admin, Client, Consumer, ConsumerConfig, IsolationLevel, OffsetSpec, Producer, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use model::{PartitionIndex, TopicId};
use protocol::{ErrorCode, StrBytes};

use super::Seat;

/// So few that each is used again soon.
const NAMES: u32 = 3;

/// The topic that grows, and how far.
const GROWING: &str = "growing";
const PARTITIONS_MAX: i32 = 8;

/// Most records of a life at a time.
const RECORDS_MAX: u64 = 12;

/// A life waits so long for its records.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// A topic that is there.
struct Life {
    name: StrBytes,
    id: TopicId,
    number: u32,
    partitions: std::ops::Range<i32>,
}

/// What a life's records say at which place.
type Written = BTreeMap<(TopicPartition, i64), Bytes>;

impl Seat {
    /// Creates a topic, writes, reads and deletes it, as far as that goes.
    pub(super) async fn short_lived(&mut self, client: &Client, admin: &Admin, number: u32) {
        let name = StrBytes::from(format!("short-lived-{}", number % NAMES));
        let partitions = self.dice.range(1, 4) as i32;
        let Some(life) = self.create(admin, &name, partitions).await else {
            // Left over from a life whose end nobody knows, or a creation that came late.
            return self.delete_whatever(admin, &name).await;
        };
        self.expect_empty(client, &life).await;
        if !self.dice.one_in(3) {
            let written = self.write(client, &life).await;
            self.read(client, &life, &written).await;
        }
        let pause = self.dice.spread(1, 1_000);
        self.sleep(Duration::from_millis(pause)).await;
        self.delete(admin, &name, life.id).await;
        self.list(admin).await;
    }

    /// One more partition of the topic that grows, or its first one.
    pub(super) async fn grow(&mut self, client: &Client, admin: &Admin) {
        let name = StrBytes::from(GROWING);
        if let Some(life) = self.create(admin, &name, 1).await {
            self.work.lives.grown(&name, 1);
            let written = self.write(client, &life).await;
            return self.read(client, &life, &written).await;
        }
        let Some(topic) = self.list(admin).await.and_then(|mut all| all.remove(&name)) else {
            return;
        };
        let count = topic.partitions.len() as i32;
        if PARTITIONS_MAX <= count {
            return;
        }
        let counts = BTreeMap::from([(name.clone(), count + 1)]);
        let answer = admin.create_partitions(&counts, false).await.remove(&name);
        match answer {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                // INVALID_PARTITIONS: the answer to an earlier attempt was lost.
                let fits = [ErrorCode::InvalidPartitions];
                return self.note_failure(&format!("CreatePartitions of {name}"), &error, &fits);
            }
            None => return,
        }
        self.work.lives.grown(&name, count + 1);
        let number = self.work.lives.number();
        let life = Life { name, id: topic.id, number, partitions: count..count + 1 };
        self.expect_empty(client, &life).await;
        let written = self.write(client, &life).await;
        self.read(client, &life, &written).await;
    }

    async fn create(&mut self, admin: &Admin, name: &StrBytes, partitions: i32) -> Option<Life> {
        let new = NewTopic { partitions: Some(partitions), ..NewTopic::default() };
        let answer = admin.create_topics(&BTreeMap::from([(name.clone(), new)]), false).await;
        match answer.into_iter().next()?.1 {
            Ok(created) => {
                let number = self.work.lives.number();
                let (name, id) = (name.clone(), created.id);
                Some(Life { name, id, number, partitions: 0..partitions })
            }
            Err(error) => {
                let fits = [ErrorCode::TopicAlreadyExists];
                self.note_failure(&format!("CreateTopics of {name}"), &error, &fits);
                None
            }
        }
    }

    async fn delete_whatever(&mut self, admin: &Admin, name: &StrBytes) {
        if let Some(topic) = self.list(admin).await.and_then(|mut all| all.remove(name)) {
            self.delete(admin, name, topic.id).await;
        }
    }

    async fn delete(&mut self, admin: &Admin, name: &StrBytes, id: TopicId) {
        match admin.delete_topics([name.clone()]).await.remove(name) {
            Some(Ok(())) => self.work.lives.deleted(name, id, self.work.world.now()),
            Some(Err(error)) => {
                self.note_failure(&format!("DeleteTopics of {name}"), &error, &[]);
            }
            None => {}
        }
    }

    /// All topics, and what is wrong with them.
    pub(super) async fn list(
        &mut self,
        admin: &Admin,
    ) -> Option<BTreeMap<StrBytes, client::metadata::Topic>> {
        let known = self.work.lives.known();
        match admin.list_topics().await {
            Ok(listed) => {
                self.work.lives.look(&known, &listed, self.work.world.now());
                Some(listed)
            }
            Err(error) => {
                self.note_failure("Metadata of all topics", &error, &[]);
                None
            }
        }
    }

    /// Nobody has written to it.
    async fn expect_empty(&mut self, client: &Client, life: &Life) {
        let specs = life.places().map(|at| (at, OffsetSpec::Latest)).collect();
        let ends = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        for (at, end) in ends {
            match end {
                Ok(end) => {
                    if let Some(end) = end.offset.filter(|end| end.0 != 0) {
                        let text = format!("{at}: ends at {end}, and nobody has written to it");
                        self.work.lives.find("not-empty-when-created", text);
                    }
                }
                Err(error) => self.note_failure(&format!("ListOffsets of {at}"), &error, &[]),
            }
        }
    }

    /// Writes some records; those that were acknowledged. None is on its way any more then.
    async fn write(&mut self, client: &Client, life: &Life) -> Written {
        let config = ProducerConfig {
            delivery_timeout: Duration::from_secs(4),
            block_max: Duration::from_secs(4),
            create_topics: false,
            ..ProducerConfig::default()
        };
        let producer = Producer::start(client, config).expect("the settings are sound");
        let mut deliveries = Vec::new();
        for count in 0..self.dice.range(1, RECORDS_MAX) {
            let partitions = life.partitions.clone();
            let index = self.dice.range(partitions.start as u64, partitions.end as u64) as i32;
            let value = Bytes::from(format!("life {} {count}", life.number));
            let record = ProducerRecord {
                topic: life.name.clone(),
                partition: Some(PartitionIndex(index)),
                value: Some(value.clone()),
                ..ProducerRecord::default()
            };
            if let Ok(delivery) = producer.send(record).await {
                deliveries.push((TopicPartition::new(life.name.clone(), index), value, delivery));
            }
        }
        let mut written = Written::new();
        for (at, value, delivery) in deliveries {
            if let Ok(metadata) = delivery.acknowledged().await
                && let Some(offset) = metadata.offset
            {
                written.insert((at, offset.0), value);
            }
        }
        written
    }

    /// Reads until all of `written` has been passed; every record is of this life.
    async fn read(&mut self, client: &Client, life: &Life, written: &Written) {
        let mut ends: BTreeMap<&TopicPartition, i64> = BTreeMap::new();
        for (at, offset) in written.keys() {
            ends.insert(at, offset + 1);
        }
        let mut consumer = Consumer::new(client, ConsumerConfig::default());
        consumer.assign(ends.keys().map(|at| (*at).clone()));
        for at in ends.keys() {
            consumer.seek_to_beginning(at).expect("the partition is assigned");
        }
        let deadline = self.runtime.clock.now() + READ_LIMIT;
        let mut seen = Written::new();
        let is_passed = |consumer: &Consumer, at: &TopicPartition, offset: i64| {
            consumer.position(at).is_some_and(|next| offset < next.0)
        };
        while self.runtime.clock.now() < deadline
            && !ends.iter().all(|(at, end)| is_passed(&consumer, at, end - 1))
        {
            let Ok(records) = consumer.poll(Duration::from_millis(300)).await else { break };
            for record in records {
                let value = record.value.unwrap_or_default();
                if !value.starts_with(format!("life {} ", life.number).as_bytes()) {
                    let text = format!("{} at {}: {value:?}", record.at, record.offset);
                    self.work.lives.find("not-empty-when-created", text);
                }
                seen.insert((record.at, record.offset.0), value);
            }
        }
        // A deletion that comes late may have put another topic in its place.
        if !self.work.weather.is_calm {
            return;
        }
        for (place, value) in written {
            if is_passed(&consumer, &place.0, place.1) && seen.get(place) != Some(value) {
                let text = format!("{}@{}: {value:?} was acknowledged there", place.0, place.1);
                self.work.lives.find("lost-write", text);
            }
        }
    }
}

impl Life {
    fn places(&self) -> impl Iterator<Item = TopicPartition> {
        self.partitions.clone().map(|index| TopicPartition::new(self.name.clone(), index))
    }
}
