//! The stages of CI: what each does, what it needs, how long it may take.
//!
//! Builds are shared: everything that is tested as a library is built once by the dev profile, for
//! the whole workspace at once so that features do not change between stages; the tests of the real
//! binary all use one release build, which is what users run.
//!
//! Start at [`STAGES`].

use std::fmt::{Display, Write as _};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::program::Programs;
use crate::tools::Tool;
use crate::workspace::{Workspace, cargo};
use crate::{codegen, dependencies, folders, fuzz, layers, links, planted, tidy, tutorial};

/// One stage.
pub struct Stage {
    /// What to type.
    pub name: &'static str,
    /// What it checks.
    pub what: &'static str,
    /// The groups it belongs to.
    pub groups: &'static [Group],
    /// What the machine needs beyond cargo.
    pub tools: &'static [Tool],
    /// Longest time it may take.
    pub limit: Duration,
    /// Whether it waits most of its time, so that it may run beside its neighbours that do so too.
    pub waits: bool,
    /// Test programs of `tests/` that it runs.
    pub tests: &'static [&'static str],
    /// What it does.
    pub run: fn(&Stage, &Workspace, &Programs) -> Result<()>,
}

/// Stages that are run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The everyday check, under three minutes.
    Quick,
    /// What has to hold for every commit on main.
    All,
    /// Everything, longer.
    Nightly,
}

