//! The faults of a plan, armed in a run: each waits for its trigger, strikes once, and tells whether
//! it had an effect.
//!
//! Start at [`Faults::arm`].

mod frames;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::disk::{DiskEvent, FaultId, Op, PathFilter, Phase as DiskPhase, SimDisk, Verdict};
use crate::machine::Machines;
use crate::net::Which;
use crate::plan::{Action, Cut, DiskOp, Fault, Phase, Trigger, draw};
use crate::run::start_client;
use crate::workload::Work;
use crate::world::trace::digest;
use crate::world::{Kind, Nanos, NodeId, World};
use frames::Frames;

/// What became of one fault of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Struck {
    /// The fault.
    pub fault: Fault,
    /// When it struck; `None` when its trigger never came.
    pub at: Option<Nanos>,
    /// Whether that did anything.
    pub had_effect: bool,
}

struct State {
    struck: Vec<Struck>,
    /// What names each fault, by its place in the plan.
    keys: Vec<u64>,
    /// Faults of disks whose effect shows later: which of the plan, and whose.
    disk_faults: Vec<(usize, SimDisk, FaultId)>,
    is_healed: bool,
}

/// An operation that a trigger waits for.
struct DiskWatch {
    fault: usize,
    op: DiskOp,
    filter: PathFilter,
    phase: Phase,
    left: u32,
    /// The machine goes with it: whoever asked never hears of it.
    is_crash: bool,
}

/// The armed faults of a run.
#[derive(Clone)]
pub struct Faults {
    world: World,
    machines: Machines,
    cluster: Cluster,
    work: Arc<Work>,
    clients: Arc<Vec<NodeId>>,
    state: Arc<Mutex<State>>,
}

impl Faults {
    /// Draws the plan and waits for its triggers from now on.
    pub fn arm(
        machines: &Machines,
        cluster: &Cluster,
        work: &Arc<Work>,
        clients: &[NodeId],
    ) -> Faults {
        let world = machines.world().clone();
        let plan = draw(&work.scenario, world.seed(), clients.len() as u32);
        let struck = |fault: &Fault| Struck { fault: fault.clone(), at: None, had_effect: false };
        let state = State {
            struck: plan.iter().map(struck).collect(),
            keys: keys(&plan),
            disk_faults: Vec::new(),
            is_healed: false,
        };
        let faults = Faults {
            world,
            machines: machines.clone(),
            cluster: cluster.clone(),
            work: Arc::clone(work),
            clients: Arc::new(clients.to_vec()),
            state: Arc::new(Mutex::new(state)),
        };
        faults.arm_times(&plan);
        faults.arm_disks(&plan);
        faults.arm_frames(&plan);
        faults
    }

    fn arm_times(&self, plan: &[Fault]) {
        for (at, fault) in plan.iter().enumerate() {
            if let Trigger::At { ms } = fault.when {
                let faults = self.clone();
                self.world.after(Duration::from_millis(ms), move |_| faults.strike(at));
            }
        }
    }

    fn arm_disks(&self, plan: &[Fault]) {
        for id in 1..=self.work.scenario.cluster.brokers {
            let watches: Vec<DiskWatch> = plan
                .iter()
                .enumerate()
                .filter_map(|(at, fault)| DiskWatch::of(at, fault, id))
                .collect();
            if watches.is_empty() {
                continue;
            }
            let faults = self.clone();
            let mut watches = watches;
            let tap = move |event: &DiskEvent| faults.on_disk(&mut watches, event);
            self.machines.machine(self.cluster.node(id)).disk.on_operation(Box::new(tap));
        }
    }

    /// Counts an operation, and plans the faults that waited for it.
    fn on_disk(&self, watches: &mut Vec<DiskWatch>, event: &DiskEvent) -> Verdict {
        let mut verdict = Verdict::Go;
        watches.retain_mut(|watch| {
            if !watch.matches(event) {
                return true;
            }
            watch.left = watch.left.saturating_sub(1);
            if watch.left > 0 {
                return true;
            }
            if watch.is_crash && !self.lock().is_healed {
                verdict = Verdict::Hang;
            }
            self.strike_soon(watch.fault);
            false
        });
        verdict
    }

