//! The order of each producer's records in a partition, by all that was ever read or acknowledged.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::index::Span;
use crate::{Anomaly, Content, Outcome, Promise, RecordId, Verdict};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let idempotent = |id: RecordId| case.history.promise(id) == Some(Promise::Idempotent);
    let mut places = Places::new();
    let mut begun: BTreeMap<u32, u64> = BTreeMap::new();
    for sent in case.known.sent.values() {
        let begun = begun.entry(sent.id.producer).or_insert(u64::MAX);
        *begun = sent.sent_at.min(*begun);
    }
    for (&id, offsets) in case.known.offsets.iter().filter(|(id, _)| idempotent(**id)) {
        for &offset in offsets {
            let sights = case.known.at_offset[&offset][&Content::Record(id)];
            add(&begun, &mut places, id, offset, sights.first.until);
        }
    }
    for sent in case.known.sent.values().filter(|sent| case.history.is_in_order(sent.id)) {
        if let Some((offset, span)) = sent.claim() {
            add(&begun, &mut places, sent.id, offset, span.until);
        }
    }
    for places in places.values_mut() {
        places.sort_by_key(|place| (place.id.sequence, place.offset));
        check_rising(case, places, verdict);
        if idempotent(places[0].id) {
            check_gaps(case, places, verdict);
        }
    }
    check_first(case, verdict);
}

/// A record at an offset; between its producer's first send and `span.until` it was there.
#[derive(Clone, Copy)]
struct Place {
    id: RecordId,
    offset: i64,
    span: Span,
}

/// By producer.
type Places = BTreeMap<u32, Vec<Place>>;

fn add(begun: &BTreeMap<u32, u64>, places: &mut Places, id: RecordId, offset: i64, until: u64) {
    // Out of thin air: told there.
    let Some(&from) = begun.get(&id.producer) else { return };
    // Not since it was sent: a loss takes what the broker knows of a producer with its records, and
    // the next that arrives is the first it hears of it, whatever was sent before.
    let span = Span { from, until };
    places.entry(id.producer).or_default().push(Place { id, offset, span });
}

/// Who was sent later is higher. `places` are in the order of sending.
fn check_rising(case: &Case<'_>, places: &[Place], verdict: &mut Verdict) {
    let mut highest: Option<Place> = None;
    for group in places.chunk_by(|one, other| one.id == other.id) {
        let (first, last) = (group[0], group[group.len() - 1]);
        let before = highest.filter(|before| first.offset <= before.offset);
        let Some(before) = before else {
            highest = Some(last);
            continue;
        };
        if !case.is_one_sitting(before.span, first.span) {
            highest = Some(last);
            continue;
        }
        let text = format!("{} comes after {} at {}", before.id, first.id, first.offset);
        let (offset, id) = (Some(before.offset), Some(before.id));
        verdict.violations.push(case.violation(Anomaly::NonmonotonicSend, offset, id, text));
        if before.offset < last.offset {
            highest = Some(last);
        }
    }
}

/// A record between two others of an idempotent producer is there, or its producer was told that it
/// failed; unless nobody knows what was between the two.
fn check_gaps(case: &Case<'_>, places: &[Place], verdict: &mut Verdict) {
    if case.rules.is_compacted {
        return;
    }
    let producer = places[0].id.producer;
    let mut after: Option<Place> = None;
    for place in places {
        let first = after.map_or(0, |after| after.id.sequence + 1);
        let lower = after.map_or(-1, |after| after.offset);
        after = Some(*place);
        if place.id.sequence <= first {
            continue;
        }
        let missing = RecordId { producer, sequence: first }..place.id;
        let missing = case.known.sent.range(missing);
        // One that was acknowledged is told of as lost.
        let mut missing = missing.filter(|(_, sent)| {
            let since = Span { from: sent.sent_at, until: u64::MAX };
            sent.ended.is_none() && case.loss_within(since).is_none()
        });
        let Some((id, _)) = missing.next() else { continue };
        let is_all_known = (lower + 1..place.offset).all(|offset| case.known.is_known_at(offset));
        if lower < place.offset && is_all_known {
            let text = format!("{id} is missing before {}", place.id);
            let offset = Some(place.offset);
            verdict.violations.push(case.violation(Anomaly::SendGap, offset, Some(*id), text));
        }
    }
}

/// Without idempotence, too, a producer that waits for each answer has the first copy of what was
/// acknowledged before the first copy of what it sent after; known where nothing was deleted.
fn check_first(case: &Case<'_>, verdict: &mut Verdict) {
    let is_whole = case.known.stored.as_ref().is_some_and(|stored| stored.log_start == 0);
    let always = Span { from: 0, until: u64::MAX };
    if !is_whole || case.rules.is_compacted || case.loss_within(always).is_some() {
        return;
    }
    let mut highest: BTreeMap<u32, (RecordId, i64)> = BTreeMap::new();
    for (&id, offsets) in &case.known.offsets {
        let repeats = case.history.promise(id) == Some(Promise::AtLeastOnce);
        let (Some(&first), Some(sent)) = (offsets.first(), case.known.sent.get(&id)) else {
            continue;
        };
        if !repeats || !case.history.is_in_order(id) {
            continue;
        }
        let before = highest.get(&id.producer).filter(|(_, offset)| first < *offset);
        if let Some((before, offset)) = before {
            let text = format!("{before} comes after {id} at {first}");
            let (offset, id) = (Some(*offset), Some(*before));
            verdict.violations.push(case.violation(Anomaly::NonmonotonicSend, offset, id, text));
        } else if matches!(sent.ended, Some((_, Outcome::Acknowledged { .. }))) {
            highest.insert(id.producer, (id, first));
        }
    }
}
