//! `meta.properties`: the cluster and the node that a directory belongs to (KIP-631, KIP-858).

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use model::{BrokerId, Uuid};
use runtime::{Runtime, read_file, write_file_durably};

use super::{Inner, random_uuid};
use crate::error::{DiskError, LogDirError};

const FILE: &str = "meta.properties";
/// Says that klamm, which keeps its promises about recovery points, wrote the directory last.
/// Kafka ignores it, and drops it when it writes the file.
const OURS: &str = "klamm.version";

/// Who a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster_id: String,
    pub(super) node_id: BrokerId,
    pub(super) directory_id: Uuid,
}

/// Reads the identity, or writes a new one into a new directory; and whether Kafka wrote there
/// last.
pub(super) async fn settle(
    runtime: &Runtime,
    path: &Path,
    node_id: BrokerId,
    cluster_id: Option<String>,
) -> Result<(Identity, bool), LogDirError> {
    let file = path.join(FILE);
    let Some(properties) = read(runtime, &file).await? else {
        let cluster_id =
            cluster_id.unwrap_or_else(|| random_uuid(runtime, "cluster-id", 0).to_string());
        let directory_id = random_uuid(runtime, "directory-id", 0);
        let identity = Identity { cluster_id, node_id, directory_id };
        write(runtime, &file, &identity).await?;
        return Ok((identity, false));
    };
    let by_kafka = !properties.contains_key(OURS);
    let bad = |reason: String| LogDirError::BadFile { file: file.clone(), reason };
    let version = properties.get("version").map_or("0", String::as_str);
    if version != "1" {
        return Err(bad(format!("version {version}, expected 1")));
    }
    let found = properties.get("node.id").and_then(|id| id.parse().ok());
    let found: i32 = found.ok_or_else(|| bad("no node.id".to_owned()))?;
    if found != node_id.0 {
        return Err(LogDirError::OtherNode { path: path.to_owned(), found, wanted: node_id.0 });
    }
    let found = properties.get("cluster.id").cloned();
    let found = found.ok_or_else(|| bad("no cluster.id".to_owned()))?;
    if let Some(wanted) = cluster_id.filter(|wanted| *wanted != found) {
        return Err(LogDirError::OtherCluster { path: path.to_owned(), found, wanted });
    }
    let directory_id = match properties.get("directory.id") {
        Some(id) => id.parse().map_err(|_| bad(format!("directory.id `{id}`")))?,
        None => random_uuid(runtime, "directory-id", 0),
    };
    Ok((Identity { cluster_id: found, node_id, directory_id }, by_kafka))
}

impl Inner {
    /// Notes in a directory that Kafka wrote that it is klamm's from now on.
    pub(super) async fn mark_as_ours(&self) -> Result<(), DiskError> {
        let all_opened = self.lock().untouched.is_empty();
        if self.by_kafka
            && all_opened
            && !self.is_marked.swap(true, std::sync::atomic::Ordering::AcqRel)
        {
            write(&self.runtime, &self.path.join(FILE), &self.identity).await?;
        }
        Ok(())
    }
}

async fn read(
    runtime: &Runtime,
    file: &Path,
) -> Result<Option<BTreeMap<String, String>>, LogDirError> {
    let bytes = match read_file(&*runtime.disk, file).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::at("read", file)(error).into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    Ok(Some(pairs.map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned())).collect()))
}

async fn write(runtime: &Runtime, file: &Path, identity: &Identity) -> Result<(), DiskError> {
    let Identity { cluster_id, node_id, directory_id } = identity;
    let text = format!(
        "version=1\ncluster.id={cluster_id}\nnode.id={node_id}\n\
         directory.id={directory_id}\n{OURS}=1\n"
    );
    let written = write_file_durably(&*runtime.disk, file, Bytes::from(text)).await;
    written.map_err(DiskError::at("write", file))
}