    fn arm_frames(&self, plan: &[Fault]) {
        let mut frames = Frames::default();
        for (at, fault) in plan.iter().enumerate() {
            if let Trigger::Frame { api, way, nth } = &fault.when {
                frames.watch(api, *way, *nth, at);
            }
        }
        if frames.is_empty() {
            return;
        }
        let faults = self.clone();
        self.machines.network().on_segment(Box::new(move |segment| {
            for fault in frames.on_segment(segment) {
                faults.strike_soon(fault);
            }
        }));
    }

    /// Strikes before anything else happens, but not inside the poll that triggered it.
    fn strike_soon(&self, at: usize) {
        let faults = self.clone();
        self.world.after(Duration::ZERO, move |_| faults.strike(at));
    }

    fn strike(&self, at: usize) {
        let (action, key) = {
            let state = self.lock();
            if state.is_healed || state.struck[at].at.is_some() {
                return;
            }
            (state.struck[at].fault.what.clone(), state.keys[at])
        };
        let now = self.world.now();
        self.lock().struck[at].at = Some(now);
        self.world.record(Kind::Fault, None, &[at as u64], || format!("fault {at}: {action}"));
        let had_effect = self.act(at, &action, key);
        self.lock().struck[at].had_effect |= had_effect;
    }

    /// Does it; returns whether that had an effect so far.
    fn act(&self, at: usize, action: &Action, key: u64) -> bool {
        match action {
            Action::Kill { broker, down_ms } => self.cluster.kill(*broker, *down_ms),
            Action::PowerLoss { broker, down_ms } => {
                self.cluster.power_loss(*broker, *down_ms, key)
            }
            Action::Stop { broker, down_ms } => self.cluster.stop(*broker, *down_ms),
            Action::CrashLoop { broker, times, power } => {
                self.cluster.crash_loop(*broker, *times, *power, key)
            }
            Action::Pause { broker, ms } => self.pause(self.cluster.node(*broker), *ms),
            Action::ClientCrash { client, down_ms } => self.crash_client(*client, *down_ms),
            Action::Cut { .. }
            | Action::Stall { .. }
            | Action::Reset { .. }
            | Action::Fin { .. }
            | Action::HalfOpen { .. }
            | Action::LoseResponse { .. }
            | Action::Refuse { .. }
            | Action::Hang { .. }
            | Action::OneByteReads { .. } => self.act_on_network(action, key),
            Action::DiskError { .. }
            | Action::DiskFull { .. }
            | Action::DiskSlow { .. }
            | Action::DiskStall { .. }
            | Action::Rot { .. }
            | Action::MisdirectWrite { .. } => self.act_on_disk(at, action, key),
            Action::ClockJump { broker, by_ms } => {
                self.machines.machine(self.cluster.node(*broker)).clock.jump_millis(*by_ms);
                true
            }
            Action::ClockDrift { broker, ppm } => {
                let clock = self.machines.machine(self.cluster.node(*broker)).clock;
                clock.set_drift_ppm(self.world.now(), *ppm);
                true
            }
            Action::ClockFreeze { broker, ms } => {
                let clock = self.machines.machine(self.cluster.node(*broker)).clock;
                let now = self.world.now();
                clock.freeze(now, now.saturating_add(ms.saturating_mul(1_000_000)));
                true
            }
        }
    }

    fn pause(&self, node: NodeId, ms: u64) -> bool {
        let Some(process) = self.world.process(node) else { return false };
        self.world.pause(node);
        self.world.after(Duration::from_millis(ms), move |world| {
            if world.is_alive(process) {
                world.resume(node);
            }
        });
        true
    }

