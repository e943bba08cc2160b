//! What the hot pieces of the broker cost by themselves: time, and allocations.
//!
//! One thread, everything in the page cache and in the processor's, so that a piece that becomes
//! slower or allocates more is seen; how they do together is measured by `measure throughput`.
//!
//! Start at [`measure`].

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use model::{BrokerId, LeaderEpoch, Offset, Timestamp};
use protocol::frame::{decode_request_header, encode_request, encode_response};
use protocol::messages as m;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::records::{
    BatchBuilder, BatchOptions, ProduceRules, RecordParts, Scratch, ValidatedBatch,
    validate_produce,
};
use protocol::{ApiKey, Decode, Records, StrBytes};
use runtime_tokio::{RuntimeConfig, TokioRuntime};
use storage::{
    AppendBatch, AppendOrigin, AppendOutcome, Durability, Log, LogConfig, LogDir, LogDirOptions,
    LogReader, ReadRequest,
};

use crate::machine::Machine;
use crate::result::{Outcome, Table};

const ABOUT: &str = "\
The pieces that a record passes through, each by itself on one thread: a Produce request is decoded, its batch
is checked, appended to a log (into the page cache; by itself and with 15 others), read for a Fetch, and the
answer is encoded. Batches hold records of 100 bytes. Allocations are those of one operation.";
const SIZES: [usize; 2] = [4096, 65_536];
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const FETCH_BYTES: usize = 1 << 20;
/// How long one piece runs for one figure.
const TIME: Duration = Duration::from_millis(200);
/// Operations whose allocations are counted.
const COUNTED: u64 = 100;
const GROUP: usize = 16;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// How much to measure.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Measure so often.
    #[arg(long, default_value_t = 5)]
    turns: usize,
}

/// Measures in turns.
///
/// # Errors
/// A piece does not do what it has to.
pub fn measure(options: &Options) -> Result<Outcome> {
    let mut table = Table::new("pieces", &["klamm"], &[]);
    for _ in 0..options.turns {
        for size in SIZES {
            produce_pieces(&mut table, size)?;
        }
        fetch_pieces(&mut table)?;
    }
    Ok(Outcome {
        subject: "pieces".to_owned(),
        title: "Pieces".to_owned(),
        about: ABOUT.to_owned(),
        machine: Machine::here()?,
        tables: vec![table],
    })
}

/// Runs `piece` for a while, and puts down what one run of it takes.
fn one(table: &mut Table, what: &str, mut piece: impl FnMut() -> Result<()>) -> Result<()> {
    // The first runs make what later ones use again.
    for _ in 0..COUNTED {
        piece()?;
    }
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| {
        result = (0..COUNTED).try_for_each(|_| piece());
    });
    result?;
    let (begun, mut runs) = (Instant::now(), 0_u32);
    while begun.elapsed() < TIME {
        piece()?;
        runs += 1;
    }
    let nanos = begun.elapsed().as_nanos() as f64 / f64::from(runs);
    table.put("klamm", what, "ns", nanos);
    table.put("klamm", what, "allocations", counted.count_total as f64 / COUNTED as f64);
    Ok(())
}

fn produce_pieces(table: &mut Table, size: usize) -> Result<()> {
    let name = format!("{} KiB", size / 1024);
    let records = batch(size)?;
    let frame = produce_frame(&records)?;
    one(table, &format!("decode Produce, {name}"), || {
        let mut frame = decode_request_header(frame.clone())?;
        black_box(m::ProduceRequest::decode(&mut frame.body, PRODUCE_VERSION)?);
        Ok(())
    })?;
    let (rules, mut scratch) = (rules(), Scratch::new());
    one(table, &format!("check a batch, {name}"), || {
        black_box(validate_produce(records.clone(), &rules, NOW, &mut scratch)?);
        Ok(())
    })?;
    let batch = validate_produce(records, &rules, NOW, &mut scratch)?;
    with_log(|executor, log| {
        let append = |log: &mut Log, count| append(executor, log, &batch, count);
        one(table, &format!("append a batch, {name}"), || append(log, 1))?;
        let what = format!("append {GROUP} batches at once, {name}");
        one(table, &what, || append(log, GROUP))
    })
}

