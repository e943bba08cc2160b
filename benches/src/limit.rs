//! The limit program: what a broker can not be faster than.
//!
//! It takes the frames of Produce requests over TCP, checks the checksum of each batch, appends it to
//! one file for each partition, syncs that if asked to, one sync for all that waits, and answers. It
//! gives no offsets, keeps no index, knows no producer and does nothing at all beside.
//!
//! Two threads for each connection: one reads and writes files, the other waits for syncs and answers.
//!
//! Start at [`run`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Buf;
use clap::Args;
use protocol::frame::{decode_request_header, encode_response};
use protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use protocol::messages::{ProduceRequest, ProduceResponse};
use protocol::records::Batch;
use protocol::{ApiKey, Decode};

use crate::load::wire::Receiver;

/// How it runs.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where its files are.
    #[arg(long)]
    directory: PathBuf,
    /// Sync before answering.
    #[arg(long)]
    sync: bool,
}

/// One file, and how far it is written and synced.
struct Partition {
    file: File,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Default)]
struct State {
    end: u64,
    synced: u64,
    is_syncing: bool,
}

struct Limit {
    directory: PathBuf,
    sync: bool,
    partitions: Mutex<BTreeMap<i32, Arc<Partition>>>,
}

/// What is answered when the partition is synced up to an offset.
struct Answer {
    partition: Arc<Partition>,
    end: u64,
    index: i32,
    correlation_id: i32,
    version: i16,
}

/// Listens on a free port, says which in one line, and serves for ever.
///
/// # Errors
/// There is no port or no directory.
pub fn run(options: &Options) -> Result<()> {
    std::fs::create_dir_all(&options.directory)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let limit = Arc::new(Limit {
        directory: options.directory.clone(),
        sync: options.sync,
        partitions: Mutex::default(),
    });
    for stream in listener.incoming() {
        let (stream, limit) = (stream?, Arc::clone(&limit));
        thread::spawn(move || {
            // That a load closes its connections ends them too.
            if let Err(end) = limit.serve(stream) {
                eprintln!("a connection ends: {end:#}");
            }
        });
    }
    Ok(())
}

impl Limit {
    fn serve(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        let mut receiver = Receiver::new(stream);
        let (answers, waiting) = mpsc::channel();
        let sync = self.sync;
        thread::spawn(move || answer(writer, &waiting, sync));
        loop {
            let answer = self.append(receiver.frame()?)?;
            answers.send(answer).context("nobody answers")?;
        }
    }

    fn append(&self, frame: bytes::Bytes) -> Result<Answer> {
        let frame = decode_request_header(frame)?;
        let version = frame.api_version;
        ensure!(frame.api_key == ApiKey::Produce, "only Produce is served");
        let mut body = frame.body;
        let request = ProduceRequest::decode(&mut body, version)?;
        let data = &request.topic_data[0].partition_data[0];
        let records = data.records.clone().context("records")?.to_bytes();
        Batch::parse(records.clone())?.verify_crc()?;
        let partition = self.partition(data.index)?;
        let mut state = partition.lock();
        partition.file.write_all_at(&records, state.end)?;
        state.end += records.len() as u64;
        let end = state.end;
        drop(state);
        let correlation_id = frame.correlation_id;
        Ok(Answer { partition, end, index: data.index, correlation_id, version })
    }

    fn partition(&self, index: i32) -> Result<Arc<Partition>> {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = partitions.get(&index) {
            return Ok(Arc::clone(known));
        }
        let file = File::create(self.directory.join(index.to_string()))?;
        let partition = Partition { file, state: Mutex::default(), synced: Condvar::new() };
        let partition = Arc::new(partition);
        partitions.insert(index, Arc::clone(&partition));
        Ok(partition)
    }
}

impl Partition {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever comes first syncs for all that is written by then; the others wait for that.
    fn sync_to(&self, end: u64) -> Result<()> {
        let mut state = self.lock();
        while state.synced < end {
            if state.is_syncing {
                state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_syncing = true;
            let covered = state.end;
            drop(state);
            let synced = self.file.sync_data();
            state = self.lock();
            // After a failed sync nobody may be answered: they wait until the load gives up.
            synced?;
            state.is_syncing = false;
            state.synced = covered;
            self.synced.notify_all();
        }
        Ok(())
    }
}

fn answer(mut writer: TcpStream, waiting: &mpsc::Receiver<Answer>, sync: bool) -> Result<()> {
    for answer in waiting {
        if sync {
            answer.partition.sync_to(answer.end)?;
        }
        let partition = PartitionProduceResponse { index: answer.index, ..Default::default() };
        let topic =
            TopicProduceResponse { partition_responses: vec![partition], ..Default::default() };
        let response = ProduceResponse { responses: vec![topic], ..Default::default() };
        let chunks =
            encode_response(&response, ApiKey::Produce, answer.version, answer.correlation_id)?;
        let frame: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.chunk().to_vec()).collect();
        writer.write_all(&frame)?;
    }
    Ok(())
}
