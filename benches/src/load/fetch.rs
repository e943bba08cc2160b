//! Reads partitions from their beginning to their end, again and again, one partition a request.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use protocol::messages::FetchRequest;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::records::Batch;
use protocol::{ErrorCode, StrBytes};

use super::wire::{connect, frame_of};
use super::{Shape, Span, Tally};

const VERSION: i16 = 12;

/// How to fetch; each connection has partitions of its own, in turns.
#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten)]
    pub(super) shape: Shape,
    /// Bytes of one answer at the most.
    #[arg(long, default_value_t = 1024 * 1024)]
    partition_bytes: u32,
}

/// Fetches.
///
/// # Errors
/// The broker can not be reached, or does not give what is asked for.
pub(super) fn run(options: &Options) -> Result<Tally> {
    options.shape.run(|place, span| connection(options, place, span))
}

fn connection(options: &Options, place: u32, span: Span) -> Result<Tally> {
    let Shape { topic, connections, .. } = &options.shape;
    let (mut sender, mut receiver) = connect(&topic.address)?;
    let partitions = (place..topic.partitions).step_by(*connections as usize);
    let mut positions: Vec<(u32, i64)> = partitions.map(|partition| (partition, 0)).collect();
    ensure!(!positions.is_empty(), "more connections than partitions");
    let mut tally = Tally::default();
    loop {
        for (partition, offset) in &mut positions {
            let begun = Instant::now();
            if span.until <= begun {
                tally.held.push(sender.hold()?);
                return Ok(tally);
            }
            sender.send(&frame_of(&request(options, *partition, *offset), VERSION)?)?;
            let response = receiver.answer::<FetchRequest>(VERSION)?;
            let data = &response.responses[0].partitions[0];
            let error = ErrorCode::from_code(data.error_code);
            ensure!(!error.is_error(), "partition {partition}: {error}");
            let mut records = data.records.clone().unwrap_or_default().to_bytes();
            let bytes = records.len();
            let mut next = None;
            while let Some(batch) = Batch::split_first(&mut records)? {
                next = Some(batch.header.next_offset().0);
            }
            if span.has(begun) {
                tally.bytes += bytes as u64;
                tally.nanos.push(begun.elapsed().as_nanos() as u64);
            }
            let is_end = next.is_none_or(|next| data.high_watermark <= next);
            *offset = next.filter(|_| !is_end).unwrap_or(0);
        }
    }
}

fn request(options: &Options, partition: u32, offset: i64) -> FetchRequest {
    let partition_max_bytes = options.partition_bytes as i32;
    let partition = FetchPartition {
        partition: partition as i32,
        fetch_offset: offset,
        partition_max_bytes,
        ..Default::default()
    };
    let topic = StrBytes::from(options.shape.topic.topic.as_str());
    let topic = FetchTopic { topic, partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 * 1024 * 1024,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}
