//! Kafka Connect: a distributed worker with a source and a sink of files, killed and stopped and
//! started again. Every line arrives; after an orderly stop none comes again, after a kill only what
//! was not committed.
//!
//! The worker is a member of a group of the protocol `connect`, keeps its state in compacted topics,
//! among it the position of the source; its sink is a consumer in a group of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::child::{Background, wait_for};
use tests::driver::{Driver, Range};
use tests::install::{self, Tool};
use tests::matrix::clients::JAVA_4_3;
use tests::record::ReadRecord;
use tests::server::probe;
use tests::suite::{Case, Lab, run};

/// Longest time for anything: a worker takes 10 s to start where nothing else runs.
const LIMIT: Duration = Duration::from_secs(120);

/// Lines that are added at a time.
const LINES: usize = 500;

const PARTITIONS: i32 = 3;

/// Of the topic with the positions of sources.
const OFFSET_PARTITIONS: i32 = 2;

/// The group that Connect makes for the connector `sink`.
const SINK_GROUP: &str = "connect-sink";

fn main() -> ExitCode {
    let cases = vec![Case::new("connect::file_to_file_through_restarts", restarts)];
    run(&[Tool::Java, Tool::Maven], cases)
}

/// A worker and the two files.
struct Worker {
    directory: PathBuf,
    topic: String,
    port: u16,
    process: Background,
    lines: usize,
}

fn restarts(lab: &Lab) -> Result<()> {
    let topic = lab.topic("connect");
    lab.with(&JAVA_4_3, |driver| {
        driver.create_topic(&topic, PARTITIONS, &json!({}))?;
        let mut worker = Worker::start(&lab.address()?, &lab.path().join("connect"), &topic)?;
        let done = work(driver, &mut worker);
        done.with_context(|| format!("log of the worker:\n{}", worker.process.log_tail()))
    })
}

fn work(admin: &mut Driver, worker: &mut Worker) -> Result<()> {
    worker.append()?;
    worker.connect()?;
    worker.wait_for_all()?;
    is_exact(admin, worker, 0, &BTreeMap::new())?;
    // From here on neither of them may begin at the beginning.
    wait_for_the_sink(admin, worker)?;
    wait_for("the source to store its position", LIMIT, || {
        Ok((worker.lines_copied(admin)? == worker.lines).then_some(()))
    })?;
    through_a_kill(admin, worker)?;
    through_a_stop(admin, worker)
}

/// The worker is killed while lines are on their way.
fn through_a_kill(admin: &mut Driver, worker: &mut Worker) -> Result<()> {
    worker.append()?;
    worker.wait_for_more_than(LINES)?;
    worker.process.kill()?;
    worker.drop_torn_line()?;
    let committed = offsets(admin, &worker.topic)?;
    let copied = worker.lines_copied(admin)?;
    let written = worker.sink()?.len();
    worker.append()?;
    worker.restart()?;
    worker.wait_for_all()?;
    wait_for_the_sink(admin, worker)?;
    // The source wrote again only what is behind its position, the sink only what was written since,
    // or is behind its offset.
    let records = worker.records(admin)?;
    for (line, places) in &records {
        let number: usize = line.strip_prefix("line ").context("a line of ours")?.parse()?;
        ensure!(places.len() == 1 || number >= copied, "{line} is at {places:?}; {copied} copied");
    }
    let is_open = |place: &&(i32, i64)| place.1 >= committed[&place.0];
    let sink = worker.sink()?;
    let mut again: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &sink[written..] {
        *again.entry(line).or_default() += 1;
    }
    for (line, count) in again {
        let due = records[line].iter().filter(is_open).count();
        ensure!(count <= due, "{line} came {count} times after the kill, {due} are not committed");
    }
    Ok(())
}

/// The worker is stopped in good order: nothing comes twice.
fn through_a_stop(admin: &mut Driver, worker: &mut Worker) -> Result<()> {
    worker.process.terminate(LIMIT)?;
    let ends = ends(admin, &worker.topic)?;
    let committed = offsets(admin, &worker.topic)?;
    ensure!(committed == ends, "stopped at {committed:?} of {ends:?}");
    let written = worker.sink()?.len();
    worker.append()?;
    worker.restart()?;
    worker.wait_for_all()?;
    wait_for_the_sink(admin, worker)?;
    is_exact(admin, worker, written, &ends)?;
    worker.process.terminate(LIMIT)?;
    is_exact(admin, worker, written, &ends)?;
    let groups = admin.expect(json!({"op": "list_groups"}))?;
    let mut groups = groups.as_array().into_iter().flatten();
    ensure!(groups.any(|group| group["group"] == SINK_GROUP), "the sink's group is not listed");
    Ok(())
}

