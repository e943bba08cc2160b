//! The cluster, its brokers and what lies on their disks.

use std::collections::BTreeMap;

use model::BrokerId;
use protocol::StrBytes;
use protocol::messages::{DescribeClusterRequest, DescribeLogDirsRequest};

use super::{Admin, PerItem};
use crate::client::TopicSet;
use crate::error::{BrokerError, ClientError};
use crate::metadata::{Node, TopicPartition};

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: StrBytes,
    /// A broker that takes administrative requests.
    pub controller: Option<BrokerId>,
    /// Its brokers, by id.
    pub brokers: BTreeMap<BrokerId, BrokerDescription>,
}

/// A broker of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Where it listens.
    pub node: Node,
    /// Whether it is registered but not allowed to serve.
    pub is_fenced: bool,
}

/// One data directory of a broker.
#[derive(Clone, Debug)]
pub struct LogDirDescription {
    /// Its path on the broker.
    pub path: StrBytes,
    /// Why it can not be used.
    pub error: Option<BrokerError>,
    /// The size of its file system, in bytes.
    pub total_bytes: Option<u64>,
    /// The room left there, in bytes.
    pub usable_bytes: Option<u64>,
    /// What lies in it.
    pub partitions: BTreeMap<TopicPartition, PartitionSize>,
}

/// A partition's log on one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionSize {
    /// Bytes of its segments.
    pub size_bytes: i64,
    /// How many offsets it lags behind the high watermark.
    pub offset_lag: i64,
}

impl Admin {
    /// The cluster as one of its brokers knows it, fenced brokers included.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        let client = &self.client;
        let request = DescribeClusterRequest {
            endpoint_type: 1,
            // Brokers before version 2 do not know fenced ones.
            include_fenced_brokers: false,
            ..Default::default()
        };
        client
            .retrying(async || {
                let response = client.send_any(request.clone()).await?;
                BrokerError::check(response.error_code, response.error_message)?;
                let broker =
                    |b: protocol::messages::describe_cluster_response::DescribeClusterBroker| {
                        let id = BrokerId(b.broker_id);
                        let node = Node { id, host: b.host, port: b.port, rack: b.rack };
                        (id, BrokerDescription { node, is_fenced: b.is_fenced })
                    };
                Ok(ClusterDescription {
                    cluster_id: response.cluster_id,
                    controller: (response.controller_id >= 0)
                        .then_some(BrokerId(response.controller_id)),
                    brokers: response.brokers.into_iter().map(broker).collect(),
                })
            })
            .await
    }

    /// The data directories of every broker.
    pub async fn describe_log_dirs(
        &self,
    ) -> Result<PerItem<BrokerId, Vec<LogDirDescription>>, ClientError> {
        let view = self.client.refresh(TopicSet::None, false).await?;
        let mut done = PerItem::new();
        for &id in view.brokers.keys() {
            let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
            let response = self.client.send(id, request).await;
            let described = response.map_err(ClientError::from).and_then(|response| {
                BrokerError::check(response.error_code, None)?;
                Ok(response.results.into_iter().map(log_dir).collect())
            });
            done.insert(id, described);
        }
        Ok(done)
    }
}

fn log_dir(
    result: protocol::messages::describe_log_dirs_response::DescribeLogDirsResult,
) -> LogDirDescription {
    let mut partitions = BTreeMap::new();
    for topic in result.topics {
        for partition in topic.partitions.iter().filter(|partition| !partition.is_future_key) {
            let at = TopicPartition::new(topic.name.clone(), partition.partition_index);
            let (size_bytes, offset_lag) = (partition.partition_size, partition.offset_lag);
            partitions.insert(at, PartitionSize { size_bytes, offset_lag });
        }
    }
    LogDirDescription {
        path: result.log_dir,
        error: BrokerError::check(result.error_code, None).err(),
        total_bytes: u64::try_from(result.total_bytes).ok(),
        usable_bytes: u64::try_from(result.usable_bytes).ok(),
        partitions,
    }
}