    fn crash_client(&self, client: u32, down_ms: u64) -> bool {
        let Some(node) = self.client(client) else { return false };
        let was_up = self.machines.kill(node);
        let (machines, work) = (self.machines.clone(), Arc::clone(&self.work));
        self.world.after(Duration::from_millis(down_ms), move |world| {
            if world.process(node).is_none() {
                start_client(&machines, &work, node, client as usize - 1);
            }
        });
        was_up
    }

    fn client(&self, client: u32) -> Option<NodeId> {
        self.clients.get((client as usize).checked_sub(1)?).copied()
    }

    fn act_on_network(&self, action: &Action, key: u64) -> bool {
        let network = self.machines.network();
        let ends =
            |client: u32, broker: u32| Some((self.client(client)?, self.cluster.node(broker)));
        let struck = match action {
            Action::Cut { client, broker, cut, ms } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                return self.cut(client, broker, *cut, *ms);
            }
            Action::Stall { client, broker, ms } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                let duration = Duration::from_millis(*ms);
                let mut struck = network.stall(client, broker, duration);
                struck += network.stall(broker, client, duration);
                struck
            }
            Action::Reset { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.reset_connections(client, broker, Which::All)
            }
            Action::Fin { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.close_mid_response(broker, client, key)
            }
            Action::HalfOpen { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.half_open(client, broker, Which::One(key))
            }
            Action::LoseResponse { client, broker } => {
                let Some((client, broker)) = ends(*client, *broker) else { return false };
                network.lose_response(broker, client, key)
            }
            Action::Refuse { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.refuse_connects(node, Duration::from_millis(*ms));
                return true;
            }
            Action::Hang { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.hang_connects(node, Duration::from_millis(*ms));
                return true;
            }
            Action::OneByteReads { broker, ms } => {
                let node = self.cluster.node(*broker);
                network.one_byte_reads(node, Duration::from_millis(*ms));
                return true;
            }
            _ => return false,
        };
        !struck.is_nothing()
    }

    fn cut(&self, client: NodeId, broker: NodeId, cut: Cut, ms: u64) -> bool {
        let network = self.machines.network().clone();
        let links: &[(NodeId, NodeId)] = match cut {
            Cut::Both => &[(client, broker), (broker, client)],
            Cut::ToBroker => &[(client, broker)],
            Cut::ToClient => &[(broker, client)],
        };
        let links = links.to_vec();
        let mut is_open = false;
        for (from, to) in &links {
            is_open |= !network.cut(*from, *to).is_nothing();
        }
        self.world.after(Duration::from_millis(ms), move |_| {
            for (from, to) in links {
                network.heal(from, to);
            }
        });
        is_open
    }

    fn act_on_disk(&self, at: usize, action: &Action, key: u64) -> bool {
        let disk = |broker: u32| self.machines.machine(self.cluster.node(broker)).disk;
        let (disk, fault) = match action {
            Action::DiskError { broker, op, path, nth } => {
                let disk = disk(*broker);
                let fault = disk.fail_next(op_of(*op), filter(path), u64::from(*nth));
                (disk, fault)
            }
            Action::DiskFull { broker, left, ms } => {
                let disk = disk(*broker);
                let fault = disk.full(*left);
                let freed = disk.clone();
                self.world.after(Duration::from_millis(*ms), move |_| freed.free_again());
                (disk, fault)
            }
            Action::DiskSlow { broker, factor, ms } => {
                let disk = disk(*broker);
                let fault = disk.slow(u64::from(*factor), Duration::from_millis(*ms));
                (disk, fault)
            }
            Action::DiskStall { broker, ms } => {
                let disk = disk(*broker);
                let fault = disk.stall(Duration::from_millis(*ms));
                (disk, fault)
            }
            Action::Rot { broker, path } => {
                let disk = disk(*broker);
                let fault = disk.rot(&filter(path), key);
                (disk, fault)
            }
            Action::MisdirectWrite { broker, path } => {
                let disk = disk(*broker);
                let fault = disk.misdirect_next_write(filter(path));
                (disk, fault)
            }
            _ => return false,
        };
        self.lock().disk_faults.push((at, disk, fault));
        false
    }

    /// Ends all faults: the network is whole, disks work, nobody is paused, nothing strikes any
    /// more.
    pub fn heal(&self) {
        self.lock().is_healed = true;
        self.machines.network().heal_all();
        self.machines.forget_watchers();
        for id in 1..=self.work.scenario.cluster.brokers {
            let node = self.cluster.node(id);
            let machine = self.machines.machine(node);
            machine.disk.heal();
            machine.clock.set_right(self.world.now());
            self.world.resume(node);
        }
    }

    /// What became of each fault of the plan.
    pub fn struck(&self) -> Vec<Struck> {
        let mut state = self.lock();
        let State { struck, disk_faults, .. } = &mut *state;
        for (at, disk, fault) in disk_faults.drain(..) {
            let effects = disk.effects();
            let felt = effects.iter().any(|effect| effect.fault == fault && effect.strikes > 0);
            struck[at].had_effect |= felt;
        }
        struck.clone()
    }

    /// Whether client number `client`, from 0, has work to do still.
    pub fn is_client_busy(&self, client: usize) -> bool {
        !self.work.is_finished(client)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What names each fault of `plan`: its own text, and which it is among equals. Taking another away
/// changes nothing of it.
fn keys(plan: &[Fault]) -> Vec<u64> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let key = |fault: &Fault| {
        let text = fault.to_string();
        let nth = seen.entry(text.clone()).or_default();
        *nth += 1;
        digest(format!("{nth} {text}").as_bytes())
    };
    plan.iter().map(key).collect()
}

