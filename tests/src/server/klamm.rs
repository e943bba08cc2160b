//! `klamm dev` as a child process: started, killed, restarted on the same port and directory.
//!
//! Invariant: after [`Klamm::start`] and [`Klamm::restart`] the broker has printed its one line and
//! answered Metadata.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::probe;
use crate::child::{Background, wait_for};
use crate::install;

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct KlammOptions {
    /// Its data; the log of the process is beside it.
    pub directory: PathBuf,
    /// Values for `--set`.
    pub settings: Vec<(String, String)>,
    /// Longest time to the first answer.
    pub ready_limit: Duration,
}

impl KlammOptions {
    /// A broker with its defaults.
    pub fn in_directory(directory: &Path) -> KlammOptions {
        let ready_limit = Duration::from_secs(30);
        KlammOptions { directory: directory.to_owned(), settings: vec![], ready_limit }
    }

    /// With `--set key=value`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> KlammOptions {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A running `klamm dev`.
#[derive(Debug)]
pub struct Klamm {
    options: KlammOptions,
    binary: PathBuf,
    port: u16,
    process: Background,
    ready_after: Duration,
}

impl Klamm {
    /// Starts a broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// It can not be built, ends, or is not ready in time.
    pub fn start(options: KlammOptions) -> Result<Klamm> {
        let binary = install::klamm()?;
        fs::create_dir_all(&options.directory)?;
        let port = probe::free_port()?;
        let (process, ready_after) = launch(&binary, &options, port)?;
        Ok(Klamm { options, binary, port, process, ready_after })
    }

    /// Starts it again after its end, on the same port and directory.
    ///
    /// # Errors
    /// As [`Klamm::start`].
    pub fn restart(&mut self) -> Result<()> {
        if self.process.ended()?.is_none() {
            bail!("restart of a broker that still runs");
        }
        (self.process, self.ready_after) = launch(&self.binary, &self.options, self.port)?;
        Ok(())
    }

    /// Starts it after its end and sends SIGKILL `after` that long, so also while it recovers.
    ///
    /// # Errors
    /// It can not start.
    pub fn restart_and_kill(&mut self, after: Duration) -> Result<()> {
        let log = log_beside(&self.options.directory)?;
        let mut command = command(&self.binary, &self.options, self.port);
        let mut process = Background::start(&mut command, &log)?;
        thread::sleep(after);
        process.kill()
    }

    /// Where clients connect to.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its data.
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// From the start of the process to the first answer to Metadata, the last time it started.
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

    /// SIGTERM, and waits for the controlled stop.
    ///
    /// # Errors
    /// It does not end within 60 s.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.terminate(Duration::from_secs(60))
    }

    /// Memory that is resident now, in bytes.
    ///
    /// # Errors
    /// The process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        super::resident_bytes_of(self.process.id())
    }

    /// Open file descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn open_files(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

fn command(binary: &Path, options: &KlammOptions, port: u16) -> Command {
    let mut command = Command::new(binary);
    command.arg("dev").arg("--dir").arg(&options.directory);
    command.args(["--port", &port.to_string()]);
    for (key, value) in &options.settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command
}

fn launch(binary: &Path, options: &KlammOptions, port: u16) -> Result<(Background, Duration)> {
    let mut command = command(binary, options, port);
    let log = log_beside(&options.directory)?;
    let before = fs::read(&log).map_or(0, |log| log.len());
    let start = Instant::now();
    let mut process = Background::start(&mut command, &log)?;
    let said = wait_for("klamm to be ready", options.ready_limit, || {
        if let Some(status) = process.ended()? {
            bail!("klamm ended with {status}:\n{}", process.log_tail());
        }
        match probe::brokers(port) {
            Ok(1..) => Ok(Some(())),
            Ok(_) | Err(_) => Ok(None),
        }
    });
    said.with_context(|| format!("log of klamm:\n{}", process.log_tail()))?;
    let ready_after = start.elapsed();
    let line = format!("127.0.0.1:{port}");
    wait_for("the line on stdout", Duration::from_secs(5), || {
        Ok(process.log().get(before..).is_some_and(|log| log.contains(&line)).then_some(()))
    })?;
    Ok((process, ready_after))
}

/// `DIR.log` beside `DIR`, so that the data directory holds nothing of the tests.
fn log_beside(directory: &Path) -> Result<PathBuf> {
    let name = directory.file_name().context("the data directory has a name")?;
    Ok(directory.with_file_name(format!("{}.log", name.to_string_lossy())))
}
