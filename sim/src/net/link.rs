//! A directed link between two nodes: how long segments take, and which faults lie on it.

use std::collections::BTreeSet;

use runtime::{RandomStream, Rng};

use crate::world::Nanos;

use super::connection::Side;
use super::spells::Spells;
use super::state::Cause;

/// How a link behaves while nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProfile {
    /// No segment is faster.
    pub latency_nanos_min: Nanos,
    /// Half of the segments are faster; the others thin out by half with each further such step.
    pub latency_nanos_median: Nanos,
    /// One segment of so many is late; 0 for none.
    pub tail_one_in: u64,
    /// By up to so much.
    pub tail_nanos_max: Nanos,
    /// What passes in a second, of all connections together.
    pub bytes_per_second: u64,
    /// What a connection has on its way or unread before its writer waits.
    pub window_bytes: usize,
    /// One read of so many returns less than has arrived; 0 for none.
    pub short_reads_one_in: u64,
    /// One write of so many takes less than fits; 0 for none.
    pub short_writes_one_in: u64,
    /// One write of so many travels in several segments though it would fit into one; 0 for none,
    /// and then larger ones travel whole, too.
    pub cut_writes_one_in: u64,
}

/// What fits into one segment of Ethernet.
const SEGMENT_BYTES: u64 = 1_448;
/// What a kernel hands to a network card in one piece.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024;
/// The pieces of a write that is cut into crumbs, and how many of them come first.
const CRUMB_BYTES_MAX: u64 = 16;
const CRUMBS_MAX: u64 = 4;

impl LinkProfile {
    /// Two machines of one data centre.
    pub const LAN: LinkProfile = LinkProfile {
        latency_nanos_min: 30_000,
        latency_nanos_median: 80_000,
        tail_one_in: 400,
        tail_nanos_max: 20_000_000,
        bytes_per_second: 1_250_000_000,
        window_bytes: 256 * 1024,
        short_reads_one_in: 8,
        short_writes_one_in: 16,
        cut_writes_one_in: 24,
    };

    /// A machine and itself.
    pub const LOOPBACK: LinkProfile = LinkProfile {
        latency_nanos_min: 4_000,
        latency_nanos_median: 9_000,
        tail_one_in: 2_000,
        tail_nanos_max: 500_000,
        bytes_per_second: 5_000_000_000,
        ..LinkProfile::LAN
    };

    /// The next segment's latency: at least the minimum, with the median, and a heavy tail.
    pub(super) fn latency(&self, stream: &mut RandomStream) -> Nanos {
        const HALVINGS_MAX: u32 = 8;
        let bits = stream.next_u64();
        // Each halving of what is left of all segments takes one step more: an exponential
        // distribution, without floats.
        let step = self.latency_nanos_median.saturating_sub(self.latency_nanos_min);
        let halvings = u64::from((bits as u32).leading_zeros().min(HALVINGS_MAX));
        let usual = self.latency_nanos_min + step * halvings + share(step, bits >> 32);
        if !one_in(self.tail_one_in, stream) {
            return usual;
        }
        let bits = stream.next_u64();
        usual + share(self.tail_nanos_max >> (bits % 8), bits >> 32)
    }
}

impl LinkProfile {
    /// Of each property the worse one.
    pub(super) fn at_worst(&self, other: &LinkProfile) -> LinkProfile {
        LinkProfile {
            latency_nanos_min: self.latency_nanos_min.max(other.latency_nanos_min),
            latency_nanos_median: self.latency_nanos_median.max(other.latency_nanos_median),
            bytes_per_second: self.bytes_per_second.min(other.bytes_per_second),
            window_bytes: self.window_bytes.min(other.window_bytes),
            ..*self
        }
    }

    /// Whether a write of `len` bytes may travel in several segments.
    pub(super) fn may_cut(&self, len: usize) -> bool {
        self.cut_writes_one_in != 0 && 1 < len
    }

