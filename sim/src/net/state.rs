//! The state of the network, and what a step of it asks for.
//!
//! A step runs under the network's lock and touches nothing foreign: whom to wake, what to plan
//! and what to drop goes to the [`Outbox`], and is done when the lock is free again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

use bytes::Bytes;
use runtime::RandomStream;

use crate::world::{Kind, Nanos, NodeId, Process, World, trace};

use super::connection::{Connection, Payload, Side};
use super::info::Effects;
use super::link::{Link, LinkProfile};
use super::spells::Spells;

/// What the network does by itself at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Segments that `sender` sent are due.
    Arrive { number: u64, sender: Side },
    /// A reset reaches `victim`.
    Reset { number: u64, victim: Side, cause: Cause },
    /// `sender` hears what its peer has read.
    Credit { number: u64, sender: Side },
    /// `sender` of a silent connection gives up, if it still waits for room.
    Starve { number: u64, sender: Side },
    /// Both ends are reset.
    Sever { number: u64 },
}

/// Why a reset is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By a fault: it comes from no peer and through every cut.
    Forged,
    /// A socket was closed: said once.
    Closed,
    /// Something came that is for nobody. Who sent it sends it again until it is answered; so many
    /// answers were lost.
    Answer { lost: u32 },
}

/// Bytes that arrived.
pub(super) struct Arrival {
    pub(super) path: (NodeId, NodeId),
    pub(super) number: u64,
    pub(super) sender: Side,
    pub(super) bytes: Bytes,
}

/// What is to be done after a step.
#[derive(Default)]
pub(super) struct Outbox {
    /// To be told to those who observe arrivals.
    pub(super) arrived: Vec<Arrival>,
    pub(super) plan: Vec<(Nanos, Event)>,
    pub(super) wake: Vec<Waker>,
    /// Dropping a waker may drop a future that holds a stream.
    pub(super) discard: Vec<Waker>,
}

impl Outbox {
    /// Puts the waker of `current` into `slot`.
    pub(super) fn wait(&mut self, slot: &mut Option<Waker>, current: &Waker) {
        if !slot.as_ref().is_some_and(|old| old.will_wake(current)) {
            self.discard.extend(slot.replace(current.clone()));
        }
    }
}

/// The network's view of a machine.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Its kernel runs, whether a process does or not.
    pub(super) is_up: bool,
    pub(super) is_isolated: bool,
    pub(super) refusals: Spells,
    pub(super) hangs: Spells,
    pub(super) single_bytes: Spells,
    /// The listeners of a port, one per address.
    pub(super) listeners: BTreeMap<u16, Vec<u64>>,
    /// The ports of clients.
    pub(super) ports: BTreeSet<u16>,
    /// How many free ports were asked for.
    pub(super) ports_taken: u32,
}

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) owner: Process,
    pub(super) address: SocketAddr,
    /// Connections in the order they came.
    pub(super) queue: VecDeque<u64>,
    pub(super) waker: Option<Waker>,
}

impl Listening {
    /// Whether a connect to `ip` is for it.
    pub(super) fn takes(&self, ip: IpAddr) -> bool {
        self.address.ip().is_unspecified() || self.address.ip() == ip
    }
}

/// All nodes, links and connections that are not over.
pub(super) struct State {
    pub(super) world: World,
    pub(super) profile: LinkProfile,
    /// As links are without faults.
    pub(super) healed_profile: LinkProfile,
    pub(super) loopback: LinkProfile,
    hosts: Vec<Host>,
    pub(super) links: BTreeMap<(NodeId, NodeId), Link>,
    pub(super) connections: BTreeMap<u64, Box<Connection>>,
    pub(super) connections_opened: u64,
    pub(super) listeners: BTreeMap<u64, Listening>,
    pub(super) listeners_opened: u64,
    pub(super) effects: Effects,
    /// How often each fault struck, by its key.
    pub(super) strikes: BTreeMap<u64, u64>,
    /// Whether anyone observes what arrives.
    pub(super) tells_arrivals: bool,
    pub(super) outbox: Outbox,
}

