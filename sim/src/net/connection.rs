//! One connection: two sockets and the two pipes between them, as data.
//!
//! A socket writes into the pipe of its side and reads from the other. A pipe holds segments on
//! their way; what arrived lies in the reader's socket.
//!
//! Invariants:
//! - segments arrive in the order they were sent
//! - `unread <= unacknowledged` of the pipe they came by, and `uncredited <= unacknowledged`

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::task::Waker;

use bytes::Bytes;
use runtime::RandomStream;

use crate::world::{Nanos, NodeId, Process};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who connected.
    Client,
    /// Who accepted.
    Server,
}

impl Side {
    /// Both ends, in the order of the handshake.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];

    /// The peer.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both<T> {
    pub(super) client: T,
    pub(super) server: T,
}

impl<T> Index<Side> for Both<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl<T> IndexMut<Side> for Both<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// What travels.
#[derive(Debug)]
pub(super) enum Payload {
    /// The client asks for a connection.
    Syn,
    /// The server grants it.
    SynAck,
    /// Bytes of the application.
    Data(Bytes),
    /// The end of the stream.
    Fin,
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        match self {
            Payload::Data(bytes) => bytes.len(),
            Payload::Syn | Payload::SynAck | Payload::Fin => 0,
        }
    }

    /// Whether it belongs to the handshake, which has retries of its own.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self, Payload::Syn | Payload::SynAck)
    }
}

/// Something on its way.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) payload: Payload,
    /// How many bytes its sender sent before it.
    pub(super) position: u64,
    /// When it has left its sender.
    pub(super) departs: Nanos,
    pub(super) arrives: Nanos,
}

/// One direction of a connection, named by its sender.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) flight: VecDeque<Segment>,
    /// How many bytes were sent so far.
    pub(super) sent: u64,
    /// Bytes that were written and fill the window: on their way, unread, or read without word.
    pub(super) unacknowledged: usize,
    /// Of those, bytes that were read and of which the sender has not heard.
    pub(super) uncredited: usize,
    pub(super) is_credit_planned: bool,
    /// How many times the front of the flight was sent in vain, and since when.
    pub(super) attempts: u32,
    pub(super) struggles_since: Nanos,
    /// How long the first retransmission waits.
    pub(super) retry: Nanos,
    /// Its front waits for the end of a stall.
    pub(super) is_stalled: bool,
    /// Nothing gets through any more.
    pub(super) is_silent: bool,
    /// The reader was told of an end that the sender knows nothing of.
    pub(super) is_severed: bool,
    pub(super) latency: RandomStream,
}

impl Pipe {
    pub(super) fn new(latency: RandomStream) -> Pipe {
        Pipe {
            flight: VecDeque::new(),
            sent: 0,
            unacknowledged: 0,
            uncredited: 0,
            is_credit_planned: false,
            attempts: 0,
            struggles_since: 0,
            retry: 0,
            is_stalled: false,
            is_silent: false,
            is_severed: false,
            latency,
        }
    }

    /// Forgets what is on its way, and how many bytes that was.
    pub(super) fn lose_flight(&mut self) -> usize {
        self.attempts = 0;
        std::mem::take(&mut self.flight).iter().map(|segment| segment.payload.len()).sum()
    }
}

/// Where a socket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server's, before it heard of the connection.
    Absent,
    /// The client's, before it was answered.
    Connecting,
    /// Connected, as far as this side knows.
    Open,
    /// Reset or timed out; the application still holds it.
    Broken,
    /// The application has closed it; the kernel answers for it.
    Closed,
    /// Its machine lost power: nobody answers until that is up again.
    Lost,
}

impl Phase {
    /// Whether no application holds the socket.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Phase::Absent | Phase::Closed | Phase::Lost)
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// Whose it is; `None` while it waits to be accepted.
    pub(super) owner: Option<Process>,
    pub(super) phase: Phase,
    /// Told once, to the first who asks, as Linux does.
    pub(super) error: Option<io::ErrorKind>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) inbox: VecDeque<Bytes>,
    pub(super) unread: usize,
    /// The peer's end has arrived.
    pub(super) has_end: bool,
    /// The own end was sent.
    pub(super) is_shut: bool,
    /// Draws how reads and writes go.
    pub(super) habits: RandomStream,
}

impl Socket {
    pub(super) fn new(
        node: NodeId,
        address: SocketAddr,
        phase: Phase,
        habits: RandomStream,
    ) -> Socket {
        Socket {
            node,
            address,
            owner: None,
            phase,
            error: None,
            reader: None,
            writer: None,
            inbox: VecDeque::new(),
            unread: 0,
            has_end: false,
            is_shut: false,
            habits,
        }
    }
}

/// A connection, from its first segment until neither side holds it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Names it among all connections of the run, whatever others there are.
    pub(super) key: u64,
    pub(super) opened_at: Nanos,
    /// The fault that silenced it.
    pub(super) silenced_by: Option<u64>,
    pub(super) sockets: Both<Socket>,
    pub(super) pipes: Both<Pipe>,
}

impl Connection {
    /// From where to where `sender` writes.
    pub(super) fn path(&self, sender: Side) -> (NodeId, NodeId) {
        (self.sockets[sender].node, self.sockets[sender.other()].node)
    }

    /// Whether it runs between these two, whoever opened it.
    pub(super) fn is_between(&self, a: NodeId, b: NodeId) -> bool {
        let nodes = self.path(Side::Client);
        nodes == (a, b) || nodes == (b, a)
    }
}
