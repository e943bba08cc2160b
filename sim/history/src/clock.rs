//! How far the brokers' wall clocks may have been apart from the clients'.

use crate::{History, What};

/// A clock's course from one moment on.
#[derive(Clone, Debug)]
struct Course {
    node: String,
    from: u64,
    until: u64,
    ahead_ms: i64,
    drift_ppm: i64,
}

impl Course {
    fn ahead_ms(&self, at: u64) -> i64 {
        let passed = i128::from(at.clamp(self.from, self.until) - self.from);
        let gained = passed * i128::from(self.drift_ppm) / 1_000_000 / 1_000_000;
        // A millisecond for what is rounded away.
        self.ahead_ms + i64::try_from(gained).unwrap_or(i64::MAX / 4) + self.drift_ppm.signum()
    }
}

/// The clocks of all brokers; one that nobody touched is right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks(Vec<Course>);

impl Clocks {
    pub(crate) fn of(history: &History) -> Clocks {
        let mut courses: Vec<Course> = Vec::new();
        for event in &history.events {
            let What::Clock { node, ahead_ms, drift_ppm } = &event.what else { continue };
            if let Some(before) = courses.iter_mut().rev().find(|course| course.node == *node) {
                before.until = event.at;
            }
            let (ahead_ms, drift_ppm) = (*ahead_ms, *drift_ppm);
            let (from, until) = (event.at, u64::MAX);
            courses.push(Course { node: node.clone(), from, until, ahead_ms, drift_ppm });
        }
        Clocks(courses)
    }

    /// The most by which a broker's clock until `at` was ahead of any clock that gave a record its
    /// time, a client's or a broker's, in milliseconds.
    pub(crate) fn spread_ms(&self, at: u64) -> u64 {
        let (mut behind, mut ahead) = (0, 0);
        for course in self.0.iter().filter(|course| course.from <= at) {
            for moment in [course.from, at] {
                let ahead_ms = course.ahead_ms(moment);
                behind = behind.min(ahead_ms);
                ahead = ahead.max(ahead_ms);
            }
        }
        ahead.abs_diff(behind)
    }
}
