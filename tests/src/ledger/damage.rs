//! What would be wrong with a history that is not: each damage is done to a copy of a recorded one,
//! and the checks have to name it. So whoever writes a [`Ledger`](super::Ledger) is known to write
//! down what the checks live on.
//!
//! In: a history without a violation, in which each promise has acknowledged records and readers
//! read. Start at [`ALL`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use history::{Anomaly, Content, History, Outcome, Partition, Promise, RecordId, Seen, What};

use Promise::{AtLeastOnce, AtMostOnce, Idempotent};

/// One damage.
#[derive(Clone, Copy)]
pub struct Damage {
    /// What is done.
    pub name: &'static str,
    /// Does it; an error when there is nothing that it could be done to.
    pub make: fn(&mut History) -> Result<()>,
    /// What the checks have to name first; `None` for what a promise allows.
    pub named: Option<Anomaly>,
}

const fn damage(
    name: &'static str,
    named: Option<Anomaly>,
    make: fn(&mut History) -> Result<()>,
) -> Damage {
    Damage { name, make, named }
}

/// All of them.
pub const ALL: &[Damage] = &[
    damage("idempotent: a record is gone", Some(Anomaly::LostWrite), |h| gone(h, Idempotent)),
    damage("at-least-once: a record is gone", Some(Anomaly::LostWrite), |h| gone(h, AtLeastOnce)),
    damage("at-most-once: a record is gone, its offset empty", Some(Anomaly::Hole), |h| {
        gone(h, AtMostOnce)
    }),
    damage("idempotent: a record is twice", Some(Anomaly::Duplicate), |h| twice(h, Idempotent)),
    damage("at-least-once: a record is twice", None, |h| twice(h, AtLeastOnce)),
    damage("at-most-once: a record is twice", Some(Anomaly::Duplicate), |h| twice(h, AtMostOnce)),
    damage("an at-least-once record in the place of an at-most-once one", None, |h| {
        replaced(h, AtMostOnce, AtLeastOnce)
    }),
    damage(
        "an at-most-once record in the place of an at-least-once one",
        Some(Anomaly::LostWrite),
        |h| replaced(h, AtLeastOnce, AtMostOnce),
    ),
    damage("two records of a producer changed places", Some(Anomaly::NonmonotonicSend), |h| {
        forget_polls(h);
        swapped(h)
    }),
    damage("the same after they were read", Some(Anomaly::InconsistentOffsets), swapped),
    damage("a record of unknown fate was read and is gone", Some(Anomaly::LostRead), unanswered),
    damage("the same, and nobody had read it", Some(Anomaly::Hole), |h| {
        forget_polls(h);
        unanswered(h)
    }),
    damage("another record in its place", Some(Anomaly::SendGap), |h| {
        let place = place(h, Idempotent)?;
        h.events.retain(|event| !matches!(&event.what, What::Sent { id, .. } if *id == place.id));
        replaced_at(h, &place, AtLeastOnce)
    }),
    damage("a record that nobody sent", Some(Anomaly::ThinAir), |h| {
        appended(h, |_| Content::Foreign)
    }),
    damage("a record with other bytes", Some(Anomaly::Altered), |h| appended(h, Content::Altered)),
    damage("a record that was refused", Some(Anomaly::RefusedVisible), |h| {
        answered(h, |_| Outcome::Refused { error: "no".to_owned() })
    }),
    damage("another offset was answered", Some(Anomaly::WrongOffset), |h| {
        answered(h, |offset| Outcome::Acknowledged { offset: Some(offset + 1) })
    }),
    damage("two records of a poll changed places", Some(Anomaly::NonmonotonicPoll), |h| {
        polled(h, |records| records.swap(0, 1))
    }),
    damage("a poll left a record out", Some(Anomaly::PollSkip), |h| {
        polled(h, |records| {
            records.remove(1);
        })
    }),
    damage("an end beyond the end was told", Some(Anomaly::EndFell), |h| {
        told(h, |_, end| *end = end.map(|_| i64::MAX))
    }),
    damage("a start beyond the start was told", Some(Anomaly::LogStart), |h| {
        told(h, |start, _| *start = start.map(|_| i64::MAX))
    }),
];

/// Where a record is stored.
#[derive(Clone)]
struct Place {
    partition: Partition,
    index: usize,
    id: RecordId,
}

/// Partitions from which nothing was deleted: there, nothing is excused.
fn is_whole(history: &History, partition: &Partition) -> bool {
    history.stored.get(partition).is_some_and(|stored| stored.log_start == 0)
}

