//! A broker at rest: when all clients are gone it does next to nothing, and holds on to nothing of
//! theirs: no connection, no task, no file that is not there any more.
//!
//! Start at [`look`].

use std::time::Duration;

use crate::cluster::Cluster;
use crate::inspect::OWNER_TASK;
use crate::machine::Machines;
use crate::world::{Process, World};

/// So long nobody asks anything, after what was under way has come to its end.
const SETTLING: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(5);
/// What the timers of a broker and of the operator take in that time.
const POLLS_MAX: u64 = 600;
/// Tasks that come and go, each at most so often at a time.
const PASSING_TASKS_MAX: usize = 4;

/// Waits, for `linger` longer than for the connections of clients that are gone, and says what is still there that should be gone.
pub(crate) async fn look(
    world: &World,
    machines: &Machines,
    cluster: &Cluster,
    linger: Duration,
) -> Vec<String> {
    world.sleep(SETTLING + linger).await;
    let before = world.polls();
    world.sleep(SILENCE).await;
    let polls = world.polls() - before;
    let mut findings = Vec::new();
    if POLLS_MAX < polls {
        findings
            .push(format!("{polls} polls of tasks in {SILENCE:?} in which nobody asked anything"));
    }
    for process in cluster.processes() {
        let name = world.node_name(process.node);
        let of_broker = left_behind(world, machines, cluster, process);
        findings.extend(of_broker.into_iter().map(|finding| format!("{name} {finding}")));
    }
    findings
}

fn left_behind(
    world: &World,
    machines: &Machines,
    cluster: &Cluster,
    process: Process,
) -> Vec<String> {
    let mut findings = Vec::new();
    let infos = machines.network().connections();
    let here = || infos.iter().filter(|info| info.server == process.node);
    let open = here().filter(|info| info.is_open).count();
    if open > 0 {
        findings.push(format!("has {open} connections, and every client is gone"));
    }
    let ends = cluster.ends(process);
    for at in ends.iter().filter(|at| !at.is_offline && at.high_watermark != at.log_end) {
        let (high_watermark, log_end) = (at.high_watermark, at.log_end);
        let name = format!("{}-{}", at.topic, at.partition);
        findings.push(format!("shows {name} up to {high_watermark} and holds up to {log_end}"));
    }
    let partitions = ends.len();
    for (task, count) in world.task_names(process) {
        let most = match task {
            OWNER_TASK => partitions,
            // Of some it can not know yet that their other end is gone.
            "connection" => here().count(),
            _ => PASSING_TASKS_MAX,
        };
        if most < count {
            findings.push(format!("has {count} tasks {task:?}, {most} at most make sense"));
        }
    }
    let nameless = machines.machine(process.node).disk.nameless_open_files();
    if let Some(path) = nameless.first() {
        let count = nameless.len();
        findings.push(format!("holds {count} files open that were removed, among them {path}"));
    }
    findings
}
