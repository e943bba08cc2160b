//! Apache Kafka as a peer: a single node in KRaft mode, from Maven Central.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::probe;
use crate::child::{Background, run, wait_for};
use crate::install;

/// The release that `clients/kafka` pins.
pub const KAFKA_VERSION: &str = "4.3.0";

/// Longest time from the start of the process to the first answer.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A running Apache Kafka.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    directory: PathBuf,
    java: &'static [&'static str],
    process: Background,
    ready_after: Duration,
}

/// How a virtual machine of a test is started: small, beside others.
const SMALL: &[&str] = &["-Xmx512M", "-Xms512M", "-XX:+UseG1GC"];

/// As Kafka's own script does (`kafka-server-start.sh`, `kafka-run-class.sh`).
const AS_SHIPPED: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

impl Kafka {
    /// Formats `directory` and starts a broker on free ports of the loopback interface.
    ///
    /// # Errors
    /// It can not be installed, formatted or started.
    pub fn start(directory: &Path) -> Result<Kafka> {
        Kafka::start_with(directory, &[])
    }

    /// As [`Kafka::start`], with these broker configs.
    ///
    /// # Errors
    /// It can not be installed, formatted or started.
    pub fn start_with(directory: &Path, configs: &[(&str, &str)]) -> Result<Kafka> {
        Kafka::start_in(directory, configs, SMALL)
    }

    /// As [`Kafka::start_with`], with the virtual machine's settings of Kafka's own scripts.
    ///
    /// # Errors
    /// It can not be installed, formatted or started.
    pub fn start_as_shipped(directory: &Path, configs: &[(&str, &str)]) -> Result<Kafka> {
        Kafka::start_in(directory, configs, AS_SHIPPED)
    }

    fn start_in(
        directory: &Path,
        configs: &[(&str, &str)],
        java: &'static [&'static str],
    ) -> Result<Kafka> {
        let classpath = install::kafka_classpath()?;
        fs::create_dir_all(directory)?;
        let (port, controller_port) = (probe::free_port()?, probe::free_port()?);
        let properties = directory.join("server.properties");
        let mut text = settings(port, controller_port, &directory.join("data"))?;
        for (key, value) in configs {
            writeln!(text, "{key}={value}")?;
        }
        fs::write(&properties, text)?;
        let mut format = Command::new("java");
        format.args(["-cp", &classpath, "kafka.tools.StorageTool", "format"]);
        format.args(["-t", "a2xhbW0tdGVzdC1jbHVzdA", "-c"]).arg(&properties);
        run(&mut format, Duration::from_secs(60))?;
        let (process, ready_after) = launch(directory, port, java)?;
        Ok(Kafka { port, directory: directory.to_owned(), java, process, ready_after })
    }

    /// Starts it again after its end, on the same port and directory.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.ended()?.is_none() {
            bail!("restart of a broker that still runs");
        }
        (self.process, self.ready_after) = launch(&self.directory, self.port, self.java)?;
        Ok(())
    }

    /// Where clients connect to.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its data.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// From the start of the process to the first answer to Metadata that names a broker, the last
    /// time it started.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The signal can not be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// A controlled stop.
    ///
    /// # Errors
    /// It does not end within 60 s.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(60))?;
        Ok(())
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

fn launch(directory: &Path, port: u16, java: &[&str]) -> Result<(Background, Duration)> {
    let classpath = install::kafka_classpath()?;
    let mut command = Command::new("java");
    command.args(java).args(["-cp", &classpath]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "kafka.Kafka"]);
    command.arg(directory.join("server.properties"));
    let begun = Instant::now();
    let mut process = Background::start(&mut command, &directory.join("log"))?;
    let ready = wait_for("Apache Kafka to be ready", READY_LIMIT, || {
        if let Some(status) = process.ended()? {
            bail!("Apache Kafka ended with {status}");
        }
        Ok(probe::brokers(port).is_ok_and(|brokers| brokers > 0).then_some(()))
    });
    ready.with_context(|| process.log_tail())?;
    Ok((process, begun.elapsed()))
}

fn settings(port: u16, controller_port: u16, data: &Path) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "process.roles=broker,controller\nnode.id=1")?;
    writeln!(text, "controller.quorum.voters=1@127.0.0.1:{controller_port}")?;
    // Apache Kafka writes down where a log begins only every minute.
    writeln!(text, "log.flush.start.offset.checkpoint.interval.ms=100")?;
    writeln!(
        text,
        "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"
    )?;
    writeln!(text, "controller.listener.names=CONTROLLER")?;
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        writeln!(text, "{topic}.replication.factor=1")?;
    }
    writeln!(text, "transaction.state.log.min.isr=1\nshare.coordinator.state.topic.min.isr=1")?;
    writeln!(
        text,
        "offsets.topic.num.partitions=5\nshare.coordinator.state.topic.num.partitions=1"
    )?;
    writeln!(text, "log.dirs={}", data.display())?;
    Ok(text)
}
