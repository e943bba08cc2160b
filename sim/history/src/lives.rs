//! Topics that come and go: nothing of a topic that was deleted comes back.
//!
//! A request may still be under way when its client has given up on it, for
//! [`ANSWER_NANOS_MAX`](crate::ANSWER_NANOS_MAX) at most: so long before a deletion nobody can tell
//! which life of a topic it belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::anomaly::seconds;
use crate::case::Case;
use crate::rules::ANSWER_NANOS_MAX;
use crate::{Anomaly, Content, History, Verdict, Violation, What};

/// A record that was acknowledged in one life of its topic is not read in a later one.
pub(crate) fn check_records(case: &Case<'_>, verdict: &mut Verdict) {
    let deletions = case.history.events.iter().filter_map(|event| match &event.what {
        What::TopicDeleted { topic } if *topic == case.partition.topic => Some(event.at),
        _ => None,
    });
    let deletions: Vec<u64> = deletions.collect();
    if deletions.is_empty() {
        return;
    }
    for (&offset, contents) in &case.known.at_offset {
        for (content, sights) in contents {
            let Content::Record(id) = *content else { continue };
            let sent = case.known.sent.get(&id);
            let Some((at, _)) = sent.and_then(|sent| sent.acknowledged()) else { continue };
            let settled = at.saturating_add(ANSWER_NANOS_MAX);
            let mut between = deletions.iter().filter(|deleted| settled <= **deleted);
            if let Some(deleted) = between.find(|deleted| **deleted < sights.last.from) {
                let text = format!(
                    "{id} was acknowledged at {}, its topic was deleted by {}, and it is there",
                    seconds(at),
                    seconds(*deleted),
                );
                let found = case.violation(Anomaly::ThinAir, Some(offset), Some(id), text);
                verdict.violations.push(found);
            }
        }
    }
}

/// A topic whose deletion was answered, and that nobody asked for since, is not listed.
pub(crate) fn check_listed(history: &History, verdict: &mut Verdict) {
    let Some(listed) = &history.listed else { return };
    let mut created: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
    let mut deleted: BTreeMap<&Arc<str>, u64> = BTreeMap::new();
    for event in &history.events {
        match &event.what {
            What::CreateTopic { topic } => drop(created.insert(topic, event.at)),
            What::TopicDeleted { topic } => drop(deleted.insert(topic, event.at)),
            _ => {}
        }
    }
    for (topic, deleted) in deleted {
        let created = created.get(topic).map_or(0, |at| at.saturating_add(ANSWER_NANOS_MAX));
        if created <= deleted && listed.contains(topic) {
            let text = format!("{topic} was deleted by {} and is listed", seconds(deleted));
            verdict.violations.push(Violation {
                anomaly: Anomaly::TopicCameBack,
                partition: None,
                offset: None,
                record: None,
                text,
            });
        }
    }
}
