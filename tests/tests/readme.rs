//! Every command in the README works as written.
//!
//! In: the fenced blocks of README.md that are marked `sh`, run from top to bottom by a shell; the
//! block marked `text` behind one holds what the last of its commands has to print. A broker starts
//! where the README starts one and stops at the end.
//!
//! What differs from a reader's terminal: another port and directory, so that nothing that runs
//! there is disturbed, and a binary that is built already. `cargo ci` itself is not run again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::child::{Background, run, wait_for};
use tests::install::{self, Tool};
use tests::server::probe;

/// Longest time for one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Longest time for one that builds first.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);

/// What the README types in place of the path of the binary.
const BINARIES: &[&str] = &["cargo run --release -- ", "target/release/klamm "];

/// One command of the README.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// 1-based.
    line: usize,
    command: String,
    /// Lines that it has to print.
    expected: Vec<String>,
}

/// What a command is to this test.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Runs to its end.
    Plain,
    /// Runs until the last command is done.
    Broker,
    /// Runs the tests, this one among them.
    Check,
    /// Runs the simulator in the tree, which may have to be built first.
    Simulate,
}

#[test]
fn the_commands_of_the_readme_work() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let steps = steps(&readme);
    let kinds: Vec<Kind> = steps.iter().map(|step| kind(&step.command)).collect();
    for wanted in [Kind::Broker, Kind::Plain, Kind::Check, Kind::Simulate] {
        assert!(kinds.contains(&wanted), "the README has no command of kind {wanted:?}");
    }
    walk(&steps).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn cargo_run_runs_klamm() {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(["run", "--quiet", "--release", "--", "--version"]);
    let output = run(&mut command, BUILD_LIMIT);
    let output = output.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(output.stdout.starts_with(b"klamm "), "{output:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn walk(steps: &[Step]) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("klamm-readme-").tempdir()?;
    let binary = install::klamm()?;
    let port = probe::free_port()?;
    let mut broker = None;
    for step in steps {
        let context = || format!("README.md:{}: {}", step.line, step.command);
        let text = translated(&step.command, &binary, port);
        match kind(&step.command) {
            Kind::Broker => {
                ensure!(broker.is_none(), "a second broker");
                let started = start(&text, directory.path(), port).with_context(context)?;
                broker = Some(started);
            }
            Kind::Plain => {
                let output = run_plain(&text, directory.path(), port).with_context(context)?;
                let Some(output) = output else { continue };
                for line in &step.expected {
                    let is_there = output.lines().any(|printed| printed.trim_end() == line);
                    ensure!(is_there, "{}: no line {line:?} in {output:?}", context());
                }
            }
            Kind::Simulate => {
                let mut command = Command::new("sh");
                command.current_dir(root()).args(["-c", &step.command]);
                run(&mut command, BUILD_LIMIT).with_context(context)?;
            }
            Kind::Check => check_is_there(&step.command).with_context(context)?,
        }
    }
    let mut broker = broker.context("the README starts no broker")?;
    let status = broker.terminate(COMMAND_LIMIT)?;
    ensure!(status.success(), "the broker ended with {status}: {}", broker.log_tail());
    Ok(())
}

/// Starts a broker and waits for the line that says where it listens.
fn start(text: &str, directory: &Path, port: u16) -> Result<Background> {
    let mut command = Command::new("sh");
    command.current_dir(directory).args(["-c", &format!("exec {text} --port {port}")]);
    let mut broker = Background::start(&mut command, &directory.join("broker.log"))?;
    let address = format!("127.0.0.1:{port}");
    wait_for("the broker", COMMAND_LIMIT, || {
        if let Some(status) = broker.ended()? {
            bail!("ended with {status}: {}", broker.log_tail());
        }
        let is_ready = broker.log().contains(&address) && probe::brokers(port).is_ok();
        Ok(is_ready.then_some(()))
    })?;
    Ok(broker)
}

/// Runs a command and gives what it printed; nothing if its tool is not on this machine.
fn run_plain(text: &str, directory: &Path, port: u16) -> Result<Option<String>> {
    if text.contains("kcat") && install::skips_without(&[Tool::Kcat]) {
        return Ok(None);
    }
    let mut command = Command::new("sh");
    // A pipe fails with its last command alone, so what feeds it has to be harmless.
    command.current_dir(directory).args(["-e", "-c", text]);
    command.env("KLAMM_BOOTSTRAP_SERVER", format!("127.0.0.1:{port}"));
    let output = run(&mut command, COMMAND_LIMIT)?;
    Ok(Some(String::from_utf8(output.stdout)?))
}

/// A command that runs this test can not be run by it; but what it names has to be there.
fn check_is_there(command: &str) -> Result<()> {
    if let Some(stages) = command.strip_prefix("cargo ci") {
        let mut list = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        list.current_dir(root()).args(["ci", "list"]);
        let output = run(&mut list, Duration::from_secs(600))?;
        let known = String::from_utf8(output.stdout)?;
        let words: Vec<&str> = known.split_whitespace().collect();
        for stage in stages.split_whitespace() {
            let is_known =
                words.iter().any(|word| word.trim_end_matches(':') == stage) || stage == "fix";
            ensure!(is_known, "cargo ci knows no {stage}");
        }
        return Ok(());
    }
    ensure!(root().join(command).is_file(), "there is no {command}");
    Ok(())
}

fn kind(command: &str) -> Kind {
    if command.starts_with("cargo ci") || command.starts_with(".ci/") {
        return Kind::Check;
    }
    if command.starts_with("cargo sim") {
        return Kind::Simulate;
    }
    let is_broker = BINARIES.iter().any(|binary| {
        let rest = command.strip_prefix(binary);
        rest.is_some_and(|rest| ["dev", "serve"].contains(&rest.split(' ').next().unwrap_or("")))
    });
    if is_broker { Kind::Broker } else { Kind::Plain }
}

/// The command for this machine: its binary, and a port that is free.
fn translated(command: &str, binary: &Path, port: u16) -> String {
    let mut text = command.replace("9092", &port.to_string());
    for name in BINARIES {
        text = text.replace(name, &format!("'{}' ", binary.display()));
    }
    text
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut language: Option<String> = None;
    let mut is_continued = false;
    let mut last_was_shell = false;
    for (index, line) in readme.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &language) {
            (Some(name), None) => {
                language = Some(name.trim().to_owned());
                is_continued = false;
            }
            (Some(_), Some(name)) => {
                last_was_shell = name == "sh";
                language = None;
            }
            (None, Some(name)) if name == "sh" => {
                add_shell_line(index + 1, line, &mut is_continued, &mut steps);
            }
            (None, Some(name)) if name == "text" && last_was_shell => {
                if let Some(step) = steps.last_mut() {
                    step.expected.push(line.trim_end().to_owned());
                }
            }
            _ => {}
        }
    }
    steps
}

