//! One member of a group: a process that tells what happens to it, one JSON object a line.
//!
//! In: its options, the end of its input (which means: leave in good order), SIGKILL. Out: events.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{HEARTBEAT_INTERVAL, Kind, SESSION_TIMEOUT};
use crate::child::Background;

/// What a member tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It runs, and joins now.
    Started,
    /// It got these partitions, beside those it had.
    Assigned(Vec<i32>),
    /// It gave these up when asked to.
    Revoked(Vec<i32>),
    /// It had these until it was thrown out.
    Lost(Vec<i32>),
    /// It processed these records: offset and value.
    Read(i32, Vec<(i64, String)>),
    /// Its commit was acknowledged: partition and offset.
    Committed(Vec<(i32, i64)>),
    /// Its library showed it an error.
    Failed(String),
    /// It left in good order.
    Left,
    /// Its output has ended.
    Ended,
}

/// How a member behaves beside what its kind says.
#[derive(Clone, Debug)]
pub struct Options {
    /// `group.instance.id`.
    pub instance: Option<String>,
    /// It commits no offset beyond this one, and processes all the same.
    pub commit_below: Option<i64>,
    /// Committed with every offset.
    pub commit_metadata: String,
    /// Of the classic protocol.
    pub session_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let commit_metadata = String::new();
        Options {
            instance: None,
            commit_below: None,
            commit_metadata,
            session_timeout: SESSION_TIMEOUT,
        }
    }
}

/// A running member.
#[derive(Debug)]
pub struct Member {
    /// Of which kind.
    pub kind: &'static Kind,
    process: Background,
    stdin: Option<ChildStdin>,
}

impl Member {
    /// Starts the program; its events go to `events`, with `index` and the time they were read.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(
        kind: &'static Kind,
        address: &str,
        options: &Value,
        log: &Path,
        index: usize,
        events: Sender<(usize, Instant, Result<Event>)>,
    ) -> Result<Member> {
        let mut command = (kind.command)(address)?;
        command.arg(options.to_string());
        let mut process = Background::start_piped(&mut command, log)?;
        let stdin = process.child().stdin.take();
        let stdout = process.child().stdout.take().context("stdout of a member")?;
        thread::spawn(move || listen(stdout, index, &events));
        Ok(Member { kind, process, stdin })
    }

    /// Its input ends: it leaves.
    pub fn ask_to_leave(&mut self) {
        self.stdin = None;
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// The signal can not be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// The options as the programs read them.
pub(super) fn to_json(
    kind: &Kind,
    options: &Options,
    group: &str,
    topic: &str,
    client_id: &str,
) -> Value {
    json!({
        "group": group, "client_id": client_id, "topics": [topic],
        "protocol": kind.protocol.name(), "assignor": kind.assignor,
        "instance": options.instance, "commit_below": options.commit_below,
        "commit_metadata": options.commit_metadata,
        "session_timeout_ms": milliseconds(options.session_timeout),
        "heartbeat_ms": milliseconds(HEARTBEAT_INTERVAL),
        "metadata_max_age_ms": 500,
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("timeouts of tests are short")
}

fn listen(stdout: ChildStdout, index: usize, events: &Sender<(usize, Instant, Result<Event>)>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let event = parse(&line).with_context(|| format!("{line:?} is no event"));
        if events.send((index, Instant::now(), event)).is_err() {
            return;
        }
    }
    // Nobody may wait any more; then nobody has to be told.
    events.send((index, Instant::now(), Ok(Event::Ended))).ok();
}

fn parse(line: &str) -> Result<Event> {
    let event: Value = serde_json::from_str(line)?;
    Ok(match event["event"].as_str().context("name of the event")? {
        "started" => Event::Started,
        "assigned" => Event::Assigned(partitions(&event)?),
        "revoked" => Event::Revoked(partitions(&event)?),
        "lost" => Event::Lost(partitions(&event)?),
        "read" => Event::Read(number(&event["partition"])?, records(&event)?),
        "committed" => Event::Committed(offsets(&event)?),
        "failed" => Event::Failed(format!("{}: {}", event["class"], event["message"])),
        "left" => Event::Left,
        other => bail!("event {other}"),
    })
}

fn number(value: &Value) -> Result<i32> {
    Ok(i32::try_from(value.as_i64().context("a number")?)?)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn partitions(event: &Value) -> Result<Vec<i32>> {
    list(&event["partitions"]).map(|place| number(&place[1])).collect()
}

fn records(event: &Value) -> Result<Vec<(i64, String)>> {
    let record = |pair: &Value| {
        let value = pair[1].as_str().context("value of a record")?;
        Ok((pair[0].as_i64().context("offset of a record")?, value.to_owned()))
    };
    list(&event["records"]).map(record).collect()
}

fn offsets(event: &Value) -> Result<Vec<(i32, i64)>> {
    let offset = |place: &Value| Ok((number(&place[1])?, place[2].as_i64().context("offset")?));
    list(&event["offsets"]).map(offset).collect()
}
