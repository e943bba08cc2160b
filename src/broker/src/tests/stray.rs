//! Logs that the metadata does not know, and topics that outlive a restart.

use std::path::Path;

use metadata::controller::{NewTopic, TopicRef};
use model::{BrokerId, PartitionIndex, Uuid};
use runtime::Runtime;
use storage::{LogConfig, LogDir, LogDirOptions, LogName};

use super::start;
use crate::Broker;

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partition_count: 1,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

pub(super) async fn create(broker: &Broker, name: &str) -> Uuid {
    let created = broker.shared.controller.create_topics(vec![topic(name)], false).await.unwrap();
    broker.shared.wait_applied(created.offset).await;
    created.outcome[0].as_ref().unwrap().id
}

fn is_open(broker: &Broker, name: &str) -> bool {
    broker.shared.registry.borrow().partition(name, 0).is_ok()
}

/// Leaves a log of a topic that nobody knows, as an interrupted deletion would.
async fn leave_log(runtime: &Runtime, path: &Path, name: &str) {
    let options = LogDirOptions {
        path: path.to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 10,
        journal_file_bytes: 1 << 20,
    };
    let logs = LogDir::open(runtime.clone(), options).await.unwrap();
    let name = LogName::new(name, PartitionIndex(0)).unwrap();
    let log = logs.create_log(&name, Some(Uuid([7; 16])), LogConfig::default()).await.unwrap();
    log.close().await.unwrap();
    logs.close().await.unwrap();
}

async fn kept(runtime: &Runtime, path: &Path) -> usize {
    let entries = runtime.disk.list(path).await.unwrap();
    entries.iter().filter(|entry| entry.name.ends_with("-stray")).count()
}

#[test]
fn a_log_without_a_topic_is_kept_and_out_of_the_way() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        let id = create(&broker, "orders").await;
        broker.stop().await;
        leave_log(&runtime, dir.path(), "ghost").await;

        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        assert_eq!(kept(&runtime, dir.path()).await, 1);
        assert!(is_open(&broker, "orders"));
        assert_eq!(broker.shared.image.borrow().topic("orders").unwrap().id, id);
        assert!(!is_open(&broker, "ghost"));
        create(&broker, "ghost").await;
        assert!(is_open(&broker, "ghost"), "its name is free");
        broker.stop().await;
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        assert!(is_open(&broker, "ghost"));
        assert_eq!(kept(&runtime, dir.path()).await, 1);
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_directory_without_metadata_gives_its_topics() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        leave_log(&runtime, dir.path(), "found").await;
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        assert!(is_open(&broker, "found"));
        assert_eq!(broker.shared.image.borrow().topic("found").unwrap().id, Uuid([7; 16]));
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_topic_created_anew_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        let first = create(&broker, "orders").await;
        let named = vec![TopicRef::Name("orders".to_owned())];
        let deleted = broker.shared.controller.delete_topics(named).await.unwrap();
        broker.shared.wait_applied(deleted.offset).await;
        assert!(!is_open(&broker, "orders"));
        let second = create(&broker, "orders").await;
        assert_ne!(first, second);
        assert!(is_open(&broker, "orders"));
        assert!(broker.shared.registry.borrow().by_id(first).is_none());
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_deleted_topic_does_not_come_back_though_it_was_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        create(&broker, "orders").await;
        let named = vec![TopicRef::Name("orders".to_owned())];
        let deleted = broker.shared.controller.delete_topics(named).await.unwrap();
        broker.shared.wait_applied(deleted.offset).await;
        broker.stop().await;
        // As after a crash between the deletion's record and the removal of the files.
        leave_log(&runtime, dir.path(), "orders").await;

        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        assert!(broker.shared.image.borrow().topic("orders").is_none());
        assert_eq!(kept(&runtime, dir.path()).await, 1);
        broker.stop().await;
    })
    .unwrap();
}

#[test]
fn a_new_topic_does_not_get_the_records_of_a_former_one() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, _) = start(&runtime, dir.path(), &[]).await;
        // As if the files of a deleted topic could not be removed.
        let name = LogName::new("orders", PartitionIndex(0)).unwrap();
        let former = Some(Uuid([7; 16]));
        let log_dir = &broker.shared.log_dir;
        let log = log_dir.create_log(&name, former, LogConfig::default()).await.unwrap();
        log.close().await.unwrap();
        create(&broker, "orders").await;
        assert!(is_open(&broker, "orders"));
        assert_eq!(kept(&runtime, dir.path()).await, 1);
        broker.stop().await;
    })
    .unwrap();
}
