//! Programs that stages start: their output goes to a file, their time is limited, and what they
//! started ends with them.
//!
//! Out: whether they succeeded, and how many tests their output counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const POLL: Duration = Duration::from_millis(20);

/// So much is shown of what a failed program printed.
const TAIL_LINES: usize = 100;

/// How many checks or tests ended which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Held.
    pub passed: u64,
    /// Did not hold.
    pub failed: u64,
    /// Could not run.
    pub skipped: u64,
}

impl Tally {
    /// One check that held.
    pub const ONE: Tally = Tally { passed: 1, failed: 0, skipped: 0 };

    /// Adds another tally to this one.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Sums up the `test result:` lines of libtest and libtest-mimic.
    pub fn of_tests(output: &str) -> Tally {
        let mut tally = Tally::default();
        for line in output.lines() {
            let Some((_, counts)) = line.split_once("test result: ") else { continue };
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
                let Ok(number) = number.parse::<u64>() else { continue };
                match word {
                    "passed" => tally.passed += number,
                    "failed" => tally.failed += number,
                    "ignored" => tally.skipped += number,
                    _ => {}
                }
            }
        }
        tally
    }
}

/// Where a stage's programs write, and until when they may run.
#[derive(Debug)]
pub struct Programs {
    log: PathBuf,
    deadline: Instant,
}

impl Programs {
    /// Programs that append to `log` and together may take `limit`.
    ///
    /// # Errors
    /// The log can not be made.
    pub fn new(log: &Path, limit: Duration) -> Result<Programs> {
        fs::create_dir_all(log.parent().context("a log has a folder")?)?;
        File::create(log).with_context(|| log.display().to_string())?;
        Ok(Programs { log: log.to_owned(), deadline: Instant::now() + limit })
    }

    /// Everything that was written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Adds a line of ours to the output.
    ///
    /// # Errors
    /// It can not be written.
    pub fn note(&self, text: &str) -> Result<()> {
        let mut log = File::options().append(true).open(&self.log)?;
        Ok(writeln!(log, "{text}")?)
    }

    /// Runs one program to its end.
    ///
    /// # Errors
    /// It can not start, fails, or the time is over.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        self.run_expecting(command, 0)
    }

    /// As [`Programs::run`], for a program that has to end with the exit code `expected`.
    ///
    /// # Errors
    /// It can not start, ends otherwise, or the time is over.
    pub fn run_expecting(&self, command: &mut Command, expected: i32) -> Result<()> {
        let log = self.begin(command)?;
        self.finish(command, log, &[expected])
    }

    /// Runs one program to its end and returns what it prints to standard output. Its exit code is
    /// one of `expected`.
    ///
    /// # Errors
    /// It can not start, ends otherwise, or the time is over.
    pub fn output_of(&self, command: &mut Command, expected: &[i32]) -> Result<Vec<u8>> {
        self.begin(command)?;
        let path = self.log.with_extension("out");
        let output = File::create(&path).with_context(|| path.display().to_string())?;
        let ended = self.finish(command, output, expected);
        let printed = fs::read(&path)?;
        if ended.is_err() {
            self.note(tail(&String::from_utf8_lossy(&printed)))?;
        }
        ended.map(|()| printed)
    }

    fn begin(&self, command: &Command) -> Result<File> {
        let mut log = File::options().append(true).open(&self.log)?;
        writeln!(log, "$ {command:?}")?;
        Ok(log)
    }

    fn finish(&self, command: &mut Command, output: File, expected: &[i32]) -> Result<()> {
        let errors = File::options().append(true).open(&self.log)?;
        let mut child = command
            .env("CARGO_TERM_COLOR", "never")
            .env("TERM", "dumb")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        loop {
            if let Some(status) = child.try_wait()? {
                if !status.code().is_some_and(|code| expected.contains(&code)) {
                    bail!("{command:?} ended with {status}");
                }
                return Ok(());
            }
            if Instant::now() > self.deadline {
                end_with_descendants(child.id());
                child.wait()?;
                bail!("{command:?} was ended: the time of this stage is over");
            }
            thread::sleep(POLL);
        }
    }
}

/// The last lines of a text.
fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let before = text.rmatch_indices('\n').nth(TAIL_LINES - 1);
    &text[before.map_or(0, |(index, _)| index + 1)..]
}

/// Kills a process and everything it started.
fn end_with_descendants(id: u32) {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The second field is a name in brackets, which may hold anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut ids = vec![id];
    let mut next = 0;
    while let Some(parent) = ids.get(next) {
        ids.extend(children.get(parent).into_iter().flatten().copied().collect::<Vec<_>>());
        next += 1;
    }
    let ids = ids.iter().map(ToString::to_string);
    // A process that has ended meanwhile is no error.
    Command::new("kill").arg("-KILL").args(ids).stderr(Stdio::null()).status().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted() {
        let output = "running 3 tests\n\
            test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 5 filtered out; finished in 0.1s\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(Tally::of_tests(output), Tally { passed: 13, failed: 2, skipped: 3 });
    }

    #[test]
    fn a_program_that_takes_too_long_ends_with_its_children() {
        let directory = std::env::temp_dir().join(format!("klamm-ci-{}", std::process::id()));
        let log = directory.join("log");
        let programs = Programs::new(&log, Duration::from_millis(300)).unwrap();
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo child $!; wait"]);
        let error = programs.run(&mut command).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(60));
        assert!(error.to_string().contains("time"), "{error:#}");
        let output = programs.output();
        let child = output.lines().find_map(|line| line.strip_prefix("child ")).unwrap();
        let is_gone = || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !is_gone() {
            assert!(start.elapsed() < Duration::from_secs(60), "{child} lives on");
            thread::yield_now();
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_failing_program_leaves_what_it_printed() {
        let directory = std::env::temp_dir().join(format!("klamm-ci-o{}", std::process::id()));
        let programs = Programs::new(&directory.join("log"), Duration::from_secs(60)).unwrap();
        let run = |text: &str, expected: &[i32]| {
            programs.output_of(Command::new("sh").args(["-c", text]), expected)
        };
        assert_eq!(run("echo printed; exit 3", &[0, 3]).unwrap(), b"printed\n");
        assert!(!programs.output().contains("\nprinted\n"));
        assert!(run("seq 1001 1150; exit 1", &[0, 3]).is_err());
        let output = programs.output();
        assert!(output.contains("\n1051\n") && output.ends_with("\n1150\n"), "{output}");
        assert!(!output.contains("\n1050\n"), "{output}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_failing_program_is_an_error() {
        let directory = std::env::temp_dir().join(format!("klamm-ci-f{}", std::process::id()));
        let programs = Programs::new(&directory.join("log"), Duration::from_secs(60)).unwrap();
        let mut command = Command::new("sh");
        assert!(programs.run(command.args(["-c", "echo why >&2; exit 3"])).is_err());
        assert!(programs.output().contains("why"));
        fs::remove_dir_all(directory).unwrap();
    }
}
