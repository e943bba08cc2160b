//! The simulated network: connections between the nodes of a world, and everything that goes wrong
//! with them.
//!
//! In: what processes do through [`runtime::Net`], faults (`fault.rs`), ends of processes. Out:
//! bytes in order, after latency, or the errors that TCP would give. One lock, never held while
//! anything foreign is woken, dropped or told.
//!
//! Invariants:
//! - a pipe's bytes arrive once, in order, or its reader hears of an error or an injected end
//! - what one connection draws does not depend on the others
//!
//! Start at [`Network`]; segments travel in `transfer.rs`.

mod address;
mod connection;
mod ends;
mod fault;
mod info;
mod link;
mod opening;
mod records;
mod socket;
mod spells;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod transfer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use address::address_of;
pub use connection::Side;
pub use ends::End;
pub use fault::Which;
pub use info::{Backlog, ConnectionInfo, Effects, Observer, SegmentEvent, Struck};
pub use link::LinkProfile;

use bytes::Bytes;

use crate::world::film::Scene;
use crate::world::{NodeId, Process, World};

use connection::{Phase, Socket};
use state::{Arrival, Outbox, State};
use stream::ProcessNet;

/// The network of a world; clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    world: World,
    state: Mutex<State>,
    observers: Mutex<Vec<Observer>>,
    has_observers: AtomicBool,
    arrival_observers: Mutex<Vec<Observer>>,
}

impl Network {
    /// A network on which all goes well and no machine is up.
    pub fn new(world: &World) -> Network {
        Network(Arc::new(Inner {
            world: world.clone(),
            state: Mutex::new(State::new(world.clone())),
            observers: Mutex::default(),
            has_observers: AtomicBool::new(false),
            arrival_observers: Mutex::default(),
        }))
    }

    /// The network as `process` sees it. Its machine is up from now on.
    pub fn host(&self, process: Process) -> Arc<dyn runtime::Net> {
        self.node_booted(process.node);
        Arc::new(ProcessNet { network: self.clone(), process })
    }

    /// The machine is up, with or without a process: it answers what it does not know by a reset.
    pub fn node_booted(&self, node: NodeId) {
        self.act(|state| state.host(node).is_up = true);
    }

    /// Ends the sockets of a process. Called beside [`World::end_process`], before or after it.
    pub fn process_ended(&self, process: Process, end: End) {
        self.act(|state| match end {
            End::Killed => state.process_killed(process),
            End::PowerLost => state.power_lost(process.node),
        });
    }

    /// As [`Network::process_ended`] with [`End::PowerLost`], for a machine without a process: what
    /// its kernel still had to send is gone.
    pub fn power_lost(&self, node: NodeId) {
        self.act(|state| state.power_lost(node));
    }

    /// What happened so far.
    pub fn effects(&self) -> Effects {
        self.act(|state| state.effects)
    }

    /// How often the fault that `key` names struck so far: segments that it held or altered,
    /// connects that it refused or let hang, reads that it shortened.
    pub fn strikes(&self, key: u64) -> u64 {
        self.act(|state| state.strikes.get(&key).copied().unwrap_or(0))
    }

    /// The connections that are not over, in the order they were opened.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.act(|state| {
            let infos = state.connections.iter().map(|(number, connection)| {
                let backlog = |sender: Side| Backlog {
                    in_flight: connection.pipes[sender]
                        .flight
                        .iter()
                        .map(|segment| segment.payload.len())
                        .sum(),
                    unread: connection.sockets[sender.other()].unread,
                };
                let Socket { node, address, .. } = connection.sockets.server;
                let client = &connection.sockets.client;
                ConnectionInfo {
                    number: *number,
                    client: client.node,
                    server: node,
                    client_address: client.address,
                    server_address: address,
                    opened_at: connection.opened_at,
                    is_open: Side::BOTH
                        .iter()
                        .all(|side| connection.sockets[*side].phase == Phase::Open),
                    to_server: backlog(Side::Client),
                    to_client: backlog(Side::Server),
                }
            });
            infos.collect()
        })
    }

    /// Tells `observer` of all bytes that applications write, before they leave: a fault that it
    /// causes strikes them.
    pub fn on_segment(&self, observer: Observer) {
        lock(&self.0.observers).push(observer);
        self.0.has_observers.store(true, Ordering::Relaxed);
    }

    /// Tells `observer` of all bytes that arrive, before their readers see them.
    pub fn on_arrival(&self, observer: Observer) {
        lock(&self.0.arrival_observers).push(observer);
        self.act(|state| state.tells_arrivals = true);
    }

    /// Nobody observes any more.
    pub fn remove_observers(&self) {
        self.0.has_observers.store(false, Ordering::Relaxed);
        self.act(|state| state.tells_arrivals = false);
        let observers = std::mem::take(&mut *lock(&self.0.observers));
        let of_arrivals = std::mem::take(&mut *lock(&self.0.arrival_observers));
        drop((observers, of_arrivals));
    }

    fn world(&self) -> &World {
        &self.0.world
    }

    /// Does one step of the network, and then what it asks for.
    fn act<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let (result, outbox) = {
            let mut state = lock(&self.0.state);
            let result = step(&mut state);
            (result, std::mem::take(&mut state.outbox))
        };
        self.empty(outbox);
        result
    }

    fn empty(&self, outbox: Outbox) {
        for (at, event) in outbox.plan {
            let network = self.clone();
            self.world().at(at, move |_| network.act(|state| state.on_event(event)));
        }
        for waker in outbox.wake {
            waker.wake();
        }
        drop(outbox.discard);
        for arrival in outbox.arrived {
            self.observe_arrival(&arrival);
        }
    }

    fn observe_arrival(&self, arrival: &Arrival) {
        let Arrival { path: (from, to), number, sender, bytes } = arrival;
        let (from, to, connection, sender) = (*from, *to, *number, *sender);
        let event = SegmentEvent { network: self, from, to, connection, sender, bytes };
        tell(&self.0.arrival_observers, &event);
    }

    /// Tells the observers of bytes that are about to leave.
    fn observe(&self, number: u64, sender: Side, bytes: &[u8]) {
        let has_observers = self.0.has_observers.load(Ordering::Relaxed);
        if !has_observers && !self.world().is_recording() {
            return;
        }
        let path = lock(&self.0.state).connections.get(&number).map(|it| it.path(sender));
        let Some((from, to)) = path else { return };
        self.world().film(|| Scene::Left {
            connection: number,
            is_from_client: sender == Side::Client,
            from,
            to,
            bytes: Bytes::copy_from_slice(bytes),
        });
        if !has_observers {
            return;
        }
        let event = SegmentEvent { network: self, from, to, connection: number, sender, bytes };
        tell(&self.0.observers, &event);
        if !self.0.has_observers.load(Ordering::Relaxed) {
            let observers = std::mem::take(&mut *lock(&self.0.observers));
            drop(observers);
        }
    }
}

/// Tells observers. They are taken out meanwhile, so that they can call the network.
fn tell(slot: &Mutex<Vec<Observer>>, event: &SegmentEvent<'_>) {
    let mut observers = std::mem::take(&mut *lock(slot));
    for observer in &mut observers {
        observer(event);
    }
    let mut kept = lock(slot);
    observers.append(&mut kept);
    *kept = observers;
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread: a panic in between is caught and fails the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
