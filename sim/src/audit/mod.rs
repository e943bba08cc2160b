//! What logs say of themselves, held against what their files hold.
//!
//! In: a disk that a broker left behind. Every log on it is opened as a broker opens it; its ends,
//! its producers and its look-ups by offset and by time are compared with what a plain walk over the
//! bytes of its segments gives, which shares no code with the log but the batch format. Out: what
//! differs.
//!
//! Start at [`audit`].

mod content;
mod lookups;
mod producers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::BrokerConfig;
use protocol::records::Batch;
use runtime::Runtime;
use runtime::sync::oneshot;
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName};

use crate::disk::{DiskImage, DiskProfile};
use crate::machine::Machines;
use content::Content;

/// Files held open while it looks.
const OPEN_FILES_MAX: usize = 64;

/// Opening and reading everything takes no longer than this, in simulated time.
const LIMIT: Duration = Duration::from_secs(60);

/// What is known of the logs on a disk.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where partitions end that must be there, by name, as clients were told.
    pub ends: BTreeMap<String, i64>,
    /// Logs that are damaged: nothing is expected of them.
    pub damaged: BTreeSet<String>,
    /// `retention.bytes` of the logs that have it.
    pub retention_bytes: BTreeMap<String, u64>,
}

/// Opens every log of `image` and says where it contradicts its own files, or what was told.
pub async fn audit(
    machines: &Machines,
    image: &DiskImage,
    config: &BrokerConfig,
    told: Told,
) -> Vec<String> {
    let node = machines.add("auditor", DiskProfile::default());
    machines.machine(node).disk.restore(image);
    let (tell, heard) = oneshot::channel();
    let (image, config) = (image.clone(), config.clone());
    machines.start(node, |runtime| async move {
        let findings = audit_dir(&runtime, &image, &config, &told).await;
        let findings = findings.unwrap_or_else(|error| vec![format!("{error}")]);
        // Who asked waits for it.
        let _ = tell.send(findings);
    });
    let limit = machines.world().sleep(LIMIT);
    let findings = runtime::select! {
        findings = heard => findings.unwrap_or_else(|_| vec!["the audit panicked".to_owned()]),
        () = limit => vec![format!("the logs are not read after {LIMIT:?}")],
    };
    machines.kill(node);
    findings
}

async fn audit_dir(
    runtime: &Runtime,
    image: &DiskImage,
    config: &BrokerConfig,
    told: &Told,
) -> Result<Vec<String>, storage::LogDirError> {
    let options = LogDirOptions {
        path: config.log_dir.clone(),
        node_id: config.node_id,
        cluster_id: None,
        open_files_max: OPEN_FILES_MAX,
        journal_file_bytes: 0,
    };
    let dir = LogDir::open(runtime.clone(), options).await?;
    let mut findings = Vec::new();
    let mut missing = told.ends.clone();
    for found in dir.found() {
        let name = &found.name;
        let end_told = missing.remove(&name.to_string());
        if told.damaged.contains(&name.to_string()) {
            continue;
        }
        let place = format!("{}/{name}/", config.log_dir.display());
        match dir.open_log(name, LogConfig::default()).await {
            Ok(log) => {
                let end = log.log_end().0;
                if let Some(told) = end_told.filter(|told| *told != end) {
                    findings.push(format!("{name}: ends at {end}, clients were told {told}"));
                }
                findings.extend(audit_log(name, &log, &Content::of(image, &place)).await);
                if let Some(limit) = told.retention_bytes.get(&name.to_string()) {
                    let kept = kept_too_long(&content::segment_sizes(image, &place), *limit);
                    findings.extend(kept.map(|finding| format!("{name}: {finding}")));
                }
            }
            Err(error) => findings.push(format!("{name} does not open: {error}")),
        }
    }
    findings.extend(missing.keys().map(|name| format!("{name} is not there")));
    Ok(findings)
}

/// A log that was at rest for some rounds of retention has nothing left that it deletes.
fn kept_too_long(segments: &[u64], retention_bytes: u64) -> Option<String> {
    let without_first: u64 = segments.iter().skip(1).sum();
    let is_due = segments.len() > 1 && retention_bytes <= without_first;
    is_due.then(|| {
        format!("has {without_first} bytes without its first segment, may have {retention_bytes}")
    })
}

async fn audit_log(name: &LogName, log: &Log, content: &Content) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(end) = content.end()
        && end != log.log_end()
    {
        findings.push(format!("ends at {} and has records up to {end}", log.log_end()));
    }
    findings.extend(epochs(log, &content.batches));
    findings.extend(producers::differences(&content.batches, &log.producers()));
    findings.extend(lookups::differences(&log.reader(), content).await);
    findings.iter().map(|finding| format!("{name}: {finding}")).collect()
}

/// Batches that were written in another leader epoch than the checkpoint of epochs says.
fn epochs(log: &Log, batches: &[Batch]) -> Vec<String> {
    let reader = log.reader();
    let here = batches.iter().filter(|batch| batch.header.last_offset() >= reader.log_start());
    let wrong = here.filter_map(|Batch { header, .. }| {
        let (at, wrote) = (header.last_offset(), header.leader_epoch);
        let told = reader.leader_epoch_of(at);
        (told != Some(wrote)).then(|| format!("offset {at} is of epoch {wrote}, told as {told:?}"))
    });
    wrong.collect()
}
