//! A running driver: one foreign client that obeys JSON lines (`clients/README.md`).
//!
//! In: operations. Out: what the client answered, or its own exception.
//!
//! Invariant: a driver that does not answer in time, or answers something else than the language,
//! is broken for good: its next answer could belong to an earlier operation.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::child::{Background, wait_for};
use crate::record::{ReadRecord, Record};

/// Longest time for one operation; the clients' own limits are 60 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// An error as the client reported it to its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class} [{code}] {message}")]
pub struct Failure {
    /// The client's own class of the exception.
    pub class: String,
    /// Kafka's name of the error, or the client's own code.
    pub code: String,
    /// The text for people.
    pub message: String,
}

/// How records are produced.
#[derive(Clone, Debug)]
pub struct Produce<'a> {
    /// To which topic.
    pub topic: &'a str,
    /// To which partition.
    pub partition: i32,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub codec: &'a str,
    /// 0, 1 or -1 (all).
    pub acks: i32,
    /// With a producer id and sequence numbers.
    pub idempotent: bool,
    /// Largest request or batch that the client itself allows.
    pub bytes_max: u32,
}

impl<'a> Produce<'a> {
    /// Uncompressed, acknowledged by all, idempotent, to partition 0.
    pub fn to(topic: &'a str) -> Produce<'a> {
        let (codec, acks, idempotent, bytes_max) = ("none", -1, true, 1_048_576);
        Produce { topic, partition: 0, codec, acks, idempotent, bytes_max }
    }
}

/// What to read of one partition.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    /// Of which topic.
    pub topic: &'a str,
    /// Of which partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last one.
    pub end: i64,
}

/// A foreign client in its own process.
#[derive(Debug)]
pub struct Driver {
    process: Background,
    stdin: ChildStdin,
    lines: Receiver<String>,
    hello: Value,
    broken: bool,
    settles: bool,
}

impl Driver {
    /// Starts the program and waits for its first line. Standard error goes to `log`. With
    /// `settles` a created topic is waited for: Apache Kafka answers before its leaders are there.
    ///
    /// # Errors
    /// The program does not start or says something else.
    pub fn start(command: &mut Command, log: &Path, settles: bool) -> Result<Driver> {
        let mut process = Background::start_piped(command, log)?;
        let stdin = process.child().stdin.take().context("stdin of a driver")?;
        let stdout = process.child().stdout.take().context("stdout of a driver")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut driver =
            Driver { process, stdin, lines, hello: Value::Null, broken: false, settles };
        driver.hello = driver.answer("its first line")??;
        Ok(driver)
    }

    /// What it said about itself.
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// Whether it lost step with its answers and must be started anew.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Does one operation. The inner error is the client's own.
    ///
    /// # Errors
    /// The driver ended or did not answer.
    pub fn call(&mut self, operation: &Value) -> Result<std::result::Result<Value, Failure>> {
        let mut line = serde_json::to_vec(operation)?;
        line.push(b'\n');
        let what = operation["op"].as_str().context("an operation has a name")?.to_owned();
        if self.stdin.write_all(&line).and_then(|()| self.stdin.flush()).is_err() {
            self.broken = true;
            bail!("{what}: the driver has ended:\n{}", self.process.log_tail());
        }
        self.answer(&what)
    }

    /// Does one operation that has to succeed.
    ///
    /// # Errors
    /// The client reported an error, or the driver did not answer.
    pub fn expect(&mut self, operation: Value) -> Result<Value> {
        let name = operation["op"].as_str().unwrap_or_default().to_owned();
        self.call(&operation)?.with_context(|| format!("{name} of {}", self.hello["client"]))
    }

    fn answer(&mut self, what: &str) -> Result<std::result::Result<Value, Failure>> {
        let line = match self.lines.recv_timeout(ANSWER_LIMIT) {
            Ok(line) => line,
            Err(error) => {
                self.broken = true;
                let why = match error {
                    RecvTimeoutError::Timeout => "no answer",
                    RecvTimeoutError::Disconnected => "the driver has ended",
                };
                bail!("{what}: {why}:\n{}", self.process.log_tail());
            }
        };
        let parsed: std::result::Result<Value, _> = serde_json::from_str(&line);
        let answer = match parsed {
            Ok(mut answer) if answer.get("ok").is_some() => Ok(answer["ok"].take()),
            Ok(answer) if answer.get("error").is_some() => Err(failure(&answer["error"])),
            _ => {
                self.broken = true;
                bail!("{what}: {line:?} is no answer");
            }
        };
        Ok(answer)
    }