/// The lines that were added last are what the topic has behind `from`, and what the sink's file has
/// behind its first `written` lines, each once.
fn is_exact(
    admin: &mut Driver,
    worker: &Worker,
    written: usize,
    from: &BTreeMap<i32, i64>,
) -> Result<()> {
    let due: BTreeSet<String> =
        (worker.lines - LINES..worker.lines).map(|line| format!("line {line}")).collect();
    let grown: i64 = ends(admin, &worker.topic)?.values().sum::<i64>() - from.values().sum::<i64>();
    ensure!(usize::try_from(grown)? == LINES, "the source wrote {grown} records for {LINES} lines");
    let sink = worker.sink()?;
    let new = &sink[written..];
    let different: BTreeSet<String> = new.iter().cloned().collect();
    let stranger = different.difference(&due).next();
    ensure!(stranger.is_none(), "{stranger:?} came again");
    ensure!(new.len() == LINES && different == due, "{} lines for {LINES}", new.len());
    Ok(())
}

/// The end of each partition.
fn ends(admin: &mut Driver, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let end = |partition| {
        let end = admin.offset_for(topic, partition, "latest")?.0;
        Ok((partition, end.context("end of a partition")?))
    };
    (0..PARTITIONS).map(end).collect()
}

/// What the sink's group has committed; 0 for partitions that hold nothing, of which it may not have
/// heard.
fn offsets(admin: &mut Driver, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let answer = admin.expect(json!({"op": "group_offsets", "group": SINK_GROUP}))?;
    let mut offsets: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    for place in answer.as_array().into_iter().flatten() {
        ensure!(place[0] == topic, "the sink committed {place}");
        let partition = i32::try_from(place[1].as_i64().context("partition")?)?;
        offsets.insert(partition, place[2].as_i64().context("offset")?);
    }
    Ok(offsets)
}

/// Waits until the sink has committed everything: then it comes to nothing again.
fn wait_for_the_sink(admin: &mut Driver, worker: &Worker) -> Result<()> {
    wait_for("the sink to commit", LIMIT, || {
        let due = ends(admin, &worker.topic)?;
        Ok((offsets(admin, &worker.topic)? == due).then_some(()))
    })
}

impl Worker {
    fn start(address: &str, directory: &Path, topic: &str) -> Result<Worker> {
        fs::create_dir_all(directory)?;
        let port = probe::free_port()?;
        fs::write(directory.join("worker.properties"), settings(address, topic, port)?)?;
        fs::write(directory.join("in.txt"), "")?;
        let process = launch(directory)?;
        Ok(Worker {
            directory: directory.to_owned(),
            topic: topic.to_owned(),
            port,
            process,
            lines: 0,
        })
    }

    fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.directory)?;
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let class = |name: &str| format!("org.apache.kafka.connect.file.{name}");
        let source = json!({
            "connector.class": class("FileStreamSourceConnector"), "tasks.max": "1",
            "file": file("in.txt"), "topic": self.topic,
        });
        let sink = json!({
            "connector.class": class("FileStreamSinkConnector"), "tasks.max": "2",
            "file": file("out.txt"), "topics": self.topic,
            "consumer.override.auto.offset.reset": "earliest",
            // Members of a worker that was killed are waited for that long.
            "consumer.override.session.timeout.ms": "6000",
        });
        for (name, config) in [("source", source), ("sink", sink)] {
            wait_for(&format!("the {name} to be accepted"), LIMIT, || {
                if let Some(status) = self.process.ended()? {
                    anyhow::bail!("the worker ended with {status}");
                }
                // Nobody listens yet, or the worker has not joined its group yet.
                let put = request(self.port, "PUT", &format!("/connectors/{name}/config"), &config);
                Ok(put.is_ok_and(|status| matches!(status, 200 | 201)).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Adds lines to the source's file.
    fn append(&mut self) -> Result<()> {
        let mut text = String::new();
        for line in self.lines..self.lines + LINES {
            writeln!(text, "line {line}")?;
        }
        self.lines += LINES;
        let path = self.directory.join("in.txt");
        let mut file = fs::File::options().append(true).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// The sink's file, line by line.
    fn sink(&self) -> Result<Vec<String>> {
        let text = match fs::read_to_string(self.directory.join("out.txt")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        // A line that is being written now does not count yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().map(str::to_owned).collect())
    }

    /// Different lines in the sink's file.
    fn arrived(&self) -> Result<BTreeSet<String>> {
        Ok(self.sink()?.into_iter().collect())
    }

    /// What a kill left of a line would be the beginning of the next one. It was not committed, since
    /// files are flushed first, so it comes again.
    fn drop_torn_line(&self) -> Result<()> {
        let path = self.directory.join("out.txt");
        let text = fs::read(&path)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        fs::write(path, &text[..whole]).map_err(Into::into)
    }

    /// Where each line is in the topic.
    fn records(&self, admin: &mut Driver) -> Result<BTreeMap<String, Vec<(i32, i64)>>> {
        let mut places: BTreeMap<String, Vec<(i32, i64)>> = BTreeMap::new();
        for read in read_all(admin, &self.topic, PARTITIONS)? {
            let value = String::from_utf8(read.record.value.context("a line")?)?;
            places.entry(value).or_default().push((read.partition, read.offset));
        }
        Ok(places)
    }

    /// How many lines the source's stored position is behind; before it has stored one, none.
    fn lines_copied(&self, admin: &mut Driver) -> Result<usize> {
        let stored = read_all(admin, &format!("{}-offset", self.topic), OFFSET_PARTITIONS)?;
        // There is one source and so one key, in one partition.
        let Some(last) = stored.last().and_then(|read| read.record.value.as_deref()) else {
            return Ok(0);
        };
        let stored: Value = serde_json::from_slice(last)?;
        let position = usize::try_from(stored["position"].as_u64().context("a position")?)?;
        let text = fs::read(self.directory.join("in.txt"))?;
        let copied = text.get(..position).context("the position is in the file")?;
        Ok(copied.iter().filter(|&&byte| byte == b'\n').count())
    }

    fn wait_for_more_than(&self, count: usize) -> Result<()> {
        wait_for("lines to arrive", LIMIT, || Ok((self.arrived()?.len() > count).then_some(())))
    }

    fn wait_for_all(&self) -> Result<()> {
        let due: BTreeSet<String> = (0..self.lines).map(|line| format!("line {line}")).collect();
        let all = wait_for("every line to arrive", LIMIT, || {
            Ok(due.is_subset(&self.arrived()?).then_some(()))
        });
        all.with_context(|| {
            let arrived = self.arrived().unwrap_or_default();
            let missing: Vec<_> = due.difference(&arrived).take(5).collect();
            format!("{} of {} lines arrived, missing {missing:?}", arrived.len(), due.len())
        })
    }
}

/// All records of a topic that is not compacted yet.
fn read_all(admin: &mut Driver, topic: &str, partitions: i32) -> Result<Vec<ReadRecord>> {
    let mut ends = Vec::new();
    for partition in 0..partitions {
        let end = admin.offset_for(topic, partition, "latest")?.0;
        ends.push((partition, end.context("end of a partition")?));
    }
    let filled = ends.iter().filter(|(_, end)| *end > 0);
    let range = |&(partition, end): &(i32, i64)| Range { topic, partition, from: 0, end };
    let ranges: Vec<Range<'_>> = filled.map(range).collect();
    Ok(admin.fetch(&ranges)??)
}

fn launch(directory: &Path) -> Result<Background> {
    let classpath = install::connect_classpath()?;
    let mut command = Command::new("java");
    command.args(["-Xmx256M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classpath]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.arg("org.apache.kafka.connect.cli.ConnectDistributed");
    command.arg(directory.join("worker.properties"));
    Background::start(&mut command, &directory.join("worker.log"))
}

fn settings(address: &str, prefix: &str, port: u16) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "bootstrap.servers={address}\ngroup.id={prefix}-workers")?;
    for side in ["key", "value"] {
        writeln!(text, "{side}.converter=org.apache.kafka.connect.storage.StringConverter")?;
    }
    for kind in ["config", "offset", "status"] {
        writeln!(text, "{kind}.storage.topic={prefix}-{kind}")?;
        writeln!(text, "{kind}.storage.replication.factor=1")?;
    }
    writeln!(text, "offset.storage.partitions={OFFSET_PARTITIONS}\nstatus.storage.partitions=1")?;
    writeln!(text, "offset.flush.interval.ms=300\nlisteners=http://127.0.0.1:{port}")?;
    writeln!(text, "plugin.discovery=service_load\nconnector.client.config.override.policy=All")?;
    writeln!(text, "session.timeout.ms=6000\nheartbeat.interval.ms=500")?;
    writeln!(text, "scheduled.rebalance.max.delay.ms=1000")?;
    Ok(text)
}

/// One HTTP request; gives the status.
fn request(port: u16, method: &str, path: &str, body: &Value) -> Result<u16> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).context("a status line")?;
    Ok(status.parse()?)
}
