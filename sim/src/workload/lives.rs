//! What is known of topics that come and go: which were deleted for good, how far one has grown,
//! and what contradicts that.
//!
//! A topic is known by its id. An acknowledged deletion is of that id, whatever else requests that
//! were on their way for long do to its name; and only the administrator writes to its topics.
//!
//! Start at [`Lives`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use client::metadata::Topic;
use model::TopicId;
use protocol::StrBytes;

use crate::world::Nanos;

/// A topic that is not as it was said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that fails.
    pub check: &'static str,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.check, self.text)
    }
}

/// A topic that was deleted, and how long that is known.
#[derive(Clone, Debug)]
struct Deleted {
    name: StrBytes,
    at: Nanos,
}

#[derive(Default)]
struct State {
    born: u32,
    deleted: BTreeMap<TopicId, Deleted>,
    /// The least count of partitions of a topic that only grows.
    grown: BTreeMap<StrBytes, i32>,
    findings: Vec<Finding>,
}

/// What is known of all of them.
#[derive(Default)]
pub(super) struct Lives(Mutex<State>);

/// What was known before the topics were asked for.
pub(super) struct Known {
    deleted: BTreeMap<TopicId, Deleted>,
    grown: BTreeMap<StrBytes, i32>,
}

impl Lives {
    /// A number that no life had before.
    pub(super) fn number(&self) -> u32 {
        let mut state = self.lock();
        state.born += 1;
        state.born
    }

    /// The deletion of a topic was acknowledged.
    pub(super) fn deleted(&self, name: &StrBytes, id: TopicId, at: Nanos) {
        let deleted = Deleted { name: name.clone(), at };
        self.lock().deleted.entry(id).or_insert(deleted);
    }

    /// It was acknowledged that a topic has so many partitions.
    pub(super) fn grown(&self, name: &StrBytes, partitions: i32) {
        let mut state = self.lock();
        let least = state.grown.entry(name.clone()).or_default();
        *least = partitions.max(*least);
    }

    /// To be taken before topics are asked for.
    pub(super) fn known(&self) -> Known {
        let state = self.lock();
        Known { deleted: state.deleted.clone(), grown: state.grown.clone() }
    }

    /// Compares what is listed with what was `known` when it was asked for.
    pub(super) fn look(&self, known: &Known, listed: &BTreeMap<StrBytes, Topic>, now: Nanos) {
        for (name, topic) in listed {
            if let Some(deleted) = known.deleted.get(&topic.id) {
                let (was, at, now) = (&deleted.name, seconds(deleted.at), seconds(now));
                let id = topic.id;
                let text = format!(
                    "{name}: {was} with the id {id} was deleted at {at} and is listed at {now}"
                );
                self.find("topic-came-back", text);
            }
        }
        for (name, &least) in &known.grown {
            let count = listed.get(name).map_or(0, |topic| topic.partitions.len());
            if (count as i64) < i64::from(least) {
                let text = format!("{name}: {count} partitions at {}, of {least}", seconds(now));
                self.find("partitions-gone", text);
            }
        }
    }

    /// Notes a finding, each once.
    pub(super) fn find(&self, check: &'static str, text: String) {
        let finding = Finding { check, text };
        let mut state = self.lock();
        if !state.findings.contains(&finding) {
            state.findings.push(finding);
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.lock().findings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(at: Nanos) -> String {
    format!("{:.3} s", at as f64 / 1e9)
}
