//! The faults of a plan, armed in a run: each waits for its trigger, strikes once, and tells whether
//! it had an effect.
//!
//! Start at [`Faults::arm`].

mod disks;
mod frames;
mod groups;
mod links;
mod proof;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use history::What;

use crate::cluster::Cluster;
use crate::machine::Machines;
use crate::net::SegmentEvent;
use crate::plan::{Action, Fault, Moment, Trigger, draw};
use crate::run::start_client;
use crate::workload::Work;
use crate::world::trace::digest;
use crate::world::{Kind, Nanos, NodeId, Process, World};
use frames::Frames;
use proof::{ClockFault, Proof};

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
    /// Faults whose effect shows later: which of the plan, and where.
    proofs: Vec<(usize, Proof)>,
    /// Until when nodes stand still, and which of their processes.
    pauses: BTreeMap<NodeId, (Process, Nanos)>,
    /// When clients that crashed start again, by their number.
    clients_up_at: BTreeMap<u32, Nanos>,
    is_healed: bool,
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
            proofs: Vec::new(),
            pauses: BTreeMap::new(),
            clients_up_at: BTreeMap::new(),
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

    fn arm_frames(&self, plan: &[Fault]) {
        for moment in [Moment::Left, Moment::Arrived] {
            let mut frames = Frames::default();
            for (at, fault) in plan.iter().enumerate() {
                match &fault.when {
                    Trigger::Frame { api, way, nth, phase } if *phase == moment => {
                        frames.watch(api, *way, *nth, at);
                    }
                    _ => {}
                }
            }
            if frames.is_empty() {
                continue;
            }
            let faults = self.clone();
            let observer = Box::new(move |segment: &SegmentEvent<'_>| {
                for fault in frames.on_segment(segment) {
                    faults.strike_soon(fault);
                }
            });
            match moment {
                Moment::Left => self.machines.network().on_segment(observer),
                Moment::Arrived => self.machines.network().on_arrival(observer),
            }
        }
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
                self.cluster.power_loss(*broker, *down_ms, key).had_effect()
            }
            Action::Stop { broker, down_ms } => self.cluster.stop(*broker, *down_ms),
            Action::CrashLoop { broker, times, power } => {
                self.cluster.crash_loop(*broker, *times, *power, key)
            }
            Action::CrashAtStop { broker, after_us, down_ms, power } => {
                self.crash_at_stop(*broker, *after_us, *down_ms, power.then_some(key))
            }
            Action::Pause { broker, ms } => self.pause(at, self.cluster.node(*broker), *ms),
            Action::ClientPause { client, ms } => {
                self.client(*client).is_some_and(|node| self.pause(at, node, *ms))
            }
            Action::ClientCrash { client, down_ms } => self.crash_client(*client, *down_ms, None),
            Action::ClientPowerLoss { client, down_ms } => {
                self.crash_client(*client, *down_ms, Some(key))
            }
            Action::MemberCrash { client, down_ms, power } => {
                self.crash_client(*client, *down_ms, power.then_some(key))
            }
            Action::MemberPause { client, ms } => {
                self.client(*client).is_some_and(|node| self.pause(at, node, *ms))
            }
            Action::JoinBurst { group, ms } => self.join_burst(group, *ms),
            Action::TopicGrows { topic, partitions } => self.grow(at, topic, *partitions),
            Action::Cut { .. }
            | Action::Stall { .. }
            | Action::Reset { .. }
            | Action::Fin { .. }
            | Action::HalfOpen { .. }
            | Action::LoseResponse { .. }
            | Action::Refuse { .. }
            | Action::Hang { .. }
            | Action::BitFlip { .. }
            | Action::SlowLinks { .. }
            | Action::OneByteReads { .. } => self.act_on_network(at, action, key),
            Action::DiskError { .. }
            | Action::DiskFull { .. }
            | Action::DiskSlow { .. }
            | Action::DiskStall { .. }
            | Action::Rot { .. }
            | Action::MisdirectWrite { .. } => self.act_on_disk(at, action, key),
            Action::ClockJump { broker, .. }
            | Action::ClockDrift { broker, .. }
            | Action::ClockFreeze { broker, .. } => self.act_on_clock(at, action, *broker),
        }
    }

    fn act_on_clock(&self, at: usize, action: &Action, broker: u32) -> bool {
        let clock = self.machines.machine(self.cluster.node(broker)).clock;
        let now = self.world.now();
        let fault = match action {
            Action::ClockJump { by_ms, .. } => {
                clock.jump_millis(*by_ms);
                ClockFault::Wall
            }
            Action::ClockDrift { ppm, .. } => {
                clock.set_drift_ppm(now, *ppm);
                ClockFault::Speed
            }
            Action::ClockFreeze { ms, .. } => {
                clock.freeze(now, now.saturating_add(ms.saturating_mul(1_000_000)));
                ClockFault::Freeze
            }
            _ => return false,
        };
        self.note_clock(self.cluster.node(broker));
        let asked = fault.asked(&clock);
        let is_none = matches!(
            action,
            Action::ClockJump { by_ms: 0, .. } | Action::ClockDrift { ppm: 0, .. }
        );
        if !is_none {
            self.prove(at, Proof::Asked(clock, fault, asked));
        }
        false
    }

    /// No client knows how a clock goes; what age took from a log is judged by it.
    fn note_clock(&self, node: NodeId) {
        let clock = self.machines.machine(node).clock;
        let (ahead_ms, drift_ppm) = clock.ahead(self.world.now());
        let name = self.world.node_name(node);
        self.work.recorder.note(node, What::Clock { node: name, ahead_ms, drift_ppm });
    }

    /// Notes where the effect of a fault shows later.
    fn prove(&self, at: usize, proof: Proof) {
        self.lock().proofs.push((at, proof));
    }

    /// Looks at what a fault did, now that it is over.
    fn settle(&self, at: usize) {
        let mut state = self.lock();
        let State { struck, proofs, .. } = &mut *state;
        proofs.retain(|(of, proof)| {
            if *of == at {
                struck[at].had_effect |= proof.shows();
            }
            *of != at
        });
    }

    /// Tells a broker to stop, and ends it while it does: with its machine when `power` names the
    /// fault.
    fn crash_at_stop(&self, broker: u32, after_us: u64, down_ms: u64, power: Option<u64>) -> bool {
        let process = self.world.process(self.cluster.node(broker));
        if !self.cluster.stop(broker, down_ms) {
            return false;
        }
        let cluster = self.cluster.clone();
        self.world.after(Duration::from_micros(after_us), move |world| {
            if process.is_none_or(|process| !world.is_alive(process)) {
                return;
            }
            match power {
                Some(key) => _ = cluster.power_loss(broker, down_ms, key),
                None => _ = cluster.kill(broker, down_ms),
            }
        });
        true
    }

    fn pause(&self, at: usize, node: NodeId, ms: u64) -> bool {
        let Some(process) = self.world.process(node) else { return false };
        let until = self.world.now() + ms * 1_000_000;
        {
            // Of pauses that overlap the longest counts.
            let mut state = self.lock();
            let pause = state.pauses.entry(node).or_insert((process, until));
            let earlier = if pause.0 == process { pause.1 } else { 0 };
            *pause = (process, until.max(earlier));
        }
        self.prove(at, Proof::PutOff(self.world.clone(), node, self.world.put_off(node)));
        self.world.pause(node);
        let faults = self.clone();
        self.world.at(until, move |world| {
            faults.settle(at);
            let pause = faults.lock().pauses.get(&node).copied();
            let is_over =
                pause.is_none_or(|(paused, until)| paused == process && until <= world.now());
            if is_over && world.is_alive(process) {
                world.resume(node);
            }
        });
        false
    }

    /// Ends a client's process: with its machine when `power` names the fault.
    fn crash_client(&self, client: u32, down_ms: u64, power: Option<u64>) -> bool {
        let Some(node) = self.client(client) else { return false };
        let was_up = match power {
            Some(key) => self.machines.vanish(node, key).was_up,
            None => self.machines.kill(node),
        };
        let up_at = self.world.now() + down_ms * 1_000_000;
        {
            let mut state = self.lock();
            let planned = state.clients_up_at.entry(client).or_insert(up_at);
            *planned = up_at.max(*planned);
        }
        let faults = self.clone();
        self.world.at(up_at, move |_| faults.restart_client(client));
        was_up
    }

    /// Starts a client that crashed, when its time has come. After the heal whoever runs the clients
    /// may have ended them for good.
    fn restart_client(&self, client: u32) {
        let is_due = {
            let mut state = self.lock();
            let up_at = state.clients_up_at.get(&client).copied();
            let is_due = !state.is_healed && up_at.is_some_and(|at| at <= self.world.now());
            if is_due {
                state.clients_up_at.remove(&client);
            }
            is_due
        };
        if is_due {
            self.start_client(client);
        }
    }

    fn start_client(&self, client: u32) {
        let Some(node) = self.client(client) else { return };
        if self.world.process(node).is_none() {
            start_client(&self.machines, &self.work, node, client as usize - 1);
        }
    }

    fn client(&self, client: u32) -> Option<NodeId> {
        self.clients.get((client as usize).checked_sub(1)?).copied()
    }

    /// Ends all faults: the network is whole, disks work, nobody is paused, clients that crashed are
    /// back, nothing strikes any more.
    pub fn heal(&self) {
        let clients = {
            let mut state = self.lock();
            state.is_healed = true;
            std::mem::take(&mut state.clients_up_at)
        };
        for client in clients.into_keys() {
            self.start_client(client);
        }
        self.machines.network().heal_all();
        self.machines.forget_watchers();
        for id in 1..=self.work.scenario.cluster.brokers {
            let node = self.cluster.node(id);
            let machine = self.machines.machine(node);
            machine.disk.heal();
            machine.clock.set_right(self.world.now());
            self.note_clock(node);
            self.world.resume(node);
        }
        for node in &*self.clients {
            self.world.resume(*node);
        }
    }

    /// What became of each fault of the plan.
    pub fn struck(&self) -> Vec<Struck> {
        let mut state = self.lock();
        let State { struck, proofs, .. } = &mut *state;
        for (at, proof) in proofs.drain(..) {
            struck[at].had_effect |= proof.shows();
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
