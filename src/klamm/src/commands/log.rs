//! `klamm log`: look into segment files.

use std::io::{self, Write};

use model::{LeaderEpoch, ProducerId};
use protocol::records::{Batch, ControlRecord, Record, Scratch, TimestampType};
use serde_json::{Map, Value, json};

use super::log_verify::verify;
use super::segment::{Batches, Segment, SegmentError, segments};
use crate::bytes_text::{insert_bytes, readable};
use crate::cli::LogCommand;
use crate::failure::Failure;
use crate::output::OutputFormat;
use crate::times::format_time;

/// The most that a batch may take once decompressed.
pub(super) const BATCH_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Runs one of the commands.
pub(crate) fn run(output: OutputFormat, command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump { paths, records } => {
            let mut dump = Dump { output, records, scratch: Scratch::new() };
            segments(&paths)?.iter().try_for_each(|segment| dump.segment(segment))
        }
        LogCommand::Verify { paths } => verify(&segments(&paths)?, output),
    }
}

struct Dump {
    output: OutputFormat,
    records: bool,
    scratch: Scratch,
}

impl Dump {
    fn segment(&mut self, segment: &Segment) -> Result<(), Failure> {
        let path = segment.path.display();
        let fail = |position: u64, error: SegmentError| {
            Failure::new(format!("{path} at position {position}")).because(error)
        };
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.output == OutputFormat::Table {
            writeln!(out, "{path}").map_err(Failure::stdout)?;
        }
        let mut batches = Batches::open(&segment.path).map_err(|error| fail(0, error.into()))?;
        loop {
            let position = batches.position();
            let next = batches.next();
            // What was read before the damage is worth seeing.
            if next.is_err() {
                out.flush().map_err(Failure::stdout)?;
            }
            let Some(batch) = next.map_err(|error| fail(position, error))? else { break };
            let text = match self.output {
                OutputFormat::Table => self.text(position, &batch),
                OutputFormat::Json => self.json(segment, position, &batch),
            };
            let text = text.map_err(|error| fail(position, error))?;
            out.write_all(text.as_bytes()).map_err(Failure::stdout)?;
        }
        out.flush().map_err(Failure::stdout)
    }

    fn text(&mut self, position: u64, batch: &Batch) -> Result<String, SegmentError> {
        let header = &batch.header;
        let mut text = format!(
            "offsets {}..={}  position {position}  bytes {}  records {}  epoch {}  {}  {} {}",
            header.base_offset,
            header.last_offset(),
            header.size_bytes(),
            header.record_count,
            header.leader_epoch,
            header.attributes.compression()?.name(),
            timestamp_type(batch),
            format_time(header.max_timestamp),
        );
        if header.producer_id > ProducerId::NONE {
            let (id, epoch) = (header.producer_id, header.producer_epoch);
            text += &format!("  producer {id}/{epoch} from {}", header.base_sequence);
        }
        for (is, word) in [
            (header.attributes.is_transactional(), "transactional"),
            (header.attributes.is_control(), "control"),
        ] {
            if is {
                text += &format!("  {word}");
            }
        }
        if batch.verify_crc().is_err() {
            text += "  WRONG CHECKSUM";
        }
        text.push('\n');
        if self.records {
            let records = batch.records(BATCH_BYTES_MAX, &mut self.scratch)?;
            for record in &records {
                text += &record_text(batch, &record?)?;
            }
        }
        Ok(text)
    }

    fn json(
        &mut self,
        segment: &Segment,
        position: u64,
        batch: &Batch,
    ) -> Result<String, SegmentError> {
        let header = &batch.header;
        let mut document = json!({
            "file": segment.path.display().to_string(),
            "position": position,
            "size_bytes": header.size_bytes(),
            "base_offset": header.base_offset.0,
            "last_offset": header.last_offset().0,
            "record_count": header.record_count,
            "leader_epoch": header.leader_epoch.0,
            "compression": header.attributes.compression()?.name(),
            "timestamp_type": timestamp_type(batch),
            "base_timestamp": header.base_timestamp.0,
            "max_timestamp": header.max_timestamp.0,
            "producer_id": header.producer_id.0,
            "producer_epoch": header.producer_epoch.0,
            "base_sequence": header.base_sequence.0,
            "transactional": header.attributes.is_transactional(),
            "control": header.attributes.is_control(),
            "crc": header.crc,
            "crc_ok": batch.verify_crc().is_ok(),
        });
        if self.records {
            let records = batch.records(BATCH_BYTES_MAX, &mut self.scratch)?;
            let mut list = Vec::new();
            for record in &records {
                list.push(record_json(batch, &record?)?);
            }
            document["records"] = Value::Array(list);
        }
        Ok(format!("{document}\n"))
    }
}

fn timestamp_type(batch: &Batch) -> &'static str {
    match batch.header.attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn record_text(batch: &Batch, record: &Record<'_>) -> Result<String, SegmentError> {
    let mut text = format!("  {}  {}", record.offset, format_time(record.timestamp));
    if batch.header.attributes.is_control() {
        let control = ControlRecord::read(record)?;
        return Ok(text + &format!("  {:?}\n", control.control_type));
    }
    text += &format!("  key {}  value {}", readable(record.key), readable(record.value));
    for header in record.headers.iter() {
        let name = String::from_utf8_lossy(header.key);
        text += &format!("  {name}={}", readable(header.value));
    }
    text.push('\n');
    Ok(text)
}

fn record_json(batch: &Batch, record: &Record<'_>) -> Result<Value, SegmentError> {
    let mut object = Map::new();
    object.insert("offset".to_owned(), record.offset.0.into());
    object.insert("timestamp".to_owned(), record.timestamp.0.into());
    if batch.header.attributes.is_control() {
        let control = ControlRecord::read(record)?;
        let kind = format!("{:?}", control.control_type);
        object.insert("control_type".to_owned(), kind.into());
        return Ok(Value::from(object));
    }
    insert_bytes(&mut object, "key", record.key);
    insert_bytes(&mut object, "value", record.value);
    let headers = record.headers.iter().map(|header| {
        let mut object = Map::new();
        object.insert("key".to_owned(), String::from_utf8_lossy(header.key).into());
        insert_bytes(&mut object, "value", header.value);
        Value::from(object)
    });
    object.insert("headers".to_owned(), headers.collect());
    Ok(Value::from(object))
}

/// Epochs never go down within a log; batches before epochs have none.
pub(super) fn epoch_goes_back(before: LeaderEpoch, now: LeaderEpoch) -> bool {
    now > LeaderEpoch::NONE && now < before
}
