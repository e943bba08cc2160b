//! What figures depend on beside the programs: the machine and the day.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tests::child::run;

/// Where and when something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name of the processor.
    pub processor: String,
    /// How many of its threads the machine has.
    pub threads: usize,
    /// Memory in GiB, rounded.
    pub memory_gib: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// The day, as `2026-01-31`.
    pub day: String,
    /// The commit of klamm, with `+` when files differ from it.
    pub commit: String,
}

impl Machine {
    /// This machine, now.
    ///
    /// # Errors
    /// `date` or `git` does not run, or `/proc` is not there.
    pub fn here() -> Result<Machine> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let changed = said("git", &["status", "--porcelain", "--untracked-files=no"])?;
        let mark = if changed.is_empty() { "" } else { "+" };
        Ok(Machine {
            processor: field(&fs::read_to_string("/proc/cpuinfo")?, "model name")
                .unwrap_or_else(|| "unknown".to_owned()),
            threads: thread::available_parallelism()?.get(),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            day: said("date", &["-u", "+%F"])?,
            commit: said("git", &["rev-parse", "--short", "HEAD"])? + mark,
        })
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    let output = run(&mut command, Duration::from_secs(60))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
