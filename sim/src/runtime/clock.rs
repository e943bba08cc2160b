//! A node's clocks: each drifts on its own, and its wall clock can be wrong, jump and stand still.
//!
//! Invariants:
//! - what a clock shows is piecewise linear in the world's time: a change of its speed bends it,
//!   and never moves it
//! - the monotonic clock never goes back, and no sleep ends before its deadline
//!
//! Start at [`MachineClock`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Instant, Timestamp};
use runtime::{BoxFuture, Clock};

use crate::world::{Nanos, World};

/// The wall time at which every run begins: 2030-01-01T00:00:00Z.
pub const EPOCH_MILLIS: i64 = 1_893_456_000_000;

const MILLION: i128 = 1_000_000;

/// A clock that loses all its time, or more, can not be: drift is above this.
pub const DRIFT_PPM_MIN: i64 = -999_999;

/// The oscillator and wall clock of one machine; they outlive its processes.
#[derive(Debug, Default)]
pub struct MachineClock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    oscillator: Oscillator,
    /// How far the wall clock is ahead, besides drift, in milliseconds.
    skew_millis: i64,
    /// How long the wall clock has stood still altogether, in time that the oscillator shows.
    stood: Nanos,
    freeze: Option<Freeze>,
    asked: Asked,
}

/// The wall clock stands still.
#[derive(Clone, Copy, Debug)]
struct Freeze {
    /// What the oscillator showed when it began.
    from_shown: Nanos,
    /// When it ends, in the world's time.
    until: Nanos,
}

/// A count of time: it shows `shown_at` at `world_at`, and goes so much faster than the world from
/// there on.
#[derive(Clone, Copy, Debug, Default)]
struct Oscillator {
    world_at: Nanos,
    shown_at: Nanos,
    drift_ppm: i64,
}

impl Oscillator {
    fn rate(self) -> i128 {
        MILLION + i128::from(self.drift_ppm)
    }

    /// What it shows at `world`, which is not before the anchor.
    fn shown(self, world: Nanos) -> Nanos {
        let passed = i128::from(world.saturating_sub(self.world_at)) * self.rate();
        let shown = i128::from(self.shown_at) + passed.div_euclid(MILLION);
        Nanos::try_from(shown).unwrap_or(Nanos::MAX)
    }

    /// The first moment of the world at which it shows `shown`, if nothing changes.
    fn moment(self, shown: Nanos) -> Nanos {
        let missing = i128::from(shown.saturating_sub(self.shown_at));
        let nanos = (missing * MILLION + self.rate() - 1) / self.rate();
        let moment = i128::from(self.world_at) + nanos;
        Nanos::try_from(moment).unwrap_or(Nanos::MAX)
    }
}

/// How often processes looked at the clock, so that a fault of it can tell whether anyone saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// For the monotonic time.
    pub monotonic: u64,
    /// For the wall time.
    pub wall: u64,
    /// For the wall time while that stood still.
    pub frozen: u64,
}

impl MachineClock {
    /// From `now` on the clock is so much faster, slower when negative.
    pub fn set_drift_ppm(&self, now: Nanos, ppm: i64) {
        let mut state = self.lock();
        state.thaw_if_over(now);
        let shown_at = state.oscillator.shown(now);
        let drift_ppm = ppm.max(DRIFT_PPM_MIN);
        state.oscillator = Oscillator { world_at: now, shown_at, drift_ppm };
    }

    /// Moves the wall clock by so many milliseconds.
    pub fn jump_millis(&self, millis: i64) {
        let mut state = self.lock();
        state.skew_millis = state.skew_millis.saturating_add(millis);
    }

    /// The wall clock stands still from `now` until `until`, and then goes on from where it stood.
    pub fn freeze(&self, now: Nanos, until: Nanos) {
        let mut state = self.lock();
        state.thaw_if_over(now);
        let from_shown = state.oscillator.shown(now);
        let freeze = state.freeze.get_or_insert(Freeze { from_shown, until });
        freeze.until = freeze.until.max(until);
    }

    /// The wall clock goes on at once.
    pub fn thaw(&self, now: Nanos) {
        let mut state = self.lock();
        state.thaw_if_over(now);
        if let Some(freeze) = &mut state.freeze {
            freeze.until = now;
        }
        state.thaw_if_over(now);
    }

    /// The wall clock goes on and is right again, but for what drift makes of it.
    pub fn set_right(&self, now: Nanos) {
        self.thaw(now);
        let mut state = self.lock();
        state.skew_millis = 0;
        state.stood = 0;
    }

    /// How far the wall clock is ahead of the world's time, which is `now`, in milliseconds, and how
    /// many millionths of what passes it gains, while it does not stand still.
    pub fn ahead(&self, now: Nanos) -> (i64, i64) {
        let mut state = self.lock();
        state.thaw_if_over(now);
        let shown = state.shown_by_wall(now);
        let right = EPOCH_MILLIS.saturating_add((now / 1_000_000) as i64);
        (shown.saturating_sub(right), state.oscillator.drift_ppm)
    }

    /// How often it was asked so far.
    pub fn asked(&self) -> Asked {
        self.lock().asked
    }

