//! Foreign programs: which toolchains are here, and the clients built with them.
//!
//! In: `clients/` with its pinned versions. Out: programs under `target/foreign`, kept between runs
//! and made anew when one of their sources changes.
//!
//! Invariant: two test programs never install the same thing at once (a file lock per installation).

use std::fs::{self, File};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{run, run_any_status};

/// Longest time an installation may take on an empty cache.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// A program of the machine that a suite can not do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// A Java runtime.
    Java,
    /// Maven, to fetch and build Java clients.
    Maven,
    /// The Go toolchain.
    Go,
    /// Node.js.
    Node,
    /// npm.
    Npm,
    /// Python 3 with venv.
    Python,
    /// kcat, by apt-get where this process may install it.
    Kcat,
}

impl Tool {
    /// The name to type.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Java => "java",
            Tool::Maven => "mvn",
            Tool::Go => "go",
            Tool::Node => "node",
            Tool::Npm => "npm",
            Tool::Python => "python3",
            Tool::Kcat => "kcat",
        }
    }

    /// Whether it can be started; kcat is installed first if that is possible.
    pub fn is_here(self) -> bool {
        match self {
            Tool::Kcat => self.starts() || (install_kcat().is_ok() && self.starts()),
            _ => self.starts(),
        }
    }

    fn starts(self) -> bool {
        let argument = match self {
            Tool::Java | Tool::Maven => "-version",
            Tool::Go => "version",
            Tool::Kcat => "-V",
            Tool::Node | Tool::Npm | Tool::Python => "--version",
        };
        run_any_status(Command::new(self.name()).arg(argument), Duration::from_secs(60)).is_ok()
    }
}

fn install_kcat() -> Result<()> {
    let _lock = lock("kcat")?;
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "-y", "-q", "kcat"]).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command, INSTALL_LIMIT)
    };
    if install().is_err() {
        run(Command::new("apt-get").args(["update", "-q"]), INSTALL_LIMIT)?;
        install()?;
    }
    Ok(())
}

/// The sources of the clients.
pub fn clients_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Cargo's target directory.
pub fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

fn foreign_directory() -> Result<PathBuf> {
    let directory = target_directory().join("foreign");
    fs::create_dir_all(&directory)?;
    Ok(directory.canonicalize()?)
}

/// Held while one thing is installed.
fn lock(name: &str) -> Result<File> {
    let file = File::create(foreign_directory()?.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// The directory of the installation `name`, made by `build` unless it is there already with these
/// very `sources` (a directory under `clients/`) and this `variant`.
fn installed(
    name: &str,
    sources: &str,
    variant: &str,
    build: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let _lock = lock(name)?;
    let directory = foreign_directory()?.join(name);
    let sources = clients_directory().join(sources);
    let stamp = directory.join(".sources");
    let fingerprint = format!("{:016x} {variant}", fingerprint(&sources)?);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == fingerprint) {
        return Ok(directory);
    }
    fs::create_dir_all(&directory)?;
    build(&sources, &directory).with_context(|| format!("install {name}"))?;
    fs::write(&stamp, fingerprint)?;
    Ok(directory)
}

/// A number that changes with the names and contents of all files below `directory`.
fn fingerprint(directory: &Path) -> Result<u64> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        hasher.write(file.as_os_str().as_encoded_bytes());
        hasher.write(&fs::read(&file)?);
    }
    Ok(hasher.finish())
}

/// The Go drivers; the name of a program in `clients/go` to its path.
///
/// # Errors
/// The build fails.
pub fn go_program(name: &str) -> Result<PathBuf> {
    let directory = installed("go", "go", "", |sources, directory| {
        let mut command = Command::new("go");
        command.current_dir(sources).args(["build", "-mod=readonly", "-o"]);
        command.arg(format!("{}/", directory.display())).arg("./...");
        run(&mut command, INSTALL_LIMIT).map(drop)
    })?;
    Ok(directory.join(name))
}

