//! DescribeLogDirs: what lies in the log directory, and how much room there is (KIP-113, KIP-827).

use std::collections::BTreeSet;

use protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::{ErrorCode, StrBytes};

use crate::registry::{Registry, Topic};
use crate::request::RequestContext;
use crate::shared::Shared;

/// Describes the directory with the partitions asked for, or all.
pub(crate) async fn handle(
    shared: &Shared,
    _context: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let registry = shared.registry.borrow();
    let topics = match &request.topics {
        None => all(&registry),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                let wanted: BTreeSet<i32> = asked.partitions.iter().copied().collect();
                let topic = registry.by_name(&asked.topic)?;
                Some(describe(topic, |index| wanted.contains(&index)))
            })
            .filter(|topic| !topic.partitions.is_empty())
            .collect(),
    };
    let space = shared.log_dir.space().await;
    let (error, total, usable) = match &space {
        Ok(space) => (ErrorCode::None, bytes(space.total), bytes(space.free)),
        Err(error) => {
            tracing::error!(%error, "look at the room in the log directory");
            (ErrorCode::KafkaStorageError, -1, -1)
        }
    };
    let result = DescribeLogDirsResult {
        error_code: error.code(),
        log_dir: StrBytes::from(shared.log_dir.path().display().to_string()),
        topics,
        total_bytes: total,
        usable_bytes: usable,
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

fn all(registry: &Registry) -> Vec<DescribeLogDirsTopic> {
    let mut topics: Vec<_> = registry.topics().map(|topic| describe(topic, |_| true)).collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics
}

fn describe(topic: &Topic, is_wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = (0..).zip(&topic.partitions).filter(|(index, _)| is_wanted(*index));
    let partitions = partitions.filter_map(|(partition_index, partition)| {
        let reader = partition.as_ref()?.reader();
        Some(DescribeLogDirsPartition {
            partition_index,
            partition_size: bytes(reader.size_bytes()),
            // This broker leads all it holds: nothing lags.
            offset_lag: 0,
            is_future_key: false,
            ..Default::default()
        })
    });
    DescribeLogDirsTopic {
        name: topic.name.clone(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
