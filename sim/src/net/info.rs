//! What a network tells of itself: counts, connections, and what is written.

use std::net::SocketAddr;

use crate::world::{Nanos, NodeId};

use super::Network;
use super::connection::Side;

/// What happened on the network so far: faults that struck nothing leave no mark here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// Connections that were established.
    pub connections: u64,
    /// Segments of data that arrived.
    pub segments: u64,
    /// Bytes of data that arrived.
    pub bytes: u64,
    /// Segments that had to be sent again: a cut, a silent connection, a machine without power.
    pub segments_held: u64,
    /// Segments that waited for the end of a stall.
    pub segments_stalled: u64,
    /// Bytes that were on their way when their connection ended.
    pub bytes_lost: u64,
    /// Connects that nobody answered the first time.
    pub connects_hung: u64,
    /// Connects that were refused, faults or not.
    pub connects_refused: u64,
    /// Connects that were refused by [`Network::refuse_connects`].
    pub connects_refused_by_fault: u64,
    /// Ends of connections that were reset, faults or not.
    pub ends_reset: u64,
    /// Resets that did not reach their end.
    pub resets_lost: u64,
    /// Connections or writes that were given up after a long silence.
    pub timeouts: u64,
    /// Connections that a fault reset.
    pub connections_reset: u64,
    /// Connections that a fault silenced.
    pub connections_silenced: u64,
    /// Streams that ended in mid-segment.
    pub streams_cut_short: u64,
    /// Responses that were lost with their requests delivered.
    pub responses_lost: u64,
    /// Bits that were flipped.
    pub bits_flipped: u64,
    /// Reads that returned one byte of several.
    pub single_byte_reads: u64,
    /// Reads that returned less than had arrived.
    pub short_reads: u64,
    /// Writes that took less than would have fitted.
    pub short_writes: u64,
}

/// What a fault struck when it was called. What it strikes later is among the [`Effects`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Connections that it lies on, idle ones and those that are being opened among them.
    pub connections: usize,
    /// Segments that were on their way there.
    pub segments: usize,
}

impl Struck {
    /// Whether it struck nothing.
    pub fn is_nothing(self) -> bool {
        self == Struck::default()
    }
}

impl std::ops::AddAssign for Struck {
    fn add_assign(&mut self, other: Struck) {
        self.connections += other.connections;
        self.segments += other.segments;
    }
}

/// A connection, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its number in the trace.
    pub number: u64,
    /// Who connected.
    pub client: NodeId,
    /// To whom.
    pub server: NodeId,
    /// The client's address.
    pub client_address: SocketAddr,
    /// The server's address.
    pub server_address: SocketAddr,
    /// When the client began to connect.
    pub opened_at: Nanos,
    /// Whether both ends are connected as far as they know.
    pub is_open: bool,
    /// Bytes on their way to the server, and read by it or not.
    pub to_server: Backlog,
    /// Bytes on their way to the client, and read by it or not.
    pub to_client: Backlog,
}

/// Where the bytes of one direction lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sent and not arrived.
    pub in_flight: usize,
    /// Arrived and not read.
    pub unread: usize,
}

/// Bytes on their way: told when an application has written them, before they leave; or when they
/// have arrived in the reader's socket, before it reads them.
#[derive(Clone, Copy)]
pub struct SegmentEvent<'a> {
    /// The network, so that an observer need not hold on to it.
    pub network: &'a Network,
    /// Who writes.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The connection's number.
    pub connection: u64,
    /// Which end writes.
    pub sender: Side,
    /// What: any part of what the application sends, or receives, in order.
    pub bytes: &'a [u8],
}

/// Told of what is written, or of what arrives.
pub type Observer = Box<dyn FnMut(&SegmentEvent<'_>) + Send>;
