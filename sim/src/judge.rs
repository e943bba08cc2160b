//! What a broker holds after a run, judged from its disk: recovering twice gives what recovering once
//! gave, and neither changes a record.
//!
//! In: the broker's disk, without power. It is copied to two machines one after the other; a broker
//! starts on each, from what the one before left behind, and is killed as soon as it serves.
//!
//! Start at [`recover_twice`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::{Broker, BrokerConfig};
use bytes::Bytes;
use runtime::sync::oneshot;

use crate::damage::damaged_logs;
use crate::disk::{DiskImage, DiskProfile};
use crate::durable::Journal;
use crate::machine::Machines;
use crate::scenario::{Scenario, TopicSpec};
use crate::world::NodeId;

/// A start takes no longer than this, in simulated time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The cluster's own log gets a record at each start.
const METADATA: &str = "/__klamm_metadata-";

/// Cuts the power of `node` and recovers its disk twice elsewhere; returns the disk and what
/// differs. The first recovery may cut a torn end off a log whose topic asks for no syncs, and
/// finishes the swap of a compaction that the cut came into.
pub async fn recover_twice(
    machines: &Machines,
    node: NodeId,
    config: &BrokerConfig,
    scenario: &Scenario,
) -> (DiskImage, Vec<String>) {
    machines.power_loss(node);
    let disk = machines.machine(node).disk;
    let damaged: BTreeSet<String> = damaged_logs(&disk).into_keys().collect();
    let mut image = disk.snapshot();
    let mut findings = Vec::new();
    for times in ["once", "twice"] {
        match recover(machines, &image, config, times).await {
            Ok(recovered) => {
                let allowed =
                    if times == "once" { Allowed::of(&image, scenario) } else { Allowed::none() };
                let (before, after) = (records(&image, &damaged), records(&recovered, &damaged));
                findings.extend(differences(&before, &after, scenario, &allowed));
                image = recovered;
            }
            Err(reason) => {
                findings.push(format!("recovering {times}: {reason}"));
                break;
            }
        }
    }
    (image, findings)
}

/// Starts a broker on a copy of `image`, kills it when it serves, and returns what is on the disk.
async fn recover(
    machines: &Machines,
    image: &DiskImage,
    config: &BrokerConfig,
    times: &str,
) -> Result<DiskImage, String> {
    let node = machines.add(&format!("judge-{times}"), DiskProfile::default());
    let disk = machines.machine(node).disk;
    disk.restore(image);
    let (told, started) = oneshot::channel();
    let config = config.clone();
    machines.start(node, |runtime| async move {
        let outcome = Broker::start(runtime, config).await;
        // The receiver only goes when the time is up.
        let _ = told.send(outcome.as_ref().map(|_| ()).map_err(ToString::to_string));
        std::future::pending::<()>().await;
        drop(outcome);
    });
    let limit = machines.world().sleep(START_LIMIT);
    let outcome = runtime::select! {
        outcome = started => outcome.unwrap_or_else(|_| Err("the start panicked".to_owned())),
        () = limit => Err(format!("does not serve after {START_LIMIT:?}")),
    };
    machines.kill(node);
    outcome?;
    Ok(disk.snapshot())
}

/// The bytes of each partition's records: all its segments, one behind the other.
type Records = BTreeMap<String, Vec<u8>>;

/// Of all logs but the `damaged`, with what a start writes into them out of the journal.
fn records(image: &DiskImage, damaged: &BTreeSet<String>) -> Records {
    let mut directories = BTreeSet::new();
    let mut segments = BTreeMap::<(String, i64), Vec<u8>>::new();
    for (path, bytes) in image.files() {
        let Some((directory, file)) = path.rsplit_once('/') else { continue };
        directories.insert(directory.to_owned());
        let base = file.strip_suffix(".log").and_then(|base| base.parse().ok());
        if let Some(base) = base {
            let bytes: &Bytes = bytes;
            segments.insert((directory.to_owned(), base), bytes.to_vec());
        }
    }
    for (log, segment, position, bytes) in Journal::of_image(image).all() {
        let directory = format!("/data/{log}");
        // Otherwise it was deleted.
        if directories.contains(&directory) {
            let content = segments.entry((directory, segment)).or_default();
            let (from, to) = (position as usize, position as usize + bytes.len());
            content.resize(content.len().max(to), 0);
            content[from..to].copy_from_slice(bytes);
        }
    }
    let mut logs = Records::new();
    for ((directory, _), bytes) in segments {
        let name = directory.rsplit_once('/').map_or(&*directory, |(_, name)| name);
        let is_gone = damaged.contains(name)
            || directory.ends_with("-delete")
            || directory.ends_with("-stray");
        if !directory.contains(METADATA) && !is_gone {
            logs.entry(directory).or_default().extend(bytes);
        }
    }
    logs
}

/// What a recovery may change.
struct Allowed {
    /// Logs whose end may be torn.
    torn: BTreeSet<String>,
    /// Logs with a swap under way.
    swapped: BTreeSet<String>,
}

impl Allowed {
    fn none() -> Allowed {
        Allowed { torn: BTreeSet::new(), swapped: BTreeSet::new() }
    }

    fn of(image: &DiskImage, scenario: &Scenario) -> Allowed {
        let mut allowed = Allowed::none();
        for (path, _) in image.files() {
            let Some((log, file)) = path.rsplit_once('/') else { continue };
            if topic_of(log, scenario).is_some_and(|topic| scenario.rules(topic).is_lost_with_power)
            {
                allowed.torn.insert(log.to_owned());
            }
            if file.ends_with(".swap") {
                allowed.swapped.insert(log.to_owned());
            }
        }
        allowed
    }

    fn allows(&self, log: &str, before: &[u8], after: &[u8]) -> bool {
        self.swapped.contains(log) || (self.torn.contains(log) && before.starts_with(after))
    }
}

/// The topic of the scenario whose partition is in the directory `log`.
fn topic_of<'a>(log: &str, scenario: &'a Scenario) -> Option<&'a TopicSpec> {
    let name = log.rsplit_once('/').map_or(log, |(_, name)| name);
    scenario.topics.get(name.rsplit_once('-')?.0)
}

fn differences(
    before: &Records,
    after: &Records,
    scenario: &Scenario,
    allowed: &Allowed,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (log, bytes) in before {
        match after.get(log) {
            // Left over from a topic that was deleted.
            None if topic_of(log, scenario).is_none() => {}
            None => findings.push(format!("recovery takes {log} away, {} bytes", bytes.len())),
            Some(recovered) if recovered == bytes || allowed.allows(log, bytes, recovered) => {}
            Some(recovered) => {
                let same = bytes.iter().zip(recovered).take_while(|(a, b)| a == b).count();
                findings.push(format!(
                    "recovery changes {log}: {} bytes before, {} after, equal up to {same}",
                    bytes.len(),
                    recovered.len(),
                ));
            }
        }
    }
    let new = after.iter().filter(|(log, bytes)| !bytes.is_empty() && !before.contains_key(*log));
    findings
        .extend(new.map(|(log, bytes)| format!("recovery brings {log}, {} bytes", bytes.len())));
    findings
}
