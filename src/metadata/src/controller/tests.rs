//! The controller's decisions: tables of requests and answers, and what holds for any sequence of them.

use model::{BrokerEpoch, BrokerId, Offset, PartitionIndex, TopicId, Uuid};
use proptest::prelude::*;
use protocol::ErrorCode;

use super::*;
use crate::config::{BrokerConfig, Property};
use crate::image::Image;
use crate::record::{ConfigResource, Endpoint, Record, Restart, SecurityProtocol};

fn config(settings: &[(&str, &str)]) -> BrokerConfig {
    let given = [
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
        ("listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("log.dirs", "data"),
    ];
    let property = |(key, value): &(&str, &str)| Property {
        line: None,
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    let properties: Vec<Property> = given.iter().chain(settings).map(property).collect();
    BrokerConfig::from_properties(&properties).unwrap().config
}

/// A cluster whose every decision is written, read back and replayed.
struct World {
    image: Image,
    config: BrokerConfig,
    drawn: u8,
}

impl World {
    /// A cluster of these brokers, all alive.
    fn new(brokers: &[i32], settings: &[(&str, &str)]) -> World {
        let mut world = World { image: Image::default(), config: config(settings), drawn: 0 };
        world.apply(bootstrap("cluster", &[]));
        for &broker in brokers {
            world.start(broker, Restart::Clean);
        }
        world
    }

    fn start(&mut self, broker: i32, restart: Restart) -> BrokerEpoch {
        self.drawn = self.drawn.wrapping_add(1);
        let registration = Registration {
            broker: BrokerId(broker),
            cluster_id: "cluster".to_owned(),
            incarnation: Uuid([self.drawn; 16]),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security_protocol: SecurityProtocol::Plaintext,
            }],
            rack: None,
            restart,
            is_other_alive: false,
        };
        let epoch = self.run(|image, _, _| register_broker(image, &registration)).unwrap();
        self.run(|image, _, _| unfence_broker(image, BrokerId(broker), epoch)).unwrap();
        epoch
    }

    /// Decides, and applies what was decided.
    fn run<T>(
        &mut self,
        decide: impl FnOnce(&Image, &BrokerConfig, Random<'_>) -> Decision<T>,
    ) -> T {
        let drawn = &mut self.drawn;
        let mut random = || {
            *drawn = drawn.wrapping_add(1);
            [*drawn; 16]
        };
        let Decision { records, outcome } = decide(&self.image, &self.config, &mut random);
        self.apply(records);
        outcome
    }

    fn apply(&mut self, records: Vec<Record>) {
        let read: Vec<Record> =
            records.iter().map(|record| Record::decode(&record.encode()).unwrap()).collect();
        assert_eq!(read, records, "what is written is read");
        let before = self.image.clone();
        self.image = before.replay(before.next_offset(), &read).unwrap();
        self.image.assert_invariants();
    }

    fn create(&mut self, topics: &[NewTopic]) -> Vec<Result<CreatedTopic, ControllerError>> {
        self.run(|image, config, random| create_topics(image, config, topics, false, random))
    }
}

fn topic(name: &str, partition_count: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partition_count,
        replication_factor,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn codes<T>(outcomes: Vec<Result<T, ControllerError>>) -> Vec<ErrorCode> {
    outcomes.into_iter().map(|o| o.err().map_or(ErrorCode::None, |error| error.code())).collect()
}

#[test]
fn topics_are_answered_in_the_order_of_the_request() {
    let mut world = World::new(&[1], &[]);
    let mut bad_config = topic("config", 1, 1);
    bad_config.configs = vec![("retention.mss".to_owned(), Some("1".to_owned()))];
    let mut no_value = topic("no-value", 1, 1);
    no_value.configs = vec![("retention.ms".to_owned(), None)];
    let long = "x".repeat(250);
    let asked = [
        topic("good", 3, 1),
        topic("bad name", 1, 1),
        topic("..", 1, 1),
        topic(&long, 1, 1),
        topic("none", 0, 1),
        topic("factor", 1, 0),
        topic("brokers", 1, 2),
        bad_config,
        no_value,
        topic("a.b", 1, 1),
        topic("a_b", 1, 1),
        topic("twice", 1, 1),
        topic("twice", 1, 1),
        topic("defaults", -1, -1),
    ];
    use ErrorCode as E;
    assert_eq!(
        codes(world.create(&asked)),
        [
            E::None,
            E::InvalidTopicException,
            E::InvalidTopicException,
            E::InvalidTopicException,
            E::InvalidPartitions,
            E::InvalidReplicationFactor,
            E::InvalidReplicationFactor,
            E::InvalidConfig,
            E::InvalidConfig,
            E::None,
            E::InvalidTopicException,
            E::InvalidRequest,
            E::InvalidRequest,
            E::None,
        ]
    );
    let names: Vec<&str> = world.image.topics().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["a.b", "defaults", "good"]);
    assert_eq!(codes(world.create(&[topic("good", 1, 1)])), [E::TopicAlreadyExists]);
    let too_many = codes(world.create(&[topic("many", 10_001, 1)]));
    assert_eq!(too_many, [E::PolicyViolation]);
}

#[test]
fn validating_changes_nothing() {
    let mut world = World::new(&[1], &[]);
    let before = world.image.clone();
    let asked = [topic("t", 1, 1)];
    let outcome =
        world.run(|image, config, random| create_topics(image, config, &asked, true, random));
    assert!(outcome[0].is_ok());
    assert_eq!(world.image, before);
}

#[test]
fn assignments_by_hand_are_checked() {
    let mut world = World::new(&[1, 2, 3], &[]);
    let assigned = |replicas: &[&[i32]]| NewTopic {
        assignments: replicas
            .iter()
            .zip(0..)
            .map(|(brokers, index)| Assignment {
                index: PartitionIndex(index),
                brokers: brokers.iter().copied().map(BrokerId).collect(),
            })
            .collect(),
        ..topic("t", -1, -1)
    };
    use ErrorCode as E;
    let wrong = E::InvalidReplicaAssignment;
    for replicas in [&[&[1, 1][..]][..], &[&[]], &[&[1, 2], &[3]], &[&[9]]] {
        assert_eq!(codes(world.create(&[assigned(replicas)])), [wrong], "{replicas:?}");
    }
    assert_eq!(codes(world.create(&[assigned(&[&[3, 1], &[2, 3]])])), [E::None]);
    let leaders: Vec<i32> =
        world.image.topic("t").unwrap().partitions.iter().map(|p| p.leader.0).collect();
    assert_eq!(leaders, [3, 2], "the first replica leads");
}

#[test]
fn topics_go_by_name_and_by_id() {
    let mut world = World::new(&[1], &[]);
    let created = world.create(&[topic("a", 1, 1), topic("b", 1, 1)]);
    let id = created[1].as_ref().unwrap().id;
    let asked = [
        TopicRef::Name("a".to_owned()),
        TopicRef::Id(id),
        TopicRef::Name("c".to_owned()),
        TopicRef::Id(TopicId::from_random([99; 16])),
        TopicRef::Neither,
    ];
    use ErrorCode as E;
    let deleted = world.run(|image, config, _| delete_topics(image, config, &asked));
    let due = [E::None, E::None, E::UnknownTopicOrPartition, E::UnknownTopicId, E::InvalidRequest];
    assert_eq!(codes(deleted), due);
    assert_eq!(world.image.topic_count(), 0);

    let mut world = World::new(&[1], &[("delete.topic.enable", "false")]);
    world.create(&[topic("a", 1, 1)]);
    let asked = [TopicRef::Name("a".to_owned())];
    let deleted = world.run(|image, config, _| delete_topics(image, config, &asked));
    assert_eq!(codes(deleted), [E::TopicDeletionDisabled]);
}

#[test]
fn partitions_only_become_more() {
    let mut world = World::new(&[1], &[]);
    world.create(&[topic("t", 2, 1)]);
    let mut grow = |topic: &str, count: i32| {
        let asked = [MorePartitions { topic: topic.to_owned(), count, assignments: None }];
        let grown = world
            .run(|image, config, random| create_partitions(image, config, &asked, false, random));
        codes(grown)[0]
    };
    use ErrorCode as E;
    assert_eq!(grow("t", 1), E::InvalidPartitions);
    assert_eq!(grow("t", 2), E::InvalidPartitions);
    assert_eq!(grow("t", 5), E::None);
    assert_eq!(grow("nowhere", 5), E::UnknownTopicOrPartition);
    assert_eq!(world.image.topic("t").unwrap().partitions.len(), 5);
}

#[test]
fn the_configs_of_a_resource_change_together_or_not_at_all() {
    let mut world = World::new(&[1], &[]);
    world.create(&[topic("t", 1, 1)]);
    let resource = ConfigResource::Topic("t".to_owned());
    let text = |value: &str| Some(value.to_owned());
    let mut alter = |changes: &[(&str, ConfigOp)]| {
        let changes = changes.iter().map(|(name, op)| ((*name).to_owned(), op.clone())).collect();
        let asked = [Alteration { resource: resource.clone(), changes }];
        let done =
            world.run(|image, config, _| incremental_alter_configs(image, config, &asked, false));
        let set = world.image.overrides(&resource).iter();
        let set: Vec<String> = set.map(|(name, value)| format!("{name}={value}")).collect();
        (codes(done)[0], set.join(" "))
    };
    use ErrorCode as E;
    let set = |value| ConfigOp::Set(text(value));
    let retention = "retention.ms=5".to_owned();
    assert_eq!(alter(&[("retention.ms", set("5"))]), (E::None, retention.clone()));
    let half = [("segment.bytes", set("2000000")), ("retention.ms", set("soon"))];
    assert_eq!(alter(&half), (E::InvalidConfig, retention.clone()));
    let append = [("cleanup.policy", ConfigOp::Append(text("compact")))];
    let both = format!("cleanup.policy=delete,compact {retention}");
    assert_eq!(alter(&append), (E::None, both.clone()));
    assert_eq!(alter(&append), (E::None, both), "it is in the list already");
    let subtract = [("cleanup.policy", ConfigOp::Subtract(text("delete")))];
    let compact = format!("cleanup.policy=compact {retention}");
    assert_eq!(alter(&subtract), (E::None, compact));
    let delete = [("cleanup.policy", ConfigOp::Delete), ("retention.ms", ConfigOp::Delete)];
    assert_eq!(alter(&delete), (E::None, String::new()));
    assert_eq!(alter(&[("retention.ms", ConfigOp::Append(text("1")))]).0, E::InvalidConfig);
    // `ConfigAdminManager.preprocess`: no value is a malformed request, not a wrong value.
    assert_eq!(alter(&[("retention.ms", ConfigOp::Set(None))]).0, E::InvalidRequest);
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut world = World::new(&[], &[]);
    let epoch = world.start(1, Restart::Clean);
    let mut next = 0;
    for _ in 0..5 {
        let block =
            world.run(|image, _, _| allocate_producer_ids(image, BrokerId(1), epoch)).unwrap();
        assert!(block.first.0 >= next, "{block:?} overlaps");
        next = block.first.0 + block.count;
    }
    let stale = BrokerEpoch(epoch.0 - 1);
    let refused = world.run(|image, _, _| allocate_producer_ids(image, BrokerId(1), stale));
    assert_eq!(codes(vec![refused]), [ErrorCode::StaleBrokerEpoch]);
}

#[test]
fn an_unclean_restart_begins_new_leader_epochs() {
    let mut world = World::new(&[1], &[]);
    world.create(&[topic("t", 3, 1)]);
    let epochs = |world: &World| -> Vec<i32> {
        world.image.topic("t").unwrap().partitions.iter().map(|p| p.leader_epoch.0).collect()
    };
    let before = epochs(&world);
    world.start(1, Restart::Unclean);
    assert!(epochs(&world).iter().zip(&before).all(|(now, before)| now > before));
    assert!(world.image.topic("t").unwrap().partitions.iter().all(|p| p.leader == BrokerId(1)));
}

#[test]
fn offsets_that_are_adopted_stay_compacted() {
    let mut world = World::new(&[1], &[]);
    let name = "__consumer_offsets".to_owned();
    let partitions = [(PartitionIndex(0), model::LeaderEpoch(4))].into();
    let found = [FoundTopic { name: name.clone(), id: None, partition_count: 3, partitions }];
    let adopted =
        world.run(|image, config, random| adopt_topics(image, config, &found, BrokerId(1), random));
    assert_eq!(codes(adopted), [ErrorCode::None]);
    let overrides = world.image.overrides(&ConfigResource::Topic(name));
    assert_eq!(overrides.get("cleanup.policy").map(String::as_str), Some("compact"));
    // Some are missing, and perhaps not only these two.
    let topic = world.image.topic("__consumer_offsets").unwrap();
    assert_eq!(topic.partitions.len(), 50);
    let more =
        [MorePartitions { topic: "__consumer_offsets".to_owned(), count: 60, assignments: None }];
    let grown =
        world.run(|image, config, random| create_partitions(image, config, &more, false, random));
    assert_eq!(codes(grown), [ErrorCode::InvalidRequest]);
}

#[test]
fn offsets_that_are_all_there_keep_the_number_of_their_partitions() {
    let mut world = World::new(&[1], &[]);
    let name = "__consumer_offsets".to_owned();
    let partitions = (0..5).map(|index| (PartitionIndex(index), model::LeaderEpoch(0))).collect();
    let found = [FoundTopic { name: name.clone(), id: None, partition_count: 5, partitions }];
    let adopted =
        world.run(|image, config, random| adopt_topics(image, config, &found, BrokerId(1), random));
    assert_eq!(codes(adopted), [ErrorCode::None]);
    assert_eq!(world.image.topic(&name).unwrap().partitions.len(), 5);
}

#[test]
fn found_topics_keep_their_ids_and_go_on_with_their_epochs() {
    let mut world = World::new(&[1], &[]);
    let id = TopicId::from_random([77; 16]);
    let found = FoundTopic {
        name: "found".to_owned(),
        id: Some(id),
        partition_count: 3,
        partitions: [(PartitionIndex(2), model::LeaderEpoch(4))].into(),
    };
    let adopted = world.run(|image, config, random| {
        adopt_topics(image, config, &[found.clone(), found.clone()], BrokerId(1), random)
    });
    assert_eq!(codes(adopted), [ErrorCode::None, ErrorCode::TopicAlreadyExists]);
    let topic = world.image.topic("found").unwrap();
    assert_eq!((topic.id, topic.partitions.len()), (id, 3));
    assert_eq!(topic.partitions[2].leader_epoch.0, 5);
}

/// One request of a random history.
#[derive(Clone, Debug)]
enum Step {
    Create { name: u8, partitions: i32, factor: i16 },
    Delete { name: u8 },
    Grow { name: u8, count: i32 },
    Retention { name: u8, value: i64 },
    Restart { broker: u8, is_clean: bool },
    Fence { broker: u8 },
    ProducerIds { broker: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, -1..5i32, -1..4i16).prop_map(|(name, partitions, factor)| Step::Create {
            name,
            partitions,
            factor
        }),
        (0..4u8).prop_map(|name| Step::Delete { name }),
        (0..4u8, 0..8i32).prop_map(|(name, count)| Step::Grow { name, count }),
        (0..4u8, -2..3i64).prop_map(|(name, value)| Step::Retention { name, value }),
        (0..3u8, any::<bool>()).prop_map(|(broker, is_clean)| Step::Restart { broker, is_clean }),
        (0..3u8).prop_map(|broker| Step::Fence { broker }),
        (0..3u8).prop_map(|broker| Step::ProducerIds { broker }),
    ]
}

