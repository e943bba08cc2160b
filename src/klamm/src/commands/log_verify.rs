//! `klamm log verify`: what a segment and its indexes must be.
//!
//! In: segment files. Out: a line per segment, and every complaint. Batches must follow each other
//! without a byte between them, their checksums must hold, offsets must ascend from the one in the
//! file's name, records must be as many as announced and readable; an index entry must lead to a
//! batch, and its offset or timestamp must be that batch's.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Offset, Timestamp};
use protocol::records::{Batch, Scratch};
use serde_json::json;

use super::log::{BATCH_BYTES_MAX, epoch_goes_back};
use super::segment::{Batches, Segment, SegmentError, offset_index, time_index};
use crate::failure::Failure;
use crate::output::{OutputFormat, print};

/// Checks `segments` and reports; fails when any has a complaint.
pub(super) fn verify(segments: &[Segment], output: OutputFormat) -> Result<(), Failure> {
    let mut scratch = Scratch::new();
    let mut complaints = 0;
    for segment in segments {
        if !segment.path.exists() {
            // The broker deleted it since it was listed.
            continue;
        }
        let report = check(segment, &mut scratch);
        complaints += report.complaints.len();
        print(&report.render(segment, output))?;
    }
    match complaints {
        0 => Ok(()),
        1 => Err(Failure::new("1 complaint")),
        count => Err(Failure::new(format!("{count} complaints"))),
    }
}

/// What was found in a segment.
#[derive(Debug, Default)]
struct Report {
    batches: u64,
    records: u64,
    size_bytes: u64,
    first: Option<Offset>,
    next: Option<Offset>,
    complaints: Vec<String>,
}

impl Report {
    fn render(&self, segment: &Segment, output: OutputFormat) -> String {
        let path = segment.path.display();
        if output == OutputFormat::Json {
            let document = json!({
                "file": path.to_string(),
                "ok": self.complaints.is_empty(),
                "batches": self.batches,
                "records": self.records,
                "size_bytes": self.size_bytes,
                "first_offset": self.first.map(|offset| offset.0),
                "next_offset": self.next.map(|offset| offset.0),
                "complaints": self.complaints,
            });
            return format!("{document}\n");
        }
        let verdict = if self.complaints.is_empty() { "ok" } else { "DAMAGED" };
        let offsets = match (self.first, self.next) {
            (Some(first), Some(next)) => format!(", offsets {first} to {}", next.0 - 1),
            _ => String::new(),
        };
        let mut text = format!(
            "{path}: {verdict}, {} batches, {} records, {} bytes{offsets}\n",
            self.batches, self.records, self.size_bytes
        );
        for complaint in &self.complaints {
            text += &format!("  {complaint}\n");
        }
        text
    }
}

/// What the indexes are checked against: by position, the batches' offsets and timestamps.
type Places = BTreeMap<u64, (Offset, Offset, Timestamp)>;

fn check(segment: &Segment, scratch: &mut Scratch) -> Report {
    let mut report = Report::default();
    let mut places = Places::new();
    if let Err(error) = check_batches(segment, scratch, &mut report, &mut places) {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let position = report.size_bytes;
        let cause = cause.unwrap_or_default();
        report.complaints.push(format!("position {position}: {error}{cause}"));
    }
    if let Some(base) = segment.base_offset {
        check_offset_index(segment, base, &places, &mut report);
        check_time_index(segment, base, &places, &mut report);
    }
    report
}

