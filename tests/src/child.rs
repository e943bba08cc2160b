//! Child programs: run to the end within a time, or kept in the background and never left behind.
//!
//! Invariants:
//! - a child that outlives its time is killed, and what it printed is part of the error
//! - a [`Background`] child dies with its handle, and also when this process is killed: a guard
//!   waits on a pipe that only this process holds open

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(5);

/// Looks at `condition` until it gives a value or `limit` is over.
///
/// # Errors
/// The time is over, or the condition itself says that it will never hold.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().with_context(|| format!("wait for {what}"))? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(POLL);
    }
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// It can not start, runs longer than `limit`, or ends with another status than 0; the error holds
/// its output.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let output = run_any_status(command, limit)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}\n{}", output.status, both(&output));
    }
    Ok(output)
}

/// As [`run`], but any exit status is an answer.
///
/// # Errors
/// It can not start, or runs longer than `limit`.
pub fn run_any_status(command: &mut Command, limit: Duration) -> Result<Output> {
    run_with_input(command, &[], limit)
}

/// As [`run_any_status`], with `input` on its standard input.
///
/// # Errors
/// It can not start, or runs longer than `limit`.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut stdin = child.stdin.take().context("the child has no stdin")?;
    let input = input.to_vec();
    // A child that ends early closes the pipe: its exit status tells, not the broken pipe.
    let writer = thread::spawn(move || std::io::Write::write_all(&mut stdin, &input).ok());
    let stdout = drain(child.stdout.take().context("the child has no stdout")?);
    let stderr = drain(child.stderr.take().context("the child has no stderr")?);
    let ended = wait_for("the end of a child", limit, || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill().context("kill a child that takes too long")?;
        child.wait().context("wait for a killed child")?;
    }
    writer.join().ok();
    let collect = |thread: thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    let output = Output {
        status: *ended.as_ref().unwrap_or(&ExitStatus::from_raw(9)),
        stdout: collect(stdout),
        stderr: collect(stderr),
    };
    match ended {
        Ok(_) => Ok(output),
        Err(error) => bail!("{command:?}: {error:#}\n{}", both(&output)),
    }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).ok();
        all
    })
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("stdout:\n{}\nstderr:\n{}", text(&output.stdout), text(&output.stderr))
}

/// A program that runs in the background, its output in a file, until it is killed or dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Background {
    /// Starts `command`, with its standard error (and its standard output, unless the command has
    /// one already) appended to the file `log`.
    ///
    /// # Errors
    /// The program or its guard can not start, or the log can not be written.
    pub fn start(command: &mut Command, log: &Path) -> Result<Background> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let guard = guard_for(child.id())?;
        Ok(Background { child, guard, log: log.to_owned() })
    }

    /// As [`Background::start`], talking over pipes; standard error still goes to `log`.
    ///
    /// # Errors
    /// The program or its guard can not start, or the log can not be written.
    pub fn start_piped(command: &mut Command, log: &Path) -> Result<Background> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let guard = guard_for(child.id())?;
        Ok(Background { child, guard, log: log.to_owned() })
    }

    /// The pipes and the rest of the child.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// The signal can not be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end for at most `limit`.
    ///
    /// # Errors
    /// The signal can not be sent, or the child does not end.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        let id = self.id().to_string();
        run(Command::new("kill").args(["-TERM", &id]), Duration::from_secs(5))?;
        wait_for("the end after SIGTERM", limit, || self.ended())
    }

    /// What it has written into its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(15)..];
        let short = |line: &&str| line.chars().take(300).collect::<String>();
        last.iter().map(short).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        self.guard.kill().ok();
        self.guard.wait().ok();
    }
}

/// A shell that kills `id` when this process ends in whatever way: its input then ends.
fn guard_for(id: u32) -> Result<Child> {
    Command::new("sh")
        .args(["-c", "read -r _; kill -KILL \"$0\"", &id.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the guard of a child")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_takes_too_long_is_killed_and_its_output_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 1000"]);
        let start = Instant::now();
        let error = run(&mut command, Duration::from_millis(300)).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(format!("{error:#}").contains("begun"), "{error:#}");
    }

    #[test]
    fn a_bad_status_is_an_error_with_the_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 3"]);
        let error = run(&mut command, Duration::from_secs(10)).unwrap_err();
        assert!(format!("{error:#}").contains("why"), "{error:#}");
    }

    #[test]
    fn a_background_child_dies_with_its_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        let child = Background::start(sleep.arg("1000"), &directory.path().join("log")).unwrap();
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        assert!(process.exists());
        drop(child);
        assert!(!process.exists());
    }
}