fn fetch_pieces(table: &mut Table) -> Result<()> {
    let (rules, mut scratch) = (rules(), Scratch::new());
    let batch = validate_produce(batch(SIZES[1])?, &rules, NOW, &mut scratch)?;
    with_log(|executor, log| {
        for _ in 0..8 {
            append(executor, log, &batch, GROUP)?;
        }
        let reader = log.reader();
        let read = || executor.block_on(read(&reader));
        one(table, "read 1 MiB for a Fetch", || read().map(|bytes| drop(black_box(bytes))))?;
        let bytes = read()?;
        one(table, "encode a Fetch answer of 1 MiB", || {
            let records = Some(Records::from(bytes.clone()));
            let partitions = vec![PartitionData { records, ..Default::default() }];
            let topic = FetchableTopicResponse { partitions, ..Default::default() };
            let answer = m::FetchResponse { responses: vec![topic], ..Default::default() };
            black_box(encode_response(&answer, ApiKey::Fetch, FETCH_VERSION, 1)?);
            Ok(())
        })
    })
}

/// A new log in a directory of its own, which acknowledges from the page cache.
fn with_log(work: impl FnOnce(&TokioRuntime, &mut Log) -> Result<()>) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("klamm-pieces-").tempdir()?;
    let executor = TokioRuntime::new(RuntimeConfig::default())?;
    let options = LogDirOptions {
        path: directory.path().to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        open_files_max: 16,
        journal_file_bytes: 0,
    };
    let config = LogConfig { durability: Durability::Os, ..LogConfig::default() };
    let name = "t-0".parse()?;
    let mut log = executor.block_on(async {
        let dir = LogDir::open(executor.runtime(), options).await?;
        anyhow::Ok(dir.create_log(&name, None, config).await?)
    })?;
    work(&executor, &mut log)?;
    executor.block_on(log.close())?;
    Ok(())
}

fn append(
    executor: &TokioRuntime,
    log: &mut Log,
    batch: &ValidatedBatch,
    count: usize,
) -> Result<()> {
    let one = || AppendBatch {
        header: batch.header,
        body: batch.body.clone(),
        origin: AppendOrigin::Client,
    };
    let group: Vec<AppendBatch> = (0..count).map(|_| one()).collect();
    let outcomes = executor.block_on(log.append(group, LeaderEpoch(0), Timestamp(0)));
    let is_appended = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Appended { .. });
    anyhow::ensure!(outcomes.iter().all(is_appended), "refused: {:?}", outcomes.first());
    Ok(())
}

async fn read(reader: &LogReader) -> Result<Bytes> {
    let request = ReadRequest {
        from: Offset::ZERO,
        max_bytes: FETCH_BYTES,
        up_to: reader.log_end(),
        at_least_one: true,
        verify_crc: true,
    };
    Ok(reader.read(request).await?.bytes)
}

/// As a topic has them that nobody configured.
fn rules() -> ProduceRules {
    ProduceRules { produce_version: PRODUCE_VERSION, ..ProduceRules::default() }
}

fn batch(bytes: usize) -> Result<Bytes> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = [7; 100];
    while builder.size_bytes() + value.len() < bytes {
        let record = RecordParts { value: Some(&value), ..RecordParts::default() };
        builder.append(NOW, &record);
    }
    Ok(builder.finish()?.bytes)
}

/// A request without the length in front.
fn produce_frame(records: &Bytes) -> Result<Bytes> {
    let data = PartitionProduceData {
        index: 3,
        records: Some(Records::from(records.clone())),
        ..Default::default()
    };
    let name = StrBytes::from_static("orders");
    let topic = TopicProduceData { name, partition_data: vec![data], ..Default::default() };
    let request = m::ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    let client = StrBytes::from_static("client");
    let chunks = encode_request(&request, PRODUCE_VERSION, 1, Some(&client))?;
    let mut frame = BytesMut::new();
    chunks.iter().for_each(|chunk| frame.extend_from_slice(chunk));
    frame.advance(4);
    Some(frame.freeze()).filter(|frame| !frame.is_empty()).context("a frame")
}