fn check_batches(
    segment: &Segment,
    scratch: &mut Scratch,
    report: &mut Report,
    places: &mut Places,
) -> Result<(), SegmentError> {
    let mut batches = Batches::open(&segment.path)?;
    let mut epoch = LeaderEpoch::NONE;
    loop {
        let position = batches.position();
        let Some(batch) = batches.next()? else { return Ok(()) };
        let header = batch.header;
        let mut complain = |what: String| {
            report.complaints.push(format!(
                "position {position}, offsets {}..={}: {what}",
                header.base_offset,
                header.last_offset()
            ));
        };
        let least = report.next.or(segment.base_offset).unwrap_or(Offset::ZERO);
        if header.base_offset < least {
            complain(format!("begins before offset {least}"));
        }
        if epoch_goes_back(epoch, header.leader_epoch) {
            complain(format!("leader epoch goes back from {epoch} to {}", header.leader_epoch));
        }
        epoch = epoch.max(header.leader_epoch);
        match check_records(&batch, scratch) {
            Ok(count) => report.records += count,
            Err(what) => complain(what),
        }
        places.insert(position, (header.base_offset, header.last_offset(), header.max_timestamp));
        report.batches += 1;
        report.first = report.first.or(Some(header.base_offset));
        report.next = Some(header.next_offset().max(least));
        report.size_bytes = batches.position();
    }
}

/// The count of records, or what is wrong with them.
fn check_records(batch: &Batch, scratch: &mut Scratch) -> Result<u64, String> {
    batch.verify_crc().map_err(|error| error.to_string())?;
    let records = batch.records(BATCH_BYTES_MAX, scratch).map_err(|error| error.to_string())?;
    let mut count = 0;
    let mut last: Option<Offset> = None;
    for record in &records {
        let record = record.map_err(|error| error.to_string())?;
        let ascends = last.is_none_or(|last| last < record.offset);
        if !ascends || record.offset > batch.header.last_offset() {
            return Err(format!("record {count} has offset {}", record.offset));
        }
        last = Some(record.offset);
        count += 1;
    }
    if count != u64::try_from(batch.header.record_count).unwrap_or(0) {
        return Err(format!("has {count} records, announces {}", batch.header.record_count));
    }
    Ok(count)
}

fn check_offset_index(segment: &Segment, base: Offset, places: &Places, report: &mut Report) {
    let Some(path) = segment.beside("index") else { return };
    let entries = match offset_index(&path, base) {
        Ok(entries) => entries,
        Err(error) => return report.complaints.push(format!("{}: {error}", path.display())),
    };
    let mut before: Option<Offset> = None;
    for entry in entries {
        let (offset, position) = (entry.offset, entry.position);
        let mut complain = |what: &str| {
            report.complaints.push(format!(
                "{}: entry for offset {offset} {what} (position {position})",
                path.display()
            ));
        };
        match places.get(&position) {
            None => complain("leads to no batch"),
            Some((first, _, _)) if *first > offset => complain("leads behind its batch"),
            Some(_) if before.is_some_and(|before| before >= offset) => complain("is out of order"),
            Some(_) => {}
        }
        before = Some(offset);
    }
}

fn check_time_index(segment: &Segment, base: Offset, places: &Places, report: &mut Report) {
    let Some(path) = segment.beside("timeindex") else { return };
    let entries = match time_index(&path, base) {
        Ok(entries) => entries,
        Err(error) => return report.complaints.push(format!("{}: {error}", path.display())),
    };
    let by_offset: BTreeMap<Offset, (Offset, Timestamp)> =
        places.values().map(|(first, last, time)| (*first, (*last, *time))).collect();
    let mut before = Timestamp::NONE;
    for entry in entries {
        let (offset, timestamp) = (entry.offset, entry.timestamp);
        let mut complain = |what: String| {
            report.complaints.push(format!(
                "{}: entry for timestamp {timestamp} at offset {offset} {what}",
                path.display()
            ));
        };
        match by_offset.range(..=offset).next_back() {
            Some((_, (last, _))) if *last < offset => complain("leads to no batch".to_owned()),
            None => complain("leads to no batch".to_owned()),
            Some((_, (_, time))) if *time != timestamp => {
                complain(format!("leads to a batch with timestamp {time}"));
            }
            Some(_) if timestamp < before => complain("is out of order".to_owned()),
            Some(_) => {}
        }
        before = timestamp;
    }
}