    fn shown(&self, now: Nanos) -> Nanos {
        self.lock().oscillator.shown(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn thaw_if_over(&mut self, now: Nanos) {
        if let Some(Freeze { from_shown, until }) = self.freeze.filter(|it| it.until <= now) {
            self.stood += self.oscillator.shown(until) - from_shown;
            self.freeze = None;
        }
    }

    fn wall(&mut self, now: Nanos) -> i64 {
        self.thaw_if_over(now);
        self.asked.wall += 1;
        self.asked.frozen += u64::from(self.freeze.is_some());
        self.shown_by_wall(now)
    }

    fn shown_by_wall(&self, now: Nanos) -> i64 {
        let shown = match self.freeze {
            Some(freeze) => freeze.from_shown,
            None => self.oscillator.shown(now),
        };
        let millis = i64::try_from((shown - self.stood) / 1_000_000).unwrap_or(i64::MAX);
        EPOCH_MILLIS.saturating_add(millis).saturating_add(self.skew_millis)
    }
}

/// The clock that one process sees.
pub(super) struct SimClock {
    world: World,
    machine: Arc<MachineClock>,
    /// What the machine's oscillator showed when the process started.
    started_shown: Nanos,
}

impl SimClock {
    pub(super) fn new(world: World, machine: Arc<MachineClock>) -> SimClock {
        let started_shown = machine.shown(world.now());
        SimClock { world, machine, started_shown }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        let mut state = self.machine.lock();
        state.asked.monotonic += 1;
        Instant(state.oscillator.shown(self.world.now()) - self.started_shown)
    }

    fn wall(&self) -> Timestamp {
        Timestamp(self.machine.lock().wall(self.world.now()))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let wanted = self.started_shown.saturating_add(deadline.0);
        let (world, machine) = (self.world.clone(), Arc::clone(&self.machine));
        let mut sleep = world.sleep_until(machine.lock().oscillator.moment(wanted));
        Box::pin(async move {
            loop {
                sleep.await;
                // Who became slower meanwhile has to wait longer; who became faster has slept too
                // long, as with a timer that was programmed before.
                let moment = machine.lock().oscillator.moment(wanted);
                if moment <= world.now() {
                    return;
                }
                sleep = world.sleep_until(moment);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sleep_never_ends_before_its_deadline() {
        for drift_ppm in [DRIFT_PPM_MIN, -200_000, -333, -1, 0, 1, 777, 200_000] {
            for shown in [0, 1, 2, 999_999, 1_000_000, 123_456_789_012] {
                let clock = Oscillator { world_at: 17, shown_at: 5, drift_ppm };
                let moment = clock.moment(shown + 5);
                assert!(shown + 5 <= clock.shown(moment), "{shown} at {drift_ppm} ppm");
                assert!(
                    moment == 17 || clock.shown(moment - 1) < shown + 5,
                    "{shown} at {drift_ppm} ppm"
                );
            }
        }
    }

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_change_of_speed_moves_no_clock() {
        let clock = MachineClock::default();
        let mut now = 1_000 * SECOND;
        for ppm in [50_000, -50_000, 0, DRIFT_PPM_MIN, 3] {
            let shown = |now| (clock.shown(now), clock.lock().wall(now));
            let before = shown(now);
            clock.set_drift_ppm(now, ppm);
            assert_eq!(shown(now), before, "to {ppm} ppm");
            now += 10 * SECOND;
            let passed = shown(now).0 - before.0;
            assert_eq!(passed, (10_000 * (1_000_000 + ppm)) as u64, "at {ppm} ppm");
        }
    }

    #[test]
    fn a_sleep_that_is_slowed_down_waits_for_its_deadline() {
        let world = World::new(1, false);
        let machine = Arc::<MachineClock>::default();
        let clock = SimClock::new(world.clone(), Arc::clone(&machine));
        let sleeper = world.clone();
        let main = async move {
            sleeper.sleep(Duration::from_secs(100)).await;
            let deadline = Instant(clock.now().0 + SECOND);
            let sleep = clock.sleep_until(deadline);
            machine.set_drift_ppm(sleeper.now(), -500_000);
            let begun = sleeper.now();
            sleep.await;
            assert!(deadline <= clock.now());
            assert!((0..100_000).contains(&(sleeper.now() - begun - 2 * SECOND)));
        };
        assert_eq!((world.block_on(1_000, main), world.panics()), (Ok(()), Vec::new()));
    }

    #[test]
    fn a_frozen_wall_clock_goes_on_where_it_stood() {
        let clock = MachineClock::default();
        let wall = |seconds: u64| clock.lock().wall(seconds * SECOND) - EPOCH_MILLIS;
        clock.freeze(100 * SECOND, 102 * SECOND);
        // The longer of two counts, and a shorter one ends nothing.
        clock.freeze(101 * SECOND, 104 * SECOND);
        clock.freeze(101 * SECOND, 101 * SECOND + 1);
        assert_eq!(wall(103), 100_000);
        assert_eq!(clock.shown(103 * SECOND), 103 * SECOND);
        clock.jump_millis(7);
        clock.set_drift_ppm(103 * SECOND, 500_000);
        assert_eq!(wall(103), 100_007);
        assert_eq!(wall(106), 103_007);
        assert_eq!(clock.asked().frozen, 2);
        clock.freeze(106 * SECOND, Nanos::MAX);
        assert_eq!(wall(109), 103_007);
        clock.thaw(109 * SECOND);
        assert_eq!(wall(111), 106_007);
    }
}
