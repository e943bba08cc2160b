//! Growing pauses between attempts.
//!
//! In: the number of failures so far and a random stream. Out: how long to wait. The rule is
//! Kafka's (KIP-144, KIP-580): `initial * 2^failures`, at most `max`, 20 % of jitter either way so
//! that many clients do not come back at the same moment.

use std::time::Duration;

use rand_core::Rng;
use runtime::RandomStream;

/// A rule for pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// At most, before jitter.
    pub max: Duration,
}

/// Jitter, in percent of the pause, either way.
const JITTER_PERCENT: u64 = 20;

impl Backoff {
    /// The pause after `failures` failures in a row (1 for the first); zero after none.
    pub fn pause(&self, failures: u32, random: &mut RandomStream) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let factor = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let base = self.initial.saturating_mul(factor).min(self.max);
        // Integers only: a float would round differently on another machine.
        let percent = 100 - JITTER_PERCENT + random.next_u64() % (2 * JITTER_PERCENT + 1);
        base.saturating_mul(u32::try_from(percent).unwrap_or(100)) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let backoff =
            Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(1000) };
        let mut random = runtime::split_seed(1, "backoff", 0);
        assert_eq!(backoff.pause(0, &mut random), Duration::ZERO);
        for (failures, expected_ms) in [(1, 50), (2, 100), (3, 200), (6, 1000), (40, 1000)] {
            for _ in 0..50 {
                let pause = backoff.pause(failures, &mut random).as_millis();
                assert!(pause >= expected_ms * 80 / 100, "{failures}: {pause}");
                assert!(pause <= expected_ms * 120 / 100, "{failures}: {pause}");
            }
        }
    }
}
