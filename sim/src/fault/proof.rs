//! What shows that a fault did something: looked at when the fault is over, or the run.

use crate::disk::{FaultId, SimDisk};
use crate::net::Network;
use crate::runtime::MachineClock;
use crate::world::{NodeId, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the effect of a fault shows.
pub(super) enum Proof {
    /// The disk counts what the fault struck.
    Disk(SimDisk, FaultId),
    /// The network counts what the fault with this key struck.
    Network(Network, u64),
    /// More segments arrived than these.
    Segments(Network, u64),
    /// Of the node's tasks more were put off than these.
    PutOff(World, NodeId, u64),
    /// Who did it says so.
    Done(Arc<AtomicBool>),
    /// The clock was asked for more often than this.
    Asked(Arc<MachineClock>, ClockFault, u64),
}

/// What of a clock is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClockFault {
    Wall,
    Speed,
    Freeze,
}

impl ClockFault {
    /// How often a process looked at what is wrong.
    pub(super) fn asked(self, clock: &MachineClock) -> u64 {
        let asked = clock.asked();
        match self {
            ClockFault::Wall => asked.wall,
            ClockFault::Speed => asked.monotonic,
            ClockFault::Freeze => asked.frozen,
        }
    }
}

impl Proof {
    /// Whether it did something.
    pub(super) fn shows(&self) -> bool {
        match self {
            Proof::Disk(disk, fault) => 0 < disk.strikes(*fault),
            Proof::Network(network, key) => 0 < network.strikes(*key),
            Proof::Segments(network, before) => *before < network.effects().segments,
            Proof::PutOff(world, node, before) => *before < world.put_off(*node),
            Proof::Done(is_done) => is_done.load(Ordering::Relaxed),
            Proof::Asked(clock, fault, before) => *before < fault.asked(clock),
        }
    }
}