    /// Creates a topic that keeps old records for ever.
    ///
    /// # Errors
    /// As [`Driver::expect`].
    pub fn create_topic(&mut self, topic: &str, partitions: i32, configs: &Value) -> Result<()> {
        let mut all = json!({"retention.ms": "-1"});
        for (key, value) in configs.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        self.expect(json!({
            "op": "create_topic", "topic": topic, "partitions": partitions,
            "replication_factor": 1, "configs": all,
        }))?;
        if self.settles {
            self.settle(topic, partitions)?;
        }
        Ok(())
    }

    fn settle(&mut self, topic: &str, partitions: i32) -> Result<()> {
        for partition in 0..partitions {
            let ask = json!({
                "op": "offset_for", "topic": topic, "partition": partition, "at": "latest",
            });
            wait_for("a leader", ANSWER_LIMIT, || Ok(self.call(&ask)?.is_ok().then_some(())))?;
        }
        Ok(())
    }

    /// Produces records in order; gives their offsets (none of them with acks 0).
    ///
    /// # Errors
    /// The driver did not answer; the inner error is the client's own.
    pub fn produce(
        &mut self,
        how: &Produce<'_>,
        records: &[Record],
    ) -> Result<std::result::Result<Vec<Option<i64>>, Failure>> {
        let records: Vec<Value> = records.iter().map(Record::to_json).collect();
        let answer = self.call(&json!({
            "op": "produce", "topic": how.topic, "partition": how.partition, "codec": how.codec,
            "acks": how.acks, "idempotent": how.idempotent, "bytes_max": how.bytes_max,
            "records": records,
        }))?;
        let offsets = |answer: Value| -> Result<Vec<Option<i64>>> {
            let offsets = answer["offsets"].as_array().context("offsets")?;
            Ok(offsets.iter().map(Value::as_i64).collect())
        };
        match answer {
            Ok(answer) => Ok(Ok(offsets(answer)?)),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Reads ranges, in order within each partition, sorted by topic and partition.
    ///
    /// # Errors
    /// The driver did not answer; the inner error is the client's own.
    pub fn fetch(
        &mut self,
        ranges: &[Range<'_>],
    ) -> Result<std::result::Result<Vec<ReadRecord>, Failure>> {
        let ranges: Vec<Value> = ranges
            .iter()
            .map(|range| {
                json!({
                    "topic": range.topic, "partition": range.partition,
                    "from": range.from, "end": range.end,
                })
            })
            .collect();
        match self.call(&json!({"op": "fetch", "partitions": ranges}))? {
            Ok(answer) => {
                let records = answer["records"].as_array().context("records")?;
                Ok(Ok(records.iter().map(ReadRecord::from_json).collect::<Result<_>>()?))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Offset and timestamp for `at`: `"earliest"`, `"latest"`, `"max_timestamp"`, or a time.
    ///
    /// # Errors
    /// As [`Driver::expect`].
    pub fn offset_for(
        &mut self,
        topic: &str,
        partition: i32,
        at: impl Into<Value>,
    ) -> Result<(Option<i64>, Option<i64>)> {
        let at: Value = at.into();
        let operation =
            json!({"op": "offset_for", "topic": topic, "partition": partition, "at": at});
        let answer = self.expect(operation)?;
        Ok((answer["offset"].as_i64(), answer["timestamp"].as_i64()))
    }
}

fn failure(error: &Value) -> Failure {
    let text = |name: &str| match &error[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Failure { class: text("class"), code: text("code"), message: text("message") }
}

/// The failure that an operation had to end with.
///
/// # Errors
/// The operation succeeded.
pub fn must_fail<T: std::fmt::Debug>(outcome: std::result::Result<T, Failure>) -> Result<Failure> {
    match outcome {
        Ok(answer) => Err(anyhow!("had to fail, but answered {answer:?}")),
        Err(failure) => Ok(failure),
    }
}
