//! A member of a group against scripted coordinators: two brokers, one of which is the coordinator
//! of group `g`, with what each request is answered under the test's control.

mod leaving;
mod starting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::Uuid;
use protocol::frame::RequestFrame;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::find_coordinator_response::Coordinator as Found;
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FetchRequest, FetchResponse,
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use protocol::{ApiKey, Decode, ErrorCode, StrBytes};
use runtime::Runtime;

use super::*;
use crate::config::ClientConfig;
use crate::testing::{FakeBroker, FakeNet, Reaction, answer, run};

const TOPIC_ID: Uuid = Uuid([9; 16]);

/// What happens to a request instead of what it asks for.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Refuse(ErrorCode),
    HangUp,
    /// It is refused, or done, and the answer comes so much later.
    Late(ErrorCode, Duration),
}

/// The group as its coordinator keeps it, and what is to go wrong.
#[derive(Default)]
struct World {
    coordinator: i32,
    generation: i32,
    committed: BTreeMap<i32, i64>,
    /// By API: the next requests of its kind, oldest first.
    trouble: BTreeMap<i16, VecDeque<Trouble>>,
    /// `broker:api`, for every request about the group.
    log: Vec<String>,
    leaders_share: Bytes,
    /// The partitions that were asked for records.
    fetched: BTreeSet<i32>,
    /// So many questions for offsets are answered without the partitions that were asked for.
    silent_offset_fetches: u32,
    metadata: Arc<Mutex<MetadataResponse>>,
}

impl World {
    fn trouble(&mut self, api: ApiKey, troubles: &[Trouble]) {
        self.trouble.entry(api.code()).or_default().extend(troubles);
    }

    fn react(&mut self, broker: i32, request: RequestFrame) -> Reaction {
        let api = request.api_key;
        if !matches!(api, ApiKey::Fetch | ApiKey::ListOffsets) {
            self.log.push(format!("{broker}:{api:?}"));
        }
        let trouble = self.trouble.get_mut(&api.code()).and_then(VecDeque::pop_front);
        let is_group =
            !matches!(api, ApiKey::Fetch | ApiKey::ListOffsets | ApiKey::FindCoordinator);
        let code = match trouble {
            Some(Trouble::HangUp) => return Reaction::HangUp,
            Some(Trouble::Refuse(code) | Trouble::Late(code, _)) => code,
            None if is_group && broker != self.coordinator => ErrorCode::NotCoordinator,
            None => ErrorCode::None,
        };
        let reaction = self.answer(api, request, code);
        match (trouble, reaction) {
            (Some(Trouble::Late(_, pause)), Reaction::Answer(bytes)) => {
                Reaction::AnswerAfter(pause, bytes)
            }
            (_, reaction) => reaction,
        }
    }

    fn answer(&mut self, api: ApiKey, mut request: RequestFrame, code: ErrorCode) -> Reaction {
        let error_code = code.code();
        match api {
            ApiKey::FindCoordinator => self.find(&request, error_code),
            ApiKey::JoinGroup => self.join(&mut request, code),
            ApiKey::SyncGroup => {
                let sync = SyncGroupRequest::decode(&mut request.body, request.api_version);
                let shares = sync.expect("a good request").assignments;
                if let Some(share) = shares.first() {
                    self.leaders_share = share.assignment.clone();
                }
                let assignment = self.leaders_share.clone();
                answer(
                    &request,
                    &SyncGroupResponse { error_code, assignment, ..Default::default() },
                )
            }
            ApiKey::Heartbeat => {
                answer(&request, &HeartbeatResponse { error_code, ..Default::default() })
            }
            ApiKey::LeaveGroup => {
                answer(&request, &LeaveGroupResponse { error_code, ..Default::default() })
            }
            ApiKey::OffsetFetch => self.offset_fetch(&mut request, error_code),
            ApiKey::OffsetCommit => self.offset_commit(&mut request, code),
            ApiKey::ListOffsets => list_offsets(&mut request),
            ApiKey::Fetch => self.fetch(&mut request),
            ApiKey::ConsumerGroupHeartbeat => consumer_heartbeat(&mut request, error_code),
            other => panic!("{other:?} is not expected"),
        }
    }

