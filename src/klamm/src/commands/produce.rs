//! `klamm produce`: records from lines or files.
//!
//! A thread of its own reads the input, because reading a terminal or a pipe blocks; the records go
//! through a bounded queue to the producer, and their deliveries through another one to whoever
//! reports them, in order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use client::producer::{Acks, Delivery, RecordMetadata, SendError};
use client::record::Header;
use client::{Client, Producer, ProducerConfig, ProducerRecord};
use indicatif::{ProgressBar, ProgressStyle};
use model::{Instant, PartitionIndex};
use protocol::StrBytes;
use protocol::records::Compression;
use runtime::Runtime;
use runtime::sync::mpsc;
use serde_json::json;

use super::format::unescaped;
use super::lines::{Line, LineSyntax};
use crate::cli::{AcksArgument, CompressionArgument, Global, Produce};
use crate::connect::{connect, topic_failure};
use crate::failure::Failure;
use crate::output::{OutputFormat, print};

/// How many records may be read ahead.
const INPUT_MAX: usize = 1024;

/// How many records may wait for their outcome to be reported.
const DELIVERIES_MAX: usize = 100_000;

/// Runs the command.
pub(crate) async fn run(
    runtime: Runtime,
    global: Global,
    arguments: Produce,
) -> Result<(), Failure> {
    let input = Input::of(&arguments)?;
    let client = connect(&runtime, &global).await?;
    let config = producer_config(&arguments, &global);
    let producer = Producer::start(&client, config)
        .map_err(|error| Failure::usage("start the producer").because(error))?;
    let (lines_in, lines) = mpsc::channel(INPUT_MAX);
    std::thread::spawn(move || input.read(&lines_in));
    let (deliveries_in, deliveries) = mpsc::channel(DELIVERIES_MAX);
    let began = runtime.clock.now();
    let sending = async {
        let result = send_all(&client, &producer, &arguments, lines, deliveries_in).await;
        producer.flush().await;
        result
    };
    let mut sending = std::pin::pin!(sending);
    let mut reporting = std::pin::pin!(report(deliveries, global.output));
    // Side by side; whoever fails ends both.
    let count = runtime::select! {
        sent = &mut sending => {
            sent?;
            reporting.await?
        }
        reported = &mut reporting => {
            let count = reported?;
            sending.await?;
            count
        }
    };
    summarise(count, &runtime, began, global.output);
    Ok(())
}

fn producer_config(arguments: &Produce, global: &Global) -> ProducerConfig {
    let (acks, idempotence) = match arguments.acks {
        AcksArgument::None => (Acks::None, false),
        AcksArgument::Leader => (Acks::Leader, false),
        AcksArgument::All => (Acks::All, true),
    };
    let compression = match arguments.compression {
        CompressionArgument::None => Compression::None,
        CompressionArgument::Gzip => Compression::Gzip,
        CompressionArgument::Snappy => Compression::Snappy,
        CompressionArgument::Lz4 => Compression::Lz4,
        CompressionArgument::Zstd => Compression::Zstd,
    };
    ProducerConfig {
        acks,
        idempotence,
        compression,
        linger: arguments.linger,
        // Large enough that a pipe goes through at speed.
        batch_bytes: 256 * 1024,
        delivery_timeout: global.timeout,
        block_max: global.timeout,
        // A record may be as large as a broker's default allows, whatever the header adds.
        request_bytes_max: 8 * 1024 * 1024,
        ..ProducerConfig::default()
    }
}