fn add_shell_line(number: usize, line: &str, is_continued: &mut bool, steps: &mut Vec<Step>) {
    let text = line.trim();
    if text.is_empty() || text.starts_with('#') {
        return;
    }
    let (text, goes_on) = match text.strip_suffix('\\') {
        Some(text) => (text, true),
        None => (text, false),
    };
    match steps.last_mut().filter(|_| *is_continued) {
        Some(step) => step.command.push_str(text),
        None => {
            steps.push(Step { line: number, command: text.to_owned(), expected: vec![] });
        }
    }
    *is_continued = goes_on;
}

#[test]
fn commands_and_what_they_print_are_read_from_the_text() {
    let readme = "\
text

```sh
# a comment
cargo run --release -- dev

a \\
    b
```

```text
one
two
```

```toml
c = 1
```

```sh
cargo ci quick
```
";
    let step = |line, command: &str, expected: &[&str]| Step {
        line,
        command: command.to_owned(),
        expected: expected.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [
        step(5, "cargo run --release -- dev", &[]),
        step(7, "a b", &["one", "two"]),
        step(21, "cargo ci quick", &[]),
    ];
    assert_eq!(steps(readme), expected);
    let kinds: Vec<Kind> = expected.iter().map(|step| kind(&step.command)).collect();
    assert_eq!(kinds, [Kind::Broker, Kind::Plain, Kind::Check]);
}

#[test]
fn binary_and_port_are_this_machines() {
    let text = translated("echo a | target/release/klamm -b h:9092 produce b", Path::new("/k"), 7);
    assert_eq!(text, "echo a | '/k' -b h:7 produce b");
}
