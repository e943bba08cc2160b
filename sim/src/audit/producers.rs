//! The state of producers, against its rebuild from the batches.

use std::collections::BTreeMap;

use model::{ProducerEpoch, ProducerId};
use protocol::records::Batch;
use storage::{ProducerDescription, RecognisedBatch};

/// So many batches of a producer are recognised when they come again.
const BATCHES: usize = 5;

/// What follows from the batches that are there.
type Rebuilt = BTreeMap<ProducerId, (ProducerEpoch, Vec<RecognisedBatch>)>;

/// Where `known` contradicts `batches`. What was deleted or compacted away may be known still: it
/// was there.
pub(super) fn differences(batches: &[Batch], known: &[ProducerDescription]) -> Vec<String> {
    let mut findings = never_written(batches, known);
    for (id, (epoch, rebuilt)) in rebuild(batches) {
        let Some(known) = known.iter().find(|known| known.producer_id == id) else {
            findings.push(format!("producer {id} is not known"));
            continue;
        };
        if known.epoch != epoch {
            findings.push(format!("producer {id} has epoch {}, wrote with {epoch}", known.epoch));
            continue;
        }
        let oldest = match known.batches.first() {
            Some(oldest) if known.batches.len() == BATCHES => oldest.last_offset,
            _ => model::Offset::ZERO,
        };
        let expected = rebuilt.iter().filter(|batch| batch.last_offset >= oldest);
        for batch in expected.filter(|batch| !known.batches.contains(batch)) {
            let known = known.batches.len();
            findings.push(format!("producer {id}: {batch:?} is none of the {known} recognised"));
        }
    }
    findings
}

/// Batches that are known and are not in a log that has everything from its first batch on: whoever
/// sends one again is told that it is there.
fn never_written(batches: &[Batch], known: &[ProducerDescription]) -> Vec<String> {
    let headers = || batches.iter().map(|batch| &batch.header);
    let (Some(first), Some(last)) = (headers().next(), headers().next_back()) else {
        return Vec::new();
    };
    let has_gaps =
        headers().zip(headers().skip(1)).any(|(one, next)| one.next_offset() != next.base_offset);
    let is_there = |id: ProducerId, batch: &RecognisedBatch| {
        headers().any(|header| {
            header.producer_id == id
                && header.base_offset == batch.base_offset
                && header.last_offset() == batch.last_offset
                && header.last_sequence() == batch.last_sequence
        })
    };
    let mut findings = Vec::new();
    for producer in known {
        let id = producer.producer_id;
        for batch in &producer.batches {
            let is_past = last.next_offset() <= batch.last_offset;
            let is_kept = !has_gaps && first.base_offset <= batch.base_offset;
            if is_past || (is_kept && !is_there(id, batch)) {
                findings.push(format!("producer {id}: {batch:?} is recognised, and not there"));
            }
        }
    }
    findings
}

fn rebuild(batches: &[Batch]) -> Rebuilt {
    let mut rebuilt = Rebuilt::new();
    for Batch { header, .. } in batches {
        if header.producer_id == ProducerId::NONE || header.attributes.is_control() {
            continue;
        }
        let (epoch, last) =
            rebuilt.entry(header.producer_id).or_insert((header.producer_epoch, Vec::new()));
        if *epoch != header.producer_epoch {
            *epoch = header.producer_epoch;
            last.clear();
        }
        last.push(RecognisedBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            last_sequence: header.last_sequence(),
        });
        if last.len() > BATCHES {
            last.remove(0);
        }
    }
    rebuilt
}
