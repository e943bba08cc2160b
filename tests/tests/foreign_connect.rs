//! Kafka Connect: a distributed worker with a source and a sink of files, killed and stopped and
//! started again; every line arrives.
//!
//! The worker is a member of a group of the protocol `connect`, keeps its state in compacted topics,
//! and its sink is a consumer in a group of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::child::{Background, wait_for};
use tests::install::{self, Tool};
use tests::matrix::clients::JAVA_4_3;
use tests::server::probe;
use tests::suite::{Case, Lab, run};

/// Longest time for anything: a worker takes 10 s to start where nothing else runs.
const LIMIT: Duration = Duration::from_secs(120);

/// Lines that are added at a time.
const LINES: usize = 500;

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
    lab.with(&JAVA_4_3, |driver| driver.create_topic(&topic, 3, &json!({})))?;
    let mut worker = Worker::start(&lab.address()?, &lab.path().join("connect"), &topic)?;
    let done = work(lab, &mut worker);
    done.with_context(|| format!("log of the worker:\n{}", worker.process.log_tail()))
}

fn work(lab: &Lab, worker: &mut Worker) -> Result<()> {
    worker.append()?;
    worker.connect()?;
    worker.wait_for_all()?;
    // Killed while lines are on their way.
    worker.append()?;
    worker.wait_for_more_than(LINES)?;
    worker.process.kill()?;
    worker.append()?;
    worker.restart()?;
    worker.wait_for_all()?;
    // Stopped in good order.
    worker.process.terminate(LIMIT)?;
    worker.append()?;
    worker.restart()?;
    worker.wait_for_all()?;
    let groups = lab.with(&JAVA_4_3, |driver| driver.expect(json!({"op": "list_groups"})))?;
    let mut groups = groups.as_array().into_iter().flatten();
    ensure!(groups.any(|group| group["group"] == "connect-sink"), "the sink's group is not listed");
    Ok(())
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

    /// Different lines in the sink's file.
    fn arrived(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.directory.join("out.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for_more_than(&self, count: usize) -> Result<()> {
        wait_for("lines to arrive", LIMIT, || Ok((self.arrived().len() > count).then_some(())))
    }

    fn wait_for_all(&self) -> Result<()> {
        let due: BTreeSet<String> = (0..self.lines).map(|line| format!("line {line}")).collect();
        let all = wait_for("every line to arrive", LIMIT, || {
            Ok(due.is_subset(&self.arrived()).then_some(()))
        });
        all.with_context(|| {
            let arrived = self.arrived();
            let missing: Vec<_> = due.difference(&arrived).take(5).collect();
            format!("{} of {} lines arrived, missing {missing:?}", arrived.len(), due.len())
        })
    }
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
    writeln!(text, "offset.storage.partitions=2\nstatus.storage.partitions=1")?;
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