    fn find(&self, request: &RequestFrame, error_code: i16) -> Reaction {
        let node_id = self.coordinator;
        let found = Found {
            key: "g".into(),
            node_id,
            host: format!("b{node_id}").into(),
            port: node_id,
            error_code,
            ..Default::default()
        };
        let coordinators = vec![found];
        answer(request, &FindCoordinatorResponse { coordinators, ..Default::default() })
    }

    fn join(&mut self, request: &mut RequestFrame, code: ErrorCode) -> Reaction {
        let join = JoinGroupRequest::decode(&mut request.body, request.api_version);
        let join = join.expect("a good request");
        let mut response =
            JoinGroupResponse { error_code: code.code(), generation_id: -1, ..Default::default() };
        if code.is_error() {
            return answer(request, &response);
        }
        if join.member_id.is_empty() {
            response.error_code = ErrorCode::MemberIdRequired.code();
            response.member_id = "m".into();
            return answer(request, &response);
        }
        self.generation += 1;
        let member = protocol::messages::join_group_response::JoinGroupResponseMember {
            member_id: "m".into(),
            metadata: join.protocols[0].metadata.clone(),
            ..Default::default()
        };
        response.generation_id = self.generation;
        response.member_id = "m".into();
        response.leader = "m".into();
        response.protocol_type = Some("consumer".into());
        response.protocol_name = Some(join.protocols[0].name.clone());
        response.members = vec![member];
        answer(request, &response)
    }

    fn fetch(&mut self, request: &mut RequestFrame) -> Reaction {
        let asked = FetchRequest::decode(&mut request.body, request.api_version);
        let topics = asked.expect("a good request").topics;
        self.fetched.extend(topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.partition));
        let partitions = vec![PartitionData { partition_index: 0, ..Default::default() }];
        let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions, ..Default::default() };
        let responses = vec![topic];
        match answer(request, &FetchResponse { responses, ..Default::default() }) {
            Reaction::Answer(bytes) => Reaction::AnswerAfter(Duration::from_millis(500), bytes),
            reaction => reaction,
        }
    }

    fn offset_fetch(&mut self, request: &mut RequestFrame, error_code: i16) -> Reaction {
        let asked = OffsetFetchRequest::decode(&mut request.body, request.api_version);
        let asked = asked.expect("a good request");
        assert!(asked.require_stable, "offsets of open transactions are waited for");
        let topics = asked.groups[0].topics.iter().flatten().map(|topic| {
            assert_eq!(topic.topic_id, TOPIC_ID, "version 10 names topics by their ids");
            let partition = |index: &i32| OffsetFetchResponsePartitions {
                partition_index: *index,
                committed_offset: self.committed.get(index).copied().unwrap_or(-1),
                committed_leader_epoch: -1,
                metadata: Some(StrBytes::new()),
                ..Default::default()
            };
            OffsetFetchResponseTopics {
                topic_id: TOPIC_ID,
                partitions: topic.partition_indexes.iter().map(partition).collect(),
                ..Default::default()
            }
        });
        let silent = self.silent_offset_fetches > 0;
        let topics = if error_code == 0 && !silent { topics.collect() } else { Vec::new() };
        self.silent_offset_fetches = self.silent_offset_fetches.saturating_sub(1);
        let group = OffsetFetchResponseGroup {
            group_id: "g".into(),
            topics,
            error_code,
            ..Default::default()
        };
        answer(request, &OffsetFetchResponse { groups: vec![group], ..Default::default() })
    }

    fn offset_commit(&mut self, request: &mut RequestFrame, code: ErrorCode) -> Reaction {
        let commit = OffsetCommitRequest::decode(&mut request.body, request.api_version);
        let commit = commit.expect("a good request");
        let is_classic = &*commit.member_id == "m";
        assert_eq!(&*commit.group_id, "g");
        let stale = is_classic && commit.generation_id_or_member_epoch != self.generation;
        let code = if stale { ErrorCode::IllegalGeneration } else { code };
        let topics = commit.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                if code == ErrorCode::None {
                    self.committed.insert(partition.partition_index, partition.committed_offset);
                }
                OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: code.code(),
                    ..Default::default()
                }
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic { topic_id: TOPIC_ID, partitions, ..Default::default() }
        });
        let topics = topics.collect();
        answer(request, &OffsetCommitResponse { topics, ..Default::default() })
    }
}