impl World {
    fn take(&mut self, step: &Step) {
        let name = |name: u8| format!("topic-{name}");
        match *step {
            Step::Create { name: n, partitions, factor } => {
                self.create(&[topic(&name(n), partitions, factor)]);
            }
            Step::Delete { name: n } => {
                let asked = [TopicRef::Name(name(n))];
                self.run(|image, config, _| delete_topics(image, config, &asked));
            }
            Step::Grow { name: n, count } => {
                let asked = [MorePartitions { topic: name(n), count, assignments: None }];
                self.run(|image, config, random| {
                    create_partitions(image, config, &asked, false, random)
                });
            }
            Step::Retention { name: n, value } => {
                let changes =
                    vec![("retention.ms".to_owned(), ConfigOp::Set(Some(value.to_string())))];
                let asked = [Alteration { resource: ConfigResource::Topic(name(n)), changes }];
                self.run(|image, config, _| {
                    incremental_alter_configs(image, config, &asked, false)
                });
            }
            Step::Restart { broker, is_clean } => {
                let restart = if is_clean { Restart::Clean } else { Restart::Unclean };
                self.start(i32::from(broker), restart);
            }
            Step::Fence { broker } => {
                let broker = BrokerId(i32::from(broker));
                if let Some(epoch) = self.image.broker(broker).map(|broker| broker.epoch) {
                    self.run(|image, _, _| fence_broker(image, broker, epoch)).unwrap();
                }
            }
            Step::ProducerIds { broker } => {
                let broker = BrokerId(i32::from(broker));
                let epoch = self.image.broker(broker).map_or(BrokerEpoch(0), |b| b.epoch);
                // A broker that is not registered is refused.
                let _ = self.run(|image, _, _| allocate_producer_ids(image, broker, epoch));
            }
        }
    }
}

