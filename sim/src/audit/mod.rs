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

use broker::BrokerConfig;
use runtime::Runtime;
use runtime::sync::oneshot;
use storage::{Log, LogConfig, LogDir, LogDirOptions, LogName};

use crate::disk::{DiskImage, DiskProfile};
use crate::machine::Machines;
use content::Content;

/// Files held open while it looks.
const OPEN_FILES_MAX: usize = 64;

/// Opens every log of `image` and says where it contradicts its own files.
pub async fn audit(machines: &Machines, image: &DiskImage, config: &BrokerConfig) -> Vec<String> {
    let node = machines.add("auditor", DiskProfile::default());
    machines.machine(node).disk.restore(image);
    let (tell, told) = oneshot::channel();
    let (image, config) = (image.clone(), config.clone());
    machines.start(node, |runtime| async move {
        let findings = audit_dir(&runtime, &image, &config).await;
        let findings = findings.unwrap_or_else(|error| vec![format!("{error}")]);
        // Who asked waits for it.
        let _ = tell.send(findings);
    });
    let findings = told.await.unwrap_or_else(|_| vec!["the audit panicked".to_owned()]);
    machines.kill(node);
    findings
}

async fn audit_dir(
    runtime: &Runtime,
    image: &DiskImage,
    config: &BrokerConfig,
) -> Result<Vec<String>, storage::LogDirError> {
    let options = LogDirOptions {
        path: config.log_dir.clone(),
        node_id: config.node_id,
        cluster_id: None,
        open_files_max: OPEN_FILES_MAX,
    };
    let dir = LogDir::open(runtime.clone(), options).await?;
    let mut findings = Vec::new();
    for found in dir.found() {
        let name = &found.name;
        let place = format!("{}/{name}/", config.log_dir.display());
        match dir.open_log(name, LogConfig::default()).await {
            Ok(log) => findings.extend(audit_log(name, &log, &Content::of(image, &place)).await),
            Err(error) => findings.push(format!("{name} does not open: {error}")),
        }
    }
    Ok(findings)
}

async fn audit_log(name: &LogName, log: &Log, content: &Content) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(end) = content.end()
        && end != log.log_end()
    {
        findings.push(format!("ends at {} and has records up to {end}", log.log_end()));
    }
    findings.extend(producers::differences(&content.batches, &log.producers()));
    findings.extend(lookups::differences(&log.reader(), content).await);
    findings.iter().map(|finding| format!("{name}: {finding}")).collect()
}
