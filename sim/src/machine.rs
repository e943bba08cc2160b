//! Machines: nodes with a disk, a clock and a place in the network, whose processes start and end.
//!
//! Start at [`Machines::start`].

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::{BoxFuture, Runtime};

use crate::disk::{DiskProfile, ProcessEnd, SimDisk};
use crate::net::{End, Network};
use crate::runtime::{MachineClock, clock, random, tasks};
use crate::world::{Kind, Nanos, NodeId, Process, World};

/// One machine's parts that outlive its processes.
#[derive(Clone)]
pub struct Machine {
    /// Its disk.
    pub disk: SimDisk,
    /// Its clock.
    pub clock: Arc<MachineClock>,
}

/// What a loss of power did to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// Whether a process ran.
    pub was_up: bool,
    /// Operations of its disk that were cut off.
    pub in_flight: u64,
    /// Bytes and names that are not as they were.
    pub lost: u64,
}

impl PowerCut {
    /// Whether it did more than a kill between two steps would have.
    pub fn had_effect(self) -> bool {
        0 < self.lost || (self.was_up && 0 < self.in_flight)
    }
}

/// All machines of a world.
#[derive(Clone)]
pub struct Machines {
    world: World,
    network: Network,
    machines: Arc<Mutex<BTreeMap<NodeId, Machine>>>,
    power_losses: Arc<Mutex<Vec<(Nanos, NodeId)>>>,
}

impl Machines {
    /// No machine yet, in `world`.
    pub fn new(world: &World) -> Machines {
        Machines {
            world: world.clone(),
            network: Network::new(world),
            machines: Arc::default(),
            power_losses: Arc::default(),
        }
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A new machine, down, with an empty disk.
    pub fn add(&self, name: &str, profile: DiskProfile) -> NodeId {
        let node = self.world.add_node(name);
        self.equip(node, profile);
        node
    }

    fn equip(&self, node: NodeId, profile: DiskProfile) {
        let disk = SimDisk::new(&self.world, node, profile);
        let machine = Machine { disk, clock: Arc::new(MachineClock::default()) };
        self.lock().insert(node, machine);
    }

    /// The parts of `node`.
    pub fn machine(&self, node: NodeId) -> Machine {
        self.lock()[&node].clone()
    }

    /// What the supervisor sees: a runtime that no fault touches.
    pub fn supervisor(&self) -> Runtime {
        if !self.lock().contains_key(&NodeId::SUPERVISOR) {
            self.equip(NodeId::SUPERVISOR, DiskProfile::default());
        }
        let process = self.world.process(NodeId::SUPERVISOR).expect("the supervisor never ends");
        self.runtime(process)
    }

    /// Starts a process that runs `main` to its end on `node`, which is down.
    pub fn start<F>(&self, node: NodeId, main: impl FnOnce(Runtime) -> F) -> Process
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let process = self.world.start_process(node);
        self.network.node_booted(node);
        let words = [1, u64::from(process.incarnation)];
        let name = || format!("start {}", self.world.node_name(node));
        self.world.record(Kind::Process, Some(node), &words, name);
        let runtime = self.runtime(process);
        let main: BoxFuture<'static, ()> = Box::pin(main(runtime.clone()));
        drop(runtime.tasks.spawn("main", main));
        process
    }

    fn runtime(&self, process: Process) -> Runtime {
        let machine = self.machine(process.node);
        Runtime {
            clock: clock(&self.world, &machine.clock),
            net: self.network.host(process),
            disk: machine.disk.mount(process),
            tasks: tasks(&self.world, process),
            random: random(&self.world, process),
        }
    }

    /// Ends the process of `node` as kill -9 does: its sockets are closed, its page cache stays.
    /// Returns whether there was one.
    pub fn kill(&self, node: NodeId) -> bool {
        self.end(node, End::Killed).is_some()
    }

    /// Cuts the power of `node`: its peers hear nothing, what was not synced may be gone. What is
    /// drawn depends on the moment.
    pub fn power_loss(&self, node: NodeId) -> PowerCut {
        self.power_loss_by(node, self.world.now())
    }

    /// As [`Machines::power_loss`]; what is drawn depends on the key that names the fault.
    pub fn power_loss_by(&self, node: NodeId, key: u64) -> PowerCut {
        let losses = &self.power_losses;
        losses.lock().unwrap_or_else(PoisonError::into_inner).push((self.world.now(), node));
        self.vanish(node, key)
    }

    /// As [`Machines::power_loss_by`], for a machine that keeps nothing for anybody: its loss of
    /// power excuses nothing.
    pub fn vanish(&self, node: NodeId, key: u64) -> PowerCut {
        let ended = self.end(node, End::PowerLost);
        if ended.is_none() {
            // Its kernel ran on: it refused connects, and had more to send perhaps.
            self.network.power_lost(node);
        }
        let loss = self.machine(node).disk.power_lost_by(key);
        PowerCut {
            was_up: ended.is_some(),
            in_flight: ended.map_or(0, |ended| ended.in_flight),
            lost: loss.bytes_lost + loss.names_lost,
        }
    }

    /// Nobody watches the disks and the network any more. Who watches may hold them, and all would
    /// outlive the run.
    pub fn forget_watchers(&self) {
        self.network.remove_observers();
        for machine in self.lock().values() {
            machine.disk.remove_tap();
        }
    }

    /// When which machine lost power.
    pub fn power_losses(&self) -> Vec<(Nanos, NodeId)> {
        self.power_losses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&self, node: NodeId, end: End) -> Option<ProcessEnd> {
        let process = self.world.process(node)?;
        let words = [2, u64::from(process.incarnation), end as u64];
        let text = || format!("{end:?}: {}", self.world.node_name(node));
        self.world.record(Kind::Process, Some(node), &words, text);
        self.network.process_ended(process, end);
        let ended = self.machine(node).disk.process_ended(process);
        self.world.end_process(node);
        Some(ended)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_machine_without_a_process_loses_power_too() {
        let world = World::new(1, false);
        let machines = Machines::new(&world);
        let node = machines.add("machine", DiskProfile::default());
        let supervisor = machines.supervisor();
        let main = async move {
            machines.start(node, |_| std::future::pending());
            assert!(machines.kill(node));
            let refused = supervisor.net.connect("machine:9").await.err().map(|it| it.kind());
            assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
            assert!(!machines.power_loss(node).was_up);
            let connect = supervisor.net.connect("machine:9");
            let limit = machines.world().sleep(Duration::from_secs(10));
            let answer = runtime::select! {
                answer = connect => Some(answer.is_ok()),
                () = limit => None,
            };
            assert_eq!(answer, None, "nobody is there to answer");
        };
        assert_eq!(world.block_on(1_000_000, main), Ok(()));
        assert_eq!(world.panics(), []);
    }
}