    /// Where a write of `len` bytes is cut: the lengths of the segments that it travels in.
    pub(super) fn cuts(&self, len: usize, stream: &mut RandomStream) -> Vec<usize> {
        let mut rest = len as u64;
        let mut pieces = Vec::new();
        let mut crumbs = 0;
        if one_in(self.cut_writes_one_in, stream) {
            crumbs = 1 + stream.next_u64() % CRUMBS_MAX;
        }
        while 0 < rest {
            let piece = if 0 < crumbs {
                crumbs -= 1;
                1 + stream.next_u64() % CRUMB_BYTES_MAX
            } else if rest <= SEGMENT_BYTES {
                rest
            } else {
                // Spread over the orders of magnitude.
                let doublings = SEGMENT_BYTES_MAX.div_ceil(SEGMENT_BYTES).ilog2();
                let top = SEGMENT_BYTES << (stream.next_u64() % u64::from(doublings + 1));
                (top + stream.next_u64() % top).min(SEGMENT_BYTES_MAX)
            };
            pieces.push(piece.min(rest) as usize);
            rest -= piece.min(rest);
        }
        pieces
    }
}

impl Default for LinkProfile {
    fn default() -> LinkProfile {
        LinkProfile::LAN
    }
}

/// A part of `whole`: of 2^32 parts, the lowest 32 bits of `bits`.
fn share(whole: u64, bits: u64) -> u64 {
    ((u128::from(whole) * u128::from(bits & 0xffff_ffff)) >> 32) as u64
}

/// True once in `count` draws; never for 0.
pub(super) fn one_in(count: u64, stream: &mut RandomStream) -> bool {
    count != 0 && stream.next_u64().is_multiple_of(count)
}

/// What waits on a link for a segment to strike.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ambush {
    /// A segment of at least so many bytes arrives with a bit flipped.
    FlipBit { bytes_min: usize, at: u64 },
    /// A bit of a batch of records is flipped on the way.
    FlipRecordBit { at: u64 },
    /// A part of a segment arrives, and then the end of the stream.
    EndEarly { at: u64 },
    /// A request arrives, its response does not; the connection is reset so much later.
    LoseResponse { reset_after: Nanos },
}

impl Ambush {
    /// Whether it strikes a segment of `len` bytes that `sender` wrote.
    pub(super) fn fits(&self, sender: Side, len: usize) -> bool {
        match self {
            Ambush::FlipBit { bytes_min, .. } => *bytes_min <= len,
            Ambush::EndEarly { .. } => true,
            // Strikes what is sent, not what arrives.
            Ambush::FlipRecordBit { .. } => false,
            Ambush::LoseResponse { .. } => sender == Side::Client,
        }
    }
}

/// One direction between two nodes.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// `None`: as the network's links are.
    pub(super) profile: Option<LinkProfile>,
    /// The cuts that lie on it, by their keys.
    pub(super) cuts: BTreeSet<u64>,
    pub(super) stalls: Spells,
    /// Resets that wait for the end of a stall.
    pub(super) stalled_resets: Vec<(u64, Side, Cause)>,
    /// When everything sent so far has left.
    busy_until: Nanos,
    /// How many connections were opened in this direction.
    pub(super) opened: u64,
    /// Each with the key of its fault.
    pub(super) ambushes: Vec<(u64, Ambush)>,
}

impl Link {
    /// When `len` bytes that are sent now have left.
    pub(super) fn depart(&mut self, now: Nanos, len: usize, bytes_per_second: u64) -> Nanos {
        let nanos = len as u128 * 1_000_000_000 / u128::from(bytes_per_second.max(1));
        let nanos = Nanos::try_from(nanos).unwrap_or(Nanos::MAX);
        self.busy_until = self.busy_until.max(now).saturating_add(nanos);
        self.busy_until
    }

    pub(super) fn is_cut(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// The bit to be flipped in a batch of records that is sent, and the key of its fault.
    pub(super) fn take_record_flip(&mut self) -> Option<(u64, u64)> {
        let flip = |(key, ambush): &(u64, Ambush)| match ambush {
            Ambush::FlipRecordBit { at } => Some((*key, *at)),
            _ => None,
        };
        let found = self.ambushes.iter().position(|waiting| flip(waiting).is_some())?;
        flip(&self.ambushes.remove(found))
    }

    /// Whether a flip waits for a batch of records.
    pub(super) fn wants_records(&self) -> bool {
        self.ambushes.iter().any(|(_, ambush)| matches!(ambush, Ambush::FlipRecordBit { .. }))
    }

    /// The ambush that strikes a segment of `len` bytes, if any, and the key of its fault.
    pub(super) fn ambush(&mut self, sender: Side, len: usize) -> Option<(u64, Ambush)> {
        let at = self.ambushes.iter().position(|(_, ambush)| ambush.fits(sender, len))?;
        Some(self.ambushes.remove(at))
    }
}
