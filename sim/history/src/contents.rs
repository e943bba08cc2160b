//! What was read: sent here, as it is, in one place only; and each offset has one record for ever.

use crate::anomaly::seconds;
use crate::case::Case;
use crate::index::{Sent, Sights, Span};
use crate::{Anomaly, Content, Promise, RecordId, Verdict, Violation};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        for content in contents.keys() {
            verdict.violations.extend(check_content(case, offset, *content));
        }
        if contents.len() < 2 {
            continue;
        }
        let all: Vec<(&Content, &Sights)> = contents.iter().collect();
        let pairs = all
            .iter()
            .enumerate()
            .flat_map(|(at, one)| all[at + 1..].iter().map(move |other| (one, other)));
        let mut pairs = pairs.filter(|(one, other)| are_one_sitting(case, one.1, other.1));
        if pairs.next().is_some() {
            let contents: Vec<&Content> = contents.keys().collect();
            let text = format!("holds {contents:?} at different times");
            let found = case.violation(Anomaly::InconsistentOffsets, Some(offset), None, text);
            verdict.violations.push(found);
        }
    }
    check_repeated(case, verdict);
    check_claims(case, verdict);
    for sent in case.known.sent.values() {
        verdict.violations.extend(check_place(case, sent));
    }
}

/// Of a damaged partition everything may be gone, and what is left may be cut and written anew; but
/// nothing may be served that was not sent.
pub(crate) fn check_served(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, contents) in &case.known.at_offset {
        for content in contents.keys() {
            verdict.violations.extend(check_content(case, offset, *content));
        }
    }
    let acknowledged = case.known.sent.values().filter(|sent| sent.acknowledged().is_some());
    *verdict.excused.entry("damaged").or_default() += acknowledged.count() as u64;
}

fn are_one_sitting(case: &Case<'_>, one: &Sights, other: &Sights) -> bool {
    let ends = |sights: &Sights| [sights.first, sights.last];
    let mut pairs = ends(one).into_iter().flat_map(|a| ends(other).map(|b| (a, b)));
    pairs.any(|(a, b)| case.is_one_sitting(a, b))
}

fn check_content(case: &Case<'_>, offset: i64, content: Content) -> Option<Violation> {
    let id = match content {
        Content::Foreign => {
            let text = "bytes that no producer sends".to_owned();
            return Some(case.violation(Anomaly::ThinAir, Some(offset), None, text));
        }
        Content::Altered(id) => {
            let text = format!("{id} with other bytes than were sent");
            return Some(case.violation(Anomaly::Altered, Some(offset), Some(id), text));
        }
        Content::Record(id) => id,
    };
    match case.known.sent.get(&id) {
        None => {
            let text = format!("{id}, which was never sent to this partition");
            Some(case.violation(Anomaly::ThinAir, Some(offset), Some(id), text))
        }
        Some(sent) if sent.is_refused() => {
            let ended = sent.ended.map(|(at, outcome)| format!("{outcome:?} at {}", seconds(at)));
            let text = format!("{id} was {} and is there", ended.unwrap_or_default());
            Some(case.violation(Anomaly::RefusedVisible, Some(offset), Some(id), text))
        }
        Some(_) => None,
    }
}

fn check_repeated(case: &Case<'_>, verdict: &mut Verdict) {
    for (&id, offsets) in &case.known.offsets {
        if offsets.len() < 2 || case.history.promise(id) == Some(Promise::AtLeastOnce) {
            continue;
        }
        // A loss that took the first one also took what the broker knew of its producer: from then
        // on nobody can tell that the next one is the same.
        let since = case.known.sent.get(&id).map_or(0, |sent| sent.sent_at);
        let read = offsets.iter().map(|offset| {
            let sights = case.known.at_offset[offset][&Content::Record(id)];
            Span { from: since, until: sights.first.until }
        });
        let read: Vec<Span> = read.collect();
        if read.windows(2).any(|pair| case.is_one_sitting(pair[0], pair[1])) {
            let text = format!("{id} is at offsets {offsets:?}");
            let last = offsets.last().copied();
            verdict.violations.push(case.violation(Anomaly::Duplicate, last, Some(id), text));
        }
    }
}

/// Nobody else was acknowledged at an offset, and nothing else read there.
fn check_claims(case: &Case<'_>, verdict: &mut Verdict) {
    for (&offset, claims) in &case.known.claims {
        // Who was read elsewhere got a wrong answer: told there.
        let is_read = |id: &RecordId| case.known.offsets.contains_key(id);
        let unread: Vec<(RecordId, Span)> =
            claims.iter().filter(|(id, _)| !is_read(id)).copied().collect();
        if unread.is_empty() {
            continue;
        }
        let others = case.known.at_offset.get(&offset).into_iter().flatten();
        let read = others.flat_map(|(content, sights)| {
            [(format!("{content:?}"), sights.first), (format!("{content:?}"), sights.last)]
        });
        let read: Vec<(String, Span)> = read.collect();
        for (at, (id, span)) in unread.iter().enumerate() {
            let rivals = unread[at + 1..].iter().map(|(rival, span)| (rival.to_string(), *span));
            let mut rivals = rivals.chain(read.iter().cloned());
            if let Some((rival, _)) = rivals.find(|(_, other)| case.is_one_sitting(*span, *other)) {
                let text = format!("{id} was acknowledged here, and so is {rival}");
                let found =
                    case.violation(Anomaly::InconsistentOffsets, Some(offset), Some(*id), text);
                verdict.violations.push(found);
            }
        }
    }
}

/// A record is read where it was acknowledged.
fn check_place(case: &Case<'_>, sent: &Sent<'_>) -> Option<Violation> {
    let (offset, span) = sent.claim()?;
    let read = case.known.offsets.get(&sent.id)?;
    let since = Span { from: sent.sent_at, until: u64::MAX };
    if read.contains(&offset) || case.loss_within(since).is_some() {
        return None;
    }
    if case.history.promise(sent.id) == Some(Promise::AtLeastOnce) {
        // Other copies were read; the one that the answer meant may be gone.
        let stored = case.known.stored.as_ref()?;
        let is_gone = offset < stored.log_start || case.rules.is_compacted;
        if is_gone || !case.known.is_stored(sent.id) {
            return None;
        }
    }
    let text =
        format!("{} was acknowledged there at {} and is at {read:?}", sent.id, seconds(span.until));
    Some(case.violation(Anomaly::WrongOffset, Some(offset), Some(sent.id), text))
}
