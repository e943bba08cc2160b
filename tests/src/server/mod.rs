//! The broker under test: `klamm`, Apache Kafka started here, or one that runs already.
//!
//! In: `KLAMM_TEST_PEER` (`klamm`, the default, or `kafka`), `KLAMM_TEST_BOOTSTRAP` (host:port).
//! Out: an address that answers Metadata, and the end of the process when the handle is dropped.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::group::BROKER_CONFIGS;

mod kafka;
mod klamm;
pub mod probe;

pub use kafka::{KAFKA_VERSION, Kafka};
pub use klamm::{Klamm, KlammOptions};

/// Which broker the lists of cases run against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This project's.
    Klamm,
    /// Apache Kafka, started by the tests.
    Kafka,
    /// One that runs already, at this address.
    Running(String),
}

impl Peer {
    /// What the environment asks for.
    ///
    /// # Errors
    /// `KLAMM_TEST_PEER` is neither `klamm` nor `kafka`.
    pub fn from_environment() -> Result<Peer> {
        if let Ok(address) = std::env::var("KLAMM_TEST_BOOTSTRAP") {
            return Ok(Peer::Running(address));
        }
        match std::env::var("KLAMM_TEST_PEER").as_deref() {
            Err(_) | Ok("" | "klamm") => Ok(Peer::Klamm),
            Ok("kafka") => Ok(Peer::Kafka),
            Ok(other) => bail!("KLAMM_TEST_PEER={other}: neither klamm nor kafka"),
        }
    }
}

/// User and system time of a process, in seconds.
///
/// # Errors
/// It has ended.
pub fn cpu_seconds_of(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name in parentheses; fields 14 and 15, in ticks of 10 ms.
    let rest = stat.rsplit_once(')').context("stat")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? / 100.0)
}

/// Memory of a process that is resident now, in bytes.
///
/// # Errors
/// It has ended.
pub fn resident_bytes_of(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kibibytes = line.split_whitespace().nth(1).context("number of VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

/// A broker that answers.
#[derive(Debug)]
pub enum Server {
    /// This project's.
    Klamm(Klamm),
    /// Apache Kafka, started by the tests.
    Kafka(Kafka),
    /// One that runs already.
    Running(String),
}

impl Server {
    /// Starts what is asked for, with its data and its log below `directory`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(peer: &Peer, directory: &Path) -> Result<Server> {
        Server::start_with(peer, directory, BROKER_CONFIGS)
    }

    /// As [`Server::start`], with these broker configs; one that runs already keeps its own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_with(peer: &Peer, directory: &Path, configs: &[(&str, &str)]) -> Result<Server> {
        match peer {
            Peer::Klamm => {
                let options = KlammOptions::in_directory(&directory.join("klamm"));
                let options = configs.iter().fold(options, |o, (key, value)| o.set(key, value));
                Ok(Server::Klamm(Klamm::start(options)?))
            }
            Peer::Kafka => {
                let directory = directory.join("kafka");
                Ok(Server::Kafka(Kafka::start_with(&directory, configs)?))
            }
            Peer::Running(address) => Ok(Server::Running(address.clone())),
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> String {
        match self {
            Server::Klamm(klamm) => klamm.address(),
            Server::Kafka(kafka) => kafka.address(),
            Server::Running(address) => address.clone(),
        }
    }

    /// The broker's process, if it is ours.
    pub fn process_id(&self) -> Option<u32> {
        match self {
            Server::Klamm(klamm) => Some(klamm.process_id()),
            Server::Kafka(kafka) => Some(kafka.process_id()),
            Server::Running(_) => None,
        }
    }

    /// User and system time of the broker, in seconds.
    ///
    /// # Errors
    /// It has ended, or is not ours.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(self.process_id().context("the broker is not ours")?)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// The signal can not be sent, or the broker is not ours.
    pub fn kill(&mut self) -> Result<()> {
        match self {
            Server::Klamm(klamm) => klamm.kill(),
            Server::Kafka(kafka) => kafka.kill(),
            Server::Running(address) => bail!("{address} is not ours to kill"),
        }
    }

    /// A controlled stop by SIGTERM.
    ///
    /// # Errors
    /// It does not end in time, or the broker is not ours.
    pub fn stop(&mut self) -> Result<()> {
        match self {
            Server::Klamm(klamm) => klamm.stop().map(drop),
            Server::Kafka(kafka) => kafka.stop(),
            Server::Running(address) => bail!("{address} is not ours to stop"),
        }
    }

    /// Starts it again after its end, on the same port and directory.
    ///
    /// # Errors
    /// It does not start, or the broker is not ours.
    pub fn restart(&mut self) -> Result<()> {
        match self {
            Server::Klamm(klamm) => klamm.restart(),
            Server::Kafka(kafka) => kafka.restart(),
            Server::Running(address) => bail!("{address} is not ours to start"),
        }
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        match self {
            Server::Klamm(klamm) => klamm.log_tail(),
            Server::Kafka(kafka) => kafka.log_tail(),
            Server::Running(_) => String::new(),
        }
    }
}