/// Partition 1 begins at 20, the others at 10; all end at 100.
fn list_offsets(request: &mut RequestFrame) -> Reaction {
    use protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    let asked = ListOffsetsRequest::decode(&mut request.body, request.api_version);
    let topics = asked.expect("a good request").topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| ListOffsetsPartitionResponse {
            partition_index: wanted.partition_index,
            offset: match (wanted.timestamp, wanted.partition_index) {
                (-2, 1) => 20,
                (-2, _) => 10,
                _ => 100,
            },
            ..Default::default()
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse { name: topic.name, partitions, ..Default::default() }
    });
    let topics = topics.collect();
    answer(request, &ListOffsetsResponse { topics, ..Default::default() })
}

/// A member that joins gets both partitions.
fn consumer_heartbeat(request: &mut RequestFrame, error_code: i16) -> Reaction {
    use protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
    let beat = ConsumerGroupHeartbeatRequest::decode(&mut request.body, request.api_version);
    let member_epoch = beat.expect("a good request").member_epoch;
    let all = TopicPartitions { topic_id: TOPIC_ID, partitions: vec![0, 1], ..Default::default() };
    let assignment = Assignment { topic_partitions: vec![all], ..Default::default() };
    let response = ConsumerGroupHeartbeatResponse {
        error_code,
        member_epoch: if member_epoch == 0 { 1 } else { member_epoch },
        heartbeat_interval_ms: 5_000,
        assignment: Some(assignment).filter(|_| member_epoch == 0),
        ..Default::default()
    };
    answer(request, &response)
}

/// Two brokers that know topic `t` with two partitions.
fn start(net: &FakeNet) -> Arc<Mutex<World>> {
    let world = Arc::new(Mutex::new(World { coordinator: 1, ..World::default() }));
    let node = |node_id: i32| MetadataResponseBroker {
        node_id,
        host: format!("b{node_id}").into(),
        port: node_id,
        ..Default::default()
    };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: 1,
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("t".into()),
        topic_id: TOPIC_ID,
        partitions: (0..2).map(partition).collect(),
        ..Default::default()
    };
    let (brokers, topics) = (vec![node(1), node(2)], vec![topic]);
    let metadata = MetadataResponse { brokers, topics, ..Default::default() };
    let metadata = Arc::new(Mutex::new(metadata));
    look(&world).metadata = Arc::clone(&metadata);
    for broker in [1, 2] {
        let world = Arc::clone(&world);
        let address = format!("b{broker}:{broker}");
        FakeBroker::start(net, &address, Arc::clone(&metadata), move |request| {
            look(&world).react(broker, request)
        });
    }
    world
}