impl Group {
    const EVERY: [(Group, &'static str); 3] =
        [(Group::Quick, "quick"), (Group::All, "all"), (Group::Nightly, "nightly")];
}

const QUICK: &[Group] = &[Group::Quick, Group::All, Group::Nightly];
const ALL: &[Group] = &[Group::All, Group::Nightly];
const DAY: &[Group] = &[Group::All];
const NIGHT: &[Group] = &[Group::Nightly];

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

/// All stages, in the order in which they run: what is quick to fail comes first.
pub const STAGES: &[Stage] = &[
    Stage {
        name: "fmt",
        what: "the code is formatted",
        groups: QUICK,
        tools: &[Tool::Rustfmt],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| cargo_in(workspace, programs, &["fmt", "--all", "--check"]),
    },
    Stage {
        name: "tidy",
        what: "the rules of the style that rustfmt and clippy can not check",
        groups: QUICK,
        tools: &[],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, workspace, _| none_of(&tidy::check(workspace)),
    },
    Stage {
        name: "layers",
        what: "crates, and modules of the broker, use each other in one direction",
        groups: QUICK,
        tools: &[],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, workspace, _| {
            let mut findings = layers::check(workspace);
            findings.extend(folders::check(workspace));
            none_of(&findings)
        },
    },
    Stage {
        name: "dependencies",
        what: "licences, sources and bans of foreign crates; the lock file fits",
        groups: QUICK,
        tools: &[],
        limit: minutes(5),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| dependencies::run(workspace, programs),
    },
    Stage {
        name: "links",
        what: "links in Markdown files lead somewhere",
        groups: QUICK,
        tools: &[],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, workspace, _| none_of(&links::check(workspace)),
    },
    Stage {
        name: "generated",
        what: "the generated messages are those of the schemas",
        groups: QUICK,
        tools: &[Tool::Rustfmt],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, _, _| codegen::run(true),
    },
    Stage {
        name: "patches",
        what: "every planted bug applies to the code as it is, and is listed",
        groups: QUICK,
        tools: &[Tool::Git],
        limit: minutes(2),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| planted::check(workspace, programs),
    },
    Stage {
        name: "clippy",
        what: "no warning of rustc or clippy, in the whole workspace and its tests",
        groups: QUICK,
        tools: &[Tool::Clippy],
        limit: minutes(20),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            cargo_in(workspace, programs, &arguments)
        },
    },
    Stage {
        name: "unit",
        what: "the tests inside the crates",
        groups: QUICK,
        tools: &[],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let arguments = ["test", "--workspace", "--lib", "--bins", "--no-fail-fast"];
            cargo_in(workspace, programs, &arguments)
        },
    },
    Stage {
        name: "crates",
        what: "the tests beside the crates, from their outside",
        groups: ALL,
        tools: &[],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| tests_of_crates(workspace, programs),
    },
    Stage {
        name: "java-codec",
        what: "messages and batches, byte for byte as kafka-clients has them",
        groups: ALL,
        tools: &[Tool::Java, Tool::Maven],
        limit: minutes(20),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let arguments = ["test", "--workspace", "--test", JAVA_CODEC];
            cargo_in(workspace, programs, &arguments)
        },
    },
    Stage {
        name: "docs",
        what: "rustdoc without a warning, examples in it run",
        groups: ALL,
        tools: &[],
        limit: minutes(15),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let mut doc = cargo();
            doc.current_dir(&workspace.root).env("RUSTDOCFLAGS", "-D warnings");
            programs.run(doc.args(["doc", "--workspace", "--no-deps"]))?;
            cargo_in(workspace, programs, &["test", "--workspace", "--doc"])
        },
    },
    Stage {
        name: "release",
        what: "the binary that users run is built",
        groups: ALL,
        tools: &[],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            cargo_in(workspace, programs, &["build", "--release", "-p", "klamm"])
        },
    },
    real(
        "readme",
        "commands of the README work as written, tables of docs/ are true",
        &[],
        &["readme", "documents"],
    ),
    real(
        "real",
        "start, restart, size and files of the real binary",
        JAVA_AND_GO,
        &["start_time", "scale", "durability_dirs"],
    ),
    with_clients("cli", "the command line and the client", &[], &["cli", "client"]),
    with_clients("foreign-kcat", "kcat, which is librdkafka", &[], &["foreign_kcat"]),
    with_clients("foreign-go", "franz-go and sarama", &[Tool::Go], &["foreign_go"]),
    with_clients(
        "foreign-python",
        "confluent-kafka and kafka-python",
        &[Tool::Python],
        &["foreign_python"],
    ),
    with_clients("foreign-node", "kafkajs", &[Tool::Node, Tool::Npm], &["foreign_node"]),
    with_clients(
        "foreign-java",
        "kafka-clients 4.3 and 3.9",
        &[Tool::Java, Tool::Maven],
        &["foreign_java"],
    ),
    with_clients(
        "foreign-groups",
        "groups of several libraries, through kills of members and of the broker",
        &[Tool::Java, Tool::Maven, Tool::Python, Tool::Go, Tool::Node, Tool::Npm],
        &["foreign_groups"],
    ),
    with_clients(
        "foreign-connect",
        "a worker of Kafka Connect, killed and restarted",
        &[Tool::Java, Tool::Maven],
        &["foreign_connect"],
    ),
    with_clients(
        "foreign-spring",
        "listener containers of spring-kafka",
        &[Tool::Java, Tool::Maven],
        &["foreign_spring"],
    ),
    Stage {
        groups: DAY,
        ..real("ledger", "what was acknowledged survives 10 kills", JAVA_AND_GO, &["ledger"])
    },
    Stage {
        groups: NIGHT,
        limit: minutes(120),
        run: |stage, workspace, programs| {
            test_binary(stage, workspace, programs, &[("KLAMM_LEDGER_ROUNDS", "100")])
        },
        ..real("ledger-long", "what was acknowledged survives 100 kills", JAVA_AND_GO, &["ledger"])
    },
    Stage {
        name: "scenarios",
        what: "1,800 seeds of the smoke scenarios, and every counterexample there was",
        groups: DAY,
        tools: &[],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let run = |sweep: &[&str]| simulate(workspace, programs, "sim", sweep);
            run(&["scenarios/smoke", "--seeds", "0..150", COVERAGE])?;
            run(&["scenarios/regression", "--seeds", "0..5"])
        },
    },
    Stage {
        name: "scenarios-long",
        what: "96,000 seeds of the smoke scenarios, and the long ones",
        groups: NIGHT,
        tools: &[],
        limit: minutes(120),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| {
            let run = |sweep: &[&str]| simulate(workspace, programs, "sweep", sweep);
            run(&["scenarios/smoke", "--seeds", "0..8000", COVERAGE])?;
            run(&["scenarios/nightly", "--seeds", "0..500"])?;
            run(&["scenarios/regression", "--seeds", "0..100"])
        },
    },
    Stage {
        name: "tutorial",
        what: "the ten minutes with the simulator, as docs/simulation.md tells them",
        groups: ALL,
        tools: &[Tool::Git],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| tutorial::run(workspace, programs),
    },
    Stage {
        name: "planted-some",
        what: "the simulator finds and names three planted bugs, of three kinds",
        groups: DAY,
        tools: &[Tool::Git],
        limit: minutes(30),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| planted::run_some(workspace, programs),
    },
    Stage {
        name: "planted",
        what: "the simulator finds every planted bug, and names it",
        groups: NIGHT,
        tools: &[Tool::Git],
        limit: PLANTED_LIMIT,
        waits: false,
        tests: &[],
        run: |_, workspace, programs| planted::run(workspace, programs, &[]).map(drop),
    },
    Stage {
        name: "fuzz",
        what: "the protocol's fuzz targets, 20 s each",
        groups: DAY,
        tools: &[Tool::Cxx],
        limit: minutes(20),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| fuzz::run(workspace, programs, 20),
    },
    Stage {
        name: "fuzz-long",
        what: "the protocol's fuzz targets, 10 minutes each",
        groups: NIGHT,
        tools: &[Tool::Cxx],
        limit: minutes(60),
        waits: false,
        tests: &[],
        run: |_, workspace, programs| fuzz::run(workspace, programs, 600),
    },
];