impl State {
    pub(super) fn new(world: World) -> State {
        State {
            world,
            profile: LinkProfile::LAN,
            healed_profile: LinkProfile::LAN,
            loopback: LinkProfile::LOOPBACK,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            connections_opened: 0,
            listeners: BTreeMap::new(),
            listeners_opened: 0,
            effects: Effects::default(),
            strikes: BTreeMap::new(),
            tells_arrivals: false,
            outbox: Outbox::default(),
        }
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Arrive { number, sender } => self.on_arrive(number, sender),
            Event::Reset { number, victim, cause } => self.on_reset(number, victim, cause),
            Event::Credit { number, sender } => self.on_credit(number, sender),
            Event::Starve { number, sender } => self.on_starve(number, sender),
            Event::Sever { number } => self.sever(number),
        }
    }

    pub(super) fn now(&self) -> Nanos {
        self.world.now()
    }

    pub(super) fn plan(&mut self, at: Nanos, event: Event) {
        self.outbox.plan.push((at, event));
    }

    /// The machine `node`, as it is before anything was said of it when it is new.
    pub(super) fn host(&mut self, node: NodeId) -> &mut Host {
        let index = node.0 as usize;
        if self.hosts.len() <= index {
            self.hosts.resize_with(index + 1, Host::default);
        }
        &mut self.hosts[index]
    }

    pub(super) fn known_host(&self, node: NodeId) -> Option<&Host> {
        self.hosts.get(node.0 as usize)
    }

    pub(super) fn hosts(&mut self) -> impl Iterator<Item = (NodeId, &mut Host)> {
        self.hosts.iter_mut().enumerate().map(|(at, host)| (NodeId(at as u32), host))
    }

    pub(super) fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    pub(super) fn profile_of(&self, from: NodeId, to: NodeId) -> LinkProfile {
        let own = self.links.get(&(from, to)).and_then(|link| link.profile);
        own.unwrap_or(if from == to { self.loopback } else { self.profile })
    }

    /// The stream of `concern` for one side of the connection with that key: other connections and
    /// sides come and go without changing it.
    pub(super) fn stream(&self, concern: &str, connection: u64, side: Side) -> RandomStream {
        self.world.rng(concern, connection ^ u64::from(side == Side::Server))
    }

    /// The stream of the fault that `key` names.
    pub(super) fn fault_stream(&self, key: u64) -> RandomStream {
        self.world.rng("net fault", key)
    }

    /// The stream of `concern` for what `sender` has at `position` of its stream of bytes.
    pub(super) fn stream_at(
        &self,
        concern: &str,
        connection: &Connection,
        sender: Side,
        position: u64,
    ) -> RandomStream {
        let key = fold(connection.key, (position << 1) | u64::from(sender == Side::Server));
        self.world.rng(concern, key)
    }

    /// Whether a segment of `sender` that is due gets through.
    pub(super) fn passes(&self, number: u64, sender: Side) -> bool {
        let Some(connection) = self.connections.get(&number) else { return false };
        let pipe = &connection.pipes[sender];
        let (from, to) = connection.path(sender);
        let is_open = !pipe.is_silent && self.is_open(from, to);
        let is_opening = pipe.flight.front().is_some_and(|it| matches!(it.payload, Payload::Syn));
        if !is_opening {
            return is_open;
        }
        // A server that can not answer accepts nothing.
        let now = self.now();
        let hangs = self.known_host(to).is_some_and(|host| host.hangs.is_on(now));
        is_open && self.is_open(to, from) && !hangs
    }

    /// Notes that the faults that `keys` name struck `count` times.
    pub(super) fn credit(&mut self, keys: impl IntoIterator<Item = u64>, count: u64) {
        for key in keys {
            *self.strikes.entry(key).or_default() += count;
        }
    }

    /// Until when everything on a link waits; in the past when nothing does.
    pub(super) fn stalled_until(&self, (from, to): (NodeId, NodeId)) -> Nanos {
        self.links.get(&(from, to)).map_or(0, |link| link.stalls.until())
    }

    /// Whether `to` is up and can hear `from`.
    fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        let is_isolated = |node| self.known_host(node).is_some_and(|host| host.is_isolated);
        let is_cut = from != to
            && (is_isolated(from)
                || is_isolated(to)
                || self.links.get(&(from, to)).is_some_and(Link::is_cut));
        !is_cut && self.known_host(to).is_some_and(|host| host.is_up)
    }

    /// Puts what became of a connection into the trace.
    pub(super) fn record_end(&self, number: u64, side: Side, what: &'static str) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (own, peer) = connection.path(side);
        let words = [number, trace::digest(what.as_bytes())];
        self.world.record(Kind::Connection, Some(own), &words, || {
            format!("{own} -> {peer} #{number}: {what}")
        });
    }
}

/// What names the `nth` connection from one node to another; even, so that each side has a key.
pub(super) fn connection_key((from, to): (NodeId, NodeId), nth: u64) -> u64 {
    let nodes = (u64::from(from.0) << 20) ^ u64::from(to.0);
    (nodes << 28) ^ (nth << 1)
}

/// Two words in one.
fn fold(one: u64, two: u64) -> u64 {
    (one ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(32) ^ two
}