impl DiskWatch {
    fn of(at: usize, fault: &Fault, id: u32) -> Option<DiskWatch> {
        let Trigger::Disk { broker, op, path, nth, phase } = &fault.when else { return None };
        if *broker != id {
            return None;
        }
        let is_crash = match &fault.what {
            Action::Kill { broker, .. }
            | Action::PowerLoss { broker, .. }
            | Action::CrashLoop { broker, .. } => *broker == id,
            _ => false,
        };
        let (op, phase) = (*op, *phase);
        Some(DiskWatch { fault: at, op, filter: filter(path), phase, left: *nth, is_crash })
    }

    fn matches(&self, event: &DiskEvent) -> bool {
        let phase = match self.phase {
            Phase::Begin => DiskPhase::Begin,
            Phase::Effect => DiskPhase::Effect,
        };
        let is_op =
            event.op == op_of(self.op) || (self.op == DiskOp::Remove && event.op == Op::RemoveDir);
        event.phase == phase && is_op && self.filter.matches(&event.path)
    }
}

fn op_of(op: DiskOp) -> Op {
    match op {
        DiskOp::Open => Op::Open,
        DiskOp::Read => Op::Read,
        DiskOp::Write => Op::Write,
        DiskOp::Sync => Op::Sync,
        DiskOp::SyncDir => Op::SyncDir,
        DiskOp::Rename => Op::Rename,
        DiskOp::Remove => Op::RemoveFile,
        DiskOp::SetLen => Op::SetLen,
    }
}

fn filter(path: &str) -> PathFilter {
    match path {
        "" => PathFilter::Any,
        part => PathFilter::Contains(part.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_fault_is_its_own() {
        let fault = |ms, broker| Fault {
            when: Trigger::At { ms },
            what: Action::Kill { broker, down_ms: 5 },
        };
        let all = keys(&[fault(1, 1), fault(2, 1), fault(1, 1), fault(1, 2)]);
        assert_eq!(keys(&[fault(2, 1), fault(1, 1), fault(1, 1)]), [all[1], all[0], all[2]]);
        assert_ne!(all[0], all[2]);
    }
}