proptest! {
    /// Any history keeps the invariants (asserted at each step); its snapshot makes an equal image;
    /// the delta between two images names exactly the topics that differ.
    #[test]
    fn any_history_can_be_written_out_and_read_back(
        steps in prop::collection::vec(step(), 1..60),
        looked_at in 0..60usize,
    ) {
        let mut world = World::new(&[0, 1, 2], &[]);
        let mut earlier = world.image.clone();
        for (at, step) in steps.iter().enumerate() {
            world.take(step);
            if at == looked_at {
                earlier = world.image.clone();
            }
        }
        let image = &world.image;
        let records: Vec<Record> = image
            .snapshot()
            .iter()
            .map(|record| Record::decode(&record.encode()).unwrap())
            .collect();
        let read = Image::from_snapshot(image.offset(), &records).unwrap();
        prop_assert_eq!(&read, image);

        let delta = image.delta_since(&earlier);
        let names = |image: &Image| -> Vec<String> {
            image.topics().map(|topic| topic.name.to_string()).collect()
        };
        for name in names(image).into_iter().chain(names(&earlier)) {
            let differs = image.topic(&name) != earlier.topic(&name);
            let is_told = delta.topics.iter().any(|change| match change {
                crate::TopicChange::Created(topic)
                | crate::TopicChange::Deleted(topic)
                | crate::TopicChange::Changed { after: topic, .. } => *topic.name == *name,
            });
            prop_assert_eq!(differs, is_told, "{}", name);
        }
        prop_assert!(image.delta_since(image).is_empty());
    }

    /// A gap in the offsets is an error, whatever the records.
    #[test]
    fn replay_takes_no_gap(gap in 1..100i64) {
        let image = Image::default();
        let first = Offset(image.next_offset().0 + gap);
        prop_assert!(image.replay(first, &bootstrap("c", &[])).is_err());
    }
}