/// The records of producers with this promise that were acknowledged and are stored, once.
fn places(history: &History, promise: Promise) -> Vec<Place> {
    let mut acknowledged = BTreeSet::new();
    for event in &history.events {
        if let What::Sent { id, outcome: Outcome::Acknowledged { .. } } = &event.what {
            acknowledged.insert(*id);
        }
    }
    let mut places: BTreeMap<RecordId, Vec<Place>> = BTreeMap::new();
    for (partition, stored) in &history.stored {
        for (index, seen) in stored.records.iter().enumerate() {
            let Content::Record(id) = seen.content else { continue };
            if history.producers[id.producer as usize].promise == promise
                && acknowledged.contains(&id)
                && is_whole(history, partition)
            {
                let partition = partition.clone();
                places.entry(id).or_default().push(Place { partition, index, id });
            }
        }
    }
    places.into_values().filter(|all| all.len() == 1).flatten().collect()
}

fn place(history: &History, promise: Promise) -> Result<Place> {
    places(history, promise)
        .into_iter()
        .next()
        .with_context(|| format!("a stored record, {promise:?}"))
}

fn records<'a>(history: &'a mut History, place: &Place) -> &'a mut Vec<Seen> {
    &mut history.stored.get_mut(&place.partition).expect("it was found there").records
}

fn gone(history: &mut History, promise: Promise) -> Result<()> {
    let place = place(history, promise)?;
    records(history, &place).remove(place.index);
    Ok(())
}

fn twice(history: &mut History, promise: Promise) -> Result<()> {
    let place = place(history, promise)?;
    append(history, &place, Content::Record(place.id));
    Ok(())
}

fn appended(history: &mut History, content: fn(RecordId) -> Content) -> Result<()> {
    let place = place(history, Idempotent)?;
    append(history, &place, content(place.id));
    Ok(())
}

fn append(history: &mut History, place: &Place, content: Content) {
    let stored = history.stored.get_mut(&place.partition).expect("it was found there");
    stored.records.push(Seen { offset: stored.end, content });
    stored.end += 1;
}

/// As if nobody had read during the run.
fn forget_polls(history: &mut History) {
    history.events.retain(|event| !matches!(event.what, What::Poll { .. }));
}

/// A record of a producer with the one promise gives its place to one with the other.
fn replaced(history: &mut History, gone: Promise, by: Promise) -> Result<()> {
    let place = place(history, gone)?;
    replaced_at(history, &place, by)
}

fn replaced_at(history: &mut History, place: &Place, by: Promise) -> Result<()> {
    forget_polls(history);
    let other = places(history, by).into_iter().find(|other| other.partition == place.partition);
    let other = other.with_context(|| format!("a record beside {}", place.id))?;
    records(history, place)[place.index].content = Content::Record(other.id);
    Ok(())
}

fn swapped(history: &mut History) -> Result<()> {
    let first = place(history, Idempotent)?;
    let second = places(history, Idempotent).into_iter().find(|second| {
        second.partition == first.partition
            && second.id.producer == first.id.producer
            && second.index > first.index
    });
    let second = second.context("a second record of the producer")?;
    let records = records(history, &first);
    records[first.index].content = Content::Record(second.id);
    records[second.index].content = Content::Record(first.id);
    Ok(())
}

/// The broker's answer about a record is changed.
fn answered(history: &mut History, change: fn(i64) -> Outcome) -> Result<()> {
    let place = place(history, Idempotent)?;
    let offset = records(history, &place)[place.index].offset;
    for event in &mut history.events {
        match &mut event.what {
            What::Sent { id, outcome } if *id == place.id => *outcome = change(offset),
            _ => {}
        }
    }
    Ok(())
}

/// A record that has others behind it is gone, and its producer never heard of it.
fn unanswered(history: &mut History) -> Result<()> {
    let place = place(history, Idempotent)?;
    records(history, &place).remove(place.index);
    history.events.retain(|event| !matches!(event.what, What::Sent { id, .. } if id == place.id));
    Ok(())
}

/// The first poll of at least three records is changed.
fn polled(history: &mut History, change: fn(&mut Vec<Seen>)) -> Result<()> {
    let fits = |what: &What| match what {
        What::Poll { partition, records, .. } => 3 <= records.len() && is_whole(history, partition),
        _ => false,
    };
    let place = history.events.iter().position(|event| fits(&event.what));
    let event = &mut history.events[place.context("a poll of three records")?];
    if let What::Poll { records, .. } = &mut event.what {
        change(records);
    }
    Ok(())
}

/// The last bounds that were told are changed.
fn told(history: &mut History, change: fn(&mut Option<i64>, &mut Option<i64>)) -> Result<()> {
    let bounds = history.events.iter_mut().rev().find_map(|event| match &mut event.what {
        What::Bounds { log_start, end, .. } if log_start.is_some() && end.is_some() => {
            Some((log_start, end))
        }
        _ => None,
    });
    let (log_start, end) = bounds.context("bounds")?;
    change(log_start, end);
    Ok(())
}
