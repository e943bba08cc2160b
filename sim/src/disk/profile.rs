//! How fast and how large a disk is, and how it deals out its delays.

use runtime::{RandomStream, Rng};
use serde::{Deserialize, Serialize};

use super::op::Op;
use crate::world::Nanos;

/// One sync of so many takes long.
const SYNC_TAIL_ONE_IN: u64 = 64;
/// How much shorter than the longest the syncs of the tail may be.
const SYNC_TAIL_SPREAD: u64 = 24;

/// A disk's behaviour without faults. Ranges are nanoseconds, from and up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskProfile {
    /// A write into the page cache.
    pub write_nanos: (u64, u64),
    /// A read.
    pub read_nanos: (u64, u64),
    /// The usual sync, half of the time less.
    pub sync_nanos_median: u64,
    /// The longest sync.
    pub sync_nanos_max: u64,
    /// Opening, renaming, removing, cutting.
    pub change_nanos: (u64, u64),
    /// The usual sync of a directory; its tail is that of files.
    pub sync_dir_nanos_median: u64,
    /// How much passes the device in a second, by reads and by syncs.
    pub bytes_per_second: u64,
    /// How much fits.
    pub capacity_bytes: u64,
    /// One read of so many gives less than was asked for; 0: none does.
    pub short_reads_one_in: u64,
    /// One write of so many takes less than was given; 0: none does.
    pub short_writes_one_in: u64,
}

impl Default for DiskProfile {
    /// An SSD.
    fn default() -> DiskProfile {
        DiskProfile {
            write_nanos: (1_000, 20_000),
            read_nanos: (2_000, 100_000),
            sync_nanos_median: 300_000,
            sync_nanos_max: 30_000_000,
            change_nanos: (5_000, 80_000),
            sync_dir_nanos_median: 250_000,
            bytes_per_second: 1_000_000_000,
            capacity_bytes: 64 << 30,
            short_reads_one_in: 64,
            short_writes_one_in: 64,
        }
    }
}

impl DiskProfile {
    /// How long `op` takes when so many bytes have to pass the device.
    pub(super) fn latency(&self, op: Op, bytes: u64, draws: &mut RandomStream) -> Nanos {
        let own = match op {
            Op::Write | Op::Len => between(self.write_nanos, draws),
            Op::Read | Op::List => between(self.read_nanos, draws),
            Op::Sync => self.sync_latency(self.sync_nanos_median, draws),
            Op::SyncDir => self.sync_latency(self.sync_dir_nanos_median, draws),
            _ => between(self.change_nanos, draws),
        };
        let passed = match op {
            Op::Read | Op::Sync => {
                u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1))
            }
            // Memory, ten times as fast as an SSD.
            _ => u128::from(bytes) / 10,
        };
        own.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn sync_latency(&self, median: u64, draws: &mut RandomStream) -> Nanos {
        if one_in(draws, SYNC_TAIL_ONE_IN) {
            return self.sync_nanos_max / (1 + below(draws, SYNC_TAIL_SPREAD));
        }
        // Half of them below the median, down to a sixth of it; half above, up to three times.
        match draws.next_u64() >> 63 {
            0 => between((median / 6, median), draws),
            _ => between((median, median.saturating_mul(3)), draws),
        }
    }
}

fn between((from, to): (u64, u64), draws: &mut RandomStream) -> u64 {
    from + below(draws, to.saturating_sub(from) + 1)
}

/// A number less than `count`; 0 when there is none.
pub(super) fn below(draws: &mut RandomStream, count: u64) -> u64 {
    draws.next_u64().checked_rem(count).unwrap_or(0)
}

/// True once in `count` times; never when `count` is 0.
pub(super) fn one_in(draws: &mut RandomStream, count: u64) -> bool {
    draws.next_u64().checked_rem(count) == Some(0)
}