/// Sends what the input thread reads, at the wanted rate.
async fn send_all(
    client: &Client,
    producer: &Producer,
    arguments: &Produce,
    mut lines: mpsc::Receiver<Result<Line, Failure>>,
    deliveries: mpsc::Sender<Delivery>,
) -> Result<(), Failure> {
    let topic = StrBytes::from(arguments.topic.as_str());
    let headers: Vec<Header> = arguments
        .headers
        .iter()
        .map(|(key, value)| Header {
            key: key.as_str().into(),
            value: Some(Bytes::from(value.clone())),
        })
        .collect();
    let key = arguments.key.clone().map(Bytes::from);
    let clock = &*client.runtime().clock;
    let began = clock.now();
    let mut count: u64 = 0;
    while let Some(line) = lines.recv().await {
        let line = line?;
        if let Some(rate) = arguments.rate {
            let due = Duration::from_nanos(count.saturating_mul(1_000_000_000) / u64::from(rate));
            clock.sleep_until(began + due).await;
        }
        count += 1;
        let record = ProducerRecord {
            topic: topic.clone(),
            partition: arguments.partition.map(PartitionIndex),
            key: line.key.or_else(|| key.clone()),
            value: line.value,
            headers: line.headers.into_iter().chain(headers.iter().cloned()).collect(),
            timestamp: None,
        };
        let delivery = match producer.send(record).await {
            Ok(delivery) => delivery,
            Err(SendError::Topic { topic, source }) => {
                return Err(topic_failure(client, &topic, &source).await);
            }
            Err(error) => return Err(Failure::new(format!("record {count}")).because(error)),
        };
        // The reporter ends early only with a failure of its own, which then is the one to tell.
        if deliveries.send(delivery).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Waits for each record in turn, prints it when programs listen, and counts.
async fn report(
    mut deliveries: mpsc::Receiver<Delivery>,
    output: OutputFormat,
) -> Result<u64, Failure> {
    let progress = progress_bar();
    let mut count = 0;
    while let Some(delivery) = deliveries.recv().await {
        let at = delivery.at().clone();
        let metadata = delivery.acknowledged().await;
        let metadata = metadata.map_err(|error| {
            progress.finish_and_clear();
            Failure::new(format!("send record {} to {at}", count + 1)).because(error)
        })?;
        count += 1;
        progress.set_position(count);
        if output == OutputFormat::Json {
            print_metadata(&metadata)?;
        }
    }
    progress.finish_and_clear();
    Ok(count)
}

fn print_metadata(metadata: &RecordMetadata) -> Result<(), Failure> {
    let document = json!({
        "topic": metadata.at.topic.as_str(),
        "partition": metadata.at.partition.0,
        "offset": metadata.offset.map(|offset| offset.0),
        "timestamp": metadata.timestamp.0,
    });
    print(&format!("{document}\n"))
}

/// Shows the count on a terminal, unless somebody types the records there.
fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() || io::stdin().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos} records sent, {per_sec}");
    ProgressBar::new_spinner().with_style(style.expect("the template is right"))
}

fn summarise(count: u64, runtime: &Runtime, began: Instant, output: OutputFormat) {
    if output == OutputFormat::Table && io::stderr().is_terminal() {
        let elapsed = runtime.clock.now() - began;
        eprintln!("{count} records sent in {:.2} s", elapsed.as_secs_f64());
    }
}

/// Where records come from.
struct Input {
    files: Vec<PathBuf>,
    whole_file: bool,
    syntax: LineSyntax,
}

impl Input {
    fn of(arguments: &Produce) -> Result<Input, Failure> {
        let separator = match &arguments.key_separator {
            Some(text) => {
                let separator = unescaped(text)
                    .map_err(|error| Failure::usage(format!("--key-separator: {error}")))?;
                if separator.is_empty() {
                    return Err(Failure::usage("--key-separator can not be empty"));
                }
                Some(separator)
            }
            None => None,
        };
        let mut files = arguments.files.clone();
        if files.is_empty() {
            files.push(PathBuf::from("-"));
        }
        Ok(Input {
            files,
            whole_file: arguments.whole_file,
            syntax: LineSyntax {
                key_separator: separator,
                parse_headers: arguments.parse_headers,
                null_if_empty: arguments.null_if_empty,
            },
        })
    }

    /// Reads everything into `lines`, up to the first failure.
    fn read(&self, lines: &mpsc::Sender<Result<Line, Failure>>) {
        for file in &self.files {
            let read = open(file).and_then(|reader| {
                if self.whole_file {
                    self.read_whole(file, reader, lines)
                } else {
                    self.read_lines(file, reader, lines)
                }
            });
            match read {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    // Nobody listens any more when the producer failed first.
                    let _ = lines.blocking_send(Err(failure));
                    return;
                }
            }
        }
    }

    /// False when nobody wants more.
    fn read_whole(
        &self,
        file: &Path,
        mut reader: Box<dyn BufRead>,
        lines: &mpsc::Sender<Result<Line, Failure>>,
    ) -> Result<bool, Failure> {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| unreadable(file, error))?;
        self.send(file, 1, Bytes::from(content), lines)
    }

    fn read_lines(
        &self,
        file: &Path,
        mut reader: Box<dyn BufRead>,
        lines: &mpsc::Sender<Result<Line, Failure>>,
    ) -> Result<bool, Failure> {
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line);
            if length.map_err(|error| unreadable(file, error))? == 0 {
                return Ok(true);
            }
            number += 1;
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if !self.send(file, number, Bytes::from(line), lines)? {
                return Ok(false);
            }
        }
    }

    fn send(
        &self,
        file: &Path,
        number: u64,
        line: Bytes,
        lines: &mpsc::Sender<Result<Line, Failure>>,
    ) -> Result<bool, Failure> {
        let line = self.syntax.parse(line).map_err(|error| {
            Failure::new(format!("line {number} of {}: {error}", display(file)))
        })?;
        Ok(lines.blocking_send(Ok(line)).is_ok())
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).map_err(|error| unreadable(file, error))?;
    Ok(Box::new(BufReader::with_capacity(256 * 1024, opened)))
}

fn unreadable(file: &Path, error: io::Error) -> Failure {
    Failure::new(format!("read {}", display(file))).because(error)
}

fn display(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}
