//! What `/metrics` tells of groups.

use protocol::StrBytes;
use protocol::messages as m;
use runtime::Runtime;

use super::start;
use super::versions::call;
use crate::Broker;

const GROUP: StrBytes = StrBytes::from_static("g");

/// Joins as a member of a consumer group; the error code.
async fn join(runtime: &Runtime, address: &str) -> i16 {
    let mut stream = runtime.net.connect(address).await.unwrap();
    let coordinator =
        m::FindCoordinatorRequest { coordinator_keys: vec![GROUP], ..Default::default() };
    call(&mut *stream, 4, &coordinator).await.unwrap();
    let heartbeat = m::ConsumerGroupHeartbeatRequest {
        group_id: GROUP,
        member_id: StrBytes::from_static("a"),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![StrBytes::from_static("orders")]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    call(&mut *stream, 1, &heartbeat).await.unwrap().error_code
}

async fn scrape(broker: &Broker) -> Vec<String> {
    broker.metrics_gathering()().await;
    let text = broker.metrics()();
    let lines = text.lines().filter(|line| line.contains("group") && !line.starts_with('#'));
    lines.filter(|line| !line.contains("request=")).map(str::to_owned).collect()
}

#[test]
fn groups_and_rebalances_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    runtime_tokio::run(|runtime| async move {
        let (broker, address) = start(&runtime, dir.path(), &[]).await;
        // The coordinator may still be loading.
        while join(&runtime, &address).await != 0 {}
        let numbers = scrape(&broker).await;
        for expected in [
            r#"kafka_coordinator_group_groupmetadatamanager_numgroups{type="Consumer",state="Stable"} 1"#,
            "kafka_coordinator_group_groupmetadatamanager_numoffsets 0",
            r#"kafka_server_group_coordinator_metrics_rebalance_count_total{type="Classic"} 0"#,
            r#"kafka_server_group_coordinator_metrics_rebalance_count_total{type="Consumer"} 1"#,
            "kafka_server_group_coordinator_metrics_offset_commit_count_total 0",
        ] {
            assert!(numbers.iter().any(|line| line == expected), "{expected} in {numbers:#?}");
        }
        broker.stop().await;
    })
    .unwrap();
}
