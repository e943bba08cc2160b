//! Looking up offsets by time: what the broker finds is held against the records that were read.
//!
//! Only where nothing deletes, compacts or loses records: there the first record of some time stays
//! the first one for ever.

use std::collections::BTreeMap;

use client::{Client, ConsumerRecord, IsolationLevel, ListedOffset, OffsetSpec, TopicPartition};
use history::{Partition, What};
use model::Timestamp;

use super::Seat;

/// The timestamps of what one reader has read, by place.
#[derive(Default)]
pub(super) struct Times(BTreeMap<TopicPartition, BTreeMap<i64, Timestamp>>);

impl Times {
    /// Takes in what was read from partitions that `is_lasting` names.
    pub(super) fn learn(
        &mut self,
        records: &[ConsumerRecord],
        is_lasting: impl Fn(&TopicPartition) -> bool,
    ) {
        for record in records.iter().filter(|record| is_lasting(&record.at)) {
            let times = self.0.entry(record.at.clone()).or_default();
            times.insert(record.offset.0, record.timestamp);
        }
    }

    /// What is wrong with the answer to a look-up of `asked`, where a record of that time is.
    fn fault(&self, at: &TopicPartition, asked: Timestamp, found: &ListedOffset) -> Option<String> {
        let times = self.0.get(at)?;
        let known = times.iter().find(|(_, time)| asked <= **time)?;
        let Some(offset) = found.offset else {
            return Some(format!("nothing, and {} is at {}", known.1, known.0));
        };
        // An earlier one may be there that was not read.
        if *known.0 < offset.0 {
            return Some(format!("offset {offset}, and {} is at {}", known.1, known.0));
        }
        let time = found.timestamp.unwrap_or(Timestamp::NONE);
        if time < asked {
            return Some(format!("offset {offset} of the time {time}"));
        }
        let seen = times.get(&offset.0).filter(|seen| **seen != time)?;
        Some(format!("offset {offset} of the time {time}, which was read with {seen}"))
    }
}

impl Seat {
    /// Whether everything that was read in a topic stays where it is.
    pub(super) fn is_lasting(&self, topic: &str) -> bool {
        let rules = self.work.rules(topic);
        !rules.is_compacted && !rules.is_lost_with_power && self.work.is_kept(topic)
    }

    /// Asks where the first record of a time is, of which one was read.
    pub(super) async fn look_up(
        &mut self,
        client: &Client,
        times: &Times,
        partitions: &BTreeMap<TopicPartition, Partition>,
    ) {
        let damaged = self.work.damaged();
        let is_whole = |at: &&TopicPartition| !damaged.contains_key(&partitions[*at]);
        let all: Vec<&TopicPartition> = times.0.keys().filter(is_whole).collect();
        if all.is_empty() {
            return;
        }
        let at = (*self.dice.pick(&all)).clone();
        let of_one: Vec<Timestamp> = times.0[&at].values().copied().collect();
        let asked = *self.dice.pick(&of_one);
        let specs = BTreeMap::from([(at.clone(), OffsetSpec::At(asked))]);
        let request = format!("ListOffsets of {} at {asked}", partitions[&at]);
        let answers = client.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
        for (at, answer) in answers {
            // What was cut off and written anew has other times.
            if self.work.damaged().contains_key(&partitions[&at]) {
                continue;
            }
            match answer {
                Ok(found) => {
                    if let Some(error) = times.fault(&at, asked, &found) {
                        let what = What::UnfitError { request: request.clone(), error };
                        self.work.recorder.note(self.node, what);
                    }
                }
                Err(error) => self.note_failure(&request, &error, &[]),
            }
        }
    }
}
