//! The controller on a real disk: what it answered is there after a restart.

use std::path::Path;
use std::sync::Arc;

use metadata::config::{BrokerConfig, Property, parse_properties};
use metadata::controller::{NewTopic, Registration, TopicRef};
use metadata::{Endpoint, Image, Restart, SecurityProtocol};
use model::{BrokerEpoch, BrokerId, LeaderEpoch, ProducerId, Uuid};
use protocol::ErrorCode;
use runtime::Runtime;
use storage::{LogDir, LogDirOptions};

use crate::controller::{Controller, MetadataLogError, start};
use crate::producer_ids::ProducerIds;

const NODE: BrokerId = BrokerId(1);

struct Node {
    controller: Controller,
    log_dir: LogDir,
    epoch: BrokerEpoch,
}

async fn open(runtime: &Runtime, path: &Path) -> LogDir {
    let options = LogDirOptions {
        path: path.to_owned(),
        node_id: NODE,
        cluster_id: None,
        open_files_max: 100,
        journal_file_bytes: 1 << 20,
    };
    LogDir::open(runtime.clone(), options).await.unwrap()
}

fn config(settings: &str) -> Arc<BrokerConfig> {
    let properties: Vec<Property> = parse_properties(settings).unwrap();
    Arc::new(BrokerConfig::from_properties(&properties).unwrap().config)
}

/// Starts a node up to the point where it serves.
async fn node(runtime: &Runtime, path: &Path, settings: &str) -> Node {
    let log_dir = open(runtime, path).await;
    let controller = start(runtime, config(settings), &log_dir).await.unwrap();
    let registration = Registration {
        broker: NODE,
        cluster_id: log_dir.cluster_id().to_owned(),
        incarnation: Uuid([7; 16]),
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security_protocol: SecurityProtocol::Plaintext,
        }],
        rack: None,
        restart: if log_dir.was_clean() { Restart::Clean } else { Restart::Unclean },
        is_other_alive: false,
    };
    let epoch = controller.handle.register_broker(registration).await.unwrap().outcome.unwrap();
    controller.handle.unfence_broker(NODE, epoch).await.unwrap().outcome.unwrap();
    Node { controller, log_dir, epoch }
}

impl Node {
    async fn stop(self) {
        self.controller.stop().await;
        assert!(self.log_dir.close().await.unwrap(), "everything was closed");
    }

    /// Leaves the directory without a clean mark, as a kill does.
    async fn kill(self) {
        drop(self.controller.handle);
        let _ = self.controller.task.join().await;
    }

    async fn create(&self, name: &str) -> Result<(), ErrorCode> {
        let answer = self.controller.handle.create_topics(vec![topic(name)], false).await.unwrap();
        let image = self.image();
        assert!(image.offset() >= answer.offset, "answered before it was published");
        match &answer.outcome[0] {
            Ok(created) => {
                assert_eq!(image.topic(name).unwrap().id, created.id);
                Ok(())
            }
            Err(error) => Err(error.code()),
        }
    }

    fn image(&self) -> Arc<Image> {
        self.controller.image.borrow()
    }
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partition_count: 3,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: vec![("retention.ms".to_owned(), Some("1000".to_owned()))],
    }
}

fn leader_epoch(image: &Image, topic: &str) -> LeaderEpoch {
    image.topic(topic).unwrap().partitions[0].leader_epoch
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    runtime_tokio::run(|runtime| async move {
        let first = node(&runtime, &path, "").await;
        assert_eq!(first.image().cluster_id(), Some(first.log_dir.cluster_id()));
        assert_eq!(first.create("a").await, Ok(()));
        assert_eq!(first.create("a").await, Err(ErrorCode::TopicAlreadyExists));
        assert_eq!(first.create("b").await, Ok(()));
        let refs = vec![TopicRef::Name("b".to_owned())];
        first.controller.handle.delete_topics(refs).await.unwrap().outcome.remove(0).unwrap();
        let before = first.image();
        first.stop().await;

        let second = node(&runtime, &path, "").await;
        let image = second.image();
        assert_eq!(image.topic("a"), before.topic("a"), "a clean stop changes nothing");
        assert!(image.topic("b").is_none());
        assert!(image.broker(NODE).unwrap().epoch > first_epoch(&before));
        second.stop().await;
    })
    .unwrap();
}

