//! What was deleted from the front: by DeleteRecords, by age, by size; and the log's start, which
//! must not be beyond.
//!
//! Age is judged by when records were sent, give or take the brokers' clocks. Of size a history only
//! tells so much: no record takes more than [`Rules::record_bytes_max`], and what stays after a
//! deletion takes `retention.bytes` at least, so it must be enough records for that. Whether less
//! was deleted than should be, and what segments take exactly, is for who looks at the disk.
//!
//! Start at [`check`].

use crate::anomaly::seconds;
use crate::case::Case;
use crate::index::{Known, Span};
use crate::{Anomaly, Content, History, Rules, Verdict, What};

const NANOS_PER_MS: u64 = 1_000_000;
/// Times of records and of brokers are whole milliseconds.
const ROUNDING_MS: u64 = 2;

/// So often a producer sends a record anew, at the most, while everything is read.
const COPIES_MAX: u64 = 16;

/// When a client was told which start of the log, each higher than all before.
#[derive(Debug, Default)]
pub(crate) struct Starts(Vec<(u64, i64)>);

impl Starts {
    pub(crate) fn of(history: &History, known: &Known<'_>, rules: Rules) -> Starts {
        let mut starts = Starts::default();
        // Who was reset goes on at the first record there is.
        let mut reset = Vec::new();
        for event in &known.events {
            match &event.what {
                What::Bounds { log_start: Some(start), .. } => {
                    starts.push(event.at, *start);
                }
                What::Reset { reader, .. } => reset.push(*reader),
                What::Seek { reader, .. } => {
                    reset.retain(|other| other != reader);
                }
                What::Poll { reader, records, .. } => {
                    let first = records.first().filter(|_| reset.contains(reader));
                    if let Some(first) = first.filter(|_| !rules.is_compacted) {
                        starts.push(event.at, first.offset);
                    }
                    reset.retain(|other| other != reader);
                }
                _ => {}
            }
        }
        if let Some(stored) = &known.stored {
            starts.push(history.read_by.unwrap_or(u64::MAX), stored.log_start);
        }
        starts
    }

    fn push(&mut self, at: u64, start: i64) {
        if self.0.last().map_or(0, |(_, highest)| *highest) < start {
            self.0.push((at, start));
        }
    }

    /// When a client was told for the first time that the log begins behind `offset`.
    pub(crate) fn first_beyond(&self, offset: i64) -> Option<u64> {
        let place = self.0.partition_point(|(_, start)| *start <= offset);
        self.0.get(place).map(|(at, _)| *at)
    }
}

impl Case<'_> {
    /// Whether the record at `offset` may have been deleted from the front by `at`.
    pub(crate) fn may_delete(&self, offset: i64, at: u64) -> bool {
        let mut trims = self.known.trims.iter();
        if trims.any(|(asked, before)| *asked <= at && offset < *before) {
            return true;
        }
        if !self.rules.is_retained() {
            return false;
        }
        if self.may_be_too_much(offset, at) {
            return true;
        }
        let mut records = self.known.records_at(offset).peekable();
        if records.peek().is_none() {
            // Nobody knows what was there; it is not older than the history.
            return self.may_be_old(0, at);
        }
        records.any(|(id, _)| {
            let sent_at = self.known.sent.get(&id).map_or(0, |sent| sent.sent_at);
            // With the end of one sitting its offsets may have passed to others.
            let is_lost = self.loss_within(Span { from: sent_at, until: at }).is_some();
            is_lost || self.may_be_old(sent_at, at)
        })
    }

    fn may_be_old(&self, sent_at: u64, at: u64) -> bool {
        let Some(retention_ms) = self.rules.retention_ms else { return false };
        let shown = (at / NANOS_PER_MS).saturating_add(self.clocks.spread_ms(at));
        let due = (sent_at / NANOS_PER_MS).saturating_add(retention_ms);
        due <= shown.saturating_add(ROUNDING_MS)
    }

    /// Whether what follows `offset` may have been so much by `at` that the record there could go.
    fn may_be_too_much(&self, offset: i64, at: u64) -> bool {
        let Some(limit) = self.rules.retention_bytes else { return false };
        let Some(stored) = &self.known.stored else { return true };
        // An earlier sitting may have had more records than are left.
        let is_lost = self.loss_within(Span { from: 0, until: u64::MAX }).is_some();
        if self.rules.record_bytes_max == 0 || is_lost {
            return true;
        }
        let sent_later = |content: &Content| match content {
            Content::Record(id) => self.known.sent.get(id).is_some_and(|sent| at < sent.sent_at),
            Content::Altered(_) | Content::Foreign => false,
        };
        // Where the log ended then, at the most.
        let mut end = stored.end;
        for (&last, contents) in self.known.at_offset.iter().rev() {
            if last + 1 != end || !contents.keys().all(sent_later) {
                break;
            }
            end = last;
        }
        let left = u64::try_from(end.saturating_sub(offset + 1)).unwrap_or(0);
        limit <= (left + self.late_max(at)).saturating_mul(self.rules.record_bytes_max)
    }

    /// How many records may have been appended by `at` past the end of the last read, at the most.
    fn late_max(&self, at: u64) -> u64 {
        let from = self.read_from();
        if at < from {
            return 0;
        }
        let is_open = |ended: u64| from <= ended;
        let open = self.known.sent.values().filter(|sent| {
            sent.sent_at <= at && sent.ended.is_none_or(|(ended, _)| is_open(ended))
        });
        open.count() as u64 * COPIES_MAX
    }
}

/// Every start that was told is one up to which records may be deleted.
pub(crate) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let mut judged = 0;
    for &(at, start) in &case.starts.0 {
        let kept = (judged..start).find(|offset| !case.may_delete(*offset, at));
        if let Some(kept) = kept {
            let when = match at {
                u64::MAX => "the end".to_owned(),
                at => seconds(at),
            };
            let text = format!("is {start} at {when}, and nothing deletes what was at {kept}");
            verdict.violations.push(case.violation(Anomaly::LogStart, Some(start), None, text));
            return;
        }
        judged = start;
    }
}
