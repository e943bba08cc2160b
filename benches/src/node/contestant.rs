//! Who is measured: klamm, Apache Kafka, the limit program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::child::{Background, run, wait_for};
use tests::server::{Kafka, Klamm, KlammOptions, Server, cpu_seconds_of};

use super::works::Work;
use super::{Who, scratch};

/// Files of deleted topics go soon, so that what comes next is measured without their removal.
const DELETE_DELAY: &str = "log.segment.delete.delay.ms";
const SOON: &str = "1000";

/// Somebody with a kind of acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contestant {
    pub(super) who: Who,
    pub(super) is_synced: bool,
}

/// One that runs.
pub(super) struct Running {
    pub(super) contestant: Contestant,
    pub(super) address: String,
    process: u32,
    program: Program,
    /// What it writes is here.
    place: PathBuf,
    /// Topics that are kept from turn to turn, by name.
    filled: BTreeSet<String>,
}

/// Dropping it ends the process.
enum Program {
    Server(#[allow(dead_code, reason = "it is kept alive")] Server),
    Limit(Background),
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    pub(super) cpu_seconds: f64,
    pub(super) context_switches: f64,
}

impl Use {
    pub(super) fn since(self, before: &Use) -> Use {
        Use {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            context_switches: self.context_switches - before.context_switches,
        }
    }
}

impl Contestant {
    /// Starts it, with what it writes below `directory`.
    pub(super) fn start(self, directory: &Path) -> Result<Running> {
        let kind = if self.is_synced { "synced" } else { "cached" };
        let place = scratch(directory, &format!("{} {kind}", self.who.name()));
        fs::create_dir_all(&place)?;
        let (program, address, process) = match self.who {
            Who::Limit => self.start_limit(&place)?,
            Who::Klamm => {
                let durability = if self.is_synced { "fsync" } else { "os" };
                let options = KlammOptions::in_directory(&place).set(DELETE_DELAY, SOON);
                let klamm = Klamm::start(options.set("klamm.durability", durability))?;
                server(Server::Klamm(klamm))?
            }
            Who::Kafka => {
                server(Server::Kafka(Kafka::start_as_shipped(&place, &[(DELETE_DELAY, SOON)])?))?
            }
        };
        Ok(Running { contestant: self, address, process, program, place, filled: BTreeSet::new() })
    }

    fn start_limit(self, place: &Path) -> Result<(Program, String, u32)> {
        let log = place.join("log");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("limit").arg("--directory").arg(place.join("data"));
        if self.is_synced {
            command.arg("--sync");
        }
        let limit = Background::start(&mut command, &log)?;
        let address = wait_for("the limit program", Duration::from_secs(10), || {
            let text = fs::read_to_string(&log)?;
            Ok(text.ends_with('\n').then(|| text.trim().to_owned()))
        })?;
        let process = limit.id();
        Ok((Program::Limit(limit), address, process))
    }
}

fn server(server: Server) -> Result<(Program, String, u32)> {
    let (address, process) = (server.address(), server.process_id().context("a process")?);
    Ok((Program::Server(server), address, process))
}

impl Running {
    pub(super) fn name(&self) -> &'static str {
        self.contestant.who.name()
    }

    /// The topic for a piece of work in this turn: a new one for what is written; one for all turns,
    /// filled once, for what is read.
    pub(super) fn begin(&mut self, work: &Work, turn: usize) -> Result<String> {
        let name = match work.fill_seconds {
            None => format!("{}-{turn}", work.topic),
            Some(_) => work.topic.to_owned(),
        };
        let is_there = work.fill_seconds.is_some() && !self.filled.insert(name.clone());
        if is_there || self.contestant.who == Who::Limit {
            return Ok(name);
        }
        let mut create = self.load_command("create", work, &name)?;
        if self.contestant.who == Who::Kafka && self.contestant.is_synced {
            create.args(["--config", "flush.messages=1"]);
        }
        run(&mut create, Duration::from_secs(300))?;
        if let Some(seconds) = work.fill_seconds {
            let mut fill = self.load_command("produce", work, &name)?;
            fill.args(["--connections", "4", "--depth", "5", "--batch-bytes", "65536"]);
            fill.args(["--warm-up", "0", "--seconds", &seconds.to_string()]);
            run(&mut fill, Duration::from_secs(120))?;
        }
        Ok(name)
    }

    /// Gives the room on the disk free that a piece of work took, but for what is read again.
    pub(super) fn end(&mut self, work: &Work, topic: &str) -> Result<()> {
        if work.fill_seconds.is_some() {
            return Ok(());
        }
        if let Program::Limit(limit) = &mut self.program {
            limit.kill()?;
            fs::remove_dir_all(&self.place)?;
            fs::create_dir_all(&self.place)?;
            (self.program, self.address, self.process) =
                self.contestant.start_limit(&self.place)?;
            return Ok(());
        }
        let mut delete = self.load_command("delete", work, topic)?;
        run(&mut delete, Duration::from_secs(120))?;
        wait_for("the files of a topic to go", Duration::from_secs(120), || {
            Ok((!self.has_files_of(topic)?).then_some(()))
        })
    }

    fn has_files_of(&self, topic: &str) -> Result<bool> {
        let prefix = format!("{topic}-");
        let data = match self.contestant.who {
            Who::Kafka => self.place.join("data"),
            Who::Klamm | Who::Limit => self.place.clone(),
        };
        for entry in fs::read_dir(data)? {
            if entry?.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn load_command(&self, what: &str, work: &Work, topic: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["load", what, "--address", &self.address, "--topic", topic]);
        command.args(["--partitions", &work.partitions.to_string()]);
        Ok(command)
    }

    /// What it has used so far.
    pub(super) fn use_of(&self) -> Result<Use> {
        let mut context_switches = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process))? {
            // A thread may end meanwhile.
            let text = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
            let counts =
                lines.filter_map(|line| line.split_whitespace().last()?.parse::<f64>().ok());
            context_switches += counts.sum::<f64>();
        }
        Ok(Use { cpu_seconds: cpu_seconds_of(self.process)?, context_switches })
    }
}