fn look(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member that has both partitions.
async fn member(runtime: &Runtime, config: GroupConfig) -> GroupConsumer {
    let bootstrap_servers = vec!["b1:1".to_owned()];
    let api_timeout = Duration::from_secs(20);
    let settings = ClientConfig { bootstrap_servers, api_timeout, ..ClientConfig::default() };
    let client = Client::connect(runtime, settings).await.expect("a broker");
    let mut consumer = GroupConsumer::new(&client, config);
    consumer.subscribe(Subscription::topics(["t"])).await.expect("topics can be named");
    let change = assigned(&mut consumer).await;
    assert_eq!((change.partitions.len(), change.epoch), (2, MemberEpoch(1)));
    consumer
}

async fn assigned(consumer: &mut GroupConsumer) -> Change {
    match event(consumer).await {
        Polled::Assigned(change) => change,
        other => panic!("{other:?}"),
    }
}

async fn event(consumer: &mut GroupConsumer) -> Polled {
    consumer.poll(Duration::from_secs(60)).await.expect("no error")
}

fn by_hand() -> GroupConfig {
    let assignors = vec![Assignor::Range];
    let mut config = GroupConfig { auto_commit: None, assignors, ..GroupConfig::new("g") };
    config.consumer.offset_reset = OffsetReset::Earliest;
    config
}

fn offsets(offset: i64) -> Offsets {
    Offsets::from([(TopicPartition::new("t", 0), Offset(offset).into())])
}

/// Polls until both partitions have a position.
async fn positions(consumer: &mut GroupConsumer) -> Vec<i64> {
    loop {
        let polled = consumer.poll(Duration::from_millis(50)).await.expect("no error");
        assert_eq!(polled, Polled::Nothing);
        let positions: Vec<i64> = consumer.positions().values().map(|p| p.offset.0).collect();
        if positions.len() == 2 {
            return positions;
        }
    }
}

#[test]
fn reading_begins_where_the_group_was_or_where_the_rule_says() {
    run(async |runtime, net| {
        let world = start(&net);
        look(&world).committed.insert(0, 42);
        // Open transactions are waited for, and a coordinator that loads too.
        let again = [ErrorCode::UnstableOffsetCommit, ErrorCode::CoordinatorLoadInProgress];
        look(&world).trouble(ApiKey::OffsetFetch, &again.map(Trouble::Refuse));
        let mut consumer = member(&runtime, by_hand()).await;
        assert_eq!(positions(&mut consumer).await, [42, 20]);
        // Nothing committed, and no rule.
        let mut config = by_hand();
        config.consumer.offset_reset = OffsetReset::Error;
        look(&world).generation = 0;
        let mut consumer = member(&runtime, config).await;
        let error = consumer.poll(Duration::from_secs(5)).await.expect_err("no rule");
        assert!(matches!(&error, GroupError::NoOffset { at } if at.partition.0 == 1), "{error:?}");
        consumer.seek(&TopicPartition::new("t", 1), Offset(7)).expect("it is assigned");
        assert_eq!(positions(&mut consumer).await, [42, 7]);
    });
}

#[test]
fn a_member_follows_its_coordinator() {
    for trouble in [
        Trouble::Refuse(ErrorCode::NotCoordinator),
        Trouble::Refuse(ErrorCode::CoordinatorNotAvailable),
        Trouble::HangUp,
    ] {
        run(async |runtime, net| {
            let world = start(&net);
            let mut consumer = member(&runtime, by_hand()).await;
            {
                let mut world = look(&world);
                world.coordinator = 2;
                world.trouble(ApiKey::Heartbeat, &[trouble]);
                let loading = ErrorCode::CoordinatorLoadInProgress;
                world.trouble(ApiKey::FindCoordinator, &[Trouble::Refuse(loading)]);
                world.log.clear();
            }
            let heartbeats = async {
                loop {
                    let polled = consumer.poll(Duration::from_millis(100)).await;
                    assert_eq!(polled.expect("no error"), Polled::Nothing);
                    if look(&world).log.iter().any(|entry| entry == "2:Heartbeat") {
                        break;
                    }
                }
            };
            let limit = Duration::from_secs(20);
            let moved = runtime::timeout(&*runtime.clock, limit, heartbeats).await;
            assert!(moved.is_ok(), "{trouble:?}: {:?}", look(&world).log);
            // Still the same member in the same generation.
            assert_eq!(consumer.membership().epoch, MemberEpoch(1));
            assert!(consumer.commit_offsets(&offsets(5)).await.is_ok());
            assert_eq!(look(&world).committed.get(&0), Some(&5));
        });
    }
}

#[test]
fn commits_keep_to_kafkas_rules() {
    enum Outcome {
        Committed,
        Refused(ErrorCode),
        Rebalancing,
    }
    use Outcome::{Committed, Rebalancing, Refused};
    for (code, expected) in [
        (ErrorCode::None, Committed),
        (ErrorCode::CoordinatorLoadInProgress, Committed),
        (ErrorCode::CoordinatorNotAvailable, Committed),
        (ErrorCode::NotCoordinator, Committed),
        (ErrorCode::RequestTimedOut, Committed),
        (ErrorCode::UnknownTopicOrPartition, Committed),
        (ErrorCode::UnknownTopicId, Committed),
        (ErrorCode::RebalanceInProgress, Rebalancing),
        (ErrorCode::IllegalGeneration, Refused(ErrorCode::IllegalGeneration)),
        (ErrorCode::UnknownMemberId, Refused(ErrorCode::UnknownMemberId)),
        (ErrorCode::FencedInstanceId, Refused(ErrorCode::FencedInstanceId)),
        (ErrorCode::OffsetMetadataTooLarge, Refused(ErrorCode::OffsetMetadataTooLarge)),
        (ErrorCode::GroupAuthorizationFailed, Refused(ErrorCode::GroupAuthorizationFailed)),
    ] {
        run(async |runtime, net| {
            let world = start(&net);
            let mut consumer = member(&runtime, by_hand()).await;
            look(&world).trouble(ApiKey::OffsetCommit, &[Trouble::Refuse(code)]);
            let outcome = consumer.commit_offsets(&offsets(5)).await;
            match expected {
                Committed => assert!(outcome.is_ok(), "{code}: {outcome:?}"),
                Rebalancing => {
                    assert!(matches!(outcome, Err(CommitError::Rebalancing)), "{outcome:?}");
                    // The next poll gives up, and the one after it comes back.
                    assert!(matches!(event(&mut consumer).await, Polled::Revoked(_)));
                    assert_eq!(assigned(&mut consumer).await.epoch, MemberEpoch(2));
                    assert!(consumer.commit_offsets(&offsets(5)).await.is_ok());
                }
                Refused(code) => {
                    let refused = outcome.expect_err("refused");
                    assert_eq!(refused.code(), Some(code));
                    assert!(!refused.is_retriable());
                    let lost = [ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId];
                    if lost.contains(&code) {
                        assert!(matches!(event(&mut consumer).await, Polled::Lost(_)), "{code}");
                        assert_eq!(assigned(&mut consumer).await.epoch, MemberEpoch(2));
                    }
                }
            }
        });
    }
}

#[test]
fn a_commit_that_nobody_answers_ends_in_time() {
    run(async |runtime, net| {
        let world = start(&net);
        let consumer = member(&runtime, by_hand()).await;
        look(&world).trouble(ApiKey::OffsetCommit, &[Trouble::HangUp; 1_000]);
        let before = runtime.clock.now();
        let outcome = consumer.commit_offsets(&offsets(5)).await;
        assert!(outcome.is_err_and(|error| error.is_retriable()));
        assert!(runtime.clock.now().since(before) <= Duration::from_secs(20));
    });
}

#[test]
fn what_was_read_is_committed_before_it_is_given_up() {
    run(async |runtime, net| {
        let world = start(&net);
        let config = GroupConfig { auto_commit: Some(Duration::from_secs(3_600)), ..by_hand() };
        let mut consumer = member(&runtime, config).await;
        assert_eq!(positions(&mut consumer).await, [10, 20]);
        let rebalance = Trouble::Refuse(ErrorCode::RebalanceInProgress);
        look(&world).trouble(ApiKey::Heartbeat, &[rebalance]);
        look(&world).log.clear();
        let Polled::Revoked(change) = event(&mut consumer).await else { panic!("not revoked") };
        assert_eq!(change.partitions.len(), 2);
        assert_eq!(look(&world).committed, BTreeMap::from([(0, 10), (1, 20)]));
        // Until the next poll nothing is given up, and more can be committed.
        assert!(consumer.commit_offsets(&offsets(15)).await.is_ok());
        assert!(!look(&world).log.iter().any(|entry| entry == "1:JoinGroup"));
        assert_eq!(assigned(&mut consumer).await.epoch, MemberEpoch(2));
        assert_eq!(positions(&mut consumer).await, [15, 20]);
        consumer.close(Duration::from_secs(5)).await.expect("committed");
        assert_eq!(look(&world).log.last().map(String::as_str), Some("1:LeaveGroup"));
    });
}

#[test]
fn positions_are_committed_every_so_often() {
    run(async |runtime, net| {
        let world = start(&net);
        let (heard, hears) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
        let (told, open): (_, Arc<Mutex<BTreeSet<u64>>>) = (Arc::clone(&heard), hears);
        let observer = CommitObserver::new(move |commit| match commit {
            AutoCommit::Begun { number, offsets, epoch, may_repeat } => {
                assert_eq!((epoch, may_repeat), (MemberEpoch(1), false));
                assert!(open.lock().unwrap().insert(number));
                told.lock().unwrap().push(offsets.values().map(|it| it.offset.0).collect());
            }
            AutoCommit::Ended { number, outcome, .. } => {
                assert!(outcome.is_ok() && open.lock().unwrap().remove(&number));
                told.lock().unwrap().push(Vec::new());
            }
        });
        let auto_commit = Some(Duration::from_secs(1));
        let config = GroupConfig { auto_commit, commit_observer: Some(observer), ..by_hand() };
        let mut consumer = member(&runtime, config).await;
        positions(&mut consumer).await;
        consumer.poll(Duration::from_secs(3)).await.expect("no error");
        let heard = heard.lock().unwrap();
        assert_eq!(heard[..2], [vec![10, 20], vec![]]);
        let commits = look(&world).log.iter().filter(|entry| *entry == "1:OffsetCommit").count();
        assert!((2..=5).contains(&commits) && heard.len() / 2 == commits, "{commits} {heard:?}");
        assert_eq!(look(&world).committed, BTreeMap::from([(0, 10), (1, 20)]));
    });
}

#[test]
fn a_member_that_is_dropped_says_nothing_any_more() {
    run(async |runtime, net| {
        let world = start(&net);
        let consumer = member(&runtime, by_hand()).await;
        drop(consumer);
        look(&world).log.clear();
        runtime::sleep(&*runtime.clock, Duration::from_secs(120)).await;
        assert_eq!(look(&world).log, Vec::<String>::new());
    });
}

#[test]
fn a_poll_that_is_given_up_loses_no_event() {
    run(async |runtime, net| {
        let world = start(&net);
        let config = GroupConfig { auto_commit: Some(Duration::from_secs(3_600)), ..by_hand() };
        let mut consumer = member(&runtime, config).await;
        positions(&mut consumer).await;
        let rebalance = Trouble::Refuse(ErrorCode::RebalanceInProgress);
        look(&world).trouble(ApiKey::Heartbeat, &[rebalance]);
        // The commit before the revocation takes a while; nobody waits for it.
        let loading = Trouble::Refuse(ErrorCode::CoordinatorLoadInProgress);
        look(&world).trouble(ApiKey::OffsetCommit, &[loading; 4]);
        let mut given_up = 0;
        let change = loop {
            let poll = consumer.poll(Duration::from_secs(60));
            let limit = Duration::from_millis(70);
            match runtime::timeout(&*runtime.clock, limit, poll).await {
                Err(_) => given_up += 1,
                Ok(Ok(Polled::Revoked(change))) => break change,
                Ok(other) => panic!("{other:?}"),
            }
        };
        assert!(given_up > 1 && change.partitions.len() == 2, "{given_up} {change:?}");
        assert_eq!(assigned(&mut consumer).await.epoch, MemberEpoch(2));
    });
}