fn first_epoch(image: &Image) -> BrokerEpoch {
    image.broker(NODE).unwrap().epoch
}

#[test]
fn an_unclean_stop_raises_every_leader_epoch_by_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    runtime_tokio::run(|runtime| async move {
        let first = node(&runtime, &path, "").await;
        first.create("a").await.unwrap();
        let end = first.image().offset();
        assert_eq!(leader_epoch(&first.image(), "a"), LeaderEpoch(0));
        first.kill().await;

        let second = node(&runtime, &path, "").await;
        assert_eq!(leader_epoch(&second.image(), "a"), LeaderEpoch(1));
        assert_eq!(second.image().offset(), end + 2, "register and unfence, nothing more");
        second.stop().await;
    })
    .unwrap();
}

#[test]
fn snapshots_replace_the_beginning_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    runtime_tokio::run(|runtime| async move {
        let settings = "metadata.log.max.record.bytes.between.snapshots=2000";
        let first = node(&runtime, &path, settings).await;
        for at in 0..100 {
            first.create(&format!("topic{at}")).await.unwrap();
        }
        let before = first.image();
        first.stop().await;
        let snapshot = path.join("klamm-metadata.snapshot");
        let bytes = runtime::read_file(&*runtime.disk, &snapshot).await.unwrap();
        let held = super::snapshot::decode_snapshot(&bytes).unwrap();
        assert!(held.topic_count() > 50, "the last snapshot is a late one");

        let second = node(&runtime, &path, settings).await;
        let image = second.image();
        let topics = |image: &Image| image.topics().cloned().collect::<Vec<_>>();
        assert_eq!(topics(&image), topics(&before));
        second.stop().await;

        // A snapshot is needed once the log's beginning is gone.
        for content in [bytes.slice(..bytes.len() - 1), bytes::Bytes::from_static(b"klammsnp\x02")]
        {
            runtime::write_file_durably(&*runtime.disk, &snapshot, content).await.unwrap();
            let log_dir = open(&runtime, &path).await;
            let Err(error) = start(&runtime, config(settings), &log_dir).await else {
                panic!("started with a bad snapshot");
            };
            assert!(matches!(error, MetadataLogError::Snapshot { .. }), "{error:?}");
        }
        runtime.disk.remove_file(&snapshot).await.unwrap();
        let log_dir = open(&runtime, &path).await;
        let Err(error) = start(&runtime, config(settings), &log_dir).await else {
            panic!("started without its snapshot");
        };
        assert!(matches!(error, MetadataLogError::Gap { .. }), "{error:?}");
    })
    .unwrap();
}

#[test]
fn producer_ids_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    runtime_tokio::run(|runtime| async move {
        let mut seen: Vec<ProducerId> = Vec::new();
        for round in 0..3 {
            let node = node(&runtime, &path, "").await;
            let handle = node.controller.handle.clone();
            let ids = ProducerIds::start(&runtime, handle, NODE, node.epoch);
            for _ in 0..1500 {
                seen.push(ids.next().await.unwrap());
            }
            drop(ids);
            if round == 1 { node.kill().await } else { node.stop().await }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert_eq!(seen[0], ProducerId(0));
    })
    .unwrap();
}

#[test]
fn commands_that_wait_together_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    runtime_tokio::run(|runtime| async move {
        let node = node(&runtime, &path, "").await;
        let (created, mut results) = runtime::sync::mpsc::channel(100);
        for at in 0..100 {
            let (handle, created) = (node.controller.handle.clone(), created.clone());
            runtime::spawn(&runtime, "test", async move {
                let name = format!("topic{}", at % 50);
                let answer = handle.create_topics(vec![topic(&name)], false).await.unwrap();
                created.send(answer.outcome[0].is_ok()).await.unwrap();
            });
        }
        drop(created);
        let mut ok = 0;
        while let Some(is_ok) = results.recv().await {
            ok += usize::from(is_ok);
        }
        assert_eq!(ok, 50, "each name once");
        assert_eq!(node.image().topic_count(), 50);
        let handle = node.controller.handle.clone();
        node.stop().await;
        let late = handle.create_topics(vec![topic("late")], false).await;
        assert_eq!(late.unwrap_err().code(), ErrorCode::NotController);
    })
    .unwrap();
}