/// The one test beside a crate that needs more than cargo.
const JAVA_CODEC: &str = "java_codec";

/// Some builds of the simulator take a minute each.
const PLANTED_LIMIT: Duration = minutes(90);

const JAVA_AND_GO: &[Tool] = &[Tool::Java, Tool::Maven, Tool::Go];

/// A sweep of the smoke scenarios has to get everywhere.
const COVERAGE: &str = "--require-coverage";

/// Runs seeds of all scenarios below a directory, in a build of that profile.
fn simulate(
    workspace: &Workspace,
    programs: &Programs,
    profile: &str,
    sweep: &[&str],
) -> Result<()> {
    let program =
        ["run", "--quiet", "--profile", profile, "--package", "sim", "--bin", "klamm-sim"];
    let arguments = [&program[..], &["--", "run"], sweep].concat();
    cargo_in(workspace, programs, &arguments)
}

/// A stage with tests of the real binary.
const fn real(
    name: &'static str,
    what: &'static str,
    tools: &'static [Tool],
    tests: &'static [&'static str],
) -> Stage {
    let limit = minutes(20);
    let run: fn(&Stage, &Workspace, &Programs) -> Result<()> = |s, w, p| test_binary(s, w, p, &[]);
    Stage { name, what, groups: ALL, tools, limit, waits: false, tests, run }
}

/// The same, of tests that wait for clients: for sessions to end, for groups to settle.
const fn with_clients(
    name: &'static str,
    what: &'static str,
    tools: &'static [Tool],
    tests: &'static [&'static str],
) -> Stage {
    Stage { waits: true, ..real(name, what, tools, tests) }
}

/// The stages with these names, and of these groups; `all` without a name.
///
/// # Errors
/// A name is unknown.
pub fn select(names: &[&str]) -> Result<Vec<&'static Stage>> {
    let names = if names.is_empty() { &["all"] } else { names };
    let mut chosen = vec![false; STAGES.len()];
    for name in names {
        let group = Group::EVERY.iter().find(|(_, group)| group == name).map(|(group, _)| group);
        let mut is_known = group.is_some();
        for (stage, chosen) in STAGES.iter().zip(&mut chosen) {
            // `foreign` names all of its parts.
            let is_named = stage.name == *name
                || stage.name.starts_with(&format!("{name}-")) && *name == "foreign";
            if is_named || group.is_some_and(|group| stage.groups.contains(group)) {
                *chosen = true;
                is_known = true;
            }
        }
        if !is_known {
            bail!("no stage or group is named {name}\n{}", list());
        }
    }
    Ok(STAGES.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(stage, _)| stage).collect())
}

/// All stages and groups, for people.
pub fn list() -> String {
    let mut text = String::new();
    for stage in STAGES {
        let _ = writeln!(text, "{:<16}{}", stage.name, stage.what);
    }
    for (group, name) in Group::EVERY {
        let members = STAGES.iter().filter(|stage| stage.groups.contains(&group));
        let members: Vec<&str> = members.map(|stage| stage.name).collect();
        let _ = writeln!(text, "\n{name}: {}", members.join(" "));
    }
    text
}

