//! How connections begin: listening, connecting, accepting.

use std::io;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

use crate::world::{NodeId, Process};

use super::address;
use super::connection::{Both, Connection, Payload, Phase, Pipe, Side, Socket};
use super::state::{Cause, Listening, State, connection_key};

/// Connections that wait to be accepted; more have to ask again.
const BACKLOG: usize = 1024;
/// Linux's ephemeral ports.
const PORT_MIN: u16 = 32_768;
const PORTS: u32 = 28_232;

impl State {
    pub(super) fn listen(
        &mut self,
        owner: Process,
        address: SocketAddr,
    ) -> io::Result<(u64, SocketAddr)> {
        if !address::is_own(owner.node, address.ip()) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let port = match address.port() {
            0 => self.free_port(owner.node)?,
            port => port,
        };
        let address = SocketAddr::new(address.ip(), port);
        let on_port = self.host(owner.node).listeners.get(&port).cloned().unwrap_or_default();
        let is_taken = on_port
            .iter()
            .filter_map(|id| self.listeners.get(id))
            .any(|other| other.takes(address.ip()) || address.ip().is_unspecified());
        if is_taken {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners_opened += 1;
        let id = self.listeners_opened;
        let listening = Listening { owner, address, queue: Default::default(), waker: None };
        self.listeners.insert(id, listening);
        self.host(owner.node).listeners.entry(port).or_default().push(id);
        Ok((id, address))
    }

    fn free_port(&mut self, node: NodeId) -> io::Result<u16> {
        let host = self.host(node);
        for _ in 0..PORTS {
            let port = PORT_MIN + (host.ports_taken % PORTS) as u16;
            host.ports_taken += 1;
            if !host.ports.contains(&port) && !host.listeners.contains_key(&port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    /// Takes a listener off its port.
    pub(super) fn remove_listener(&mut self, id: u64) -> Option<Listening> {
        let mut listening = self.listeners.remove(&id)?;
        self.outbox.discard.extend(listening.waker.take());
        let port = listening.address.port();
        let listeners = &mut self.host(listening.owner.node).listeners;
        if let Some(on_port) = listeners.get_mut(&port) {
            on_port.retain(|other| *other != id);
            if on_port.is_empty() {
                listeners.remove(&port);
            }
        }
        Some(listening)
    }

    /// Closes a listener: who waits to be accepted is reset.
    pub(super) fn unlisten(&mut self, id: u64) {
        let Some(listening) = self.remove_listener(id) else { return };
        for number in listening.queue {
            self.plan_reset(number, Side::Client, Cause::Closed);
            if let Some(connection) = self.connections.get_mut(&number) {
                // What has not arrived is answered likewise.
                connection.sockets.server.is_shut = true;
            }
            self.close(number, Side::Server);
        }
    }

    /// The next connection of a listener, for its process.
    pub(super) fn poll_accept(&mut self, id: u64, waker: &Waker) -> Poll<u64> {
        let Some(listening) = self.listeners.get_mut(&id) else { return Poll::Pending };
        let Some(number) = listening.queue.pop_front() else {
            self.outbox.wait(&mut listening.waker, waker);
            return Poll::Pending;
        };
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.sockets.server.owner = Some(listening.owner);
        }
        Poll::Ready(number)
    }

    /// Begins to connect.
    pub(super) fn open(
        &mut self,
        owner: Process,
        server: NodeId,
        target: SocketAddr,
    ) -> io::Result<u64> {
        let path = (owner.node, server);
        let port = self.free_port(owner.node)?;
        self.host(owner.node).ports.insert(port);
        let link = self.link(path.0, path.1);
        link.opened += 1;
        let nth = link.opened;
        self.connections_opened += 1;
        let number = self.connections_opened;
        let source = address::source(owner.node, target, port);
        let key = connection_key(path, nth);
        let habits = |side| self.stream("net habits", key, side);
        let mut client = Socket::new(path.0, source, Phase::Connecting, habits(Side::Client));
        client.owner = Some(owner);
        let server = Socket::new(path.1, target, Phase::Absent, habits(Side::Server));
        let pipe = |side| Pipe::new(self.stream("net latency", key, side));
        let connection = Connection {
            key,
            opened_at: self.now(),
            silenced_by: None,
            sockets: Both { client, server },
            pipes: Both { client: pipe(Side::Client), server: pipe(Side::Server) },
        };
        self.connections.insert(number, Box::new(connection));
        self.launch(number, Side::Client, Payload::Syn);
        Ok(number)
    }

    pub(super) fn poll_established(&mut self, number: u64, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&number) else { return Poll::Pending };
        let socket = &mut connection.sockets.client;
        match socket.phase {
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Broken => {
                let kind = socket.error.take().unwrap_or(io::ErrorKind::ConnectionReset);
                Poll::Ready(Err(kind.into()))
            }
            Phase::Connecting => {
                self.outbox.wait(&mut socket.reader, waker);
                Poll::Pending
            }
            Phase::Absent | Phase::Closed | Phase::Lost => Poll::Pending,
        }
    }

    /// A client asks for a connection.
    pub(super) fn on_syn(&mut self, number: u64) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (node, target) = (connection.sockets.server.node, connection.sockets.server.address);
        let now = self.now();
        let host = self.host(node);
        if host.refusals.is_on(now) {
            let keys = host.refusals.keys(now);
            self.credit(keys, 1);
            self.effects.connects_refused_by_fault += 1;
            self.refuse(number);
            return;
        }
        let on_port = host.listeners.get(&target.port()).cloned().unwrap_or_default();
        let mut listeners = on_port.into_iter();
        let found = listeners.find(|id| {
            self.listeners.get(id).is_some_and(|listening| listening.takes(target.ip()))
        });
        let Some(listening) = found.and_then(|id| self.listeners.get_mut(&id)) else {
            self.refuse(number);
            return;
        };
        if listening.queue.len() == BACKLOG {
            self.launch(number, Side::Client, Payload::Syn);
            self.retransmit(number, Side::Client);
            return;
        }
        listening.queue.push_back(number);
        self.outbox.wake.extend(listening.waker.take());
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.sockets.server.phase = Phase::Open;
        }
        self.launch(number, Side::Server, Payload::SynAck);
    }

    fn refuse(&mut self, number: u64) {
        self.effects.connects_refused += 1;
        self.send_reset(number, Side::Server);
    }

    /// A server grants a connection.
    pub(super) fn on_syn_ack(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let socket = &mut connection.sockets.client;
        if socket.phase != Phase::Connecting {
            // The application did not wait for it.
            self.send_reset(number, Side::Client);
            return;
        }
        socket.phase = Phase::Open;
        self.outbox.wake.extend(socket.reader.take());
        self.effects.connections += 1;
        self.record_end(number, Side::Client, "connected");
    }
}
