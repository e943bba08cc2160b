//! The ends of a partition, as clients were told: they only rise.
//!
//! A high watermark is also behind all that was acknowledged and all that was read.

use crate::anomaly::seconds;
use crate::case::Case;
use crate::index::Span;
use crate::{Anomaly, Content, Event, Verdict, What};

pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let (mut starts, mut ends) = (Rising::default(), Rising::default());
    for event in &case.known.events {
        if let What::Bounds { asked, log_start, end, .. } = &event.what {
            for (anomaly, rising, value) in
                [(Anomaly::LogStart, &starts, log_start), (Anomaly::EndFell, &ends, end)]
            {
                let Some(value) = *value else { continue };
                let before = rising.highest(case, *asked, event.at);
                if let Some(before) = before.filter(|before| value < *before) {
                    let text = format!("fell from {before} to {value} at {}", seconds(event.at));
                    verdict.violations.push(case.violation(anomaly, Some(value), None, text));
                }
            }
        }
        starts.hear_start(event);
        ends.hear_end(case, event);
    }
    let Some(stored) = &case.known.stored else { return };
    for (anomaly, rising, value) in
        [(Anomaly::LogStart, starts, stored.log_start), (Anomaly::EndFell, ends, stored.end)]
    {
        let before = rising.highest(case, case.read_from(), u64::MAX);
        if let Some(before) = before.filter(|before| value < *before) {
            let text = format!("was {before} and is {value} at the end");
            verdict.violations.push(case.violation(anomaly, Some(value), None, text));
        }
    }
}

/// A value that was so at some moment of its span, which ends when a client told of it.
#[derive(Clone, Copy, Debug)]
struct Told {
    span: Span,
    value: i64,
    /// The highest value so far.
    highest: i64,
}

/// What was told of something that only rises, except for losses; in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Rising(Vec<Told>);

impl Rising {
    /// The highest value that was told before `asked` and still holds at `at`.
    pub(crate) fn highest(&self, case: &Case<'_>, asked: u64, at: u64) -> Option<i64> {
        let before = &self.0[..self.0.partition_point(|told| told.span.until < asked)];
        if !case.has_losses() {
            return before.last().map(|told| told.highest);
        }
        let lasting = before.iter().filter(|told| {
            let since = Span { from: told.span.from, until: at };
            case.loss_within(since).is_none()
        });
        lasting.map(|told| told.value).max()
    }

    fn tell(&mut self, from: u64, until: u64, value: i64) {
        let highest = self.0.last().map_or(value, |last| last.highest.max(value));
        self.0.push(Told { span: Span { from, until }, value, highest });
    }

    pub(crate) fn hear_start(&mut self, event: &Event) {
        match &event.what {
            What::Bounds { asked, log_start: Some(start), .. } => {
                self.tell(*asked, event.at, *start);
            }
            What::Trimmed { low_watermark, .. } => {
                let from = event.at.saturating_sub(crate::rules::ANSWER_NANOS_MAX);
                self.tell(from, event.at, *low_watermark);
            }
            _ => {}
        }
    }

    fn hear_end(&mut self, case: &Case<'_>, event: &Event) {
        match &event.what {
            What::Bounds { asked, end: Some(end), .. } => {
                self.tell(*asked, event.at, *end);
            }
            What::Sent { id, .. } => {
                let claim = case.known.sent.get(id).and_then(|sent| sent.claim());
                if let Some((offset, span)) = claim {
                    self.tell(span.from, event.at, offset + 1);
                }
            }
            What::Poll { records, .. } => {
                let Some(last) = records.last() else { return };
                let sent = match last.content {
                    Content::Record(id) => case.known.sent.get(&id),
                    Content::Altered(_) | Content::Foreign => None,
                };
                let from = sent.map_or(0, |sent| sent.sent_at);
                self.tell(from, event.at, last.offset + 1);
            }
            _ => {}
        }
    }
}
