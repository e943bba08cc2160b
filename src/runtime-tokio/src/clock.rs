//! The clocks of the machine.

use std::time::SystemTime;

use model::{Instant, Timestamp};
use runtime::{BoxFuture, Clock};

/// Monotonic time since [`OsClock::start`], and the machine's wall time.
pub(crate) struct OsClock {
    start: std::time::Instant,
}

impl OsClock {
    pub(crate) fn start() -> OsClock {
        OsClock { start: std::time::Instant::now() }
    }
}

/// Nanoseconds since `start`.
fn since(start: std::time::Instant) -> Instant {
    Instant::default() + start.elapsed()
}

impl Clock for OsClock {
    fn now(&self) -> Instant {
        since(self.start)
    }

    fn wall(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
            }
        };
        Timestamp(millis)
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let start = self.start;
        Box::pin(async move {
            // Looked at before and after: tokio rounds to milliseconds and cuts very long sleeps.
            loop {
                let now = since(start);
                if deadline <= now {
                    return;
                }
                tokio::time::sleep(deadline.since(now)).await;
            }
        })
    }
}