/// The Python of a virtual environment with the pinned clients.
///
/// # Errors
/// The environment can not be made, or a package not be installed.
pub fn python() -> Result<PathBuf> {
    let directory = installed("python", "python", "", |sources, directory| {
        let environment = directory.join("venv");
        let mut command = Command::new("python3");
        run(command.args(["-m", "venv", "--clear"]).arg(&environment), INSTALL_LIMIT)?;
        let mut command = Command::new(environment.join("bin/python"));
        command.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"]);
        run(command.arg(sources.join("requirements.txt")), INSTALL_LIMIT).map(drop)
    })?;
    Ok(directory.join("venv/bin/python"))
}

/// The directory with the Node.js drivers and their modules.
///
/// # Errors
/// The modules can not be installed.
pub fn node_directory() -> Result<PathBuf> {
    installed("node", "node", "", |sources, directory| {
        for entry in fs::read_dir(sources)? {
            let path = entry?.path();
            if path.is_file() {
                fs::copy(&path, directory.join(path.file_name().context("name of a file")?))?;
            }
        }
        let mut command = Command::new("npm");
        command.current_dir(directory).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        run(&mut command, INSTALL_LIMIT).map(drop)
    })
}

/// The class path of the Java driver with this version of kafka-clients.
///
/// # Errors
/// Maven fails.
pub fn java_classpath(version: &str) -> Result<String> {
    packaged(&format!("java-{version}"), "java", &format!("-Dkafka.version={version}"))
}

/// The class path of the member of groups with this version of spring-kafka.
///
/// # Errors
/// Maven fails.
pub fn spring_classpath(version: &str) -> Result<String> {
    packaged(&format!("spring-{version}"), "spring", &format!("-Dspring-kafka.version={version}"))
}

/// A program of ours, built by Maven.
fn packaged(name: &str, sources: &str, version: &str) -> Result<String> {
    let directory = installed(name, sources, version, |sources, directory| {
        for part in ["pom.xml", "src"] {
            copy_tree(&sources.join(part), &directory.join(part))?;
        }
        let mut command = Command::new("mvn");
        command.current_dir(directory).args(["-q", "-B", "clean", "package", version]);
        run(&mut command, INSTALL_LIMIT).map(drop)
    })?;
    let target = directory.join("target");
    Ok(format!("{}:{}", target.join("classes").display(), target.join("libs/*").display()))
}

/// The class path of Apache Kafka's server and tools.
///
/// # Errors
/// Maven fails.
pub fn kafka_classpath() -> Result<String> {
    libraries("kafka")
}

/// The class path of Kafka Connect with its connectors for files.
///
/// # Errors
/// Maven fails.
pub fn connect_classpath() -> Result<String> {
    libraries("connect")
}

/// What a `pom.xml` depends on.
fn libraries(name: &str) -> Result<String> {
    let directory = installed(name, name, "", |sources, directory| {
        let libs = directory.join("libs");
        if libs.exists() {
            fs::remove_dir_all(&libs)?;
        }
        let mut command = Command::new("mvn");
        command.current_dir(sources).args(["-q", "-B", "dependency:copy-dependencies"]);
        command.arg(format!("-DoutputDirectory={}", libs.display()));
        run(&mut command, INSTALL_LIMIT).map(drop)
    })?;
    Ok(directory.join("libs/*").display().to_string())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The klamm binary: `KLAMM_BIN`, or a release build of this workspace.
///
/// # Errors
/// It does not build, or `KLAMM_BIN` is not there.
pub fn klamm() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KLAMM_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("KLAMM_BIN={} is not there", path.display());
        }
        return Ok(path);
    }
    let _lock = lock("klamm")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--release", "-p", "klamm"]);
    run(&mut command, Duration::from_secs(1_800))?;
    Ok(target_directory().canonicalize()?.join("release/klamm"))
}

/// Whether a test has to be skipped because one of `tools` is missing; says so by name.
///
/// # Panics
/// One is missing and `CI=true`: there, nothing may be skipped.
pub fn skips_without(tools: &[Tool]) -> bool {
    let Some(missing) = tools.iter().find(|tool| !tool.is_here()) else { return false };
    let why = format!("SKIPPED: {} not found", missing.name());
    assert!(!is_ci(), "{why}");
    println!("{why}");
    true
}

/// Whether this is the project's CI, where nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