/// Rewrites what a program can put right.
///
/// # Errors
/// One of the programs fails.
pub fn fix(workspace: &Workspace) -> Result<()> {
    codegen::run(false)?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    for arguments in [&clippy[..], &["fmt", "--all"]] {
        let status = cargo().current_dir(&workspace.root).args(arguments).status()?;
        if !status.success() {
            bail!("cargo {} ended with {status}", arguments.join(" "));
        }
    }
    Ok(())
}

/// Finds planted bugs: those named, or all of them. With `--write` before them their rows go into the
/// table.
///
/// # Errors
/// A bug is not found as it has to be.
pub fn planted(workspace: &Workspace, names: &[&str]) -> Result<()> {
    let (must_write, names) = match names {
        ["--write", names @ ..] => (true, names),
        names => (false, names),
    };
    if let Some(option) = names.iter().find(|name| name.starts_with('-')) {
        bail!("unknown option {option}");
    }
    let log = workspace.target().join("ci").join("planted.log");
    let programs = Programs::new(&log, PLANTED_LIMIT)?;
    let rows = planted::run(workspace, &programs, names)?;
    print!("{}", planted::page(&rows));
    if must_write {
        let page = planted::updated(workspace, rows)?;
        std::fs::write(workspace.root.join(planted::TABLE), page)?;
    }
    Ok(())
}

fn none_of<T: Display>(findings: &[T]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    bail!("{}\n{} findings", lines.join("\n"), lines.len())
}

fn cargo_in(workspace: &Workspace, programs: &Programs, arguments: &[&str]) -> Result<()> {
    programs.run(cargo().current_dir(&workspace.root).args(arguments))
}

/// The integration tests of every crate but those of the real binary.
fn tests_of_crates(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["test", "--workspace", "--no-fail-fast"]);
    for package in workspace.metadata.members().filter(|package| package.name != "tests") {
        for target in &package.targets {
            if target.kind.iter().any(|kind| kind == "test") && target.name != JAVA_CODEC {
                command.args(["--test", &target.name]);
            }
        }
    }
    programs.run(&mut command)
}

/// The stage's test programs against the release build.
fn test_binary(
    stage: &Stage,
    workspace: &Workspace,
    programs: &Programs,
    settings: &[(&str, &str)],
) -> Result<()> {
    cargo_in(workspace, programs, &["build", "--release", "-p", "klamm"])?;
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["test", "--workspace", "--no-fail-fast"]);
    for name in stage.tests {
        command.args(["--test", name]);
    }
    command.env("KLAMM_BIN", workspace.target().join("release").join("klamm"));
    command.envs(settings.iter().copied());
    programs.run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &[&str]) -> Vec<&'static str> {
        select(arguments).unwrap().iter().map(|stage| stage.name).collect()
    }

    #[test]
    fn groups_and_names_select_stages() {
        assert_eq!(names(&[]), names(&["all"]));
        assert_eq!(names(&["unit", "tidy", "tidy"]), ["tidy", "unit"]);
        assert_eq!(names(&["foreign"]).len(), 8);
        assert!(names(&["quick"]).iter().all(|name| names(&["all"]).contains(name)));
        assert!(names(&["nightly"]).contains(&"ledger-long"));
        assert!(select(&["nothing"]).is_err());
    }

    #[test]
    fn every_stage_belongs_to_a_group_and_has_a_name_of_its_own() {
        for (index, stage) in STAGES.iter().enumerate() {
            assert!(!stage.groups.is_empty(), "{}", stage.name);
            assert!(STAGES[..index].iter().all(|other| other.name != stage.name), "{}", stage.name);
            assert!(Group::EVERY.iter().all(|(_, name)| *name != stage.name), "{}", stage.name);
        }
    }

    #[test]
    fn every_test_program_runs_in_a_stage() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let stage = STAGES.iter().find(|stage| stage.tests.contains(&name));
            let is_run = stage.is_some_and(|stage| stage.groups.contains(&Group::All));
            assert!(path.is_dir() || is_run, "no stage runs tests/tests/{name}.rs");
        }
    }
}
