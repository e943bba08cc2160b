//! A node's clocks: each drifts on its own, and its wall clock can be wrong and can jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::{Instant, Timestamp};
use runtime::{BoxFuture, Clock};

use crate::world::{Nanos, World};

/// The wall time at which every run begins: 2030-01-01T00:00:00Z.
pub const EPOCH_MILLIS: i64 = 1_893_456_000_000;

const MILLION: i128 = 1_000_000;

/// The oscillator and wall clock of one machine; they outlive its processes.
#[derive(Debug, Default)]
pub struct MachineClock {
    /// How much faster than the world it goes, in millionths.
    drift_ppm: AtomicI64,
    /// How far the wall clock is ahead, besides drift, in milliseconds.
    skew_millis: AtomicI64,
}

impl MachineClock {
    /// From now on the clock is so much faster (slower when negative). Set before the node boots:
    /// a monotonic clock that is running must not go back.
    pub fn set_drift_ppm(&self, ppm: i64) {
        self.drift_ppm.store(ppm, Ordering::Relaxed);
    }

    /// Moves the wall clock by so many milliseconds.
    pub fn jump_millis(&self, millis: i64) {
        self.skew_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// The wall clock is right again, but for what drift has made of it.
    pub fn set_right(&self) {
        self.skew_millis.store(0, Ordering::Relaxed);
    }

    fn drift(&self) -> i128 {
        i128::from(self.drift_ppm.load(Ordering::Relaxed))
    }
}

/// The clock that one process sees.
pub(super) struct SimClock {
    world: World,
    machine: Arc<MachineClock>,
    started: Nanos,
}

impl SimClock {
    pub(super) fn new(world: World, machine: Arc<MachineClock>) -> SimClock {
        let started = world.now();
        SimClock { world, machine, started }
    }
}

/// So much of this clock's time has passed after `nanos` of the world's.
fn drifted(nanos: Nanos, ppm: i128) -> Nanos {
    let nanos = i128::from(nanos);
    Nanos::try_from(nanos + (nanos * ppm).div_euclid(MILLION)).unwrap_or(Nanos::MAX)
}

/// The first moment of the world at which a clock shows `shown`.
fn undrifted(shown: Nanos, ppm: i128) -> Nanos {
    let rate = MILLION + ppm;
    let nanos = (i128::from(shown) * MILLION + rate - 1) / rate;
    Nanos::try_from(nanos).unwrap_or(Nanos::MAX)
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant(drifted(self.world.now() - self.started, self.machine.drift()))
    }

    fn wall(&self) -> Timestamp {
        let nanos = drifted(self.world.now(), self.machine.drift());
        let millis = i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
        let skew = self.machine.skew_millis.load(Ordering::Relaxed);
        Timestamp(EPOCH_MILLIS.saturating_add(millis).saturating_add(skew))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let after = undrifted(deadline.0, self.machine.drift());
        Box::pin(self.world.sleep_until(self.started.saturating_add(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_never_ends_before_its_deadline() {
        for ppm in [-200_000, -333, -1, 0, 1, 777, 200_000] {
            for shown in [0, 1, 2, 999_999, 1_000_000, 123_456_789_012, u64::MAX / 2] {
                let moment = undrifted(shown, ppm);
                assert!(shown <= drifted(moment, ppm), "{shown} at {ppm} ppm");
                assert!(moment == 0 || drifted(moment - 1, ppm) < shown, "{shown} at {ppm} ppm");
            }
        }
    }
}
